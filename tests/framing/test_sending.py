"""What goes onto a stream."""

from __future__ import annotations

import pytest

from ikecore.errors import LocalProtocolError
from ikecore.framing import PREFIX, Framing, frame_esp, frame_ike, receiver


@pytest.mark.requirement("TCP-02", "TCP-38")
@pytest.mark.parametrize("size", [28, 65_529, 65_530, 262_144])
def test_a_raw_message_is_sent_as_it_is(size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert frame_ike(Framing.IKE_TCP, message) == message


@pytest.mark.requirement("ENC-010", "ENC-017")
def test_an_encapsulated_message_in_octets() -> None:
    assert frame_ike(Framing.ENCAPSULATED, b"m" * 28) == bytes.fromhex("0022 00000000") + b"m" * 28


@pytest.mark.requirement("ENC-013")
def test_the_largest_encapsulated_message() -> None:
    assert frame_ike(Framing.ENCAPSULATED, b"m" * 65_529)[:6] == bytes.fromhex("ffff 00000000")
    with pytest.raises(LocalProtocolError, match="at most 65529 octets, not 65530"):
        frame_ike(Framing.ENCAPSULATED, b"m" * 65_530)


@pytest.mark.requirement("ENC-018")
def test_no_length_that_does_not_count_itself() -> None:
    assert frame_ike(Framing.ENCAPSULATED, b"")[:2] == b"\0\6"
    assert frame_esp(b"\0\0\0\1")[:2] == b"\0\6"


@pytest.mark.requirement("ENC-020")
def test_an_esp_packet_in_octets() -> None:
    assert frame_esp(bytes.fromhex("00000100 00000001 ab")) == bytes.fromhex("000b 00000100 00000001 ab")


@pytest.mark.requirement("ENC-013", "ENC-021")
@pytest.mark.parametrize("packet", [b"", b"\0\0\1", bytes(4), bytes(4) + b"x" * 40, b"\1" * 65_534])
def test_what_is_no_esp_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        frame_esp(packet)


@pytest.mark.requirement("ENC-013")
def test_the_largest_esp_packet() -> None:
    assert frame_esp(b"\1" * 65_533)[:2] == b"\xff\xff"


@pytest.mark.requirement("ENC-024")
def test_the_prefix_in_octets() -> None:
    assert bytes.fromhex("49 4b 45 54 43 50") == PREFIX
    stream = receiver(Framing.ENCAPSULATED, prefix=True, bound=lambda _: 0)
    stream.receive(PREFIX)
    assert stream.framing is Framing.ENCAPSULATED
    assert stream.at_boundary
