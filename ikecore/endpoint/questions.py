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
    """One open question: whose it is, what a value must be, and what goes on with the answer."""

    sa: SaId
    wants: type
    resume: Callable[[object, float], None]


class Questions:
    """The open questions of an endpoint."""

    def __init__(self) -> None:
        self._open: dict[QuestionId, Open] = {}
        self._numbers = count(1)
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, question: Open) -> QuestionId:
        """Open a question and give it its handle."""
        self._last = next(self._numbers)
        handle = QuestionId(self._last)
        self._open[handle] = question
        return handle

    def close(self, handle: QuestionId) -> Open | None:
        """Close it; None if it is closed already."""
        return self._open.pop(handle, None)

    def answer(self, handle: QuestionId, value: object) -> Open | None:
        """Close it with *value*; None if it is closed already. Misuse raises LocalProtocolError."""
        if not 1 <= handle <= self._last:
            raise LocalProtocolError(f"question {handle} was never asked")
        found = self._open.get(handle)
        if found is not None and not isinstance(value, found.wants):
            raise LocalProtocolError(f"question {handle} wants a {found.wants.__name__}, not {type(value).__name__}")
        return self.close(handle)

    def of(self, sa: SaId) -> list[QuestionId]:
        """The open questions of one SA."""
        return [handle for handle, question in self._open.items() if question.sa == sa]
