"""ESP beside IKE on the sockets with the non-ESP marker, for bindings: what is ESP, and how that of a Child SA travels.

No ESP is made or opened here. Octets come and go between the application and the peer as they are (RFC 3948).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .errors import ChildSaNotFound, LocalProtocolError
from .events import ChildSaClosed, ChildSaEstablished, Event, PathChanged
from .framing import DatagramKind, classify
from .outputs import Address, ChildId, SaId
from .transport import EspRoute, Local

__all__ = ["EspRoutes", "TakeEsp", "check_esp", "is_esp"]

TakeEsp: TypeAlias = Callable[[bytes, Address, Address], object]
"""What an application gives to get ESP: called with its octets, our address and the peer's. It must not wait."""


def is_esp(data: bytes, local: Local) -> bool:
    """Tell whether *data*, which came to the UDP socket *local*, is ESP."""
    return classify(data, local.marker)[0] is DatagramKind.ESP


def check_esp(data: bytes) -> None:
    """Raise `LocalProtocolError` for what the peer would not take for ESP, as with the SPI 0."""
    if classify(data, True)[0] is not DatagramKind.ESP:
        raise LocalProtocolError(f"data: {len(data)} octets that are no ESP")


class EspRoutes:
    """How ESP of the Child SAs of one session travels now, learnt from events: packets are many, and views are slow."""

    def __init__(self) -> None:
        self._routes: dict[ChildId, tuple[SaId, EspRoute]] = {}

    def take(self, event: Event) -> None:
        """Learn from one event."""
        if isinstance(event, ChildSaEstablished):
            self._routes[event.child] = event.sa, EspRoute(event.udp_encapsulation, event.local, event.remote)
        elif isinstance(event, ChildSaClosed):
            self._routes.pop(event.child, None)
        elif isinstance(event, PathChanged):
            route = EspRoute(event.udp_encapsulation, event.local, event.remote)
            for child, (sa, _) in self._routes.items():
                if sa == event.sa:
                    self._routes[child] = sa, route

    def sa_of(self, child: ChildId) -> SaId:
        """Return whose *child* is. Raises `ChildSaNotFound` where it is closed."""
        return self._find(child)[0]

    def ends_of(self, child: ChildId) -> tuple[Address, Address] | None:
        """Return our address and the peer's for ESP in UDP; None while the peer has shown no path for it.

        Raises `ChildSaNotFound` where *child* is closed, `LocalProtocolError` where its ESP goes over IP.
        """
        _, route = self._find(child)
        if not route.udp_encapsulation:
            raise LocalProtocolError("ESP of this Child SA goes over IP and not in UDP: no NAT was found")
        return None if route.local is None or route.remote is None else (route.local, route.remote)

    def _find(self, child: ChildId) -> tuple[SaId, EspRoute]:
        if child not in self._routes:
            raise ChildSaNotFound("the Child SA is closed")
        return self._routes[child]
