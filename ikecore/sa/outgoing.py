"""What we say on a pair of SPIs: requests, answers and last words, sealed with its keys."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import LocalProtocolError
from ..wire import Payload, encode_payloads
from ..wire.numbers import RESPONSE, Exchange
from .exchange import OurExchange
from .generation import Generation
from .ike_sa import IkeSa
from .incoming import Incoming
from .keys import Unsealed
from .request import Message, OutgoingRequest, OutgoingResponse
from .timers import Timer
from .window import NEARLY_USED_UP

__all__ = ["last_words", "respond", "send_request"]


def send_request(sa: IkeSa, generation: Generation, exchange: OurExchange, now: float) -> None:
    """Build the request of *exchange* and send it. Raises what building raises; then *exchange* waits again."""
    try:
        keys = exchange.keys = generation.need_keys()
        payloads = exchange.build(now)
        first, chain = encode_payloads(payloads)
    except Exception:  # it waits again, to fail with the SA if that is to end, and no Message ID is missing
        exchange.withdraw()
        generation.ours.queue = (exchange, *generation.ours.queue)
        raise
    names = sa.services.names_of(payloads)
    message_id = generation.ours.take_id()
    unsealed = Unsealed(keys, exchange.exchange, 0, message_id, first, chain)
    request = OutgoingRequest(
        exchange.exchange,
        message_id,
        unsealed.whole,
        names,
        fragment=unsealed.fragments if sa.may_fragment else None,
        length=unsealed.length,
        handler=exchange,
        expected=exchange.expected_octets(),
        started=now,
        last=not generation.ours.queue,
    )
    generation.ours.unanswered[message_id] = request
    if generation.ours.next_id == NEARLY_USED_UP and generation is sa.current:
        sa.life.rekey_at = min(sa.life.rekey_at, now)
        sa.watch_life()
    try:
        request.seal()
    except LocalProtocolError as error:  # more than one payload can hold (TCP-04)
        sa.fail(error, "error", now)
        return
    sa.services.delivery.send_request(sa, request, now)


def respond(sa: IkeSa, asked: Incoming, payloads: Sequence[Payload], now: float) -> None:
    """Answer the peer's request on every path that it came by."""
    generation, exchange, message_id = asked.generation, asked.exchange, asked.message_id
    keys = generation.need_keys()
    names = sa.services.names_of(payloads)
    unsealed = Unsealed(keys, exchange, RESPONSE, message_id, *encode_payloads(payloads, is_response=True))
    fragment = unsealed.fragments if sa.may_fragment else None
    response = OutgoingResponse(
        exchange,
        message_id,
        unsealed.whole,
        names,
        fragment=fragment,
        length=unsealed.length,
        spi=generation.spi_local,
    )
    response.answered_at = now
    paths = generation.theirs.answer(message_id, response)
    if not sa.timers.is_set(Timer.RESPONSES):
        sa.timers.set(Timer.RESPONSES, now + sa.services.limits.response_lifetime)
    try:
        response.seal()
    except LocalProtocolError as error:
        sa.fail(error, "error", now)
        return
    sa.services.sender.send_response(sa, response, paths, now)


def last_words(sa: IkeSa, payloads: Sequence[Payload], now: float) -> None:
    """Send one INFORMATIONAL request and forget it: the SA is about to go, and nobody waits for the answer."""
    generation, exchange = sa.current, int(Exchange.INFORMATIONAL)
    keys = generation.need_keys()
    if generation.ours.used_up:
        return
    first, chain = encode_payloads(payloads)
    names = sa.services.names_of(payloads)
    message_id = generation.ours.take_id()
    unsealed = Unsealed(keys, exchange, 0, message_id, first, chain)
    message = Message(exchange, message_id, unsealed.whole, names)
    sa.services.sender.send_once(sa, message, now)
