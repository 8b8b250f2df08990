"""The timers of one SA: a handful of named moments, of which the earliest counts."""

from __future__ import annotations

import enum
from math import inf

__all__ = ["Timer", "Timers"]


class Timer(enum.Enum):
    """Every reason for which an SA wakes up."""

    RETRANSMIT = "retransmit"
    ESTABLISH = "establish"
    """The initiator gives up setting up."""
    HALF_OPEN = "half-open"
    """The responder gives up waiting for IKE_AUTH."""
    FORGET_INIT = "forget IKE_SA_INIT"
    """A repeat of IKE_SA_INIT need not be told from a new one any longer."""
    INIT_ERROR = "IKE_SA_INIT error"
    """No better answer came than an unprotected error."""
    FRAGMENTS = "fragments"
    """A message in fragments has waited long enough for the missing ones."""
    RESPONSES = "stored responses"
    """The peer repeats no longer what was answered long ago."""
    POSTPONED = "postponed"
    """An exchange that the peer could not take begins again."""
    REKEYED = "rekeyed"
    """The peer has not deleted a pair of SPIs that it replaced: we do."""
    KEEPALIVE = "keepalive"
    """A NAT in front of us may be about to forget us."""
    DEAD_PEER = "dead peer"
    """The peer may have been silent for too long."""
    START = "start"
    """The wait before an SA is set up anew is over."""
    LIFETIME = "lifetime"
    """The IKE SA is to be rekeyed, authenticated anew or deleted."""
    CHILDREN = "lifetime of a Child SA"
    """A Child SA is to be rekeyed or deleted: the first moment of all."""
    QUESTION = "question"
    DELETE = "delete"


class Timers:
    """Named moments in monotonic seconds, in a table of plain strings and numbers, which the collector passes over."""

    __slots__ = ("_moments", "next")

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self.next: float | None = None
        """The earliest moment, None if there is none. It is read far more often than a timer moves."""

    def set(self, timer: Timer, when: float) -> None:
        self._moments[timer._value_] = when
        if self.next is None or when < self.next:
            self.next = when
        else:
            self._look()

    def move(self, timer: Timer, when: float) -> None:
        """Set it, or clear it where *when* is `math.inf`, which is never."""
        if when < inf:
            self.set(timer, when)
        else:
            self.clear(timer)

    def clear(self, timer: Timer) -> None:
        if self._moments.pop(timer._value_, None) is not None:
            self._look()

    def clear_all(self) -> None:
        self._moments.clear()
        self.next = None

    def is_set(self, timer: Timer) -> bool:
        return timer._value_ in self._moments

    def take_due(self, now: float) -> list[Timer]:
        """Remove and return what is due, the earliest first."""
        due = sorted((when, name) for name, when in self._moments.items() if when <= now)
        for _, name in due:
            del self._moments[name]
        self._look()
        return [Timer(name) for _, name in due]

    def _look(self) -> None:
        self.next = min(self._moments.values()) if self._moments else None
