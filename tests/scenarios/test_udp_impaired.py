"""Whatever the network does to datagrams, a handshake ends in success on both sides or in one clear error."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ikecore import (
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    MessageReceived,
    PeerUnreachable,
    RequestCompleted,
)
from ikecore.testing import Host, Mangler, Nat, Pair, Udp, flip
from tests.scenarios.agreement import assert_agreement, assert_nothing_left, children, outcome

A, B = "10.0.0.1", "10.0.0.2"

SHARE = st.sampled_from([0.0, 0.1, 0.3, 0.6])
NETWORKS = st.builds(
    Udp,
    delay=st.sampled_from([0.0, 0.01, 0.4, 3.0]),
    jitter=st.sampled_from([0.0, 0.05, 2.0]),
    loss=SHARE,
    duplication=SHARE,
    reordering=SHARE,
)


def one_outcome(pair: Pair) -> IkeSaEstablished | IkeSaFailed:
    """Return how it came out for the initiator: exactly once."""
    [only] = outcome(pair.initiator)
    for host in (pair.initiator, pair.responder):
        assert host.of(InternalError) == []
    return only


def assert_repeats_are_identical(pair: Pair) -> None:
    """Whatever was repeated, each message is one and the same octets."""
    forms: dict[bytes, set[bytes]] = {}
    for packet in pair.network.wire:
        message = packet.data.removeprefix(bytes(4))
        forms.setdefault(message[:24], set()).add(message)
    assert {len(octets) for octets in forms.values()} == {1}


def assert_executed_once(host: Host) -> None:
    """Every protected request of the peer had an effect at most once."""
    requests = [(event.exchange, event.message_id) for event in protected(host) if not event.is_response]
    assert len(requests) == len(set(requests))


def protected(host: Host) -> list[MessageReceived]:
    return [event for event in host.of(MessageReceived) if event.exchange != "IKE_SA_INIT" and not event.repeat]


@pytest.mark.requirement("IKE-045", "IKE-046", "IKE-047", "IKE-050", "IKE-051", "IKE-064")
@given(udp=NETWORKS, seed=st.integers(0, 2**32), behind_nat=st.booleans())
@example(udp=Udp(loss=1.0), seed=0, behind_nat=False)
def test_a_handshake_ends_in_success_or_in_one_clear_error(udp: Udp, seed: int, behind_nat: bool) -> None:
    pair = Pair(udp=udp, seed=seed, nat=Nat("203.0.113.1") if behind_nat else None)
    sa = pair.initiate()
    pair.run_for(400.0)
    result = one_outcome(pair)
    if isinstance(result, IkeSaEstablished):
        assert_agreement(pair, sa)
        assert len(pair.responder.of(IkeSaEstablished)) == 1
    else:
        assert isinstance(result.error, PeerUnreachable)
        assert pair.initiator.endpoint.idle
    assert_repeats_are_identical(pair)
    assert_executed_once(pair.responder)


@pytest.mark.requirement("IKE-046", "IKE-050", "IKE-062")
@given(udp=NETWORKS, seed=st.integers(0, 2**32), wishes=st.integers(1, 4))
def test_requests_of_both_sides_are_executed_once_each(udp: Udp, seed: int, wishes: int) -> None:
    pair = Pair(seed=seed)
    mine, theirs = pair.establish()
    pair.run()
    pair.network.udp = udp
    for _ in range(wishes):
        for host, sa in ((pair.initiator, mine), (pair.responder, theirs)):
            host.call(host.endpoint.check_liveness, sa)
    pair.run_for(2000.0)
    for host, peer in ((pair.initiator, pair.responder), (pair.responder, pair.initiator)):
        assert_executed_once(peer)
        if host.of(IkeSaClosed):
            assert host.one(IkeSaClosed).by == "silence"
        else:
            assert len(host.of(RequestCompleted)) == wishes
            asked = [each for each in protected(peer) if each.exchange == "INFORMATIONAL" and not each.is_response]
            assert len(asked) == wishes


@pytest.mark.requirement("IKE-045", "IKE-046", "IKE-049")
@given(udp=NETWORKS, seed=st.integers(0, 2**32), by_initiator=st.booleans())
def test_deletion_ends_both_sides_whatever_is_lost(udp: Udp, seed: int, by_initiator: bool) -> None:
    pair = Pair(seed=seed)
    mine, theirs = pair.establish()
    pair.run()
    pair.network.udp = udp
    host, sa = (pair.initiator, mine) if by_initiator else (pair.responder, theirs)
    wish = host.call(host.endpoint.delete, sa)
    pair.run_for(200.0)
    assert host.one(RequestCompleted).request == wish
    assert host.one(IkeSaClosed).by == "us"
    assert host.endpoint.idle
    other = pair.responder if by_initiator else pair.initiator
    if other.of(IkeSaClosed):
        assert other.one(IkeSaClosed).by == "peer"
        assert_nothing_left(pair)


MOST_LOSSES = 5
"""Six losses in a row are more than 41 seconds of silence, when a responder has forgotten its half-open SA."""


@pytest.mark.requirement("IKE-046", "IKE-047")
@given(lost=st.sets(st.integers(0, 24), max_size=MOST_LOSSES))
def test_with_few_losses_a_handshake_always_succeeds(lost: set[int]) -> None:
    pair = Pair()
    Mangler(pair.network).drop(*lost)
    sa = pair.initiate()
    pair.run_for(300.0)
    assert isinstance(one_outcome(pair), IkeSaEstablished)
    assert_agreement(pair, sa)
    assert len(children(pair.responder)) == 1


@pytest.mark.requirement("TCP-01", "IKE-042", "IKE-043")
@pytest.mark.parametrize(("largest", "works"), [(100, False), (300, False), (1280, True)])
def test_datagrams_above_what_the_path_carries_never_arrive(largest: int, works: bool) -> None:
    pair = Pair(udp=Udp(max_datagram=largest))
    sa = pair.initiate()
    pair.run()
    result = one_outcome(pair)
    assert isinstance(result, IkeSaEstablished) is works
    if works:
        assert_agreement(pair, sa)
    else:
        assert_nothing_left(pair)


@pytest.mark.parametrize("octet", [0, 8, 16, 17, 18, 19, 20, 24, 27, 28, 40, 60, -1])
@pytest.mark.parametrize("message", range(4))
def test_a_changed_octet_delays_a_handshake_and_breaks_nothing(message: int, octet: int) -> None:
    """The first copy of each message is damaged; its repeat is good, unless IKE_SA_INIT was answered as damaged."""
    pair = Pair()
    Mangler(pair.network).change(message, flip(octet, 0x41))
    sa = pair.initiate()
    pair.run_for(400.0)
    result = one_outcome(pair)
    if isinstance(result, IkeSaEstablished):
        assert_agreement(pair, sa)
    else:
        assert message < 2, "what is protected cannot be changed"
    assert len(pair.responder.of(IkeSaEstablished)) <= 1
