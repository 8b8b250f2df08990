"""The raw framing, message by message."""

from __future__ import annotations

import struct

import pytest

from ikecore.framing import Framing, Receiver, receiver


def message(length: int, message_id: int = 0) -> bytes:
    return struct.pack("!8s8s4B2I", b"initiatr", b"responde", 0, 0x20, 37, 8, message_id, length).ljust(length, b"x")


def stream() -> Receiver:
    return receiver(Framing.IKE_TCP, prefix=True, bound=lambda _: 1000)


@pytest.mark.requirement("TCP-02", "TCP-41")
@pytest.mark.parametrize("lengths", [(28,), (29,), (28, 28), (28, 1000, 29)])
def test_messages_back_to_back(lengths: tuple[int, ...]) -> None:
    messages = [message(length, i) for i, length in enumerate(lengths)]
    assert stream().receive(b"".join(messages)) == messages


@pytest.mark.requirement("TCP-44", "TCP-45")
@pytest.mark.parametrize("length", [*range(28), 1001, 65_536, 1 << 31, 0xFFFFFFFF])
@pytest.mark.parametrize("before", [0, 1])
def test_an_impossible_length_ends_the_stream_with_its_header(length: int, before: int) -> None:
    bad = message(28)[:24] + length.to_bytes(4, "big")
    receiving = stream()
    assert receiving.receive(message(40) * before + bad[:27]) == [message(40)] * before
    assert receiving.fault is None
    assert receiving.receive(bad[27:]) == []
    assert receiving.fault is not None
    assert receiving.fault.octet == 40 * before + 24
    assert receiving.fault.scope == "stream"
    assert receiving.buffered == 0


@pytest.mark.requirement("TCP-46")
@pytest.mark.parametrize("major", [m for m in range(16) if m != 2])
def test_a_first_header_of_another_major_version_ends_the_stream(major: int) -> None:
    receiving = stream()
    assert receiving.receive(message(28)[:17] + bytes([major << 4])) == []
    assert receiving.fault is not None
    assert f"major version {major}" in str(receiving.fault)


@pytest.mark.requirement("TCP-46")
@pytest.mark.parametrize("minor", [0, 1, 15])
def test_any_minor_version_is_taken(minor: int) -> None:
    first = message(28)[:17] + bytes([0x20 | minor]) + message(28)[18:]
    assert stream().receive(first) == [first]


@pytest.mark.requirement("TCP-46")
def test_a_zero_spi_ends_the_stream() -> None:
    receiving = stream()
    assert receiving.receive(bytes(7)) == []
    assert receiving.fault is None
    assert receiving.receive(b"\0") == []
    assert receiving.fault is not None


@pytest.mark.requirement("TCP-46")
def test_one_octet_of_the_spi_is_enough_to_be_no_zero() -> None:
    first = bytes(7) + b"\1" + message(28)[8:]
    assert stream().receive(first) == [first]
