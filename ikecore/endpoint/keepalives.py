"""NAT keepalives: one octet where nothing else keeps the mapping of a NAT in front of us (RFC 3948 sections 2.3 and 4).

Only for an SA that is up, on its path for datagrams with the marker, where IKE_SA_INIT showed a NAT in front of us.
What goes over TCP keeps no mapping of UDP.
"""

from __future__ import annotations

from collections.abc import Callable

from ..framing import KEEPALIVE
from ..outputs import Output, SendDatagram
from ..sa import IkeSa, State, Timer
from ..transport import DatagramPath
from .sockets import Sockets

__all__ = ["Keepalives"]

LOOK_AGAIN = 2.0
"""Seconds after which an SA is looked at again whose time comes while it is set up, and may soon be up."""
_SETTING_UP = (State.HALF_OPEN, State.AUTHENTICATING, State.DECIDING)


class Keepalives:
    """Those of all SAs of an endpoint. Each has one timer, which no packet winds up: when it rings we look back."""

    def __init__(self, emit: Callable[[Output], None], sockets: Sockets) -> None:
        self._emit = emit
        self._sockets = sockets

    def sent(self, sa: IkeSa, path: DatagramPath, now: float) -> None:
        """A datagram of *sa* went out by *path*."""
        if sa.nat.local_behind_nat and path == sa.path:
            sa.udp_sent_at = now
            self.arm(sa, now)

    def arm(self, sa: IkeSa, now: float) -> None:
        """See to it that the timer runs, where one is wanted."""
        interval = sa.connection.transports.keepalive
        wanted = interval and sa.nat.local_behind_nat and sa.path is not None and sa.path.marker
        if wanted and not sa.timers.is_set(Timer.KEEPALIVE):
            sa.timers.set(Timer.KEEPALIVE, now + interval)

    def due(self, sa: IkeSa, now: float) -> None:
        """The timer rang: send a keepalive, unless something went out meanwhile."""
        path, interval = sa.path, sa.connection.transports.keepalive
        if path is None or not path.marker or not interval:
            return
        if sa.state is not State.ESTABLISHED:
            if sa.state in _SETTING_UP:
                sa.timers.set(Timer.KEEPALIVE, now + min(interval, LOOK_AGAIN))
            return
        if sa.udp_sent_at + interval <= now:
            sa.udp_sent_at = now
            if ("udp", path.local) in self._sockets.locals:
                self._emit(SendDatagram(KEEPALIVE, path.local, path.remote))
        sa.timers.set(Timer.KEEPALIVE, sa.udp_sent_at + interval)
