"""Traffic Selector payloads (RFC 7296 section 3.13).

The same selectors come and go several times while a Child SA is set up, and stay those of a peer that comes again. So
those read or written last are kept, by their octets and by their values; they are shared, and therefore frozen.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import ClassVar, Final

import attrs

from ..errors import InvalidSyntax, LocalProtocolError
from ..record import record
from .numbers import TsType, members

__all__ = [
    "KEPT_OCTETS",
    "Selector",
    "TrafficSelector",
    "TrafficSelectorsInitiator",
    "TrafficSelectorsResponder",
    "UnknownSelector",
    "decode_traffic_selectors_initiator",
    "decode_traffic_selectors_responder",
    "encode_selectors",
    "known_initiator",
    "known_responder",
]

_RANGES: Final[dict[int, struct.Struct]] = {  # type, protocol, length, start port, end port, start and end address
    TsType.TS_IPV4_ADDR_RANGE: struct.Struct("!BBHHH4s4s"),
    TsType.TS_IPV6_ADDR_RANGE: struct.Struct("!BBHHH16s16s"),
}
_UNKNOWN = struct.Struct("!BBH")  # type, protocol, length
_TYPES = members(TsType)
_KEPT: Final = 512
KEPT_OCTETS: Final = 256
_KEPT_SELECTORS: Final = 16
"""Longer lists are read and written afresh: few peers have them."""


@attrs.frozen(cache_hash=True)
class TrafficSelector:
    """A range of addresses, of ports and a protocol (RFC 7296 section 3.13.1), all ends inclusive.

    Protocol 0 is any; ports 0-65535 are any, 65535-0 is OPAQUE. For ICMP a port is type * 256 + code.
    `start` and `end` are addresses of 4 or 16 octets.
    """

    ts_type: int
    protocol: int
    start_port: int
    end_port: int
    start: bytes
    end: bytes

    def encode(self) -> bytes:
        """Return the octets."""
        layout, start, end = _RANGES.get(self.ts_type), self.start, self.end
        if layout is None or not len(start) == len(end) == (layout.size - 8) // 2:
            raise LocalProtocolError(f"{self}: the addresses do not have the length of the type")
        return layout.pack(self.ts_type, self.protocol, layout.size, self.start_port, self.end_port, start, end)


@attrs.frozen(cache_hash=True)
class UnknownSelector:
    """A selector of a type that is not an address range. `data` is what follows its length field."""

    ts_type: int
    protocol: int
    data: bytes

    def encode(self) -> bytes:
        """Return the octets."""
        return _UNKNOWN.pack(self.ts_type, self.protocol, 4 + len(self.data)) + self.data


Selector = TrafficSelector | UnknownSelector


def encode_selectors(selectors: tuple[Selector, ...]) -> bytes:
    """Return the body of a payload; raises LocalProtocolError unless there are 1 to 255 selectors."""
    return _written(selectors) if len(selectors) <= _KEPT_SELECTORS else _written.__wrapped__(selectors)


@lru_cache(maxsize=_KEPT)
def _written(selectors: tuple[Selector, ...]) -> bytes:
    if not 0 < len(selectors) < 256:
        raise LocalProtocolError(f"{len(selectors)} traffic selectors: a payload has 1 to 255")
    return b"".join([bytes((len(selectors), 0, 0, 0)), *[selector.encode() for selector in selectors]])


@record
class TrafficSelectorsInitiator:
    """Traffic Selector payload of the initiator, TSi (RFC 7296 section 3.13)."""

    TYPE: ClassVar[int] = 44
    selectors: tuple[Selector, ...]

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return encode_selectors(self.selectors)


@record
class TrafficSelectorsResponder:
    """Traffic Selector payload of the responder, TSr (RFC 7296 section 3.13)."""

    TYPE: ClassVar[int] = 45
    selectors: tuple[Selector, ...]

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return encode_selectors(self.selectors)


def decode_traffic_selectors_initiator(data: bytes, pos: int, end: int) -> TrafficSelectorsInitiator:
    """Read a TSi payload body; raises InvalidSyntax for bad counts, lengths or ranges that go downwards."""
    return TrafficSelectorsInitiator(_selectors(data, pos, end))


def decode_traffic_selectors_responder(data: bytes, pos: int, end: int) -> TrafficSelectorsResponder:
    """Read a TSr payload body; raises InvalidSyntax for bad counts, lengths or ranges that go downwards."""
    return TrafficSelectorsResponder(_selectors(data, pos, end))


def _selectors(data: bytes, pos: int, end: int) -> tuple[Selector, ...]:
    if end - pos <= KEPT_OCTETS:
        try:
            return _known(data[pos:end])
        except InvalidSyntax:
            pass  # below it gets its offset
    return _read(data, pos, end)


@lru_cache(maxsize=_KEPT)
def _known(body: bytes) -> tuple[Selector, ...]:
    return _read(body, 0, len(body))


@lru_cache(maxsize=_KEPT)
def known_initiator(body: bytes) -> TrafficSelectorsInitiator:
    """Read a TSi payload body of at most KEPT_OCTETS; raises InvalidSyntax, with the offset in *body*."""
    return TrafficSelectorsInitiator(_known(body))


@lru_cache(maxsize=_KEPT)
def known_responder(body: bytes) -> TrafficSelectorsResponder:
    """Read a TSr payload body of at most KEPT_OCTETS; raises InvalidSyntax, with the offset in *body*."""
    return TrafficSelectorsResponder(_known(body))


def _read(data: bytes, pos: int, end: int) -> tuple[Selector, ...]:
    if end - pos < 4:
        raise InvalidSyntax("traffic selector payload too short", pos)
    count = data[pos]
    if not count:
        raise InvalidSyntax("traffic selector payload without a selector", pos)
    pos += 4
    selectors: list[Selector] = []
    for _ in range(count):
        if end - pos < 4:
            raise InvalidSyntax("traffic selector cut off", pos)
        layout = _RANGES.get(data[pos])
        if layout is None:
            kind, protocol, length = _UNKNOWN.unpack_from(data, pos)
            stop = pos + length
            if length < 4 or stop > end:
                raise InvalidSyntax(f"traffic selector says it is {length} octets long", pos + 2)
            selectors.append(UnknownSelector(_TYPES.get(kind, kind), protocol, data[pos + 4 : stop]))
        else:
            stop = pos + layout.size
            if stop > end:
                raise InvalidSyntax("traffic selector cut off", pos)
            selectors.append(_address_range(layout, data, pos))
        pos = stop
    if pos != end:
        raise InvalidSyntax(f"{end - pos} octets after the last traffic selector", pos)
    return tuple(selectors)


def _address_range(layout: struct.Struct, data: bytes, pos: int) -> TrafficSelector:
    kind, protocol, length, start_port, end_port, start, last = layout.unpack_from(data, pos)
    if length != layout.size:
        raise InvalidSyntax(f"traffic selector says it is {length} octets long", pos + 2)
    if start > last:
        raise InvalidSyntax("traffic selector whose addresses go downwards", pos + 8)
    if start_port > end_port and (start_port, end_port) != (65535, 0):
        raise InvalidSyntax("traffic selector whose ports go downwards", pos + 4)
    return TrafficSelector(_TYPES[kind], protocol, start_port, end_port, start, last)
