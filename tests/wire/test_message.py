"""Whole messages: envelopes, golden octets, and what we ourselves may not send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import InvalidSyntax, LocalProtocolError
from ikecore.wire import (
    Encrypted,
    EncryptedFragment,
    Envelope,
    Nonce,
    Notification,
    Payload,
    UnknownPayload,
    VendorId,
    decode_envelope,
    decode_message,
    encode_message,
)
from ikecore.wire.numbers import INITIATOR, RESPONSE, Exchange, Notify
from tests.wire.strategies import CHAINS, SEALED_PAYLOADS, U32


def write(payloads: list[Payload], *, flags: int = INITIATOR, message_id: int = 0, exchange: int = 34) -> bytes:
    return encode_message(
        spi_i=b"initiatr", spi_r=bytes(8), exchange=exchange, flags=flags, message_id=message_id, payloads=payloads
    )


@pytest.mark.requirement("IKE-083", "IKE-235")
def test_golden_message() -> None:
    octets = write([Notification(Notify.COOKIE, b"\xaa\xbb"), VendorId(b"\xcc")])
    assert octets == bytes.fromhex(
        "696e6974 69617472 00000000 00000000 29202208 00000000 0000002b 2b00000a 00004006 aabb0000 0005cc"
    )


@given(CHAINS, st.sampled_from(list(Exchange)), st.integers(0, 255), U32)
def test_messages_survive_the_wire(payloads: list[Payload], exchange: int, flags: int, message_id: int) -> None:
    data = write(payloads, flags=flags, message_id=message_id, exchange=exchange)
    header, found = decode_message(data)
    if not flags & RESPONSE:
        assert found == payloads
    assert (header.exchange, header.flags, header.message_id, header.length) == (exchange, flags, message_id, len(data))
    assert decode_envelope(data) == Envelope(header, found, None, len(data), data)


@pytest.mark.requirement("IKE-241", "IKE-294", "FRAG-18", "FRAG-34")
@given(CHAINS, SEALED_PAYLOADS)
def test_envelopes_survive_the_wire(payloads: list[Payload], sealed: Encrypted | EncryptedFragment) -> None:
    data = write([*payloads, sealed])
    envelope = decode_envelope(data)
    assert envelope.payloads == payloads
    assert envelope.encrypted == sealed
    assert data[envelope.body :] == sealed.data
    assert data[: envelope.body] + sealed.data == data


@pytest.mark.requirement("IKE-241")
def test_message_that_has_to_be_readable_is_not_encrypted() -> None:
    with pytest.raises(InvalidSyntax, match="encrypted payload"):
        decode_message(write([Encrypted(0, b"sealed")]))


@pytest.mark.requirement("IKE-089")
def test_responses_never_have_critical_bits() -> None:
    payloads: list[Payload] = [UnknownPayload(200, True, b"")]
    assert write(payloads)[29] == 0x80
    assert write(payloads, flags=RESPONSE)[29] == 0


@pytest.mark.requirement("IKE-093")
def test_payloads_are_sent_in_the_order_given() -> None:
    payloads: list[Payload] = [Nonce(bytes(16)), VendorId(b"a"), Notification(Notify.COOKIE), VendorId(b"b")]
    assert decode_message(write(payloads))[1] == payloads


def test_bound_on_the_number_of_payloads() -> None:
    data = write([VendorId(b"")] * 5)
    assert len(decode_message(data, most=5)[1]) == 5
    for read in (decode_message, decode_envelope):
        with pytest.raises(InvalidSyntax, match="more than 4 payloads"):
            read(data, most=4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spi_i": b"short"},
        {"spi_r": b"more than 8"},
        {"exchange": 256},
        {"flags": 256},
        {"message_id": 2**32},
        {"message_id": -1},
        {"payloads": [VendorId(bytes(65533))]},
    ],
)
def test_what_does_not_fit_is_our_own_fault(wrong: dict) -> None:
    fields = {"spi_i": bytes(8), "spi_r": bytes(8), "exchange": 34, "flags": 8, "message_id": 0, "payloads": []}
    with pytest.raises(LocalProtocolError):
        encode_message(**{**fields, **wrong})
