"""Length fields that lie, octets that change, messages that are cut: every case by name, on recorded and made messages.

The places of length and count fields are found here, by a reading of the layouts of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from ikecore.errors import InvalidSyntax, RemoteProtocolError
from ikecore.wire import (
    Attribute,
    Configuration,
    ConfigurationAttribute,
    Delete,
    Eap,
    IdentificationInitiator,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelector,
    TrafficSelectorsInitiator,
    Transform,
    UnknownPayload,
    UnknownSelector,
    decode_envelope,
    decode_message,
    decode_payloads,
    encode_message,
    encode_payloads,
)
from ikecore.wire.describe import describe_chain, describe_message
from ikecore.wire.numbers import INITIATOR, CfgType, EapCode, Exchange, IdType, Notify, Protocol, TransformType, TsType
from tests.recorded import Inner, inner_chains, messages
from tests.wire.strategies import outcome

TRANSFORMS = (
    Transform(TransformType.ENCR, 12, (Attribute(14, 256),)),
    Transform(TransformType.PRF, 5, (Attribute(77, b"long value"), Attribute(78, b"v"))),
)
EVERYTHING: list[Payload] = [
    SecurityAssociation(
        (
            Proposal(1, Protocol.ESP, b"spi1", TRANSFORMS),
            Proposal(2, Protocol.IKE, b"", TRANSFORMS[:1]),
            Proposal(3, Protocol.IKE, b"spi of 8", TRANSFORMS),
        )
    ),
    Nonce(bytes(32)),
    IdentificationInitiator(IdType.ID_IPV4_ADDR, bytes(4)),
    Notification(Notify.REKEY_SA, b"data", Protocol.ESP, b"spi1"),
    Notification(Notify.COOKIE, b"cookie"),
    Delete(Protocol.ESP, (b"spi1", b"spi2")),
    TrafficSelectorsInitiator(
        (
            TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 6, 0, 65535, bytes(4), b"\xff" * 4),
            UnknownSelector(TsType.TS_SECLABEL, 0, b"label"),
            TrafficSelector(TsType.TS_IPV6_ADDR_RANGE, 0, 65535, 0, bytes(16), b"\xff" * 16),
        )
    ),
    Configuration(CfgType.CFG_REPLY, (ConfigurationAttribute(1, b"\n\0\0\1"), ConfigurationAttribute(7, b"version"))),
    Eap(EapCode.REQUEST, 7, b"\x01who"),
    UnknownPayload(200, False, b"what"),
]
MESSAGE = encode_message(
    spi_i=b"initiatr",
    spi_r=bytes(8),
    exchange=Exchange.IKE_SA_INIT,
    flags=INITIATOR,
    message_id=0,
    payloads=EVERYTHING,
)


def chain_fields(first: int, data: bytes, pos: int) -> Iterator[tuple[int, int, str]]:
    """Find the length and count fields of a well-formed chain: offset, octets, what it is."""
    while first:
        following, length = data[pos], int.from_bytes(data[pos + 2 : pos + 4], "big")
        yield pos + 2, 2, f"length of payload {first}"
        body, end = pos + 4, pos + length
        if first == 33:
            yield from proposal_fields(data, body, end)
        elif first == 41:
            yield body + 1, 1, "SPI size of notify"
        elif first == 42:
            yield from ((body + 1, 1, "SPI size of delete"), (body + 2, 2, "number of SPIs"))
        elif first in (44, 45):
            yield body, 1, "number of selectors"
            yield from nested(data, body + 4, end, 2, 0, "length of selector")
        elif first == 47:
            yield from nested(data, body + 4, end, 2, 4, "length of configuration attribute")
        elif first == 48:
            yield body + 2, 2, "length of EAP"
        first, pos = following, end


def nested(data: bytes, pos: int, end: int, at: int, more: int, what: str) -> Iterator[tuple[int, int, str]]:
    while pos < end:
        yield pos + at, 2, what
        pos += more + int.from_bytes(data[pos + at : pos + at + 2], "big")


def proposal_fields(data: bytes, pos: int, end: int) -> Iterator[tuple[int, int, str]]:
    while pos < end:
        yield from ((pos + 2, 2, "length of proposal"), (pos + 6, 1, "SPI size"), (pos + 7, 1, "number of transforms"))
        stop = pos + int.from_bytes(data[pos + 2 : pos + 4], "big")
        inner = pos + 8 + data[pos + 6]
        while inner < stop:
            yield inner + 2, 2, "length of transform"
            last = inner + int.from_bytes(data[inner + 2 : inner + 4], "big")
            inner += 8
            while inner < last:
                if data[inner] & 0x80:
                    inner += 4
                else:
                    yield inner + 2, 2, "length of transform attribute"
                    inner += 4 + int.from_bytes(data[inner + 2 : inner + 4], "big")
        pos = stop


FIELDS = [(24, 4, "length of header"), *chain_fields(33, MESSAGE, 28)]


def fault(read: Callable[[], object]) -> RemoteProtocolError | None:
    """Return the typed error that *read* raises, if it does; it has to name an octet."""
    found = outcome(read)
    if not isinstance(found, RemoteProtocolError):
        return None
    assert found.octet is not None
    return found


def test_all_kinds_of_length_fields_are_tried() -> None:
    assert decode_message(MESSAGE)[1] == EVERYTHING
    assert len({what for _, _, what in FIELDS}) == 22


@pytest.mark.requirement("IKE-240", "IKE-243", "IKE-248", "IKE-249", "IKE-253", "IKE-278", "IKE-283", "IKE-304")
@pytest.mark.parametrize(("offset", "size", "what"), FIELDS, ids=[f"{what} at {at}" for at, _, what in FIELDS])
def test_length_fields_that_lie_are_malformed(offset: int, size: int, what: str) -> None:
    true = int.from_bytes(MESSAGE[offset : offset + size], "big")
    most = 256**size - 1
    for value in {0, 1, 2, 3, 4, 7, 8, true - 1, true + 1, true + 4, len(MESSAGE), len(MESSAGE) + 1, most - 1, most}:
        if not 0 <= value <= most or value == true:
            continue
        changed = MESSAGE[:offset] + value.to_bytes(size, "big") + MESSAGE[offset + size :]
        error = fault(partial(decode_message, changed))
        # Only where SPI and data of a notification meet does the length decide what the octets are.
        assert error is not None or what == "SPI size of notify", (what, value)
        assert error is None or 0 <= (error.octet or 0) <= len(MESSAGE)
        assert list(describe_message(changed))


@pytest.mark.requirement("IKE-248")
@pytest.mark.parametrize("end", range(len(MESSAGE)))
def test_made_message_cut_at_each_octet_is_malformed(end: int) -> None:
    with pytest.raises(InvalidSyntax):
        decode_message(MESSAGE[:end])
    if end >= 28:
        mended = MESSAGE[:24] + struct.pack("!I", end) + MESSAGE[28:end]
        assert fault(partial(decode_message, mended)) is not None
        described = list(describe_message(mended))
        assert any(item.error for item in described[1:])


def test_made_message_survives_every_value_of_every_octet() -> None:
    for offset in range(len(MESSAGE)):
        for value in (0, 1, 2, 3, 33, 46, 53, 127, 128, 254, 255):
            changed = MESSAGE[:offset] + bytes((value,)) + MESSAGE[offset + 1 :]
            found = outcome(partial(decode_message, changed))
            if isinstance(found, RemoteProtocolError):
                assert found.octet is not None
            else:
                first, chain = encode_payloads(found[1])
                assert decode_payloads(first, chain, 0, len(chain)) == found[1]


@pytest.mark.requirement("IKE-240", "IKE-248")
@pytest.mark.parametrize("name", messages())
def test_recorded_message_cut_or_longer_is_malformed(name: str) -> None:
    data = messages()[name]
    for end in range(len(data)):
        with pytest.raises(InvalidSyntax):
            decode_envelope(data[:end])
        if end >= 28:
            mended = data[:24] + struct.pack("!I", end) + data[28:end]
            assert fault(partial(decode_envelope, mended)) is not None
    with pytest.raises(InvalidSyntax):
        decode_envelope(data + b"\0")


@pytest.mark.requirement("IKE-248")
@pytest.mark.parametrize("name", messages())
def test_recorded_message_with_one_octet_changed_is_a_value_or_a_typed_error(name: str) -> None:
    data = messages()[name]
    end = len(data) if data[16] == 33 else 40  # beyond it, only the ICV can tell
    for offset in range(end):
        for change in (0x01, 0x80, 0xFF):
            changed = data[:offset] + bytes((data[offset] ^ change,)) + data[offset + 1 :]
            fault(partial(decode_envelope, changed))


@pytest.mark.requirement("IKE-248")
@pytest.mark.parametrize("inner", inner_chains(), ids=lambda inner: inner.name)
def test_recorded_inner_chain_cut_or_changed_is_a_value_or_a_typed_error(inner: Inner) -> None:
    chain = inner.chain
    for end in range(len(chain)):
        assert fault(partial(decode_payloads, inner.first, chain[:end], 0, end))
    step = 1 if len(chain) < 600 else 7
    for offset in range(0, len(chain), step):
        for change in (0x01, 0x80, 0xFF):
            changed = chain[:offset] + bytes((chain[offset] ^ change,)) + chain[offset + 1 :]
            fault(partial(decode_payloads, inner.first, changed, 0, len(changed)))


def test_description_of_a_changed_chain_agrees_with_decoding() -> None:
    first, chain = encode_payloads(EVERYTHING)
    for offset in range(len(chain)):
        changed = chain[:offset] + bytes((chain[offset] ^ 0x11,)) + chain[offset + 1 :]
        error = fault(partial(decode_payloads, first, changed, 0, len(changed)))
        faults = [item.fault for item in describe_chain(first, changed, 0, len(changed)) if item.error]
        assert (error is None) == (not faults)
        if error is not None:
            assert faults[0] == error.octet
