"""What an SA needs from whoever keeps it, one protocol for each thing. They let the arrows stay downwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from ..addressing import AddressRange, Holder, Pool
from ..config import Config
from ..events import RequestCompleted, RequestFailed
from ..limits import Limits
from ..outputs import Address, ChildId, Output, QuestionId, SaId
from ..questions import Question
from ..transport import DatagramPath, Path
from ..wire import Payload
from .fragments import FragmentBudget
from .generation import Generation
from .request import Message, OutgoingRequest, OutgoingResponse
from .setup import Attempt

__all__ = ["Services"]

S = TypeVar("S", contravariant=True)
"""The SA."""
A = TypeVar("A")
"""The answer to a question."""


class IkeSpis(Protocol[S]):
    """Our SPIs of IKE SAs, 8 octets each, and whose messages bear them."""

    def new(self) -> bytes:
        """Draw one that no SA of the endpoint uses."""

    def claim(self, spi: bytes, sa: S) -> None:
        """Route messages for *spi* to *sa*."""

    def release(self, spi: bytes) -> None:
        """Stop routing messages for *spi*."""


class ChildSpis(Protocol):
    """Inbound SPIs of Child SAs, 4 octets each."""

    def new(self, sa: SaId) -> bytes:
        """Draw one that no Child SA of the endpoint has; kept for *sa* until it is released or the SA ends."""

    def release(self, sa: SaId, spi: bytes) -> None:
        """Let *spi* be used again."""


class Leases(Protocol):
    """Addresses that peers are assigned. *whose* stands for the identity of one, which may come back."""

    def take(
        self,
        sa: SaId,
        holder: Holder,
        pools: Sequence[Pool],
        version: int,
        wanted: str | None,
        before: Collection[SaId],
    ) -> tuple[str, AddressRange] | None:
        """Give *sa* an address of family *version* until it ends, if it can be *wanted*.

        That may be one of the SAs *before*. None if none is left, or *holder* may not have one more.
        """

    def may_take(self, holder: Holder) -> bool:
        """Tell whether *holder*, with all its SAs, may have one more address of the pools."""

    def hold(self, sa: SaId, holder: Holder, address: str, before: Collection[SaId]) -> bool:
        """Give *sa* exactly *address* until it ends; False if another SA has it that is none of *before*."""

    def release(self, sa: SaId) -> None:
        """Take back the addresses that *sa* has."""


class Sockets(Protocol):
    """Our sockets."""

    def udp_address(self, remote_host: str, marker: bool, preferred: str | None) -> Address | None:
        """Return the UDP socket with or without the non-ESP *marker* to reach *remote_host* from, or None."""

    def listener_port(self, host: str) -> int | None:
        """Return the port of our TCP listener on the address *host*, or None."""


class Paths(Protocol[S]):
    """Where datagrams go."""

    def move(self, sa: S, path: DatagramPath, reason: str, now: float) -> None:
        """Send datagrams of *sa* by *path* from now on, and say so."""


class Delivery(Protocol[S]):
    """Whatever gets requests to the peer."""

    def send_request(self, sa: S, request: OutgoingRequest, now: float) -> None:
        """Choose a transport for *request* and send it until it is answered or given up."""

    def request_done(self, sa: S, request: OutgoingRequest) -> None:
        """Stop sending *request*; let go of the streams that it used."""


class Sender(Protocol[S]):
    """Whatever sends what nobody answers."""

    def send_response(self, sa: S, response: OutgoingResponse, paths: Sequence[Path], now: float) -> None:
        """Send *response* on each of *paths* that still exists."""

    def send_once(self, sa: S, message: Message, now: float) -> None:
        """Send *message* where the peer was last, without waiting for anything."""


class Attempts(Protocol[S]):
    """Attempts at IKE_SA_INIT."""

    def failed(self, sa: S, attempt: Attempt, now: float) -> bool:
        """Begin another one in place of *attempt*, if there is any way left. False if not."""


class Asker(Protocol[S]):
    """Questions to the application."""

    def ask(
        self,
        sa: S,
        make: Callable[[QuestionId, float], Question[A]],
        wants: type[A] | tuple[type[A], ...],
        refusal: A,
        resume: Callable[[A, float], None],
        now: float,
    ) -> None:
        """Put a question whose answer is of the type *wants*.

        *resume* gets the answer, or *refusal* when time is up. An SA may have several open questions.
        """

    def may_ask_early(self, now: float) -> bool:
        """Tell whether one more question about a peer that has proved nothing may be asked now; it counts as asked."""


class Contacts(Protocol[S]):
    """Which SAs are with the same peer."""

    def first(self, sa: S) -> bool:
        """Tell whether INITIAL_CONTACT is true of *sa*, which we set up, and wanted."""

    def replaced_by(self, sa: S) -> list[SaId]:
        """Return the SAs that *sa* is about to replace: with the same peer, at the same address."""

    def too_many(self, sa: S) -> bool:
        """Tell whether *sa* is refused because there is another SA with its peer, which has just proved itself."""

    def met(self, sa: S, initial: bool, now: float) -> None:
        """*sa* is established. *initial*: its peer said INITIAL_CONTACT, so that other SAs with it are gone."""


class Succession(Protocol[S]):
    """SAs that take the place of another one."""

    def reauthenticate(self, old: S, now: float) -> None:
        """Set up an SA that is to replace *old*."""

    def restart(self, old: S, restarts: int, now: float) -> None:
        """Set up an SA in place of *old*, which is about to end: that another one follows is told before the end is.

        It was begun anew *restarts* times since the peer was last there.
        """

    def ending(self, old: S) -> None:
        """*old*, which we set up, is about to end with the Child SAs that it has now."""

    def ready(self, new: S, now: float) -> None:
        """*new*, set up in place of another SA, is established and has its first Child SA: it may take over."""


class Services(Protocol[S]):
    """The endpoint as an SA sees it."""

    config: Config
    limits: Limits
    fragments_of_strangers: FragmentBudget
    random: Callable[[int], bytes]
    utc: Callable[[], datetime]

    @property
    def ike_spis(self) -> IkeSpis[S]: ...
    @property
    def child_spis(self) -> ChildSpis: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def sockets(self) -> Sockets: ...
    @property
    def paths(self) -> Paths[S]: ...
    @property
    def delivery(self) -> Delivery[S]: ...
    @property
    def sender(self) -> Sender[S]: ...
    @property
    def attempts(self) -> Attempts[S]: ...
    @property
    def asker(self) -> Asker[S]: ...
    @property
    def contacts(self) -> Contacts[S]: ...
    @property
    def succession(self) -> Succession[S]: ...

    def emit(self, output: Output) -> None:
        """Queue an event."""

    def names_of(self, payloads: Sequence[Payload]) -> tuple[str, ...]:
        """Name *payloads* for whoever traces; empty without `Config.trace`."""

    def wish_ended(self, sa: S, end: RequestCompleted | RequestFailed) -> None:
        """Queue the end of a wish of *sa*, if it has not ended yet."""

    def new_child_id(self) -> ChildId:
        """Return a handle never used before."""

    def authenticated(self, sa: S, path: Path) -> None:
        """The peer of *sa* has proved who it is, by *path*: it counts no more as half-open."""

    def proved(self, sa: S, path: Path) -> None:
        """Note that a fresh, authenticated message of *sa* came by *path*."""

    def retire(self, sa: S, generation: Generation, now: float) -> None:
        """Stop routing messages for a pair of SPIs of *sa* that is gone; its last answer is kept for a while."""

    def remove(self, sa: S, now: float) -> None:
        """Forget *sa*, which is closed, and all that belongs to it."""
