"""libreswan's pluto as a child process: in a directory of its own, on the IKE ports of one address.

Its package cannot be installed beside strongSwan's, so it is unpacked somewhere: where IKECORE_LIBRESWAN points.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from tests.interop import pluto_log
from tests.interop.peer import PATH, EspKeys, Peer, Sa
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

PROGRAMS = ("certutil", "pk12util")
ROOTS = (Path("/opt/libreswan"), Path("/"))
"""Where the package may be unpacked, unless IKECORE_LIBRESWAN says where."""

_IPSEC_CONF = """
config setup
conn %default
  auto=ignore
  ikev2=insist
  left={here}
  leftid=@{here_id}
  leftupdown=%disabled
  right={there}
  rightid=@{there_id}
  ike={ike}
  esp={esp}
  mobike=no
  keyingtries=1
  initial-contact=yes
  {options}
conn lab
  {selectors}
conn more
  leftsubnet={here_net_2}
  rightsubnet={there_net_2}
"""
_CIPHERS = {
    "aes128gcm16": "aes_gcm128",
    "aes256gcm16": "aes_gcm256",
    "aes128": "aes128",
    "aes256": "aes256",
    "chacha20poly1305": "chacha20_poly1305",
}
_HASHES = {f"{kind}sha{size}": f"sha2_{size}" for kind in ("prf", "") for size in (256, 384, 512)}
_GROUPS = {"x25519": "dh31", "ecp256": "dh19", "ecp384": "dh20", "ecp521": "dh21", "modp2048": "dh14"}


def root() -> Path | None:
    """Return the directory that the package is unpacked in."""
    chosen = os.environ.get("IKECORE_LIBRESWAN")
    candidates = (Path(chosen),) if chosen else ROOTS
    return next((path for path in candidates if (path / "usr/libexec/ipsec/pluto").is_file()), None)


def missing() -> list[str]:
    """Return what is not on this machine."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return absent if root() else ["pluto", *absent]


def proposal(words: str) -> str:
    """Return a proposal of swanctl.conf in pluto's words; one algorithm of each kind, except for groups."""
    parts = words.split("-")
    groups = [_GROUPS[part] for part in parts if part in _GROUPS]
    hashes = [_HASHES[part] for part in parts if part in _HASHES]
    # With ";" a proposal of ike= would leave its PRF open; with "-" one of esp= would name a hash that is a group.
    algorithms = "-".join([_CIPHERS[parts[0]], *hashes])
    return ";".join([algorithms, "+".join(groups)]) if groups else algorithms


class Pluto(Peer):
    """One daemon. *options* are arguments of its command line."""

    name = "libreswan"
    _debugging = re.compile(r"^\w{3} +\d+ [\d:.]+: \|")

    def __init__(self, directory: Path, shim: Path, *, address: str = PEER, options: tuple[str, ...] = ()) -> None:
        super().__init__(directory, shim)
        unpacked = root()
        if unpacked is None:
            raise RuntimeError("pluto is not on this machine")
        self._programs = unpacked / "usr/libexec/ipsec"
        self.environment["PEER_ADDRESS"] = address
        self._address, self._options = address, options
        directory.mkdir(parents=True, exist_ok=True)
        self._database = f"sql:{directory}"
        self._run("certutil", "-N", "-d", self._database, "--empty-password")
        for name in ("ipsec.conf", "ipsec.secrets"):
            (directory / name).touch()

    def _command(self) -> list[str]:
        places = {
            "--config": "ipsec.conf",
            "--secretsfile": "ipsec.secrets",
            "--ipsecdir": "",
            "--nssdir": "",
            "--rundir": "",
        }
        arguments = [word for option, name in places.items() for word in (option, str(self.directory / name))]
        # Without helper threads, since theirs could write between the lines of a key.
        arguments += ["--nofork", "--stderrlog", "--no-dnssec", "--nhelpers", "0", "--listen", self._address]
        return [str(self._programs / "pluto"), *arguments, *self._options]

    def _ready(self) -> bool:
        try:
            # Only now does it tell more: its tests of algorithms at the start fill thousands of lines.
            self.whack("--debug", "base", "--debug", "crypt", "--debug", "private")
            self.whack("--listen")
        except subprocess.CalledProcessError:
            return False
        return True

    # --- what it is told -------------------------------------------------------------------------------------------

    def configure(self, peering: Peering, authorities: Authorities) -> None:
        options = [
            *peering.options.splitlines(),
            "encapsulation=yes" if peering.encap else "encapsulation=auto",
            "fragmentation=yes" if peering.fragments else "fragmentation=no",
            "pfs=yes" if any(group in peering.esp for group in _GROUPS) else "pfs=no",
            "narrowing=yes" if peering.narrowing else "narrowing=no",
        ]
        selectors = ["type=transport"] if peering.transport else []
        for side, net in zip(("leftsubnet", "rightsubnet"), peering.nets, strict=True):
            selectors += [f"{side}={net}"] if net else []
        if peering.dpd:
            options += [f"dpddelay={peering.dpd}", "dpdtimeout=30", "dpdaction=clear"]
        if peering.auth == "psk":
            options.append("authby=secret")
            secret = f'@{PEER_ID} @{OUR_ID} : PSK "{peering.secret}"\n'
            (self.directory / "ipsec.secrets").write_text(secret)
        else:
            options += ["leftcert=leaf", "leftsendcert=always", "rightca=%same"]
            options += ["authby=rsasig", "rightrsasigkey=%cert"] if peering.auth == "rsa" else ["authby=ecdsa"]
            self._store(authorities, peering)
        (self.directory / "ipsec.conf").write_text(
            _IPSEC_CONF.format(
                here=PEER,
                here_id=PEER_ID,
                here_net_2=PEER_NET_2,
                there_net_2=OUR_NET_2,
                there="%any" if peering.roaming else OURS,
                there_id=OUR_ID,
                selectors="\n  ".join(selectors),
                ike=proposal(peering.ike),
                esp=proposal(peering.esp),
                options="\n  ".join(options),
            )
        )
        if peering.childless:
            self.whack("--impair", "omit-v2-ike-auth-child")
        self.whack("--rereadall")
        self._run(
            str(self._programs / "addconn"),
            *("--config", str(self.directory / "ipsec.conf"), "--ctlsocket", str(self.directory / "pluto.ctl")),
            *(("lab", "more") if peering.more else ("lab",)),
        )

    def _store(self, authorities: Authorities, peering: Peering) -> None:
        """Put a certificate of its own, with its key, and its authority into the database."""
        kind: Literal["rsa", "ecdsa"] = "rsa" if peering.auth == "rsa" else "ecdsa"
        leaf = authorities.leaf(kind, PEER_ID, peering.names)
        anchor, bundle = self.directory / "root.der", self.directory / "leaf.p12"
        anchor.write_bytes(authorities.of(kind).der)
        certificate = x509.load_der_x509_certificate(leaf.chain[0])
        key = cast(pkcs12.PKCS12PrivateKeyTypes, leaf.key)
        bundle.write_bytes(pkcs12.serialize_key_and_certificates(b"leaf", key, certificate, None, NoEncryption()))
        self._run("certutil", "-A", "-d", self._database, "-n", "root", "-t", "CT,,", "-i", str(anchor))
        self._run("pk12util", "-i", str(bundle), "-d", self._database, "-W", "", "-K", "")

    def whack(self, *arguments: str) -> str:
        """Give a command and return what was answered; raises CalledProcessError."""
        return self._run(str(self._programs / "whack"), "--rundir", str(self.directory), *arguments)

    def _begin_whack(self, *arguments: str) -> None:
        """Begin a command that ends once we have answered pluto."""
        self._begin(str(self._programs / "whack"), "--rundir", str(self.directory), *arguments)

    def connect(self) -> None:
        self.whack("--initiate", "--name", "lab", "--asynchronous")

    def connect_more(self) -> None:
        self._begin_whack("--initiate", "--name", "more", "--asynchronous")

    def delete_ike(self) -> None:
        self._begin_whack("--deletestate", str(self._newest("IKE")))

    def delete_child(self) -> None:
        self._begin_whack("--deletestate", str(self._newest("CHILD")))

    def rekey_ike(self) -> None:
        self.whack("--rekey-ike", "--name", "lab", "--asynchronous")

    def rekey_child(self) -> None:
        self.whack("--rekey-ipsec", "--name", "lab", "--asynchronous")

    def _newest(self, kind: Literal["IKE", "CHILD"]) -> int:
        """Return the number of the newest established SA of *kind*."""
        listed = self.whack("--showstates")
        return max(
            int(number) for number in re.findall(rf"^000 #(\d+): .* STATE_V2_ESTABLISHED_{kind}_SA", listed, re.M)
        )

    # --- what it tells ---------------------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        return self._run(str(self._programs / "pluto"), "--version").split()[1]

    @property
    def log(self) -> str:
        return (self.directory / "output").read_text(errors="replace")

    def sas(self) -> tuple[Sa, ...]:
        return pluto_log.sas(self.whack("--showstates"), self.log)

    def ike_keys(self) -> list[dict[str, bytes]]:
        return [
            {name: value for name, value in keys.items() if name.startswith("sk_")}
            for keys in pluto_log.ike_keys(self.log)
        ]

    def esp_keys(self) -> list[EspKeys]:
        return pluto_log.esp_keys(self.log)

    def heard(self, what: Literal["NO_PROPOSAL_CHOSEN", "AUTHENTICATION_FAILED"]) -> bool:
        return re.search(rf"rejected by peer: {what}|{what} notification|: {what}\b", self.log) is not None

    def was_answered(self) -> bool:
        return "received an INFORMATIONAL liveness check response" in self.log

    def fragmented(self) -> bool:
        return "emit IKEv2 Encrypted Fragment:" in self.log

    def requests(self) -> int:
        flags = re.findall(r"emit ISAKMP Message:\n(?:.*\n){5}.*\|    flags: (\S+)", self.log)
        return sum("RESPONSE" not in each for each in flags)

    def remote_port(self) -> int:
        (port,) = re.findall(r'^000 #\d+: "lab".*?:(\d+) STATE_V2_ESTABLISHED_IKE_SA', self.whack("--showstates"), re.M)
        return int(port)
