"""Attacks of an authenticated peer on what an SA does in its life: rekeys, Deletes, moves, and SAs side by side."""

from __future__ import annotations

import pytest

from ikecore.addressing import Lease
from ikecore.config import ChildConfig
from ikecore.errors import LocalProtocolError
from ikecore.events import (
    ChildSaClosed,
    ChildSaEstablished,
    IkeSaClosed,
    IkeSaReauthenticated,
    RequestCompleted,
    RequestFailed,
    Role,
    SuccessorBegun,
)
from ikecore.lifetimes import Lifetimes
from ikecore.limits import Limits
from ikecore.outputs import SaId
from ikecore.questions import LeaseNeeded
from ikecore.sa.selectors import host_selector, intersect, parse_selector
from ikecore.testing import Insider, Pair, psk_connection
from ikecore.wire import (
    Configuration,
    ConfigurationAttribute,
    Delete,
    Header,
    KeyExchange,
    Notification,
    Payload,
    TrafficSelector,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
)
from ikecore.wire.numbers import CfgAttribute, CfgType, Exchange, Ke, Notify
from tests.rig import HERE, Puppet, Rig, notifications
from tests.sa import test_create_child_sa as child
from tests.sa import test_rekey_ike_sa as ike
from tests.scenarios.test_reauthentication import side

CHILD, INFO = Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL
WINDOW = Notification(Notify.SET_WINDOW_SIZE, b"\0\0\0\4")


def up(limits: Limits, *children: ChildConfig, role: Role = "responder") -> tuple[Rig, Puppet, SaId]:
    rig, puppet, sa = child.up(role, limits=limits, children=children or child.with_groups(Ke.CURVE25519, Ke.ECP_256))
    return rig, puppet, sa


def fill(rig: Rig, sa: SaId, count: int) -> None:
    """Let the application wish for as much as may wait."""
    for _ in range(count):
        rig.endpoint.check_liveness(sa, now=rig.now)
    with pytest.raises(LocalProtocolError, match="requests are waiting already"):
        rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()


# --- what an exchange leaves to be done -------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-107", "IKE-142")
@pytest.mark.parametrize("spi", [b"good", b"\0\0\0\1"])
def test_the_answer_to_a_rekey_comes_while_as_much_waits_as_may(spi: bytes) -> None:
    """B6: what has to be deleted then is deleted, however many wishes of the application wait before it."""
    rig, puppet, sa = up(Limits(queued_requests=2))
    before = rig.one(ChildSaEstablished)
    rig.endpoint.rekey(sa, child=before.child, now=rig.now)
    message_id, request = child.asked(rig, puppet)
    fill(rig, sa, 2)
    exchange = KeyExchange(puppet.agreement.group, puppet.agreement.public)
    child.reply(puppet, message_id, child.grant(request, spi, exchange))
    for _ in range(2):
        message_id, request = child.asked(rig, puppet)
        assert request == []
        child.reply(puppet, message_id, [], INFO)
    message_id, (delete,) = child.asked(rig, puppet)
    assert isinstance(delete, Delete)
    assert (delete.spis == (before.spi_in,)) is (spi == b"good")
    child.reply(puppet, message_id, [], INFO)
    assert bool(rig.of(ChildSaClosed)) is (spi == b"good")
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-106", "IKE-231")
@pytest.mark.parametrize("notify", [Notify.INVALID_KE_PAYLOAD, Notify.CHILD_SA_NOT_FOUND])
def test_a_refusal_after_which_we_would_begin_anew_while_we_close(notify: Notify) -> None:
    """With a window above 1 our Delete overtakes our rekey. What the peer then makes us begin again is given up."""
    rig, puppet, sa = up(Limits(queued_requests=4))
    puppet.request(INFO, [WINDOW])
    wish = rig.endpoint.rekey(sa, child=rig.one(ChildSaEstablished).child, now=rig.now)
    message_id, _ = child.asked(rig, puppet)
    last = rig.endpoint.delete(sa, now=rig.now)
    rig.drain()
    refusal = Notification(notify, Ke.ECP_256.to_bytes(2, "big") if notify == Notify.INVALID_KE_PAYLOAD else b"")
    child.reply(puppet, message_id, [refusal])
    (failed,) = rig.of(RequestFailed)
    assert failed.request == wish
    child.reply(puppet, message_id + 1, [], INFO)
    assert rig.one(RequestCompleted).request == last
    assert rig.one(IkeSaClosed).by == "us"


@pytest.mark.requirement("IKE-107", "IKE-133")
def test_a_peer_that_rekeys_and_answers_nothing_on_the_old_spis_does_not_hold_up_what_waits() -> None:
    """B16: what waited goes out by the new SPIs at once, and what is unanswered on the old ones ends with them."""
    rig, puppet, sa = ike.up("responder", limits=Limits(queued_requests=1))
    rig.endpoint.check_liveness(sa, now=rig.now)
    wish = rig.endpoint.create_child(sa, now=rig.now)
    rig.drain()
    ours = ike.rekey(puppet)
    answer, _ = puppet.give(puppet.seal(CHILD, ours))
    ike.move(puppet, ours, puppet.open(answer)[1], we_initiated=True)
    ((header, _),) = ike.safe_requests(puppet)
    assert header.exchange == CHILD
    child.reply(puppet, header.message_id, [Notification(Notify.NO_PROPOSAL_CHOSEN)])
    assert rig.one(RequestFailed).request == wish
    rig.run_for(225.0)
    rig.one(RequestCompleted)  # the peer is there: it has rekeyed
    assert rig.endpoint.sa(sa).replaced_spis == ()


@pytest.mark.requirement("IKE-073")
def test_no_room_to_ask_a_silent_peer_whether_it_is_there() -> None:
    """B7: what cannot even be sent has no keys yet."""
    connection = psk_connection("responder", dpd_delay=10.0)
    rig = Rig(connection, limits=Limits(queued_requests=0))
    Puppet(rig).establish()
    rig.run_for(60.0)
    assert rig.endpoint.sas


# --- a peer that moves ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-314", "IKE-215")
@pytest.mark.parametrize("mode", ["tunnel", "transport"])
def test_a_forged_source_does_not_get_the_traffic_of_somebody_else(mode: str) -> None:
    """B8: a peer with keys may write any source address. It would have what we send to that host sent to itself."""
    config = ChildConfig(mode=mode, lifetimes=Lifetimes())  # type: ignore[arg-type]
    rig, puppet, _ = up(Limits(unknown_spi_per_second=0), config)
    victim = ("10.0.0.99", 500)
    asked: list[Payload] = [
        *child.offer(puppet, b"mine")[:2],
        TrafficSelectorsInitiator((host_selector(victim[0]),)),
        TrafficSelectorsResponder((host_selector(HERE[0]),)),
        Notification(Notify.USE_TRANSPORT_MODE),
    ]
    request = puppet.seal(CHILD, asked)
    rig.datagram(request, remote=victim)
    rig.run_for(1.0)
    (answer,) = puppet.give(request)
    assert notifications(puppet.open(answer)[1]) == [Notify.TS_UNACCEPTABLE]
    assert rig.one(ChildSaEstablished).remote_ts == (puppet.address[0],)


# --- SAs side by side -------------------------------------------------------------------------------------------------


def side_by_side(count: int) -> tuple[Rig, list[Puppet]]:
    """One peer sets up *count* SAs after another, where one is to take the place of the other."""
    rig = Rig(psk_connection("responder", unique="replace"))
    puppets = [Puppet(rig, seed=10 + number, address=("10.0.0.1", 2000 + number)) for number in range(count)]
    for puppet in puppets:
        puppet.establish()
        rig.run_for(1.0)
    return rig, puppets


@pytest.mark.requirement("IKE-069")
def test_a_rekey_does_not_keep_an_sa_that_another_has_replaced() -> None:
    """B14: the peer was let carry over what it had, for a while; no rekey makes that while a new life."""
    rig, (puppet, _) = side_by_side(2)
    old, new = rig.endpoint.sas
    ours = ike.rekey(puppet)
    ike.move(puppet, ours, puppet.request(CHILD, ours), we_initiated=True)
    rig.run_for(Limits().rekeyed_lifetime + Limits().delete_timeout)
    assert rig.endpoint.sas == (new,)
    assert old != new


@pytest.mark.requirement("IKE-069")
def test_a_peer_that_sets_up_one_sa_after_another_keeps_the_last_two() -> None:
    rig, _ = side_by_side(10)
    rig.run_for(Limits().delete_timeout)
    assert len(rig.endpoint.sas) == 2


@pytest.mark.requirement("IKE-222")
def test_a_successor_that_the_peer_lets_do_nothing_does_not_take_the_place_of_what_works() -> None:
    """B16: the new SA ends, as the peer says TEMPORARY_FAILURE for too long; the old one with its traffic stays."""
    pair = Pair(side("initiator", Lifetimes(reauth_time=3600.0, over_time=3600.0), 2), side("responder", children=2))
    old, _ = pair.establish()
    pair.initiator.call(pair.initiator.endpoint.create_child, old, "net-1")
    pair.run_for(10.0)

    def refused(header: Header, payloads: list[Payload]) -> list[Payload]:
        answer = header.exchange == CHILD and header.is_response
        return [Notification(Notify.TEMPORARY_FAILURE)] if answer else payloads

    Insider(pair.responder).rewrite(refused)
    while not pair.initiator.of(IkeSaClosed) and pair.now < 5000.0:
        pair.run_for(10.0)
    (closed,) = pair.initiator.of(IkeSaClosed)
    assert closed.sa == pair.initiator.one(SuccessorBegun).successor
    assert "TEMPORARY_FAILURE" in closed.reason
    assert len(pair.initiator.endpoint.sa(old).children) == 2
    assert pair.initiator.of(IkeSaReauthenticated) == []
    assert pair.initiator.endpoint.sa(old).state == "established"


@pytest.mark.requirement("IKE-063")
@pytest.mark.parametrize("window", [1, 4])
def test_a_peer_has_no_more_questions_open_than_its_window_is_wide(window: int) -> None:
    """B14: what the application has not answered is unanswered; else one peer could use up the questions of all."""
    rig = Rig(psk_connection("responder", ask_lease=True), limits=Limits(window=window))
    puppet = Puppet(rig)
    puppet.establish()
    wanted = (ConfigurationAttribute(CfgAttribute.INTERNAL_IP4_ADDRESS, b""),)
    asked: list[Payload] = [Configuration(CfgType.CFG_REQUEST, wanted)]
    requests = [puppet.seal(INFO, asked, message_id=puppet.next_id + number) for number in range(20)]
    for request in requests:
        puppet.give(request)
    first, *others = rig.of(LeaseNeeded)
    assert len(others) == window - 1
    rig.endpoint.answer(first.question, Lease(addresses=["10.9.0.1"]), now=rig.now)
    rig.drain()
    puppet.give(requests[window])
    for each in others:
        rig.endpoint.answer(each.question, None, now=rig.now)
    rig.drain()
    assert len({data[20:24] for data in puppet.taken(rig.outputs) if data[18] == INFO}) == window + 1


# --- what a message costs ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-140")
def test_the_longest_lists_of_selectors_do_not_meet_every_rule_of_every_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """B4: some 8 kB of a peer are 255 selectors twice; only those that are near a rule are compared with it."""
    met: list[object] = []

    def counted(one: TrafficSelector, other: TrafficSelector) -> TrafficSelector | None:
        met.append(one)
        return intersect(one, other)

    monkeypatch.setattr("ikecore.sa.selectors.intersect", counted)
    children = [
        ChildConfig(
            name=str(number),
            local_ts=tuple(parse_selector(f"10.{number}.{each}.0/24") for each in range(16)),
            remote_ts=tuple(parse_selector(f"10.{100 + number}.{each}.0/24") for each in range(16)),
        )
        for number in range(32)
    ]
    _, puppet, _ = up(Limits(), *children)
    met.clear()
    far = tuple(host_selector(f"192.0.2.{number}") for number in range(255))
    asked = [*child.offer(puppet, b"mine")[:2], TrafficSelectorsInitiator(far), TrafficSelectorsResponder(far)]
    assert notifications(puppet.request(CHILD, asked)) == [Notify.TS_UNACCEPTABLE]
    assert len(met) < 255
