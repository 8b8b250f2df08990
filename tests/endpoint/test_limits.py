"""Each bound of `Limits` in an endpoint: up to it all is well, beyond it somebody is turned away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import pytest

from ikecore.config import Transports
from ikecore.errors import LocalProtocolError
from ikecore.events import IkeSaClosed, IkeSaFailed, Refused, StreamChanged, UdpPathMissing
from ikecore.limits import Limits
from ikecore.outputs import (
    CloseStream,
    HalfCloseStream,
    OpenStream,
    ResetStream,
    SendDatagram,
    StreamId,
    WriteStream,
)
from ikecore.testing import psk_connection
from ikecore.transport import BySize, WholeMission
from ikecore.wire import Notification, VendorId
from ikecore.wire.notify_data import encode_tcp_port
from ikecore.wire.numbers import IKE_TCP_SUPPORTED_DEFAULT, VENDOR_ID, Exchange
from tests.rig import HERE, THERE, Puppet, Rig

INFO = Exchange.INFORMATIONAL
Test = TypeVar("Test", bound=Callable[..., None])

SHOWN = {
    "cookie_threshold": "test_cookie.py",
    "cookie_lifetime": "test_cookie.py",
    "window": "sa/test_windows.py",
    "requests_in_flight": "sa/test_windows.py",
    "children": "sa/test_create_child_sa.py",
    "generations": "sa/test_rekey_ike_sa.py",
    "rekeyed_lifetime": "sa/test_rekey_ike_sa.py",
    "rekey_wait": "sa/test_lifetimes.py",
    "temporary_failure_wait": "sa/test_rekey_ike_sa.py",
    "temporary_failure_limit": "sa/test_rekey_ike_sa.py",
    "addresses_per_sa": "sa/test_configuration.py",
    "addresses_per_identity": "sa/test_configuration.py",
    "past_leases": "test_leases.py",
    "questions": "test_questions.py",
    "question_timeout": "sa/test_ike_auth.py",
    "queued_requests": "sa/test_informational.py",
    "delete_timeout": "sa/test_informational.py",
    "early_questions_per_second": "sa/test_authentication_questions.py",
    "half_open_lifetime": "sa/test_init_responder.py",
    "response_resends_per_second": "sa/test_init_responder.py",
    "stateless_per_second": "sa/test_init_responder.py",
    "retransmit_first": "sa/test_init_initiator.py",
    "retransmit_factor": "sa/test_init_initiator.py",
    "retransmit_cap": "sa/test_init_initiator.py",
    "retransmit_tries": "sa/test_init_initiator.py",
    "cookie_rounds": "sa/test_init_initiator.py",
    "establish_timeout": "sa/test_init_initiator.py",
    "init_error_wait": "sa/test_init_initiator.py",
    "unknown_spi_per_second": "test_outside.py",
    "hint_interval": "test_outside.py",
    "hints_per_second": "test_outside.py",
    "failed_memory": "test_choosing.py",
    "fragments": "sa/test_fragments.py",
    "fragments_octets": "sa/test_fragments.py",
    "fragments_wait": "sa/test_fragments.py",
    "fragments_unproved": "sa/test_fragments.py",
    "fragment_tries": "scenarios/test_fragments.py",
}
"""Limits by where they are shown: elsewhere, or here by a test marked with `limit`."""


def limit(*names: str) -> Callable[[Test], Test]:
    """Say which limits a test shows."""

    def keep(test: Test) -> Test:
        SHOWN.update(dict.fromkeys(names, test.__name__))
        return test

    return keep


def test_every_limit_is_shown_somewhere() -> None:
    assert {field.name for field in attrs.fields(Limits)} == set(SHOWN)


def strangers(rig: Rig, count: int, *, host: str = "10.3.{}.1", tcp: bool = False) -> list[int]:
    """Let so many strangers send IKE_SA_INIT; return how many answers each got."""
    answers = []
    for number in range(count):
        puppet = Puppet(rig, address=(host.format(number), 500), seed=500 + number)
        if tcp:
            puppet.connect()
        answers.append(len(puppet.give(puppet.init_message())))
    return answers


# --- stored responses -------------------------------------------------------------------------------------------------


@limit("response_lifetime")
@pytest.mark.requirement("IKE-048", "IKE-049")
def test_a_response_is_forgotten_after_some_minutes() -> None:
    """Then its request has no answer any more, and still no other effect."""
    rig = Rig(limits=Limits(response_lifetime=300.0))
    puppet = Puppet(rig)
    puppet.establish()
    requests = [puppet.seal(Exchange.INFORMATIONAL, [], message_id=2 + number) for number in range(2)]
    answers = [puppet.give(requests[0])]
    rig.run_for(200.0)
    answers.append(puppet.give(requests[1]))
    rig.run_for(299.0)
    assert puppet.give(requests[1]) == answers[1]
    rig.run_for(2.0)
    before = rig.picture()
    assert puppet.give(requests[1]) == []
    assert rig.picture() == before
    assert rig.endpoint.deadline is None
    puppet.next_id = 4
    assert puppet.request(Exchange.INFORMATIONAL) == []


# --- half-open SAs ----------------------------------------------------------------------------------------------------


@limit("half_open_udp")
@pytest.mark.requirement("IKE-097")
def test_half_open_sas_over_udp() -> None:
    rig = Rig(limits=Limits(half_open_udp=3))
    assert strangers(rig, 5) == [1, 1, 1, 0, 0]
    assert len(rig.endpoint.sas) == 3
    event = rig.one(Refused)
    assert (event.what, event.reason) == ("IKE_SA_INIT", "3 half-open SAs over UDP")
    assert strangers(rig, 1, tcp=True) == [1]


@limit("half_open_tcp")
@pytest.mark.requirement("TCP-82")
def test_half_open_sas_over_tcp() -> None:
    rig = Rig(limits=Limits(half_open_tcp=2))
    assert strangers(rig, 4, tcp=True) == [1, 1, 0, 0]
    assert strangers(rig, 1, host="10.4.{}.1") == [1]


@limit("half_open_per_source")
def test_half_open_sas_of_one_source() -> None:
    rig = Rig(limits=Limits(half_open_per_source=2))
    ports = []
    for number in range(4):
        puppet = Puppet(rig, address=("10.3.0.1", 5000 + number), seed=number)
        puppet.connect(6000 + number)
        ports.append(len(puppet.give(puppet.init_message())))
    assert ports == [1, 1, 0, 0]
    assert rig.one(Refused).reason == "2 half-open SAs from this source"
    assert strangers(rig, 1, host="10.5.{}.1") == [1]


@limit("half_open_per_source")
def test_who_is_authenticated_is_no_longer_half_open() -> None:
    rig = Rig(limits=Limits(half_open_per_source=1, half_open_udp=1))
    for number in range(3):
        Puppet(rig, address=("10.3.0.1", 5000 + number), seed=number).establish()
    assert len(rig.endpoint.sas) == 3


def test_keys_alone_do_not_free_a_place() -> None:
    """Whoever has done the key exchange but proves nothing stays half-open, whatever it sends."""
    rig = Rig(limits=Limits(half_open_udp=1, cookie_threshold=100))
    puppet = Puppet(rig)
    puppet.begin()
    puppet.give(puppet.seal(INFO))
    assert strangers(rig, 1) == [0]


@limit("sas")
def test_sas_in_all() -> None:
    rig = Rig(limits=Limits(sas=2))
    Puppet(rig).establish()
    assert strangers(rig, 2) == [1, 0]
    assert rig.one(Refused).reason == "2 SAs exist"


# --- streams --------------------------------------------------------------------------------------------------------


def accept(rig: Rig, host: str = "10.3.0.1", port: int = 40000) -> StreamId:
    stream = rig.endpoint.stream_accepted(local=HERE, remote=(host, port), now=rig.now)
    rig.drain()
    return stream


def resets(rig: Rig) -> list[StreamId]:
    return [each.stream for each in rig.of(ResetStream)]


@limit("streams_per_source")
def test_connections_of_one_source() -> None:
    rig = Rig(limits=Limits(streams_per_source=3))
    accepted = [accept(rig, port=port) for port in range(40000, 40005)]
    assert resets(rig) == accepted[3:]
    assert "3 connections from this source" in rig.one(Refused).reason
    accept(rig, "10.3.0.2")
    rig.endpoint.stream_lost(accepted[0], "gone", now=rig.now)
    accept(rig, port=50000)
    assert resets(rig) == accepted[3:]


@limit("streams")
def test_connections_in_all_make_room_for_newer_ones() -> None:
    rig = Rig(limits=Limits(streams=3))
    accepted = [accept(rig, f"10.3.{number}.1") for number in range(5)]
    assert resets(rig) == accepted[:2]
    assert "made room" in next(each.reason for each in rig.of(StreamChanged) if each.state == "closed")


@limit("streams")
def test_connections_of_authenticated_peers_do_not_make_room() -> None:
    rig = Rig(limits=Limits(streams=2, stream_idle=100.0))
    for number in range(2):
        puppet = Puppet(rig, address=(f"10.3.{number}.1", 500), seed=number)
        puppet.connect()
        puppet.establish()
    late = accept(rig, "10.3.9.1")
    assert resets(rig) == [late]
    assert rig.one(Refused).reason == "2 connections, all of them authenticated"


def unfinished(rig: Rig, stream: StreamId, octets: int, *, begin: bool = True) -> None:
    """Send a part of a large IKE_SA_INIT."""
    header = bytes(8 * [7]) + bytes(8) + bytes([33, 0x20, 34, 0x08]) + bytes(4) + (16_000).to_bytes(4, "big")
    rig.endpoint.stream_received(stream, (header if begin else b"") + bytes(octets - 28 * begin), now=rig.now)
    rig.drain()


@limit("streams_unproved")
@pytest.mark.requirement("TCP-83")
def test_unfinished_messages_of_strangers_share_one_bound() -> None:
    rig = Rig(limits=Limits(streams_unproved=10_000))
    streams = [accept(rig, f"10.3.{number}.1") for number in range(4)]
    for stream in streams[:3]:
        unfinished(rig, stream, 3000)
    assert resets(rig) == []
    unfinished(rig, streams[0], 1000, begin=False)
    assert resets(rig) == []
    unfinished(rig, streams[3], 100)
    assert resets(rig) == [streams[0]], "who began first, however lately it went on"
    unfinished(rig, streams[1], 9000, begin=False)
    assert resets(rig) == streams[:2], "a single one that is too large goes as well"
    assert "made room" in [each.reason for each in rig.of(StreamChanged) if each.state == "closed"][-1]
    rig.endpoint.stream_lost(streams[2], "gone", now=rig.now)
    unfinished(rig, streams[3], 9900, begin=False)
    assert resets(rig) == streams[:2], "what is gone counts no more"


@limit("streams_unproved")
def test_unfinished_messages_of_peers_that_are_authenticated_do_not_count() -> None:
    rig = Rig(limits=Limits(streams_unproved=10_000))
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.establish()
    message = puppet.seal(INFO, [VendorId(bytes(30_000))], message_id=2)
    rig.endpoint.stream_received(stream, message[:29_000], now=rig.now)
    unfinished(rig, accept(rig, "10.3.9.1"), 9000)
    assert resets(rig) == []
    rig.endpoint.stream_received(stream, message[29_000:], now=rig.now)
    rig.drain()
    assert rig.of(WriteStream)[-1].stream == stream


@limit("stream_first_message")
@pytest.mark.requirement("TCP-83")
def test_a_connection_that_never_speaks() -> None:
    rig = Rig(limits=Limits(stream_first_message=3.0))
    stream = accept(rig)
    rig.run_for(2.9)
    assert resets(rig) == []
    rig.run_for(0.2)
    assert resets(rig) == [stream]
    assert rig.one(Refused).reason == "no message in time"
    assert rig.endpoint.idle


@limit("stream_message")
@pytest.mark.requirement("TCP-83", "TCP-47")
def test_a_message_that_never_ends() -> None:
    rig = Rig(limits=Limits(stream_message=4.0, stream_idle=100.0, half_open_lifetime=1000.0))
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.begin()
    rig.endpoint.stream_received(stream, puppet.seal(INFO)[:40], now=rig.now)
    rig.run_for(3.9)
    assert resets(rig) == []
    rig.run_for(0.2)
    assert resets(rig) == [stream]
    assert len(rig.endpoint.sas) == 1


@limit("stream_idle", "stream_linger")
@pytest.mark.requirement("TCP-34", "TCP-35", "TCP-65")
def test_a_connection_on_which_nothing_happens() -> None:
    rig = Rig(limits=Limits(stream_idle=3.0, stream_linger=1.0))
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.establish()
    rig.run_for(2.9)
    assert rig.of(HalfCloseStream) == []
    rig.run_for(0.2)
    assert rig.one(HalfCloseStream).stream == stream
    rig.run_for(0.8)
    assert rig.of(CloseStream) == []
    rig.run_for(0.2)
    assert rig.one(CloseStream).stream == stream
    assert len(rig.endpoint.sas) == 1, "the loss of a connection is not the loss of a peer"


@limit("stream_unsent")
def test_a_connection_that_never_reads() -> None:
    rig = Rig(limits=Limits(stream_unsent=1000, response_resends_per_second=1000.0))
    puppet = Puppet(rig)
    stream = puppet.connect()
    puppet.establish()
    for _ in range(20):
        if resets(rig):
            break
        puppet.give(puppet.seal(INFO))
        puppet.next_id += 1
    assert resets(rig) == [stream]
    written = sum(len(each.data) for each in rig.of(WriteStream))
    assert written <= 1000
    assert len(rig.endpoint.sas) == 1


@limit("message_init", "message_known")
@pytest.mark.requirement("TCP-45", "TCP-04")
@pytest.mark.parametrize(
    ("known", "octets", "taken"),
    [(False, 2000, True), (False, 2001, False), (True, 2001, True), (True, 3000, True), (True, 3001, False)],
)
def test_the_size_of_messages_on_a_connection(known: bool, octets: int, taken: bool) -> None:
    rig = Rig(limits=Limits(message_init=2000, message_known=3000))
    puppet = Puppet(rig)
    stream = puppet.connect()
    if known:
        puppet.establish()
        base = len(puppet.seal(INFO, [VendorId(b"")]))
        message = puppet.seal(INFO, [VendorId(bytes(octets - base))])
    else:
        base = len(puppet.init_message([*puppet.init_payloads(), VendorId(b"")]))
        message = puppet.init_message([*puppet.init_payloads(), VendorId(bytes(octets - base))])
    assert len(message) == octets
    rig.endpoint.stream_received(stream, message[:28], now=rig.now)
    rig.drain()
    assert (resets(rig) == []) is taken, "decided by the header"
    rig.endpoint.stream_received(stream, message[28:], now=rig.now)
    answered = [each for each in rig.drain() if isinstance(each, WriteStream)]
    assert len(answered) == taken


@pytest.mark.requirement("IKE-247")
@pytest.mark.parametrize(("octets", "taken"), [(2000, True), (2001, False)])
def test_the_size_of_an_ike_sa_init_over_udp(octets: int, taken: bool) -> None:
    rig = Rig(limits=Limits(message_init=2000))
    puppet = Puppet(rig)
    base = len(puppet.init_message([*puppet.init_payloads(), VendorId(b"")]))
    message = puppet.init_message([*puppet.init_payloads(), VendorId(bytes(octets - base))])
    assert len(puppet.give(message)) == taken
    assert len(rig.endpoint.sas) == taken
    assert rig.endpoint.counters["IKE_SA_INIT too large"] == (not taken)


# --- our own connections --------------------------------------------------------------------------------------------


def over_tcp(limits: Limits) -> Rig:
    rig = Rig(limits=limits)
    transports = Transports(policy=WholeMission(), tcp_port=500)
    rig.initiate(attrs.evolve(psk_connection("initiator"), transports=transports))
    return rig


@limit("stream_connect_timeout")
@pytest.mark.requirement("TCP-67", "TCP-13")
def test_a_connection_that_does_not_come_up() -> None:
    rig = over_tcp(Limits(stream_connect_timeout=2.0))
    assert rig.of(SendDatagram) == []
    rig.run_for(1.9)
    assert rig.of(CloseStream) == []
    rig.run_for(0.2)
    assert rig.one(CloseStream).stream == rig.one(OpenStream).stream
    assert rig.of(SendDatagram), "it goes on over UDP"


@limit("stream_answer_timeout")
@pytest.mark.requirement("TCP-67", "TCP-13", "TCP-37")
def test_a_connection_that_does_not_answer() -> None:
    rig = over_tcp(Limits(stream_answer_timeout=6.0, stream_idle=1.0))
    stream = rig.one(OpenStream).stream
    rig.endpoint.stream_connected(stream, local=(HERE[0], 40000), now=rig.now)
    rig.drain()
    rig.run_for(5.9)
    assert len(rig.of(WriteStream)) == 1, "never again on the same connection"
    assert rig.of(ResetStream, CloseStream) == []
    rig.run_for(0.2)
    assert resets(rig) == [stream]
    assert rig.of(SendDatagram)


def large_auth(limits: Limits, **changes: object) -> tuple[Rig, Puppet]:
    """An endpoint whose IKE_AUTH is to go over TCP, as the peer announced."""
    rig = Rig(limits=limits)
    transports = Transports(policy=BySize(threshold=10))
    rig.initiate(attrs.evolve(psk_connection("initiator"), transports=transports))
    puppet = Puppet(rig, "responder")
    puppet.answer_init(extra=[Notification(IKE_TCP_SUPPORTED_DEFAULT, encode_tcp_port(500)), VendorId(VENDOR_ID)])
    return rig, puppet


@limit("stream_attempts")
@pytest.mark.requirement("TCP-13", "TCP-14", "TCP-67")
def test_connections_for_one_request() -> None:
    rig, puppet = large_auth(Limits(stream_attempts=3))
    sent = []
    for _ in range(3):
        stream = rig.last(OpenStream).stream
        rig.endpoint.stream_connected(stream, local=(HERE[0], 40000), now=rig.now)
        sent += [each.data for each in rig.drain() if isinstance(each, WriteStream)]
        rig.endpoint.stream_eof(stream, now=rig.now)
        rig.drain()
    assert len(rig.of(OpenStream)) == 3
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert puppet.taken(rig.outputs)[-1] == sent[0], "the same octets, now over UDP"


@limit("stream_answer_timeout")
def test_the_loss_of_all_connections_never_ends_an_established_sa() -> None:
    rig, puppet = large_auth(Limits())
    stream = rig.last(OpenStream).stream
    rig.endpoint.stream_lost(stream, "refused", now=rig.now)
    rig.drain()
    puppet.answer_auth()
    assert rig.of(IkeSaClosed, IkeSaFailed) == []
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "established"


@limit("path_wait")
@pytest.mark.requirement("TCP-73")
def test_a_request_that_has_no_path() -> None:
    """An SA that came up over TCP through a NAT: our own request waits for a datagram of the peer, but not for ever."""
    rig = Rig(limits=Limits(path_wait=20.0))
    puppet = Puppet(rig)
    puppet.connect()
    puppet.address = (puppet.address[0], 1)
    sa = puppet.establish()
    assert rig.endpoint.sa(sa).remote is None
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    rig.one(UdpPathMissing)
    rig.run_for(19.9)
    assert rig.of(SendDatagram, IkeSaClosed) == []
    rig.run_for(0.2)
    assert rig.one(IkeSaClosed).by == "silence"


@pytest.mark.requirement("TCP-73")
def test_a_peer_that_is_heard_over_tcp_alone_is_not_given_up_for_want_of_a_path() -> None:
    """Its responder looked for dead peers, could not ask, and ended an SA that was well."""
    rig = Rig(psk_connection("responder", dpd_delay=10.0), limits=Limits(path_wait=20.0))
    puppet = Puppet(rig)
    puppet.connect()
    puppet.address = (puppet.address[0], 1)
    puppet.establish()
    rig.run_for(15.0)
    for number in range(10):
        puppet.connect(port=40_001 + number)
        puppet.give(puppet.seal(INFO, message_id=2 + number))
        rig.run_for(19.0)
    assert rig.of(IkeSaClosed) == []
    assert len(rig.of(UdpPathMissing)) == 1, "it still waits with the first"
    rig.run_for(41.0)
    assert rig.one(IkeSaClosed).by == "silence"


@pytest.mark.requirement("TCP-73", "TCP-70")
def test_a_datagram_of_the_peer_ends_the_wait() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.connect()
    puppet.address = (puppet.address[0], 1)
    sa = puppet.establish()
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    assert rig.of(SendDatagram) == []
    rig.datagram(puppet.seal(INFO))
    sent = [each for each in rig.of(SendDatagram) if each.remote == THERE]
    assert len(sent) == 2, "our request that waited, and the response"


# --- words ------------------------------------------------------------------------------------------------------------


@limit("refused_event_interval")
def test_refusals_are_said_now_and_then() -> None:
    rig = Rig(limits=Limits(half_open_udp=0, cookie_threshold=1000, refused_event_interval=5.0))
    for _ in range(3):
        strangers(rig, 10)
        rig.run_for(5.0)
    assert [event.count for event in rig.of(Refused)] == [1, 10, 10]


@limit("half_open_udp")
def test_a_limit_of_none_at_all_leaves_the_initiator_alone() -> None:
    rig = Rig(limits=Limits(half_open_udp=0, half_open_tcp=0, streams=0))
    assert strangers(rig, 2) == [0, 0]
    Puppet(rig, "responder").establish()


def test_wishes_are_bounded_by_an_error_of_the_caller() -> None:
    rig = Rig(limits=Limits(queued_requests=0))
    puppet = Puppet(rig, "initiator")
    sa = puppet.establish()
    with pytest.raises(LocalProtocolError, match="requests are waiting"):
        rig.endpoint.check_liveness(sa, now=rig.now)
