"""SAs that the engine sets up by itself in place of another one: reauthentication, and a new start after a silence.

Reauthentication is make-before-break (RFC 7296 section 2.8.3): a new IKE SA from scratch, with the Child SAs of the old
one, and only then is the old one deleted. A new start is what `dpd_action` "restart" wants; it is tried again, with
waits that grow to some minutes, until it succeeds or the application deletes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from ..config import ChildConfig, Connection
from ..events import IkeSaReauthenticated, SuccessorBegun
from ..limits import Limits
from ..outputs import Output, SaId
from ..sa import CreateChild, IkeSa, Setup, Timer, begin_if_possible, delete_ike, retry_wait
from .attempts import Attempts

__all__ = ["Succession"]

AUTHENTICATED_ANEW = "the peers authenticated anew"
Wanted: TypeAlias = tuple[tuple[str, ...], str]
"""The addresses one of which the application wants an SA with, and our host that it wants it from, "" for any."""


class Succession:
    """Makes successors, for SAs that we set up. *closing* tells whether there are to be no new ones."""

    def __init__(
        self,
        limits: Limits,
        random: Callable[[int], bytes],
        sas: dict[SaId, IkeSa],
        new_sa: Callable[[Connection, Setup], IkeSa],
        attempts: Attempts,
        emit: Callable[[Output], None],
        closing: Callable[[], bool],
    ) -> None:
        self._limits = limits
        self._random = random
        self._sas = sas
        self._new_sa = new_sa
        self._attempts = attempts
        self._emit = emit
        self._closing = closing
        self._wanted: dict[SaId, Wanted] = {}
        """For each SA that we set up; successors share it."""
        self._heirs: dict[SaId, SaId] = {}
        """By the SA that each of them was set up to replace."""

    def wished(self, sa: SaId, remotes: tuple[str, ...], local: str) -> None:
        """The application wished for *sa*."""
        self._wanted[sa] = (remotes, local)

    def forget(self, sa: SaId) -> None:
        """It is gone."""
        self._wanted.pop(sa, None)
        self._heirs.pop(sa, None)

    def reauthenticate(self, old: IkeSa, now: float) -> None:
        """Begin a new IKE SA that is to replace *old*, unless that is under way."""
        if self._closing() or self._heirs.get(old.id) in self._sas:
            return
        setup = Setup(self._remotes(old), predecessor=old.id)
        new = self._successor(old, _first(old.connection, _carried(old)), setup, AUTHENTICATED_ANEW)
        self._heirs[old.id] = new.id
        self._start(new, setup, now)

    def restart(self, old: IkeSa, restarts: int, now: float) -> None:
        """*old* ends in silence, or came to nothing as a new start: begin anew, the first time at once.

        There were *restarts* of them since the peer was last there. If another SA is about to replace it already, that
        one is the new start.
        """
        if self._closing():
            return
        heir = self._heirs.get(old.id)
        if heir in self._sas:
            if (under_way := self._sas[heir].setup) is not None:
                under_way.restarts = 1
            return
        setup = Setup(self._remotes(old), restarts=restarts + 1)
        new = self._successor(old, old.connection, setup, "the peer was silent")
        wait = retry_wait(restarts - 1, self._limits, self._random) if restarts else 0.0
        new.timers.set(Timer.START, now + wait)

    def start(self, sa: IkeSa, now: float) -> None:
        """The wait before a new start is over."""
        if sa.setup is not None:
            self._start(sa, sa.setup, now)

    def ready(self, new: IkeSa, predecessor: SaId, now: float) -> None:
        """A successor that we set up is there: what its predecessor carried goes over to it."""
        old = self._sas.get(predecessor)
        if old is None or not old.alive:
            return
        carried = _carried(old)
        if carried and new.connection.children:
            del carried[0]  # it came with IKE_AUTH
        self._take_over(old, new, carried, now)

    def _take_over(self, old: IkeSa, new: IkeSa, carried: list[ChildConfig], now: float) -> None:
        """Set up the Child SAs of the old one, one after another, then delete it."""
        if not (new.alive and old.alive):
            return
        if carried:
            first, *rest = carried
            another = CreateChild(new, first, then=lambda later: self._take_over(old, new, rest, later))
            begin_if_possible(new, another, now)
            return
        self._emit(IkeSaReauthenticated(old.id, new.id))
        if old.delete_under_way is None:
            delete_ike(old, AUTHENTICATED_ANEW, now)

    def _successor(self, old: IkeSa, connection: Connection, setup: Setup, reason: str) -> IkeSa:
        new = self._new_sa(connection, setup)
        _, local = self._wanted[new.id] = self._wanted[old.id]
        new.hosts = (local, old.hosts[1])
        self._emit(SuccessorBegun(old.id, new.id, reason))
        return new

    def _start(self, new: IkeSa, setup: Setup, now: float) -> None:
        new.timers.set(Timer.ESTABLISH, now + self._limits.establish_timeout)
        self._attempts.begin(new, setup, new.hosts[1], now)

    def _remotes(self, old: IkeSa) -> tuple[str, ...]:
        """Return the addresses that follow where the one that the peer of *old* has now, which comes first, fails."""
        remotes, _ = self._wanted[old.id]
        return tuple(host for host in remotes if host != old.hosts[1])


def _carried(old: IkeSa) -> list[ChildConfig]:
    """What the Child SAs of *old* are for; one that was replaced does not count."""
    return [child.config for child in old.children.values() if child.heir is None]


def _first(connection: Connection, carried: list[ChildConfig]) -> Connection:
    """Return the connection with what is *carried* in front, so that the first of it comes with IKE_AUTH."""
    if not carried:
        return connection
    by_name: dict[str, ChildConfig] = {}
    for child in (*carried, *connection.children):
        by_name.setdefault(child.name, child)
    return attrs.evolve(connection, children=by_name.values())
