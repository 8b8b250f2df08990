"""Ends of SAs: once, on both sides, however often and from whichever side somebody asks for it."""

from __future__ import annotations

import pytest

from ikecore import (
    ChildConfig,
    ChildSaClosed,
    Config,
    IkeSaClosed,
    IkeSaEstablished,
    Limits,
    LocalProtocolError,
    RequestCompleted,
    RequestFailed,
    RequestId,
    SaId,
    parse_selector,
)
from ikecore.testing import Host, Insider, Mangler, Pair, Udp, psk_connection
from ikecore.wire import Delete
from ikecore.wire.numbers import Exchange, Protocol
from tests.scenarios.agreement import assert_nothing_left, children, datagrams

A, B = "10.0.0.1", "10.0.0.2"


def established(**options: object) -> tuple[Pair, SaId, SaId]:
    pair = Pair(**options)  # type: ignore[arg-type]
    mine, theirs = pair.establish()
    pair.run()
    return pair, mine, theirs


def informational(pair: Pair, host: Host) -> list[tuple[str, ...]]:
    """Return the payloads of the INFORMATIONAL messages that *host* sent."""
    return [rung.payloads for rung in pair.rungs() if rung.exchange == "INFORMATIONAL" and rung.sender == host.name]


def ended(host: Host) -> list[RequestId]:
    """Return the wishes of *host* that have ended, however they did."""
    return [event.request for event in host.events if isinstance(event, RequestCompleted | RequestFailed)]


def closed_once(host: Host) -> IkeSaClosed:
    """Return the one IkeSaClosed; its Child SAs were closed once each, before it."""
    closed = host.one(IkeSaClosed)
    gone = [event.child for event in host.of(ChildSaClosed)]
    assert len(gone) == len(set(gone)) == len(children(host))
    assert all(host.events.index(event) < host.events.index(closed) for event in host.of(ChildSaClosed))
    return closed


@pytest.mark.requirement("IKE-032", "IKE-036", "IKE-082")
@pytest.mark.parametrize("by", ["initiator", "responder"])
def test_deleting_an_ike_sa_ends_it_and_its_children_on_both_sides(by: str) -> None:
    pair, mine, theirs = established()
    host, other = (pair.initiator, pair.responder) if by == "initiator" else (pair.responder, pair.initiator)
    sa = mine if by == "initiator" else theirs
    wish = host.call(host.endpoint.delete, sa)
    pair.run()
    assert host.one(RequestCompleted).request == wish
    assert (closed_once(host).by, closed_once(other).by) == ("us", "peer")
    assert len(informational(pair, host)) == 1
    assert informational(pair, other) == [()], "the response is empty"
    pair.run_for(60.0)
    assert_nothing_left(pair)


def test_deleting_twice_at_once_is_one_delete_and_two_wishes_done() -> None:
    pair, mine, _ = established()
    wishes = [pair.initiator.call(pair.initiator.endpoint.delete, mine) for _ in range(3)]
    pair.run()
    assert [event.request for event in pair.initiator.of(RequestCompleted)] == wishes
    assert len(informational(pair, pair.initiator)) == 1
    closed_once(pair.initiator)
    with pytest.raises(LocalProtocolError):
        pair.initiator.endpoint.delete(mine, now=pair.now)
    with pytest.raises(LocalProtocolError):
        pair.initiator.endpoint.sa(mine)


@pytest.mark.requirement("IKE-035", "IKE-036")
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.5])
def test_both_sides_deleting_at_once_end_with_both_wishes_done(delay: float) -> None:
    pair, mine, theirs = established(udp=Udp(delay=delay))
    wishes = [
        pair.initiator.call(pair.initiator.endpoint.delete, mine),
        pair.responder.call(pair.responder.endpoint.delete, theirs),
    ] if delay else [pair.initiator.call(pair.initiator.endpoint.delete, mine)]  # fmt: skip
    pair.run()
    assert pair.initiator.one(RequestCompleted).request == wishes[0]
    if delay:
        assert pair.responder.one(RequestCompleted).request == wishes[1]
    closed_once(pair.initiator)
    closed_once(pair.responder)
    pair.run_for(60.0)
    assert_nothing_left(pair)


@pytest.mark.requirement("IKE-033", "IKE-034", "IKE-081")
@pytest.mark.parametrize("by", ["initiator", "responder"])
def test_deleting_a_child_sa_leaves_the_ike_sa(by: str) -> None:
    pair, mine, theirs = established()
    host, other = (pair.initiator, pair.responder) if by == "initiator" else (pair.responder, pair.initiator)
    sa = mine if by == "initiator" else theirs
    [child] = host.endpoint.sa(sa).children
    insider = Insider(pair.initiator)
    start = len(pair.network.wire)
    wish = host.call(host.endpoint.delete, sa, child=child.id)
    pair.run()
    assert host.one(RequestCompleted).request == wish
    request, response = (insider.open(packet.data)[1] for packet in pair.network.wire[start:])
    assert request == [Delete(Protocol.ESP, (child.spi_in,))]
    assert response == [Delete(Protocol.ESP, (child.spi_out,))]
    assert (host.one(ChildSaClosed).by, other.one(ChildSaClosed).by) == ("us", "peer")
    assert pair.initiator.endpoint.sa(mine).children == pair.responder.endpoint.sa(theirs).children == ()
    assert pair.initiator.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-035")
def test_crossing_deletes_of_a_child_sa_answer_nothing_for_it() -> None:
    pair, mine, theirs = established()
    start = len(pair.network.wire)
    for host, sa in ((pair.initiator, mine), (pair.responder, theirs)):
        [child] = host.endpoint.sa(sa).children
        host.call(host.endpoint.delete, sa, child=child.id)
    pair.run()
    insider = Insider(pair.initiator)
    contents = [insider.open(packet.data)[1] for packet in pair.network.wire[start:]]
    assert [len(payloads) for payloads in contents] == [1, 1, 0, 0]
    for host in (pair.initiator, pair.responder):
        assert len(host.of(ChildSaClosed)) == 1
        assert len(host.of(RequestCompleted)) == 1


def test_deleting_a_child_twice_closes_it_once() -> None:
    pair, mine, _ = established()
    [child] = pair.initiator.endpoint.sa(mine).children
    for _ in range(2):
        pair.initiator.call(pair.initiator.endpoint.delete, mine, child=child.id)
    pair.run()
    assert len(pair.initiator.of(ChildSaClosed)) == len(pair.responder.of(ChildSaClosed)) == 1
    assert len(pair.initiator.of(RequestCompleted)) + len(pair.initiator.of(RequestFailed)) == 2
    with pytest.raises(LocalProtocolError):
        pair.initiator.endpoint.delete(mine, child=child.id, now=pair.now)


def test_deleting_a_child_and_then_its_ike_sa() -> None:
    pair, mine, _ = established()
    [child] = pair.initiator.endpoint.sa(mine).children
    wishes = [
        pair.initiator.call(pair.initiator.endpoint.delete, mine, child=child.id),
        pair.initiator.call(pair.initiator.endpoint.delete, mine),
    ]
    pair.run()
    assert [event.request for event in pair.initiator.of(RequestCompleted)] == wishes
    closed_once(pair.initiator)
    closed_once(pair.responder)


@pytest.mark.requirement("IKE-045", "IKE-046")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_delete_or_its_answer_is_made_good(lost: int) -> None:
    """The answer outlives the SA, for a peer that repeats its Delete."""
    pair, mine, _ = established()
    Mangler(pair.network).drop(lost)
    pair.initiator.call(pair.initiator.endpoint.delete, mine)
    pair.run()
    assert closed_once(pair.initiator).reason == "we deleted it"
    assert closed_once(pair.responder).by == "peer"
    assert pair.now < 40.0


def test_a_delete_that_nobody_answers_ends_the_sa_within_its_limit() -> None:
    pair, mine, _ = established(limits=Limits(delete_timeout=7.0))
    pair.network.detach(pair.responder)
    before = pair.now
    wish = pair.initiator.call(pair.initiator.endpoint.delete, mine)
    pair.run()
    assert pair.initiator.one(RequestCompleted).request == wish
    closed_once(pair.initiator)
    closed_at = max(each.time for each in pair.network.timeline if isinstance(each.event, IkeSaClosed))
    assert closed_at - before == pytest.approx(7.0)
    assert pair.initiator.endpoint.idle


@pytest.mark.requirement("IKE-082")
def test_shutdown_deletes_every_sa() -> None:
    pair = Pair()
    for _ in range(10):
        pair.initiate()
    pair.run()
    assert len(pair.responder.of(IkeSaEstablished)) == 10
    pair.responder.call(pair.responder.endpoint.shutdown)
    assert not pair.responder.endpoint.idle
    pair.run_for(60.0)
    assert_nothing_left(pair)
    assert {event.by for event in pair.initiator.of(IkeSaClosed)} == {"peer"}
    assert len(pair.initiator.of(IkeSaClosed)) == len(pair.responder.of(IkeSaClosed)) == 10


def test_wishes_still_waiting_end_with_the_sa() -> None:
    pair, mine, theirs = established()
    wishes = [pair.initiator.call(pair.initiator.endpoint.check_liveness, mine) for _ in range(4)]
    pair.responder.call(pair.responder.endpoint.delete, theirs)
    pair.run()
    assert sorted(ended(pair.initiator)) == sorted(wishes)
    assert len(pair.initiator.of(RequestFailed)) >= 3


@pytest.mark.parametrize("when", ["before", "while"])
def test_abandoning_beside_a_delete_closes_once(when: str) -> None:
    pair, mine, _ = established()
    if when == "while":
        wish = pair.initiator.call(pair.initiator.endpoint.delete, mine)
    pair.initiator.call(pair.initiator.endpoint.abandon, mine)
    closed_once(pair.initiator)
    assert pair.initiator.endpoint.idle
    if when == "while":
        assert ended(pair.initiator) == [wish]
    with pytest.raises(LocalProtocolError):
        pair.initiator.endpoint.abandon(mine, now=pair.now)
    pair.run_for(60.0)
    closed_once(pair.responder)
    assert_nothing_left(pair)


def test_deletes_of_what_is_not_there_close_nothing() -> None:
    pair, _, theirs = established()
    insider = Insider(pair.initiator)
    deletes = (
        [Delete(Protocol.ESP, (b"none",))],
        [Delete(Protocol.ESP, ())],
        [Delete(Protocol.ESP, (pair.responder.endpoint.sa(theirs).children[0].spi_in,))],
        [Delete(Protocol.ESP, (b"abcd",) * 100)],
    )
    for message_id, payloads in enumerate(deletes, 2):
        message = insider.seal("initiator", Exchange.INFORMATIONAL, message_id, payloads)
        pair.network.send(message, source=(A, 500), destination=(B, 500))
        pair.run_for(0.1)
    assert pair.responder.endpoint.sa(theirs).state == "established"
    assert len(pair.responder.endpoint.sa(theirs).children) == 1
    assert len(datagrams(pair, B)) == 2 + len(deletes), "each was answered"


def test_a_delete_of_another_protocol_closes_nothing() -> None:
    pair, _, theirs = established()
    [child] = pair.responder.endpoint.sa(theirs).children
    delete = Delete(Protocol.AH, (child.spi_out,))
    message = Insider(pair.initiator).seal("initiator", Exchange.INFORMATIONAL, 2, [delete])
    pair.network.send(message, source=(A, 500), destination=(B, 500))
    pair.run_for(0.1)
    assert pair.responder.endpoint.sa(theirs).children == (child,)


@pytest.mark.requirement("IKE-036")
def test_a_delete_for_child_and_ike_sa_together_closes_each_once() -> None:
    pair, _, theirs = established()
    spi = pair.responder.endpoint.sa(theirs).children[0].spi_out
    insider = Insider(pair.initiator)
    message = insider.seal(
        "initiator",
        Exchange.INFORMATIONAL,
        2,
        [
            Delete(Protocol.ESP, (spi, spi)),
            Delete(Protocol.IKE, ()),
            Delete(Protocol.ESP, (spi,)),
            Delete(Protocol.IKE),
        ],
    )
    pair.network.send(message, source=(A, 500), destination=(B, 500))
    pair.run_for(1.0)
    assert closed_once(pair.responder).by == "peer"


def test_a_child_deleted_by_two_messages_is_closed_once() -> None:
    pair, mine, theirs = established()
    spi = pair.responder.endpoint.sa(theirs).children[0].spi_out
    insider = Insider(pair.initiator)
    for message_id in (2, 3):
        message = insider.seal("initiator", Exchange.INFORMATIONAL, message_id, [Delete(Protocol.ESP, (spi,))])
        pair.network.send(message, source=(A, 500), destination=(B, 500))
        pair.run_for(0.1)
    assert len(pair.responder.of(ChildSaClosed)) == 1
    [first, second] = [insider.open(packet.data)[1] for packet in datagrams(pair, B)[-2:]]
    assert len(first) == 1
    assert second == []
    assert mine in pair.initiator.endpoint.sas


def test_many_established_and_deleted_leave_nothing() -> None:
    """A hundred times, and the tables of both sides are as they were."""
    pair = Pair(Config(connections=[psk_connection("initiator")]), Config(connections=[psk_connection("responder")]))
    for _ in range(100):
        sa = pair.initiate()
        pair.run_for(0.1)
        pair.initiator.call(pair.initiator.endpoint.delete, sa)
        pair.run_for(0.1)
    assert len(pair.responder.of(IkeSaClosed)) == 100
    pair.run_for(100.0)
    assert_nothing_left(pair)


def test_several_children_close_one_by_one() -> None:
    net = (parse_selector("10.1.0.0/16"),)
    child = ChildConfig(local_ts=net, remote_ts=net)
    pair = Pair(psk_connection("initiator", children=[child]), psk_connection("responder", children=[child]))
    mine, theirs = pair.establish()
    pair.run()
    assert len(children(pair.responder)) == 1
    pair.responder.call(pair.responder.endpoint.delete, theirs)
    pair.run()
    closed_once(pair.initiator)
    assert mine not in pair.initiator.endpoint.sas
