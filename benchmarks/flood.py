"""What it costs a responder to turn strangers away.

    python -m benchmarks.flood

One IKE_SA_INIT of 454 octets comes again and again, each time from another address, and a host does what it does after
any datagram: it carries the outputs out and looks at the deadline. It meets a responder that demands a cookie of
everybody, one whose half-open SAs are at their limit, and the usual one with a major version that does not exist and
with random octets. Beside them stand the typed parse of the same message, as if of a layout that was not met before,
which is what strangers choose; and the least that turns junk away: a header unpacked and checked, with the exception
that says no.

In the midst of the flood an honest initiator sets up an SA with the same responder: not where the half-open SAs are at
their limit, which is the point at which only those who come over TCP get in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import cycle

import attrs

from benchmarks._harness import ROUNDS, Table, Target, run, show
from benchmarks.corpus import INIT_OCTETS
from benchmarks.handshake import HOSTS, NOON, Side, psk_scene
from benchmarks.wire import floor_header, ours_unmet
from ikecore.config import Config
from ikecore.endpoint import Endpoint
from ikecore.limits import Limits
from ikecore.outputs import SendDatagram
from ikecore.transport import Local

JUNK = b"\xff" + os.urandom(len(INIT_OCTETS) - 1)
WRONG_VERSION = INIT_OCTETS[:17] + b"\x30" + INIT_OCTETS[18:]
SOURCES = [(f"198.51.{100 + high}.{low}", 500) for high in range(8) for low in range(1, 255)]
INTERVAL = 0.00002
"""Seconds of virtual time between two of the flood: 50,000 in a second."""
SCENE = psk_scene()


class OneByOne(Side):
    """A side that begins one handshake at a time."""

    batch = 1


class Flooded:
    """A responder that strangers write to."""

    def __init__(self, limits: Limits) -> None:
        self.initiator, responder = (OneByOne(SCENE, role) for role in (0, 1))
        self.connection = responder.connection
        config = Config(connections=(self.connection,), limits=limits)
        self.endpoint = responder.endpoint = Endpoint(config, random=os.urandom, utc=lambda: NOON, raise_bugs=True)
        self.responder = responder
        self.endpoint.local_added(Local(HOSTS[1]), now=0.0)
        self.sources = cycle(SOURCES)
        self.now = 0.0
        self.sent = 0

    def strike(self, data: bytes) -> None:
        """Let one message of a stranger come."""
        self.now += INTERVAL
        self.endpoint.datagram_received(data, local=HOSTS[1], remote=next(self.sources), now=self.now)
        for output in self.endpoint.outputs():
            self.sent += isinstance(output, SendDatagram)
        _ = self.endpoint.deadline

    def admit_the_honest(self, data: bytes) -> None:
        """Set up an SA while strangers write between any two messages; raises RuntimeError where that fails."""
        sent = self.initiator.initiate(self.now)
        for _ in range(4):
            for _ in range(100):
                self.strike(data)
            sent = self.initiator.take(self.responder.take(sent, self.now), self.now)
        if self.initiator.established != 1 or self.responder.established != 1:
            raise RuntimeError("the honest initiator does not get in")


def least(data: bytes) -> Callable[[], None]:
    """Return what turns *data* away, and does no more."""

    def refuse() -> None:
        try:
            floor_header(data)
        except ValueError:
            pass
        else:
            raise RuntimeError("that was no junk")

    return refuse


def tables(rounds: int = ROUNDS) -> Iterator[Table]:
    """Yield what is measured by the parse, and what by the header."""
    cookies, full, usual = (Flooded(each) for each in (Limits(cookie_threshold=0), Limits(half_open_udp=0), Limits()))
    cookies.admit_the_honest(INIT_OCTETS)
    for data in (WRONG_VERSION, JUNK):
        usual.initiator.end(usual.now)
        usual.responder.established = 0
        usual.admit_the_honest(data)
    before = cookies.sent
    cookies.strike(INIT_OCTETS)
    if cookies.sent != before + 1:
        raise RuntimeError("no cookie was demanded")
    table = run(
        "an IKE_SA_INIT of a stranger turned away",
        {
            "typed parse": ours_unmet,
            "cookie demanded": lambda: cookies.strike(INIT_OCTETS),
            "half-open limit": lambda: full.strike(INIT_OCTETS),
        },
        Target("cookie demanded", 1.0),
        rounds=rounds,
    )
    yield attrs.evolve(table, note=_rates(table))
    table = run(
        "what is no IKEv2 turned away",
        {
            "header floor": least(JUNK),
            "junk": lambda: usual.strike(JUNK),
            "wrong version": lambda: usual.strike(WRONG_VERSION),
        },
        Target("junk", 5.0),
        rounds=rounds,
    )
    yield attrs.evolve(table, note=_rates(table))


def _rates(table: Table) -> str:
    _, *others = table.timings
    return "In a CPU second: " + ", ".join(f"{1 / table.median(case):,.0f} ({case})" for case in others) + "."


if __name__ == "__main__":
    show(tables())
