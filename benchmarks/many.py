"""What an established SA costs while there are many others: memory, one exchange, time, and the longest single input.

    python -m benchmarks.many [--most N]

Gateways of 1, 100, 1,000, 10,000 and 100,000 IKE SAs live side by side in one process, each SA with one Child SA, a
peer of its own address and identity, and made by a whole handshake (a pre-shared key, x25519, AES-GCM). The clock is
ours: after the last handshake it goes on for some minutes, deadline by deadline, until only what an SA at rest keeps is
left. Memory is the growth of the process's resident set while a gateway fills, once caches of bounded size are full; of
the small ones it would be noise.

Every round asks each gateway the same, in turn, of SAs drawn at random, so nothing but the number of SAs differs. The
peers of these exchanges are played with the SA's own keys, outside of what is timed, since a hundred thousand of them
would be in the way.

The longest inputs are looked at with the collector on and, as docs/embedding.md advises, after `gc.freeze`. They are
timed by the CPU's clock, so what other processes do does not count.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import attrs

from benchmarks._harness import ITSELF, ROUNDS, Table, Target, show
from ikecore.config import ChildConfig, Config, Connection, PskCredential
from ikecore.crypto import Identity, Protection, esp_proposals, ike_proposals, ike_suite
from ikecore.endpoint import Endpoint
from ikecore.limits import Limits
from ikecore.outputs import Address, SaId, SendDatagram
from ikecore.transport import Local
from ikecore.wire.numbers import INITIATOR, RESPONSE, Exchange

SIZES = (1, 100, 1_000, 10_000, 100_000)
SAMPLE = 200
"""Exchanges of one round with each gateway."""
INPUTS = 20_000
"""Inputs among which the longest is looked for."""
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
GATEWAY: Address = ("10.0.0.1", 500)
IKE, ESP = ike_proposals("aes256gcm16-prfsha256-x25519"), esp_proposals("aes256gcm16")
SUITE = ike_suite(*IKE)
CACHED = 1_200
"""SAs after which every cache of bounded size is full: what one more costs is looked at from there on."""
LEAST_MEASURED = 10_000
"""SAs from which on the resident set tells something of one."""


def connection(ours: str, theirs: str, secret: PskCredential) -> Connection:
    return Connection(
        name="peer",
        local_identity=Identity.parse(ours),
        local=secret,
        remote=secret,
        remote_identity=Identity.parse(theirs),
        proposals=IKE,
        children=(ChildConfig(proposals=ESP),),
    )


class Peers:
    """Whoever sets up an SA with a gateway and is never seen again: an endpoint that forgets each one at once."""

    def __init__(self) -> None:
        secret = PskCredential(os.urandom(32))
        self.of_gateway = connection("gateway.example", "*.client.example", secret)
        self._ours = connection("0.client.example", "gateway.example", secret)
        self._endpoint = made(self._ours)
        self._count = 0

    def handshake(self, gateway: Gateway) -> None:
        """Set up one SA, from an address and with an identity that nobody else has."""
        self._count += 1
        host = f"10.{64 + (self._count >> 16)}.{self._count >> 8 & 255}.{self._count & 255}"
        local, identity = (host, 500), Identity.parse(f"{self._count}.client.example")
        self._endpoint.local_added(Local(local), now=gateway.now)
        ours = attrs.evolve(self._ours, local_identity=identity)
        sa = self._endpoint.initiate(ours, [GATEWAY[0]], local=host, now=gateway.now)
        while sent := datagrams(self._endpoint):
            for datagram in sent:
                for answer in gateway.take(datagram.data, local):
                    self._endpoint.datagram_received(answer, local=local, remote=GATEWAY, now=gateway.now)
        self._endpoint.abandon(sa, now=gateway.now)
        datagrams(self._endpoint)
        self._endpoint.local_removed(local, now=gateway.now)


class Gateway:
    """An endpoint that many peers have SAs with, on a clock of its own. *spent* has the seconds of each input."""

    def __init__(self, peers: Peers) -> None:
        self.endpoint = made(peers.of_gateway)
        self.endpoint.local_added(Local(GATEWAY), now=0.0)
        self.peers = peers
        self.now = 1.0
        self.spent: list[float] = []
        self.dice = random.Random(1)

    @property
    def sas(self) -> Sequence[SaId]:
        return self.endpoint.sas

    def take(self, data: bytes, remote: Address) -> list[bytes]:
        """Take a datagram as a host would: carry out the outputs, look at the deadline. Returns what goes back."""
        start = time.thread_time()
        self.endpoint.datagram_received(data, local=GATEWAY, remote=remote, now=self.now)
        sent = datagrams(self.endpoint)
        _ = self.endpoint.deadline
        self.spent.append(time.thread_time() - start)
        return [each.data for each in sent if each.remote == remote]

    def ring(self) -> None:
        """Let time pass until the next deadline."""
        self.now = self.endpoint.deadline or self.now
        start = time.thread_time()
        self.endpoint.timer_expired(now=self.now)
        datagrams(self.endpoint)
        _ = self.endpoint.deadline
        self.spent.append(time.thread_time() - start)

    def fill(self, size: int) -> None:
        """Set up SAs until there are *size*, and let them come to rest."""
        for _ in range(size):
            self.peers.handshake(self)
            self.now += 1e-4
        end = self.now + Limits().response_lifetime + 1.0
        while (when := self.endpoint.deadline) is not None and when <= end:
            self.ring()
        self.now = end
        self.spent.clear()

    # --- what is asked in a round, each returning the seconds that one takes -----------------------------------------

    def asked(self, size: int) -> Iterator[tuple[bytes, Address, int]]:
        """Yield requests of peers drawn at random whether we are there, each with its address and Message ID."""
        sas = self.sas
        for _ in range(size):
            sa = sas[self.dice.randrange(len(sas))]
            view, kept = self.endpoint.sa(sa), self.endpoint._keeper.sas[sa]
            keys, message_id = view.export_keys(), kept.current.theirs.expected
            sealing = Protection(SUITE, keys.sk_ei, b"", random=os.urandom, sealed=message_id)
            data = sealing.seal(view.spi_i, view.spi_r, Exchange.INFORMATIONAL, INITIATOR, message_id, 0, b"")
            yield data, view.remote or GATEWAY, message_id

    def answers_liveness(self) -> float:
        """Peers ask whether we are there."""
        for data, remote, _ in self.asked(SAMPLE):
            if len(self.take(data, remote)) != 1:
                raise RuntimeError("no answer")
        return self._mean()

    def asks_liveness(self) -> float:
        """We ask peers whether they are there."""
        sas, total = self.sas, 0.0
        for _ in range(SAMPLE):
            sa = sas[self.dice.randrange(len(sas))]
            start = time.thread_time()
            self.endpoint.check_liveness(sa, now=self.now)
            (asked,) = datagrams(self.endpoint)
            _ = self.endpoint.deadline
            total += time.thread_time() - start
            view = self.endpoint.sa(sa)
            message_id = int.from_bytes(asked.data[20:24], "big")
            sealing = Protection(SUITE, view.export_keys().sk_ei, b"", random=os.urandom, sealed=message_id)
            flags = INITIATOR | RESPONSE
            data = sealing.seal(view.spi_i, view.spi_r, Exchange.INFORMATIONAL, flags, message_id, 0, b"")
            self.take(data, asked.remote)
        return total / SAMPLE + self._mean()

    def handshakes(self) -> float:
        """Peers set up SAs, which end again."""
        before = set(self.sas)
        self.spent.clear()
        for _ in range(SAMPLE // 10):
            self.peers.handshake(self)
        spent, messages = sum(self.spent), len(self.spent)
        if messages != 2 * (SAMPLE // 10):
            raise RuntimeError(f"{messages} messages")
        for sa in set(self.sas) - before:
            self.endpoint.abandon(sa, now=self.now)
        datagrams(self.endpoint)
        self.spent.clear()
        return spent / (SAMPLE // 10)

    def deadline(self) -> float:
        """The host looks at the deadline."""
        start = time.thread_time()
        for _ in range(SAMPLE):
            _ = self.endpoint.deadline
        return (time.thread_time() - start) / SAMPLE

    def timer_expired(self) -> float:
        """The host's timer rings too early."""
        start = time.thread_time()
        for _ in range(SAMPLE):
            self.endpoint.timer_expired(now=self.now)
        return (time.thread_time() - start) / SAMPLE

    def rearmed(self) -> float:
        """Exchanges have moved deadlines; return the entries of the heap for each SA."""
        return len(self.endpoint._keeper.schedule) / len(self.sas)

    def _mean(self) -> float:
        mean = statistics.fmean(self.spent)
        self.spent.clear()
        return mean


def made(peer: Connection) -> Endpoint:
    limits = Limits(half_open_per_source=1000)
    return Endpoint(Config(connections=(peer,), limits=limits), random=os.urandom, utc=lambda: NOON, raise_bugs=True)


def datagrams(endpoint: Endpoint) -> list[SendDatagram]:
    return [output for output in endpoint.outputs() if isinstance(output, SendDatagram)]


def resident() -> int:
    """Octets of this process that are in memory now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def words(size: int) -> str:
    return f"{size:,} SA{'s' if size > 1 else ''}"


QUESTIONS: tuple[tuple[str, Callable[[Gateway], float], float | None], ...] = (
    ("a peer asks for liveness", Gateway.answers_liveness, 1.2),
    ("we ask a peer for liveness", Gateway.asks_liveness, 1.2),
    ("a handshake, the responder", Gateway.handshakes, None),
    ("`deadline`", Gateway.deadline, None),
    ("`timer_expired`, nothing due", Gateway.timer_expired, None),
)
"""What is asked of each gateway, and how much more it may cost with the most SAs than with a hundred."""


def tables(rounds: int, sizes: Sequence[int] = SIZES) -> Iterator[Table]:
    """Fill the gateways, and look at what they cost."""
    peers = Peers()
    gateways: dict[int, Gateway] = {}
    octets: dict[str, list[float]] = {}
    objects: dict[str, list[float]] = {}
    warm = Gateway(peers)
    warm.fill(CACHED)  # caches that all endpoints share are full, and Python's own pools are there
    for size in sizes:
        gateway = gateways[size] = Gateway(peers)
        first = min(size, CACHED)
        gateway.fill(first)
        gc.collect()
        before, tracked = resident(), len(gc.get_objects())
        gateway.fill(size - first)
        gc.collect()
        if size >= LEAST_MEASURED:
            octets[words(size)] = [(resident() - before) / (size - first)]
            objects[words(size)] = [round((len(gc.get_objects()) - tracked) / (size - first), 1)]
    if octets:
        largest = words(max(sizes))
        yield Table("memory of an SA at rest", octets, (Target(largest, 8, to=ITSELF),), unit="KiB")
        target = Target(largest, 12, to=ITSELF)
        yield Table("objects of an SA that the collector looks at", objects, (target,), unit="objects")
    for what, ask, limit in QUESTIONS:
        yield compared(what, ask, limit, gateways, rounds)
    yield compared("entries in the heap for each SA", Gateway.rearmed, None, gateways, 1, unit="objects")
    yield longest(gateways[max(sizes)], rounds)


def compared(
    what: str,
    ask: Callable[[Gateway], float],
    limit: float | None,
    gateways: dict[int, Gateway],
    rounds: int,
    unit: str = "us",
) -> Table:
    """Ask each gateway the same in every round."""
    timings: dict[str, list[float]] = {words(size): [] for size in gateways}
    gc.collect()
    gc.disable()
    try:
        for gateway in gateways.values():
            ask(gateway)
        for _ in range(rounds):
            for size, gateway in gateways.items():
                timings[words(size)].append(ask(gateway))
    finally:
        gc.enable()
    to = words(100)
    wanted = limit is not None and to in timings
    targets = (Target(words(max(gateways)), limit, to=to),) if wanted and limit is not None else ()
    return Table(what, timings, targets, unit=unit)


def longest(gateway: Gateway, rounds: int) -> Table:
    """Let time pass and peers ask and come, with the collector on, and look at the longest inputs."""
    gc.collect()
    gc.freeze()
    timings: dict[str, list[float]] = {"half of all": [], "99.9 % of all": [], "the longest": []}
    try:
        for _ in range(rounds):
            while len(gateway.spent) < INPUTS // rounds:
                for data, remote, _ in gateway.asked(10):
                    gateway.take(data, remote)
                gateway.peers.handshake(gateway)
                gateway.now += 1e-3
                for _ in range(10):
                    gateway.ring()
            spent = sorted(gateway.spent)
            gateway.spent.clear()
            timings["half of all"].append(spent[len(spent) // 2])
            timings["99.9 % of all"].append(spent[int(len(spent) * 0.999)])
            timings["the longest"].append(spent[-1])
    finally:
        gc.unfreeze()
    title = f"the longest inputs with {words(len(gateway.sas))}"
    return Table(title, timings, (Target("99.9 % of all", 5, to=ITSELF),), unit="ms")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description="Measure what many SAs cost.")
    parser.add_argument("--most", type=int, default=max(SIZES), help=f"SAs at most (default: {max(SIZES)})")
    arguments = parser.parse_args()
    show(tables(ROUNDS, [size for size in SIZES if size <= arguments.most]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
