"""Connections and requests: who may say what on which, who closes when, and what is owed (the draft, section 2)."""

from __future__ import annotations

import attrs
import pytest

from ikecore.config import Transports
from ikecore.events import IkeSaClosed, IkeSaEstablished, IkeSaFailed, StreamChanged
from ikecore.limits import Limits
from ikecore.outputs import (
    CloseStream,
    HalfCloseStream,
    OpenStream,
    Output,
    ResetStream,
    SendDatagram,
    StreamId,
    WriteStream,
)
from ikecore.testing import psk_connection
from ikecore.transport import Policy, TcpOnly, WholeMission
from ikecore.wire import Delete, Notification, Payload, VendorId
from ikecore.wire.notify_data import encode_tcp_port
from ikecore.wire.numbers import IKE_TCP_SUPPORTED_DEFAULT, VENDOR_ID, Exchange, Notify, Protocol
from tests.rig import HERE, NAT_HERE, THERE, Puppet, Rig

AUTH, INFO = Exchange.IKE_AUTH, Exchange.INFORMATIONAL
OURS = (HERE[0], 45678)
"""The address of a connection that we open."""


def written(outputs: list[Output]) -> list[WriteStream]:
    return [each for each in outputs if isinstance(each, WriteStream)]


# --- accepted -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-21", "TCP-22", "TCP-25", "TCP-26", "TCP-64", "TCP-76", "TCP-31")
def test_each_request_is_answered_where_it_came_from() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.begin()
    puppet.connect()
    puppet.authenticate()
    assert len(rig.of(WriteStream)) == 1
    puppet.stream, puppet.address, puppet.local = None, THERE, HERE
    assert puppet.request(INFO) == []
    puppet.connect(40_001)
    assert puppet.request(INFO) == []
    assert len(rig.endpoint.sas) == 1


@pytest.mark.requirement("TCP-23", "TCP-24", "TCP-42", "TCP-43", "IKE-045")
def test_a_response_whose_connection_is_gone_waits_for_a_repeat() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.begin()
    message = puppet.seal(AUTH, puppet.auth())
    puppet.give(message)
    rig.endpoint.stream_lost(stream, "reset by peer", now=rig.now)
    rig.endpoint.answer(rig.last_question(), True, now=rig.now)
    new = rig.drain()
    assert [each for each in new if isinstance(each, WriteStream | SendDatagram)] == []
    rig.one(IkeSaEstablished)
    puppet.connect(40_001)
    (answer,) = puppet.give(message)
    puppet.stream, puppet.address, puppet.local = None, THERE, HERE
    assert puppet.give(message) == [answer]


@pytest.mark.requirement("TCP-37", "TCP-43", "IKE-046")
def test_a_repeat_on_another_connection_is_answered_there() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.connect()
    puppet.establish()
    message = puppet.seal(INFO)
    (first,) = puppet.give(message)
    puppet.connect(40_001)
    assert puppet.give(message) == [first]
    rig.run_for(1.0)
    assert len(rig.of(WriteStream)) == 4, "nothing is repeated unasked"


@pytest.mark.requirement("TCP-30", "TCP-31")
def test_our_own_requests_never_go_on_a_connection_of_the_peer() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.connect()
    sa = puppet.establish()
    rig.endpoint.check_liveness(sa, now=rig.now)
    new = rig.drain()
    assert written(new) == []
    (sent,) = [each for each in new if isinstance(each, SendDatagram)]
    assert sent.remote == THERE


@pytest.mark.requirement("TCP-30", "TCP-31")
def test_even_where_only_tcp_is_allowed_a_responder_opens_a_connection_of_its_own() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), transports=Transports(policy=TcpOnly())))
    puppet = Puppet(rig)
    theirs = puppet.connect()
    extra: list[Payload] = [Notification(IKE_TCP_SUPPORTED_DEFAULT, encode_tcp_port(1500)), VendorId(VENDOR_ID)]
    puppet.begin([*puppet.init_payloads(), *extra])
    puppet.authenticate()
    rig.endpoint.check_liveness(rig.endpoint.sas[0], now=rig.now)
    assert written(rig.drain()) == []
    opened = rig.one(OpenStream)
    assert (opened.remote, opened.stream != theirs) == ((THERE[0], 1500), True)
    rig.endpoint.stream_connected(opened.stream, local=OURS, now=rig.now)
    assert [each.stream for each in written(rig.drain())] == [opened.stream]


@pytest.mark.requirement("TCP-73", "TCP-74")
def test_addresses_are_never_taken_from_a_connection() -> None:
    """Not even if the peer says that it moved; we never say so ourselves."""
    rig = Rig()
    puppet = Puppet(rig)
    sa = puppet.establish()
    puppet.connect(port=61_000)
    puppet.address = ("10.0.0.1", 61_000)
    assert puppet.request(INFO, [Notification(Notify.UPDATE_SA_ADDRESSES)]) == []
    assert rig.endpoint.sa(sa).remote == THERE


@pytest.mark.requirement("TCP-31", "TCP-32", "TCP-53")
@pytest.mark.parametrize("announced", [True, False])
def test_a_responder_connects_only_to_a_port_announced_for_this_sa(announced: bool) -> None:
    transports = Transports(policy=TcpOnly())
    rig = Rig(attrs.evolve(psk_connection("responder"), transports=transports))
    puppet = Puppet(rig)
    extra: list[Payload] = [Notification(IKE_TCP_SUPPORTED_DEFAULT, encode_tcp_port(1500)), VendorId(VENDOR_ID)]
    puppet.begin([*puppet.init_payloads(), *(extra if announced else [])])
    puppet.authenticate()
    assert rig.of(OpenStream) == [], "and never before it has something to say"
    rig.endpoint.check_liveness(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    opened = [each.remote for each in rig.of(OpenStream)]
    assert opened == ([(THERE[0], 1500)] if announced else [])


@pytest.mark.requirement("TCP-32", "TCP-53")
@pytest.mark.parametrize(
    ("announced", "configured", "used"),
    [(None, 600, None), (1500, 600, 600), (25, 600, 600), (1500, None, 1500), (25, None, None), (None, None, None)],
)
@pytest.mark.parametrize("moved", [False, True])
def test_whether_a_responder_connects_is_the_peers_word_and_where_to_the_users(
    announced: int | None, configured: int | None, used: int | None, moved: bool
) -> None:
    """A configured port beats the announced one, and stands for no announcement; nor for one that has lapsed."""
    transports = Transports(policy=TcpOnly(), tcp_port=configured)
    rig = Rig(attrs.evolve(psk_connection("responder"), transports=transports))
    puppet = Puppet(rig)
    said = [] if announced is None else [Notification(IKE_TCP_SUPPORTED_DEFAULT, encode_tcp_port(announced))]
    puppet.begin([*puppet.init_payloads(), *said, VendorId(VENDOR_ID)])
    puppet.authenticate()
    if moved:
        puppet.address = ("10.0.0.7", 500)
        assert puppet.request(INFO) == []
        used = None
    assert rig.endpoint.sa(rig.endpoint.sas[0]).peer_tcp_port == used
    rig.endpoint.check_liveness(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    assert [each.remote for each in rig.of(OpenStream)] == ([] if used is None else [(THERE[0], used)])


@pytest.mark.requirement("TCP-32")
@pytest.mark.parametrize("shown_by", ["udp", "tcp", "esp"])
@pytest.mark.parametrize("host", [THERE[0], "10.0.0.7"])
def test_a_port_that_was_announced_lapses_when_the_peer_s_address_changes(host: str, shown_by: str) -> None:
    """Not with another port of the same host: that is what a NAT does, or a connection."""
    rig = Rig(attrs.evolve(psk_connection("responder"), transports=Transports(policy=TcpOnly())))
    puppet = Puppet(rig)
    puppet.begin(
        [
            *puppet.init_payloads(),
            Notification(IKE_TCP_SUPPORTED_DEFAULT, encode_tcp_port(1500)),
            VendorId(VENDOR_ID),
        ]
    )
    puppet.authenticate()
    sa = rig.endpoint.sas[0]
    assert rig.endpoint.sa(sa).peer_tcp_port == 1500
    puppet.address = (host, 40_000)
    if shown_by == "esp":
        rig.endpoint.esp_received(sa, local=NAT_HERE, remote=puppet.address, now=rig.now)
    else:
        if shown_by == "tcp":
            puppet.connect()
        assert puppet.request(INFO) == []
    moved = host != THERE[0]
    assert rig.endpoint.sa(sa).peer_tcp_port == (None if moved else 1500)
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert [each.remote for each in rig.of(OpenStream)] == ([] if moved else [(host, 1500)])


@pytest.mark.requirement("TCP-77")
def test_a_response_on_an_accepted_connection_ends_it() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.establish()
    rig.endpoint.stream_received(stream, puppet.seal(INFO, message_id=0, response=True), now=rig.now)
    rig.drain()
    assert rig.one(ResetStream).stream == stream
    assert len(rig.endpoint.sas) == 1
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("TCP-33", "TCP-22")
def test_after_the_last_answer_a_half_closed_connection_is_closed() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.begin()
    puppet.give(puppet.seal(AUTH, puppet.auth()))
    rig.endpoint.stream_sent(stream, sum(len(each.data) for each in rig.of(WriteStream)), now=rig.now)
    rig.endpoint.stream_eof(stream, now=rig.now)
    assert not [each for each in rig.drain() if isinstance(each, HalfCloseStream | CloseStream)]
    rig.endpoint.answer(rig.last_question(), True, now=rig.now)
    new = rig.drain()
    (answer,) = written(new)
    assert new.index(answer) < new.index(HalfCloseStream(stream))
    assert CloseStream(stream) not in new
    rig.endpoint.stream_sent(stream, len(answer.data), now=rig.now)
    assert CloseStream(stream) in rig.drain()


@pytest.mark.requirement("TCP-33")
def test_a_connection_closed_by_a_peer_that_is_owed_nothing_is_closed_at_once() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.establish()
    rig.endpoint.stream_sent(stream, sum(len(each.data) for each in rig.of(WriteStream)), now=rig.now)
    rig.endpoint.stream_eof(stream, now=rig.now)
    new = rig.drain()
    assert CloseStream(stream) in new
    assert HalfCloseStream(stream) not in new  # closing says the same, and is one action


@pytest.mark.requirement("TCP-76", "TCP-42")
def test_several_messages_of_several_sas_in_one_read() -> None:
    rig = Rig()
    one, other = Puppet(rig), Puppet(rig, seed=5)
    stream = one.connect()
    other.stream, other.address = stream, one.address
    one.establish()
    other.establish()
    rig.endpoint.stream_received(stream, one.seal(INFO) + other.seal(INFO) + one.seal(INFO, message_id=3), now=rig.now)
    assert len(written(rig.drain())) == 3


@pytest.mark.requirement("TCP-44", "TCP-46", "TCP-67")
@pytest.mark.parametrize(
    "octets",
    [bytes(28), b"x" * 17 + b"\x10" + b"x" * 10, b"x" * 17 + b"\x20" + b"x" * 6 + b"\0\0\0\x1b"],
    ids=["no SPI", "another version", "Length 27"],
)
def test_what_is_no_message_ends_the_connection_and_no_sa(octets: bytes) -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.establish()
    stream = rig.endpoint.stream_accepted(local=HERE, remote=("10.0.0.1", 40000), now=rig.now)
    rig.endpoint.stream_received(stream, octets, now=rig.now)
    rig.drain()
    assert rig.one(ResetStream).stream == stream
    assert puppet.request(INFO) == []


def test_messages_before_a_fault_count() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.establish()
    rig.endpoint.stream_received(stream, puppet.seal(INFO, [Delete(Protocol.IKE)]) + b"\xff" * 28, now=rig.now)
    new = rig.drain()
    assert len(written(new)) == 1
    rig.one(IkeSaClosed)
    rig.one(ResetStream)


def test_what_follows_an_abuse_in_the_same_read_is_not_looked_at() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.establish()
    abuse = puppet.seal(INFO, message_id=0, response=True)
    rig.endpoint.stream_received(stream, abuse + puppet.seal(INFO), now=rig.now)
    assert written(rig.drain()) == []


# --- opened ---------------------------------------------------------------------------------------------------------


def mission(policy: Policy | None = None, limits: Limits | None = None, **transports: bool) -> tuple[Rig, StreamId]:
    """An endpoint that opens a connection for IKE_SA_INIT, and the stream."""
    rig = Rig(limits=limits)
    chosen = Transports(policy=policy or WholeMission(), tcp_port=500, **transports)  # type: ignore[arg-type]
    rig.initiate(attrs.evolve(psk_connection("initiator"), transports=chosen))
    return rig, rig.one(OpenStream).stream


def up(rig: Rig, stream: StreamId) -> Puppet:
    """The connection is up, IKE_SA_INIT answered on it; the puppet has the keys."""
    rig.endpoint.stream_connected(stream, local=OURS, now=rig.now)
    (first,) = written(rig.drain())
    puppet = Puppet(rig, "responder", stream=stream, address=(THERE[0], 500), local=OURS)
    puppet.take_init(first.data)
    puppet.init_sent = puppet.init_message(puppet.init_answer())
    rig.endpoint.stream_received(stream, puppet.init_sent, now=rig.now)
    return puppet


@pytest.mark.requirement("TCP-03", "TCP-08", "TCP-09", "TCP-12", "TCP-15", "TCP-61", "TCP-38")
def test_a_whole_mission() -> None:
    rig, stream = mission()
    opened = rig.one(OpenStream)
    assert (opened.remote, opened.local) == ((THERE[0], 500), None)
    assert rig.of(WriteStream, SendDatagram) == []
    puppet = up(rig, stream)
    new = rig.drain()
    assert [each.stream for each in written(new)] == [stream]
    assert rig.of(HalfCloseStream, CloseStream) == []
    puppet.peer_spi_in = b"none"
    for each in rig.of(WriteStream):
        rig.endpoint.stream_sent(stream, len(each.data), now=rig.now)
    rig.endpoint.stream_received(stream, puppet.seal(AUTH, puppet.auth(), message_id=1, response=True), now=rig.now)
    new = rig.drain()
    assert rig.one(IkeSaEstablished).transport == "tcp"
    assert CloseStream(stream) in new
    assert rig.of(SendDatagram) == []


@pytest.mark.requirement("TCP-10", "TCP-11")
@pytest.mark.parametrize("half_close", [True, False])
def test_the_last_request_may_close_our_side(half_close: bool) -> None:
    rig, stream = mission(half_close=half_close)
    puppet = up(rig, stream)
    rig.drain()
    assert bool(rig.of(HalfCloseStream)) is half_close
    rig.endpoint.stream_received(stream, puppet.seal(AUTH, puppet.auth(), message_id=1, response=True), now=rig.now)
    rig.drain()
    rig.one(IkeSaEstablished)


@pytest.mark.requirement("TCP-77")
def test_a_request_on_a_connection_of_ours_ends_it() -> None:
    rig, stream = mission()
    puppet = up(rig, stream)
    rig.drain()
    rig.endpoint.stream_received(stream, puppet.seal(INFO, message_id=0), now=rig.now)
    rig.drain()
    assert rig.one(ResetStream).stream == stream


@pytest.mark.requirement("TCP-13", "TCP-14", "TCP-67", "IKE-051")
@pytest.mark.parametrize("way", ["FIN", "lost"])
def test_a_connection_that_ends_too_early_loses_nothing(way: str) -> None:
    rig, stream = mission()
    puppet = up(rig, stream)
    before = written(rig.drain())[-1].data
    if way == "FIN":
        rig.endpoint.stream_eof(stream, now=rig.now)
    else:
        rig.endpoint.stream_lost(stream, "reset by peer", now=rig.now)
    rig.drain()
    again = rig.of(OpenStream)[-1].stream
    assert again != stream
    rig.endpoint.stream_connected(again, local=OURS, now=rig.now)
    assert [each.data for each in written(rig.drain())] == [before]
    rig.endpoint.stream_received(again, puppet.seal(AUTH, puppet.auth(), message_id=1, response=True), now=rig.now)
    rig.drain()
    rig.one(IkeSaEstablished)


@pytest.mark.requirement("TCP-13", "TCP-67", "TCP-14")
def test_ike_sa_init_over_tcp_that_fails_begins_anew_over_udp() -> None:
    rig, stream = mission()
    rig.endpoint.stream_connected(stream, local=OURS, now=rig.now)
    (first,) = written(rig.drain())
    rig.endpoint.stream_lost(stream, "reset by peer", now=rig.now)
    rig.drain()
    sent = rig.one(SendDatagram)
    assert sent.data[:8] != first.data[:8], "another SPI: its hashes are of other addresses"
    puppet = Puppet(rig, "responder")
    puppet.answer_init()
    puppet.answer_auth()
    rig.one(IkeSaEstablished)


@pytest.mark.requirement("TCP-17", "TCP-15", "TCP-16")
def test_a_protected_response_counts_on_udp_whatever_carried_the_request() -> None:
    rig, stream = mission(policy=TcpOnly())
    puppet = up(rig, stream)
    rig.drain()
    response = puppet.seal(AUTH, puppet.auth(), message_id=1, response=True)
    rig.datagram(response)
    rig.one(IkeSaEstablished)


@pytest.mark.requirement("TCP-17", "TCP-16", "TCP-15")
def test_a_protected_response_does_not_count_on_a_stream_that_did_not_carry_the_request() -> None:
    rig, stream = mission(policy=TcpOnly())
    puppet = up(rig, stream)
    rig.drain()
    chosen = Transports(policy=TcpOnly(), tcp_port=500)
    rig.initiate(attrs.evolve(psk_connection("initiator"), transports=chosen))
    other = rig.of(OpenStream)[-1].stream
    rig.endpoint.stream_connected(other, local=(OURS[0], 45_679), now=rig.now)
    response = puppet.seal(AUTH, puppet.auth(), message_id=1, response=True)
    rig.endpoint.stream_received(other, response, now=rig.now)
    rig.drain()
    assert rig.of(IkeSaEstablished) == []
    assert rig.endpoint.counters["response on a stream that did not carry the request"] == 1
    rig.endpoint.stream_received(stream, response, now=rig.now)
    rig.drain()
    rig.one(IkeSaEstablished)


def over_tcp_alone() -> tuple[Rig, StreamId, Puppet]:
    """An endpoint without any UDP socket, in the middle of a whole mission."""
    rig = Rig(udp=False)
    transports = Transports(policy=WholeMission(), tcp_port=500)
    rig.initiate(attrs.evolve(psk_connection("initiator"), transports=transports))
    stream = rig.one(OpenStream).stream
    puppet = up(rig, stream)
    rig.drain()
    return rig, stream, puppet


@pytest.mark.requirement("IKE-192", "TCP-71")
def test_without_udp_last_words_go_by_the_connection() -> None:
    rig, stream, puppet = over_tcp_alone()
    wrong = puppet.seal(AUTH, puppet.auth(secret=b"guess"), message_id=1, response=True)
    rig.endpoint.stream_received(stream, wrong, now=rig.now)
    (told,) = written(rig.drain())
    assert puppet.open(told.data)[1] == [Notification(Notify.AUTHENTICATION_FAILED)]
    rig.one(IkeSaFailed)
    rig.endpoint.stream_sent(stream, sum(len(each.data) for each in rig.of(WriteStream)), now=rig.now)
    rig.run_for(10.0)
    assert rig.endpoint.idle


@pytest.mark.requirement("TCP-71", "TCP-73")
def test_without_udp_no_datagram_is_tried_after_ike_auth() -> None:
    rig, stream, puppet = over_tcp_alone()
    good = puppet.seal(AUTH, puppet.auth(), message_id=1, response=True)
    rig.endpoint.stream_received(stream, good, now=rig.now)
    rig.drain()
    rig.one(IkeSaEstablished)
    assert rig.endpoint.sa(rig.endpoint.sas[0]).local is None


def test_an_answer_whose_socket_is_gone_goes_nowhere() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    puppet.begin()
    puppet.give(puppet.seal(AUTH, puppet.auth()))
    rig.endpoint.local_removed(HERE, now=rig.now)
    rig.endpoint.answer(rig.last_question(), True, now=rig.now)
    assert [each for each in rig.drain() if isinstance(each, SendDatagram)] == []
    rig.one(IkeSaEstablished)


def test_a_connection_is_not_opened_twice_at_once() -> None:
    rig, stream = mission()
    puppet = up(rig, stream)
    rig.endpoint.stream_received(stream, puppet.seal(AUTH, puppet.auth(), message_id=1, response=True), now=rig.now)
    rig.drain()
    sa = rig.endpoint.sas[0]
    for _ in range(3):
        rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert len(rig.of(OpenStream)) == 1


def test_giving_up_while_connecting_cancels_the_attempt() -> None:
    rig, stream = mission()
    rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)
    assert CloseStream(stream) in rig.drain()
    rig.one(IkeSaFailed)
    assert rig.endpoint.idle


def test_giving_up_with_a_connection_open_closes_it() -> None:
    rig, stream = mission()
    up(rig, stream)
    rig.drain()
    rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)
    rig.run_for(Limits().stream_linger + 1.0)
    assert rig.of(CloseStream)[-1].stream == stream
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


def test_a_stream_that_could_not_be_written_is_forgotten() -> None:
    """The peer does not read: its stream is reset, and nothing of it stays behind."""
    rig, stream = mission(limits=Limits(stream_unsent=100))
    rig.endpoint.stream_connected(stream, local=OURS, now=rig.now)
    rig.drain()
    assert rig.one(ResetStream).stream == stream
    rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    assert rig.endpoint.idle


@pytest.mark.requirement("TCP-67")
def test_every_end_of_a_stream_is_told_with_its_reason() -> None:
    rig, stream = mission()
    rig.endpoint.stream_lost(stream, "connection refused", now=rig.now)
    rig.drain()
    ends = [each for each in rig.of(StreamChanged) if each.state == "closed"]
    assert [each.reason for each in ends] == ["connection refused"]


@pytest.mark.requirement("TCP-72", "TCP-73")
def test_the_udp_path_after_tcp_alone() -> None:
    rig, stream = mission()
    puppet = up(rig, stream)
    rig.endpoint.stream_received(stream, puppet.seal(AUTH, puppet.auth(), message_id=1, response=True), now=rig.now)
    rig.drain()
    view = rig.endpoint.sa(rig.endpoint.sas[0])
    assert (view.local, view.remote) == (HERE, (THERE[0], 500))
