"""Distinguished names: ours against those of `cryptography`, and octets that are none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto.names import (
    decode_name,
    elements,
    encode_name,
    is_one_sequence,
    name_fits,
    parse_name,
    printable,
    same_name,
)
from ikecore.errors import LocalProtocolError

KNOWN = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}
VALUES = st.text(st.characters(categories=["L", "N"], include_characters=" ,-'"), min_size=1, max_size=15).filter(
    lambda text: text == text.strip() and text.isprintable()
)


@given(parts=st.lists(st.tuples(st.sampled_from(sorted(KNOWN)), VALUES), min_size=1, max_size=6))
def test_names_are_written_as_cryptography_writes_them(parts: list[tuple[str, str]]) -> None:
    text = ", ".join(f"{word}={value.replace(',', chr(92) + ',')}" for word, value in parts)
    theirs = x509.Name([x509.NameAttribute(KNOWN[word], value) for word, value in parts]).public_bytes()
    ours = encode_name(text)
    assert ours == theirs
    assert decode_name(ours) == text
    assert same_name(ours, theirs)
    assert parse_name(ours) is not None


def test_kind_of_string_case_and_spaces_make_no_difference() -> None:
    printable_string = bytes.fromhex("300c310a300806035504031301") + b"A"
    utf8 = bytes.fromhex("300c310a300806035504030c01") + b"a"
    assert same_name(printable_string, utf8)
    bmp = bytes.fromhex("300d310b300906035504031e020041")
    assert same_name(bmp, utf8)
    assert decode_name(bmp) == "CN=A"
    assert not same_name(utf8, encode_name("O=a"))
    assert not same_name(utf8, encode_name("CN=a, CN=a"))


def test_unknown_attributes_and_strange_strings_are_shown_somehow() -> None:
    name = bytes.fromhex("3010310e300c06035504630c05") + b"\xff\x1b,\\x"
    assert decode_name(name) == "oid-550463=\\xff\\x1b\\,\\\\x"


@given(octets=st.binary(max_size=80))
def test_any_octets_are_a_name_or_none(octets: bytes) -> None:
    parsed, text = parse_name(octets), decode_name(octets)
    assert (parsed is None) == (text is None)
    assert text is None or text.isprintable()
    is_one_sequence(octets)


@given(position=st.integers(0, 200), octet=st.integers(0, 255), cut=st.integers(0, 200))
def test_a_damaged_name_is_a_name_or_none(position: int, octet: int, cut: int) -> None:
    octets = bytearray(encode_name("C=DE, O=Example, CN=" + "x" * 140))
    octets[position % len(octets)] = octet
    text = decode_name(bytes(octets)[: len(octets) - cut // 4])
    assert text is None or text.isprintable()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x31\0",
        b"\x30\x80",
        b"\x30\x84\0\0\0\0",
        b"\x30\x82\0",
        b"\x30\x05\x31\x03",
        b"\x30\0\x30\0",
        b"\x30\2\x30\0",
        bytes.fromhex("300c310a300804035504030c0161"),
        bytes.fromhex("3009310730050603550403"),
    ],
)
def test_octets_that_are_no_name(octets: bytes) -> None:
    assert parse_name(octets) is None
    assert decode_name(octets) is None


def test_a_long_name_takes_linear_time() -> None:
    text = ", ".join(["OU=unit"] * 4000)
    assert decode_name(encode_name(text)) == text


def test_a_long_name_is_not_read_to_its_end_to_be_told_from_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has many connections compares a stranger's name with all of theirs."""
    long, short = encode_name(", ".join(["OU=unit"] * 4000)), encode_name("OU=unit, OU=*")
    looked_at: list[int] = []

    def counted(data: bytes, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
        for element in elements(data, pos, end):
            looked_at.append(len(data))
            yield element

    monkeypatch.setattr("ikecore.crypto.names.elements", counted)
    assert not same_name(long, short)
    assert not name_fits(long, short)
    assert looked_at.count(len(long)) < 40
    assert name_fits(encode_name("OU=unit, OU=more"), short)


@pytest.mark.parametrize("text", ["", "CN", "CN=", "XY=1", "CN=a\nb", ", CN=a"])
def test_words_that_are_no_name(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="emailAddress"):
        encode_name(text)


def test_what_is_one_sequence() -> None:
    assert is_one_sequence(b"\x30\0")
    assert not is_one_sequence(b"\x30\0\0")
    assert not is_one_sequence(b"\x31\0")


@given(octets=st.binary(max_size=600))
def test_printable_is_one_line_of_bounded_length(octets: bytes) -> None:
    assert printable(octets).isprintable()
    assert len(printable(octets)) <= 4 * 256 + 30
