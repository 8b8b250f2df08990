"""Configuration payloads, both roles (RFC 7296 sections 2.19, 2.20, 3.15): what one side asks for and the other grants.

What is granted belongs to the IKE SA as its lease, from the exchange that granted it to the end of the SA; a rekey
changes nothing. Attributes that are unknown, or were not asked for, are ignored in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

import attrs

from ..addressing import Lease, Pool
from ..config import Connection
from ..errors import FailedCpRequired, InternalAddressFailure
from ..events import AddressesAssigned, LeaseNeeded
from ..outputs import Address
from ..wire import Configuration, ConfigurationAttribute, Contents
from ..wire.numbers import CfgAttribute, CfgType, name_of
from .asking import Ask, Steps
from .ike_sa import IkeSa

__all__ = [
    "Granting",
    "Request",
    "answer_configuration",
    "configuration_request",
    "read_reply",
    "read_request",
    "take_addresses",
    "wanted_lease",
]

_A = CfgAttribute
_VERSIONS: Final = {_A.INTERNAL_IP4_ADDRESS: 4, _A.INTERNAL_IP6_ADDRESS: 6}
_ANY: Final = {4: "0.0.0.0", 6: "::"}
SUPPORTED: Final = tuple(
    sorted(
        {
            _A.INTERNAL_IP4_ADDRESS,
            _A.INTERNAL_IP4_NETMASK,
            _A.INTERNAL_IP4_DNS,
            _A.INTERNAL_IP4_NBNS,
            _A.INTERNAL_IP4_DHCP,
            _A.APPLICATION_VERSION,
            _A.INTERNAL_IP6_ADDRESS,
            _A.INTERNAL_IP6_DNS,
            _A.INTERNAL_IP6_DHCP,
            _A.INTERNAL_IP4_SUBNET,
            _A.SUPPORTED_ATTRIBUTES,
            _A.INTERNAL_IP6_SUBNET,
            _A.INTERNAL_DNS_DOMAIN,
        }
    )
)
"""What SUPPORTED_ATTRIBUTES names, in the order of the numbers."""
MOST_ATTRIBUTES: Final = 64
"""Different attributes of one request that are looked at: more than there are."""


@attrs.frozen
class Request:
    """A CFG_REQUEST: *addresses* with "0.0.0.0" and "::" for any of the family, and the numbers of other attributes."""

    addresses: tuple[str, ...]
    attributes: tuple[int, ...]

    @property
    def attribute_names(self) -> tuple[str, ...]:
        return tuple(name_of(CfgAttribute, number) for number in self.attributes)


# --- the side that asks -----------------------------------------------------------------------------------------------


def configuration_request(connection: Connection) -> Configuration | None:
    """Return what our configuration asks for, None if no address is wanted (RFC 7296 section 2.19 wants one)."""
    if not connection.virtual_addresses:
        return None
    attributes = [_address_attribute(text) for text in connection.virtual_addresses]
    attributes += [ConfigurationAttribute(number) for number in connection.attributes_to_request]
    return Configuration(CfgType.CFG_REQUEST, tuple(attributes))


def _address_attribute(text: str) -> ConfigurationAttribute:
    address = ip_address(text)
    value = b"" if address.is_unspecified else address.packed
    if address.version == 4:
        return ConfigurationAttribute(_A.INTERNAL_IP4_ADDRESS, value)
    return ConfigurationAttribute(_A.INTERNAL_IP6_ADDRESS, value and value + bytes((128,)))


def take_addresses(sa: IkeSa, contents: Contents) -> None:
    """Take what a response assigns to us, and say so. Raises InternalAddressFailure where that is nothing."""
    sa.assigned = read_reply(sa, contents)
    sa.services.emit(AddressesAssigned(sa.id, sa.assigned, False))


def read_reply(sa: IkeSa, contents: Contents) -> Lease:
    """Read the CFG_REPLY to our request. Raises InternalAddressFailure where it holds no address that was asked for."""
    request = Request(sa.connection.virtual_addresses, sa.connection.attributes_to_request)
    reply = _payload(contents, CfgType.CFG_REPLY)
    if reply is None:
        raise InternalAddressFailure("the peer assigned no address")
    reader = _Reader(request)
    for attribute in reply.attributes:
        reader.take(attribute)
    if not reader.addresses:
        raise InternalAddressFailure("the peer's CFG_REPLY holds no address that was asked for")
    return reader.lease()


class _Reader:
    """Takes the attributes of a reply one by one. Their lengths were checked when they were decoded."""

    def __init__(self, request: Request) -> None:
        self._room = {version: _count(request, version) for version in (4, 6)}
        self._asked = set(request.attributes)
        self.addresses: list[str] = []
        self._prefix_length = 128
        self._netmask: str | None = None
        self._lists: dict[str, list[str]] = {name: [] for name in ("dns", "nbns", "dhcp", "subnets", "domains")}
        self._others: list[tuple[int, bytes]] = []

    def take(self, attribute: ConfigurationAttribute) -> None:
        """Keep what was asked for. A netmask comes with its address, so it need not have been."""
        number, value = attribute.type, attribute.value
        if not value:
            return
        if number in _VERSIONS:
            self._address(_VERSIONS[CfgAttribute(number)], value)
        elif number == _A.INTERNAL_IP4_NETMASK:
            self._netmask = self._netmask or str(ip_address(value))
        elif number in self._asked:
            word = _WORDS.get(number)
            if word is None:
                self._others.append((int(number), value))
                return
            text = _read_text(number, value)
            if text is not None and text not in self._lists[word]:
                self._lists[word].append(text)

    def _address(self, version: int, value: bytes) -> None:
        address = ip_address(value[:16])
        if not self._room[version] or address.is_unspecified or address.is_multicast or str(address) in self.addresses:
            return
        self._room[version] -= 1
        self.addresses.append(str(address))
        if len(value) == 17 and value[16] <= 128:
            self._prefix_length = value[16]

    def lease(self) -> Lease:
        has_ip4 = any(":" not in text for text in self.addresses)
        return Lease(
            addresses=self.addresses,
            prefix_length=self._prefix_length,
            netmask=self._netmask if has_ip4 else None,
            attributes=self._others,
            **self._lists,
        )


_WORDS: Final[dict[int, str]] = {
    _A.INTERNAL_IP4_DNS: "dns",
    _A.INTERNAL_IP6_DNS: "dns",
    _A.INTERNAL_IP4_NBNS: "nbns",
    _A.INTERNAL_IP4_DHCP: "dhcp",
    _A.INTERNAL_IP6_DHCP: "dhcp",
    _A.INTERNAL_IP4_SUBNET: "subnets",
    _A.INTERNAL_IP6_SUBNET: "subnets",
    _A.INTERNAL_DNS_DOMAIN: "domains",
}
"""Where the value of an attribute goes in a `Lease`."""


def _read_text(number: int, value: bytes) -> str | None:
    """Put a value into words, None where it says nothing that makes sense."""
    if number == _A.INTERNAL_DNS_DOMAIN:
        text = value.decode("ascii", "replace")
        return text if text.isascii() and text.isprintable() and len(text) <= 255 else None
    if number == _A.INTERNAL_IP4_SUBNET:
        mask = int.from_bytes(value[4:], "big")
        length = mask.bit_count()
        if mask != (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF:
            return None  # with holes
        return str(IPv4Network((value[:4], length), strict=False))
    if number == _A.INTERNAL_IP6_SUBNET:
        return None if value[16] > 128 else str(IPv6Network((value[:16], value[16]), strict=False))
    return str(ip_address(value))


# --- the side that grants ---------------------------------------------------------------------------------------------


def read_request(contents: Contents) -> Request | None:
    """Return what the peer asks for, None where there is no CFG_REQUEST."""
    payload = _payload(contents, CfgType.CFG_REQUEST)
    if payload is None:
        return None
    addresses = tuple(
        str(ip_address(each.value[:16])) if each.value else _ANY[_VERSIONS[CfgAttribute(each.type)]]
        for each in payload.attributes
        if each.type in _VERSIONS
    )
    others = dict.fromkeys(int(each.type) for each in payload.attributes if each.type not in _VERSIONS)
    return Request(addresses, tuple(others)[:MOST_ATTRIBUTES])


def lease_question(sa: IkeSa, contents: Contents, remote: Address) -> Ask[Lease | None] | None:
    """Return the question which addresses an authenticated peer gets, None where nobody has to be asked."""
    request = read_request(contents)
    if request is None or not request.addresses or not sa.connection.ask_lease or sa.granted is not None:
        return None
    wanted = request.addresses[: sa.services.limits.addresses_per_sa]
    return Ask(
        lambda question, deadline: LeaseNeeded(
            question,
            sa.id,
            deadline,
            sa.connection.name,
            str(sa.peer_identity),
            remote,
            wanted,
            request.attribute_names,
        ),
        (Lease, type(None)),
        None,
    )


def wanted_lease(sa: IkeSa, contents: Contents, remote: Address) -> Steps[Lease | None]:
    """Ask the application for the addresses of a peer that wants some, if the connection says so."""
    ask = lease_question(sa, contents, remote)
    if ask is None:
        return None
    lease: Lease | None = yield ask
    return lease


class Granting:
    """Grants addresses to the peer in the middle of an exchange, which may still come to nothing.

    *chosen* is what the application wants it to have, where the connection asks it instead of its pools. An SA that has
    a lease keeps it, and is told again. A *rekey* needs none. Raises InternalAddressFailure where no address is left,
    FailedCpRequired where one had to be asked for.
    """

    def __init__(self, sa: IkeSa, contents: Contents, chosen: Lease | None = None, *, rekey: bool = False) -> None:
        self._sa = sa
        self._fresh = False
        self._reply: list[Configuration] = []
        connection, request = sa.connection, read_request(contents)
        wants = request is not None and bool(request.addresses)
        if not wants and connection.addresses_required and sa.granted is None and not rekey:
            raise FailedCpRequired("the peer asked for no address, and the connection requires that")
        if request is None or not grants(connection):
            return
        if wants and sa.granted is None:
            lease = _as_chosen(sa, request, chosen) if connection.ask_lease else _from_pools(sa, request)
            if not lease.addresses:
                raise InternalAddressFailure(f"no address is left for {sa.peer_identity}")
            sa.granted, self._fresh = lease, True
        self._reply = [Configuration(CfgType.CFG_REPLY, tuple(_reply(sa, sa.granted or Lease(), request)))]

    def done(self) -> list[Configuration]:
        """Say what was granted, before the Child SA that uses it, and return the CFG_REPLY, if there is any."""
        if self._fresh and self._sa.granted is not None:
            self._sa.services.emit(AddressesAssigned(self._sa.id, self._sa.granted, True))
        return self._reply

    def undo(self) -> None:
        """What it was for came to nothing: take the lease back."""
        if self._fresh:
            self._sa.granted = None
            self._sa.services.release_addresses(self._sa)


def grants(connection: Connection) -> bool:
    """Tell whether peers may be assigned addresses at all."""
    return bool(connection.pools) or connection.ask_lease


def _from_pools(sa: IkeSa, request: Request) -> Lease:
    """Lease what is there of what is asked for: a family without a pool, or at its end, is left out (section 3.15.4).

    What is told beside the addresses comes from the pools that gave one.
    """
    pools = sa.connection.pools
    addresses: list[str] = []
    used: dict[Pool, None] = {}
    prefix_length = 128
    for wanted in request.addresses[: sa.services.limits.addresses_per_sa]:
        version = ip_address(wanted).version
        exact = None if wanted in _ANY.values() else wanted
        found = sa.services.lease_address(sa, pools, version, exact)
        if found is None:
            continue
        text, of = found
        addresses.append(text)
        prefix_length = of.prefix_length if version == 6 else prefix_length
        used.update((pool, None) for pool in pools if of in pool.ranges)
    return Lease(
        addresses=addresses,
        prefix_length=prefix_length,
        netmask=next((pool.netmask for pool in used if pool.netmask), None),
        dns=_joined(used, lambda pool: pool.dns),
        nbns=_joined(used, lambda pool: pool.nbns),
        dhcp=_joined(used, lambda pool: pool.dhcp),
        subnets=_joined(used, lambda pool: pool.subnets),
        domains=_joined(used, lambda pool: pool.domains),
        attributes=tuple(item for pool in used for item in pool.attributes),
    )


def _joined(pools: dict[Pool, None], what: Callable[[Pool], tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for pool in pools for text in what(pool)))


def _as_chosen(sa: IkeSa, request: Request, chosen: Lease | None) -> Lease:
    """Lease what the application chose, as far as it was asked for and nobody else has it."""
    if chosen is None:
        return Lease()
    room = {version: _count(request, version) for version in (4, 6)}
    kept: list[str] = []
    for text in chosen.addresses:
        version = ip_address(text).version
        if room[version] and text not in kept and sa.services.hold_address(sa, text):
            room[version] -= 1
            kept.append(text)
    return attrs.evolve(chosen, addresses=kept)


def _reply(sa: IkeSa, lease: Lease, request: Request) -> Iterator[ConfigurationAttribute]:
    """Yield the attributes of the answer: the addresses, then what was asked for, in the order of the request."""
    room = {version: _count(request, version) for version in (4, 6)}
    has_ip4 = False
    for text in lease.addresses:
        address = ip_address(text)
        if not room[address.version]:
            continue
        room[address.version] -= 1
        if address.version == 4:
            has_ip4 = True
            yield ConfigurationAttribute(_A.INTERNAL_IP4_ADDRESS, address.packed)
        else:
            value = address.packed + bytes((lease.prefix_length,))
            yield ConfigurationAttribute(_A.INTERNAL_IP6_ADDRESS, value)
    for number in request.attributes:
        if number == _A.INTERNAL_IP4_NETMASK and (lease.netmask is None or not has_ip4):
            continue
        for value in _values(sa, lease, number):
            yield ConfigurationAttribute(number, value)


def _values(sa: IkeSa, lease: Lease, number: int) -> Iterator[bytes]:
    """Yield what there is to say to one attribute of a request."""
    if number == _A.APPLICATION_VERSION:
        yield sa.connection.application_version.encode("ascii")  # empty is how to say nothing (section 2.20)
    elif number == _A.SUPPORTED_ATTRIBUTES:
        yield b"".join(int(each).to_bytes(2, "big") for each in SUPPORTED)
    elif number == _A.INTERNAL_IP4_NETMASK:
        yield ip_address(lease.netmask or "").packed
    elif number == _A.INTERNAL_DNS_DOMAIN:
        yield from (text.encode("ascii") for text in lease.domains)
    elif number in (_A.INTERNAL_IP4_SUBNET, _A.INTERNAL_IP6_SUBNET):
        for network in map(ip_network, lease.subnets):
            if number == _A.INTERNAL_IP4_SUBNET and network.version == 4:
                yield network.network_address.packed + network.netmask.packed
            elif number == _A.INTERNAL_IP6_SUBNET and network.version == 6:
                yield network.network_address.packed + bytes((network.prefixlen,))
    elif number in _WORDS:
        six = number in (_A.INTERNAL_IP6_DNS, _A.INTERNAL_IP6_DHCP)
        for address in map(ip_address, getattr(lease, _WORDS[number])):
            if (address.version == 6) == six:
                yield address.packed
    yield from (value for kind, value in lease.attributes if kind == number)


def answer_configuration(sa: IkeSa, contents: Contents, chosen: Lease | None) -> list[Configuration]:
    """Answer a CP payload of an INFORMATIONAL request. Raises InternalAddressFailure where no address is left.

    CFG_SET sets nothing, which an empty CFG_ACK says (RFC 7296 section 3.15.1).
    """
    if _payload(contents, CfgType.CFG_SET) is not None:
        return [Configuration(CfgType.CFG_ACK)]
    request = read_request(contents)
    if request is None:
        return []
    if request.addresses and grants(sa.connection):
        return Granting(sa, contents, chosen).done()
    return [Configuration(CfgType.CFG_REPLY, tuple(_reply(sa, sa.granted or Lease(), request)))]


# --- both -------------------------------------------------------------------------------------------------------------


def _payload(contents: Contents, kind: int) -> Configuration | None:
    found = contents.maybe(Configuration)
    return found if found is not None and found.cfg_type == kind else None


def _count(request: Request, version: int) -> int:
    return sum(1 for text in request.addresses if ip_address(text).version == version)
