"""Windows larger than one, in both directions (RFC 7296 section 2.3): any order of arrival, and nothing twice."""

from __future__ import annotations

import itertools

import pytest

from ikecore.events import RequestCompleted
from ikecore.limits import Limits
from ikecore.testing import Pair
from ikecore.wire import Notification
from ikecore.wire.notify_data import decode_window_size, encode_window_size
from ikecore.wire.numbers import Exchange, Notify
from tests.rig import Puppet, Rig

INFO = Exchange.INFORMATIONAL


def up(limits: Limits) -> tuple[Rig, Puppet]:
    rig = Rig(limits=limits)
    puppet = Puppet(rig)
    puppet.begin()
    told = [each for each in puppet.authenticate() if isinstance(each, Notification)]
    sizes = [decode_window_size(each.data) for each in told if each.notify_type == Notify.SET_WINDOW_SIZE]
    assert sizes == ([limits.window] if limits.window > 1 else [])
    return rig, puppet


@pytest.mark.requirement("IKE-059", "IKE-064", "IKE-065")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_requests_inside_the_window_are_answered_in_any_order(order: tuple[int, ...]) -> None:
    rig, puppet = up(Limits(window=3, response_resends_per_second=1000.0))
    first = puppet.next_id
    messages = [puppet.seal(INFO, message_id=first + number) for number in range(5)]
    answers = {}
    for number in order:
        if 0 not in answers:
            assert puppet.give(messages[3]) == [], "beyond the window, whatever has come out of order"
        (answers[number],) = puppet.give(messages[number])
        rig.now += 1.0
        assert puppet.give(messages[number]) == [answers[number]], "a repeat gets the very same answer"
    for number in order:
        rig.now += 1.0
        assert puppet.give(messages[number]) == [answers[number]], "kept as long as it can be repeated"
    rig.now += 1.0
    assert len(puppet.give(messages[3])) == 1
    assert puppet.give(messages[0]) == [], "out of the window: the peer had its answer"


@pytest.mark.requirement("IKE-060", "IKE-061")
def test_without_a_word_the_window_is_one() -> None:
    _, puppet = up(Limits())
    first = puppet.next_id
    assert puppet.give(puppet.seal(INFO, message_id=first + 1)) == []
    assert len(puppet.give(puppet.seal(INFO, message_id=first))) == 1


@pytest.mark.requirement("IKE-059", "IKE-063")
def test_ours_is_bounded_however_large_the_peers_is() -> None:
    rig, puppet = up(Limits(requests_in_flight=2))
    puppet.request(INFO, [Notification(Notify.SET_WINDOW_SIZE, encode_window_size(1000))])
    (sa,) = rig.endpoint.sas
    for _ in range(5):
        rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert len(puppet.requests()) == 2


@pytest.mark.requirement("IKE-063")
def test_a_hole_holds_the_window_back() -> None:
    """Request X waits until all up to X - size are answered, not only that many."""
    rig, puppet = up(Limits())
    puppet.request(INFO, [Notification(Notify.SET_WINDOW_SIZE, encode_window_size(2))])
    (sa,) = rig.endpoint.sas
    for _ in range(4):
        rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert [header.message_id for header, _ in puppet.requests()] == [0, 1]
    puppet.give(puppet.seal(INFO, message_id=1, response=True))
    assert [header.message_id for header, _ in puppet.requests()] == [0, 1]
    puppet.give(puppet.seal(INFO, message_id=0, response=True))
    assert [header.message_id for header, _ in puppet.requests()] == [0, 1, 2, 3]


@pytest.mark.requirement("IKE-027", "IKE-060")
def test_a_rekeyed_ike_sa_begins_with_one_and_is_told_anew() -> None:
    pair = Pair(limits=Limits(window=4))
    mine, theirs = pair.establish()
    endpoint = pair.initiator.endpoint
    pair.initiator.call(endpoint.rekey, mine)
    pair.run_for(5)
    for _ in range(6):
        pair.initiator.call(endpoint.check_liveness, mine)
        pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    pair.run_for(5)
    assert len(pair.initiator.of(RequestCompleted)) == 7
    assert len(pair.responder.of(RequestCompleted)) == 6
    told = [rung for rung in pair.rungs() if "N(SET_WINDOW_SIZE)" in rung.payloads]
    assert [rung.exchange for rung in told] == ["IKE_AUTH", "IKE_AUTH", "INFORMATIONAL"]


@pytest.mark.requirement("IKE-065")
@pytest.mark.parametrize("second", ["rekey", "delete"])
def test_two_exchanges_about_one_child_sa_come_one_after_the_other(second: str) -> None:
    """The peer could take a Delete before the rekey, which brings back what shall be gone."""
    rig, puppet = up(Limits())
    puppet.request(INFO, [Notification(Notify.SET_WINDOW_SIZE, encode_window_size(4))])
    (sa,) = rig.endpoint.sas
    child = rig.endpoint.sa(sa).children[0].id
    rig.endpoint.rekey(sa, child=child, now=rig.now)
    getattr(rig.endpoint, second)(sa, child=child, now=rig.now)
    rig.drain()
    assert len(puppet.requests()) == 1
    puppet.give(
        puppet.seal(Exchange.CREATE_CHILD_SA, [Notification(Notify.NO_PROPOSAL_CHOSEN)], message_id=0, response=True)
    )
    assert [header.exchange for header, _ in puppet.requests()] == [
        Exchange.CREATE_CHILD_SA,
        Exchange.CREATE_CHILD_SA if second == "rekey" else INFO,
    ]
