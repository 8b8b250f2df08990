"""What every asynchronous binding of the core needs and none should write twice: sessions without the waiting.

A binding moves octets and sleeps. Between it and the endpoint lies bookkeeping that has nothing to do with a particular
event loop: which event belongs to which session, when a session is up or over and with which error, what a subscriber
missed, who answers a question. It is here, without `async`. Whoever waits does it on a `Signal`: the binding adds the
`set` method of its own kind of event, and takes it away again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakSet

from .addressing import Lease
from .errors import ChildSaNotFound, IkeError, LocalProtocolError, SessionClosed
from .events import (
    AcceptanceNeeded,
    AuthorizationNeeded,
    CertificateFetchNeeded,
    Event,
    IkeKeyMaterial,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    LeaseNeeded,
    Question,
    QuestionClosed,
    RequestCompleted,
    RequestFailed,
    RevocationNeeded,
    SecretNeeded,
    SignatureNeeded,
    Transport,
)
from .outputs import ChildId, QuestionId, RequestId, SaId
from .record import record
from .transport import Local

if TYPE_CHECKING:
    from .endpoint import ChildSaView, Endpoint, IkeSaView

__all__ = [
    "Answering",
    "Binding",
    "EventRing",
    "EventsLost",
    "GRACE",
    "RING",
    "SessionFacts",
    "SessionState",
    "Signal",
    "TransportUsed",
    "host_towards",
    "in_words",
    "own_hosts",
    "verdict",
]

GRACE = 2.0
"""Seconds that a Delete waits for its answer when an endpoint or a connection is left."""
RING = 256
"""Events kept for one subscriber that does not read: more than any exchange makes, a few dozen kilobytes at most."""

Wake: TypeAlias = Callable[[], None]


@record
class EventsLost(Event):
    """So many events of this session were dropped here, because nobody read them in time. The latest were kept."""

    count: int


@record
class TransportUsed:
    """What carried IKE_AUTH, and why."""

    name: Transport
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


class Signal:
    """Tells everybody who waits now that something changed. Spurious wakes are legal: look again."""

    def __init__(self) -> None:
        self._wakes: set[Wake] = set()

    def add(self, wake: Wake) -> None:
        """Call *wake* at every change, until it is discarded."""
        self._wakes.add(wake)

    def discard(self, wake: Wake) -> None:
        """Forget *wake*, which need not be known."""
        self._wakes.discard(wake)

    def fire(self) -> None:
        """Wake everybody."""
        for wake in tuple(self._wakes):
            wake()


class EventRing:
    """The latest events of one session for one subscriber, at most *limit* of them."""

    def __init__(self, limit: int = RING) -> None:
        if limit < 1:
            raise LocalProtocolError(f"limit: {limit} events; at least 1 is needed")
        self.signal = Signal()
        self._events: deque[Event] = deque(maxlen=limit)
        self._lost = 0
        self._over = False

    @property
    def ready(self) -> bool:
        """True if `pop` will not have to wait: there is an event, or there will never be one again."""
        return bool(self._events) or self._over

    def push(self, event: Event, *, last: bool = False) -> None:
        """Keep *event*; where there is no room, the oldest goes, and is counted."""
        self._lost += len(self._events) == self._events.maxlen
        self._events.append(event)
        self._over = last
        self.signal.fire()

    def pop(self) -> Event | None:
        """Return the next event; None means that there is none. A gap is told before what follows it."""
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(lost)
        return self._events.popleft() if self._events else None


class Answering(Protocol):
    """Answers questions, when it can."""

    def ask(self, question: Question[Any]) -> bool:
        """Begin to answer, or return False."""

    def withdraw(self, question: QuestionId) -> None:
        """The question is closed, whether it was answered or not."""


class SessionState:
    """What is known of one IKE SA that somebody holds a session of."""

    def __init__(self, sa: SaId) -> None:
        self.sa = sa
        self.signal = Signal()
        self.established: IkeSaEstablished | None = None
        self.failure: IkeError | None = None
        self.closed: str | None = None
        self.answers: Answering | None = None
        """Who answers the questions about this SA, if not whoever serves."""
        self.asking: set[QuestionId] = set()
        """What *answers* works on."""
        self.outcomes: dict[RequestId, IkeError | ChildId | None] = {}
        self._wanted: set[RequestId] = set()
        self._bug = ""
        self._rings: WeakSet[EventRing] = WeakSet()

    @property
    def over(self) -> bool:
        """True once the SA is gone, whether it ever was established or not."""
        return self.closed is not None or self.failure is not None

    @property
    def decided(self) -> bool:
        """True once the attempt to set up the SA has succeeded or failed, and what it asked of us is answered."""
        return (self.established is not None and not self.asking) or self.over

    def check(self) -> None:
        """Raise `SessionClosed` with the reason if the SA is gone."""
        if self.over:
            raise SessionClosed(self.closed if self.closed is not None else str(self.failure))

    def subscribe(self, limit: int) -> EventRing:
        """Return a ring that gets every event from now on. It ends with the session or when nobody holds it."""
        self.check()
        ring = EventRing(limit)
        self._rings.add(ring)
        return ring

    def expect(self, request: RequestId) -> None:
        """Keep the outcome of *request* when it comes."""
        self._wanted.add(request)

    def outcome(self, request: RequestId) -> ChildId | None:
        """Return the Child SA that *request* made, None if it was for something else; raise its error.

        Raises `SessionClosed` if the SA ended before.
        """
        if request not in self.outcomes:
            self.check()
        outcome = self.outcomes[request]
        if isinstance(outcome, IkeError):
            raise outcome
        return outcome

    def forget(self, request: RequestId) -> None:
        """Nobody waits for *request* any more."""
        self._wanted.discard(request)
        self.outcomes.pop(request, None)

    def take(self, event: Event) -> None:
        """Learn from one event of this SA, hand it to the subscribers, and wake who waits."""
        if isinstance(event, IkeSaEstablished):
            self.established = event
        elif isinstance(event, InternalError):
            self._bug = event.detail
        elif isinstance(event, IkeSaFailed):
            self.failure = as_ike_error(event.error)
            if self._bug:
                self.failure.add_note(self._bug)
        elif isinstance(event, IkeSaClosed):
            self.closed = event.reason
        elif isinstance(event, RequestCompleted) and event.request in self._wanted:
            self.outcomes[event.request] = event.child
        elif isinstance(event, RequestFailed) and event.request in self._wanted:
            self.outcomes[event.request] = as_ike_error(event.error)
        for ring in tuple(self._rings):
            ring.push(event, last=self.over)
        if self.over:
            self._rings.clear()
        self.signal.fire()


class SessionFacts:
    """The half of a session that does not wait: what is known of the SA."""

    def __init__(self, endpoint: Endpoint, state: SessionState) -> None:
        self._endpoint = endpoint
        self._state = state

    def __repr__(self) -> str:
        state = self._state
        if state.over or state.established is None:
            return f"<{type(self).__name__} {state.sa}: {state.closed or state.failure or 'connecting'}>"
        return f"<{type(self).__name__} {state.sa} with {self.peer_identity} over {self.transport.name}>"

    @property
    def sa(self) -> SaId:
        """The SA's handle, for the endpoint's own methods and to tell events apart. It survives rekeying."""
        return self._state.sa

    @property
    def established(self) -> IkeSaEstablished:
        """The event that told of the SA. Raises `SessionClosed` if there never was one."""
        if self._state.established is None:
            self._state.check()
            raise LocalProtocolError("the IKE SA is not established yet")
        return self._state.established

    @property
    def peer_identity(self) -> str:
        """Who the peer has proved to be, as in "fqdn:vpn.example"; known after the end too."""
        return self.established.peer_identity

    @property
    def local_identity(self) -> str:
        """Who we are to the peer; known after the end too."""
        return self.established.local_identity

    @property
    def transport(self) -> TransportUsed:
        """What carried IKE_AUTH (*name*, "udp" or "tcp") and why (*reason*); known after the end too."""
        return TransportUsed(self.established.transport, self.established.reason)

    @property
    def closed(self) -> str | None:
        """Why the SA is gone, None while it lives."""
        return self._state.closed

    @property
    def view(self) -> IkeSaView:
        """The SA as it is now. Raises `SessionClosed` after its end."""
        self._state.check()
        return self._endpoint.sa(self._state.sa)

    @property
    def child_sas(self) -> tuple[ChildSaView, ...]:
        """Its Child SAs as they are now. Raises `SessionClosed` after its end.

        During a rekey both are there: the one that is replaced, and behind it the one that replaces it.
        """
        return self.view.children

    def child_sa(self, child: ChildId | None) -> ChildSaView:
        """Return one of its Child SAs. Raises `ChildSaNotFound` where it is closed, `SessionClosed` after the SA."""
        for view in self.child_sas:
            if view.id == child:
                return view
        raise ChildSaNotFound("the Child SA is closed")

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the peer assigned to us, or we to the peer. Raises `SessionClosed` after the end of the SA."""
        lease = self.lease
        return () if lease is None else lease.addresses

    @property
    def lease(self) -> Lease | None:
        """The addresses that one side has from the other, with DNS servers and whatever else was told beside them.

        None if there are none. Raises `SessionClosed` after the end of the SA.
        """
        view = self.view
        return view.assigned or view.granted

    def export_keys(self) -> IkeKeyMaterial:
        """Return the keys of the IKE SA. Raises `SessionClosed` after its end."""
        return self.view.export_keys()


class Binding:
    """Sorts the outputs of one endpoint: each event to its session, each question to whoever answers it.

    While nobody serves, what peers set up waits in *waiting*, and questions are denied.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.waiting: dict[SaId, SessionState] = {}
        self._accept: Callable[[SessionState], None] | None = None
        self._answers: Answering | None = None
        self._asked: dict[QuestionId, Answering] = {}
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
        state.take(event)
        if accepted and self._accept is not None:
            self._accept(state)
        elif accepted:
            self.waiting[sa] = state
        if state.over:
            self.waiting.pop(sa, None)
            del self._states[sa]

    def _question(self, question: Question[Any], now: float) -> None:
        state = self._states.get(question.sa)
        for answers in (None if state is None else state.answers, self._answers):
            if answers is not None and answers.ask(question):
                self._asked[question.question] = answers
                if state is not None and answers is state.answers:
                    state.asking.add(question.question)
                return
        if type(question) in DENIALS:
            self.endpoint.answer(question.question, DENIALS[type(question)], now=now)

    def _question_closed(self, event: QuestionClosed) -> None:
        answers, state = self._asked.pop(event.question, None), self._states.get(event.sa)
        if answers is not None:
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


def as_ike_error(error: Exception) -> IkeError:
    """Return *error*, or what stands for it: sessions raise nothing but `IkeError`."""
    if isinstance(error, IkeError):
        return error
    wrapped = IkeError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
