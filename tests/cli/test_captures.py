"""Hexadecimal text and bare octets to messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.framing import PREFIX, Framing, frame_esp, frame_ike
from ikecore.wire import Nonce, encode_message
from ikecore_trio.cli.captures import read_captured
from ikecore_trio.cli.problems import UsageProblem


def message(number: int = 0, nonce: bytes = bytes(32)) -> bytes:
    return encode_message(
        spi_i=b"initiatr", spi_r=bytes(8), exchange=34, flags=8, message_id=number, payloads=[Nonce(nonce)]
    )


def found(data: bytes) -> list[tuple[str, bytes]]:
    return [(each.kind, each.data) for each in read_captured(data, "file")]


ONE, TWO = message(1), message(2)
DUMP = "\n".join(f"{at:08x}: {ONE[at : at + 16].hex(' ', 2)}  ........" for at in range(0, len(ONE), 16))
WIRESHARK = "\n".join(f"{at:04x}  {ONE[at : at + 16].hex(' ')}" for at in range(0, len(ONE), 16))
CANONICAL = "\n".join(f"{at:08x}  {ONE[at : at + 16].hex(' ')}  |.|" for at in range(0, len(ONE), 16))
CANONICAL += f"\n{len(ONE):08x}\n"


@pytest.mark.parametrize(
    "text",
    [
        ONE.hex(),
        ONE.hex().upper(),
        ONE.hex(":"),
        "# a comment\n" + ONE.hex(" ") + "  # another\n",
        "0x" + ONE.hex(" ", 1).replace(" ", " 0x"),
        ONE.hex(",", 4),
        "\n".join(ONE.hex()[at : at + 64] for at in range(0, 2 * len(ONE), 64)),
        DUMP,
        WIRESHARK,
        CANONICAL,
    ],
    ids=["plain", "upper", "colons", "comments", "0x", "commas", "wrapped", "xxd", "wireshark", "hexdump"],
)
def test_hexadecimal_in_any_grouping(text: str) -> None:
    assert found(text.encode()) == [("ike", ONE)]


@pytest.mark.parametrize(
    "data",
    [ONE + TWO, ONE.hex().encode() + b"\n\n" + TWO.hex().encode(), (ONE.hex() + TWO.hex()).encode()],
    ids=["octets", "blank line", "one line"],
)
def test_several_messages(data: bytes) -> None:
    assert found(data) == [("ike", ONE), ("ike", TWO)]


def test_the_non_esp_marker_is_taken_off() -> None:
    assert found(bytes(4) + ONE) == [("ike", ONE)]
    assert found((bytes(4) + ONE).hex(" ", 2).encode()) == [("ike", ONE)]


def test_letters_beside_a_dump_that_look_like_octets() -> None:
    dump = "\n".join(f"{at:08x}: {ONE[at : at + 16].hex(' ', 2)}  ab cd ef" for at in range(0, len(ONE) - 15, 16))
    assert found(dump.encode()) == [("ike", ONE[: len(ONE) // 16 * 16])]


def test_a_stream_of_rfc_9329() -> None:
    stream = b"".join(
        [
            PREFIX + frame_ike(Framing.ENCAPSULATED, ONE),
            frame_esp(b"\1\2\3\4" + bytes(20)),
            frame_ike(Framing.ENCAPSULATED, TWO),
        ]
    )
    assert found(stream) == [("ike", ONE), ("esp", b"\1\2\3\4" + bytes(20)), ("ike", TWO)]
    assert [kind for kind, _ in found(stream[:-1])] == ["ike", "esp", "fault"]


def test_a_message_with_a_wrong_length_stays_whole() -> None:
    broken = ONE[:24] + (len(ONE) + 5).to_bytes(4, "big") + ONE[28:]
    assert found(broken) == [("ike", broken)]


@pytest.mark.parametrize("data", [b"", b"  \n \n"])
def test_an_empty_file(data: bytes) -> None:
    with pytest.raises(UsageProblem, match="file: the file is empty"):
        read_captured(data, "file")


def test_text_that_is_not_hexadecimal() -> None:
    with pytest.raises(UsageProblem, match="file: line 2 is not hexadecimal: 'hello'"):
        read_captured(b"ab cd\nhello\n", "file")


@given(st.binary(min_size=1))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    try:
        captured = read_captured(data, "file")
    except UsageProblem:
        return
    assert all(each.data or each.kind == "fault" for each in captured)
