"""What a network does to what passes it: impairments per transport, blocks, and the record of each packet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Literal, TypeAlias

import attrs
from attrs.validators import and_, ge, le, optional

from ..events import Transport
from ..outputs import Address, octets_repr

__all__ = ["Block", "NetworkError", "Packet", "Split", "Tcp", "Udp"]

Split: TypeAlias = int | Callable[[bytes], Iterable[bytes]]
"""How a stream is cut: into pieces of so many octets, or as a function cuts what was written at once."""


class NetworkError(Exception):
    """The simulated network cannot go on: a test asked for the impossible, or an endpoint misbehaves."""


def _seconds(default: float) -> float:
    return attrs.field(default=default, validator=ge(0.0))


def _share() -> float:
    return attrs.field(default=0.0, validator=and_(ge(0.0), le(1.0)))


@attrs.frozen(kw_only=True)
class Udp:
    """What happens to datagrams. Shares are probabilities from 0 to 1.

    A datagram takes *delay* seconds, and up to *jitter* more. A share of *loss* vanishes, a share of *duplication*
    arrives twice, a share of *reordering* is held back so that what was sent later overtakes it. Datagrams of more than
    *max_datagram* octets vanish, as they do where IP fragments are dropped (1,232 for an IPv6 packet of 1,280). With an
    *mtu* the *loss* is that of IPv4 packets: a datagram that takes several is lost with any of them.
    *unreachable* answers a datagram to a port where nobody listens with an ICMP error.
    """

    delay: float = _seconds(0.01)
    jitter: float = _seconds(0.0)
    loss: float = _share()
    duplication: float = _share()
    reordering: float = _share()
    max_datagram: int | None = attrs.field(default=None, validator=optional(ge(0)))
    mtu: int | None = attrs.field(default=None, validator=optional(ge(68)))
    unreachable: bool = False

    def loss_of(self, octets: int) -> float:
        """Return the share that is lost of datagrams with so many octets."""
        if self.mtu is None:
            return self.loss
        # Fragments carry multiples of eight octets behind an IP header of 20; the first one has the UDP header.
        packets = ceil((octets + 8) / ((self.mtu - 20) // 8 * 8))
        return 1.0 - (1.0 - self.loss) ** packets


@attrs.frozen(kw_only=True)
class Tcp:
    """What happens to connections. They keep the order of octets whatever else they do.

    An octet takes *delay* seconds one way, and up to *jitter* more. A share of *loss* of the packets vanishes, and TCP
    sends them again as `ikecore.testing.tcp_model` describes; whether any do is settled when the connection is opened.
    *connect* says what becomes of an attempt where somebody listens; where nobody does it is refused. In a *black_hole*
    connections come up, and then nothing passes. *reset_after* is the age in seconds at which a middlebox resets a
    connection. *split* cuts what is written at once into what is read at once. *window* is how many octets the kernels
    of both sides take before the reader has to read some; *read_rate* is how many octets a second the reader takes (0
    never reads, None reads at once).
    """

    delay: float = _seconds(0.01)
    jitter: float = _seconds(0.0)
    loss: float = _share()
    connect: Literal["accept", "refuse", "silent"] = "accept"
    black_hole: bool = False
    reset_after: float | None = attrs.field(default=None, validator=optional(ge(0.0)))
    split: Split | None = None
    window: int = attrs.field(default=65_536, validator=ge(1))
    read_rate: float | None = attrs.field(default=None, validator=optional(ge(0.0)))

    def pieces(self, data: bytes) -> list[bytes]:
        """Cut *data* as `split` says. Nothing is lost and nothing is empty."""
        if self.split is None:
            return [data]
        if isinstance(self.split, int):
            return [data[pos : pos + self.split] for pos in range(0, len(data), self.split)]
        pieces = [piece for piece in self.split(data) if piece]
        if b"".join(pieces) != data:
            raise NetworkError("split: the pieces do not make up what was written")
        return pieces


@attrs.frozen(kw_only=True)
class Block:
    """A filter: packets that agree with everything given here vanish, or are refused with *refuse* (TCP only).

    *source* and *destination* are IP literals as seen between the hosts, outside of any NAT; *port* is the
    destination's, or the one that a connection was opened to.
    """

    transport: Transport | None = None
    source: str | None = None
    destination: str | None = None
    port: int | None = None
    refuse: bool = False

    def matches(self, transport: Transport, source: str, destination: str, port: int) -> bool:
        """Tell whether a packet is filtered."""
        return (
            self.transport in (None, transport)
            and self.source in (None, source)
            and self.destination in (None, destination)
            and self.port in (None, port)
        )


@attrs.define(kw_only=True)
class Packet:
    """One thing that was put on the wire, with the addresses outside of any NAT, and what became of it.

    *kind* is "datagram", or for TCP "syn", "data", "fin" or "rst". *fate* is "in flight" until it is known: then
    "delivered", "lost", "too large", "blocked", "refused", "unreachable" (no such host, port or NAT mapping) or
    "mangled away". *copy* marks the second arrival of a duplicated datagram. *connection* numbers TCP connections.
    *sender* is the name of the host, None for somebody who spoofs.
    """

    time: float
    transport: Transport
    kind: Literal["datagram", "syn", "data", "fin", "rst"]
    source: Address
    destination: Address
    data: bytes = attrs.field(default=b"", repr=octets_repr)
    fate: str = "in flight"
    arrived: float | None = None
    copy: bool = False
    connection: int | None = None
    sender: str | None = None
