"""Questions that the application has not answered yet. Each ends exactly once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import attrs

from ..errors import LocalProtocolError
from ..outputs import QuestionId, SaId

__all__ = ["Open", "Questions"]


@attrs.define
class Open:
    """One open question: whose it is, what a value must be, what stands for silence, what goes on with the answer."""

    sa: SaId
    wants: type | tuple[type, ...]
    refusal: object
    resume: Callable[[object, float], None]
    deadline: float

    @property
    def wants_in_words(self) -> str:
        kinds = self.wants if isinstance(self.wants, tuple) else (self.wants,)
        return " or ".join(kind.__name__ for kind in kinds)


class Questions:
    """The open questions of an endpoint."""

    def __init__(self) -> None:
        self._open: dict[QuestionId, Open] = {}
        self._of_sa: dict[SaId, list[QuestionId]] = {}
        self._numbers = count(1)
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, question: Open) -> QuestionId:
        """Open a question and give it its handle."""
        self._last = next(self._numbers)
        handle = QuestionId(self._last)
        self._open[handle] = question
        self._of_sa.setdefault(question.sa, []).append(handle)
        return handle

    def close(self, handle: QuestionId) -> Open | None:
        """Close it; None if it is closed already."""
        found = self._open.pop(handle, None)
        if found is not None:
            others = self._of_sa[found.sa]
            others.remove(handle)
            if not others:
                del self._of_sa[found.sa]
        return found

    def answer(self, handle: QuestionId, value: object) -> Open | None:
        """Close it with *value*; None if it is closed already. Misuse raises LocalProtocolError."""
        if not 1 <= handle <= self._last:
            raise LocalProtocolError(f"question {handle} was never asked")
        found = self._open.get(handle)
        if found is not None and not isinstance(value, found.wants):
            raise LocalProtocolError(f"question {handle} wants a {found.wants_in_words}, not {type(value).__name__}")
        return self.close(handle)

    def of(self, sa: SaId) -> list[QuestionId]:
        """The open questions of one SA, the oldest first."""
        return list(self._of_sa.get(sa, ()))

    def deadline_of(self, sa: SaId) -> float | None:
        """When the first open question of one SA is overdue, None if it has none."""
        return min((self._open[handle].deadline for handle in self._of_sa.get(sa, ())), default=None)

    def overdue(self, handle: QuestionId, now: float) -> Open | None:
        """Close it if its time is up; None if it is not, or closed already."""
        found = self._open.get(handle)
        return self.close(handle) if found is not None and found.deadline <= now else None
