"""One IKE SA: its state, its windows, and the path of a message from the envelope to the exchange that knows it.

The order in `message_received` is the security of the engine: a glance at the Message ID drops what cannot matter; the
ICV comes before any effect; the window moves; payloads are parsed; the shape of the message is checked; and only then
the exchange sees it. What each exchange means lives in the modules named after the exchanges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from ..config import Connection
from ..crypto import Identity
from ..errors import IkeError, InvalidSyntax, LocalProtocolError, PeerUnreachable, RemoteProtocolError
from ..events import (
    ChildSaClosed,
    IkeSaClosed,
    IkeSaFailed,
    MessageReceived,
    RequestCompleted,
    RequestFailed,
    Role,
    Transport,
)
from ..outputs import ChildId, SaId
from ..transport import DatagramPath, NatFacts, Path, PeerFacts
from ..wire import (
    Contents,
    Delete,
    EncryptedFragment,
    Envelope,
    Notification,
    Payload,
    decode_payloads,
    encode_payloads,
    match,
)
from ..wire.numbers import RESPONSE, Exchange, Protocol, name_of
from .child_sa import ChildSa
from .exchange import OurExchange
from .fragments import Fragments
from .keys import SaKeys
from .request import Message, OutgoingRequest, OutgoingResponse
from .services import Attempt, AuthResponder, Services
from .states import AUTHENTICATED, Input, State, Verdict, may_begin, step, verdict
from .timers import Timer, Timers
from .window import Glance, RequestWindow, ResponseWindow

__all__ = ["Answerer", "By", "IkeSa"]

Answerer = Callable[["IkeSa", Contents, int, Path, float], "list[Payload] | None"]
"""What answers an exchange of the peer: payloads of the response, or None while the application decides."""

By = Literal["us", "peer", "silence", "error"]


class IkeSa:
    """One IKE SA, in either role."""

    __slots__ = (
        "_answerers",
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

    def __init__(
        self, id: SaId, role: Role, connection: Connection, services: Services[IkeSa], answerers: Mapping[int, Answerer]
    ) -> None:
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
        self.fragments = Fragments()
        self.timers = Timers()
        self.peer_identity: Identity | None = None
        self.transport: Transport = "udp"
        self.transport_reason = ""
        self.progress: list[str] = []
        """What was tried to set it up, in words."""
        self.armed_for: float | None = None
        """The earliest moment for which the endpoint has this SA in its heap."""
        self._answerers = answerers

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
        first, plaintext = encode_payloads(payloads)
        request = OutgoingRequest(
            exchange.exchange,
            message_id,
            lambda: keys.seal(exchange.exchange, 0, message_id, first, plaintext),
            names,
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
        first, plaintext = encode_payloads(payloads)
        message = Message(exchange, message_id, lambda: keys.seal(exchange, 0, message_id, first, plaintext), names)
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

    # --- what comes in ----------------------------------------------------------------------------------------------

    def message_received(self, envelope: Envelope, path: Path, now: float) -> str | None:
        """Take a protected message for this SA. Returns why it had no effect, None if it had one."""
        header = envelope.header
        if self.keys is None:
            return "no keys yet"
        if envelope.encrypted is None:
            return "not protected"
        fragment = envelope.encrypted if isinstance(envelope.encrypted, EncryptedFragment) else None
        if fragment is not None and not self.fragmentation:
            return "a fragment, and fragmentation was not negotiated"
        if header.flags & RESPONSE:
            request = self.ours.unanswered.get(header.message_id)
            if request is None or request.exchange != header.exchange:
                return "response to nothing we asked"
            if path.transport == "tcp" and not request.sent_on(path):
                return "response on a stream that did not carry the request"
            opened = self._joined(envelope, fragment, self._open(self.keys, envelope), now)
            return None if opened is None else self._response(opened[0], request, opened[1], path, now)
        digest = hashlib.sha256(envelope.data).digest()
        glance = self.theirs.glance(header.message_id, digest)
        if glance is Glance.REPEAT:
            return self._repeat(header.message_id, path, now)
        if glance in (Glance.FORGOTTEN, Glance.AHEAD):
            return f"Message ID is {glance.value}"
        if glance is Glance.IN_PROGRESS:
            known = self.theirs.also_wanted_on(header.message_id, digest, path)
            return None if known else "a request in progress, in other octets or by too many paths"
        plaintext = self._open(self.keys, envelope)
        if glance is Glance.PERHAPS_REPEAT:
            if fragment is not None and fragment.number != 1:
                return "a fragment of an answered request, and not the first"
            return self._repeat(header.message_id, path, now)
        what = verdict(self.state, self.role, header.exchange)
        if what is Verdict.DROP:
            return f"{name_of(Exchange, header.exchange)} while {self.state.value}"
        opened = self._joined(envelope, fragment, plaintext, now)
        if opened is None:
            return None
        envelope, plaintext = opened
        if fragment is not None:
            # The first fragment says what the message is, and may say something else than the last one to come.
            digest = hashlib.sha256(envelope.data).digest()
            what = verdict(self.state, self.role, envelope.header.exchange)
        self.theirs.begin(header.message_id, digest, path)
        self._request(envelope, plaintext, path, now, refuse=what is Verdict.REFUSE)
        return None

    def _joined(
        self,
        envelope: Envelope,
        fragment: EncryptedFragment | None,
        plaintext: bytes | InvalidSyntax,
        now: float,
    ) -> tuple[Envelope, bytes | InvalidSyntax] | None:
        """Return the message with its inner payloads; None while fragments of it are missing."""
        if fragment is None or isinstance(plaintext, InvalidSyntax):
            self.fragments.forget(envelope.header.is_response, envelope.header.message_id)
            return envelope, plaintext
        try:
            whole = self.fragments.add(envelope, fragment, plaintext, self.services.limits, now)
        except InvalidSyntax as error:
            return envelope, error
        deadline = self.fragments.deadline
        if deadline is None:
            self.timers.clear(Timer.FRAGMENTS)
        else:
            self.timers.set(Timer.FRAGMENTS, deadline)
        return whole

    def _open(self, keys: SaKeys, envelope: Envelope) -> bytes | InvalidSyntax:
        """Return the inner payloads, or what is wrong with a padding that the ICV vouches for: the peer's own fault."""
        try:
            return keys.open(envelope)
        except InvalidSyntax as error:
            return error

    def _request(
        self, envelope: Envelope, plaintext: bytes | InvalidSyntax, path: Path, now: float, *, refuse: bool
    ) -> None:
        header = envelope.header
        self._path_proved(path, now)
        try:
            payloads = self._parse(envelope, plaintext)
            self._trace_received(envelope, payloads, path)
            if refuse:
                name = name_of(Exchange, header.exchange)
                raise InvalidSyntax(f"{name} has no place while the SA is {self.state.value}")
            contents = match(header.exchange, False, payloads)
            answer = self._answerers[header.exchange](self, contents, header.message_id, path, now)
        except RemoteProtocolError as error:
            self.respond(header.exchange, header.message_id, error_payloads(error), now)
            if error.scope == "ike" or self.setting_up:
                self.fail(error, "error", now)
            return
        if answer is not None:
            self.respond(header.exchange, header.message_id, answer, now)

    def respond(self, exchange: int, message_id: int, payloads: Sequence[Payload], now: float) -> None:
        """Answer the peer's request on every path that it came by."""
        keys = self.need_keys()
        names = self.services.names_of(payloads)
        first, plaintext = encode_payloads(payloads, is_response=True)
        response = OutgoingResponse(
            exchange, message_id, lambda: keys.seal(exchange, RESPONSE, message_id, first, plaintext), names
        )
        paths = self.theirs.answer(message_id, response)
        try:
            response.seal()
        except LocalProtocolError as error:
            self.fail(error, "error", now)
            return
        self.services.send_response(self, response, paths, now)

    def _repeat(self, message_id: int, path: Path, now: float) -> str | None:
        response = self.theirs.stored(message_id)
        if response is None:
            return "response forgotten"
        self.services.send_response(self, response, [path], now)
        return None

    def _response(
        self,
        envelope: Envelope,
        request: OutgoingRequest,
        plaintext: bytes | InvalidSyntax,
        path: Path,
        now: float,
    ) -> str | None:
        self._path_proved(path, now)
        del self.ours.unanswered[request.message_id]
        self.services.request_done(self, request, now)
        exchange = request.handler
        self.progress.clear()  # the peer is there: what failed before explains nothing any more
        if self.setting_up:
            self.transport, self.transport_reason = path.transport, request.reason
        try:
            payloads = self._parse(envelope, plaintext)
            self._trace_received(envelope, payloads, path)
            exchange.process(match(envelope.header.exchange, True, payloads), path, now)
        except RemoteProtocolError as error:
            self.exchange_failed(exchange, error, now)
        self.pump(now)
        return None

    def exchange_failed(self, exchange: OurExchange, error: IkeError, now: float) -> None:
        """Let *exchange* clean up; a malformed message ends the SA (RFC 7296 section 2.21.3)."""
        exchange.failed(error, now)
        if self.alive and isinstance(error, RemoteProtocolError) and error.scope == "ike":
            self.fail(error, "error", now)

    def _parse(self, envelope: Envelope, plaintext: bytes | InvalidSyntax) -> list[Payload]:
        if isinstance(plaintext, InvalidSyntax):
            raise plaintext
        encrypted = envelope.encrypted
        first = 0 if encrypted is None else encrypted.inner_first
        return [*envelope.payloads, *decode_payloads(first, plaintext, 0, len(plaintext))]

    def _path_proved(self, path: Path, now: float) -> None:
        """A fresh, verified message came by *path*: it may be where the peer is now (RFC 7296 section 2.23).

        TCP addresses never become the path of datagrams (TCP-73). Whoever is behind a NAT does not move: its peer's
        address is the stable one, and a stranger on the path could replay to move it.
        """
        self.services.proved(self, path)
        if self.role == "responder" and not self.setting_up and path.remote[0] != self.hosts[1]:
            # What the peer announced was for the address it had (TCP-32). Until it is authenticated its address stays
            # the one at which IKE_SA_INIT reached it: a forged one must not become its traffic selector.
            self.hosts = (path.local[0], path.remote[0])
            self.facts.announced_port = None
        if path.transport != "udp" or path == self.path:
            return
        if self.path is None or (self.role == "responder" and not self.nat.local_behind_nat):
            self.services.move_path(self, path, "authenticated traffic came this way", now)

    def _trace_received(self, envelope: Envelope, payloads: Sequence[Payload], path: Path) -> None:
        if not self.services.config.trace:
            return
        header = envelope.header
        self.services.emit(
            MessageReceived(
                self.id,
                name_of(Exchange, header.exchange),
                header.message_id,
                bool(header.flags & RESPONSE),
                header.length,
                path.transport,
                path.local,
                path.remote,
                False,
                self.services.names_of(payloads),
            )
        )

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


def error_payloads(error: RemoteProtocolError) -> list[Payload]:
    """Return what RFC 7296 section 3.10.1 answers to *error*; an empty response where it names nothing."""
    return [] if error.notify is None else [Notification(error.notify, error.notify_data)]
