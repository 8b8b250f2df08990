"""What is seen of an IKE_SA_INIT request at a glance is what the decoders see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import InvalidSyntax
from ikecore.wire import (
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    VendorId,
    cookie_demand,
    decode_message,
    encode_message,
    is_whole,
    nonce_without_cookie,
    triage,
)
from ikecore.wire.numbers import INITIATOR, RESPONSE, Exchange, Notify

SPI = b"spi of i"
NONCE = Nonce(b"n" * 32)
COOKIE = Notification(Notify.COOKIE, b"c" * 33)


def request(*payloads: Payload) -> bytes:
    return encode_message(
        spi_i=SPI,
        spi_r=bytes(8),
        exchange=Exchange.IKE_SA_INIT,
        flags=INITIATOR,
        message_id=0,
        payloads=payloads,
    )


def glance(data: bytes) -> bytes | None:
    return nonce_without_cookie(data[16], data)


@pytest.mark.parametrize("before", [(), (KeyExchange(31, b"k" * 32),), (VendorId(b"v"), Notification(16404, b"x"))])
def test_the_nonce_is_found_behind_anything(before: tuple[Payload, ...]) -> None:
    assert glance(request(*before, NONCE, VendorId(b"more"))) == NONCE.data


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_cookie_is_seen_wherever_it_stands(place: int) -> None:
    payloads: list[Payload] = [KeyExchange(31, b"k" * 32), NONCE]
    assert glance(request(*payloads)) == NONCE.data
    payloads.insert(place, COOKIE)
    assert glance(request(*payloads)) is None


def test_what_has_no_good_nonce_has_none() -> None:
    assert glance(request(KeyExchange(31, b"k"))) is None
    assert glance(request(KeyExchange(31, b"k"), VendorId(b"v"))) is None
    assert glance(request(*[VendorId(b"v")] * 16, NONCE)) is None
    short = bytearray(request(NONCE))
    short[30:32] = (4 + 15).to_bytes(2, "big")
    assert glance(bytes(short)) is None


@given(data=st.binary(max_size=120), first=st.integers(0, 255))
def test_octets_that_are_no_chain_are_no_trouble(data: bytes, first: int) -> None:
    found = nonce_without_cookie(first, bytes(28) + data)
    assert found is None or found in data


@given(cut=st.integers(0, 200), noise=st.binary(max_size=3))
def test_a_message_is_whole_where_triage_says_so(cut: int, noise: bytes) -> None:
    data = (request(KeyExchange(31, b"k" * 32), NONCE) + noise)[: max(28, cut)]
    try:
        triage(data)
        good = True
    except InvalidSyntax:
        good = False
    assert is_whole(data) is good


def test_the_demand_is_what_the_encoder_writes() -> None:
    demand = cookie_demand(SPI, bytes(8), COOKIE.data)
    assert demand == encode_message(
        spi_i=SPI,
        spi_r=bytes(8),
        exchange=Exchange.IKE_SA_INIT,
        flags=RESPONSE,
        message_id=0,
        payloads=[COOKIE],
    )
    assert decode_message(demand)[1] == [COOKIE]
