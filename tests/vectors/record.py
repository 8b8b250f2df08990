"""Records exchanges of two charons with each other: `python -m tests.vectors.record` writes the charon-*.json here.

Needs root, and the programs that tests/interop needs. Each run sets up an SA, rekeys the child, rekeys the IKE SA and
deletes it, all begun by the same side. Octets are taken from the loopback interface of a network of their own, keys
from the initiator's log.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ikecore.testing.pki import CertificateAuthority, Kind
from tests.interop.charon import Charon
from tests.interop.network import private_network
from tests.interop.peer import build_shim

INITIATOR, RESPONDER = "127.0.0.1", "127.0.0.2"
SECRET = "labsecret"
OPTIONS = "dos_protection = no\n  delete_rekeyed_delay = 1"
ETH_P_ALL, PACKET_OUTGOING = 3, 4
NAT_PORT = 4500

_SWANCTL_CONF = """
connections {{
  lab {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = {ike}
    mobike = no
    fragmentation = {fragmentation}
    local {{
      auth = {auth}
      id = {local_id}
      {certificate}
    }}
    remote {{
      auth = {auth}
      id = {remote_id}
    }}
    children {{
      net {{
        local_ts = {local_ts}
        remote_ts = {remote_ts}
        esp_proposals = {esp}
      }}
    }}
  }}
}}
secrets {{
  ike-1 {{
    secret = {secret}
  }}
}}
"""


@dataclass(frozen=True)
class Scenario:
    """What one file shows. *encr* and *integ* are the words of Wireshark's key table."""

    ike: str
    esp: str
    auth: Literal["psk", "rsa", "ecdsa"]
    encr: str
    integ: str
    fragmentation: Literal["yes", "no"] = "no"


AES_GCM = "AES-GCM-{} with 16 octet ICV [RFC5282]"
AES_CBC = "AES-CBC-{} [RFC3602]"
NONE, HMAC_SHA2_256 = "NONE [RFC4306]", "HMAC_SHA2_256_128 [RFC4868]"
SCENARIOS = {
    "psk-aes128gcm-x25519": Scenario("aes128gcm16-prfsha256-x25519", "aes128gcm16", "psk", AES_GCM.format(128), NONE),
    "psk-aes256cbc-ecp256": Scenario(
        "aes256-sha256-ecp256", "aes256-sha256", "psk", AES_CBC.format(256), HMAC_SHA2_256
    ),
    "rsa-aes256gcm-ecp384-fragments": Scenario(
        "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384", "rsa", AES_GCM.format(256), NONE, "yes"
    ),
    "ecdsa-aes128cbc-x25519": Scenario(
        "aes128-sha256-x25519", "aes128-sha256", "ecdsa", AES_CBC.format(128), HMAC_SHA2_256
    ),
}
_KINDS: dict[str, Kind] = {"rsa": "rsa-2048", "ecdsa": "ecdsa-p256"}


class Tap:
    """Takes UDP datagrams of IKE from the loopback interface."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind(("lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        self._socket.setblocking(False)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def messages(self) -> list[dict[str, Any]]:
        """Return what was seen, each datagram once, without marker, in the vectors' form."""
        found: list[dict[str, Any]] = []
        begin: float | None = None
        while True:
            try:
                frame, ancillary, _, address = self._socket.recvmsg(65600, 256)
            except BlockingIOError:
                return found
            packet = frame[14:]
            if address[2] != PACKET_OUTGOING or packet[:1] != b"\x45" or packet[9] != socket.IPPROTO_UDP:
                continue
            source, target = struct.unpack_from("!HH", packet, 20)
            data = packet[28:]
            if NAT_PORT in (source, target):
                if data[:4] != bytes(4):
                    continue
                data = data[4:]
            seconds, nanoseconds = struct.unpack("@qq", ancillary[0][2])
            at = seconds + nanoseconds / 1e9
            begin = at if begin is None else begin
            found.append(
                {
                    "t": round(at - begin, 6),
                    "src": socket.inet_ntoa(packet[12:16]),
                    "via": f"udp {source}>{target}",
                    "hex": data.hex(),
                }
            )


def configure(
    scenario: Scenario, charon: Charon, role: Literal["a", "b"], authority: CertificateAuthority | None
) -> None:
    """Load one side's half of *scenario*."""
    names = ("a.lab", "b.lab") if role == "a" else ("b.lab", "a.lab")
    nets = ("10.1.0.0/16", "10.2.0.0/16") if role == "a" else ("10.2.0.0/16", "10.1.0.0/16")
    hosts = (INITIATOR, RESPONDER) if role == "a" else (RESPONDER, INITIATOR)
    if authority is not None:
        leaf = authority.intermediate(f"Lab Sub {role.upper()}").leaf([names[0]], kind=_KINDS[scenario.auth])
        charon.store("x509ca", "root.der", authority.der)
        charon.store("x509ca", "sub.der", leaf.chain[1])
        charon.store("x509", "leaf.der", leaf.chain[0])
        charon.store("pkcs8", "leaf.der", leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    charon.load(
        _SWANCTL_CONF.format(
            local=hosts[0],
            remote=hosts[1],
            local_id=names[0],
            remote_id=names[1],
            local_ts=nets[0],
            remote_ts=nets[1],
            ike=scenario.ike,
            esp=scenario.esp,
            fragmentation=scenario.fragmentation,
            auth="psk" if authority is None else "pubkey",
            certificate="" if authority is None else "certs = leaf.der",
            secret=SECRET,
        )
    )


def settle(done: Callable[[], bool]) -> None:
    """Wait until *done*: swanctl comes back before the last exchange is over."""
    give_up = time.monotonic() + 10
    while not done():
        if time.monotonic() > give_up:
            raise TimeoutError("charon did not come to rest")
        time.sleep(0.02)


def run(job: subprocess.Popen[str]) -> None:
    """See *job* to its good end."""
    output, _ = job.communicate(timeout=20)
    if job.returncode:
        raise RuntimeError(output)


def record(scenario: Scenario, shim: Path, directory: Path) -> dict[str, Any]:
    """Run *scenario* and return what it showed."""
    authority = None
    if scenario.auth != "psk":
        authority = CertificateAuthority("Lab Root", kind=_KINDS[scenario.auth], utc=datetime.now(UTC))
    with ExitStack() as stack:
        stack.enter_context(private_network())
        a = stack.enter_context(Charon(directory / "a", shim, address=INITIATOR, options=OPTIONS))
        b = stack.enter_context(Charon(directory / "b", shim, address=RESPONDER, options=OPTIONS))
        configure(scenario, a, "a", authority)
        configure(scenario, b, "b", authority)
        tap = stack.enter_context(Tap())
        run(a.initiate("net"))
        settle(lambda: len(b.list_sas()) == 1)
        first = a.list_sas()[0]
        a.swanctl("--rekey", "--child", "net")
        settle(lambda: len(a.keys().children) == 2)
        settle(lambda: all(len(side.list_sas()[0].children) == 1 for side in (a, b)))
        a.swanctl("--rekey", "--ike", "lab")
        settle(lambda: all([sa.spi_i != first.spi_i for sa in side.list_sas()] == [True] for side in (a, b)))
        second = a.list_sas()[0]
        run(a.terminate("--ike", "lab"))
        settle(lambda: b.list_sas() == [])
        messages, keys = tap.messages(), a.keys()
    return {
        "scenario": scenario.auth,
        "recorded": datetime.now(UTC).date().isoformat(),
        "psk": SECRET if authority is None else None,
        "options": {"proposal": scenario.ike, "esp": scenario.esp, "fragmentation": scenario.fragmentation},
        "anchor": None if authority is None else authority.der.hex(),
        "ike_sas": [
            {name: value.hex() for name, value in found.items()}
            | {"spi_i": sa.spi_i.hex(), "spi_r": sa.spi_r.hex(), "encr": scenario.encr, "integ": scenario.integ}
            for found, sa in zip(keys.ike, (first, second), strict=True)
        ],
        "child_sas": [
            {name: value.hex() for name, value in asdict(child).items() if isinstance(value, bytes)}
            for child in keys.children
        ],
        "messages": messages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path(__file__).parent, help="where to write")
    target: Path = parser.parse_args().directory
    with tempfile.TemporaryDirectory() as scratch:
        shim = build_shim(Path(scratch))
        for name, scenario in SCENARIOS.items():
            content = record(scenario, shim, Path(scratch) / name)
            file = target / f"charon-{name}.json"
            file.write_text(json.dumps(content, indent=1) + "\n")
            print(f"{file.name}: {len(content['messages'])} messages")


if __name__ == "__main__":
    main()
