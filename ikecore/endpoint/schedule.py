"""When to wake: one heap for every SA and stream, touched only when a deadline moves earlier.

A deadline that moves later leaves its old entry where it is. When that entry comes up, the owner's real deadline is
looked at and entered anew. So the heap holds about one entry per owner, however often timers are re-armed.
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

    armed_for: float | None

    @property
    def deadline(self) -> float | None:
        """The next moment, in monotonic seconds, at which there is something to do."""

    @property
    def alive(self) -> bool:
        """False once its deadlines count no longer."""


class Schedule:
    """The heap of deadlines."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Sleeper]] = []
        self._order = count()
        self._stale = 0
        """Entries of the dead that are still in the heap, at most."""

    def __len__(self) -> int:
        """Entries in the heap, those of no use any more included."""
        return len(self._heap)

    def arm(self, sleeper: Sleeper) -> None:
        """Take note of the deadline of *sleeper*."""
        when = sleeper.deadline
        if when is not None and sleeper.alive and (sleeper.armed_for is None or when < sleeper.armed_for):
            sleeper.armed_for = when
            heapq.heappush(self._heap, (when, next(self._order), sleeper))

    def forget(self, sleeper: Sleeper) -> None:
        """It is dead. Where such entries are the most, they go at once: each holds on to all that its owner held."""
        if sleeper.armed_for is None:
            return
        sleeper.armed_for = None
        self._stale += 1
        if self._stale > LEAST_STALE and 2 * self._stale > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].armed_for == entry[0]]
            heapq.heapify(self._heap)
            self._stale = 0

    @property
    def deadline(self) -> float | None:
        """The earliest deadline of all."""
        while self._heap:
            when, _, sleeper = self._heap[0]
            if sleeper.armed_for == when and sleeper.alive and sleeper.deadline == when:
                return when
            self._turn_over(when, sleeper)
        return None

    def take_due(self, now: float) -> list[Sleeper]:
        """Return those whose deadline has come, the earliest first, each once. Arm them again afterwards."""
        due: list[Sleeper] = []
        while (when := self.deadline) is not None and when <= now:
            sleeper = heapq.heappop(self._heap)[2]
            sleeper.armed_for = None
            due.append(sleeper)
        return due

    def _turn_over(self, when: float, sleeper: Sleeper) -> None:
        """Drop a stale entry; enter the real deadline if this entry stood for it."""
        heapq.heappop(self._heap)
        if sleeper.armed_for == when:
            sleeper.armed_for = None
            self.arm(sleeper)
