"""Exchanges that we begin: they wait for room in the window of their pair of SPIs, and for what they may not overlap.

Whatever begins one is told at once where that is impossible. What is begun because something else has ended fails
instead, as whatever else may happen to it later.
"""

from __future__ import annotations

from math import inf

from ..errors import IkeError, LocalProtocolError, PeerUnreachable, SaClosed, TemporaryFailure
from ..wire import Delete
from ..wire.numbers import Exchange, Protocol, name_of
from .exchange import OurExchange
from .generation import Generation
from .ike_sa import IkeSa
from .outgoing import last_words, send_request
from .persistence import Persistence
from .request import OutgoingRequest
from .states import State
from .timers import Timer

__all__ = [
    "begin",
    "begin_if_possible",
    "begin_later",
    "begin_postponed",
    "go_on",
    "pump",
    "request_expired",
    "try_later",
]


def begin(sa: IkeSa, exchange: OurExchange, now: float, generation: Generation | None = None) -> None:
    """Begin *exchange* as soon as the window has room; LocalProtocolError where the state forbids it.

    It runs on the SPIs that are current when its turn comes, unless it is for a *generation* of its own.
    """
    target = sa.current if generation is None else generation
    if not target.may_begin(exchange.exchange):
        raise _impossible(target, exchange)
    if len(target.ours.queue) >= sa.services.limits.queued_requests and not exchange.ends_sa:
        raise LocalProtocolError(f"{len(target.ours.queue)} requests are waiting already")
    target.ours.queue += (exchange,)
    try:
        pump(sa, now)
    except LocalProtocolError:  # it cannot be built: it was never begun
        target.ours.queue = tuple([each for each in target.ours.queue if each is not exchange])
        raise


def go_on(sa: IkeSa, exchange: OurExchange, now: float, generation: Generation | None = None) -> None:
    """Begin what another exchange leaves to be done. Where the state forbids it by now it fails.

    It waits even behind `Limits.queued_requests`: an exchange that ends leaves room for the one or two after it.
    """
    target = sa.current if generation is None else generation
    if not target.may_begin(exchange.exchange):
        exchange.failed(_too_late(target, exchange), now)
        return
    target.ours.queue += (exchange,)
    pump(sa, now)


def begin_if_possible(sa: IkeSa, exchange: OurExchange, now: float) -> None:
    """Begin *exchange*, which nobody waits for; where that is not possible now it fails."""
    if not sa.current.may_begin(exchange.exchange):
        exchange.failed(_too_late(sa.current, exchange), now)
        return
    try:
        begin(sa, exchange, now)
    except LocalProtocolError as error:
        exchange.failed(error, now)


def _impossible(target: Generation, exchange: OurExchange) -> LocalProtocolError:
    name = name_of(Exchange, exchange.exchange)
    return LocalProtocolError(f"{name}: not possible while the SA is {target.state.value}")


def _too_late(target: Generation, exchange: OurExchange) -> IkeError:
    """Return why *exchange*, wished for in time, cannot begin: our own Delete of the SA is nobody's misuse."""
    if target.state is State.DELETING:
        return SaClosed("the IKE SA is being deleted")
    return _impossible(target, exchange)


def begin_later(sa: IkeSa, exchange: OurExchange, when: float) -> None:
    """Begin *exchange* at the moment *when*."""
    sa.postponed += ((when, exchange),)
    sa.timers.set(Timer.POSTPONED, min(moment for moment, _ in sa.postponed))


def try_later(sa: IkeSa, exchange: OurExchange, persistence: Persistence, now: float) -> None:
    """The peer cannot do it now. Ask again, or end the SA where that has gone on for too long."""
    wait = persistence.wait(sa.services.limits, sa.services.random(2), now)
    if wait is not None:
        begin_later(sa, exchange, now + wait)
        return
    error = TemporaryFailure("the peer has answered TEMPORARY_FAILURE for too long")
    last_words(sa, [Delete(Protocol.IKE, ())], now)
    sa.close(str(error), "error", now, error)
    exchange.failed(error, now)  # what comes after it must see that this SA is gone


def pump(sa: IkeSa, now: float) -> None:
    """Send waiting requests while the windows have room."""
    for generation in sa.generations:
        while sa.alive and generation.ours.queue:
            if generation.ours.used_up and generation.ours.has_room:
                sa.fail(LocalProtocolError("the SA has used all its Message IDs"), "us", now)
                return
            exchange = generation.ours.take_next(now)
            if exchange is None:
                break
            send_request(sa, generation, exchange, now)


def begin_postponed(sa: IkeSa, now: float) -> None:
    """Begin those whose moment has come."""
    due = [exchange for when, exchange in sa.postponed if when <= now]
    sa.postponed = tuple(entry for entry in sa.postponed if entry[0] > now)
    sa.timers.move(Timer.POSTPONED, min((when for when, _ in sa.postponed), default=inf))
    for exchange in due:
        begin_if_possible(sa, exchange, now)


def request_expired(sa: IkeSa, request: OutgoingRequest, now: float) -> None:
    """Nobody answered *request* in any way that we know: the peer is gone (RFC 7296 section 2.4)."""
    what = name_of(Exchange, request.exchange)
    for generation in sa.others:
        if request in generation.ours.unanswered.values():  # on SPIs that were replaced: the peer forgot them
            sa.drop_generation(generation, PeerUnreachable(f"no answer to {what}"), now)
            pump(sa, now)
            return
    sa.fail(PeerUnreachable(f"no answer to {what}", sa.progress), "silence", now)
