"""What one input of the endpoint concerns: the SA that it is for, and all whose deadlines it may have moved."""

from __future__ import annotations

from ..outputs import SaId
from ..sa import IkeSa
from .schedule import Schedule
from .streams import Streams

__all__ = ["Turn"]


class Turn:
    """The input that is being worked on. *concerned* is the SA on whose behalf, which ends if a bug shows."""

    def __init__(self, schedule: Schedule, streams: Streams) -> None:
        self._schedule = schedule
        self._streams = streams
        self._touched: dict[SaId, IkeSa] = {}
        self.concerned: IkeSa | None = None

    def touched(self, sa: IkeSa) -> None:
        """Its deadline may have moved."""
        self._touched[sa.id] = sa

    def is_for(self, sa: IkeSa) -> None:
        """What follows is on behalf of *sa*."""
        self.concerned = self._touched[sa.id] = sa

    def forget(self, sa: IkeSa) -> None:
        """It is dead."""
        self._touched.pop(sa.id, None)

    def settle(self, now: float) -> None:
        """The input is over: close streams whose work is done, and arm the deadlines of all that was touched."""
        touched, streams, arm = self._touched, self._streams, self._schedule.arm
        streams.look_at_those_of(touched.values())
        while streams.dirty:
            _, stream = streams.dirty.popitem()
            streams.tidy(stream, now)
            arm(stream)
        while touched:
            arm(touched.popitem()[1])
