"""The network itself, with endpoints that have no protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ikecore import Local, Output
from ikecore.testing import (
    BareEndpoint,
    Host,
    Mangler,
    Nat,
    Network,
    NetworkError,
    Tcp,
    Udp,
    flip,
    truncate,
)

A, B = ("10.0.0.1", 500), ("10.0.0.2", 500)


class World:
    """Two bare endpoints, the second with a TCP listener."""

    def __init__(self, network: Network, *, nat: Nat | None = None) -> None:
        self.network = network
        self.a, self.b = BareEndpoint(), BareEndpoint()
        self.host_a = network.attach(self.a, Local(A), nat=nat)
        self.host_b = network.attach(self.b, Local(B), Local(B, "tcp"))

    def send(self, *messages: bytes) -> None:
        for message in messages:
            self.a.send(message, local=A, remote=B)
        self.network.run()

    @property
    def heard(self) -> list[bytes]:
        return [datagram.data for datagram in self.b.datagrams]

    @property
    def fates(self) -> list[str]:
        return [packet.fate for packet in self.network.wire]


def numbered(count: int) -> list[bytes]:
    return [bytes([index]) for index in range(count)]


# --- datagrams ------------------------------------------------------------------------------------------------------


def test_a_datagram_takes_the_delay() -> None:
    world = World(Network(udp=Udp(delay=0.25)))
    world.send(b"hello")
    [datagram] = world.b.datagrams
    assert (datagram.time, datagram.data, datagram.local, datagram.source) == (0.25, b"hello", B, A)
    [packet] = world.network.wire
    assert (packet.time, packet.arrived, packet.fate, packet.source, packet.destination) == (
        0.0,
        0.25,
        "delivered",
        A,
        B,
    )


def test_loss_and_duplication_have_about_the_share_asked_for() -> None:
    world = World(Network(udp=Udp(loss=0.25, duplication=0.5)))
    world.send(*numbered(200))
    assert 30 <= world.fates.count("lost") <= 70
    assert set(world.fates) == {"lost", "delivered"}
    copies = [packet for packet in world.network.wire if packet.copy]
    assert 50 <= len(copies) <= 100
    assert len(world.heard) == 200 - world.fates.count("lost") + len(copies)


def test_without_jitter_or_reordering_the_order_is_kept() -> None:
    world = World(Network())
    world.send(*numbered(50))
    assert world.heard == numbered(50)


@pytest.mark.parametrize("udp", [Udp(jitter=0.1), Udp(reordering=0.3)])
def test_jitter_and_reordering_change_the_order_and_lose_nothing(udp: Udp) -> None:
    world = World(Network(udp=udp))
    world.send(*numbered(50))
    assert world.heard != numbered(50)
    assert sorted(world.heard) == numbered(50)


def test_datagrams_above_the_largest_vanish() -> None:
    world = World(Network(udp=Udp(max_datagram=1232)))
    world.send(bytes(1232), bytes(1233))
    assert [len(data) for data in world.heard] == [1232]
    assert world.fates == ["delivered", "too large"]


def test_what_no_socket_sends_fails_at_once() -> None:
    world = World(Network())
    world.send(bytes(65_508))
    assert world.a.failures == [(B, "message too long")]
    assert world.network.wire == []


def test_a_closed_port_is_silent_or_answers_with_an_error() -> None:
    nowhere = ("10.0.0.2", 4500)
    for udp, failures in ((Udp(), []), (Udp(unreachable=True), [(nowhere, "connection refused")])):
        world = World(Network(udp=udp))
        world.a.send(b"x", local=A, remote=nowhere)
        world.network.run()
        assert world.a.failures == failures
        assert world.fates == ["unreachable"]


def test_a_one_way_block_holds_until_it_is_taken_away() -> None:
    world = World(Network())
    rule = world.network.block("udp", source="10.0.0.1")
    world.send(b"1")
    world.b.send(b"2", local=B, remote=A)
    world.network.run()
    assert world.heard == []
    assert [datagram.data for datagram in world.a.datagrams] == [b"2"]
    world.network.unblock(rule)
    world.send(b"3")
    assert world.heard == [b"3"]


def test_blocks_look_at_transport_and_port() -> None:
    network = Network()
    network.block("udp", port=4500)
    assert network.blocked("udp", A[0], B[0], 4500) is not None
    assert network.blocked("udp", A[0], B[0], 500) is None
    assert network.blocked("tcp", A[0], B[0], 4500) is None


def test_a_link_may_differ_from_the_rest_of_the_network_in_one_direction() -> None:
    world = World(Network(udp=Udp(delay=0.01)))
    world.network.between(A[0], B[0], udp=Udp(delay=5.0))
    world.send(b"x")
    world.b.send(b"y", local=B, remote=A)
    world.network.run()
    assert world.b.datagrams[0].time == pytest.approx(5.0)
    assert world.a.datagrams[0].time == pytest.approx(5.01)


def test_anybody_can_send_with_any_source() -> None:
    world = World(Network())
    world.network.send(b"spoofed", source=("192.0.2.66", 1), destination=B)
    world.network.run()
    assert world.b.datagrams[0].source == ("192.0.2.66", 1)


def test_a_host_that_vanishes_is_silent() -> None:
    world = World(Network())
    world.network.detach(world.host_b)
    world.send(b"x")
    assert world.fates == ["unreachable"]


# --- NAT ------------------------------------------------------------------------------------------------------------


def test_a_nat_rewrites_addresses_and_lets_answers_in() -> None:
    world = World(Network(), nat=Nat("203.0.113.1"))
    world.send(b"request")
    seen = world.b.datagrams[0].source
    assert seen[0] == "203.0.113.1"
    assert seen[1] != A[1]
    world.b.send(b"answer", local=B, remote=seen)
    world.b.send(b"to the inside address", local=B, remote=A)
    world.network.run()
    [datagram] = world.a.datagrams
    assert (datagram.data, datagram.local, datagram.source) == (b"answer", A, B)


def test_a_nat_lets_in_nobody_who_was_not_spoken_to() -> None:
    for nat, heard in ((Nat("203.0.113.1"), 0), (Nat("203.0.113.1", open=True), 1)):
        world = World(Network(), nat=nat)
        world.send(b"request")
        world.network.send(b"x", source=("192.0.2.66", 9), destination=world.b.datagrams[0].source)
        world.network.run()
        assert len(world.a.datagrams) == heard


def test_a_mapping_is_kept_while_it_is_used_and_expires_after() -> None:
    world = World(Network(), nat=Nat("203.0.113.1", lifetime=30.0))
    world.send(b"1")
    world.network.run_for(20.0)
    world.send(b"2")
    world.network.run_for(31.0)
    first, second = (datagram.source for datagram in world.b.datagrams)
    assert first == second
    world.b.send(b"too late", local=B, remote=first)
    world.network.run()
    assert world.a.datagrams == []
    world.send(b"3")
    assert world.b.datagrams[2].source != first


def test_a_nat_may_keep_ports_and_forward_some() -> None:
    world = World(Network(), nat=Nat("203.0.113.1", preserve_ports=True, forwards={("udp", 4600): A}))
    world.network.send(b"in", source=B, destination=("203.0.113.1", 4600))
    world.network.run()
    assert world.a.datagrams[0].local == A
    assert Nat("203.0.113.1", preserve_ports=True).outbound("udp", A, B, 0.0) == ("203.0.113.1", A[1])


# --- connections ----------------------------------------------------------------------------------------------------


def test_a_connection_comes_up_after_a_round_trip_and_keeps_the_order_of_octets() -> None:
    world = World(Network(tcp=Tcp(delay=0.1, jitter=0.5)))
    stream = world.a.open(B)
    world.network.run(until=lambda: stream.state == "open")
    assert 0.2 <= world.network.now <= 1.2
    for message in numbered(100):
        world.a.write(stream, message)
    world.network.run()
    [accepted] = world.b.streams.values()
    assert bytes(accepted.received) == b"".join(numbered(100))
    assert accepted.remote == stream.local
    assert (accepted.local, accepted.opened) == (B, False)
    assert stream.unsent == 0


@pytest.mark.parametrize("split", [1, 7, 1000, lambda data: [data[:3], b"", data[3:]]])
def test_pieces_of_any_size_make_up_the_same_stream(split: object) -> None:
    world = World(Network(tcp=Tcp(split=split)))  # type: ignore[arg-type]
    stream = world.a.open(B)
    world.network.run()
    world.a.write(stream, bytes(range(100)))
    world.network.run()
    [accepted] = world.b.streams.values()
    assert b"".join(accepted.reads) == bytes(range(100))
    assert all(accepted.reads)
    if split == 7:
        assert [len(piece) for piece in accepted.reads] == [7] * 14 + [2]


def test_a_split_that_loses_octets_is_a_mistake_of_the_test() -> None:
    world = World(Network(tcp=Tcp(split=lambda data: [data[1:]])))
    stream = world.a.open(B)
    world.network.run()
    world.a.write(stream, b"abc")
    with pytest.raises(NetworkError, match="split"):
        world.network.run()


def test_half_close_lets_the_other_direction_go_on() -> None:
    world = World(Network())
    stream = world.a.open(B)
    world.network.run()
    [accepted] = world.b.streams.values()
    world.a.write(stream, b"question")
    world.a.half_close(stream)
    world.network.run()
    assert (bytes(accepted.received), accepted.eof, accepted.state) == (b"question", True, "open")
    world.b.write(accepted, b"answer")
    world.b.close(accepted)
    world.network.run()
    assert (bytes(stream.received), stream.eof, stream.state) == (b"answer", True, "open")
    assert [packet.kind for packet in world.network.wire] == ["syn", "data", "fin", "data", "fin"]


def test_nobody_listening_refuses_and_nobody_there_is_silent() -> None:
    world = World(Network())
    refused = world.a.open(("10.0.0.2", 501))
    silent = world.a.open(("10.9.9.9", 500))
    world.network.run(until=100.0)
    assert (refused.state, refused.error) == ("lost", "connection refused")
    assert silent.state == "connecting"
    world.network.run()
    assert (silent.state, silent.error) == ("lost", "connection timed out")
    assert world.network.now == pytest.approx(127.0)


@pytest.mark.parametrize(("connect", "state"), [("refuse", "lost"), ("silent", "connecting")])
def test_a_network_may_refuse_or_swallow_connections(connect: str, state: str) -> None:
    world = World(Network(tcp=Tcp(connect=connect)))  # type: ignore[arg-type]
    stream = world.a.open(B)
    world.network.run(until=5.0)
    assert stream.state == state
    assert world.b.streams == {}


def test_a_filter_may_refuse() -> None:
    world = World(Network())
    world.network.block("tcp", port=500, refuse=True)
    stream = world.a.open(B)
    world.network.run()
    assert stream.error == "connection refused"
    assert world.fates == ["refused"]


def test_an_attempt_succeeds_once_the_filter_is_gone() -> None:
    world = World(Network())
    rule = world.network.block("tcp")
    world.network.at(2.5, lambda: world.network.unblock(rule))
    stream = world.a.open(B)
    world.network.run()
    assert stream.state == "open"
    assert [packet.time for packet in world.network.wire] == [0.0, 1.0, 3.0]


def test_a_cancelled_attempt_never_comes_up() -> None:
    world = World(Network())
    stream = world.a.open(B)
    world.a.close(stream)
    world.network.run()
    assert stream.state == "connecting"
    assert world.b.streams == {}


def test_octets_wait_behind_a_filter_and_come_in_order() -> None:
    world = World(Network())
    stream = world.a.open(B)
    world.network.run()
    rule = world.network.block("tcp", source="10.0.0.1")
    world.network.at(world.network.now + 4.0, lambda: world.network.unblock(rule))
    for message in numbered(5):
        world.a.write(stream, message)
    world.network.run()
    assert bytes(world.b.streams[stream.id].received) == b"".join(numbered(5))


def test_a_black_hole_opens_after_the_handshake() -> None:
    world = World(Network(tcp=Tcp(black_hole=True)))
    stream = world.a.open(B)
    world.network.run()
    assert stream.state == "open"
    world.a.write(stream, b"lost")
    world.network.run_for(60.0)
    assert stream.state == "open"
    assert world.b.streams[stream.id].received == b""
    world.network.run()
    assert (stream.state, stream.error) == ("lost", "connection timed out")


def test_a_reset_from_the_middle_ends_both_sides() -> None:
    world = World(Network(tcp=Tcp(reset_after=1.0)))
    stream = world.a.open(B)
    world.network.run()
    assert world.network.now == pytest.approx(1.02)
    assert {stream.error, world.b.streams[stream.id].error} == {"connection reset by peer"}


def test_rst_arrives_as_a_loss() -> None:
    world = World(Network())
    stream = world.a.open(B)
    world.network.run()
    world.b.reset(world.b.streams[stream.id])
    world.network.run()
    assert stream.error == "connection reset by peer"


def test_octets_for_a_closed_socket_draw_rst() -> None:
    world = World(Network())
    stream = world.a.open(B)
    world.network.run()
    world.b.close(world.b.streams[stream.id])
    world.network.run()
    assert stream.eof
    world.a.write(stream, b"too late")
    world.network.run()
    assert stream.error == "connection reset by peer"


def test_closing_with_input_unread_resets() -> None:
    world = World(Network(tcp=Tcp(read_rate=0.0)))
    stream = world.a.open(B)
    world.network.run()
    world.a.write(stream, b"never read")
    world.network.run()
    world.b.close(world.b.streams[stream.id])
    world.network.run()
    assert stream.error == "connection reset by peer"


def test_a_peer_that_never_reads_fills_the_window() -> None:
    world = World(Network(tcp=Tcp(read_rate=0.0, window=1000)))
    stream = world.a.open(B)
    world.network.run()
    world.a.write(stream, bytes(5000))
    world.network.run()
    assert stream.unsent == 4000


def test_a_slow_reader_reads_at_its_rate() -> None:
    world = World(Network(tcp=Tcp(read_rate=1000.0, window=1000)))
    stream = world.a.open(B)
    world.network.run()
    world.a.write(stream, bytes(5000))
    world.a.half_close(stream)
    world.network.run()
    accepted = world.b.streams[stream.id]
    assert (len(accepted.received), accepted.eof, stream.unsent) == (5000, True, 0)
    assert 4.0 < world.network.now < 10.0


def test_a_connection_through_a_nat_shows_the_outside_address() -> None:
    world = World(Network(), nat=Nat("203.0.113.1"))
    stream = world.a.open(B)
    world.network.run()
    assert world.b.streams[stream.id].remote[0] == "203.0.113.1"
    assert stream.local is not None
    assert stream.local[0] == A[0]


# --- octets changed on the way ----------------------------------------------------------------------------------------


def test_a_mangler_drops_and_changes_what_it_is_told_to() -> None:
    world = World(Network())
    mangler = Mangler(world.network, transport="udp", source=A[0])
    mangler.drop(0)
    mangler.change(1, truncate(2))
    mangler.change(2, flip(-1, 0x80))
    world.send(b"one", b"two", b"three")
    assert world.heard == [b"tw", b"thre\xe5"]
    assert mangler.seen == [b"one", b"two", b"three"]
    world.b.send(b"not matched", local=B, remote=A)
    world.network.run()
    assert world.a.datagrams[0].data == b"not matched"
    mangler.remove()
    world.send(b"four")
    assert world.heard[-1] == b"four"


def test_a_mangler_changes_streams_too() -> None:
    world = World(Network(tcp=Tcp(split=2)))
    Mangler(world.network, transport="tcp", every=lambda data: None if data == b"cd" else data.upper())
    stream = world.a.open(B)
    world.network.run()
    world.a.write(stream, b"abcdef")
    world.network.run()
    assert bytes(world.b.streams[stream.id].received) == b"ABEF"


# --- time, order, replay ----------------------------------------------------------------------------------------------


class Clockwork(BareEndpoint):
    """Wakes at given moments and remembers when it really was."""

    def __init__(self, *moments: float) -> None:
        super().__init__()
        self.moments = list(moments)
        self.rang: list[float] = []

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        return self.moments[0] if self.moments else None

    def timer_expired(self, *, now: float) -> None:
        self.rang.append(now)
        while self.moments and self.moments[0] <= now:
            self.moments.pop(0)


def test_the_clock_jumps_to_deadlines() -> None:
    network = Network(start=100.0)
    endpoint = Clockwork(101.0, 130.0, 130.0, 1000.0)
    network.attach(endpoint, Local(A))
    network.run()
    assert endpoint.rang == [101.0, 130.0]
    network.run(until=2000.0)
    assert endpoint.rang == [101.0, 130.0, 1000.0]
    assert network.now == 2000.0


def test_a_deadline_that_stays_due_is_an_error() -> None:
    class Stuck(BareEndpoint):
        deadline = 0.0

    network = Network()
    network.attach(Stuck(), Local(A))
    with pytest.raises(NetworkError, match="stays due"):
        network.run()


def test_a_loop_without_end_is_an_error() -> None:
    class Echo(BareEndpoint):
        def datagram_received(self, data: bytes, **addresses: object) -> None:
            self.send(data, local=addresses["local"], remote=addresses["remote"])  # type: ignore[arg-type]

    network = Network(steps=1000)
    one = Echo()
    network.attach(one, Local(A))
    network.attach(Echo(), Local(B))
    one.send(b"ping", local=A, remote=B)
    with pytest.raises(NetworkError, match="1000 steps"):
        network.run()


def test_outputs_without_end_are_an_error() -> None:
    class Talker(BareEndpoint):
        def outputs(self) -> Iterator[Output]:
            while True:
                self.send(b"x", local=A, remote=B)
                yield from super().outputs()

    with pytest.raises(NetworkError, match="never end"):
        Network(record=False).attach(Talker(), Local(A))


def test_what_never_comes_is_an_error() -> None:
    world = World(Network())
    with pytest.raises(NetworkError, match="has not come"):
        world.network.run(until=lambda: world.heard)


def test_an_endpoint_cannot_send_from_where_it_has_no_socket() -> None:
    world = World(Network())
    world.a.send(b"x", local=("10.0.0.9", 500), remote=B)
    with pytest.raises(NetworkError, match="no socket"):
        world.network.run()


def run_of(seed: int) -> tuple[list[object], list[float]]:
    world = World(Network(seed, udp=Udp(loss=0.2, jitter=0.3, duplication=0.2, reordering=0.2), tcp=Tcp(jitter=0.2)))
    stream = world.a.open(B)
    for message in numbered(20):
        world.a.send(message, local=A, remote=B)
        world.a.write(stream, message)
    world.network.run()
    return list(world.network.wire), [datagram.time for datagram in world.b.datagrams]


def test_equal_seeds_give_equal_runs() -> None:
    assert run_of(7) == run_of(7)
    assert run_of(7) != run_of(8)


def test_a_removed_socket_hears_nothing() -> None:
    world = World(Network())
    listener = Local(B, "tcp")
    world.host_b.remove(listener)
    stream = world.a.open(B)
    world.network.run()
    assert stream.error == "connection refused"


def test_hosts_need_addresses_of_their_own() -> None:
    world = World(Network())
    with pytest.raises(NetworkError, match="attached already"):
        world.network.attach(BareEndpoint(), Local(("10.0.0.1", 4500)))
    with pytest.raises(NetworkError, match="at least one"):
        world.network.attach(BareEndpoint())


def test_one_insists_on_one() -> None:
    host: Host = World(Network()).host_a
    with pytest.raises(LookupError):
        host.one(Output)
