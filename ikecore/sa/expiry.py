"""What is done when the time of an SA has come: it is rekeyed in good time, and deleted where that did not succeed.

RFC 7296 section 2.8. A rekey that fails for any reason is begun again with growing waits. The hard limit is later by
`over_time`: an SA that has no successor by then is deleted, since it must not be used any longer.
"""

from __future__ import annotations

from ..events import LifetimeReached
from .child_sa import ChildSa
from .create_child_sa import CreateChild
from .ike_sa import IkeSa
from .informational import DeleteChild, DeleteIke
from .rekey_ike_sa import RekeyIke
from .states import State
from .timers import Timer

__all__ = ["child_expiring", "child_lifetimes_reached", "delete_ike", "ike_lifetime_reached"]

TIME_TO_REKEY = "it is time to rekey"
OVER = "its lifetime is over"
REPLACED = "it was rekeyed"


def ike_lifetime_reached(sa: IkeSa, now: float) -> None:
    """The time of the IKE SA has come: rekey it, or delete it."""
    life = sa.life
    if sa.state is not State.ESTABLISHED or sa.delete_under_way is not None:
        return
    if life.ends_at <= now:
        sa.services.emit(LifetimeReached(sa.id, None, "delete", OVER))
        delete_ike(sa, OVER, now)
        return
    if life.rekey_at <= now:
        life.try_again(sa.services.limits, sa.services.random, now)
        if not any(isinstance(each, RekeyIke) for each in sa.begun):
            sa.services.emit(LifetimeReached(sa.id, None, "rekey", TIME_TO_REKEY))
            sa.begin_if_possible(RekeyIke(sa), now)
    sa.watch_life()


def delete_ike(sa: IkeSa, reason: str, now: float) -> None:
    """Delete the IKE SA in order, because of *reason*."""
    sa.begin(DeleteIke(sa, reason=reason), now)
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
    sa.begin_if_possible(CreateChild(sa, child.config, replaces=child), now)


def _end_child(sa: IkeSa, child: ChildSa, now: float) -> None:
    """Delete one whose time is over. Should that come to nothing, it is deleted again some time later."""
    child.life.ends_at = now + sa.services.limits.delete_timeout
    if any(isinstance(each, DeleteChild) and each.child is child for each in sa.begun):
        return
    if child.heir is None:
        sa.services.emit(LifetimeReached(sa.id, child.id, "delete", OVER))
    reason = OVER if child.heir is None else REPLACED
    sa.begin_if_possible(DeleteChild(sa, child, heirs=False, reason=reason), now)
