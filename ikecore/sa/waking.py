"""What an IKE SA does when one of its timers rings.

Those of the set-up count only while there is one. Retransmission, questions and keepalives belong to the endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import AuthenticationFailed, PeerUnreachable
from ..wire import Delete
from ..wire.numbers import Protocol
from .beginning import begin_postponed
from .dead_peer import peer_was_silent
from .expiry import child_lifetimes_reached, ike_lifetime_reached
from .ike_sa import IkeSa
from .outgoing import last_words
from .rekey_ike_sa import delete_overdue
from .setup import Setup
from .states import State
from .timers import Timer

__all__ = ["timer_rang"]


def timer_rang(sa: IkeSa, timer: Timer, now: float) -> None:
    """Do what *timer* is for."""
    of_setup = _OF_SETUP.get(timer)
    if of_setup is None:
        _OTHERS[timer](sa, now)
    elif sa.setup is not None:
        of_setup(sa, sa.setup, now)


# --- the set-up -------------------------------------------------------------------------------------------------------


def _not_established(sa: IkeSa, setup: Setup, now: float) -> None:
    """The initiator has tried for long enough. An unprotected refusal, if one came, explains more than silence."""
    error = next((each.refusal for each in setup.attempts.values() if each.refusal), None)
    sa.progress += tuple(request.in_words() for request in sa.in_flight)
    sa.fail(error or PeerUnreachable("no answer in time", sa.progress), "silence", now)


def _nothing_better_came(sa: IkeSa, setup: Setup, now: float) -> None:
    """The wait for a better answer than an unprotected error is over: the attempts that drew one are."""
    for attempt in list(setup.attempts.values()):
        if attempt.refusal is not None:
            attempt.failed(attempt.refusal, now)


def _half_open_for_too_long(sa: IkeSa, setup: Setup, now: float) -> None:
    if sa.state is State.DECIDING:
        sa.fail(AuthenticationFailed("the application did not decide in time"), "silence", now)
    else:
        sa.fail(PeerUnreachable("no IKE_AUTH came in time"), "silence", now)


_OF_SETUP: Mapping[Timer, Callable[[IkeSa, Setup, float], None]] = {
    Timer.ESTABLISH: _not_established,
    Timer.INIT_ERROR: _nothing_better_came,
    Timer.HALF_OPEN: _half_open_for_too_long,
}


# --- all the others ---------------------------------------------------------------------------------------------------


def _fragments_missing(sa: IkeSa, now: float) -> None:
    for generation in sa.generations:
        if generation.fragments is not None:
            generation.fragments.expire(now)
    sa.watch_fragments()


def _forget_responses(sa: IkeSa, now: float) -> None:
    """The peer repeats for some minutes what it asked, and no longer (RFC 7296 section 2.1)."""
    lifetime = sa.services.limits.response_lifetime
    sa.timers.move(Timer.RESPONSES, min(each.theirs.forget(now, lifetime) for each in sa.generations))


def _delete_not_answered(sa: IkeSa, now: float) -> None:
    if sa.state is State.ESTABLISHED:  # it still waits behind a request that nobody answers
        last_words(sa, [Delete(Protocol.IKE, ())], now)
    reason = "Delete was not answered"
    sa.close(reason, "us", now, PeerUnreachable(reason))


_OTHERS: Mapping[Timer, Callable[[IkeSa, float], None]] = {
    Timer.FRAGMENTS: _fragments_missing,
    Timer.RESPONSES: _forget_responses,
    Timer.POSTPONED: begin_postponed,
    Timer.REKEYED: delete_overdue,
    Timer.DEAD_PEER: peer_was_silent,
    Timer.LIFETIME: ike_lifetime_reached,
    Timer.CHILDREN: child_lifetimes_reached,
    Timer.DELETE: _delete_not_answered,
}
