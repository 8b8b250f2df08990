"""Dead peer detection: whoever has been silent for long is asked, and given up if nothing comes (RFC 7296 section 2.4).

A message that comes in only stores the time. The timer looks at that when it rings, and is set again from there, so an
SA with traffic costs one look per `dpd_delay`.
"""

from __future__ import annotations

from ..errors import PeerUnreachable
from .beginning import begin_if_possible
from .ike_sa import IkeSa
from .informational import Liveness
from .states import State
from .timers import Timer

__all__ = ["peer_was_silent"]


def peer_was_silent(sa: IkeSa, now: float) -> None:
    """Look whether the peer was heard of; if not ask it, and give it up where it was asked too long ago."""
    connection = sa.connection
    delay, timeout = connection.dpd_delay, connection.dpd_timeout
    if sa.state is not State.ESTABLISHED or not delay:
        return
    if sa.doubted_at is not None and sa.heard_at >= sa.doubted_at:
        sa.doubted_at = None
    if sa.doubted_at is None:
        if now < sa.heard_at + delay:
            sa.timers.set(Timer.DEAD_PEER, sa.heard_at + delay)
            return
        sa.doubted_at = now
        if not sa.in_flight:  # whatever else is unanswered asks as well
            begin_if_possible(sa, Liveness(sa), now)
    if not sa.alive:
        return
    if not timeout:
        sa.timers.set(Timer.DEAD_PEER, now + delay)  # the repeats of the request have the last word
    elif now < sa.doubted_at + timeout:
        sa.timers.set(Timer.DEAD_PEER, sa.doubted_at + timeout)
    else:
        sa.progress += tuple(request.in_words() for request in sa.in_flight)
        silent = now - sa.heard_at
        sa.fail(PeerUnreachable(f"nothing heard of the peer for {silent:.0f} s", sa.progress), "silence", now)
