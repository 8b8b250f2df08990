"""Wireshark itself reads our key table, and decrypts with it what we sealed."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dpkt
import pytest

from ikecore.crypto import IkeSuite, Protection
from ikecore.events import IkeKeyMaterial
from ikecore.outputs import Address
from ikecore.testing import Pair
from ikecore.wire.numbers import Encr, Exchange, Integ, Ke, Prf
from ikecore_trio.cli.key_table import VARIABLE, key_logger, row_of

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

SUITES = [
    IkeSuite(Encr.AES_GCM_16, 128, Prf.HMAC_SHA2_256, None, Ke.CURVE25519),
    IkeSuite(Encr.CHACHA20_POLY1305, 0, Prf.HMAC_SHA2_256, None, Ke.CURVE25519),
    IkeSuite(Encr.AES_GCM_16, 192, Prf.HMAC_SHA2_256, None, Ke.CURVE25519),
    IkeSuite(Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_256, None, Ke.CURVE25519),
    IkeSuite(Encr.AES_CBC, 128, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128, Ke.CURVE25519),
    IkeSuite(Encr.AES_CBC, 192, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_384_192, Ke.CURVE25519),
    IkeSuite(Encr.AES_CBC, 256, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_512_256, Ke.CURVE25519),
]
NONCE = bytes([0, 0, 0, 36]) + bytes(32)


def sealed(number: int, suite: IkeSuite) -> tuple[bytes, str]:
    """Return a message with a Nonce payload inside, and its row."""
    encr, integ = bytes([number]) * suite.encr_key_length, bytes([number]) * suite.integ_key_length
    spi_i, spi_r = bytes([number]) * 8, b"responder"[:8]
    protection = Protection(suite, encr, integ, random=os.urandom)
    message = protection.seal(spi_i, spi_r, Exchange.INFORMATIONAL, 0x08, 2, 40, NONCE)
    bits = f"-{suite.key_bits}" if suite.key_bits else ""
    integrity = "NONE" if suite.integ is None else Integ(suite.integ).name
    name = Encr(suite.encr).name + bits
    return message, row_of(IkeKeyMaterial(spi_i, spi_r, name, integrity, b"", integ, integ, encr, encr, b"", b""))


def write_capture(path: Path, datagrams: Iterable[tuple[Address, Address, bytes]]) -> None:
    """Write IPv4 datagrams, one a second, each with its source and destination."""
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file, linktype=101)
    for second, (source, destination, data) in enumerate(datagrams, 1):
        datagram = dpkt.udp.UDP(sport=source[1], dport=destination[1], ulen=8 + len(data), data=data)
        ends = {"src": socket.inet_aton(source[0]), "dst": socket.inet_aton(destination[0])}
        writer.writepkt(bytes(dpkt.ip.IP(p=17, len=20 + len(bytes(datagram)), data=datagram, **ends)), ts=second)
    path.write_bytes(file.getvalue())


def dissected(folder: Path) -> str:
    """Return what tshark says of a folder's capture, with its key table."""
    result = subprocess.run(
        ["tshark", "-r", str(folder / "capture.pcap"), "-V"],
        env={**os.environ, "WIRESHARK_CONFIG_DIR": str(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "ikev2_decryption_table" not in result.stderr
    return result.stdout


@needs_tshark
def test_wireshark_decrypts_every_suite_that_it_knows(tmp_path: Path) -> None:
    messages, rows = zip(*(sealed(number, suite) for number, suite in enumerate(SUITES, 1)), strict=True)
    write_capture(tmp_path / "capture.pcap", [(("192.0.2.1", 500), ("192.0.2.2", 500), each) for each in messages])
    (tmp_path / "ikev2_decryption_table").write_text("".join(rows))
    text = dissected(tmp_path)
    assert text.count("[correct]") == len(SUITES) - 1
    assert text.count("Payload: Nonce (40)") == len(SUITES) - 1


@pytest.fixture(params=["initiator", "responder"])
def rekeyed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """A folder with the capture of an SA that one side rekeyed twice, and its key log; and how many are encrypted."""
    pair = Pair()
    keys = key_logger({VARIABLE: str(tmp_path / "ikev2_decryption_table")})
    assert keys is not None
    mine, theirs = pair.establish()
    host, sa = (pair.initiator, mine) if request.param == "initiator" else (pair.responder, theirs)
    for _ in range(2):
        [child] = host.endpoint.sa(sa).children
        host.call(host.endpoint.rekey, sa, child=child.id)
        host.call(host.endpoint.rekey, sa)
        pair.run_for(1.0)
    host.call(host.endpoint.delete, sa)
    pair.run()
    for event in host.events:
        keys(event)
    packets = [(each.source, each.destination, each.data) for each in pair.network.wire]
    write_capture(tmp_path / "capture.pcap", packets)
    return tmp_path, len(packets) - 2


@needs_tshark
def test_wireshark_decrypts_what_follows_a_rekey(rekeyed: tuple[Path, int]) -> None:
    folder, encrypted = rekeyed
    text = dissected(folder)
    assert text.count("[correct]") == encrypted
    assert text.count("Notify Message Type: REKEY_SA") == 2


def test_so_do_we(rekeyed: tuple[Path, int], run: Any) -> None:
    folder, encrypted = rekeyed
    result = run("decode", folder / "capture.pcap", "--keys", folder / "ikev2_decryption_table", "--json")
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    notes = [note for each in messages for note in each["notes"] if "key table" in note]
    assert (len(messages), notes) == (encrypted + 2, [])
    assert sum("CREATE_CHILD_SA request" in each["title"] for each in messages) == 4
