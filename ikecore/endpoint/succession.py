"""SAs that the engine sets up by itself in place of another one: reauthentication, and a new start after a silence.

Reauthentication is make-before-break (RFC 7296 section 2.8.3): a new IKE SA from scratch, with the Child SAs of the old
one, and only then is the old one deleted. A new start is what `dpd_action` "restart" wants; it is tried again, with
waits that grow to some minutes, until it succeeds or the application deletes it.

Either gets every Child SA that the old one has when it goes, also those that came up meanwhile: what is missing is
looked up after each step, a Child SA that is under way on the old one is waited for, and where that ends first, what it
had then counts. What the application deletes on the old one meanwhile does not live on in the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeGuard

import attrs

from ..config import ChildConfig, Connection
from ..events import IkeSaReauthenticated, SuccessorBegun
from ..limits import Limits
from ..outputs import Output, SaId
from ..sa import CreateChild, DeleteChild, IkeSa, OurExchange, Setup, Timer, begin_if_possible, delete_ike, retry_wait
from .attempts import Attempts

__all__ = ["Succession"]

AUTHENTICATED_ANEW = "the peers authenticated anew"


@attrs.define(eq=False)
class TakeOver:
    """What a successor is to take over from the SA *old*.

    *asked* is what it was asked to set up so far, the first of it with IKE_AUTH. *left* is what *old* had at its end,
    and counts once that is gone. *dropped* is what the application deleted of it meanwhile.
    """

    old: SaId
    asked: list[ChildConfig]
    left: tuple[ChildConfig, ...] = ()
    dropped: list[ChildConfig] = attrs.field(factory=list, init=False)
    unwanted: bool = False
    """The application deletes *old*, and with it what it has."""

    def missing(self, wanted: tuple[ChildConfig, ...]) -> tuple[ChildConfig, ...]:
        """Return what of *wanted* was not asked for; a Child SA and its rekeyed heir are the same here."""
        asked, missing = list(self.asked), []
        for config in wanted:
            if config in asked:
                asked.remove(config)
            else:
                missing.append(config)
        return tuple(missing)

    def surplus(self, wanted: tuple[ChildConfig, ...]) -> tuple[ChildConfig, ...]:
        """Return what was asked for and has been dropped since, and forget that it was."""
        found = []
        for config in self.dropped:
            if self.asked.count(config) > wanted.count(config):
                self.asked.remove(config)
                found.append(config)
        self.dropped.clear()
        return tuple(found)


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
        self._takes: dict[SaId, TakeOver] = {}
        """What each successor takes over, until it has."""
        self._ending: dict[SaId, tuple[ChildConfig, ...]] = {}
        """What SAs that are just ending had, where nothing is to take over from them yet."""

    def wished(self, sa: SaId, remotes: tuple[str, ...], local: str) -> None:
        """The application wished for *sa*."""
        self._wanted[sa] = (remotes, local)

    def forget(self, sa: SaId) -> None:
        """It is gone."""
        for table in (self._wanted, self._heirs, self._takes, self._ending):
            table.pop(sa, None)

    def reauthenticate(self, old: IkeSa, now: float) -> None:
        """Begin a new IKE SA that is to replace *old*, unless that is under way."""
        if self._closing() or self._heirs.get(old.id) in self._sas:
            return
        setup = Setup(self._remotes(old), predecessor=old.id, addresses=_assigned(old))
        new = self._successor(old, _carried(old), setup, AUTHENTICATED_ANEW)
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
        setup = Setup(self._remotes(old), restarts=restarts + 1, addresses=_assigned(old))
        left = self._takes[old.id].left if old.id in self._takes else self._ending.get(old.id, ())
        new = self._successor(old, left, setup, "the peer was silent")
        self._takes[new.id].left = left
        wait = retry_wait(restarts - 1, self._limits, self._random) if restarts else 0.0
        new.timers.set(Timer.START, now + wait)

    def start(self, sa: IkeSa, now: float) -> None:
        """The wait before a new start is over."""
        if sa.setup is not None:
            self._start(sa, sa.setup, now)

    def unwanted(self, old: SaId, child: ChildConfig | None = None) -> None:
        """The application deletes *old* with all it has, or a Child SA of this configuration: it is not to live on."""
        heir = self._heirs.get(old)
        if heir not in self._takes:
            return
        if child is None:
            self._takes[heir].unwanted = True
        else:
            self._takes[heir].dropped.append(child)

    def ending(self, old: IkeSa) -> None:
        """*old* ends, for whatever reason, with the Child SAs that it has now."""
        take = self._takes.get(old.id)
        still_missing = () if take is None or take.old in self._sas else take.missing(take.left)
        has = (*_carried(old), *still_missing)
        heir = self._heirs.get(old.id)
        if heir not in self._takes:
            self._ending[old.id] = has
        elif not self._takes[heir].unwanted:
            self._takes[heir].left = has

    def ready(self, new: IkeSa, now: float) -> None:
        """A successor that we set up is there: what its predecessor has, or had, goes over to it."""
        if new.id in self._takes:
            self._take_over(new, self._takes[new.id], now)

    def _take_over(self, new: IkeSa, take: TakeOver, now: float) -> None:
        """Set up the Child SAs of the old one, one after another, then delete it."""
        if not new.alive:
            return
        old = self._sas.get(take.old)
        if old is not None and (take.unwanted or not old.alive):
            old = None
        wanted = take.left if old is None else _carried(old)
        missing = take.missing(wanted)
        if missing:
            take.asked.append(missing[0])
            another = CreateChild(new, missing[0], then=lambda later: self._take_over(new, take, later))
            begin_if_possible(new, another, now)
            return
        coming = None if old is None else next((each for each in old.begun if _is_new(each)), None)
        if coming is not None:
            coming.follow(lambda later: self._take_over(new, take, later))
            return
        self._takes.pop(new.id, None)
        for config in () if take.unwanted else take.surplus(wanted):
            _drop(new, config, now)
        if old is not None:
            self._emit(IkeSaReauthenticated(old.id, new.id))
            if old.delete_under_way is None:
                delete_ike(old, AUTHENTICATED_ANEW, now)

    def _successor(self, old: IkeSa, carried: tuple[ChildConfig, ...], setup: Setup, reason: str) -> IkeSa:
        """Make an SA that begins with the first of what is *carried*."""
        connection = _first(old.connection, carried)
        new = self._new_sa(connection, setup)
        self._takes[new.id] = TakeOver(old.id, list(connection.children[:1]))
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


def _is_new(exchange: OurExchange) -> TypeGuard[CreateChild]:
    """Tell whether it is for a new Child SA, and not for one that takes the place of another."""
    return isinstance(exchange, CreateChild) and exchange.replaces is None


def _carried(old: IkeSa) -> tuple[ChildConfig, ...]:
    """What the Child SAs of *old* are for; those do not count that were replaced, or that the application deletes."""
    going = [each for one in old.begun if isinstance(one, DeleteChild) and one.heirs for each in one.concerns]
    left = [child for child in old.children.values() if child.heir is None]
    return tuple([child.config for child in left if not any(child is each for each in going)])


def _drop(new: IkeSa, config: ChildConfig, now: float) -> None:
    """Delete a Child SA that is not wanted any more."""
    for child in new.children.values():
        if child.config == config and child.heir is None:
            begin_if_possible(new, DeleteChild(new, child, reason="the one that it replaces was deleted"), now)
            return


def _assigned(old: IkeSa) -> tuple[str, ...]:
    """What the peer had assigned to *old*; of one that never came up, what it was to ask for again."""
    if old.assigned is not None:
        return old.assigned.addresses
    return () if old.setup is None else old.setup.addresses


def _first(connection: Connection, carried: tuple[ChildConfig, ...]) -> Connection:
    """Return the connection with what is *carried* in front, so that the first of it comes with IKE_AUTH."""
    if not carried:
        return connection
    by_name: dict[str, ChildConfig] = {}
    for child in (*carried, *connection.children):
        by_name.setdefault(child.name, child)
    return attrs.evolve(connection, children=by_name.values())
