"""Traffic selectors as sets: what two lists have in common (RFC 7296 section 2.9), and selectors in words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range

from ..errors import LocalProtocolError
from ..transport import packed_address
from ..wire import TrafficSelector, UnknownSelector
from ..wire.numbers import TsType
from ..wire.selectors import decode_traffic_selectors_initiator, encode_selectors

__all__ = [
    "ANY_PORT",
    "address_of",
    "covers",
    "host_selector",
    "in_words",
    "intersect",
    "moved_to",
    "narrow",
    "packed",
    "packet_first",
    "parse_selector",
    "same_address",
    "unpacked",
    "words_of",
]

ANY_PORT = (0, 65535)
OPAQUE = (65535, 0)
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}


def packed(selectors: Sequence[TrafficSelector]) -> bytes:
    """Return the octets that `unpacked` reads."""
    return encode_selectors(tuple(selectors))


@lru_cache(maxsize=256)
def unpacked(octets: bytes) -> tuple[TrafficSelector, ...]:
    """Read the selectors of a Child SA again. The last ones are kept: whoever asks for one asks for several things."""
    found = decode_traffic_selectors_initiator(octets, 0, len(octets)).selectors
    return tuple([each for each in found if isinstance(each, TrafficSelector)])


@lru_cache(maxsize=256)
def words_of(octets: bytes) -> tuple[str, ...]:
    """Write packed selectors in words, see `in_words`. The last ones are kept: many peers get the same network."""
    return tuple([in_words(each) for each in unpacked(octets)])


@lru_cache(maxsize=1024)
def host_selector(address: str) -> TrafficSelector:
    """Select everything to or from one address. Kept, because a Child SA asks several times for the same two."""
    octets = packed_address(address)
    kind = TsType.TS_IPV4_ADDR_RANGE if len(octets) == 4 else TsType.TS_IPV6_ADDR_RANGE
    alone = bytes((1, 0, 0, 0)) + TrafficSelector(kind, 0, *ANY_PORT, octets, octets).encode()
    return unpacked(alone)[0]  # the very object that a peer's octets are read as: comparing them costs nothing


def address_of(selectors: Sequence[TrafficSelector | UnknownSelector]) -> str | None:
    """Return the address of the first selector that has a single one."""
    for each in selectors:
        if isinstance(each, TrafficSelector) and each.start == each.end:
            return str(ip_address(each.start))
    return None


def moved_to(selector: TrafficSelector | UnknownSelector, address: str) -> TrafficSelector | UnknownSelector:
    """Put *address* in place of the one address of a selector; one with several, or of another family, stays."""
    if isinstance(selector, UnknownSelector) or selector.start != selector.end:
        return selector
    packed = packed_address(address)
    if len(packed) != len(selector.start):
        return selector
    return TrafficSelector(selector.ts_type, selector.protocol, selector.start_port, selector.end_port, packed, packed)


def same_address(
    first: TrafficSelector | UnknownSelector, selectors: Sequence[TrafficSelector]
) -> tuple[TrafficSelector, ...]:
    """Return what of *selectors* is about the one address of *first*; of several, empty if they have several, too."""
    if isinstance(first, TrafficSelector) and first.start == first.end:
        return narrow(selectors, [host_selector(str(ip_address(first.start)))])
    alone = {(each.start, each.end) for each in selectors}
    return tuple(selectors) if len(alone) == 1 and all(low == high for low, high in alone) else ()


def parse_selector(text: str) -> TrafficSelector:
    """Read "10.0.0.0/24", "10.0.0.1-10.0.0.9" or "2001:db8::/32", optionally with "[tcp/443]", "[udp]" or "[17/53-99]".

    "opaque" in place of ports means packets whose ports cannot be seen. For ICMP "8.0" is a type and its code, "8.*" a
    type with any code (RFC 7296 section 3.13.1). Raises LocalProtocolError, with what was read.
    """
    where, bracket, rest = text.strip().partition("[")
    try:
        if bracket and not rest.endswith("]"):
            raise ValueError("the bracket is not closed")
        first, last = _address_range(where.strip())
        protocol, ports = _protocol_ports(rest[:-1]) if bracket else (0, ANY_PORT)
    except ValueError as error:
        raise LocalProtocolError(
            f"traffic selector {text!r}: {error}; write an address, a network or first-last, then [protocol/port]"
        ) from None
    kind = TsType.TS_IPV4_ADDR_RANGE if first.version == 4 else TsType.TS_IPV6_ADDR_RANGE
    return TrafficSelector(kind, protocol, ports[0], ports[1], first.packed, last.packed)


def _address_range(text: str) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    if "-" in text:
        low, high = (ip_address(part.strip()) for part in text.split("-", 1))
        if low.version != high.version or int(low) > int(high):
            raise ValueError("the range has to go upwards in one address family")
        return low, high
    network = ip_network(text, strict=False)
    return network[0], network[-1]


def _protocol_ports(text: str) -> tuple[int, tuple[int, int]]:
    name, _, port = text.partition("/")
    protocol = _PROTOCOLS.get(name) if not name.isdigit() else int(name)
    if protocol is None or not 0 <= protocol <= 255:
        raise ValueError(f"{name!r} is no protocol (a number, or one of {', '.join(_PROTOCOLS)})")
    if not port or port == "any":
        return protocol, ANY_PORT
    if port == "opaque":
        return protocol, OPAQUE
    if "." in port and protocol in (_PROTOCOLS["icmp"], _PROTOCOLS["ipv6-icmp"]):
        return protocol, _icmp(port)
    low, _, high = port.partition("-")
    ports = (int(low), int(high or low))
    if not 0 <= ports[0] <= ports[1] <= 65535:
        raise ValueError(f"{port!r} is no port or range of ports")
    return protocol, ports


def _icmp(text: str) -> tuple[int, int]:
    """Read "type.code"; they lie in the two octets of a port."""
    kind, _, code = text.partition(".")
    low, high = (0, 255) if code == "*" else (int(code), int(code))
    if not (0 <= int(kind) <= 255 and 0 <= low <= high <= 255):
        raise ValueError(f"{text!r} is no ICMP type and code")
    return int(kind) << 8 | low, int(kind) << 8 | high


def intersect(one: TrafficSelector, other: TrafficSelector) -> TrafficSelector | None:
    """Return what both select, None if nothing. OPAQUE ports (65535-0) only meet themselves or ANY."""
    if one == other:
        return one
    if one.ts_type != other.ts_type:
        return None
    if one.protocol and other.protocol and one.protocol != other.protocol:
        return None
    start, end = max(one.start, other.start), min(one.end, other.end)
    if start > end:
        return None
    ports = _common_ports((one.start_port, one.end_port), (other.start_port, other.end_port))
    if ports is None:
        return None
    return TrafficSelector(one.ts_type, one.protocol or other.protocol, ports[0], ports[1], start, end)


def _common_ports(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int] | None:
    if one == other:
        return one
    if OPAQUE in (one, other):
        return OPAQUE if ANY_PORT in (one, other) else None
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else None


def covers(outer: TrafficSelector, inner: TrafficSelector) -> bool:
    """Tell whether *inner* selects nothing that *outer* does not.

    Field by field and the addresses first: a peer may send two lists of 255, and each is held against what was found.
    """
    if outer.start > inner.start or outer.end < inner.end or outer.ts_type != inner.ts_type:
        return False
    ports = inner.start_port, inner.end_port
    return outer.protocol in (0, inner.protocol) and _common_ports((outer.start_port, outer.end_port), ports) == ports


def narrow(
    offered: Sequence[TrafficSelector | UnknownSelector], allowed: Sequence[TrafficSelector], most: int = 64
) -> tuple[TrafficSelector, ...]:
    """Return what of *offered* is *allowed*, in the order of the offer, without repeats or parts of one another.

    Selectors of unknown type are ignored (RFC 7296 section 2.9). Where the first offered selector, the one of the
    triggering packet, is acceptable, the result contains it. *most* bounds the result against a peer's product of
    lists.
    """
    if len(offered) == len(allowed) == 1 and offered[0] in allowed:  # mostly
        return tuple(allowed)
    found: list[TrafficSelector] = []
    for selector in offered:
        if isinstance(selector, UnknownSelector):
            continue
        # Addresses first: a peer's list meets those of every child, and most have nothing in common.
        near = [rule for rule in allowed if rule.start <= selector.end and selector.start <= rule.end]
        found_in = [common for rule in near if (common := intersect(selector, rule)) is not None]
        # What is covered whole goes first, so that *most* cannot cut off what has to be in.
        for common in sorted(found_in, key=lambda common: common != selector):
            if any(covers(known, common) for known in found):
                continue
            found = [known for known in found if not covers(common, known)]
            found.append(common)
            if len(found) >= most:
                return tuple(found)
    return tuple(found)


def packet_first(selector: TrafficSelector, allowed: Sequence[TrafficSelector]) -> tuple[TrafficSelector, ...]:
    """Put that of a waiting packet before those *allowed*, as far as it is among them (RFC 7296 section 2.9)."""
    common = next((found for rule in allowed if (found := intersect(selector, rule)) is not None), None)
    return tuple(allowed) if common is None or common in allowed else (common, *allowed)


def in_words(selector: TrafficSelector | UnknownSelector) -> str:
    """Write a selector as `parse_selector` reads it."""
    if isinstance(selector, UnknownSelector):
        return f"selector of type {selector.ts_type}"
    text = _range_in_words(selector.start, selector.end)
    ports = (selector.start_port, selector.end_port)
    if not selector.protocol and ports == ANY_PORT:
        return text
    if ports == ANY_PORT:
        return f"{text}[{selector.protocol}]"
    if ports == OPAQUE:
        return f"{text}[{selector.protocol}/opaque]"
    return f"{text}[{selector.protocol}/{ports[0]}{'' if ports[0] == ports[1] else f'-{ports[1]}'}]"


@lru_cache(maxsize=1024)
def _range_in_words(start: bytes, end: bytes) -> str:
    low, high = ip_address(start), ip_address(end)
    if start == end:
        return str(low)
    networks = list(summarize_address_range(low, high))
    return str(networks[0]) if len(networks) == 1 else f"{low}-{high}"
