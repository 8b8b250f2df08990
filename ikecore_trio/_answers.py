"""Answering questions in tasks, with the coroutines that an application gave."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio

from ikecore import Question, QuestionId
from ikecore.answerers import Answerer, Answerers
from ikecore.binding import verdict

from ._driver import Driver

log = logging.getLogger("ikecore")


class Answers:
    """Runs a task for each question whose kind is known; what a coroutine raises is logged, and denies."""

    def __init__(
        self,
        driver: Driver,
        spawn: Callable[..., object],
        by_kind: Answerers,
    ) -> None:
        self._driver = driver
        self._spawn = spawn
        self._by_kind = by_kind
        self._open: dict[QuestionId, trio.CancelScope] = {}

    def ask(self, question: Question[Any]) -> bool:
        """Begin to answer, or return False."""
        answerer = self._by_kind.get(type(question))
        if answerer is None:
            return False
        scope = self._open[question.question] = trio.CancelScope()
        self._spawn(self._answer, question, scope, answerer)
        return True

    async def _answer(self, question: Question[Any], scope: trio.CancelScope, answerer: Answerer) -> None:
        answer: object = None
        try:
            with scope:
                answer = await answerer(question)
        except Exception:
            log.exception("%s of SA %s: no answer, which denies", type(question).__name__, question.sa)
        finally:
            self._open.pop(question.question, None)
            if not self._driver.closed:
                now = self._driver.now()
                self._driver.endpoint.answer(question.question, verdict(question, answer), now=now)
                self._driver.flush()

    def withdraw(self, question: QuestionId) -> None:
        """The question is closed: stop answering."""
        scope = self._open.get(question)
        if scope is not None:
            scope.cancel()
