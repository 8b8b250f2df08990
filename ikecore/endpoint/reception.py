"""The way of a message from a path to the SA that it is for, and of strangers to admission.

Cheap things first: the header as a tuple, the SPI looked up, and what nobody wants is counted and dropped before any
object is made. What is not authenticated changes nothing and draws at most the one stateless notification that RFC 7296
names for it, at a bounded rate.
"""

from __future__ import annotations

import hashlib

from ..errors import InvalidKePayload, InvalidMajorVersion, NoProposalChosen, RemoteProtocolError
from ..events import MessageDropped, MessageReceived
from ..outputs import SaId
from ..sa import (
    IkeSa,
    Liveness,
    OutgoingResponse,
    Responder,
    Setup,
    State,
    answer_init,
    begin_if_possible,
    message_received,
)
from ..transport import Path, Stream
from ..wire import (
    Contents,
    Envelope,
    HeaderFields,
    Nonce,
    Notification,
    Payload,
    cookie_demand,
    decode_envelope,
    encode_message,
    match,
    nonce_without_cookie,
    triage,
)
from ..wire.numbers import INITIATOR, RESPONSE, Exchange, Notify, PayloadType, name_of
from .admission import Verdict
from .allowance import Allowance
from .keeper import Keeper

__all__ = ["Reception"]

_NO_SPI = bytes(8)
_PROTECTED = (PayloadType.SK, PayloadType.SKF)
_HINTS = (Notify.INVALID_IKE_SPI, Notify.INVALID_SPI, Notify.INVALID_MAJOR_VERSION)
"""What an honest peer has to say without protection (RFC 7296 section 1.5)."""


class Reception:
    """Takes messages in."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._stateless = Allowance(keeper.limits.stateless_per_second)
        self._useless = Allowance(keeper.limits.stateless_per_second)
        """Key pairs made for public values that turned out to be none: such a request leaves nothing to be counted."""
        self._wary_until = float("-inf")
        """Until then nobody gets a key pair over UDP without a cookie, as there were too many of those."""
        self._unknown_spis = Allowance(keeper.limits.unknown_spi_per_second)
        self._hints = Allowance(keeper.limits.hints_per_second)

    def octets(self, stream: Stream, data: bytes, now: float) -> None:
        """Octets of a stream: messages, until a fault ends it."""
        keeper = self._keeper
        keeper.streams.touched(stream)
        for message in stream.received(data, now):
            self.message(message, stream.path, stream, now)
            if not stream.alive:
                break
        for oldest in keeper.streams.read(stream):
            oldest.reset("its unfinished message made room for others")
            if oldest is not stream:
                keeper.stream_events.gone(oldest, now)
        if stream.alive and stream.fault is not None:
            stream.reset(stream.fault)
            keeper.refusals.add("stream", stream.remote, "its octets are no messages", now)
        if not stream.alive:
            keeper.stream_events.gone(stream, now)

    def message(self, data: bytes, path: Path, stream: Stream | None, now: float) -> None:
        """One whole message came by *path*."""
        keeper = self._keeper
        try:
            fields = triage(data)
        except InvalidMajorVersion as error:
            self._drop(data, path, "major version", error.message)
            self._refuse_version(data, error, path, now)
            return
        except RemoteProtocolError as error:
            self._drop(data, path, "header", error.message)
            if stream is not None:
                stream.reset("a header that is none of IKE")
            return
        spi_i, spi_r, _, _, exchange, flags, message_id, _ = fields
        if stream is not None and stream.opened is not bool(flags & RESPONSE):
            self._drop(data, path, "the wrong direction for this stream")
            stream.reset("a response on an accepted stream" if flags & RESPONSE else "a request on a stream of ours")
            return
        if exchange == Exchange.IKE_SA_INIT and flags & (INITIATOR | RESPONSE) == INITIATOR and spi_r == _NO_SPI:
            self._init_request(data, fields, path, message_id, now)
            keeper.turn.concerned = None
            return
        sa = keeper.by_spi.get(spi_r if flags & INITIATOR else spi_i)
        if sa is None:
            self._unknown(data, spi_r if flags & INITIATOR else spi_i, path, stream, now)
            return
        turn = keeper.turn
        turn.is_for(sa)
        try:
            reason = self._for_sa(sa, data, fields, path, now)
        except RemoteProtocolError as error:
            self._drop(data, path, type(error).__name__, error.message)
            reason = None
        if reason is not None:
            self._drop(data, path, reason)
        elif stream is not None and not flags & RESPONSE:
            generation = sa.generation(spi_i, spi_r)
            if generation is not None and generation.theirs.is_wanted_on(message_id, path):
                stream.owed.add((generation.spi_local, message_id))
        turn.concerned = None

    def _for_sa(self, sa: IkeSa, data: bytes, fields: HeaderFields, path: Path, now: float) -> str | None:
        spi_i, spi_r, _, _, _, flags, _, _ = fields
        setup = sa.setup
        if setup is not None and setup.attempts:
            if flags & INITIATOR:
                return "our own Initiator flag"
            return self._init_response(sa, setup, data, fields, path, now)
        generation = sa.generation(spi_i, spi_r)
        if generation is None:
            return "the peer's SPI is another"
        if (generation.role == "initiator") is bool(flags & INITIATOR):
            return "our own Initiator flag"
        envelope = decode_envelope(data, fields=fields)
        if envelope.encrypted is None:
            return self._unprotected(sa, envelope, path, now)
        return message_received(sa, generation, envelope, path, now)

    def _unprotected(self, sa: IkeSa, envelope: Envelope, path: Path, now: float) -> str:
        """Anyone may have sent it. Some errors are a reason to ask the peer itself, now and then, and that is all.

        A peer that has lost the SA cannot say so in any other way (RFC 7296 section 2.21.4). While a request of ours is
        on its way there is nothing to add: it is repeated anyhow, and the SA ends if nobody answers.
        """
        hints = [each for each in envelope.payloads if isinstance(each, Notification) and each.notify_type in _HINTS]
        if not hints or path.transport == "tcp" or sa.state is not State.ESTABLISHED:
            return "not protected"
        if sa.may_follow_hint(now) and self._hints.take(now):
            sa.hinted_at = now
            begin_if_possible(sa, Liveness(sa), now)
        return "an unprotected error"

    def _init_response(
        self, sa: IkeSa, setup: Setup, data: bytes, fields: HeaderFields, path: Path, now: float
    ) -> str | None:
        """An unprotected response: only on the exact path of its request (TCP-17)."""
        attempt = setup.attempts.get(fields[0])
        envelope = decode_envelope(data, fields=fields)
        header = envelope.header
        if attempt is None or header.exchange != Exchange.IKE_SA_INIT or not header.is_response or header.message_id:
            return "not the response to IKE_SA_INIT"
        if attempt.request is None or not attempt.request.sent_on(path):
            return "IKE_SA_INIT response on another path than its request"
        if envelope.encrypted is not None:
            return "IKE_SA_INIT is not encrypted"
        contents = match(Exchange.IKE_SA_INIT, True, envelope.payloads)
        self._trace(sa.id, envelope, path)
        attempt.received(envelope, contents, path, now)
        return None

    # --- strangers --------------------------------------------------------------------------------------------------

    def _init_request(self, data: bytes, fields: HeaderFields, path: Path, message_id: int, now: float) -> None:
        """IKE_SA_INIT: a repeat is answered again, a new one has to be admitted."""
        keeper = self._keeper
        if len(data) > keeper.limits.message_init:  # it would be kept until IKE_AUTH comes, as AUTH signs it
            self._drop(data, path, "IKE_SA_INIT too large")
            return
        digest = hashlib.sha256(data).digest()
        known = keeper.half_open.known(digest, path)
        if known is not None:
            keeper.turn.concerned = known
            stored = known.current.theirs.stored(0)
            if stored is not None:
                keeper.sender.send_response(known, stored, [path], now)
            else:
                self._drop(data, path, "IKE_SA_INIT of an SA that is further on")
            return
        if message_id:
            self._drop(data, path, "IKE_SA_INIT with a Message ID")
            return
        if keeper.closing:
            self._drop(data, path, "shutting down")
            return
        self._new_init(data, fields, path, digest, now)

    def _new_init(self, data: bytes, fields: HeaderFields, path: Path, digest: bytes, now: float) -> None:
        """A request that is no repeat: an SA begins, or its sender is told why not."""
        keeper, stranger = self._keeper, path.transport == "udp"
        wary = stranger and (keeper.admission.crowded or now < self._wary_until)
        if wary and self._demand_cookie(data, fields, path, now):
            return
        admitted = False
        try:
            envelope = decode_envelope(data, fields=fields)
            if envelope.encrypted is not None:
                self._drop(data, path, "IKE_SA_INIT is not encrypted")
                return
            contents = match(Exchange.IKE_SA_INIT, False, envelope.payloads)
            proved = self._proved(envelope, contents, path, now)
            stranger = stranger and not proved
            admitted = self._admit(data, envelope, contents, path, now, proved=proved)
            if admitted:
                self._begin(envelope, contents, path, digest, now, proved=proved)
        except (InvalidKePayload, NoProposalChosen) as error:
            self._drop(data, path, type(error).__name__, error.message)
            if isinstance(error, NoProposalChosen):  # the other is how two sides come to a common group
                keeper.refusals.add("IKE_SA_INIT", path.remote, "no connection takes any of the proposals offered", now)
            if stranger and not self._stateless.take(now):  # who uses that up must not leave others without a word
                self._want_cookie(envelope, contents, path, now)
            else:
                self._answer(envelope, Notification(error.notify or 0, error.notify_data), path, now)
        except RemoteProtocolError as error:
            # Malformed and not protected: nobody is told, since nobody can be believed (RFC 7296 section 2.21.1).
            self._drop(data, path, type(error).__name__, error.message)
            if admitted and stranger and not self._useless.take(now):
                self._wary_until = now + keeper.limits.cookie_lifetime

    def _demand_cookie(self, data: bytes, fields: HeaderFields, path: Path, now: float) -> bool:
        """In a flood, answer a request without a cookie before it is read in full: it will come again with one.

        False where it has to be read, as it may bring a cookie, or is none that can be answered like this.
        """
        keeper, host = self._keeper, path.remote[0]
        if keeper.config.trace or len(keeper.sas) >= keeper.limits.sas:
            return False
        nonce = nonce_without_cookie(fields[2], data)
        if nonce is None:
            return False
        demand = cookie_demand(fields[0], fields[1], keeper.cookies.bake(nonce, host, fields[0], now))
        if len(demand) > len(data):  # an address may be forged: it gets no more than was sent
            return False
        keeper.counters["cookie wanted"] += 1
        keeper.sender.send_octets(demand, path)
        return True

    def _proved(self, envelope: Envelope, contents: Contents, path: Path, now: float) -> bool:
        """Tell whether the request brought a good cookie."""
        cookie = contents.notify(Notify.COOKIE)
        return cookie is not None and self._keeper.cookies.accepts(
            cookie.data, contents.one(Nonce).data, path.remote[0], envelope.header.spi_i, now
        )

    def _admit(
        self, data: bytes, envelope: Envelope, contents: Contents, path: Path, now: float, *, proved: bool
    ) -> bool:
        keeper = self._keeper
        verdict, reason = keeper.admission.judge(path.transport, path.remote[0], len(keeper.sas), proved=proved)
        if verdict is Verdict.ADMIT:
            if proved or path.transport == "tcp" or now >= self._wary_until:
                return True
            verdict = Verdict.COOKIE
        self._drop(data, path, "cookie wanted" if verdict is Verdict.COOKIE else "half-open limit")
        if verdict is Verdict.COOKIE:
            self._want_cookie(envelope, contents, path, now)
        else:
            keeper.refusals.add("IKE_SA_INIT", path.remote, reason, now)
        return False

    def _want_cookie(self, envelope: Envelope, contents: Contents, path: Path, now: float) -> None:
        nonce, spi_i = contents.one(Nonce).data, envelope.header.spi_i
        answer = Notification(Notify.COOKIE, self._keeper.cookies.bake(nonce, path.remote[0], spi_i, now))
        self._answer(envelope, answer, path, now)

    def _begin(
        self, envelope: Envelope, contents: Contents, path: Path, digest: bytes, now: float, *, proved: bool
    ) -> None:
        keeper = self._keeper
        connections = keeper.config.connections_for(path.remote[0])
        if not connections:
            self._drop(envelope.data, path, "no connection for this address")
            keeper.refusals.add("IKE_SA_INIT", path.remote, "no connection for this address", now)
            return
        self._trace(None, envelope, path)
        setup = Setup()
        sa, context, fitting = answer_init(
            keeper,
            lambda connection: keeper.new_sa("responder", connection, setup),
            connections,
            envelope,
            contents,
            path,
            digest,
            now,
        )
        setup.responder = Responder(sa, context, fitting)
        keeper.half_open.opened(sa, digest, path, proved=proved)

    def _unknown(self, data: bytes, spi: bytes, path: Path, stream: Stream | None, now: float) -> None:
        """No SA: perhaps a repeat for one that is gone. Anything else is not answered.

        A peer's connection is for the SAs that it has with us, and ends with the first message that is for none. One of
        ours may bring a late response to an attempt that was given up.
        """
        tombstones = self._keeper.tombstones
        response = tombstones.answer(spi, data, now)
        if response is not None:
            self._keeper.sender.send_response(None, response, [path], now)
            return
        self._drop(data, path, "unknown SPI")
        if stream is None:
            self._refuse_spi(data, path, now)
        if stream is not None and not stream.opened and not tombstones.has(spi):
            stream.reset("a message for no SA of ours")

    # --- stateless answers ------------------------------------------------------------------------------------------

    def _answer(self, envelope: Envelope, answer: Notification, path: Path, now: float) -> None:
        payloads: list[Payload] = [answer]
        header = envelope.header
        octets = encode_message(
            spi_i=header.spi_i,
            spi_r=header.spi_r,
            exchange=header.exchange,
            flags=RESPONSE | (0 if header.is_initiator else INITIATOR),
            message_id=header.message_id,
            payloads=payloads,
        )
        self._trace(None, envelope, path)
        response = OutgoingResponse(header.exchange, header.message_id, lambda: octets, self._keeper.names_of(payloads))
        self._keeper.sender.send_response(None, response, [path], now)

    def _refuse_spi(self, data: bytes, path: Path, now: float) -> None:
        """Tell whoever still believes in an SA that we have none (RFC 7296 sections 1.5 and 2.21.4).

        Only a protected request gets it, never a response or a notification, so that two of us cannot keep each other
        talking; and it is shorter than any such request, so that it is no use for floods.
        """
        if data[19] & RESPONSE or data[16] not in _PROTECTED or data[18] == Exchange.IKE_SA_INIT:
            return
        if not self._unknown_spis.take(now):
            return
        self._reply(data, Notification(Notify.INVALID_IKE_SPI), path, now)

    def _refuse_version(self, data: bytes, error: InvalidMajorVersion, path: Path, now: float) -> None:
        """A higher major version is told ours (RFC 7296 section 2.5); a lower one is another protocol."""
        if error.version >> 4 < 3 or data[19] & RESPONSE or not self._stateless.take(now):
            return
        self._reply(data, Notification(Notify.INVALID_MAJOR_VERSION), path, now)

    def _reply(self, data: bytes, answer: Notification, path: Path, now: float) -> None:
        """Answer the request *data*, of which no more than the header was looked at."""
        message_id = int.from_bytes(data[20:24], "big")
        octets = encode_message(
            spi_i=data[:8],
            spi_r=data[8:16],
            exchange=data[18],
            flags=RESPONSE | (0 if data[19] & INITIATOR else INITIATOR),
            message_id=message_id,
            payloads=[answer],
        )
        response = OutgoingResponse(data[18], message_id, lambda: octets, self._keeper.names_of([answer]))
        self._keeper.sender.send_response(None, response, [path], now)

    # --- words ------------------------------------------------------------------------------------------------------

    def _drop(self, data: bytes, path: Path, reason: str, detail: str = "") -> None:
        """Count it under *reason*, one of a fixed set; *detail* may hold what the peer sent, and is only traced."""
        self._keeper.counters[reason] += 1
        if self._keeper.config.trace:
            self._keeper.emit(MessageDropped(len(data), path.transport, path.remote, detail or reason))

    def _trace(self, sa: SaId | None, envelope: Envelope, path: Path) -> None:
        if self._keeper.config.trace:
            header = envelope.header
            self._keeper.emit(
                MessageReceived(
                    sa,
                    name_of(Exchange, header.exchange),
                    header.message_id,
                    header.is_response,
                    header.length,
                    path.transport,
                    path.local,
                    path.remote,
                    False,
                    self._keeper.names_of(envelope.payloads),
                )
            )
