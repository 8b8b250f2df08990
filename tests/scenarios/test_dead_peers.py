"""Peers that fall silent: how long it takes to notice, what keeps an SA alive, and what is done then."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from ikecore import ChildConfig, Lifetimes, LocalProtocolError, PeerUnreachable, parse_selector
from ikecore.events import (
    ChildSaEstablished,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    MessageSent,
    RequestFailed,
    SuccessorBegun,
)
from ikecore.testing import Block, Pair, psk_connection


def pair_with(seed: int = 0, **more: Any) -> Pair:
    """A pair whose initiator looks after its peer as *more* says."""
    child = ChildConfig(lifetimes=Lifetimes())
    return Pair(psk_connection("initiator", children=(child,), **more), psk_connection("responder"), seed=seed)


def checks(pair: Pair) -> list[MessageSent]:
    """The liveness checks that the initiator sent, repeats left out."""
    sent = pair.initiator.of(MessageSent)
    return [each for each in sent if each.exchange == "INFORMATIONAL" and not each.is_response and not each.repeat]


def cut(pair: Pair) -> Block:
    """Let nothing through any more."""
    block: Block = pair.network.block()
    return block


@pytest.mark.requirement("IKE-074", "IKE-078")
def test_a_peer_that_says_nothing_is_asked_after_the_delay_and_no_earlier() -> None:
    pair = pair_with(dpd_delay=30.0)
    pair.establish()
    pair.run_for(29.0)
    assert checks(pair) == []
    pair.run_for(2.0)
    assert len(checks(pair)) == 1
    pair.run_for(300.0)
    assert len(checks(pair)) == 11
    assert pair.initiator.of(IkeSaClosed) == []
    assert pair.responder.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-078")
def test_whatever_only_the_peer_can_have_sent_spares_the_question() -> None:
    pair = pair_with(dpd_delay=30.0)
    mine, theirs = pair.establish()
    for _ in range(10):
        pair.run_for(20.0)
        pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
        pair.run_for(5.0)
    assert checks(pair) == []
    for _ in range(10):
        pair.run_for(25.0)
        pair.initiator.call(pair.initiator.endpoint.traffic_seen, mine)
    assert checks(pair) == []
    pair.run_for(31.0)
    assert len(checks(pair)) == 1


def test_a_message_that_comes_moves_no_timer() -> None:
    """An SA with traffic costs one look per delay, however many messages come."""
    pair = pair_with(dpd_delay=30.0)
    mine, theirs = pair.establish()
    pair.run_for(20.0)
    sleeper = pair.initiator.endpoint._endpoint._keeper.sas[mine]
    before = sleeper.deadline
    pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    pair.run_for(2.0)
    assert sleeper.deadline == before


@pytest.mark.requirement("IKE-072", "IKE-073")
def test_a_dead_peer_is_given_up_after_its_own_patience() -> None:
    pair = pair_with(dpd_delay=30.0, dpd_timeout=20.0)
    mine, _ = pair.establish()
    start = pair.now
    cut(pair)
    pair.run_for(48.0)
    assert pair.initiator.of(IkeSaClosed) == []
    pair.run_for(4.0)
    closed = pair.initiator.one(IkeSaClosed)
    assert (closed.sa, closed.by) == (mine, "silence")
    assert closed.reason.startswith("nothing heard of the peer for 50 s")
    assert pair.now - start < 53.0
    assert pair.initiator.endpoint.sas == ()
    assert pair.initiator.endpoint.deadline is None


@pytest.mark.requirement("IKE-073", "IKE-076")
def test_without_a_patience_of_its_own_the_repeats_have_the_last_word() -> None:
    pair = pair_with(dpd_delay=30.0)
    pair.establish()
    cut(pair)
    pair.run_for(200.0)
    assert pair.initiator.of(IkeSaClosed) == []
    pair.run_for(200.0)
    assert pair.initiator.one(IkeSaClosed).reason.startswith("no answer to INFORMATIONAL")


def test_patience_is_for_whatever_is_unanswered() -> None:
    """A request of the application asks as well; its peer is given up as soon as one that was asked for itself."""
    pair = pair_with(dpd_delay=30.0, dpd_timeout=20.0)
    mine, _ = pair.establish()
    cut(pair)
    pair.run_for(25.0)
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run_for(30.0)
    assert len(checks(pair)) == 1
    assert pair.initiator.one(IkeSaClosed).by == "silence"
    assert isinstance(pair.initiator.one(RequestFailed).error, PeerUnreachable)


def test_a_peer_that_comes_back_in_time_is_not_given_up() -> None:
    pair = pair_with(dpd_delay=30.0, dpd_timeout=20.0)
    pair.establish()
    block = cut(pair)
    pair.run_for(40.0)
    pair.network.unblock(block)
    pair.run_for(300.0)
    assert pair.initiator.of(IkeSaClosed) == []


# --- and begins anew ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-073")
def test_an_sa_whose_peer_fell_silent_is_begun_anew_until_the_peer_is_back() -> None:
    pair = pair_with(dpd_delay=30.0, dpd_timeout=20.0, dpd_action="restart")
    mine, _ = pair.establish()
    block = cut(pair)
    pair.run_for(60.0)
    begun = pair.initiator.one(SuccessorBegun)
    assert (begun.sa, begun.reason) == (mine, "the peer was silent")
    assert pair.initiator.endpoint.sas == (begun.successor,)
    events = pair.initiator.events
    assert events.index(begun) < events.index(pair.initiator.one(IkeSaClosed)), "who follows it knows where to go on"
    pair.run_for(4000.0)
    tries = pair.initiator.of(SuccessorBegun)
    assert 4 <= len(tries) <= 10, "the waits grow, and every try has its time"
    assert [each.sa for each in tries[1:]] == [each.successor for each in tries[:-1]]
    assert len(pair.initiator.of(IkeSaFailed)) == len(tries) - 1
    pair.network.unblock(block)
    pair.run_for(1200.0)
    up = pair.initiator.of(IkeSaEstablished)[-1]
    assert pair.initiator.endpoint.sas == (up.sa,)
    assert len(pair.initiator.of(ChildSaEstablished)) == 2
    assert len(pair.initiator.endpoint.sa(up.sa).children) == 1


@pytest.mark.parametrize("tries", [1, 3], ids=["at once", "after failures"])
def test_what_is_begun_anew_has_the_child_sas_that_were_there(tries: int) -> None:
    """Those that the application asked for as well, and not one that it had deleted."""
    children = [
        ChildConfig(name=name, local_ts=(parse_selector(ours),), lifetimes=Lifetimes())
        for name, ours in (("a", "10.1.0.0/24"), ("b", "10.1.1.0/24"), ("c", "10.1.2.0/24"))
    ]
    theirs = [attrs.evolve(each, local_ts=None, remote_ts=each.local_ts) for each in children]
    pair = Pair(
        psk_connection("initiator", children=children, dpd_delay=30.0, dpd_timeout=20.0, dpd_action="restart"),
        psk_connection("responder", children=theirs),
    )
    mine, _ = pair.establish()
    for name in ("c", "b"):
        pair.initiator.call(pair.initiator.endpoint.create_child, mine, name)
        pair.run_for(1.0)
    first = pair.initiator.endpoint.sa(mine).children[0].id
    pair.initiator.call(pair.initiator.endpoint.delete, mine, child=first)
    pair.run_for(1.0)
    block = cut(pair)
    while len(pair.initiator.of(SuccessorBegun)) < tries:
        pair.run_for(10.0)
    pair.network.unblock(block)
    pair.run_for(1200.0)
    for host in (pair.initiator, pair.responder):
        up = host.endpoint.sa(host.of(IkeSaEstablished)[-1].sa)
        assert sorted(child.name for child in up.children) == ["b", "c"]


def test_the_application_ends_what_begins_anew() -> None:
    pair = pair_with(dpd_delay=30.0, dpd_timeout=20.0, dpd_action="restart")
    pair.establish()
    cut(pair)
    pair.run_for(60.0)
    (waiting,) = pair.initiator.endpoint.sas
    pair.initiator.call(pair.initiator.endpoint.delete, waiting)
    pair.run_for(5000.0)
    assert pair.initiator.endpoint.sas == ()
    assert pair.initiator.endpoint.deadline is None


def test_nothing_begins_anew_while_the_endpoint_shuts_down() -> None:
    pair = pair_with(dpd_delay=30.0, dpd_timeout=20.0, dpd_action="restart")
    pair.establish()
    cut(pair)
    pair.run_for(400.0)
    pair.initiator.call(pair.initiator.endpoint.shutdown)
    pair.run_for(5000.0)
    assert pair.initiator.endpoint.idle
    assert pair.initiator.endpoint.deadline is None


def test_an_sa_that_we_delete_is_not_begun_anew_for_want_of_an_answer() -> None:
    pair = pair_with(dpd_delay=1.0, dpd_timeout=1.0, dpd_action="restart")
    mine, _ = pair.establish()
    cut(pair)
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.initiator.call(pair.initiator.endpoint.delete, mine)  # it waits behind what is unanswered
    pair.run_for(5000.0)
    assert pair.initiator.one(IkeSaClosed).by == "silence"
    assert pair.initiator.of(SuccessorBegun) == []
    assert pair.initiator.endpoint.sas == ()


def test_a_silence_while_the_peers_authenticate_anew_begins_one_sa_and_not_two() -> None:
    times = Lifetimes(reauth_time=100.0, rand_time=0.0, over_time=5000.0)
    pair = pair_with(dpd_delay=30.0, dpd_timeout=20.0, dpd_action="restart", lifetimes=times)
    mine, _ = pair.establish()
    pair.run_for(95.0)
    block = cut(pair)
    pair.run_for(60.0)
    assert pair.initiator.one(IkeSaClosed).by == "silence"
    begun = pair.initiator.one(SuccessorBegun)
    assert (begun.sa, pair.initiator.endpoint.sas) == (mine, (begun.successor,))
    pair.run_for(1000.0)
    assert len(pair.initiator.of(SuccessorBegun)) > 1, "what came to nothing is begun anew"
    pair.network.unblock(block)
    pair.run_for(1200.0)
    assert len(pair.initiator.of(IkeSaEstablished)) > 1
    assert 1 <= len(pair.initiator.endpoint.sas) <= 2


def test_the_responder_only_clears() -> None:
    pair = Pair(
        psk_connection("initiator"),
        psk_connection("responder", dpd_delay=30.0, dpd_timeout=20.0, dpd_action="restart"),
    )
    pair.establish()
    cut(pair)
    pair.run_for(100.0)
    assert pair.responder.one(IkeSaClosed).by == "silence"
    assert pair.responder.endpoint.sas == ()


def test_an_sa_that_the_peer_deletes_is_not_begun_anew() -> None:
    pair = pair_with(dpd_delay=30.0, dpd_action="restart")
    _, theirs = pair.establish()
    pair.responder.call(pair.responder.endpoint.delete, theirs)
    pair.run_for(100.0)
    assert pair.initiator.one(IkeSaClosed).by == "peer"
    assert pair.initiator.of(SuccessorBegun) == []


@pytest.mark.parametrize(
    ("field", "value"), [("dpd_delay", -1.0), ("dpd_timeout", float("inf")), ("dpd_action", "trap")]
)
def test_what_makes_no_sense(field: str, value: object) -> None:
    with pytest.raises(LocalProtocolError, match=field):
        psk_connection("initiator", **{field: value})  # type: ignore[arg-type]
