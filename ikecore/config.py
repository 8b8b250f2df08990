"""What the user decides: connections, credentials, children, transports, and the limits of an endpoint.

Everything here is frozen and checked when it is made: a mistake raises `LocalProtocolError` with the field, the value
and what is allowed, before the first octet is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal

import attrs

from .addressing import Pool, check_disjoint
from .checking import are, check_types, several
from .credentials import (
    CertificateCredential,
    ExternalKey,
    LocalCredential,
    PinnedKeys,
    PskCredential,
    PskTable,
    PskWanted,
    RemoteCredential,
    TrustedCertificates,
)
from .crypto import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    Identity,
    supported_esp_transform,
    supported_ike_transform,
)
from .errors import LocalProtocolError
from .lifetimes import Lifetimes
from .limits import Limits
from .transport import LEAST_PACKET, BySize, Local, Policy
from .wire import Proposal, TrafficSelector, Transform
from .wire.numbers import (
    IKE_TCP_SUPPORTED_DEFAULT,
    CfgAttribute,
    Protocol,
    TransformType,
    name_of,
)
from .wire.proposal import numbered

__all__ = [
    "CertificateCredential",
    "ChildConfig",
    "Config",
    "Connection",
    "ExternalKey",
    "Lifetimes",
    "Listen",
    "LocalCredential",
    "PinnedKeys",
    "PskCredential",
    "PskTable",
    "PskWanted",
    "RemoteCredential",
    "Transports",
    "TrustedCertificates",
]

MOST_ADDRESSES = 16
"""Addresses that we ask for: one or two is what peers grant."""
IKE_LIFETIMES = Lifetimes(rekey_time=4 * 3600.0)
CHILD_LIFETIMES = Lifetimes(rekey_time=3600.0)
"""As users of other implementations expect them: an IKE SA is rekeyed within four hours, a Child SA within one."""
_IKE_TYPES = (TransformType.ENCR, TransformType.PRF, TransformType.KE)
_ESP_TYPES = (TransformType.ENCR, TransformType.ESN)
_IN_WORDS = {"hint": "ikecore.parse_selector"}
_IDENTITY_IN_WORDS = {"hint": "ikecore.Identity.parse"}


def _texts(items: Iterable[str]) -> tuple[str, ...]:
    return several(items)


def _children(items: Iterable[ChildConfig]) -> tuple[ChildConfig, ...]:
    return several(items)


def _pools(items: Iterable[Pool]) -> tuple[Pool, ...]:
    return several(items)


def _numbers(items: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if items is None else several(items)


def _selectors(items: Iterable[TrafficSelector] | None) -> tuple[TrafficSelector, ...] | None:
    return None if items is None else several(items)


def _ports(items: Iterable[range]) -> tuple[range, ...]:
    return several(items)


def _connections(items: Iterable[Connection]) -> tuple[Connection, ...]:
    return several(items)


def _numbered(items: Iterable[Proposal]) -> tuple[Proposal, ...]:
    found = several(items)
    return numbered(found) if are(found, Proposal) else found


def _one_or_several(local: Any) -> Any:
    return tuple(local) if isinstance(local, list) else local


def _check_proposals(
    proposals: Sequence[Proposal], protocol: Protocol, needed: Sequence[int], supported: Callable[[Transform], bool]
) -> None:
    """Refuse what could not be carried out if the peer chose it."""
    if not proposals:
        raise LocalProtocolError(f"proposals: at least one {protocol.name} proposal is needed")
    for number, proposal in enumerate(proposals, 1):
        where = f"proposals: number {number}"
        if proposal.protocol != protocol:
            raise LocalProtocolError(f"{where} is for protocol {proposal.protocol}; allowed is {protocol.name}")
        types = {transform.type for transform in proposal.transforms}
        for kind in needed:
            if kind not in types:
                raise LocalProtocolError(f"{where} lacks a transform of type {name_of(TransformType, kind)}")
        for transform in proposal.transforms:
            if not supported(transform):
                kind_name = name_of(TransformType, transform.type)
                raise LocalProtocolError(f"{where} has {kind_name} {transform.id}, which is not supported")


def _check_addresses(connection: Connection) -> None:
    """Refuse what could not be asked for or told."""
    for text in connection.virtual_addresses:
        try:
            ip_address(text)
        except ValueError:
            raise LocalProtocolError(f"virtual_addresses: {text!r} is no address; 0.0.0.0 and :: ask for any") from None
    if len(connection.virtual_addresses) > MOST_ADDRESSES:
        raise LocalProtocolError(f"virtual_addresses: more than {MOST_ADDRESSES} of them")
    for number in connection.attributes_to_request:
        if number in (CfgAttribute.INTERNAL_IP4_ADDRESS, CfgAttribute.INTERNAL_IP6_ADDRESS) or not 0 < number < 0x8000:
            raise LocalProtocolError(f"requested_attributes: {number}; allowed are 1 to 32767, without addresses")
    version = connection.application_version
    if not (version.isascii() and (version.isprintable() or not version)) or len(version) > 255:
        raise LocalProtocolError("application_version: allowed are up to 255 printable ASCII characters")


@lru_cache(maxsize=1024)
def _address(text: str) -> IPv4Address | IPv6Address:
    """Read an IP literal. Kept, since a handshake asks several times about the same peer."""
    return ip_address(text)


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    """Kept, because every IKE_SA_INIT of a stranger asks for those of all connections."""
    return ip_network(text, strict=False)


@attrs.frozen(kw_only=True)
class ChildConfig:
    """One Child SA: proposals in order of preference, and traffic selectors of each side.

    *local_ts* None means the address that we send from, *remote_ts* None the one that the peer's messages come from
    (one host each). Behind a NAT these differ from what the other side sees, so both sides have to name selectors
    there. Where addresses were assigned (`Connection.virtual_addresses`, `Connection.pools`), None means those of the
    side that got them.

    *mode* "transport" is between the two hosts; selectors are cut down to their addresses, and a NAT may be between
    them (RFC 7296 section 2.23.1). A peer that does not take it gets tunnel mode, unless *tunnel_fallback* is false:
    then there is no Child SA. *packet* is a pair of selectors, of our and of the peer's address, protocol and port in
    the packet that is waiting: they go first, so that the responder grants a set with them (section 2.9).
    *single_pair* grants peers only selectors of one address on each side, and wants each pair in its own Child SA.
    *tfc_padding* false says that we do not take packets with TFC padding. *non_first_fragments* is for fragments
    behind the first, in force if both sides say so (section 1.3.1).

    *lifetimes* says when it is rekeyed, and when it ends at the latest. Octets and packets are counted where the
    packets are: `child_expiring`, of a session or an endpoint, says that there were many.
    """

    name: str = "child"
    proposals: tuple[Proposal, ...] = attrs.field(default=DEFAULT_ESP_PROPOSALS, converter=_numbered)
    local_ts: tuple[TrafficSelector, ...] | None = attrs.field(default=None, converter=_selectors, metadata=_IN_WORDS)
    remote_ts: tuple[TrafficSelector, ...] | None = attrs.field(default=None, converter=_selectors, metadata=_IN_WORDS)
    mode: Literal["tunnel", "transport"] = "tunnel"
    tunnel_fallback: bool = True
    packet: tuple[TrafficSelector, ...] | None = attrs.field(default=None, converter=_selectors, metadata=_IN_WORDS)
    single_pair: bool = False
    tfc_padding: bool = True
    non_first_fragments: bool = False
    lifetimes: Lifetimes = CHILD_LIFETIMES

    def __attrs_post_init__(self) -> None:
        check_types(self)
        _check_proposals(self.proposals, Protocol.ESP, _ESP_TYPES, supported_esp_transform)
        if self.packet is not None and len(self.packet) != 2:
            raise LocalProtocolError(f"packet: {len(self.packet)} selectors; allowed is one of each side")
        for name in ("local_ts", "remote_ts"):
            selectors = getattr(self, name)
            if selectors is not None and not 1 <= len(selectors) <= 255:
                raise LocalProtocolError(f"{name}: {len(selectors)} traffic selectors; allowed are 1 to 255")
        if self.lifetimes.reauth_time:
            raise LocalProtocolError("lifetimes: reauth_time is for IKE SAs; a Child SA is only rekeyed")


@attrs.frozen(kw_only=True)
class Transports:
    """How messages travel to this peer.

    *policy* chooses per request. The ports are the peer's: *udp_port* without the non-ESP marker, *udp_nat_port* with
    it; *udp_start* "nat" begins on the latter (RFC 7296 section 2.23 allows it). *tcp_port* is configured knowledge
    that the peer accepts IKE over TCP there, and beats what it announces; None leaves it to the announcement. As
    responder it only says where: to a peer that announced nothing when it set up the SA we never connect.
    *announce_tcp* is the port that we announce in IKE_TCP_SUPPORTED: None announces the port of our own listener where
    we are the responder and nothing where we are the initiator (who cannot know of a NAT yet); 0 never announces; any
    other number is announced as it is, for a port forwarded by a NAT (the draft, section 3.2). An announced port
    outside *allowed_ports* is not used. *half_close* sends FIN after the last request known. *fragmentation*
    is IKE fragmentation (RFC 7383): "yes" announces it and sends a message that would not fit one IP packet in
    fragments where UDP carries it and the peer announced it too; "accept" announces it and sends whole messages; "no"
    does neither. *fragment_size* is the largest IP packet in octets, with all headers, that a datagram may take: more
    is sent in fragments. It is made smaller, down to what every path takes (576 for IPv4, 1280 for IPv6), while they
    stay unanswered.
    *certificate_response* is the size in octets that an IKE_AUTH response with certificates is expected to have.

    Behind a NAT one octet goes to the peer whenever nothing else went there for *keepalive* seconds; 0 sends none, and
    the NAT may forget us. *force_encapsulation* makes the peer believe that we are behind a NAT, so that ESP goes in
    UDP where a firewall lets nothing else through. *static_nat* says that our own NAT forwards our ports for good: then
    we follow the peer to a new address as if there were none. Otherwise whoever is behind a NAT does not, since its
    peer's address is the stable one (RFC 7296 section 2.23).
    """

    policy: Policy = attrs.field(factory=BySize)
    udp_port: int = 500
    udp_nat_port: int = 4500
    udp_start: Literal["ike", "nat"] = "ike"
    tcp_port: int | None = None
    announce_tcp: int | None = None
    allowed_ports: tuple[range, ...] = attrs.field(
        default=(range(500, 501), range(4500, 4501), range(1024, 65536)), converter=_ports
    )
    half_close: bool = False
    fragmentation: Literal["yes", "accept", "no"] = "yes"
    fragment_size: int = 1280
    certificate_response: int = 4000
    keepalive: float = 20.0
    force_encapsulation: bool = False
    static_nat: bool = False

    def __attrs_post_init__(self) -> None:
        check_types(self)
        for name in ("udp_port", "udp_nat_port", "tcp_port", "announce_tcp"):
            port = getattr(self, name)
            lowest = 0 if name == "announce_tcp" else 1
            if port is not None and not lowest <= port <= 65535:
                raise LocalProtocolError(f"{name}: {port} is not a port; allowed are {lowest} to 65535")
        if not LEAST_PACKET <= self.fragment_size <= 65535:
            raise LocalProtocolError(
                f"fragment_size: packets of {self.fragment_size} octets; allowed are {LEAST_PACKET} to 65535"
            )
        if not 1 <= self.keepalive <= 3600 and self.keepalive != 0:
            raise LocalProtocolError(f"keepalive: {self.keepalive!r}; allowed are 0, or 1 to 3600 seconds")


@attrs.frozen(kw_only=True)
class Connection:
    """One peering: who we are and how we prove it, who they may be and how they must, and what is set up.

    *local* may be several certificates or keys, of which that is taken which the peer's CERTREQ asks for, else the
    first that it can verify. *remote_identity* None admits any identity that proves itself; a pattern as
    `Identity.matches` reads it narrows that.
    *remote_addresses* are addresses or networks ("192.0.2.0/24") of peers that may use this connection as responder;
    empty means any. *authorize* asks the application (`AuthorizationNeeded`) after the peer has proved its identity, in
    either role.
    *children* empty makes a childless IKE SA (RFC 6023) as initiator, and grants none as responder.
    *hash_and_url* says that the application can fetch certificates, and asks it to (`CertificateFetchNeeded`) for those
    that the peer sends by hash and URL; without it they are passed over.

    Addresses (RFC 7296 section 2.19): as initiator, *virtual_addresses* asks the peer for some, "0.0.0.0" and "::" for
    any of the family, and *requested_attributes* for more (`CfgAttribute`; by default DNS servers of those families);
    without an address there is no Child SA. *ask_acceptance* asks the application about what was granted
    (`AcceptanceNeeded`). As responder, peers get addresses out of *pools*, or with *ask_lease* those that the
    application says (`LeaseNeeded`). With *addresses_required* whoever asks for none gets no Child SA. An authenticated
    peer that asks for our version is told *application_version*.

    *lifetimes* says when the IKE SA is rekeyed, when the peers prove anew who they are, and when it ends at the latest.
    A peer that was not heard of for *dpd_delay* seconds is asked whether it is there; 0 never asks. If nothing comes
    for *dpd_timeout* more it is given up; 0 leaves that to the repeats of the request, which go on for minutes. With
    *dpd_action* "restart" an SA that we initiated and whose peer fell silent is set up anew with its Child SAs, again
    and again.
    *unique* is about several IKE SAs between the same two identities. "no" allows them, until the peer says that it
    began anew (INITIAL_CONTACT, RFC 7296 section 2.4); "never" does not even believe that. As responder "replace" has a
    new one replace the others, and "keep" refuses it, unless it comes from the address of the other one; as initiator
    both send INITIAL_CONTACT where it is true. That is not for several machines with one identity.
    """

    name: str
    local_identity: Identity = attrs.field(metadata=_IDENTITY_IN_WORDS)
    local: LocalCredential | tuple[CertificateCredential | ExternalKey, ...] = attrs.field(
        converter=_one_or_several, metadata={"secret": True}
    )
    remote: RemoteCredential = attrs.field(metadata={"secret": True})
    remote_identity: Identity | None = attrs.field(default=None, metadata=_IDENTITY_IN_WORDS)
    remote_addresses: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    proposals: tuple[Proposal, ...] = attrs.field(default=DEFAULT_IKE_PROPOSALS, converter=_numbered)
    children: tuple[ChildConfig, ...] = attrs.field(default=(ChildConfig(),), converter=_children)
    transports: Transports = attrs.field(factory=Transports)
    authorize: bool = False
    send_certificates: Literal["always", "asked", "never"] = "always"
    virtual_addresses: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    requested_attributes: tuple[int, ...] | None = attrs.field(default=None, converter=_numbers)
    ask_acceptance: bool = False
    pools: tuple[Pool, ...] = attrs.field(default=(), converter=_pools)
    ask_lease: bool = False
    addresses_required: bool = False
    application_version: str = ""
    hash_and_url: bool = False
    lifetimes: Lifetimes = IKE_LIFETIMES
    dpd_delay: float = 0.0
    dpd_timeout: float = 0.0
    dpd_action: Literal["clear", "restart"] = "clear"
    unique: Literal["never", "no", "replace", "keep"] = "no"

    def __attrs_post_init__(self) -> None:
        check_types(self)
        _check_addresses(self)
        _check_proposals(self.proposals, Protocol.IKE, _IKE_TYPES, supported_ike_transform)
        for name in ("dpd_delay", "dpd_timeout"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise LocalProtocolError(f"{name}: {getattr(self, name)!r}; allowed are seconds from 0 on, 0 for never")
        if self.local == ():
            raise LocalProtocolError("local: at least one credential is needed")
        for text in self.remote_addresses:
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise LocalProtocolError(f"remote_addresses: {text!r} is no address or network") from None

    def child(self, name: str | None = None) -> ChildConfig:
        """Return the child of that name, the first one for None; LocalProtocolError if there is none."""
        for child in self.children:
            if name is None or child.name == name:
                return child
        raise LocalProtocolError(f"child: {self.name!r} has no child {name!r}")

    @property
    def attributes_to_request(self) -> tuple[int, ...]:
        """*requested_attributes*, or those that go without saying: DNS servers of the families asked for."""
        if self.requested_attributes is not None:
            return self.requested_attributes
        by_family = {False: CfgAttribute.INTERNAL_IP4_DNS, True: CfgAttribute.INTERNAL_IP6_DNS}
        return tuple(dict.fromkeys(by_family[":" in text] for text in self.virtual_addresses))

    @property
    def local_credentials(self) -> tuple[LocalCredential, ...]:
        """Our credentials, in order of preference."""
        return self.local if isinstance(self.local, tuple) else (self.local,)

    def nearness(self, address: str) -> int | None:
        """Return the bits of the narrowest of the *remote_addresses* that has *address* (an IP literal), None without.

        0 for any address.
        """
        if not self.remote_addresses:
            return 0
        parsed = _address(address)
        networks = [_network(text) for text in self.remote_addresses]
        return max((each.prefixlen for each in networks if parsed in each), default=None)


@attrs.frozen(kw_only=True)
class Config:
    """An endpoint: the connections that it answers for (in order), its limits, and what is said about it.

    *trace* adds one event per message and key derivation. *tcp_notify* is the number of IKE_TCP_SUPPORTED, which was
    never assigned; the default is private, so a peer's is believed only beside our Vendor ID, unless
    *notify_numbers_agreed* says that both sides agreed on it.
    """

    connections: tuple[Connection, ...] = attrs.field(default=(), converter=_connections)
    limits: Limits = attrs.field(factory=Limits)
    trace: bool = False
    tcp_notify: int = IKE_TCP_SUPPORTED_DEFAULT
    notify_numbers_agreed: bool = False

    def __attrs_post_init__(self) -> None:
        check_types(self)
        names = [connection.name for connection in self.connections]
        for name in names:
            if names.count(name) > 1:
                raise LocalProtocolError(f"connections: the name {name!r} is used twice")
        pools: dict[str, Pool] = {}
        for pool in (pool for connection in self.connections for pool in connection.pools):
            if pools.setdefault(pool.name, pool) != pool:
                raise LocalProtocolError(f"connections: two different pools are called {pool.name!r}")
        check_disjoint(pools.values())
        if not 16384 <= self.tcp_notify <= 65535:
            raise LocalProtocolError(
                f"tcp_notify: {self.tcp_notify} is no status notification; allowed are 16384 to 65535"
            )

    def connections_for(self, address: str) -> tuple[Connection, ...]:
        """Return the connections that a peer at *address* may use, those for the narrowest network first.

        Of equals, the one that is listed first.
        """
        found = [(bits, each) for each in self.connections if (bits := each.nearness(address)) is not None]
        found.sort(key=lambda pair: -pair[0])
        return tuple(each for _, each in found)

    @property
    def notify_names(self) -> dict[int, str]:
        """Names of the notifications whose numbers are configuration."""
        return {self.tcp_notify: "IKE_TCP_SUPPORTED"}


@attrs.frozen(kw_only=True)
class Listen:
    """Sockets for an adapter to bind: a UDP port without marker, one with, and a TCP port, on each of *hosts*.

    Port 0 takes a free one, None binds none. *hosts* are exact addresses of this machine (NAT detection hashes them).
    """

    hosts: tuple[str, ...] = attrs.field(default=("127.0.0.1",), converter=_texts)
    udp: int | None = 500
    udp_nat: int | None = 4500
    tcp: int | None = None

    def __attrs_post_init__(self) -> None:
        check_types(self)
        for name in ("udp", "udp_nat", "tcp"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= 65535:
                raise LocalProtocolError(f"{name}: {port} is not a port; allowed are 0 to 65535")

    def locals(self) -> Sequence[Local]:
        """Return the sockets to bind, with the ports as configured (0 where the host picks one)."""
        wanted: list[Local] = []
        for host in self.hosts:
            if self.udp is not None:
                wanted.append(Local((host, self.udp)))
            if self.udp_nat is not None:
                wanted.append(Local((host, self.udp_nat), marker=True))
            if self.tcp is not None:
                wanted.append(Local((host, self.tcp), "tcp"))
        return wanted
