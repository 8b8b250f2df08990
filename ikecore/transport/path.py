"""Where octets come from and go to: our sockets, as the host described them, and paths to a peer."""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from ipaddress import ip_address
from typing import ClassVar, Literal, TypeAlias

import attrs

from ..checking import check_types
from ..framing import Framing
from ..outputs import Address, StreamId
from ..record import record

__all__ = ["DatagramPath", "Local", "Path", "StreamPath", "packed_address"]


@lru_cache(maxsize=1024)
def packed_address(host: str) -> bytes:
    """Return the 4 or 16 octets of an IP literal; ValueError where it is none.

    Kept, because a handshake asks a dozen times for the same two.
    """
    return ip_address(host).packed


def _frozen(framings: Set[Framing]) -> frozenset[Framing]:
    return frozenset(framings) if isinstance(framings, Set) else framings


@attrs.frozen
class Local:
    """One socket of the host: a UDP socket, or a TCP listener.

    *address* is exact, since NAT detection hashes it: bind one socket per local address, never to the wildcard.
    *marker* says whether IKE on this UDP socket carries the non-ESP marker (RFC 3948): a property of the socket, by
    convention of port 4500, never inferred. *framings* is what a TCP listener admits. Raises LocalProtocolError for a
    value of another type.
    """

    address: tuple[str, int]
    kind: Literal["udp", "tcp"] = "udp"
    marker: bool = False
    framings: frozenset[Framing] = attrs.field(default=frozenset({Framing.IKE_TCP}), converter=_frozen)

    def __attrs_post_init__(self) -> None:
        check_types(self)


@record
class DatagramPath:
    """A pair of UDP addresses; with the non-ESP marker or without."""

    local: Address
    remote: Address
    marker: bool
    transport: ClassVar[Literal["udp"]] = "udp"


@record
class StreamPath:
    """A TCP connection, with the addresses that NAT detection needs."""

    stream: StreamId
    local: Address
    remote: Address
    transport: ClassVar[Literal["tcp"]] = "tcp"


Path: TypeAlias = DatagramPath | StreamPath
