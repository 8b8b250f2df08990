"""Every order of arrival: a search through all that a network can do with the datagrams of two endpoints.

A `Run` holds two endpoints and a bag of datagrams in flight. Each step does one move: a datagram arrives, is lost, or
arrives and stays in flight as a copy; or, although something is in flight, time passes until something is due, so that
what is in flight will be late. When the bag is empty time passes by itself.

`explore` goes through all moves, depth first. An endpoint is a function of what was put into it (its randomness is
seeded, its time is the run's), so two orders that put the same into both endpoints have led to the same state, and only
one of them is followed. A state is reached by doing its moves again from the start: that takes milliseconds.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import attrs

from ikecore import (
    ChildSaClosed,
    ChildSaEstablished,
    Config,
    Event,
    Local,
    MessageDropped,
    MessageReceived,
    MessageSent,
    SaId,
)
from ikecore.endpoint import Endpoint
from ikecore.outputs import SendDatagram
from ikecore.sa import IkeSaView
from ikecore.testing import NOON

__all__ = ["ADDRESSES", "Budget", "Datagram", "Move", "Run", "Side", "explore"]

ADDRESSES = ("10.0.0.1", "10.0.0.2")
TRACED = MessageSent | MessageReceived | MessageDropped
"""What comes for messages that have no effect, too."""
SILENCE = 150.0
"""Longer than any wait after which something is sent again: nothing more will come of it."""


class Stream:
    """Random octets of one endpoint: what it draws depends on the seed and on how much it has drawn before."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._drawn = 0

    def __call__(self, octets: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_128(f"{self._seed} {self._drawn}".encode()).digest(octets)


@attrs.frozen
class Datagram:
    """On its way to the side numbered *to*."""

    to: int
    data: bytes = attrs.field(repr=False)
    copy: bool = False


@attrs.frozen
class Move:
    """What the network does next; *at* is a place in the bag."""

    kind: Literal["deliver", "lose", "copy", "wait"]
    at: int = -1

    def __str__(self) -> str:
        return self.kind if self.at < 0 else f"{self.kind} {self.at}"


@attrs.frozen(kw_only=True)
class Budget:
    """How often the network may do worse than change the order of what is in flight."""

    losses: int = 0
    copies: int = 0
    waits: int = 0


class Side:
    """One endpoint, what it told, and the Child SAs that its ESP has installed."""

    def __init__(self, config: Config, number: int, seed: str) -> None:
        self.number = number
        self.endpoint = Endpoint(config, random=Stream(f"{number} {seed}"), utc=lambda: NOON, raise_bugs=True)
        self.events: list[Event] = []
        self.installed: dict[tuple[bytes, bytes], ChildSaEstablished] = {}
        """By inbound and outbound SPI."""
        self.history = b""
        address = ADDRESSES[number]
        self.endpoint.local_added(Local((address, 500)), now=0.0)
        self.endpoint.local_added(Local((address, 4500), marker=True), now=0.0)

    @property
    def sa(self) -> SaId | None:
        """Its only IKE SA, None once that is gone."""
        return self.endpoint.sas[0] if self.endpoint.sas else None

    @property
    def view(self) -> IkeSaView | None:
        return None if self.sa is None else self.endpoint.sa(self.sa)

    def note(self, *what: object) -> None:
        """Take down what is put into the endpoint."""
        self.history = hashlib.sha256(repr((self.history, *what)).encode()).digest()

    def take(self) -> list[SendDatagram]:
        """Take the outputs; install and remove Child SAs in their order."""
        sent: list[SendDatagram] = []
        for output in self.endpoint.outputs():
            if isinstance(output, SendDatagram):
                sent.append(output)
            elif isinstance(output, Event) and not isinstance(output, TRACED):
                self.events.append(output)
                if isinstance(output, ChildSaEstablished):
                    assert (output.spi_in, output.spi_out) not in self.installed, "installed twice"
                    self.installed[output.spi_in, output.spi_out] = output
                elif isinstance(output, ChildSaClosed):
                    del self.installed[output.spi_in, output.spi_out]
        return sent


class Run:
    """Two endpoints and what is in flight between them. *check* is called after every move."""

    def __init__(self, configs: tuple[Config, Config], seed: str = "") -> None:
        self.now = 0.0
        self.sides = [Side(config, number, seed) for number, config in enumerate(configs)]
        self.bag: list[Datagram] = []
        self.wire: list[Datagram] = []
        """All that was ever sent."""
        self.budget = Budget()
        self.lost: Counter[Datagram] = Counter()
        self.copied: Counter[Datagram] = Counter()
        self.last_sent = 0.0
        self.done: list[Move] = []
        self.check: Callable[[], None] = lambda: None

    def put(self, number: int, *what: object, call: Callable[[], object]) -> None:
        """Put something into one endpoint, and what it sends into the bag."""
        side = self.sides[number]
        side.note(self.now, *what)
        call()
        for sent in side.take():
            datagram = Datagram(ADDRESSES.index(sent.remote[0]), sent.data)
            self.bag.append(datagram)
            self.wire.append(datagram)
            self.last_sent = self.now

    def wish(self, number: int, name: str, *args: object, **keywords: object) -> int:
        """Let the application of one side wish for something, and return the handle of the wish."""
        found: list[int] = []
        method = getattr(self.sides[number].endpoint, name)
        self.put(number, name, args, call=lambda: found.append(method(*args, now=self.now, **keywords)))
        return found[0]

    # --- moves ------------------------------------------------------------------------------------------------------

    def moves(self) -> list[Move]:
        """Return what can happen, the most ordinary first; nothing once all is quiet."""
        if not self.bag:
            due = self.due
            return [] if due is None or due > self.last_sent + SILENCE else [Move("wait")]
        places = [at for at, each in enumerate(self.bag) if each not in self.bag[:at]]
        moves = [Move("deliver", at) for at in places]
        if self.budget.losses:
            moves += [Move("lose", at) for at in places if not self.bag[at].copy]
        if self.budget.copies:
            moves += [Move("copy", at) for at in places if not self.bag[at].copy]
        if self.budget.waits and self.due is not None:
            moves.append(Move("wait"))
        return moves

    def do(self, move: Move) -> None:
        """Do one move."""
        self.done.append(move)
        self._pay(move)
        if move.kind == "wait":
            self._pass()
        else:
            datagram = self.bag.pop(move.at)
            if move.kind == "lose":
                self.lost[datagram] += 1
            else:
                self._arrive(datagram)
            if move.kind == "copy":
                self.copied[datagram] += 1
                self.bag.append(attrs.evolve(datagram, copy=True))
        self.check()

    def _pay(self, move: Move) -> None:
        budget = self.budget
        if move.kind == "lose":
            self.budget = attrs.evolve(budget, losses=budget.losses - 1)
        elif move.kind == "copy":
            self.budget = attrs.evolve(budget, copies=budget.copies - 1)
        elif move.kind == "wait" and self.bag:
            self.budget = attrs.evolve(budget, waits=budget.waits - 1)

    def _arrive(self, datagram: Datagram) -> None:
        to, data = datagram.to, datagram.data
        port = 4500 if data.startswith(bytes(4)) else 500
        here, there = (ADDRESSES[to], port), (ADDRESSES[1 - to], port)
        endpoint = self.sides[to].endpoint
        self.put(to, data, call=lambda: endpoint.datagram_received(data, local=here, remote=there, now=self.now))

    @property
    def due(self) -> float | None:
        return min((due for side in self.sides if (due := side.endpoint.deadline) is not None), default=None)

    def _pass(self) -> None:
        due = self.due
        assert due is not None
        self.now = max(self.now, due)
        for number, side in enumerate(self.sides):
            deadline = side.endpoint.deadline
            if deadline is not None and deadline <= self.now:
                self.put(number, "timer", call=partial(side.endpoint.timer_expired, now=self.now))

    def settle(self) -> None:
        """Let everything arrive in order until all is quiet."""
        while moves := self.moves():
            self.do(moves[0])

    @property
    def story(self) -> str:
        """The moves so far, in words."""
        return ", ".join(str(move) for move in self.done)

    # --- states -----------------------------------------------------------------------------------------------------

    def after(self, move: Move) -> object:
        """Return what tells the state after *move* from others, without doing it."""
        histories = [side.history for side in self.sides]
        lost, copied, now, waits = self.lost, self.copied, self.now, self.budget.waits
        if move.kind == "wait":
            due = self.due
            assert due is not None
            now, waits = max(now, due), waits - bool(self.bag)
            for number, side in enumerate(self.sides):
                if side.endpoint.deadline is not None and side.endpoint.deadline <= now:
                    histories[number] = _later(histories[number], now, "timer")
        else:
            datagram = self.bag[move.at]
            if move.kind == "lose":
                lost = lost + Counter([datagram])
            else:
                histories[datagram.to] = _later(histories[datagram.to], now, datagram.data)
            if move.kind == "copy":
                copied = copied + Counter([datagram])
        return *histories, frozenset(lost.items()), frozenset(copied.items()), now, waits

    def pictures(self) -> list[object]:
        """Return what the applications can see."""
        return [
            (list(side.events), dict(side.installed), [side.endpoint.sa(sa) for sa in side.endpoint.sas])
            for side in self.sides
        ]

    def replay(self, answered: list[Datagram] | None = None) -> None:
        """Everything that was *answered*, or ever sent, arrives once more, and has no effect on either side."""
        before, sent = self.pictures(), len(self.wire)
        for datagram in list(self.wire) if answered is None else answered:
            self._arrive(datagram)
        self.bag.clear()
        del self.wire[sent:]
        assert self.pictures() == before, "a replay had an effect"


def _later(history: bytes, *what: object) -> bytes:
    return hashlib.sha256(repr((history, *what)).encode()).digest()


def explore(begin: Callable[[], Run], most: int | None = None) -> Iterator[Run]:
    """Go through every run that begins like *begin*; each is yielded at its quiet end.

    Of runs that come to the same state only the first goes on. With *most* it ends after so many runs: if there are
    more, these are a sample, drawn by chance and the same every time. An error in a run gets its moves as a note.
    """
    seen: set[object] = set()
    todo: list[tuple[Move, ...]] = [()]
    draw = random.Random(0)
    runs = 0
    while todo and (most is None or runs < most):
        place = draw.randrange(len(todo))
        todo[place], todo[-1] = todo[-1], todo[place]
        run = begin()
        runs += 1
        try:
            for move in todo.pop():
                run.do(move)
            while moves := run.moves():
                states = {run.after(move): move for move in reversed(moves)}
                fresh = [move for state, move in states.items() if state not in seen][::-1]
                seen.update(states)
                if not fresh:
                    break
                todo += [(*run.done, move) for move in fresh[1:]]
                run.do(fresh[0])
            else:
                yield run
        except Exception as error:
            error.add_note(f"after: {run.story}")
            raise
