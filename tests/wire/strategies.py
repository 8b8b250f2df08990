"""Hypothesis strategies for every payload: values that can be sent, in the form that decoding gives them.

And `outcome`, which turns the one kind of error that octets may cause into a value.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TypeVar

from hypothesis import strategies as st

from ikecore.errors import RemoteProtocolError
from ikecore.wire import (
    Attribute,
    Authentication,
    Certificate,
    CertificateRequest,
    Configuration,
    ConfigurationAttribute,
    Delete,
    Eap,
    Encrypted,
    EncryptedFragment,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelector,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Transform,
    UnknownPayload,
    UnknownSelector,
    VendorId,
)
from ikecore.wire.numbers import (
    AuthMethod,
    CertEncoding,
    CfgAttribute,
    CfgType,
    EapCode,
    IdType,
    Ke,
    Notify,
    PayloadType,
    Protocol,
    TransformType,
    TsType,
    known,
)
from ikecore.wire.payloads import DECODERS, SEALED
from ikecore.wire.proposal import TRANSFORM_IDS

T = TypeVar("T")


def outcome(read: Callable[[], T]) -> T | RemoteProtocolError:
    """Return what *read* gives, or the one kind of error that it may raise."""
    try:
        return read()
    except RemoteProtocolError as error:
        return error


U8, U15, U16, U32 = (st.integers(0, 2**bits - 1) for bits in (8, 15, 16, 32))
OCTETS = st.binary(max_size=40)


def numbers(registry: type[IntEnum], size: int = 1) -> st.SearchStrategy[int]:
    """Numbers of a registry, and others that fit *size* octets."""
    return st.one_of(
        st.sampled_from(list(registry)), st.integers(0, 256**size - 1).map(lambda number: known(registry, number))
    )


def attributes() -> st.SearchStrategy[tuple[Attribute, ...]]:
    key_length = st.sampled_from([128, 192, 256]).map(lambda bits: (Attribute(14, bits),))
    any_ = st.lists(st.builds(Attribute, U15, st.one_of(U16, OCTETS)), max_size=3, unique_by=lambda item: item.type)
    return st.one_of(st.just(()), key_length, any_.map(tuple))


@st.composite
def transforms(draw: st.DrawFn) -> Transform:
    kind = draw(numbers(TransformType))
    registry = TRANSFORM_IDS.get(kind)
    number = draw(U16)
    return Transform(kind, known(registry, number) if registry else number, draw(attributes()))


SPI_SIZES: dict[int, tuple[int, ...]] = {Protocol.IKE: (0, 8), Protocol.AH: (4,), Protocol.ESP: (4,)}


@st.composite
def security_associations(draw: st.DrawFn) -> SecurityAssociation:
    found = []
    count = draw(st.integers(1, 3))
    first = 1 if count > 1 else draw(st.integers(1, 255))
    for number in range(first, first + count):
        protocol = draw(numbers(Protocol))
        size = draw(st.sampled_from(SPI_SIZES.get(protocol, (0, 3, 200))))
        spi = draw(st.binary(min_size=size, max_size=size))
        found.append(Proposal(number, protocol, spi, tuple(draw(st.lists(transforms(), min_size=1, max_size=5)))))
    return SecurityAssociation(tuple(found))


@st.composite
def identifications(draw: st.DrawFn) -> Payload:
    kind = draw(numbers(IdType))
    sizes: dict[int, int] = {IdType.ID_IPV4_ADDR: 4, IdType.ID_IPV6_ADDR: 16, IdType.ID_NULL: 0}
    if kind in sizes:
        data = draw(st.binary(min_size=sizes[kind], max_size=sizes[kind]))
    elif kind in (IdType.ID_FQDN, IdType.ID_RFC822_ADDR):
        data = draw(st.text("abc.-@é")).encode()
    else:
        data = draw(OCTETS)
    reserved = draw(st.sampled_from([b"\0\0\0", b"\1\2\3"]))
    if draw(st.booleans()):
        return IdentificationInitiator(kind, data, reserved)
    return IdentificationResponder(kind, data, reserved)


@st.composite
def address_ranges(draw: st.DrawFn) -> TrafficSelector:
    kind, size = draw(st.sampled_from([(TsType.TS_IPV4_ADDR_RANGE, 4), (TsType.TS_IPV6_ADDR_RANGE, 16)]))
    start, end = sorted(draw(st.tuples(*[st.binary(min_size=size, max_size=size)] * 2)))
    ports = draw(st.one_of(st.just((65535, 0)), st.tuples(U16, U16).map(lambda pair: (min(pair), max(pair)))))
    return TrafficSelector(kind, draw(U8), *ports, start, end)


def selectors() -> st.SearchStrategy[tuple[TrafficSelector | UnknownSelector, ...]]:
    unknown = st.builds(UnknownSelector, numbers(TsType).filter(lambda kind: kind not in (7, 8)), U8, OCTETS)
    return st.lists(st.one_of(address_ranges(), unknown), min_size=1, max_size=6).map(tuple)


@st.composite
def notifications(draw: st.DrawFn) -> Notification:
    kind, data = draw(numbers(Notify, 2)), draw(OCTETS)
    if draw(st.booleans()):
        return Notification(kind, data)
    return Notification(kind, data, draw(numbers(Protocol)), draw(st.binary(min_size=1, max_size=255)))


@st.composite
def deletes(draw: st.DrawFn) -> Delete:
    protocol = draw(numbers(Protocol))
    if protocol == Protocol.IKE:
        return Delete(protocol)
    size = 4 if protocol in (Protocol.AH, Protocol.ESP) else draw(st.integers(1, 9))
    return Delete(protocol, tuple(draw(st.lists(st.binary(min_size=size, max_size=size), max_size=4))))


CONFIGURATION_SIZES: dict[int, tuple[int, ...]] = {
    **dict.fromkeys((1, 2, 3, 4, 6, 20), (0, 4)),
    8: (0, 16, 17),
    **dict.fromkeys((10, 12, 21), (0, 16)),
    13: (0, 8),
    15: (0, 17),
}


@st.composite
def configuration_attributes(draw: st.DrawFn) -> ConfigurationAttribute:
    kind = draw(st.one_of(numbers(CfgAttribute), U15.map(lambda number: known(CfgAttribute, number))))
    size = draw(st.sampled_from(CONFIGURATION_SIZES.get(kind, (0, 1, 30))))
    return ConfigurationAttribute(kind, draw(st.binary(min_size=size, max_size=size)))


def eaps() -> st.SearchStrategy[Eap]:
    ends = st.builds(Eap, st.sampled_from([EapCode.SUCCESS, EapCode.FAILURE]), U8)
    others = numbers(EapCode).filter(lambda code: code not in (3, 4))
    return st.one_of(ends, st.builds(Eap, others, U8, st.binary(min_size=1, max_size=40)))


def unknown_payloads() -> st.SearchStrategy[UnknownPayload]:
    types = st.integers(1, 255).filter(lambda kind: kind not in DECODERS and kind not in SEALED)
    return st.builds(UnknownPayload, types, st.booleans(), OCTETS)


BY_TYPE: dict[int, st.SearchStrategy[Payload]] = {
    PayloadType.SA: security_associations(),
    PayloadType.KE: st.builds(KeyExchange, numbers(Ke, 2), OCTETS),
    PayloadType.IDi: identifications(),
    PayloadType.CERT: st.builds(Certificate, numbers(CertEncoding), OCTETS),
    PayloadType.CERTREQ: st.builds(CertificateRequest, numbers(CertEncoding), OCTETS),
    PayloadType.AUTH: st.builds(Authentication, numbers(AuthMethod), OCTETS),
    PayloadType.NONCE: st.builds(Nonce, st.binary(min_size=16, max_size=256)),
    PayloadType.NOTIFY: notifications(),
    PayloadType.DELETE: deletes(),
    PayloadType.VENDOR: st.builds(VendorId, OCTETS),
    PayloadType.TSi: st.builds(TrafficSelectorsInitiator, selectors()),
    PayloadType.TSr: st.builds(TrafficSelectorsResponder, selectors()),
    PayloadType.CP: st.builds(
        Configuration, numbers(CfgType), st.lists(configuration_attributes(), max_size=5).map(tuple)
    ),
    PayloadType.EAP: eaps(),
    255: unknown_payloads(),
}
"""A strategy for each payload that may stand anywhere in a chain."""

PAYLOADS = st.one_of(*BY_TYPE.values())
CHAINS = st.lists(PAYLOADS, max_size=6)


@st.composite
def fragments(draw: st.DrawFn) -> EncryptedFragment:
    total = draw(st.integers(1, 65535))
    return EncryptedFragment(draw(U8), draw(st.integers(1, total)), total, draw(OCTETS))


SEALED_PAYLOADS = st.one_of(st.builds(Encrypted, U8, OCTETS), fragments())
