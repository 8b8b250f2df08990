"""Wireshark itself reads our key table, and decrypts with it what we sealed."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
from pathlib import Path

import dpkt
import pytest

from ikecore.crypto import IkeSuite, Protection
from ikecore.events import IkeKeyMaterial
from ikecore.wire.numbers import Encr, Exchange, Integ, Ke, Prf
from ikecore_trio.cli.key_table import row_of

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


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_decrypts_every_suite_that_it_knows(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file, linktype=101)
    rows = ""
    for number, suite in enumerate(SUITES, 1):
        message, row = sealed(number, suite)
        rows += row
        datagram = dpkt.udp.UDP(sport=500, dport=500, ulen=8 + len(message), data=message)
        ends = {"src": socket.inet_aton("192.0.2.1"), "dst": socket.inet_aton("192.0.2.2")}
        writer.writepkt(bytes(dpkt.ip.IP(p=17, len=20 + len(bytes(datagram)), data=datagram, **ends)), ts=number)
    (tmp_path / "capture.pcap").write_bytes(file.getvalue())
    (tmp_path / "ikev2_decryption_table").write_text(rows)
    result = subprocess.run(
        ["tshark", "-r", str(tmp_path / "capture.pcap"), "-V"],
        env={**os.environ, "WIRESHARK_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "ikev2_decryption_table" not in result.stderr
    assert result.stdout.count("[correct]") == len(SUITES) - 1
    assert result.stdout.count("Payload: Nonce (40)") == len(SUITES) - 1
