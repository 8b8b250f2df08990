"""strongSwan's charon as a child process: in a directory of its own, on the IKE ports of one address."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.interop.charon_log import IkeSa, LoggedKeys, ike_sas, keys
from tests.interop.peer import PATH, EspKeys, Peer, Sa, Spis
from tests.interop.peering import (
    OUR_ID,
    OUR_NET_2,
    OURS,
    PEER,
    PEER_ID,
    PEER_NET_2,
    Authorities,
    Peering,
)

PROGRAMS = ("charon-systemd", "swanctl")

_PLUGINS = (
    "random nonce x509 pem pkcs1 pkcs8 pubkey openssl gmp kdf hmac revocation constraints"
    " kernel-netlink socket-default vici"
)

_STRONGSWAN_CONF = """
charon {{
  load = {plugins}
  install_routes = no
  install_virtual_ip = no
  {options}
  filelog {{
    log {{
      path = {log}
      flush_line = yes
      default = 1
      ike = 4
      chd = 4
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
  }}
}}
swanctl {{
  load = random nonce x509 pem pkcs1 pkcs8 pubkey openssl
  socket = unix://{socket}
}}
"""

_SWANCTL_CONF = """
connections {{
  lab {{
    version = 2
    local_addrs = {here}
    remote_addrs = {there}, 127.0.0.0/8
    proposals = {ike}
    mobike = no
    {options}
    local {{
      auth = {auth}
      id = {here_id}
      {certificate}
    }}
    remote {{
      auth = {auth}
      id = {there_id}
    }}
    children {{
      net {{
        {selectors}
        esp_proposals = {esp}
      }}
      more {{
        local_ts = {here_net_2}
        remote_ts = {there_net_2}
        esp_proposals = {esp}
      }}
    }}
  }}
}}
secrets {{
  ike-1 {{
    secret = "{secret}"
  }}
}}
"""

PLAIN = "dos_protection = no"
"""Options of charon for a test that is not about its protection: as many half-open SAs as one likes."""


def missing() -> list[str]:
    """Return the programs that are not on this machine."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


class Charon(Peer):
    """One daemon."""

    name = "strongSwan"
    _debugging = re.compile(r"\] +\d+: [0-9A-F]{2} ")

    def __init__(self, directory: Path, shim: Path, *, address: str = PEER, options: str = PLAIN) -> None:
        super().__init__(directory, shim)
        self._log = directory / "charon.log"
        self._childless = False
        for folder in ("x509", "x509ca", "private", "rsa", "ecdsa", "pkcs8", "pubkey"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        settings = {"plugins": _PLUGINS, "options": options}
        conf = _STRONGSWAN_CONF.format(**settings, log=self._log, socket=directory / "vici")
        (directory / "strongswan.conf").write_text(conf)
        self.environment |= {
            "STRONGSWAN_CONF": str(directory / "strongswan.conf"),
            "SWANCTL_DIR": str(directory),
            "PEER_ADDRESS": address,
        }

    def _command(self) -> list[str]:
        return ["charon-systemd"]

    def _ready(self) -> bool:
        try:
            self.swanctl("--stats")
        except subprocess.CalledProcessError:
            return False
        return True

    # --- configuration ---------------------------------------------------------------------------------------------

    def configure(self, peering: Peering, authorities: Authorities) -> None:
        self._childless = peering.childless
        if peering.auth != "psk":
            self.store("x509ca", "root.der", authorities.of(peering.auth).der)
            leaf = authorities.leaf(peering.auth, PEER_ID, peering.names)
            self.store("x509", "leaf.der", leaf.chain[0])
            self.store("pkcs8", "leaf.der", leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        selectors = ["mode = transport"] if peering.transport else []
        for side, net in zip(("local_ts", "remote_ts"), peering.nets, strict=True):
            selectors += [f"{side} = {net}"] if net else []
        options = [
            peering.options,
            "encap = yes" if peering.encap else "",
            f"dpd_delay = {peering.dpd}s" if peering.dpd else "",
            "" if peering.fragments else "fragmentation = no",
            "childless = force" if peering.childless else "",
        ]
        self.load(
            _SWANCTL_CONF.format(
                here=PEER,
                here_id=PEER_ID,
                here_net_2=PEER_NET_2,
                there_net_2=OUR_NET_2,
                there=OURS,
                there_id=OUR_ID,
                selectors="\n        ".join(selectors),
                ike=peering.ike,
                esp=peering.esp,
                options="\n    ".join(filter(None, options)),
                auth="psk" if peering.auth == "psk" else "pubkey",
                certificate="" if peering.auth == "psk" else "certs = leaf.der",
                secret=peering.secret,
            )
        )

    def load(self, configuration: str) -> None:
        """Load connections and secrets in swanctl.conf's words, and what `store` put beside them."""
        file = self.directory / "swanctl.conf"
        file.write_text(configuration)
        self.swanctl("--load-all", "--noprompt", "--file", str(file))

    def store(self, folder: str, name: str, content: bytes) -> None:
        """Put a certificate or key (DER or PEM) where `load` finds it: x509, x509ca, private, pubkey."""
        (self.directory / folder / name).write_bytes(content)

    # --- what it knows ---------------------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        return self.swanctl("--version").split()[2]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def keys(self) -> LoggedKeys:
        """Return the keys logged so far, as charon names them."""
        return keys(self.log)

    def list_sas(self) -> list[IkeSa]:
        """Return the IKE SAs it has, with their Child SAs, and all that charon says about them."""
        return ike_sas(self.swanctl("--list-sas", "--raw"))

    def sas(self) -> tuple[Sa, ...]:
        return tuple(
            Sa(
                sa.spi_i,
                sa.spi_r,
                frozenset(Spis(child.spi_in, child.spi_out) for child in sa.children if child.state == "INSTALLED"),
            )
            for sa in self.list_sas()
            if sa.state == "ESTABLISHED"
        )

    def ike_keys(self) -> list[dict[str, bytes]]:
        return [{name: value for name, value in found.items() if name.startswith("sk_")} for found in self.keys().ike]

    def esp_keys(self) -> list[EspKeys]:
        found = []
        for child in self.keys().children:
            sent, received = (child.encr_i, child.integ_i), (child.encr_r, child.integ_r)
            if not child.initiated:
                sent, received = received, sent
            found.append(EspKeys(Spis(child.spi_in, child.spi_out), *received, *sent))
        return found

    def heard(self, what: Literal["NO_PROPOSAL_CHOSEN", "AUTHENTICATION_FAILED"]) -> bool:
        return f"received {what} notify error" in self.log

    def was_answered(self) -> bool:
        return re.search(r"parsed INFORMATIONAL response \d+ \[ \]", self.log) is not None

    def fragmented(self) -> bool:
        return "splitting IKE message" in self.log

    def requests(self) -> int:
        return len(re.findall(r"generating [A-Z_]+ request \d+ ", self.log))

    def remote_port(self) -> int:
        (sa,) = self.list_sas()
        return int(sa.facts["remote-port"])

    # --- control ---------------------------------------------------------------------------------------------------

    def swanctl(self, *arguments: str) -> str:
        """Run swanctl to its end and return what it printed; raises CalledProcessError."""
        return self._run("swanctl", *arguments)

    def initiate(self, child: str) -> subprocess.Popen[str]:
        """Begin to set up *child*. The process returned ends, with 0 if it is up, once the peer has answered."""
        return self._begin("swanctl", "--initiate", "--child", child)

    def initiate_ike(self, connection: str) -> subprocess.Popen[str]:
        """Begin to set up the IKE SA of *connection* alone; otherwise like `initiate`."""
        return self._begin("swanctl", "--initiate", "--ike", connection)

    def terminate(self, *what: str) -> subprocess.Popen[str]:
        """Begin to delete *what* (--ike or --child, and a name); the process ends once the peer has answered."""
        return self._begin("swanctl", "--terminate", *what)

    def connect(self) -> None:
        if self._childless:
            self._begin("swanctl", "--initiate", "--ike", "lab")
        else:
            self.initiate("net")

    def connect_more(self) -> None:
        self.initiate("more")

    def delete_ike(self) -> None:
        self.terminate("--ike", "lab")

    def delete_child(self) -> None:
        self.terminate("--child", "net")

    def rekey_ike(self) -> None:
        self.swanctl("--rekey", "--ike", "lab")

    def rekey_child(self) -> None:
        self.swanctl("--rekey", "--child", "net")
