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

    armed: float | None
    """The moment of its entry in the heap, which is no later than its deadline."""
    number: int
    """What its entries call it, 0 before there is one."""

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
        """Whose entries there may be. Of use is the one with the moment for which the sleeper is armed."""
        self._numbers = count(1)

    def __len__(self) -> int:
        """Entries in the heap, those of no use any more included."""
        return len(self._heap)

    def arm(self, sleeper: Sleeper) -> None:
        """Take note of the deadline of *sleeper*."""
        when, armed = sleeper.deadline, sleeper.armed
        if when is None or (armed is not None and armed <= when) or not sleeper.alive:
            return
        number = sleeper.number
        if not number:
            number = sleeper.number = next(self._numbers)
            self._sleepers[number] = sleeper
        sleeper.armed = when
        heapq.heappush(self._heap, (when, number))
        if len(self._heap) > 2 * len(self._sleepers) + LEAST_STALE:
            self._clean()

    def forget(self, sleeper: Sleeper) -> None:
        """It is dead."""
        self._sleepers.pop(sleeper.number, None)
        sleeper.armed, sleeper.number = None, 0
        if len(self._heap) > 2 * len(self._sleepers) + LEAST_STALE:
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
            if sleeper is not None and sleeper.armed == when:  # this entry stood for a later deadline
                sleeper.armed = None
                self.arm(sleeper)
        return None

    def take_due(self, now: float) -> list[Sleeper]:
        """Return those whose deadline has come, the earliest first, each once. Arm them again afterwards."""
        due: list[Sleeper] = []
        while (when := self.deadline) is not None and when <= now:
            sleeper = self._sleepers[heapq.heappop(self._heap)[1]]
            if sleeper.armed == when:
                sleeper.armed = None
                due.append(sleeper)
        return due

    def _clean(self) -> None:
        """Entries of no use are the most: they go."""
        self._heap = [(when, number) for number, each in self._sleepers.items() if (when := each.armed) is not None]
        heapq.heapify(self._heap)
