"""The two ends of a Child SA: whose traffic it may be, before anything is narrowed (RFC 7296 sections 2.9, 2.23.1).

Configuration may leave an end open. Then it is the host's own address, or what was assigned to that side. Transport
mode is between the two hosts whatever is configured, and where a NAT changes their addresses on the way, each side puts
those that it sees itself in place of those that the other wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import attrs

from ..config import ChildConfig
from ..record import record
from ..transport import NatFacts
from ..wire import TrafficSelector, UnknownSelector
from ..wire.numbers import TsType
from .selectors import ANY_PORT, address_of, host_selector, moved_to, narrow

__all__ = ["Ends", "Through", "through_nat"]

_WHOLE = {
    "0.0.0.0": TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 0, *ANY_PORT, bytes(4), b"\xff" * 4),
    "::": TrafficSelector(TsType.TS_IPV6_ADDR_RANGE, 0, *ANY_PORT, bytes(16), b"\xff" * 16),
}


@lru_cache(maxsize=1024)
def _of_addresses(texts: tuple[str, ...]) -> tuple[TrafficSelector, ...]:
    """Select each address, or the whole family for "0.0.0.0" and "::"."""
    return tuple([_WHOLE.get(text) or host_selector(text) for text in texts])


@record
class Ends:
    """Our address and the peer's, and what stands in their place where it is assigned: addresses, or all of a family.

    *nat* says whose address is changed on the way.
    """

    local: str
    remote: str
    nat: NatFacts
    local_assigned: tuple[str, ...] = ()
    remote_assigned: tuple[str, ...] = ()

    def selectors(
        self, config: ChildConfig, *, transport: bool
    ) -> tuple[tuple[TrafficSelector, ...], tuple[TrafficSelector, ...]]:
        """Return what *config* allows at our end and at the peer's. Empty where transport mode meets no host."""
        if transport:
            here, there = (host_selector(self.local),), (host_selector(self.remote),)
            return narrow(config.local_ts or here, here), narrow(config.remote_ts or there, there)
        mine, theirs = self.local_assigned or (self.local,), self.remote_assigned or (self.remote,)
        return config.local_ts or _of_addresses(mine), config.remote_ts or _of_addresses(theirs)


@attrs.frozen
class Through:
    """Selectors of the peer with the addresses that we see, and those that it wrote: (ours, the peer's)."""

    ours: tuple[TrafficSelector | UnknownSelector, ...]
    peers: tuple[TrafficSelector | UnknownSelector, ...]
    originals: tuple[str, str] | None


def through_nat(
    ours: Sequence[TrafficSelector | UnknownSelector],
    peers: Sequence[TrafficSelector | UnknownSelector],
    ends: Ends,
) -> Through:
    """Substitute addresses for transport mode: *ours* selects our end, *peers* its own (RFC 7296 section 2.23.1)."""
    if not ends.nat.any:
        return Through(tuple(ours), tuple(peers), None)
    originals = (address_of(ours) or ends.local, address_of(peers) or ends.remote)
    if ends.nat.local_behind_nat:
        ours = [moved_to(each, ends.local) for each in ours]
    if ends.nat.peer_behind_nat:
        peers = [moved_to(each, ends.remote) for each in peers]
    return Through(tuple(ours), tuple(peers), originals)
