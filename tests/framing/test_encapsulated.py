"""RFC 9329 framing, unit by unit."""

from __future__ import annotations

import struct

import pytest

from ikecore.framing import PREFIX, EspPacket, Frame, Framing, receiver

IKE = struct.pack("!8s8s4B2I", b"initiatr", b"responde", 0, 0x20, 37, 8, 0, 28)


def frames(octets: bytes) -> list[Frame]:
    stream = receiver(Framing.ENCAPSULATED, prefix=True, bound=lambda _: 65_535)
    found = stream.receive(PREFIX + octets)
    assert stream.fault is None
    assert stream.at_boundary
    return found


@pytest.mark.requirement("ENC-010", "ENC-011", "ENC-017")
def test_an_ike_message_stands_behind_length_and_marker() -> None:
    assert frames(bytes.fromhex("0022 00000000") + IKE) == [IKE]


@pytest.mark.requirement("ENC-011", "ENC-020")
def test_what_does_not_begin_with_four_zero_octets_is_esp() -> None:
    packet = bytes.fromhex("00000001 00000001") + bytes(20)
    assert frames(bytes.fromhex("001e") + packet) == [EspPacket(packet)]
    assert frames(bytes.fromhex("0006 01000000 0006 00000001")) == [EspPacket(b"\1\0\0\0"), EspPacket(b"\0\0\0\1")]


@pytest.mark.requirement("ENC-014")
def test_an_empty_message_is_ignored() -> None:
    unit = bytes.fromhex("0022 00000000") + IKE
    assert frames(unit + b"\0\2" + unit + b"\0\2\0\2") == [IKE, IKE]


@pytest.mark.requirement("ENC-015", "ENC-077", "ENC-078")
def test_a_keepalive_is_dropped() -> None:
    assert frames(bytes.fromhex("0003 ff 0022 00000000") + IKE + bytes.fromhex("0003 ff")) == [IKE]


@pytest.mark.requirement("ENC-022")
@pytest.mark.parametrize("unit", ["0003 00", "0004 0000", "0005 000000", "0005 010203", "0006 00000000"])
def test_what_is_too_short_is_dropped_and_the_stream_goes_on(unit: str) -> None:
    assert frames(bytes.fromhex(unit + "0022 00000000") + IKE) == [IKE]


@pytest.mark.requirement("ENC-022")
@pytest.mark.parametrize("size", range(28))
def test_a_marker_with_less_than_a_header_is_dropped(size: int) -> None:
    assert frames((size + 6).to_bytes(2, "big") + bytes(4) + IKE[:size] + bytes.fromhex("0022 00000000") + IKE) == [IKE]


@pytest.mark.requirement("ENC-023")
@pytest.mark.parametrize("claimed", [0, 27, 29, 0xFFFFFFFF])
def test_a_header_length_that_disagrees_is_left_to_who_decodes(claimed: int) -> None:
    wrong = IKE[:24] + claimed.to_bytes(4, "big")
    assert frames(bytes.fromhex("0022 00000000") + wrong + bytes.fromhex("0022 00000000") + IKE) == [wrong, IKE]


@pytest.mark.requirement("ENC-013")
def test_the_largest_units() -> None:
    largest = IKE[:24] + (65_529).to_bytes(4, "big") + bytes(65_501)
    assert frames(b"\xff\xff\0\0\0\0" + largest) == [largest]
    assert frames(b"\xff\xff" + b"\1" * 65_533) == [EspPacket(b"\1" * 65_533)]
