"""Rekeys and Deletes of both sides that meet on the way: whatever the order, both end with the same SAs.

RFC 7296 sections 1.4.1 and 2.25. Every pair of wishes is tried, with the second one made at moments from "at once" to
"when the first is done".
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from ikecore.events import (
    ChildSaClosed,
    ChildSaEstablished,
    IkeSaClosed,
    InternalError,
    RequestCompleted,
    RequestFailed,
)
from ikecore.outputs import SaId
from ikecore.testing import Host, Insider, Pair, Udp
from ikecore.wire import Delete, Payload
from ikecore.wire.numbers import Exchange, Protocol
from tests.rig import Puppet, Rig
from tests.sa.test_create_child_sa import offer
from tests.scenarios.agreement import assert_nothing_left

A, B = "10.0.0.1", "10.0.0.2"
LATENCY = 0.010

Wish = Callable[[Host, SaId], object]


def rekey_child(host: Host, sa: SaId) -> object:
    (child,) = host.endpoint.sa(sa).children
    return host.call(host.endpoint.rekey, sa, child=child.id)


def rekey_ike(host: Host, sa: SaId) -> object:
    return host.call(host.endpoint.rekey, sa)


def delete_child(host: Host, sa: SaId) -> object:
    (child,) = host.endpoint.sa(sa).children
    return host.call(host.endpoint.delete, sa, child=child.id)


def delete_ike(host: Host, sa: SaId) -> object:
    return host.call(host.endpoint.delete, sa)


WISHES: list[Wish] = [rekey_child, rekey_ike, delete_child, delete_ike]


def wish_if_possible(wish: Wish, host: Host, sa: SaId) -> bool:
    """Make a wish, unless what it is about is gone already or there are two of it."""
    if sa not in host.endpoint.sas or len(host.endpoint.sa(sa).children) != 1:
        return False
    wish(host, sa)
    return True


def assert_same(pair: Pair, mine: SaId, theirs: SaId) -> None:
    """Both sides have the same, and every wish has come to an end."""
    up = mine in pair.initiator.endpoint.sas
    assert up is (theirs in pair.responder.endpoint.sas)
    if up:
        ours, peers = pair.initiator.endpoint.sa(mine), pair.responder.endpoint.sa(theirs)
        assert ours.export_keys() == peers.export_keys()
        assert ours.replaced_spis == peers.replaced_spis == ()
        assert [(each.spi_in, each.spi_out) for each in ours.children] == [
            (each.spi_out, each.spi_in) for each in peers.children
        ]
    for host in (pair.initiator, pair.responder):
        assert host.of(InternalError) == []
        made = {event.child for event in host.of(ChildSaEstablished)}
        closed = [event.child for event in host.of(ChildSaClosed)]
        assert len(closed) == len(set(closed)), "each is closed once"
        left = {child.id for sa in host.endpoint.sas for child in host.endpoint.sa(sa).children}
        assert made - set(closed) == left


@pytest.mark.requirement(
    "IKE-035", "IKE-226", "IKE-227", "IKE-228", "IKE-229", "IKE-230", "IKE-231", "IKE-232", "IKE-233"
)
@pytest.mark.parametrize("loss", [0.0, 0.3])
@pytest.mark.parametrize(("first", "second"), list(product(WISHES, WISHES)))
def test_whatever_meets_both_sides_end_alike(first: Wish, second: Wish, loss: float) -> None:
    for steps, reverse in product((0.0, 0.5, 1.5, 2.5, 3.5), (False, True)):
        pair = Pair(udp=Udp(delay=LATENCY), seed=int(10 * steps) + reverse)
        mine, theirs = pair.establish()
        pair.run_for(1.0)
        pair.network.udp = Udp(delay=LATENCY, loss=loss)
        sides = [(pair.initiator, mine), (pair.responder, theirs)]
        (one, one_sa), (other, other_sa) = reversed(sides) if reverse else sides
        wishes = 1
        first(one, one_sa)
        pair.run_for(steps * LATENCY)
        wishes += wish_if_possible(second, other, other_sa)
        pair.run_for(600.0)
        assert_same(pair, mine, theirs)
        done = [*one.of(RequestCompleted, RequestFailed), *other.of(RequestCompleted, RequestFailed)]
        assert len(done) == wishes
        if delete_ike in (first, second) and wishes == 2:
            assert mine not in pair.initiator.endpoint.sas


@pytest.mark.requirement("IKE-032", "IKE-228")
@pytest.mark.parametrize("wishes", [(rekey_child, delete_child), (delete_child, rekey_child)])
def test_a_rekey_and_a_delete_of_one_child_by_one_side(wishes: tuple[Wish, Wish]) -> None:
    """Whoever wishes a Child SA away means what has taken its place as well."""
    pair = Pair()
    mine, theirs = pair.establish()
    for wish in wishes:
        wish(pair.initiator, mine)
    pair.run_for(60.0)
    assert pair.initiator.endpoint.sa(mine).children == pair.responder.endpoint.sa(theirs).children == ()
    assert_same(pair, mine, theirs)


# --- several SPIs in one Delete, and halves -------------------------------------------------------------------------


def up_with(children: int) -> tuple[Rig, Puppet, SaId, list[bytes]]:
    """An SA with so many Child SAs; returns the peer's SPIs of them."""
    rig = Rig()
    puppet = Puppet(rig)
    sa = puppet.establish()
    spis = [puppet.spi_in]
    for number in range(1, children):
        spis.append(bytes([9, 9, 9, number]))
        puppet.request(Exchange.CREATE_CHILD_SA, offer(puppet, spis[-1]))
    return rig, puppet, sa, spis


@pytest.mark.requirement("IKE-034", "IKE-032", "IKE-227")
def test_one_delete_of_several_spis() -> None:
    rig, puppet, sa, spis = up_with(4)
    ours = {child.spi_out: child.spi_in for child in rig.endpoint.sa(sa).children}
    unknown = b"none"
    payloads: list[Payload] = [
        Delete(Protocol.ESP, (spis[2], unknown, spis[0], spis[2])),
        Delete(Protocol.ESP, (spis[3],)),
        Delete(Protocol.AH, (spis[1],)),
    ]
    (answer,) = puppet.request(Exchange.INFORMATIONAL, payloads)
    assert isinstance(answer, Delete)
    assert sorted(answer.spis) == sorted(ours[each] for each in (spis[0], spis[2], spis[3]))
    assert [child.spi_out for child in rig.endpoint.sa(sa).children] == [spis[1]]
    assert len(rig.of(ChildSaClosed)) == 3


@pytest.mark.requirement("IKE-032", "IKE-037")
@pytest.mark.parametrize("answered", [(), (b"none",), (b"none", b"more")])
def test_a_pair_of_which_the_peer_names_no_half_is_closed_whole(answered: tuple[bytes, ...]) -> None:
    rig, puppet, sa, _ = up_with(2)
    child = rig.endpoint.sa(sa).children[0]
    rig.endpoint.delete(sa, child=child.id, now=rig.now)
    rig.drain()
    header, _ = puppet.requests()[-1]
    contents = [Delete(Protocol.ESP, answered)] if answered else []
    puppet.give(puppet.seal(Exchange.INFORMATIONAL, contents, message_id=header.message_id, response=True))
    assert rig.one(ChildSaClosed).child == child.id
    assert len(rig.endpoint.sa(sa).children) == 1


@pytest.mark.requirement("IKE-033", "IKE-081")
def test_a_delete_names_our_inbound_spis_only() -> None:
    pair = Pair()
    mine, _ = pair.establish()
    pair.run_for(1.0)
    insider = Insider(pair.initiator)
    (child,) = pair.initiator.endpoint.sa(mine).children
    start = len(pair.network.wire)
    pair.initiator.call(pair.initiator.endpoint.rekey, mine, child=child.id)
    pair.run_for(1.0)
    said = [insider.open(packet.data)[1] for packet in pair.network.wire[start:]]
    assert [Delete(Protocol.ESP, (child.spi_in,))] in said


# --- the end of everything ------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-082")
@pytest.mark.parametrize("loss", [0.0, 0.3, 1.0])
def test_a_shutdown_in_the_middle_of_everything(loss: float) -> None:
    """Half-open SAs, rekeys, replaced SPIs, crossing Deletes: all is over within the time that a Delete has."""
    pair = Pair(udp=Udp(delay=LATENCY), seed=5)
    sas = [pair.establish() for _ in range(12)]
    pair.run_for(1.0)
    for number, (mine, theirs) in enumerate(sas):
        WISHES[number % 4](pair.initiator, mine)
        if number % 3:
            wish_if_possible(WISHES[number // 4], pair.responder, theirs)
    half_open = [pair.initiate() for _ in range(4)]
    pair.run_for(1.5 * LATENCY)
    pair.network.udp = Udp(delay=LATENCY, loss=loss)
    for host in (pair.initiator, pair.responder):
        host.call(host.endpoint.shutdown)
    pair.run_for(21.0)
    assert not set(half_open) & set(pair.initiator.endpoint.sas)
    assert_nothing_left(pair)
    for host in (pair.initiator, pair.responder):
        assert len({event.sa for event in host.of(IkeSaClosed)}) == len(host.of(IkeSaClosed)) >= 12
