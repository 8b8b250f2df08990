"""Putting questions to the application, and going on with its answers, or without them when time is up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from ..limits import Limits
from ..outputs import Output, QuestionId, SaId
from ..questions import Question, QuestionClosed
from ..sa import IkeSa, Timer
from .admission import Refusals
from .allowance import Allowance
from .questions import Open, Questions
from .turn import Turn

__all__ = ["Asker"]

A = TypeVar("A")
"""The answer to a question."""


class Asker:
    """Asks on behalf of *sas*."""

    def __init__(
        self,
        limits: Limits,
        sas: Mapping[SaId, IkeSa],
        emit: Callable[[Output], None],
        refusals: Refusals,
        turn: Turn,
    ) -> None:
        self._limits = limits
        self._sas = sas
        self._emit = emit
        self._refusals = refusals
        self._turn = turn
        self._early = Allowance(limits.early_questions_per_second)
        self.questions = Questions()

    def may_ask_early(self, now: float) -> bool:
        """Tell whether one more question about a peer that has proved nothing may be asked now; it counts as asked."""
        if self._early.take(now):
            return True
        self._refused("too many questions about peers that have proved nothing", now)
        return False

    def ask(
        self,
        sa: IkeSa,
        make: Callable[[QuestionId, float], Question[A]],
        wants: type[A] | tuple[type[A], ...],
        refusal: A,
        resume: Callable[[A, float], None],
        now: float,
    ) -> None:
        """Put a question; *resume* gets the answer, or *refusal* when time is up or too many are open."""
        if len(self.questions) >= self._limits.questions:
            self._refused("too many questions are open", now)
            resume(refusal, now)
            return
        deadline = now + self._limits.question_timeout
        handle = self.questions.ask(
            Open(sa.id, wants, refusal, cast(Callable[[object, float], None], resume), deadline)
        )
        self._watch(sa)
        self._emit(make(handle, deadline))

    def closed(self, handle: QuestionId, question: Open, value: object, now: float) -> None:
        """Go on with the answer."""
        self._emit(QuestionClosed(handle, question.sa))
        sa = self._sas.get(question.sa)
        if sa is not None and sa.alive:
            self._turn.concerned = sa
            self._watch(sa)
            question.resume(value, now)

    def overdue(self, sa: IkeSa, now: float) -> None:
        """Nobody answered: that is a refusal."""
        for handle in self.questions.of(sa.id):
            question = self.questions.overdue(handle, now)
            if question is not None:
                self.closed(handle, question, question.refusal, now)

    def forget(self, sa: IkeSa) -> None:
        """It is gone, and its questions with it."""
        for handle in self.questions.of(sa.id):
            self.questions.close(handle)
            self._emit(QuestionClosed(handle, sa.id))

    def _watch(self, sa: IkeSa) -> None:
        """Wake when the first open question of *sa* is overdue."""
        deadline = self.questions.deadline_of(sa.id)
        if deadline is None:
            sa.timers.clear(Timer.QUESTION)
        else:
            sa.timers.set(Timer.QUESTION, deadline)
        self._turn.touched(sa)

    def _refused(self, reason: str, now: float) -> None:
        self._refusals.add("question", ("", 0), reason, now)
