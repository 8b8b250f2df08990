"""Answering questions in tasks, with the coroutines that an application gave."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import trio

from ikecore import (
    AcceptanceNeeded,
    AuthorizationNeeded,
    CertificateFetchNeeded,
    Lease,
    LeaseNeeded,
    Question,
    QuestionId,
    RevocationNeeded,
    SecretNeeded,
    SignatureNeeded,
)
from ikecore.binding import verdict

from ._driver import Driver

Authorize: TypeAlias = Callable[[str, AuthorizationNeeded], Awaitable[bool]]
GiveLease: TypeAlias = Callable[[LeaseNeeded], Awaitable[Lease | None]]
Accept: TypeAlias = Callable[[AcceptanceNeeded], Awaitable[bool]]
FindSecret: TypeAlias = Callable[[SecretNeeded], Awaitable[bytes]]
Sign: TypeAlias = Callable[[SignatureNeeded], Awaitable[bytes]]
CheckRevocation: TypeAlias = Callable[[RevocationNeeded], Awaitable[bool]]
Fetch: TypeAlias = Callable[[CertificateFetchNeeded], Awaitable[bytes]]
Answerer: TypeAlias = Callable[[Any], Awaitable[object]]
Answerers: TypeAlias = Mapping[type[Question[Any]], Answerer]

log = logging.getLogger("ikecore")


def answerers(
    *,
    authorize: Authorize | None = None,
    lease: GiveLease | None = None,
    accept: Accept | None = None,
    secret: FindSecret | None = None,
    sign: Sign | None = None,
    revocation: CheckRevocation | None = None,
    fetch: Fetch | None = None,
) -> Answerers:
    """Return who answers which kind of question."""
    given: dict[type[Question[Any]], Answerer | None] = {
        LeaseNeeded: lease,
        AcceptanceNeeded: accept,
        SecretNeeded: secret,
        SignatureNeeded: sign,
        RevocationNeeded: revocation,
        CertificateFetchNeeded: fetch,
    }
    found = {kind: answerer for kind, answerer in given.items() if answerer is not None}
    if authorize is not None:
        found[AuthorizationNeeded] = lambda question: authorize(question.peer_identity, question)
    return found


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
