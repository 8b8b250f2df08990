"""Many SAs: what each leaves in memory, counted and not timed, and what the heap of deadlines comes to."""

from __future__ import annotations

import functools
import gc

import pytest

from benchmarks.many import SAMPLE, Gateway, Peers
from ikecore.endpoint.schedule import LEAST_STALE

MANY = 200
EARLIER = 110
"""After so many the peers have numbers of three digits, and what is kept of the layouts of messages is there."""


@pytest.fixture(scope="module")
def peers() -> Peers:
    return Peers()


def tracked() -> int:
    """Count what the collector looks at, without what caches of bounded size keep for all endpoints together."""
    gc.unfreeze()  # examples of the documentation that ran before freeze what there is, caches too
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith("ikecore"):
            each.cache_clear()
    gc.collect()
    return len(gc.get_objects())


def test_an_sa_at_rest_is_twelve_objects_for_the_collector(peers: Peers) -> None:
    gateway = Gateway(peers)
    gateway.fill(EARLIER)
    before = tracked()
    gateway.fill(MANY)
    assert len(gateway.sas) == MANY + EARLIER
    assert tracked() - before <= 12 * MANY + 20


def test_exchanges_leave_no_more_than_the_last_answer(peers: Peers) -> None:
    gateway = Gateway(peers)
    gateway.fill(MANY)
    gateway.answers_liveness()
    gateway.asks_liveness()
    before = tracked()
    for _ in range(5):
        gateway.answers_liveness()
        gateway.asks_liveness()
    assert tracked() - before <= 3 * MANY


def test_the_heap_does_not_grow_with_exchanges(peers: Peers) -> None:
    """Each request that we send is a deadline that is earlier than what the SA waits for, and gone a moment later."""
    gateway = Gateway(peers)
    gateway.fill(MANY)
    for _ in range(10):
        gateway.asks_liveness()
        gateway.answers_liveness()
        gateway.now += 1.0
        assert len(gateway.endpoint._keeper.schedule) <= 2 * MANY + LEAST_STALE


def test_those_that_come_and_go_leave_nothing(peers: Peers) -> None:
    """Not one object each; some belong to the SA that stays, and what it is about."""
    gateway = Gateway(peers)
    gateway.fill(1)
    gateway.handshakes()
    before = tracked()
    for _ in range(10):
        gateway.handshakes()
        gateway.now += 40.0
        gateway.ring()
    gateway.endpoint._keeper.tombstones._by_spi.clear()
    assert tracked() - before < 10 * SAMPLE // 10 / 2
    assert len(gateway.endpoint._keeper.schedule) <= 2 + LEAST_STALE
