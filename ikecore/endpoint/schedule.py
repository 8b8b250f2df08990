"""When to wake: one heap for every SA and stream, touched only when a deadline moves earlier.

A deadline that moves later leaves its old entry where it is. When that entry comes up, the owner's real deadline is
looked at and entered anew. Entries of no use go once they are the most, so the heap has at most about two entries per
owner, however often timers are re-armed. An entry is two numbers, so that it holds on to nothing of its owner, and is
nothing that the collector has to look at.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Protocol

__all__ = ["Schedule", "Sleeper"]

LEAST_STALE = 64
"""Fewer dead entries are not worth the work."""


class Sleeper(Protocol):
    """Whatever has a deadline."""

    armed: tuple[float, int] | None
    """Its entry in the heap: a moment that is no later than its deadline, and the number of the entry."""

    @property
    def deadline(self) -> float | None:
        """The next moment, in monotonic seconds, at which there is something to do."""

    @property
    def alive(self) -> bool:
        """False once its deadlines count no longer."""


class Schedule:
    """The heap of deadlines."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._sleepers: dict[int, Sleeper] = {}
        """Whose entry that is; entries with other numbers are of no use any more."""
        self._order = count()

    def __len__(self) -> int:
        """Entries in the heap, those of no use any more included."""
        return len(self._heap)

    def arm(self, sleeper: Sleeper) -> None:
        """Take note of the deadline of *sleeper*."""
        when, armed = sleeper.deadline, sleeper.armed
        if when is None or (armed is not None and armed[0] <= when) or not sleeper.alive:
            return
        if armed is not None:
            del self._sleepers[armed[1]]
        sleeper.armed = entry = (when, next(self._order))
        self._sleepers[entry[1]] = sleeper
        heapq.heappush(self._heap, entry)
        self._clean()

    def forget(self, sleeper: Sleeper) -> None:
        """It is dead."""
        self._disarm(sleeper)
        self._clean()

    @property
    def deadline(self) -> float | None:
        """The earliest deadline of all."""
        while self._heap:
            when, number = self._heap[0]
            sleeper = self._sleepers.get(number)
            if sleeper is not None and sleeper.deadline == when:
                return when
            heapq.heappop(self._heap)
            if sleeper is not None:  # this entry stood for a later deadline
                self._disarm(sleeper)
                self.arm(sleeper)
        return None

    def take_due(self, now: float) -> list[Sleeper]:
        """Return those whose deadline has come, the earliest first, each once. Arm them again afterwards."""
        due: list[Sleeper] = []
        while (when := self.deadline) is not None and when <= now:
            sleeper = self._sleepers[heapq.heappop(self._heap)[1]]
            self._disarm(sleeper)
            due.append(sleeper)
        return due

    def _disarm(self, sleeper: Sleeper) -> None:
        if sleeper.armed is not None:
            del self._sleepers[sleeper.armed[1]]
            sleeper.armed = None

    def _clean(self) -> None:
        """Where entries of no use are the most, they go."""
        if len(self._heap) > 2 * len(self._sleepers) + LEAST_STALE:
            self._heap = [entry for entry in self._heap if entry[1] in self._sleepers]
            heapq.heapify(self._heap)
