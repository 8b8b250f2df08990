"""INFORMATIONAL: liveness, Delete in every crossing, and word of a failure (RFC 7296 sections 1.4 and 2.4)."""

from __future__ import annotations

from typing import Literal

import pytest

import ikecore.sa.window
from ikecore.errors import InvalidSyntax, LocalProtocolError, PeerUnreachable, SaClosed, UnsupportedCriticalPayload
from ikecore.events import (
    ChildSaClosed,
    ChildSaEstablished,
    IkeSaClosed,
    RequestCompleted,
    RequestFailed,
)
from ikecore.limits import Limits
from ikecore.outputs import ChildId, SaId, SendDatagram
from ikecore.wire import Configuration, ConfigurationAttribute, Delete, Notification, Payload, UnknownPayload, VendorId
from ikecore.wire.notify_data import encode_window_size
from ikecore.wire.numbers import CfgType, Exchange, Notify, Protocol
from tests.rig import Puppet, Rig

INFO = Exchange.INFORMATIONAL
Role = Literal["initiator", "responder"]
ROLES = pytest.mark.parametrize("role", ["initiator", "responder"])
"""The role of the puppet."""


def up(role: Role = "initiator", limits: Limits | None = None) -> tuple[Rig, Puppet, SaId]:
    rig = Rig(limits=limits)
    puppet = Puppet(rig, role)
    sa = puppet.establish()
    return rig, puppet, sa


def child_of(rig: Rig) -> ChildSaEstablished:
    return rig.one(ChildSaEstablished)


def our_request(rig: Rig, puppet: Puppet) -> tuple[int, list[Payload]]:
    """The Message ID and payloads of the endpoint's latest INFORMATIONAL request."""
    header, payloads = [each for each in puppet.requests() if each[0].exchange == INFO][-1]
    return header.message_id, payloads


def reply(puppet: Puppet, message_id: int, payloads: list[Payload] | None = None) -> list[bytes]:
    return puppet.give(puppet.seal(INFO, payloads or [], message_id=message_id, response=True))


# --- the peer asks --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-031", "IKE-308", "IKE-280", "IKE-029", "IKE-087", "IKE-306", "IKE-203")
@pytest.mark.parametrize(
    "payloads",
    [
        [],
        [Notification(Notify.INITIAL_CONTACT)],
        [Notification(9999), Notification(50000, b"x")],
        [VendorId(b"x"), UnknownPayload(201, False, b"y")],
        [Configuration(CfgType.CFG_REPLY, (ConfigurationAttribute(7, b""),))],
        [Notification(Notify.INVALID_SPI, b"\0\0\1\2")],
    ],
)
@ROLES
def test_whatever_it_says_a_request_is_answered(role: Role, payloads: list[Payload]) -> None:
    rig, puppet, sa = up(role)
    assert puppet.request(INFO, payloads) == []
    assert rig.endpoint.sa(sa).state == "established"


@pytest.mark.requirement("IKE-036", "IKE-187", "IKE-032")
@ROLES
def test_a_delete_of_the_ike_sa_gets_an_empty_answer_and_all_goes(role: Role) -> None:
    rig, puppet, _ = up(role)
    assert puppet.request(INFO, [Delete(Protocol.IKE)]) == []
    child, closed = rig.one(ChildSaClosed), rig.one(IkeSaClosed)
    assert (child.by, closed.by) == ("peer", "peer")
    assert rig.outputs.index(child) < rig.outputs.index(closed)
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-034", "IKE-032", "IKE-282")
@ROLES
def test_a_delete_of_a_child_gets_our_half(role: Role) -> None:
    rig, puppet, sa = up(role)
    child = child_of(rig)
    assert puppet.request(INFO, [Delete(Protocol.ESP, (puppet.spi_in,))]) == [Delete(Protocol.ESP, (child.spi_in,))]
    closed = rig.one(ChildSaClosed)
    assert (closed.child, closed.by) == (child.child, "peer")
    assert rig.endpoint.sa(sa).children == ()
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-227", "IKE-034")
def test_a_delete_of_what_we_do_not_have_is_answered_without_one() -> None:
    rig, puppet, _ = up()
    assert puppet.request(INFO, [Delete(Protocol.ESP, (b"none",))]) == []
    assert puppet.request(INFO, [Delete(Protocol.AH, (b"none",))]) == []
    assert puppet.request(INFO, [Delete(Protocol.ESP, (child_of(rig).spi_in,))]) == []
    assert rig.of(ChildSaClosed) == []
    puppet.request(INFO, [Delete(Protocol.ESP, (puppet.spi_in,))])
    assert puppet.request(INFO, [Delete(Protocol.ESP, (puppet.spi_in,))]) == []
    rig.one(ChildSaClosed)


def test_a_delete_for_another_protocol_does_not_meet_an_esp_sa() -> None:
    rig, puppet, _ = up()
    assert puppet.request(INFO, [Delete(Protocol.AH, (puppet.spi_in,))]) == []
    assert rig.of(ChildSaClosed) == []


@pytest.mark.requirement("IKE-227")
def test_a_child_named_several_times_is_closed_once() -> None:
    rig, puppet, _ = up()
    twice = Delete(Protocol.ESP, (puppet.spi_in, puppet.spi_in))
    assert puppet.request(INFO, [twice, twice]) == [Delete(Protocol.ESP, (child_of(rig).spi_in,))]
    rig.one(ChildSaClosed)


@pytest.mark.requirement("IKE-066", "IKE-067", "IKE-061")
@pytest.mark.parametrize("size", [0, 1, 2, 3, 16])
def test_a_window_of_the_peer_is_used_and_no_more(size: int) -> None:
    rig, puppet, sa = up()
    assert puppet.request(INFO, [Notification(Notify.SET_WINDOW_SIZE, encode_window_size(size))]) == []
    for _ in range(4):
        rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert len([each for each in puppet.requests() if each[0].exchange == INFO]) == min(max(size, 1), 4)
    for message_id in range(4):
        reply(puppet, message_id)
    assert len(rig.of(RequestCompleted)) == 4


# --- we ask -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-074", "IKE-029", "IKE-057")
@ROLES
def test_liveness(role: Role) -> None:
    rig, puppet, sa = up(role)
    wish = rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    message_id, payloads = our_request(rig, puppet)
    assert payloads == []
    assert rig.of(RequestCompleted) == []
    reply(puppet, message_id)
    done = rig.one(RequestCompleted)
    assert (done.request, done.what, done.sa) == (wish, "INFORMATIONAL", sa)


@pytest.mark.requirement("IKE-050", "IKE-051", "IKE-073", "IKE-054", "IKE-082")
def test_a_peer_that_never_answers_is_gone() -> None:
    rig, puppet, sa = up(limits=Limits(retransmit_tries=5))
    wish = rig.endpoint.check_liveness(sa, now=rig.now)
    new = rig.run_for(600.0)
    assert len(puppet.taken(new)) == 5
    assert len(set(puppet.taken(new))) == 1
    closed, failed = rig.one(IkeSaClosed), rig.one(RequestFailed)
    assert closed.by == "silence"
    assert failed.request == wish
    assert isinstance(failed.error, PeerUnreachable)
    assert rig.one(ChildSaClosed).by == "silence"
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-061", "IKE-063", "IKE-047")
def test_requests_wait_for_one_another() -> None:
    rig, puppet, sa = up()
    wishes = [rig.endpoint.check_liveness(sa, now=rig.now) for _ in range(3)]
    rig.drain()
    done: list[int] = []
    for expected in range(3):
        message_id, _ = our_request(rig, puppet)
        assert message_id == expected
        assert len([each for each in puppet.requests() if each[0].exchange == INFO]) == expected + 1
        reply(puppet, message_id)
        done = [each.request for each in rig.of(RequestCompleted)]
    assert done == wishes


@pytest.mark.requirement("IKE-062")
@ROLES
def test_the_peer_may_ask_while_we_wait(role: Role) -> None:
    rig, puppet, sa = up(role)
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert puppet.request(INFO) == []
    message_id, _ = our_request(rig, puppet)
    reply(puppet, message_id)
    rig.one(RequestCompleted)


def test_waiting_requests_are_bounded() -> None:
    rig, _, sa = up(limits=Limits(queued_requests=3))
    for _ in range(4):
        rig.endpoint.check_liveness(sa, now=rig.now)
    with pytest.raises(LocalProtocolError, match="3 requests are waiting already"):
        rig.endpoint.check_liveness(sa, now=rig.now)
    assert len([each for each in rig.drain() if isinstance(each, SendDatagram)]) == 1


@pytest.mark.requirement("IKE-082", "IKE-036", "IKE-033")
@ROLES
def test_our_delete_of_the_ike_sa(role: Role) -> None:
    rig, puppet, sa = up(role)
    wish = rig.endpoint.delete(sa, now=rig.now)
    rig.drain()
    message_id, payloads = our_request(rig, puppet)
    assert payloads == [Delete(Protocol.IKE, ())]
    assert rig.endpoint.sa(sa).state == "deleting"
    assert rig.of(IkeSaClosed) == []
    reply(puppet, message_id)
    assert rig.one(RequestCompleted).request == wish
    assert rig.one(IkeSaClosed).by == "us"
    assert rig.one(ChildSaClosed).by == "us"
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-082", "IKE-050")
def test_our_delete_ends_the_sa_also_without_an_answer() -> None:
    rig, _, sa = up(limits=Limits(delete_timeout=5.0))
    wish = rig.endpoint.delete(sa, now=rig.now)
    rig.run_for(4.9)
    assert rig.of(IkeSaClosed) == []
    rig.run_for(0.2)
    rig.one(IkeSaClosed)
    assert rig.one(RequestCompleted).request == wish
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-081", "IKE-033", "IKE-034", "IKE-282")
@ROLES
def test_our_delete_of_a_child(role: Role) -> None:
    rig, puppet, sa = up(role)
    child = child_of(rig)
    wish = rig.endpoint.delete(sa, child=child.child, now=rig.now)
    rig.drain()
    message_id, payloads = our_request(rig, puppet)
    assert payloads == [Delete(Protocol.ESP, (child.spi_in,))]
    reply(puppet, message_id, [Delete(Protocol.ESP, (puppet.spi_in,))])
    assert rig.one(RequestCompleted).request == wish
    closed = rig.one(ChildSaClosed)
    assert (closed.spi_in, closed.spi_out, closed.by) == (child.spi_in, child.spi_out, "us")
    assert rig.endpoint.sa(sa).state == "established"


# --- crossings (B16) ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-035", "IKE-227")
@ROLES
def test_deletes_of_one_child_that_cross(role: Role) -> None:
    rig, puppet, sa = up(role)
    child = child_of(rig)
    wish = rig.endpoint.delete(sa, child=child.child, now=rig.now)
    rig.drain()
    message_id, _ = our_request(rig, puppet)
    assert puppet.request(INFO, [Delete(Protocol.ESP, (puppet.spi_in,))]) == []
    rig.one(ChildSaClosed)
    reply(puppet, message_id)
    assert rig.one(RequestCompleted).request == wish
    rig.one(ChildSaClosed)
    assert rig.endpoint.sa(sa).state == "established"


@pytest.mark.requirement("IKE-232", "IKE-036")
@ROLES
def test_deletes_of_the_ike_sa_that_cross(role: Role) -> None:
    rig, puppet, sa = up(role)
    wish = rig.endpoint.delete(sa, now=rig.now)
    rig.drain()
    message_id, _ = our_request(rig, puppet)
    assert puppet.request(INFO, [Delete(Protocol.IKE)]) == []
    assert rig.one(RequestCompleted).request == wish
    rig.one(IkeSaClosed)
    assert rig.endpoint.idle
    assert reply(puppet, message_id) == []
    rig.one(IkeSaClosed)


@pytest.mark.requirement("IKE-232")
def test_a_delete_by_the_peer_ends_every_wish() -> None:
    rig, puppet, sa = up()
    wishes = [rig.endpoint.check_liveness(sa, now=rig.now) for _ in range(3)]
    rig.drain()
    puppet.request(INFO, [Delete(Protocol.IKE)])
    failed = rig.of(RequestFailed)
    assert [each.request for each in failed] == wishes
    assert {(type(each.error), str(each.error)) for each in failed} == {(SaClosed, "the peer deleted it")}
    assert len(rig.of(IkeSaClosed)) == 1


def test_deleting_twice_is_one_delete_and_two_wishes_fulfilled() -> None:
    rig, puppet, sa = up()
    wishes = [rig.endpoint.delete(sa, now=rig.now) for _ in range(3)]
    rig.endpoint.shutdown(now=rig.now)
    rig.drain()
    assert len([each for each in puppet.requests() if each[0].exchange == INFO]) == 1
    reply(puppet, our_request(rig, puppet)[0])
    assert [each.request for each in rig.of(RequestCompleted)] == wishes
    rig.one(IkeSaClosed)


def test_deleting_one_child_twice_fulfils_both_wishes() -> None:
    rig, puppet, sa = up()
    child = child_of(rig).child
    wishes = [rig.endpoint.delete(sa, child=child, now=rig.now) for _ in range(2)]
    rig.drain()
    for _ in range(2):
        reply(puppet, our_request(rig, puppet)[0])
    assert [each.request for each in rig.of(RequestCompleted)] == wishes
    rig.one(ChildSaClosed)


def test_a_wish_behind_a_delete_fails_with_the_sa() -> None:
    rig, puppet, sa = up()
    rig.endpoint.check_liveness(sa, now=rig.now)
    deletion = rig.endpoint.delete(sa, now=rig.now)
    behind = rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    reply(puppet, our_request(rig, puppet)[0])
    reply(puppet, our_request(rig, puppet)[0])
    assert deletion in [each.request for each in rig.of(RequestCompleted)]
    failed = rig.one(RequestFailed)
    assert (failed.request, type(failed.error), str(failed.error)) == (behind, SaClosed, "we deleted it")


def test_a_wish_behind_a_delete_that_nobody_answers() -> None:
    rig, _, sa = up()
    deletion = rig.endpoint.delete(sa, now=rig.now)
    behind = rig.endpoint.check_liveness(sa, now=rig.now)
    rig.run_for(Limits().delete_timeout + 1.0)
    assert rig.one(RequestCompleted).request == deletion
    failed = rig.one(RequestFailed)
    assert (failed.request, type(failed.error)) == (behind, PeerUnreachable)


def test_giving_up_sends_one_delete_and_waits_for_nothing() -> None:
    rig, puppet, sa = up()
    wish = rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    rig.endpoint.abandon(sa, now=rig.now)
    rig.drain()
    assert our_request(rig, puppet)[1] == [Delete(Protocol.IKE, ())]
    assert rig.one(IkeSaClosed).by == "us"
    assert rig.one(RequestFailed).request == wish
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


def test_giving_up_after_a_delete_sends_no_other() -> None:
    rig, puppet, sa = up()
    rig.endpoint.delete(sa, now=rig.now)
    rig.endpoint.abandon(sa, now=rig.now)
    rig.drain()
    assert len([each for each in puppet.requests() if each[0].exchange == INFO]) == 1
    rig.one(IkeSaClosed)
    rig.one(RequestCompleted)


def test_giving_up_or_deleting_what_is_being_set_up() -> None:
    rig = Rig()
    first, second = rig.initiate(), rig.initiate()
    rig.endpoint.abandon(first, now=rig.now)
    wish = rig.endpoint.delete(second, now=rig.now)
    rig.drain()
    assert rig.one(RequestCompleted).request == wish
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


# --- the last Message ID --------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-058")
def test_an_sa_ends_with_its_last_message_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ikecore.sa.window, "LAST_ID", 1)
    rig, puppet, sa = up()
    wishes = [rig.endpoint.check_liveness(sa, now=rig.now) for _ in range(3)]
    rig.drain()
    for message_id in (0, 1):
        reply(puppet, message_id)
    assert [each.request for each in rig.of(RequestCompleted)] == wishes[:2]
    assert rig.one(RequestFailed).request == wishes[2]
    assert "all its Message IDs" in rig.one(IkeSaClosed).reason
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-058")
def test_without_a_message_id_nothing_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ikecore.sa.window, "LAST_ID", 0)
    rig, puppet, sa = up()
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    reply(puppet, 0)
    sent = len(rig.of(SendDatagram))
    rig.endpoint.abandon(sa, now=rig.now)
    rig.drain()
    assert len(rig.of(SendDatagram)) == sent
    rig.one(IkeSaClosed)


# --- bad answers ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-090", "IKE-186", "IKE-197")
def test_a_critical_payload_unknown_in_an_answer_fails_the_exchange_only() -> None:
    rig, puppet, sa = up()
    wish = rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert puppet.give(puppet.seal_octets(INFO, 200, b"\0\x80\0\4", message_id=0, response=True)) == []
    failed = rig.one(RequestFailed)
    assert failed.request == wish
    assert isinstance(failed.error, UnsupportedCriticalPayload)
    assert rig.endpoint.sa(sa).state == "established"
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-198", "IKE-186", "IKE-187")
def test_a_malformed_answer_ends_the_sa_without_a_word() -> None:
    rig, puppet, sa = up()
    wish = rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert puppet.give(puppet.seal_octets(INFO, 41, b"\0\0\0\3", message_id=0, response=True)) == []
    assert isinstance(rig.one(RequestFailed).error, InvalidSyntax)
    assert rig.one(RequestFailed).request == wish
    assert rig.one(IkeSaClosed).by == "error"
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-198")
def test_a_malformed_answer_to_a_delete_ends_the_sa_too() -> None:
    rig, puppet, sa = up()
    rig.endpoint.delete(sa, now=rig.now)
    rig.drain()
    puppet.give(puppet.seal_octets(INFO, 41, b"\0\0\0\3", message_id=0, response=True))
    rig.one(IkeSaClosed)
    rig.one(RequestCompleted)
    assert rig.endpoint.idle


def test_wishes_for_what_is_not_there() -> None:
    rig, _, sa = up()
    before = rig.picture()
    with pytest.raises(LocalProtocolError, match=f"SA {sa} has no Child SA 99"):
        rig.endpoint.delete(sa, child=ChildId(99), now=rig.now)
    with pytest.raises(LocalProtocolError, match="no SA 99"):
        rig.endpoint.delete(SaId(99), now=rig.now)
    assert rig.picture() == before
