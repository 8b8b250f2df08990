"""The way of a protected message through its SA, from the envelope to the exchange that knows it.

The order here is the security of the engine: a glance at the Message ID drops what cannot matter; the ICV comes before
any effect; the window moves; payloads are parsed; the shape of the message is checked; and only then the exchange sees
it. What answers an exchange of the peer stands in one table, `ANSWERERS`; when it may happen, in `states`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from ..addressing import Lease
from ..errors import InvalidSyntax, RemoteProtocolError, TemporaryFailure
from ..events import MessageReceived
from ..transport import DatagramPath, Path, packet_of
from ..wire import Contents, EncryptedFragment, Envelope, Notification, Payload, decode_payloads, match
from ..wire.numbers import RESPONSE, Exchange, name_of
from .beginning import pump
from .create_child_sa import answer_create_child_sa
from .generation import Generation
from .granting import lease_question
from .ike_sa import IkeSa
from .incoming import Incoming
from .informational import answer_informational
from .moving import came_by
from .outgoing import respond
from .request import OutgoingRequest
from .states import Verdict, verdict
from .window import Glance

__all__ = ["message_received"]

Answerer = Callable[[IkeSa, Incoming, float], "list[Payload] | None"]
"""What answers an exchange of the peer: payloads of the response, or None while the application decides."""
NOTHING = Contents("nothing", (), {}, {})


def message_received(sa: IkeSa, generation: Generation, envelope: Envelope, path: Path, now: float) -> str | None:
    """Take a protected message for a pair of SPIs of *sa*. Returns why it had no effect, None if it had one."""
    if generation.keys is None:
        return "no keys yet"
    if envelope.encrypted is None:
        return "not protected"
    fragment = envelope.encrypted if isinstance(envelope.encrypted, EncryptedFragment) else None
    if fragment is not None and not sa.fragmentation:
        return "a fragment, and fragmentation was not negotiated"
    if envelope.header.flags & RESPONSE:
        return _response_received(sa, generation, envelope, fragment, path, now)
    return _request_received(sa, generation, envelope, fragment, path, now)


def _response_received(
    sa: IkeSa, generation: Generation, envelope: Envelope, fragment: EncryptedFragment | None, path: Path, now: float
) -> str | None:
    header = envelope.header
    request = generation.ours.unanswered.get(header.message_id)
    if request is None or request.exchange != header.exchange:
        return "response to nothing we asked"
    if path.transport == "tcp" and not request.sent_on(path):
        return "response on a stream that did not carry the request"
    opened = _joined(sa, generation, envelope, fragment, _opened(generation, envelope), now)
    if opened is not None:
        _process(sa, generation, request, *opened, path, now)
    return None


def _request_received(
    sa: IkeSa, generation: Generation, envelope: Envelope, fragment: EncryptedFragment | None, path: Path, now: float
) -> str | None:
    header, digest = envelope.header, hashlib.sha256(envelope.data).digest()
    glance = generation.theirs.glance(header.message_id, digest)
    if glance is not Glance.NEW:
        return _not_new(sa, generation, envelope, fragment, path, glance, now)
    plaintext = _opened(generation, envelope)
    if fragment is not None:
        _note_packets(sa, envelope, fragment, path)
    what = verdict(generation.state, generation.role, header.exchange)
    if what is Verdict.DROP:
        return _out_of_place(generation, header.exchange)
    opened = _joined(sa, generation, envelope, fragment, plaintext, now)
    if opened is None:
        return None
    envelope, plaintext = opened
    if fragment is not None:
        # The first fragment says what the message is, and may say something else than the last one to come. It was let
        # in when it came, but the state may have moved since.
        digest = hashlib.sha256(envelope.data).digest()
        what = verdict(generation.state, generation.role, envelope.header.exchange)
        if what is Verdict.DROP:
            return _out_of_place(generation, envelope.header.exchange)
    generation.theirs.begin(header.message_id, digest, path)
    _answer(sa, generation, envelope, plaintext, path, now, what)
    return None


def _out_of_place(generation: Generation, exchange: int) -> str:
    """Say that a request has no place now. It is counted under these words, so a number that is none is not told."""
    name = name_of(Exchange, exchange) if isinstance(exchange, Exchange) else "an unknown exchange"
    return f"{name} while {generation.state.value}"


def _not_new(
    sa: IkeSa,
    generation: Generation,
    envelope: Envelope,
    fragment: EncryptedFragment | None,
    path: Path,
    glance: Glance,
    now: float,
) -> str | None:
    """Take a request whose Message ID has come before, or may not come yet."""
    message_id = envelope.header.message_id
    if glance is Glance.REPEAT:
        return _repeat(sa, generation, message_id, path, now)
    if glance is Glance.IN_PROGRESS:
        return _wanted_there_too(generation, message_id, path)
    if glance is Glance.FORGOTTEN or glance is Glance.AHEAD:
        return f"Message ID is {glance.value}"
    # The same request in another form: whole where it was in fragments, or the other way, or in smaller ones.
    if fragment is not None and fragment.number > 1:
        return "a fragment of a request that is there already, and not the first"
    _opened(generation, envelope)
    if fragment is not None:
        _note_packets(sa, envelope, fragment, path)
    if glance is Glance.IN_PROGRESS_OTHERWISE:
        return _wanted_there_too(generation, message_id, path)
    return _repeat(sa, generation, message_id, path, now)


def _wanted_there_too(generation: Generation, message_id: int, path: Path) -> str | None:
    return None if generation.theirs.also_wanted_on(message_id, path) else "a request in progress, by too many paths"


def _note_packets(sa: IkeSa, envelope: Envelope, fragment: EncryptedFragment, path: Path) -> None:
    """The first of several fragments has the size that the sender found to pass: ours shall not be larger."""
    if fragment.number == 1 < fragment.total and isinstance(path, DatagramPath):
        sa.smaller_packets(packet_of(path, envelope.header.length))


def _repeat(sa: IkeSa, generation: Generation, message_id: int, path: Path, now: float) -> str | None:
    response = generation.theirs.stored(message_id)
    if response is None:
        return "response forgotten"
    sa.services.sender.send_response(sa, response, [path], now)
    return None


def _joined(
    sa: IkeSa,
    generation: Generation,
    envelope: Envelope,
    fragment: EncryptedFragment | None,
    plaintext: bytes | InvalidSyntax,
    now: float,
) -> tuple[Envelope, bytes | InvalidSyntax] | None:
    """Return the message with its inner payloads; None while fragments of it are missing."""
    if fragment is None or isinstance(plaintext, InvalidSyntax):
        if generation.fragments is not None:
            generation.fragments.forget(envelope.header.is_response, envelope.header.message_id)
        return envelope, plaintext
    try:
        whole = generation.need_fragments().add(envelope, fragment, plaintext, sa.services.limits, now)
    except InvalidSyntax as error:
        return envelope, error
    sa.watch_fragments()
    return whole


def _opened(generation: Generation, envelope: Envelope) -> bytes | InvalidSyntax:
    """Return the inner payloads, or what is wrong with a padding that the ICV vouches for: the peer's own fault."""
    try:
        return generation.need_keys().open(envelope)
    except InvalidSyntax as error:
        return error


def _answer(
    sa: IkeSa,
    generation: Generation,
    envelope: Envelope,
    plaintext: bytes | InvalidSyntax,
    path: Path,
    now: float,
    what: Verdict,
) -> None:
    """Let the exchange answer, or answer in its place where the request is at fault or comes at the wrong time."""
    header = envelope.header
    asked = Incoming(generation, header.exchange, header.message_id, NOTHING, path)
    came_by(sa, path, now, newest=generation is sa.current and header.message_id == generation.theirs.newest)
    try:
        payloads = _parse(sa, envelope, plaintext)
        _trace_received(sa, envelope, payloads, path)
        if what is Verdict.REFUSE:
            name = name_of(Exchange, header.exchange)
            raise InvalidSyntax(f"{name} has no place while the SA is {generation.state.value}")
        asked.contents = match(header.exchange, False, payloads)
        if what is not Verdict.PROCESS:
            name = name_of(Exchange, header.exchange)
            raise TemporaryFailure(f"{name} while the SA is {generation.state.value}")
    except RemoteProtocolError as error:
        _at_fault(sa, asked, error, now)
        return
    question = None if sa.setting_up else lease_question(sa, asked.contents, path.remote)
    if question is None:
        _exchange(sa, asked, now)
        return

    def resume(lease: Lease | None, then: float) -> None:
        asked.chosen = lease
        if verdict(generation.state, generation.role, asked.exchange) is Verdict.PROCESS:
            _exchange(sa, asked, then)
        elif generation in sa.generations:
            _at_fault(sa, asked, TemporaryFailure(f"the SA is {generation.state.value} by now"), then)

    sa.services.asker.ask(sa, question.make, question.wants, question.refusal, resume, now)


def _exchange(sa: IkeSa, asked: Incoming, now: float) -> None:
    """Let the exchange answer."""
    try:
        answer = ANSWERERS[asked.exchange](sa, asked, now)
    except RemoteProtocolError as error:
        _at_fault(sa, asked, error, now)
        return
    if answer is not None:
        respond(sa, asked, answer, now)
        if sa.others:
            pump(sa, now)  # a rekey of the peer: what waited for the old SPIs goes on behind our answer


def _at_fault(sa: IkeSa, asked: Incoming, error: RemoteProtocolError, now: float) -> None:
    respond(sa, asked, _error_payloads(error), now)
    if error.scope == "ike" or sa.setting_up:
        sa.fail(error, "error", now)


def _process(
    sa: IkeSa,
    generation: Generation,
    request: OutgoingRequest,
    envelope: Envelope,
    plaintext: bytes | InvalidSyntax,
    path: Path,
    now: float,
) -> None:
    """Take the response to *request*; a malformed one ends the SA (RFC 7296 section 2.21.3)."""
    came_by(sa, path, now, newest=generation is sa.current and request.message_id + 1 == generation.ours.next_id)
    del generation.ours.unanswered[request.message_id]
    sa.services.delivery.request_done(sa, request)
    if path.transport == "udp" and request.in_fragments and request.packet is not None:
        sa.smaller_packets(request.packet)
    exchange = request.handler
    sa.progress = ()  # the peer is there: what failed before explains nothing any more
    if sa.setting_up:
        sa.transport, sa.transport_reason = path.transport, request.reason
    try:
        payloads = _parse(sa, envelope, plaintext)
        _trace_received(sa, envelope, payloads, path)
        exchange.process(match(envelope.header.exchange, True, payloads), path, now)
    except RemoteProtocolError as error:
        exchange.failed(error, now)
        if sa.alive and error.scope == "ike":
            sa.fail(error, "error", now)
    except Exception:  # a bug, and nothing knows of the exchange any more
        exchange.withdraw()
        raise
    pump(sa, now)


def _parse(sa: IkeSa, envelope: Envelope, plaintext: bytes | InvalidSyntax) -> list[Payload]:
    if isinstance(plaintext, InvalidSyntax):
        raise plaintext
    encrypted = envelope.encrypted
    first = 0 if encrypted is None else encrypted.inner_first
    if not first and not plaintext:  # a sign of life
        return list(envelope.payloads)
    return [*envelope.payloads, *decode_payloads(first, plaintext, 0, len(plaintext))]


def _trace_received(sa: IkeSa, envelope: Envelope, payloads: Sequence[Payload], path: Path) -> None:
    if not sa.services.config.trace:
        return
    header, encrypted = envelope.header, envelope.encrypted
    sa.services.emit(
        MessageReceived(
            sa.id,
            name_of(Exchange, header.exchange),
            header.message_id,
            bool(header.flags & RESPONSE),
            header.length,
            path.transport,
            path.local,
            path.remote,
            False,
            sa.services.names_of(payloads),
            encrypted.total if isinstance(encrypted, EncryptedFragment) else 0,
        )
    )


def _error_payloads(error: RemoteProtocolError) -> list[Payload]:
    """Return what RFC 7296 section 3.10.1 answers to *error*; an empty response where it names nothing."""
    return [] if error.notify is None else [Notification(error.notify, error.notify_data)]


def _answer_ike_auth(sa: IkeSa, asked: Incoming, now: float) -> list[Payload] | None:
    if sa.setup is None or sa.setup.responder is None:
        raise InvalidSyntax("IKE_AUTH is over")
    return sa.setup.responder.answer(sa.setup, asked, now)


ANSWERERS: Mapping[int, Answerer] = {
    Exchange.IKE_AUTH: _answer_ike_auth,
    Exchange.CREATE_CHILD_SA: answer_create_child_sa,
    Exchange.INFORMATIONAL: answer_informational,
}
