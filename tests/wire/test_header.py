"""The header: golden octets, what is checked at once, what is ignored."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import InvalidMajorVersion, InvalidSyntax, RemoteProtocolError
from ikecore.wire import HEADER_LENGTH, Header, decode_envelope, decode_header, decode_message, triage
from ikecore.wire.numbers import Exchange
from tests.wire.strategies import outcome

GOLDEN = bytes.fromhex("0102030405060708 1112131415161718 00 20 22 08 00000007 0000001c")


def changed(offset: int, octets: bytes) -> bytes:
    return GOLDEN[:offset] + octets + GOLDEN[offset + len(octets) :]


@pytest.mark.requirement("TCP-39")
def test_golden_header() -> None:
    header = decode_header(GOLDEN)
    assert header == Header(GOLDEN[:8], GOLDEN[8:16], 0, 0x20, Exchange.IKE_SA_INIT, 0x08, 7, 28)
    assert isinstance(header.exchange, Exchange)
    assert header.encode() == GOLDEN
    assert len(GOLDEN) == HEADER_LENGTH
    assert (header.is_initiator, header.is_request, header.is_response) == (True, True, False)
    assert triage(GOLDEN) == (GOLDEN[:8], GOLDEN[8:16], 0, 0x20, 34, 0x08, 7, 28)


@given(st.binary(min_size=28, max_size=28), st.binary(max_size=4), st.binary(max_size=4))
def test_headers_survive_the_wire(octets: bytes, before: bytes, after: bytes) -> None:
    octets = b"s" + octets[1:17] + b"\x20" + octets[18:]
    header = decode_header(before + octets + after, len(before))
    assert header.encode() == octets


@given(st.binary(max_size=60))
def test_any_octets_are_a_header_or_a_typed_error(octets: bytes) -> None:
    for read in (decode_header, triage, decode_message, decode_envelope):
        found = outcome(partial(read, octets))
        assert not isinstance(found, RemoteProtocolError) or found.octet is not None


@pytest.mark.parametrize("end", range(28))
def test_less_than_a_header_is_malformed(end: int) -> None:
    for read in (decode_header, triage):
        with pytest.raises(InvalidSyntax):
            read(GOLDEN[:end])


@pytest.mark.requirement("IKE-083")
@pytest.mark.parametrize("version", [0x20, 0x21, 0x2F])
def test_minor_version_is_ignored(version: int) -> None:
    assert decode_header(changed(17, bytes([version]))).version == version
    assert triage(changed(17, bytes([version])))[3] == version


@pytest.mark.requirement("IKE-084", "IKE-085")
@pytest.mark.parametrize("version", [0x00, 0x10, 0x1F, 0x30, 0xF0])
def test_other_major_versions_are_told_apart(version: int) -> None:
    for read in (decode_header, triage):
        with pytest.raises(InvalidMajorVersion) as caught:
            read(changed(17, bytes([version])))
        assert caught.value.version == version
        assert caught.value.octet == 17


@pytest.mark.requirement("IKE-234")
def test_initiators_spi_is_not_zero() -> None:
    for read in (decode_header, triage):
        with pytest.raises(InvalidSyntax, match="SPI is zero"):
            read(changed(0, bytes(8)))


@pytest.mark.requirement("IKE-236", "IKE-237")
@pytest.mark.parametrize("flags", range(256))
def test_flags_without_meaning_are_ignored(flags: int) -> None:
    header = decode_header(changed(19, bytes([flags])))
    assert header.is_initiator == (flags & 8 != 0)
    assert header.is_response == (flags & 32 != 0) == (not header.is_request)


@pytest.mark.requirement("IKE-240")
@pytest.mark.parametrize("length", [0, 27, 29, 0xFFFFFFFF])
def test_length_that_is_not_the_messages_is_malformed(length: int) -> None:
    for read in (triage, decode_message, decode_envelope):
        with pytest.raises(InvalidSyntax) as caught:
            read(changed(24, length.to_bytes(4, "big")))
        assert caught.value.octet == 24
    assert decode_header(changed(24, length.to_bytes(4, "big"))).length == length


def test_unknown_exchange_stays_a_number() -> None:
    header = decode_header(changed(18, b"\xf0"))
    assert header.exchange == 240
    assert type(header.exchange) is int
