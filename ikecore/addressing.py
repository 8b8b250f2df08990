"""Addresses that one peer assigns to the other, as values: pools on the responder, and the lease that a peer has.

The exchange is RFC 7296 sections 2.19 and 3.15. Everything here is checked when it is made, and written in words:
"10.3.0.7" for an address, "10.3.0.0/16" for a network. Which address of a pool is free is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import TypeAlias

import attrs

from .checking import are, check_types, several
from .errors import LocalProtocolError

__all__ = ["AddressRange", "Holder", "Lease", "Pool"]

Holder: TypeAlias = tuple[str, str]
"""An identity, and the connection to which it was proved: by another one the same name may be somebody else's."""


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    found = several(texts)
    return tuple(str(_address(text)) for text in found) if are(found, str) else found


def _networks(texts: Iterable[str]) -> tuple[str, ...]:
    found = several(texts)
    return tuple(str(_network(text)) for text in found) if are(found, str) else found


def _domains(texts: Iterable[str]) -> tuple[str, ...]:
    return several(texts)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise LocalProtocolError(f"{text!r} is no IP address") from None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise LocalProtocolError(f"{text!r} is no network: {error}") from None


def _attributes(items: Iterable[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
    return several(items)


@attrs.frozen
class AddressRange:
    """Addresses of one family from *first* to *last*, as numbers. *prefix_length* is that of their network."""

    version: int
    first: int
    last: int
    prefix_length: int

    @classmethod
    def parse(cls, text: str) -> AddressRange:
        """Read "10.3.0.0/16", "10.3.0.5-10.3.0.77" or one address; raises LocalProtocolError.

        A network gives all but the addresses with a meaning of their own: an IPv4 network's first and last (up to /30),
        an IPv6 network's first, which is that of its routers (RFC 4291 section 2.6.1).
        """
        low, dash, high = text.partition("-")
        if dash:
            first, last = _address(low.strip()), _address(high.strip())
            if first.version != last.version or int(first) > int(last):
                raise LocalProtocolError(f"{text!r}: the range has to go upwards in one address family")
            return cls(first.version, int(first), int(last), first.max_prefixlen)
        network = _network(text.strip())
        start, end = int(network[0]), int(network[-1])
        if end - start >= 3:
            start += 1
            end -= network.version == 4
        return cls(network.version, start, end, network.prefixlen)

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        return address.version == self.version and self.first <= int(address) <= self.last

    def address(self, number: int) -> IPv4Address | IPv6Address:
        """Return the address of this family with *number*."""
        return IPv4Address(number) if self.version == 4 else IPv6Address(number)


def _ranges(texts: Iterable[str]) -> tuple[str, ...]:
    return several(texts)


@attrs.frozen(kw_only=True)
class _Told:
    """What a peer is told beside its addresses, if it asks.

    *dns*, *nbns* (WINS) and *dhcp* are addresses of servers, *subnets* networks behind the gateway, *domains* names
    that *dns* knows (RFC 8598). *netmask* goes with an IPv4 address. *attributes* are pairs of an attribute's number
    and its octets, for what has no word here.
    """

    dns: tuple[str, ...] = attrs.field(default=(), converter=_addresses)
    nbns: tuple[str, ...] = attrs.field(default=(), converter=_addresses)
    dhcp: tuple[str, ...] = attrs.field(default=(), converter=_addresses)
    subnets: tuple[str, ...] = attrs.field(default=(), converter=_networks)
    domains: tuple[str, ...] = attrs.field(default=(), converter=_domains)
    netmask: str | None = None
    attributes: tuple[tuple[int, bytes], ...] = attrs.field(default=(), converter=_attributes)

    def __attrs_post_init__(self) -> None:
        check_types(self)
        if self.netmask is not None and _address(self.netmask).version != 4:
            raise LocalProtocolError(f"netmask: {self.netmask!r} is not one of IPv4")
        for text in self.nbns:
            if _address(text).version != 4:
                raise LocalProtocolError(f"nbns: {text!r} is not an address of IPv4")
        for text in self.domains:
            if not (text.isascii() and text.isprintable() and 1 <= len(text) <= 255):
                raise LocalProtocolError(f"domains: {text!r} is no domain; allowed are 1 to 255 ASCII characters")
        for number, value in self.attributes:
            if not 0 <= number < 0x8000 or len(value) > 0xFFFF:
                raise LocalProtocolError(f"attributes: {number} with {len(value)} octets does not fit the payload")


@attrs.frozen(kw_only=True)
class Lease(_Told):
    """What one peer assigned to the other: *addresses*, and what it told beside them.

    *prefix_length* goes with the IPv6 addresses, as *netmask* with those of IPv4.
    """

    addresses: tuple[str, ...] = attrs.field(default=(), converter=_addresses)
    prefix_length: int = 128

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not 0 <= self.prefix_length <= 128:
            raise LocalProtocolError(f"prefix_length: {self.prefix_length}; allowed are 0 to 128")
        for text in self.addresses:
            address = _address(text)
            if address.is_unspecified or address.is_multicast:
                raise LocalProtocolError(f"addresses: {text} can be nobody's address")


@attrs.frozen(kw_only=True)
class Pool(_Told):
    """Addresses for peers to lease, of one family or both: networks and ranges, in the order of preference.

    A range is two numbers here, so a /64 costs no more memory than a /24.
    """

    name: str
    addresses: tuple[str, ...] = attrs.field(converter=_ranges)
    ranges: tuple[AddressRange, ...] = attrs.field(init=False, repr=False, eq=False)
    """The addresses as numbers."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        object.__setattr__(self, "ranges", tuple(map(AddressRange.parse, self.addresses)))
        if not self.addresses:
            raise LocalProtocolError(f"addresses: the pool {self.name!r} has none")
        check_disjoint([self])


def check_disjoint(pools: Iterable[Pool]) -> None:
    """Raise LocalProtocolError where two ranges of *pools* have an address in common: it could be leased twice."""
    found = sorted(
        ((each.version, each.first, each.last, pool.name) for pool in pools for each in pool.ranges),
        key=lambda item: item[:3],
    )
    for one, other in pairwise(found):
        if one[0] == other[0] and one[2] >= other[1]:
            raise LocalProtocolError(f"pools: addresses of {one[3]!r} are also in {other[3]!r}")
