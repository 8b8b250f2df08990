"""Configuration payloads as requests (RFC 7296 sections 2.19 and 3.15): what we ask for, and what comes of it.

What is assigned belongs to the IKE SA as its lease, from the exchange that granted it to the end of the SA; a rekey
changes nothing. Attributes that are unknown, or were not asked for, are ignored in both directions. The side that
grants is in `granting`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

import attrs

from ..addressing import Lease
from ..errors import InternalAddressFailure
from ..events import AddressesAssigned
from ..wire import Configuration, ConfigurationAttribute, Contents
from ..wire.numbers import CfgAttribute, CfgType, name_of
from .ike_sa import IkeSa

__all__ = [
    "ANY",
    "WORDS",
    "Request",
    "configuration_request",
    "count_of",
    "payload_of",
    "read_reply",
    "read_request",
    "take_addresses",
]

_A = CfgAttribute
VERSIONS: Final = {_A.INTERNAL_IP4_ADDRESS: 4, _A.INTERNAL_IP6_ADDRESS: 6}
ANY: Final = {4: "0.0.0.0", 6: "::"}
WORDS: Final[dict[int, str]] = {
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
MOST_ATTRIBUTES: Final = 64
"""So many addresses and so many different other attributes of one request are looked at: more than make sense."""


@attrs.frozen
class Request:
    """A CFG_REQUEST: *addresses* with "0.0.0.0" and "::" for any of the family, and the numbers of other attributes."""

    addresses: tuple[str, ...]
    attributes: tuple[int, ...]

    @property
    def attribute_names(self) -> tuple[str, ...]:
        return tuple(name_of(CfgAttribute, number) for number in self.attributes)


def read_request(contents: Contents) -> Request | None:
    """Return what the peer asks for, None where there is no CFG_REQUEST."""
    payload = payload_of(contents, CfgType.CFG_REQUEST)
    if payload is None:
        return None
    wanted = [each for each in payload.attributes if each.type in VERSIONS][:MOST_ATTRIBUTES]
    addresses = tuple(
        str(ip_address(each.value[:16])) if each.value else ANY[VERSIONS[CfgAttribute(each.type)]] for each in wanted
    )
    others = dict.fromkeys(int(each.type) for each in payload.attributes if each.type not in VERSIONS)
    return Request(addresses, tuple(others)[:MOST_ATTRIBUTES])


def payload_of(contents: Contents, kind: int) -> Configuration | None:
    """Return the CP payload of a message if it is of *kind*."""
    found = contents.maybe(Configuration)
    return found if found is not None and found.cfg_type == kind else None


def count_of(request: Request, version: int) -> int:
    """Count the addresses of a family that a request asks for."""
    return sum(1 for text in request.addresses if ip_address(text).version == version)


# --- what we ask for --------------------------------------------------------------------------------------------------


def configuration_request(sa: IkeSa) -> Configuration | None:
    """Return what our configuration asks for, None if no address is wanted (RFC 7296 section 2.19 wants one).

    Where any address of a family will do, and the SA is set up in place of another, it asks for what that one had.
    """
    connection = sa.connection
    if not connection.virtual_addresses:
        return None
    had = [] if sa.setup is None else [*sa.setup.addresses]
    attributes = []
    for text in connection.virtual_addresses:
        if text in ANY.values():
            text = next((each for each in had if ANY[ip_address(each).version] == text), text)
            had = [each for each in had if each != text]
        attributes.append(_address_attribute(text))
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
    reply = payload_of(contents, CfgType.CFG_REPLY)
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
        self._room = {version: count_of(request, version) for version in (4, 6)}
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
        if number in VERSIONS:
            self._address(VERSIONS[CfgAttribute(number)], value)
        elif number == _A.INTERNAL_IP4_NETMASK:
            self._netmask = self._netmask or str(ip_address(value))
        elif number in self._asked:
            word = WORDS.get(number)
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
