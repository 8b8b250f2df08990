"""One IKE SA: what is known of it, the exchanges that we begin, our answers, its timers and its end.

How a message comes in is in `receiving`; what each exchange means is in the modules named after the exchanges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..config import Connection
from ..crypto import Identity
from ..errors import IkeError, LocalProtocolError, PeerUnreachable
from ..events import (
    ChildSaClosed,
    IkeSaClosed,
    IkeSaFailed,
    RequestCompleted,
    RequestFailed,
    Role,
    Transport,
)
from ..outputs import ChildId, SaId
from ..transport import DatagramPath, NatFacts, PeerFacts, least_packet
from ..wire import Delete, Payload, encode_payloads
from ..wire.numbers import RESPONSE, Exchange, Protocol, name_of
from .child_sa import ChildSa
from .exchange import OurExchange
from .fragments import Fragments
from .keys import SaKeys, Unsealed
from .request import Message, OutgoingRequest, OutgoingResponse
from .services import Attempt, AuthResponder, Services
from .states import AUTHENTICATED, Input, State, may_begin, step
from .timers import Timer, Timers
from .window import RequestWindow, ResponseWindow

__all__ = ["By", "IkeSa"]

By = Literal["us", "peer", "silence", "error"]


class IkeSa:
    """One IKE SA, in either role."""

    __slots__ = (
        "armed_for",
        "attempts",
        "children",
        "connection",
        "facts",
        "fragmentation",
        "fragments",
        "hosts",
        "id",
        "keys",
        "lost_path",
        "nat",
        "ours",
        "packet",
        "path",
        "peer_identity",
        "progress",
        "remotes",
        "responder",
        "role",
        "services",
        "spi_i",
        "spi_r",
        "state",
        "theirs",
        "timers",
        "transport",
        "transport_reason",
    )

    def __init__(self, id: SaId, role: Role, connection: Connection, services: Services[IkeSa]) -> None:
        self.id = id
        self.role = role
        self.connection = connection
        self.services = services
        self.state = State.INITIATING if role == "initiator" else State.HALF_OPEN
        self.spi_i = self.spi_r = bytes(8)
        self.attempts: dict[bytes, Attempt] = {}
        """IKE_SA_INIT attempts that still listen, by their SPI."""
        self.keys: SaKeys | None = None
        self.ours = RequestWindow()
        self.theirs = ResponseWindow()
        self.children: dict[ChildId, ChildSa] = {}
        self.remotes: list[str] = []
        """Addresses that may still be tried if IKE_SA_INIT fails."""
        self.responder: AuthResponder | None = None
        """Waits for IKE_AUTH, until it has come."""
        self.hosts = ("", "")
        """Our address and the peer's, as IKE_SA_INIT was carried."""
        self.path: DatagramPath | None = None
        self.lost_path: DatagramPath | None = None
        """What *path* was when its socket went, until there is another."""
        self.facts = PeerFacts(connection.transports.tcp_port)
        self.nat = NatFacts()
        self.fragmentation = False
        """Both sides said in IKE_SA_INIT that they know RFC 7383."""
        self.packet: int | None = None
        """Octets of the IP packets that carry fragments on *path*, if that is known; less than was configured."""
        self.fragments = Fragments(services.fragments_of_strangers if role == "responder" else None)
        self.timers = Timers()
        self.peer_identity: Identity | None = None
        self.transport: Transport = "udp"
        self.transport_reason = ""
        self.progress: list[str] = []
        """What was tried to set it up, in words."""
        self.armed_for: float | None = None
        """The earliest moment for which the endpoint has this SA in its heap."""

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def spi_local(self) -> bytes:
        return self.spi_i if self.role == "initiator" else self.spi_r

    @property
    def alive(self) -> bool:
        return self.state is not State.CLOSED

    @property
    def setting_up(self) -> bool:
        return self.state not in AUTHENTICATED

    @property
    def may_fragment(self) -> bool:
        """Whether we send IKE fragments: the peer knows them, and our configuration wants it."""
        return self.fragmentation and self.connection.transports.fragmentation == "yes"

    @property
    def packet_size(self) -> int:
        """Octets of the largest IP packet that a datagram of this SA may take before fragments are made."""
        return self.packet or self.connection.transports.fragment_size

    def smaller_packets(self, octets: int) -> None:
        """Packets of *octets* octets are what this path takes, so larger ones are not tried again."""
        if self.path is not None:
            self.packet = min(self.packet_size, max(octets, least_packet(self.path)))

    def move(self, what: Input) -> None:
        """Change the state as the table says."""
        self.state = step(self.state, self.role, what)

    # --- what we begin ----------------------------------------------------------------------------------------------

    def begin(self, exchange: OurExchange, now: float) -> None:
        """Begin *exchange* as soon as the window has room; LocalProtocolError where the state forbids it."""
        if not may_begin(self.state, self.role, exchange.exchange):
            name = name_of(Exchange, exchange.exchange)
            raise LocalProtocolError(f"{name}: not possible while the SA is {self.state.value}")
        if len(self.ours.queue) >= self.services.limits.queued_requests and not exchange.ends_sa:
            raise LocalProtocolError(f"{len(self.ours.queue)} requests are waiting already")
        self.ours.queue.append(exchange)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Send waiting requests while the window has room."""
        while self.ours.queue and self.ours.has_room and self.alive:
            if self.ours.used_up:
                self.fail(LocalProtocolError("the SA has used all its Message IDs"), "us", now)
                return
            exchange = self.ours.queue.popleft()
            self._send(exchange, now)

    def _send(self, exchange: OurExchange, now: float) -> None:
        keys = self.need_keys()
        message_id = self.ours.take_id()
        payloads = exchange.build(now)
        names = self.services.names_of(payloads)
        unsealed = Unsealed(keys, exchange.exchange, 0, message_id, *encode_payloads(payloads))
        request = OutgoingRequest(
            exchange.exchange,
            message_id,
            unsealed.whole,
            names,
            fragment=unsealed.fragments if self.may_fragment else None,
            handler=exchange,
            expected=exchange.expected_octets(),
            started=now,
            last=not self.ours.queue,
        )
        self.ours.unanswered[message_id] = request
        try:
            request.seal()
        except LocalProtocolError as error:  # more than one payload can hold (TCP-04)
            self.fail(error, "error", now)
            return
        self.services.send_request(self, request, now)

    def last_words(self, payloads: Sequence[Payload], now: float) -> None:
        """Send one INFORMATIONAL request and forget it: the SA is about to go, and nobody waits for the answer."""
        keys, exchange = self.need_keys(), int(Exchange.INFORMATIONAL)
        if self.ours.used_up:
            return
        message_id = self.ours.take_id()
        names = self.services.names_of(payloads)
        unsealed = Unsealed(keys, exchange, 0, message_id, *encode_payloads(payloads))
        message = Message(exchange, message_id, unsealed.whole, names)
        self.services.send_once(self, message, now)

    @property
    def in_flight(self) -> list[OutgoingRequest]:
        """Every request that is not answered, IKE_SA_INIT attempts included."""
        opening = [attempt.request for attempt in self.attempts.values() if attempt.request is not None]
        return [*opening, *self.ours.unanswered.values()]

    def request_expired(self, request: OutgoingRequest, now: float) -> None:
        """Nobody answered *request* in any way that we know: the peer is gone (RFC 7296 section 2.4)."""
        what = name_of(Exchange, request.exchange)
        self.fail(PeerUnreachable(f"no answer to {what}", tuple(self.progress)), "silence", now)

    # --- what we answer ---------------------------------------------------------------------------------------------

    def respond(self, exchange: int, message_id: int, payloads: Sequence[Payload], now: float) -> None:
        """Answer the peer's request on every path that it came by."""
        keys = self.need_keys()
        names = self.services.names_of(payloads)
        unsealed = Unsealed(keys, exchange, RESPONSE, message_id, *encode_payloads(payloads, is_response=True))
        fragment = unsealed.fragments if self.may_fragment else None
        response = OutgoingResponse(exchange, message_id, unsealed.whole, names, fragment=fragment)
        paths = self.theirs.answer(message_id, response)
        try:
            response.seal()
        except LocalProtocolError as error:
            self.fail(error, "error", now)
            return
        self.services.send_response(self, response, paths, now)

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        return self.timers.next

    def expired(self, timer: Timer, now: float) -> None:
        """Do what *timer* is for; retransmission belongs to the endpoint."""
        if timer is Timer.ESTABLISH:
            error = next((attempt.refusal for attempt in self.attempts.values() if attempt.refusal), None)
            self.progress += [request.in_words() for request in self.in_flight]
            self.fail(error or PeerUnreachable("no answer in time", tuple(self.progress)), "silence", now)
        elif timer is Timer.INIT_ERROR:
            for attempt in list(self.attempts.values()):
                if attempt.refusal is not None:
                    attempt.failed(attempt.refusal, now)
        elif timer is Timer.HALF_OPEN:
            self.fail(PeerUnreachable("no IKE_AUTH came in time"), "silence", now)
        elif timer is Timer.FRAGMENTS:
            self.fragments.expire(now)
            if self.fragments.deadline is not None:
                self.timers.set(Timer.FRAGMENTS, self.fragments.deadline)
        elif timer is Timer.DELETE:
            if self.state is State.ESTABLISHED:  # it still waits behind a request that nobody answers
                self.last_words([Delete(Protocol.IKE, ())], now)
            self.close("Delete was not answered", "us", now)

    # --- its end ----------------------------------------------------------------------------------------------------

    def fail(self, error: IkeError, by: By, now: float) -> None:
        """End the SA because of *error*."""
        if self.setting_up and self.alive:
            step_name = {State.INITIATING: "IKE_SA_INIT"}.get(self.state, "IKE_AUTH")
            remote = self.path.remote if self.path is not None else None
            self.services.emit(IkeSaFailed(self.id, self.connection.name, self.role, step_name, error, remote))
            self._end(error, now)
        else:
            self.close(str(error), by, now, error)

    def close(self, reason: str, by: By, now: float, error: IkeError | None = None) -> None:
        """End an SA that was up, its Child SAs and every open wish; nothing is sent."""
        if not self.alive:
            return
        for child in list(self.children.values()):
            self.close_child(child, reason, by)
        self.services.emit(IkeSaClosed(self.id, reason, by))
        self._end(error or PeerUnreachable(reason), now)

    def close_child(self, child: ChildSa, reason: str, by: By) -> None:
        del self.children[child.id]
        self.services.release_child_spi(self, child.spi_in)
        self.services.emit(ChildSaClosed(self.id, child.id, child.spi_in, child.spi_out, reason, by))

    @property
    def delete_under_way(self) -> OurExchange | None:
        """Our Delete of this SA, waiting or sent."""
        exchanges = [request.handler for request in self.ours.unanswered.values()] + list(self.ours.queue)
        return next((each for each in exchanges if each.ends_sa), None)

    def _end(self, error: IkeError, now: float) -> None:
        self.move(Input.GONE)
        self.timers.clear_all()
        unanswered, self.ours.unanswered = self.ours.unanswered, {}
        waiting, self.ours.queue = list(self.ours.queue), type(self.ours.queue)()
        for request in unanswered.values():
            self.services.request_done(self, request, now)
            request.handler.failed(error, now)
        for exchange in waiting:
            exchange.failed(error, now)
        for attempt in list(self.attempts.values()):
            attempt.drop(now)
        self.services.remove(self, now)
        if self.keys is not None:
            self.keys.forget()
            self.keys = None

    # --- wishes of the application ----------------------------------------------------------------------------------

    def wish_done(self, exchange: OurExchange) -> None:
        if exchange.wish is not None:
            wish, exchange.wish = exchange.wish, None
            self.services.emit(RequestCompleted(self.id, wish, name_of(Exchange, exchange.exchange)))

    def wish_failed(self, exchange: OurExchange, error: IkeError) -> None:
        if exchange.wish is not None:
            wish, exchange.wish = exchange.wish, None
            self.services.emit(RequestFailed(self.id, wish, name_of(Exchange, exchange.exchange), error))

    def need_keys(self) -> SaKeys:
        """Return the keys; only called where the state says that there are some."""
        if self.keys is None:
            raise LocalProtocolError("the SA has no keys yet")
        return self.keys
