"""What every asynchronous binding of the core needs and none should write twice: which event is whose.

A binding moves octets and sleeps. Between it and the endpoint lies bookkeeping that has nothing to do with a particular
event loop: which event belongs to which session, who answers a question and what the answer means, which of our
addresses leads to a peer. It is here, without `async`; what a session knows is in `sessions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .addressing import Lease
from .errors import LocalProtocolError
from .events import Event, IkeSaClosed, IkeSaEstablished, IkeSaFailed, SuccessorBegun
from .outputs import QuestionId, SaId
from .questions import (
    AcceptanceNeeded,
    AuthorizationNeeded,
    CertificateFetchNeeded,
    LeaseNeeded,
    Question,
    QuestionClosed,
    RevocationNeeded,
    SecretNeeded,
    SignatureNeeded,
)
from .sessions import Answering, SessionState
from .transport import Local

if TYPE_CHECKING:
    from .endpoint import Endpoint

__all__ = ["Binding", "GRACE", "host_towards", "in_words", "own_hosts", "verdict"]

GRACE = 2.0
"""Seconds that a Delete waits for its answer when an endpoint or a connection is left."""


class Binding:
    """Sorts the outputs of one endpoint: each event to its session, each question to whoever answers it.

    What the engine sets up in place of an SA belongs to the session of that one, so that no SA is without.
    While nobody serves, what peers set up waits in *waiting*, and questions are denied.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.waiting: dict[SaId, SessionState] = {}
        self._accept: Callable[[SessionState], None] | None = None
        self._answers: Answering | None = None
        self._asked: dict[QuestionId, tuple[Answering, SessionState | None]] = {}
        self._states: dict[SaId, SessionState] = {}

    def follow(self, sa: SaId, answers: Answering | None = None) -> SessionState:
        """Keep book of *sa*. For one that we initiate, call it before its first output is drained.

        *answers* has the word about it, before whoever serves.
        """
        state = self._states.setdefault(sa, SessionState(sa))
        state.answers = answers
        return state

    def check_unserved(self) -> None:
        """Raise `LocalProtocolError` if somebody serves: sessions go to one handler."""
        if self._accept is not None:
            raise LocalProtocolError("serve: this endpoint is served already")

    def serve(self, accept: Callable[[SessionState], None], answers: Answering) -> None:
        """Hand what peers set up to *accept*, those that wait first, and questions to *answers*, if it wants them."""
        self._accept, self._answers = accept, answers
        waiting, self.waiting = self.waiting, {}
        for state in waiting.values():
            accept(state)

    def leave(self) -> None:
        """Nobody serves any more: what peers set up waits, and questions are denied."""
        self._accept = self._answers = None

    def dispatch(self, event: Event, now: float) -> None:
        """Route one event. Denies a question that nobody answers, so that the peer need not wait for its deadline."""
        if isinstance(event, Question):
            self._question(event, now)
            return
        if isinstance(event, QuestionClosed):
            self._question_closed(event)
            return
        sa: SaId | None = getattr(event, "sa", None)
        if sa is None:
            return
        state = self._states.get(sa)
        accepted = state is None and isinstance(event, IkeSaEstablished) and event.role == "responder"
        if accepted:
            state = self.follow(sa)
        if state is None:
            return
        if isinstance(event, SuccessorBegun):
            self._states[event.successor] = state
        state.take(event)
        if accepted and self._accept is not None:
            self._accept(state)
        elif accepted:
            self.waiting[sa] = state
        if isinstance(event, IkeSaClosed | IkeSaFailed):
            self.waiting.pop(sa, None)
            del self._states[sa]

    def _question(self, question: Question[Any], now: float) -> None:
        state = self._states.get(question.sa)
        for answers in (None if state is None else state.answers, self._answers):
            if answers is not None and answers.ask(question):
                ours = state if state is not None and answers is state.answers else None
                self._asked[question.question] = answers, ours
                if ours is not None:
                    ours.asking.add(question.question)
                return
        if type(question) in DENIALS:
            self.endpoint.answer(question.question, DENIALS[type(question)], now=now)

    def _question_closed(self, event: QuestionClosed) -> None:
        if event.question not in self._asked:
            return
        answers, state = self._asked.pop(event.question)
        answers.withdraw(event.question)
        if state is not None:
            state.asking.discard(event.question)
            state.signal.fire()

    def end(self, reason: str) -> None:
        """The endpoint is gone, and every session with it."""
        for sa in tuple(self._states):
            self.dispatch(IkeSaClosed(sa, reason, "us"), now=0.0)


DENIALS: Mapping[type[Question[Any]], object] = {
    AcceptanceNeeded: False,
    AuthorizationNeeded: False,
    CertificateFetchNeeded: b"",
    LeaseNeeded: None,
    RevocationNeeded: False,
    SecretNeeded: b"",
    SignatureNeeded: b"",
}
"""What answers a question for nobody. A kind that is not here is left to its deadline, when the core denies it."""


def in_words(host: str | Sequence[str]) -> str:
    """Name one host or several in a message."""
    return host if isinstance(host, str) else ", ".join(host)


def verdict(question: Question[Any], answer: object) -> object:
    """Return what a handler's *answer* means. Only True allows: something merely truthy is a bug, and a bug denies."""
    if isinstance(question, LeaseNeeded):
        return answer if isinstance(answer, Lease) else None
    if isinstance(question, SecretNeeded | SignatureNeeded | CertificateFetchNeeded):
        return answer if isinstance(answer, bytes) else b""
    return answer is True if isinstance(question, AuthorizationNeeded | AcceptanceNeeded | RevocationNeeded) else answer


def own_hosts(found: Mapping[str, str]) -> tuple[str, ...]:
    """Return one address of ours per address family, that towards the first remote of the family.

    *found* has our address, with its scope if it has one, towards each remote, as routing takes it.
    """
    ours: dict[bool, str] = {}
    for remote, source in found.items():
        ours.setdefault(":" in remote, source)
    return tuple(ours.values())


def host_towards(found: Mapping[str, str], locals: Iterable[Local]) -> str | None:
    """Return the host of *locals* that routing takes towards all remotes of *found*; None leaves the choice open."""
    bound = {local.address[0] for local in locals}
    ours = {source.partition("%")[0] for source in found.values()} & bound
    return ours.pop() if len(ours) == 1 else None
