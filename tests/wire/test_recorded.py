"""Recorded messages of real daemons: read, recognised, and written again octet by octet."""

from __future__ import annotations

from collections import Counter

import pytest

from ikecore.wire import decode_envelope, decode_message, decode_payloads, encode_message, encode_payloads, match
from ikecore.wire.numbers import Exchange
from tests.recorded import Inner, exchanges, inner_chains, messages


@pytest.mark.parametrize("name", messages())
def test_recorded_message_is_written_as_it_was_read(name: str) -> None:
    data = messages()[name]
    envelope = decode_envelope(data)
    header = envelope.header
    payloads = [*envelope.payloads, *([envelope.encrypted] if envelope.encrypted else [])]
    assert header.encode() == data[:28]
    again = encode_message(
        spi_i=header.spi_i,
        spi_r=header.spi_r,
        exchange=header.exchange,
        flags=header.flags,
        message_id=header.message_id,
        payloads=payloads,
    )
    assert again == data


@pytest.mark.requirement("IKE-294", "FRAG-18")
@pytest.mark.parametrize("name", messages())
def test_body_of_an_envelope_is_where_the_encrypted_octets_begin(name: str) -> None:
    envelope = decode_envelope(messages()[name])
    if envelope.encrypted is None:
        assert envelope.body == len(envelope.data)
        assert envelope.payloads == decode_message(envelope.data)[1]
    else:
        assert envelope.data[envelope.body :] == envelope.encrypted.data
        assert envelope.body == {46: 32, 53: 36}[envelope.encrypted.TYPE]


@pytest.mark.parametrize("inner", inner_chains(), ids=lambda inner: inner.name)
def test_recorded_inner_chain_is_written_as_it_was_read(inner: Inner) -> None:
    payloads = decode_payloads(inner.first, inner.chain, 0, len(inner.chain))
    assert encode_payloads(payloads) == (inner.first, inner.chain)


def shape(inner: Inner) -> str:
    payloads = decode_payloads(inner.first, inner.chain, 0, len(inner.chain))
    return match(inner.exchange, inner.is_response, payloads).shape


@pytest.mark.parametrize("name", sorted(exchanges()))
def test_recorded_exchanges_have_the_shapes_that_they_had(name: str) -> None:
    unprotected = [decode_envelope(data) for key, data in messages().items() if key.rpartition("-")[0] == name]
    init = [
        match(envelope.header.exchange, envelope.header.is_response, envelope.payloads).shape
        for envelope in unprotected
        if envelope.header.exchange == Exchange.IKE_SA_INIT
    ]
    assert init[0] == "initiate"
    assert init[-1] == "accepted"
    found = Counter(shape(inner) for inner in inner_chains() if inner.name.rpartition("-")[0] == name)
    assert found["established"] + found["established without child"] <= 1
    assert not found["refused"]


def test_the_childless_run_is_childless() -> None:
    shapes = {shape(inner) for inner in inner_chains() if "childless" in inner.name}
    assert {"authenticate childless", "established without child", "rekey ike"} <= shapes
    shapes = {shape(inner) for inner in inner_chains() if inner.name.startswith("strongswan-udp-psk-aes")}
    assert shapes == {"authenticate", "established", "child", "rekey ike", "any"}
