"""SAs that live for days: both sides rekey by their own clocks, and always agree on what there is."""

from __future__ import annotations

import pytest

from ikecore import ChildConfig, Connection, Lifetimes
from ikecore.events import ChildSaClosed, ChildSaEstablished, IkeSaClosed, InternalError, LifetimeReached, SpisChanged
from ikecore.testing import Pair, Udp, psk_connection

HOUR, DAY = 3600.0, 86_400.0


def side(role: str, ike: Lifetimes, child: Lifetimes) -> Connection:
    return psk_connection(role, lifetimes=ike, children=(ChildConfig(lifetimes=child),))  # type: ignore[arg-type]


def living(ike: Lifetimes, child: Lifetimes, *, udp: Udp | None = None, seed: int = 0) -> Pair:
    """Two sides with the same life-times."""
    return Pair(side("initiator", ike, child), side("responder", ike, child), udp=udp, seed=seed)


def assert_agreement_soon(pair: Pair) -> None:
    """The only SA of either side, as the other sees it, once no rekey is under way: SPIs, keys and the Child SA."""
    for _ in range(600):
        (ours,) = (pair.initiator.endpoint.sa(sa) for sa in pair.initiator.endpoint.sas)
        (theirs,) = (pair.responder.endpoint.sa(sa) for sa in pair.responder.endpoint.sas)
        if all(len(view.children) == 1 and not view.replaced_spis for view in (ours, theirs)):
            break
        pair.run_for(1.0)
    assert (ours.spi_i, ours.spi_r) == (theirs.spi_i, theirs.spi_r)
    assert ours.export_keys() == theirs.export_keys()
    (our,), (their,) = ours.children, theirs.children
    assert (our.spi_in, our.spi_out) == (their.spi_out, their.spi_in)
    assert our.export_keys().encr_in == their.export_keys().encr_out


@pytest.mark.requirement("IKE-118", "IKE-120", "IKE-126")
def test_a_week_of_hourly_rekeys() -> None:
    times = Lifetimes(rekey_time=HOUR)
    pair = living(times, times)
    mine, _ = pair.establish()
    for _ in range(7 * 12):
        pair.run_for(2 * HOUR)
        assert_agreement_soon(pair)
    assert pair.initiator.endpoint.sas == (mine,)
    for host in (pair.initiator, pair.responder):
        assert host.of(IkeSaClosed, InternalError) == []
        rekeyed = [each for each in host.of(SpisChanged) if "rekeyed" in each.reason]
        assert len(rekeyed) >= 7 * 24
        assert len(host.of(ChildSaEstablished)) >= 7 * 24
        assert len(host.of(ChildSaEstablished)) == len(host.of(ChildSaClosed)) + 1
        assert {each.action for each in host.of(LifetimeReached)} == {"rekey"}, "nothing ever came to its hard limit"


@pytest.mark.requirement("IKE-120", "IKE-125", "IKE-127", "IKE-130")
@pytest.mark.parametrize("seed", range(4))
def test_a_day_on_a_network_that_loses_every_fifth_packet(seed: int) -> None:
    pair = living(Lifetimes(rekey_time=HOUR), Lifetimes(rekey_time=HOUR / 2), udp=Udp(loss=0.2), seed=seed)
    mine, _ = pair.establish()
    for _ in range(12):
        pair.run_for(2 * HOUR)
        assert_agreement_soon(pair)
    assert pair.initiator.endpoint.sas == (mine,)
    for host in (pair.initiator, pair.responder):
        assert host.of(IkeSaClosed, InternalError) == []


@pytest.mark.requirement("IKE-127", "IKE-130")
def test_both_sides_rekey_everything_at_the_same_moment_for_a_day() -> None:
    """Without jitter every rekey is a collision: RFC 7296 sections 2.8.1 and 2.8.2 decide each of them."""
    times = Lifetimes(rekey_time=HOUR, rand_time=0.0)
    pair = living(times, Lifetimes(rekey_time=HOUR / 2, rand_time=0.0))
    mine, _ = pair.establish()
    for _ in range(12):
        pair.run_for(2 * HOUR)
        assert_agreement_soon(pair)
    assert pair.initiator.endpoint.sas == (mine,)


@pytest.mark.requirement("IKE-120")
def test_the_side_with_the_shorter_life_times_rekeys() -> None:
    pair = Pair(
        side("initiator", Lifetimes(), Lifetimes()),
        side("responder", Lifetimes(rekey_time=HOUR), Lifetimes(rekey_time=HOUR)),
    )
    pair.establish()
    pair.run_for(10 * HOUR)
    assert_agreement_soon(pair)
    assert pair.initiator.of(LifetimeReached) == []
    assert len(pair.responder.of(LifetimeReached)) >= 20
