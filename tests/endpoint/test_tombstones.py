"""The last answer of an SA that is gone, kept for a while and for the very octets of its request."""

from __future__ import annotations

import hashlib

import pytest

from ikecore.endpoint.tombstones import Tombstones
from ikecore.limits import Limits
from ikecore.outputs import SaId
from ikecore.sa import OutgoingResponse
from ikecore.wire import Delete
from ikecore.wire.numbers import Exchange, Protocol
from tests.rig import Puppet, Rig


def last(request: bytes = b"request") -> tuple[bytes, OutgoingResponse]:
    return hashlib.sha256(request).digest(), OutgoingResponse(37, 5, lambda: b"answer", ())


def spi(number: int) -> bytes:
    return number.to_bytes(8, "big")


@pytest.mark.requirement("IKE-048", "IKE-049", "IKE-046")
def test_the_answer_is_for_the_same_octets_and_for_some_time() -> None:
    stones = Tombstones()
    buried = last()
    stones.bury(SaId(1), spi(1), buried, 100.0)
    assert stones.has(spi(1))
    assert stones.answer(spi(1), b"request", 100.0) is buried[1]
    assert stones.answer(spi(1), b"request", 100.0 + Tombstones.SECONDS - 0.1) is buried[1]
    assert stones.answer(spi(1), b"other", 100.0) is None
    assert stones.answer(spi(2), b"request", 100.0) is None
    assert stones.answer(spi(1), b"request", 100.0 + Tombstones.SECONDS) is None


def test_stones_are_bounded_and_the_oldest_goes_first() -> None:
    stones = Tombstones()
    for number in range(Tombstones.MOST + 5):
        stones.bury(SaId(number), spi(number), last(), 0.0)
    assert [stones.has(spi(number)) for number in range(6)] == [False] * 5 + [True]
    assert stones.has(spi(Tombstones.MOST + 4))


def test_what_is_old_goes_when_something_new_comes() -> None:
    stones = Tombstones()
    for number in range(10):
        stones.bury(SaId(number), spi(number), last(), float(number))
    stones.bury(SaId(99), spi(99), last(), Tombstones.SECONDS + 5.0)
    assert [number for number in range(10) if stones.has(spi(number))] == [6, 7, 8, 9]


def test_an_sa_that_is_rekeyed_without_end_does_not_push_out_the_others() -> None:
    stones = Tombstones()
    stones.bury(SaId(1), spi(1), last(), 0.0)
    for number in range(2, 2 * Tombstones.MOST):
        stones.bury(SaId(2), spi(number), last(), 0.0)
    assert stones.has(spi(1))
    assert len(stones) == 1 + Tombstones.MOST_OF_ONE
    assert stones.has(spi(2 * Tombstones.MOST - 1))


@pytest.mark.requirement("IKE-046")
def test_half_open_sas_that_expire_do_not_push_out_what_honest_peers_may_ask_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their only answer was that to IKE_SA_INIT, whose repeats are known by their octets and path, not by an SPI."""
    monkeypatch.setattr(Tombstones, "MOST", 3)
    rig = Rig()
    for number in range(5):
        Puppet(rig, address=("10.0.1.1", 1000 + number), seed=50 + number).begin()
    rig.run_for(Limits().half_open_lifetime - 5.0)
    peer = Puppet(rig)
    peer.establish()
    goodbye = peer.seal(Exchange.INFORMATIONAL, [Delete(Protocol.IKE, ())])
    answer = peer.give(goodbye)
    assert len(answer) == 1
    assert rig.endpoint.sas
    rig.run_for(10.0)
    assert rig.endpoint.idle
    assert peer.give(goodbye) == answer
