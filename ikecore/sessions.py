"""Sessions without the waiting: what is known of one IKE SA, and the events that its subscribers have yet to read.

Whoever waits does it on a `Signal`: a binding adds the `set` method of its own kind of event, and takes it away again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakSet

from .addressing import Lease
from .errors import ChildSaNotFound, IkeError, LocalProtocolError, PeerUnreachable, SaClosed, SessionClosed
from .esp import EspRoutes
from .events import (
    Event,
    IkeKeyMaterial,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    IkeSaReauthenticated,
    InternalError,
    RequestCompleted,
    RequestFailed,
    SuccessorBegun,
    Transport,
)
from .outputs import ChildId, QuestionId, RequestId, SaId
from .questions import Question
from .record import record

if TYPE_CHECKING:
    from .endpoint import ChildSaView, Endpoint, IkeSaView

__all__ = [
    "Answering",
    "EventRing",
    "EventsLost",
    "RING",
    "SessionFacts",
    "SessionState",
    "Signal",
    "TransportUsed",
]

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
        if self._wakes:  # mostly there is nobody
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
    """What is known of one IKE SA that somebody holds a session of, and of those that the engine sets up in its place.

    *sa* is the one that the session stands for. It moves on when another has taken over, or when its own end finds
    another under way. The session is over when its SA ends and there is none to move on to.
    """

    def __init__(self, sa: SaId) -> None:
        self.sa = sa
        self.signal = Signal()
        self.established: IkeSaEstablished | None = None
        """What told of *sa*; while that is set up in place of one that ended, still of the one before."""
        self.failure: IkeError | None = None
        """Why there never was an SA."""
        self.closed: str | None = None
        """Why there is no SA any more."""
        self.answers: Answering | None = None
        """Who answers the questions about the SA, if not whoever serves."""
        self.asking: set[QuestionId] = set()
        """What *answers* works on."""
        self.esp = EspRoutes()
        self.outcomes: dict[RequestId, IkeError | ChildId | None] = {}
        self._lives: dict[SaId, IkeSaEstablished | None] = {sa: None}
        """*sa* and what is set up in its place, oldest first, each with what told of it."""
        self._replaced: set[SaId] = set()
        """Those that another has taken over from, until they are gone."""
        self._wanted: dict[RequestId, SaId] = {}
        self._bug = ""
        self._rings: WeakSet[EventRing] | None = None
        """None where nobody ever subscribed: most sessions are only waited for, and a set like this is five objects."""

    @property
    def over(self) -> bool:
        """True once the SA is gone, whether it ever was established or not, and none is set up in its place."""
        return self.closed is not None or self.failure is not None

    @property
    def decided(self) -> bool:
        """True once the attempt to set up the SA has succeeded or failed, and what it asked of us is answered."""
        return (self.established is not None and not self.asking) or self.over

    @property
    def held(self) -> tuple[SaId, ...]:
        """Every SA of the session that is not gone: the latest first, so that none takes the place of another."""
        return (*reversed(self._lives), *self._replaced)

    def check(self) -> None:
        """Raise `SessionClosed` with the reason if the SA is gone."""
        if self.over:
            raise SessionClosed(self.closed if self.closed is not None else str(self.failure))

    def check_up(self) -> None:
        """Raise `SessionClosed` as `check` does, and `PeerUnreachable` while the SA is being set up anew."""
        self.check()
        if self._lives[self.sa] is None:
            raise PeerUnreachable("the IKE SA is being set up anew")

    def subscribe(self, limit: int) -> EventRing:
        """Return a ring that gets every event from now on. It ends with the session or when nobody holds it."""
        self.check()
        ring = EventRing(limit)
        if self._rings is None:
            self._rings = WeakSet()
        self._rings.add(ring)
        return ring

    def expect(self, request: RequestId) -> None:
        """Keep the first outcome of *request*, made just now of *sa*, when it comes: its own, or the end of *sa*."""
        self._wanted[request] = self.sa

    def outcome(self, request: RequestId) -> ChildId | None:
        """Return the Child SA that *request* made, None if it was for something else; raise its error.

        Raises `SessionClosed` if the SA that it was made of ended before.
        """
        if request not in self.outcomes:
            self.check()
        outcome = self.outcomes[request]
        if isinstance(outcome, IkeError):
            raise outcome
        return outcome

    def forget(self, request: RequestId) -> None:
        """Nobody waits for *request* any more."""
        self._wanted.pop(request, None)
        self.outcomes.pop(request, None)

    def take(self, event: Event) -> None:
        """Learn from one event of these SAs, hand it to the subscribers, and wake who waits."""
        self.esp.take(event)
        if isinstance(event, IkeSaEstablished):
            self._lives[event.sa] = event
            if event.sa == self.sa:
                self.established = event
        elif isinstance(event, SuccessorBegun):
            self._lives[event.successor] = None
        elif isinstance(event, IkeSaReauthenticated):
            self._taken_over(event)
        elif isinstance(event, InternalError):
            self._bug = event.detail
        elif isinstance(event, IkeSaFailed):
            error = as_ike_error(event.error)
            if self.established is None:
                self.failure = error
                if self._bug:
                    error.add_note(self._bug)
            self._ended(event.sa, str(error))
        elif isinstance(event, IkeSaClosed):
            self._ended(event.sa, event.reason)
        elif isinstance(event, RequestCompleted) and event.request in self._wanted:
            self.outcomes.setdefault(event.request, event.child)
        elif isinstance(event, RequestFailed) and event.request in self._wanted:
            self.outcomes.setdefault(event.request, as_session_error(event.error))
        for ring in tuple(self._rings or ()):
            ring.push(event, last=self.over)
        if self.over:
            self._rings = None
        self.signal.fire()

    def _taken_over(self, event: IkeSaReauthenticated) -> None:
        self._lives.pop(event.sa, None)
        self._replaced.add(event.sa)
        if event.sa == self.sa:
            self._move_on()

    def _ended(self, sa: SaId, reason: str) -> None:
        """One of the SAs is gone. What was asked of it comes to nothing."""
        self._lives.pop(sa, None)
        self._replaced.discard(sa)
        for request, asked in self._wanted.items():
            if asked == sa:
                self.outcomes.setdefault(request, SessionClosed(reason))
        if sa != self.sa:
            return
        if self._lives:
            self._move_on()
        elif self.failure is None:
            self.closed = reason

    def _move_on(self) -> None:
        """Stand for the SA that was the next to be set up."""
        self.sa, told = next(iter(self._lives.items()))
        self.established = told or self.established


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
        """The SA's handle, for the endpoint's own methods and to tell events apart.

        It survives rekeying. Where the engine has set up another SA in place of this one (`IkeSaReauthenticated`, or a
        new start after a silence), it is the handle of that one, and so is all that the session tells.
        """
        return self._state.sa

    @property
    def established(self) -> IkeSaEstablished:
        """The event that told of the SA; while another is set up in its place, still that of the one before.

        Raises `SessionClosed` if there never was one.
        """
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

    def _check_lasting(self) -> None:
        """Raise `SessionClosed` where our Delete of the SA is on its way, too: it can get no Child SA or keys any more.

        Raises as `view` does, and `PeerUnreachable` while the SA is being set up anew.
        """
        self._state.check_up()
        if self.view.state == "deleting":
            raise SessionClosed("the IKE SA is being deleted")

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


def as_ike_error(error: Exception) -> IkeError:
    """Return *error*, or what stands for it: sessions raise nothing but `IkeError`."""
    if isinstance(error, IkeError):
        return error
    wrapped = IkeError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def as_session_error(error: Exception) -> IkeError:
    """Return what a call of a session raises for *error*: the end of the SA is that of the session's use of it."""
    if isinstance(error, SaClosed) and not isinstance(error, SessionClosed):
        return SessionClosed(error.reason)
    return as_ike_error(error)
