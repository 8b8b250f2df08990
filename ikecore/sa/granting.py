"""Configuration payloads as answers (RFC 7296 sections 2.19, 2.20, 3.15): what a peer is granted, and what it is told.

Addresses come out of the connection's pools, or from the application.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Final

import attrs

from ..addressing import Holder, Lease, Pool
from ..config import Connection
from ..errors import FailedCpRequired, InternalAddressFailure
from ..events import AddressesAssigned
from ..outputs import Address
from ..questions import LeaseNeeded
from ..wire import Configuration, ConfigurationAttribute, Contents
from ..wire.numbers import CfgAttribute, CfgType
from .asking import Ask, Steps
from .configuration import ANY, WORDS, Request, count_of, payload_of, read_request
from .ike_sa import IkeSa

__all__ = ["Granting", "answer_configuration", "lease_question", "wanted_lease"]

_A = CfgAttribute
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


def lease_question(sa: IkeSa, contents: Contents, remote: Address) -> Ask[Lease | None] | None:
    """Return the question which addresses an authenticated peer gets, None where nobody has to be asked."""
    if not sa.connection.ask_lease or sa.granted is not None:
        return None
    request = read_request(contents)
    if request is None or not request.addresses:
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
    a lease keeps it, and is told again. A *rekey* needs none. Raises InternalAddressFailure where no address is left or
    the peer has too many, FailedCpRequired where one had to be asked for.
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
                raise InternalAddressFailure(_why_none(sa))
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
            self._sa.services.leases.release(self._sa.id)


def grants(connection: Connection) -> bool:
    """Tell whether peers may be assigned addresses at all."""
    return bool(connection.pools) or connection.ask_lease


def _from_pools(sa: IkeSa, request: Request) -> Lease:
    """Lease what is there of what is asked for: a family without a pool, or at its end, is left out (section 3.15.4).

    What is told beside the addresses comes from the pools that gave one.
    """
    pools, holder, before = sa.connection.pools, _holder(sa), sa.services.contacts.replaced_by(sa)
    addresses: list[str] = []
    used: dict[Pool, None] = {}
    prefix_length = 128
    for wanted in request.addresses[: sa.services.limits.addresses_per_sa]:
        version = ip_address(wanted).version
        exact = None if wanted in ANY.values() else wanted
        found = sa.services.leases.take(sa.id, holder, pools, version, exact, before)
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


def _why_none(sa: IkeSa) -> str:
    if sa.connection.ask_lease or sa.services.leases.may_take(_holder(sa)):
        return f"no address is left for {sa.peer_identity}"
    most = sa.services.limits.addresses_per_identity
    return f"{sa.peer_identity} has as many addresses as one identity may lease at once ({most})"


def _holder(sa: IkeSa) -> Holder:
    """Return what stands for the peer where its addresses are remembered: short, and never the same for two."""
    identity = sa.peer_identity
    whose = "" if identity is None else hashlib.sha256(bytes([identity.id_type]) + identity.data).hexdigest()
    return whose, sa.connection.name


def _joined(pools: dict[Pool, None], what: Callable[[Pool], tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for pool in pools for text in what(pool)))


def _as_chosen(sa: IkeSa, request: Request, chosen: Lease | None) -> Lease:
    """Lease what the application chose, as far as it was asked for and nobody else has it."""
    if chosen is None:
        return Lease()
    room, holder = {version: count_of(request, version) for version in (4, 6)}, _holder(sa)
    before = sa.services.contacts.replaced_by(sa)
    kept: list[str] = []
    for text in chosen.addresses:
        version = ip_address(text).version
        if room[version] and text not in kept and sa.services.leases.hold(sa.id, holder, text, before):
            room[version] -= 1
            kept.append(text)
    return attrs.evolve(chosen, addresses=kept)


def _reply(sa: IkeSa, lease: Lease, request: Request) -> Iterator[ConfigurationAttribute]:
    """Yield the attributes of the answer: the addresses, then what was asked for, in the order of the request."""
    room = {version: count_of(request, version) for version in (4, 6)}
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
    elif number in WORDS:
        six = number in (_A.INTERNAL_IP6_DNS, _A.INTERNAL_IP6_DHCP)
        for address in map(ip_address, getattr(lease, WORDS[number])):
            if (address.version == 6) == six:
                yield address.packed
    yield from (value for kind, value in lease.attributes if kind == number)


def answer_configuration(sa: IkeSa, contents: Contents, chosen: Lease | None) -> list[Configuration]:
    """Answer a CP payload of an INFORMATIONAL request. Raises InternalAddressFailure where no address is left.

    CFG_SET sets nothing, which an empty CFG_ACK says (RFC 7296 section 3.15.1).
    """
    if payload_of(contents, CfgType.CFG_SET) is not None:
        return [Configuration(CfgType.CFG_ACK)]
    request = read_request(contents)
    if request is None:
        return []
    if request.addresses and grants(sa.connection):
        return Granting(sa, contents, chosen).done()
    return [Configuration(CfgType.CFG_REPLY, tuple(_reply(sa, sa.granted or Lease(), request)))]
