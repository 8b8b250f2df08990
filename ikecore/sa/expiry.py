"""What is done when the time of an SA has come: it is rekeyed in good time, and deleted where that did not succeed.

RFC 7296 sections 2.8 and 2.8.3. A rekey that fails for any reason is begun again with growing waits. The hard limit is
later by `over_time`: an SA that has no successor by then is deleted, since it must not be used any longer.
"""

from __future__ import annotations

from math import inf

from ..events import LifetimeReached
from .beginning import begin, begin_if_possible
from .child_sa import ChildSa
from .create_child_sa import CreateChild
from .ike_sa import IkeSa
from .informational import DeleteChild, DeleteIke
from .life import retry_wait
from .rekey_ike_sa import RekeyIke
from .states import State
from .timers import Timer

__all__ = ["child_expiring", "child_lifetimes_reached", "delete_ike", "ike_lifetime_reached"]

TIME_TO_REKEY = "it is time to rekey"
TIME_TO_AUTHENTICATE = "it is time to authenticate anew"
NOT_REKEYED = "no rekey has succeeded"
OVER = "its lifetime is over"
REPLACED = "it was rekeyed"


def ike_lifetime_reached(sa: IkeSa, now: float) -> None:
    """The time of the IKE SA has come: rekey it, or delete it."""
    life, services = sa.life, sa.services
    if sa.state is not State.ESTABLISHED or sa.delete_under_way is not None:
        return
    if life.over_at <= now:
        services.emit(LifetimeReached(sa.id, None, "delete", life.reason))
        delete_ike(sa, life.reason, now)
        return
    if life.reauth_at <= now:
        life.reauth_at = now + retry_wait(life.tries, services.limits, services.random)
        life.tries += 1
        _reauthenticate(sa, TIME_TO_AUTHENTICATE, now)
    if life.rekey_at <= now:
        _rekey_ike(sa, now)
    sa.watch_life()


def _rekey_ike(sa: IkeSa, now: float) -> None:
    """Rekey; a peer that has not let us until the middle of `over_time` is met with a new IKE SA instead.

    A minimal implementation refuses every CREATE_CHILD_SA (RFC 7296 section 1.3).
    """
    life, services = sa.life, sa.services
    life.try_again(services.limits, services.random, now)
    if sa.role == "initiator":
        last_resort = life.ends_at - sa.connection.lifetimes.over / 2
        if last_resort <= now:
            _reauthenticate(sa, NOT_REKEYED, now)
            return
        life.rekey_at = min(life.rekey_at, last_resort)
    if not any(isinstance(each, RekeyIke) for each in sa.begun):
        services.emit(LifetimeReached(sa.id, None, "rekey", TIME_TO_REKEY))
        begin_if_possible(sa, RekeyIke(sa), now)


def _reauthenticate(sa: IkeSa, reason: str, now: float) -> None:
    sa.services.emit(LifetimeReached(sa.id, None, "reauthenticate", reason))
    sa.services.succession.reauthenticate(sa, now)


def delete_ike(sa: IkeSa, reason: str, now: float) -> None:
    """Delete the IKE SA in order, because of *reason*."""
    begin(sa, DeleteIke(sa, reason=reason), now)
    if sa.alive:
        sa.timers.set(Timer.DELETE, now + sa.services.limits.delete_timeout)


def child_lifetimes_reached(sa: IkeSa, now: float) -> None:
    """The time of some Child SAs has come: rekey them, or delete them."""
    if sa.state is not State.ESTABLISHED or sa.delete_under_way is not None:
        return
    for child in list(sa.children.values()):
        if child.life.ends_at <= now:
            _end_child(sa, child, now)
        elif child.life.rekey_at <= now:
            _rekey_child(sa, child, now)
        if not sa.alive:
            return
    sa.watch_children()


def child_expiring(sa: IkeSa, child: ChildSa, hard: bool, now: float) -> None:
    """The application counted octets or packets, and the Child SA has had enough of them."""
    if child.heir is None or hard:
        child.life.ends_at = now if hard else child.life.ends_at
        child.life.rekey_at = min(child.life.rekey_at, now)
        child_lifetimes_reached(sa, now)


def _rekey_child(sa: IkeSa, child: ChildSa, now: float) -> None:
    child.life.try_again(sa.services.limits, sa.services.random, now)
    if any(isinstance(each, CreateChild) and each.replaces is child for each in sa.begun):
        return
    sa.services.emit(LifetimeReached(sa.id, child.id, "rekey", TIME_TO_REKEY))
    begin_if_possible(sa, CreateChild(sa, child.config, replaces=child), now)


def _end_child(sa: IkeSa, child: ChildSa, now: float) -> None:
    """Delete one whose time is over, and never rekey it. Should that come to nothing, it is deleted again later."""
    child.life.rekey_at, child.life.ends_at = inf, now + sa.services.limits.delete_timeout
    if any(isinstance(each, DeleteChild) and each.child is child for each in sa.begun):
        return
    if child.heir is None:
        sa.services.emit(LifetimeReached(sa.id, child.id, "delete", OVER))
    reason = OVER if child.heir is None else REPLACED
    begin_if_possible(sa, DeleteChild(sa, child, heirs=False, reason=reason), now)
