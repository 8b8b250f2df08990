"""The draft's rules for TCP, between two endpoints: which path carries what, who may close when, what a loss does."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore import (
    AuthorizationNeeded,
    BySize,
    CertificateCredential,
    ChildConfig,
    Config,
    Connection,
    CookieReceived,
    Fallback,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    Limits,
    Local,
    MessageReceived,
    MessageSent,
    NatDetected,
    PeerUnreachable,
    PinnedKeys,
    Policy,
    Race,
    RequestCompleted,
    SpisChanged,
    TcpAnnounced,
    TcpOnly,
    TransportChosen,
    Transports,
    TransportSwitched,
    UdpOnly,
    WholeMission,
    parse_selector,
)
from ikecore.testing import (
    NOON,
    BareEndpoint,
    BareStream,
    Insider,
    Mangler,
    Nat,
    Packet,
    Pair,
    Split,
    Tcp,
    Udp,
    psk_connection,
)
from ikecore.testing.pki import CertificateAuthority
from ikecore.wire import Delete, Notification, decode_message, encode_message
from ikecore.wire.numbers import Exchange
from tests.scenarios.agreement import assert_agreement, assert_nothing_left, datagrams, outcome
from tests.scenarios.conftest import Certified

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.9"
LISTENER = (B, 500)
MARKER, KEEPALIVE = bytes(4), b"\xff"
DROPS_FRAGMENTS = Udp(max_datagram=1232)


def tcp_packets(pair: Pair, sender: str | None = None, *kinds: str) -> list[Packet]:
    """Return what passed over TCP, from *sender* and of *kinds* if given."""
    return [
        packet
        for packet in pair.network.wire
        if packet.transport == "tcp"
        and sender in (None, packet.source[0])
        and (not kinds or packet.kind in kinds)
        and packet.fate != "blocked"
    ]


def octets(packets: list[Packet]) -> bytes:
    return b"".join(packet.data for packet in packets)


def initiator(**transports: object) -> Connection:
    return psk_connection("initiator", transports=Transports(**transports))  # type: ignore[arg-type]


def carried(pair: Pair) -> list[tuple[str, bool, str]]:
    """Return exchange, direction and transport of each message that was sent the first time."""
    return [(rung.exchange, rung.is_response, rung.transport) for rung in pair.rungs() if not rung.repeat]


def reset_all(pair: Pair) -> None:
    """Reset every connection from the middle."""
    for connection in pair.network.connections:
        connection.reset()


class Stranger:
    """Someone else on the network with the keys of the pair's SA, who can open connections."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.endpoint = BareEndpoint()
        self.host = pair.network.attach(self.endpoint, Local((C, 500)), name="stranger")
        self.insider = Insider(pair.initiator)

    def connect(self) -> BareStream:
        stream = self.endpoint.open(LISTENER)
        self.pair.run_for(0.1)
        assert stream.state == "open"
        return stream

    def write(self, stream: BareStream, *messages: bytes) -> None:
        for message in messages:
            self.endpoint.write(stream, message)
        self.pair.run_for(0.1)

    def liveness(self, message_id: int) -> bytes:
        return self.insider.seal("initiator", Exchange.INFORMATIONAL, message_id, [])


# --- why there is TCP at all ------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-01", "TCP-58", "TCP-60", "TCP-48", "TCP-28")
def test_where_fragments_are_dropped_large_certificates_need_tcp(certified: Certified) -> None:
    for policy, established in ((UdpOnly(), False), (BySize(), True)):
        pair = Pair(
            certified.connection("initiator", Transports(policy=policy, fragmentation="accept")),
            certified.connection("responder"),
            tcp=True,
            udp=DROPS_FRAGMENTS,
        )
        sa = pair.initiate()
        pair.run()
        [result] = outcome(pair.initiator)
        assert isinstance(result, IkeSaEstablished) is established
        if isinstance(result, IkeSaEstablished):
            assert_agreement(pair, sa)
            assert (result.transport, carried(pair)[0][2], carried(pair)[2][2]) == ("tcp", "udp", "tcp")
            assert "announced" in result.reason
            assert max(rung.octets for rung in pair.rungs()) > 9000
        else:
            assert isinstance(result.error, PeerUnreachable)


@pytest.mark.requirement("TCP-60", "TCP-01")
def test_a_small_request_that_draws_a_large_response_goes_over_tcp(certified: Certified) -> None:
    """The initiator has a pre-shared key, the responder a chain of certificates."""
    mine = attrs.evolve(
        psk_connection("initiator", transports=Transports(policy=BySize())),
        remote=certified.connection("initiator").remote,
    )
    theirs = attrs.evolve(certified.connection("responder"), remote=psk_connection("responder").remote)
    pair = Pair(mine, theirs, tcp=True, udp=DROPS_FRAGMENTS)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert carried(pair)[2:4] == [("IKE_AUTH", False, "tcp"), ("IKE_AUTH", True, "tcp")]


def with_a_leaf_of(names: int, *, children: Sequence[ChildConfig] = (ChildConfig(),)) -> Pair:
    """A pair whose initiator has a certificate for so many names, which the responder has pinned."""
    authority = CertificateAuthority("Root", utc=NOON)
    leaf = authority.leaf(["initiator.example", *(f"host-number-{number:05}.example" for number in range(names))])
    mine = attrs.evolve(
        initiator(policy=TcpOnly()), local=CertificateCredential(leaf.chain, leaf.key), children=tuple(children)
    )
    theirs = attrs.evolve(psk_connection("responder"), remote=PinnedKeys((leaf.public_key,)))
    return Pair(mine, theirs, tcp=True)


@pytest.mark.requirement("TCP-04")
def test_a_message_of_sixty_thousand_octets_goes_over_tcp() -> None:
    networks = tuple(parse_selector(f"10.0.{number}.0/24") for number in range(50))
    child = ChildConfig(local_ts=networks, remote_ts=networks)
    pair = with_a_leaf_of(2190, children=[child])
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert 60_000 < max(rung.octets for rung in pair.rungs()) < 65_535 + 28


@pytest.mark.requirement("TCP-04")
def test_a_message_that_does_not_fit_one_payload_is_refused_by_its_sender() -> None:
    selectors = tuple(parse_selector(f"10.0.{number}.0/24") for number in range(255))
    pair = with_a_leaf_of(2190, children=[ChildConfig(local_ts=selectors, remote_ts=selectors)])
    pair.initiate()
    pair.run()
    failed = pair.initiator.one(IkeSaFailed)
    assert "do not fit" in str(failed.error)
    pair.run_for(100.0)
    assert_nothing_left(pair)


@pytest.mark.requirement("TCP-60", "TCP-32")
def test_without_an_announcement_by_size_stays_on_udp(certified: Certified) -> None:
    pair = Pair(
        certified.connection("initiator"),
        certified.connection("responder", Transports(announce_tcp=0)),
        tcp=True,
    )
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert tcp_packets(pair) == []
    assert pair.initiator.of(TcpAnnounced) == []


# --- a connection's life ----------------------------------------------------------------------------------------------


@pytest.mark.requirement(
    "TCP-02", "TCP-03", "TCP-07", "TCP-09", "TCP-11", "TCP-12", "TCP-15", "TCP-21", "TCP-22", "TCP-33", "TCP-38",
    "TCP-39", "TCP-61", "TCP-65",
)  # fmt: skip
def test_a_whole_mission_on_one_connection() -> None:
    pair = Pair(tcp=True)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert {packet.destination for packet in tcp_packets(pair, A)} == {LISTENER}
    assert [(packet.kind, packet.source[0]) for packet in tcp_packets(pair)] == [
        ("syn", A), ("data", A), ("data", B), ("data", A), ("data", B), ("fin", A), ("fin", B),
    ]  # fmt: skip
    sizes = [rung.octets for rung in pair.rungs()]
    assert [len(packet.data) for packet in tcp_packets(pair, None, "data")] == sizes, "one write per message"
    assert datagrams(pair, A) == datagrams(pair, B) == []
    stream = octets(tcp_packets(pair, A, "data"))
    first = int.from_bytes(stream[24:28], "big")
    assert int.from_bytes(stream[first + 24 : first + 28], "big") == len(stream) - first
    connected = next(index for index, packet in enumerate(pair.network.wire) if packet.kind == "data")
    assert pair.network.wire[connected].time == pytest.approx(0.02), "as soon as the handshake is done"


@pytest.mark.requirement("TCP-08")
def test_the_source_port_is_arbitrary() -> None:
    pair = Pair(tcp=True, nat=Nat("203.0.113.1", first_port=1025))
    sa = pair.initiate()
    pair.run()
    assert {packet.source[1] for packet in tcp_packets(pair, "203.0.113.1")} == {1025}
    assert pair.initiator.endpoint.sa(sa).state == "established"


@pytest.mark.requirement("TCP-40", "TCP-41")
@pytest.mark.parametrize("split", [1, 2, 27, 28, 29, 100, lambda data: [data[:5], data[5:]]])
def test_streams_may_be_cut_anywhere(split: Split) -> None:
    pair = Pair(tcp=Tcp(split=split))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    whole = Pair(tcp=True)
    whole.initiate()
    whole.run()
    names = [type(event).__name__ for event in whole.responder.events]
    assert [type(event).__name__ for event in pair.responder.events] == names


@pytest.mark.requirement("TCP-10", "TCP-33")
def test_half_closing_after_the_last_request_still_reads_the_response() -> None:
    pair = Pair(initiator(policy=WholeMission(), half_close=True), tcp=True)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    kinds = [(packet.kind, packet.source[0]) for packet in tcp_packets(pair)]
    fin = kinds.index(("fin", A))
    assert kinds[fin - 1] == ("data", A)
    assert kinds[fin + 1 :] == [("data", B), ("fin", B)]
    assert pair.network.wire[fin].time == pair.network.wire[fin - 1].time, "right behind the request"


@pytest.mark.requirement("TCP-37")
@pytest.mark.parametrize("delay", [0.01, 3.0])
def test_nothing_is_repeated_on_a_connection(delay: float) -> None:
    """However long an answer takes, each connection carries each message once."""
    pair = Pair(tcp=Tcp(delay=delay))
    pair.initiate()
    pair.run()
    for host in (pair.initiator, pair.responder):
        by_stream = [
            (event.local, event.remote, event.exchange, event.message_id, event.is_response)
            for event in host.of(MessageSent)
            if event.transport == "tcp"
        ]
        assert len(by_stream) == len(set(by_stream))
    assert outcome(pair.initiator)


@pytest.mark.requirement("TCP-34", "TCP-35")
def test_an_idle_connection_is_closed_after_seconds_and_activity_puts_that_off() -> None:
    pair = Pair(tcp=True)
    pair.establish()
    pair.run()
    stranger = Stranger(pair)
    stream = stranger.connect()
    for message_id in (2, 3):
        pair.run_for(4.0)
        stranger.write(stream, stranger.liveness(message_id))
        assert not stream.eof
    quiet_since = pair.now
    pair.run(until=lambda: stream.eof)
    assert pair.now - quiet_since == pytest.approx(Limits().stream_idle, abs=0.2)
    assert Limits().stream_idle < 10.0


@pytest.mark.requirement("TCP-82", "TCP-83")
def test_a_message_that_drips_is_not_waited_for() -> None:
    pair = Pair(tcp=True)
    mine, _ = pair.establish()
    pair.run()
    stranger = Stranger(pair)
    stream = stranger.connect()
    started = pair.now
    for octet in stranger.liveness(2):
        stranger.endpoint.write(stream, bytes([octet]))
        pair.run_for(1.0)
        if stream.state == "lost":
            break
    assert stream.state == "lost"
    assert pair.now - started <= Limits().stream_message + 2.0
    assert pair.initiator.endpoint.sas == (mine,)


# --- connections that fail --------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-13", "TCP-14", "TCP-67")
@pytest.mark.parametrize("step", range(16))
def test_a_reset_at_any_moment_loses_nothing(step: int) -> None:
    pair = Pair(tcp=True)

    pair.network.at(0.005 * step + 0.0025, lambda: reset_all(pair))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert len(pair.responder.of(IkeSaEstablished)) == 1
    auths = {packet.data for packet in pair.network.wire if packet.data[18:19] == b"\x23" and packet.source[0] == A}
    assert len(auths) == 1, "IKE_AUTH is the same octets wherever it goes"


@pytest.mark.requirement("TCP-13", "TCP-14", "TCP-67")
@pytest.mark.parametrize(
    "tcp", [Tcp(connect="refuse"), Tcp(connect="silent"), Tcp(black_hole=True), Tcp(reset_after=0.0)], ids=str
)
def test_where_tcp_does_not_work_a_whole_mission_goes_over_udp(tcp: Tcp) -> None:
    pair = Pair(tcp=tcp)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(IkeSaEstablished).transport == "udp"
    # An IKE_SA_INIT never changes transport: it begins anew, with another SPI, and the application sees one SA.
    assert any("anew" in event.reason for event in pair.initiator.of(SpisChanged))
    assert pair.initiator.endpoint.sas == (sa,)
    assert pair.now < 120.0
    assert pair.initiator.endpoint.deadline is None


@pytest.mark.requirement("TCP-13", "TCP-14", "TCP-16")
@pytest.mark.parametrize("connect", ["refuse", "silent"])
def test_where_tcp_is_announced_and_does_not_work_ike_auth_goes_over_udp(certified: Certified, connect: str) -> None:
    pair = Pair(
        certified.connection("initiator"),
        certified.connection("responder"),
        tcp=Tcp(connect=connect),  # type: ignore[arg-type]
    )
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(IkeSaEstablished).transport == "udp"
    switched = pair.initiator.one(TransportSwitched)
    assert (switched.exchange, switched.before, switched.after) == ("IKE_AUTH", "tcp", "udp")
    assert switched.reason


@pytest.mark.requirement("TCP-14")
def test_a_request_moved_from_tcp_to_udp_is_the_same_octets(certified: Certified) -> None:
    pair = Pair(
        certified.connection("initiator", Transports(fragmentation="accept")),
        certified.connection("responder"),
        tcp=Tcp(black_hole=True, window=10**6),
    )
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    by_tcp = {packet.data for packet in pair.network.wire if packet.kind == "data" and packet.source[0] == A}
    by_udp = {packet.data.removeprefix(MARKER) for packet in datagrams(pair, A)[1:]}
    assert by_tcp == by_udp
    assert len(by_tcp) == 1


@pytest.mark.requirement("TCP-67")
def test_a_lost_connection_never_ends_an_established_sa() -> None:
    pair = Pair(tcp=True)
    mine, theirs = pair.establish()
    reset_all(pair)
    pair.run_for(600.0)
    assert (pair.initiator.endpoint.sas, pair.responder.endpoint.sas) == ((mine,), (theirs,))
    assert pair.initiator.of(IkeSaClosed) == []


@pytest.mark.requirement("TCP-47")
def test_half_a_message_before_the_end_of_a_connection_is_discarded() -> None:
    pair = Pair(tcp=True)
    pair.establish()
    pair.run()
    stranger = Stranger(pair)
    stream = stranger.connect()
    before = len(pair.responder.of(MessageReceived))
    stranger.write(stream, stranger.liveness(2)[:40])
    stranger.endpoint.close(stream)
    pair.run()
    assert len(pair.responder.of(MessageReceived)) == before
    fresh = stranger.connect()
    stranger.write(fresh, stranger.liveness(2))
    assert fresh.received


# --- the responder answers where the request came from ----------------------------------------------------------------


@pytest.mark.requirement("TCP-22")
def test_each_response_goes_to_its_own_connection() -> None:
    pair = Pair(tcp=True)
    pair.establish()
    pair.run()
    stranger = Stranger(pair)
    streams = [stranger.connect() for _ in range(2)]
    messages = [stranger.liveness(message_id) for message_id in (2, 3)]
    for stream, message in zip(streams, messages, strict=True):
        stranger.write(stream, message)
    answers = [stranger.insider.open(bytes(stream.received))[0] for stream in streams]
    assert [(header.message_id, header.is_response) for header in answers] == [(2, True), (3, True)]
    assert datagrams(pair, B) == []


@pytest.mark.requirement("TCP-23", "TCP-24", "TCP-25", "TCP-26")
@pytest.mark.parametrize("again_over", ["udp", "tcp"])
def test_a_response_whose_connection_is_gone_waits_for_the_request_to_be_repeated(again_over: str) -> None:
    theirs = attrs.evolve(psk_connection("responder"), authorize=True)
    pair = Pair(initiator(policy=WholeMission(), tcp_port=500), theirs, tcp=True)
    sa = pair.initiate()
    pair.run(until=lambda: pair.responder.of(AuthorizationNeeded))
    rule = pair.network.block(source=A)
    reset_all(pair)
    pair.run_for(0.3)
    before = len(pair.network.wire)
    question = pair.responder.one(AuthorizationNeeded).question
    assert pair.responder.call(pair.responder.endpoint.answer, question, True)
    pair.run_for(0.3)
    assert [packet for packet in pair.network.wire[before:] if packet.source[0] == B] == [], "silence"
    pair.network.unblock(rule)
    if again_over == "udp":
        pair.network.block("tcp")
    else:
        pair.network.block("udp")
    pair.run(until=lambda: pair.initiator.of(IkeSaEstablished))
    assert_agreement(pair, sa)
    assert pair.initiator.one(IkeSaEstablished).transport == again_over
    assert len(pair.responder.of(IkeSaEstablished)) == 1


@pytest.mark.requirement("TCP-42", "TCP-43", "TCP-80", "IKE-046")
def test_a_request_repeated_over_tcp_draws_the_stored_response_there_and_nowhere_else() -> None:
    pair = Pair(initiator(policy=UdpOnly()), tcp=True)
    pair.establish()
    pair.run()
    request, response = datagrams(pair, A)[1].data, datagrams(pair, B)[1].data
    stranger = Stranger(pair)
    stream = stranger.connect()
    before = len(datagrams(pair, B))
    stranger.write(stream, request)
    assert bytes(stream.received) == response
    assert len(datagrams(pair, B)) == before
    assert len(pair.responder.of(IkeSaEstablished)) == 1


@pytest.mark.requirement("TCP-80")
def test_one_request_on_two_transports_is_executed_once_and_answered_on_each() -> None:
    for pending in (False, True):
        theirs = attrs.evolve(psk_connection("responder"), authorize=pending)
        pair = Pair(initiator(policy=UdpOnly()), theirs, tcp=True)
        stranger = Stranger(pair)
        stream = stranger.connect()
        copies: list[bytes] = []

        def copy(data: bytes, copies: list[bytes] = copies) -> bytes:
            copies.append(data)
            return data

        Mangler(pair.network, transport="udp", source=A).change(1, copy)
        pair.initiate()
        pair.run(until=lambda copies=copies: copies)  # type: ignore[misc]
        stranger.endpoint.write(stream, copies[0])
        pair.run_for(1.0)
        if pending:
            assert not stream.received
            question = pair.responder.one(AuthorizationNeeded).question
            assert pair.responder.call(pair.responder.endpoint.answer, question, True)
            pair.run_for(0.1)
        assert len(pair.responder.of(IkeSaEstablished)) == 1
        assert bytes(stream.received) == datagrams(pair, B)[-1].data


@pytest.mark.requirement("TCP-76")
def test_several_sas_on_one_connection() -> None:
    pair = Pair(initiator(policy=UdpOnly()), tcp=True)
    for _ in range(2):
        pair.initiate()
    pair.run()
    stranger = Stranger(pair)
    stream = stranger.connect()
    views = [pair.initiator.endpoint.sa(sa) for sa in pair.initiator.endpoint.sas]
    stranger.write(
        stream,
        *(stranger.insider.seal("initiator", Exchange.INFORMATIONAL, 2, [], keys=view.export_keys()) for view in views),
    )
    length = int.from_bytes(stream.received[24:28], "big")
    answers = [bytes(stream.received[:length]), bytes(stream.received[length:])]
    assert {answer[:16] for answer in answers} == {view.spi_i + view.spi_r for view in views}


@pytest.mark.requirement("TCP-77")
def test_only_requests_are_valid_on_an_accepted_connection() -> None:
    pair = Pair(tcp=True)
    _, theirs = pair.establish()
    pair.run()
    stranger = Stranger(pair)
    stream = stranger.connect()
    stranger.write(stream, stranger.insider.seal("initiator", Exchange.INFORMATIONAL, 0, [], is_response=True))
    assert (stream.state, stream.error) == ("lost", "connection reset by peer")
    assert pair.responder.endpoint.sa(theirs).state == "established"


@pytest.mark.requirement("TCP-77")
def test_only_responses_are_valid_on_a_connection_that_we_opened() -> None:
    theirs = attrs.evolve(psk_connection("responder"), authorize=True)
    pair = Pair(None, theirs, tcp=True)
    sa = pair.initiate()
    pair.run(until=lambda: pair.responder.of(AuthorizationNeeded))
    insider = Insider(pair.initiator)
    forged = insider.seal("responder", Exchange.INFORMATIONAL, 0, [Delete(1)])
    connection = pair.network.connections[0]
    connection.server.inject(forged)
    pair.run_for(0.5)
    assert connection.client.closed
    assert pair.initiator.endpoint.sa(sa).state == "authenticating"


# --- which transport, and when ----------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-25", "TCP-26", "TCP-27", "TCP-57", "TCP-66", "TCP-71")
def test_init_over_udp_auth_over_tcp_and_the_rest_over_udp_4500(certified: Certified) -> None:
    pair = Pair(certified.connection("initiator"), certified.connection("responder"), tcp=True, nat=Nat("203.0.113.1"))
    sa = pair.initiate()
    pair.run()
    wish = pair.initiator.call(pair.initiator.endpoint.check_liveness, sa)
    pair.run()
    assert pair.initiator.one(RequestCompleted).request == wish
    assert pair.initiator.one(NatDetected).local_behind_nat
    assert [(exchange, transport) for exchange, is_response, transport in carried(pair) if not is_response] == [
        ("IKE_SA_INIT", "udp"),
        ("IKE_AUTH", "tcp"),
        ("INFORMATIONAL", "udp"),
        ("INFORMATIONAL", "udp"),
    ]
    first, *later = datagrams(pair, "203.0.113.1")
    assert first.destination == (B, 500)
    assert {packet.destination for packet in later} == {(B, 4500)}
    assert all(packet.data.startswith(MARKER) or packet.data == KEEPALIVE for packet in later)
    check = next(rung for rung in pair.rungs() if rung.exchange == "INFORMATIONAL")
    assert check.payloads == ()
    up = next(
        each.time
        for each in pair.network.timeline
        if isinstance(each.event, IkeSaEstablished) and each.host is pair.initiator
    )
    assert check.time == up


@pytest.mark.requirement("TCP-71")
def test_without_a_nat_there_is_no_check_after_ike_auth(certified: Certified) -> None:
    pair = Pair(certified.connection("initiator"), certified.connection("responder"), tcp=True)
    pair.initiate()
    pair.run()
    assert {exchange for exchange, _, _ in carried(pair)} == {"IKE_SA_INIT", "IKE_AUTH"}


@pytest.mark.requirement("TCP-71", "TCP-67")
def test_a_check_that_udp_does_not_answer_goes_over_tcp_and_never_ends_the_sa(certified: Certified) -> None:
    pair = Pair(certified.connection("initiator"), certified.connection("responder"), tcp=True, nat=Nat("203.0.113.1"))
    pair.network.block("udp", port=4500)
    sa = pair.initiate()
    pair.run()
    pair.run_for(300.0)
    assert pair.initiator.endpoint.sa(sa).state == "established"
    checks = {rung.transport for rung in pair.rungs() if rung.exchange == "INFORMATIONAL" and not rung.is_response}
    assert checks == {"udp", "tcp"}
    sent = {
        packet.data.removeprefix(MARKER)
        for packet in pair.network.wire
        if packet.source[0] == "203.0.113.1" and packet.data.removeprefix(MARKER)[18:19] == b"\x25"
    }
    assert len(sent) == 1, "the same octets"


@pytest.mark.requirement("TCP-66", "TCP-56")
def test_liveness_goes_over_udp_even_while_a_connection_is_open() -> None:
    pair = Pair(tcp=True)
    mine, _ = pair.establish()
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run()
    assert carried(pair)[-2:] == [("INFORMATIONAL", False, "udp"), ("INFORMATIONAL", True, "udp")]


@pytest.mark.requirement("TCP-30", "TCP-31", "TCP-32", "TCP-73")
def test_the_responder_s_own_requests_never_go_on_the_peer_s_connection() -> None:
    pair = Pair(tcp=Tcp(delay=0.5))
    pair.initiate()
    pair.run(until=lambda: pair.responder.of(IkeSaEstablished))
    [theirs] = pair.responder.endpoint.sas
    assert pair.network.connections[0].state == "open"
    wish = pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    pair.run()
    assert pair.responder.one(RequestCompleted).request == wish
    mine = [event for event in pair.responder.of(MessageSent) if not event.is_response]
    assert {event.transport for event in mine} == {"udp"}
    assert {(event.remote) for event in mine} == {(A, 500)}
    assert len(pair.network.connections) == 1


@pytest.mark.requirement("TCP-73")
def test_addresses_of_connections_never_become_the_udp_path() -> None:
    pair = Pair(initiator(policy=UdpOnly()), tcp=True)
    _, theirs = pair.establish()
    pair.run()
    before = pair.responder.endpoint.sa(theirs).remote
    stranger = Stranger(pair)
    stranger.write(stranger.connect(), stranger.liveness(2))
    assert pair.responder.endpoint.sa(theirs).remote == before == (A, 500)
    wish = pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    pair.run_for(1.0)
    assert pair.responder.one(RequestCompleted).request == wish
    assert stranger.endpoint.datagrams == []


@pytest.mark.requirement("TCP-72")
@pytest.mark.parametrize("behind", [False, True])
def test_nat_detection_over_tcp_hashes_the_connection_s_ports(behind: bool) -> None:
    pair = Pair(tcp=True, nat=Nat("203.0.113.1") if behind else None)
    pair.initiate()
    pair.run(until=lambda: outcome(pair.initiator))
    assert bool(pair.initiator.of(NatDetected)) is behind
    assert bool(pair.responder.of(NatDetected)) is behind


@pytest.mark.requirement("TCP-72")
def test_a_nat_that_translates_the_port_alone_is_seen() -> None:
    pair = Pair(tcp=True, nat=Nat(A))
    pair.initiate()
    pair.run(until=lambda: outcome(pair.initiator))
    assert pair.initiator.one(NatDetected).local_behind_nat


# --- announcing -------------------------------------------------------------------------------------------------------


def announced(pair: Pair, sender: str, index: int = 0) -> list[bytes]:
    """Return the data of IKE_TCP_SUPPORTED in a message of IKE_SA_INIT."""
    _, payloads = decode_message(datagrams(pair, sender)[index].data)
    number = Config().tcp_notify
    return [each.data for each in payloads if isinstance(each, Notification) and each.notify_type == number]


@pytest.mark.requirement("TCP-18", "TCP-28", "TCP-49", "TCP-50", "TCP-51", "TCP-54", "TCP-69")
@pytest.mark.parametrize(
    ("tcp", "announce", "expected"),
    [
        (True, None, [b"\x01\xf4"]),
        (True, 0, []),
        (True, 4433, [b"\x11\x51"]),
        (False, None, []),
        (False, 4433, [b"\x11\x51"]),
    ],
)
def test_the_responder_announces_what_it_is_told_to(tcp: bool, announce: int | None, expected: list[bytes]) -> None:
    theirs = psk_connection("responder", transports=Transports(announce_tcp=announce))
    pair = Pair(initiator(policy=UdpOnly()), theirs, tcp=tcp)
    pair.initiate()
    pair.run()
    assert announced(pair, B) == expected
    assert announced(pair, A) == [], "an initiator announces only if configured"
    if expected:
        octets = datagrams(pair, B)[0].data
        assert b"\x00\x0a\x00\x00" + Config().tcp_notify.to_bytes(2, "big") + expected[0] in octets


@pytest.mark.requirement("TCP-18", "TCP-48")
def test_an_initiator_announces_if_configured() -> None:
    pair = Pair(initiator(policy=UdpOnly(), announce_tcp=500))
    pair.initiate()
    pair.run()
    assert announced(pair, A) == [b"\x01\xf4"]
    assert pair.responder.one(TcpAnnounced).port == 500


@pytest.mark.requirement("TCP-52", "TCP-84")
@pytest.mark.parametrize(("theirs", "understood"), [(50000, False), (None, True)])
def test_the_number_of_the_notification_is_configuration(theirs: int | None, understood: bool) -> None:
    config = Config(connections=[psk_connection("responder")], trace=True)
    if theirs is not None:
        config = attrs.evolve(config, tcp_notify=theirs)
    pair = Pair(initiator(policy=UdpOnly()), config, tcp=True)
    pair.initiate()
    pair.run()
    assert bool(pair.initiator.of(TcpAnnounced)) is understood
    assert Config().tcp_notify > 40999


@pytest.mark.requirement("TCP-53")
@pytest.mark.parametrize("port", [443, 22, 80])
def test_an_announced_port_that_is_not_allowed_is_not_used(certified: Certified, port: int) -> None:
    pair = Pair(
        certified.connection("initiator"),
        certified.connection("responder", Transports(announce_tcp=port)),
        tcp=True,
    )
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert not pair.initiator.one(TcpAnnounced).usable
    assert tcp_packets(pair) == []


@pytest.mark.requirement("TCP-55")
@pytest.mark.parametrize("data", [b"", b"\x01", b"\0\0", b"\x01\xf4\0"])
def test_an_announcement_that_makes_no_sense_is_ignored(data: bytes) -> None:
    """The exchange goes on, over UDP; that the change breaks AUTH in the end is another matter."""
    number = Config().tcp_notify

    def change(octets: bytes) -> bytes:
        header, payloads = decode_message(octets)
        return encode_message(
            spi_i=header.spi_i,
            spi_r=header.spi_r,
            exchange=header.exchange,
            flags=header.flags,
            message_id=0,
            payloads=[
                Notification(number, data) if getattr(each, "notify_type", None) == number else each
                for each in payloads
            ],
        )

    pair = Pair(initiator(policy=BySize(threshold=0)), tcp=True)
    Mangler(pair.network).change(1, change)
    pair.initiate()
    pair.run_for(1.0)
    assert pair.initiator.of(TcpAnnounced) == []
    assert [event.transport for event in pair.initiator.of(TransportChosen)] == ["udp", "udp"]
    assert tcp_packets(pair) == []


@pytest.mark.requirement("TCP-53")
def test_a_configured_port_beats_the_announced_one(certified: Certified) -> None:
    pair = Pair(
        certified.connection("initiator", Transports(tcp_port=500)),
        certified.connection("responder", Transports(announce_tcp=4433)),
        tcp=True,
    )
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert {packet.destination[1] for packet in tcp_packets(pair, A)} == {500}


@pytest.mark.requirement("TCP-68")
def test_a_gateway_behind_a_nat_announces_the_outside_port(certified: Certified) -> None:
    nat = Nat(
        "203.0.113.2",
        forwards={("udp", 500): (B, 500), ("udp", 4500): (B, 4500), ("tcp", 4433): (B, 500)},
    )
    pair = Pair(
        certified.connection("initiator"),
        certified.connection("responder", Transports(announce_tcp=4433)),
        tcp=True,
        responder_nat=nat,
    )
    sa = pair.initiate()
    pair.run()
    assert pair.initiator.endpoint.sa(sa).state == "established"
    assert pair.initiator.one(IkeSaEstablished).transport == "tcp"
    assert {packet.destination for packet in tcp_packets(pair, A)} == {("203.0.113.2", 4433)}


# --- cookies ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-36", "TCP-19")
def test_cookies_are_for_udp_only() -> None:
    crowded = Config(connections=[psk_connection("responder")], limits=Limits(cookie_threshold=0), trace=True)
    pair = Pair(None, crowded, tcp=True)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.of(CookieReceived) == []


@pytest.mark.requirement("TCP-19")
def test_a_cookie_drawn_over_udp_is_given_over_udp_whatever_the_policy() -> None:
    crowded = Config(connections=[psk_connection("responder")], limits=Limits(cookie_threshold=0), trace=True)
    pair = Pair(initiator(policy=Race(patience=1.0), tcp_port=500), crowded, tcp=True)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(CookieReceived).transport == "udp"
    inits = [(rung.transport, "N(COOKIE)" in rung.payloads) for rung in pair.rungs() if rung.outward][:2]
    assert inits == [("udp", False), ("udp", True)]


@pytest.mark.requirement("TCP-17")
@pytest.mark.parametrize("source", [(C, 500), (B, 4500), (B, 501)])
def test_a_response_to_ike_sa_init_from_elsewhere_is_ignored(source: tuple[str, int]) -> None:
    pair = Pair(udp=Udp(delay=0.5))
    pair.initiate()
    pair.run(until=lambda: datagrams(pair, B))
    genuine = datagrams(pair, B)[0].data
    pair.network.udp = Udp(delay=0.0)
    pair.network.send(genuine, source=source, destination=(A, 500))
    pair.run_for(0.1)
    assert pair.network.wire[-1].fate == "delivered"
    assert pair.initiator.of(SpisChanged) == []
    pair.run()
    assert pair.initiator.of(IkeSaEstablished)


def answered_elsewhere() -> tuple[Pair, bytes]:
    """IKE_AUTH went over UDP and a connection is open beside it; the response was lost, and is returned."""
    pair = Pair(initiator(policy=BySize(open_early=True), tcp_port=500), tcp=Tcp(delay=0.001))
    pair.network.at(0.025, lambda: pair.network.block("udp", source=B))
    pair.initiate()
    pair.run(until=0.035)
    response = datagrams(pair, B)[-1]
    assert response.fate == "blocked"
    return pair, response.data


@pytest.mark.requirement("TCP-17")
def test_a_protected_response_is_not_accepted_from_a_stream_that_did_not_carry_its_request() -> None:
    pair, response = answered_elsewhere()
    [connection] = pair.network.connections
    assert not connection.client.closed
    connection.server.inject(response)
    pair.run_for(0.1)
    assert outcome(pair.initiator) == []


@pytest.mark.requirement("TCP-17")
def test_a_protected_response_is_accepted_from_any_udp_address() -> None:
    """The responder's NAT may have another mapping by now; the ICV says who it is."""
    pair, response = answered_elsewhere()
    pair.network.send(response, source=(C, 61_000), destination=(A, 500))
    pair.run_for(0.1)
    assert pair.initiator.of(IkeSaEstablished)


# --- all policies in all networks -------------------------------------------------------------------------------------

POLICIES: dict[str, Policy] = {
    "udp only": UdpOnly(),
    "tcp only": TcpOnly(),
    "by size": BySize(),
    "by size, opened early": BySize(open_early=True),
    "whole mission": WholeMission(),
    "race": Race(),
    "race that discovers": Race(discover=True),
    "fallback": Fallback(),
}
NETWORKS: dict[str, tuple[Udp, Tcp, set[str]]] = {
    "all is well": (Udp(), Tcp(), {"udp", "tcp"}),
    "slow": (Udp(delay=0.7, jitter=0.3), Tcp(delay=0.7, jitter=0.3), {"udp", "tcp"}),
    "no UDP": (Udp(loss=1.0), Tcp(), {"tcp"}),
    "TCP refused": (Udp(), Tcp(connect="refuse"), {"udp"}),
    "TCP silent": (Udp(), Tcp(connect="silent"), {"udp"}),
    "TCP a black hole": (Udp(), Tcp(black_hole=True), {"udp"}),
    "TCP reset": (Udp(), Tcp(reset_after=0.005), {"udp"}),
    "nothing": (Udp(loss=1.0), Tcp(connect="silent"), set()),
}


@pytest.mark.requirement("TCP-64", "TCP-57", "TCP-13", "TCP-67")
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_in_every_network(policy: str, network: str) -> None:
    """The same responder serves them all; what cannot work fails with one clear error, and nothing is left."""
    udp, tcp, working = NETWORKS[network]
    pair = Pair(initiator(policy=POLICIES[policy], tcp_port=500), tcp=tcp, udp=udp)
    sa = pair.initiate()
    pair.run()
    usable = {"udp only": {"udp"}, "tcp only": {"tcp"}}.get(policy, {"udp", "tcp"})
    [result] = outcome(pair.initiator)
    if usable & working:
        assert isinstance(result, IkeSaEstablished), result
        assert result.transport in usable & working
        assert_agreement(pair, sa)
        assert len(pair.responder.of(IkeSaEstablished)) == 1
        close = pair.initiator.call(pair.initiator.endpoint.delete, sa)
        pair.run()
        assert pair.initiator.of(RequestCompleted)[-1].request == close
    else:
        assert isinstance(result, IkeSaFailed)
        assert isinstance(result.error, PeerUnreachable)
    pair.run_for(100.0)
    assert pair.initiator.endpoint.idle
    if network != "nothing":
        assert_nothing_left(pair)


@pytest.mark.requirement("TCP-09", "TCP-58")
def test_a_connection_opened_early_carries_ike_auth(certified: Certified) -> None:
    pair = Pair(
        certified.connection("initiator", Transports(policy=BySize(open_early=True), tcp_port=500)),
        certified.connection("responder"),
        tcp=True,
    )
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    syn = tcp_packets(pair, A, "syn")
    assert [packet.time for packet in syn] == [0.0]
    assert carried(pair)[0][2] == "udp"
    assert carried(pair)[2][2] == "tcp"


@pytest.mark.requirement("TCP-09", "TCP-63")
def test_a_connection_opened_early_for_nothing_is_closed_unused() -> None:
    pair = Pair(initiator(policy=BySize(open_early=True), tcp_port=500), tcp=Tcp(delay=0.001))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert tcp_packets(pair, None, "data") == []
    assert [packet.kind for packet in tcp_packets(pair)] == ["syn", "fin", "fin"]
    assert tcp_packets(pair, A, "fin")[0].time < 1.0


@pytest.mark.requirement("TCP-62")
@pytest.mark.parametrize(("delay", "transport"), [(0.001, "tcp"), (0.5, "udp")])
def test_a_race_is_won_by_the_handshake_that_is_first(delay: float, transport: str) -> None:
    pair = Pair(initiator(policy=Race(), tcp_port=500), tcp=Tcp(delay=delay))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(IkeSaEstablished).transport == transport
    assert carried(pair)[0] == ("IKE_SA_INIT", False, "udp")
    data = [packet.kind for packet in tcp_packets(pair, None, "data")]
    assert bool(data) is (transport == "tcp")
    assert all(connection.dead for connection in pair.network.connections)


@pytest.mark.requirement("TCP-62", "TCP-14")
def test_an_ike_sa_init_that_udp_leaves_unanswered_begins_anew_on_the_raced_connection() -> None:
    pair = Pair(initiator(policy=Race(patience=2.0), tcp_port=500), tcp=True)
    pair.network.block("udp", source=A)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    by_udp = {packet.data[:8] for packet in datagrams(pair, A)}
    by_tcp = {packet.data[:8] for packet in tcp_packets(pair, A, "data")}
    assert len(by_udp) == len(by_tcp) == 1
    assert by_udp != by_tcp
    assert len(outcome(pair.initiator)) == 1


@pytest.mark.requirement("TCP-57")
def test_every_choice_comes_with_its_reason() -> None:
    for policy in POLICIES.values():
        pair = Pair(initiator(policy=policy, tcp_port=500), tcp=True)
        pair.initiate()
        pair.run()
        chosen = pair.initiator.of(TransportChosen)
        assert [event.exchange for event in chosen][:2] == ["IKE_SA_INIT", "IKE_AUTH"]
        assert all(len(event.reason) > 5 for event in chosen)


CUT = st.lists(st.integers(1, 60), min_size=1, max_size=8)


@pytest.mark.requirement("TCP-13", "TCP-16", "TCP-23", "TCP-24", "TCP-67", "TCP-80")
@given(
    policy=st.sampled_from(sorted(POLICIES)),
    udp=st.builds(Udp, loss=st.sampled_from([0.0, 0.2]), jitter=st.sampled_from([0.0, 0.3])),
    cut=CUT,
    resets=st.lists(st.floats(0.0, 1.0), max_size=3),
    jitter=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 2**16),
)
def test_resets_and_losses_end_in_success_or_one_error(
    policy: str, udp: Udp, cut: list[int], resets: list[float], jitter: float, seed: int
) -> None:
    def split(data: bytes) -> list[bytes]:
        pieces, pos, index = [], 0, 0
        while pos < len(data):
            size = cut[index % len(cut)]
            pieces.append(data[pos : pos + size])
            pos, index = pos + size, index + 1
        return pieces

    pair = Pair(
        initiator(policy=POLICIES[policy], tcp_port=500), tcp=Tcp(split=split, jitter=jitter), udp=udp, seed=seed
    )
    for moment in resets:
        pair.network.at(moment, lambda: reset_all(pair))
    sa = pair.initiate()
    pair.run_for(400.0)
    [result] = outcome(pair.initiator)
    if isinstance(result, IkeSaEstablished):
        assert_agreement(pair, sa)
        assert len(pair.responder.of(IkeSaEstablished)) == 1
        pair.initiator.call(pair.initiator.endpoint.delete, sa)
        pair.run_for(100.0)
    else:
        assert isinstance(result.error, PeerUnreachable)
    assert pair.initiator.endpoint.idle
    assert len(pair.responder.endpoint.sas) <= 1
