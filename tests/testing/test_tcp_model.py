"""The model of TCP under loss: its timers and windows one by one, and that everything arrives in the end."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.config import Transports
from ikecore.events import IkeSaEstablished
from ikecore.testing import Pair, Tcp, Udp, psk_connection
from ikecore.testing.tcp_model import Sender
from ikecore.transport import TcpOnly

DELAY = 0.025
TRIP = 2 * DELAY


class Bench:
    """A wire of 25 ms that loses the packets whose numbers it is given: segments and acknowledgements, each counted."""

    def __init__(self, lost: Iterable[int] = (), lost_acks: Iterable[int] = ()) -> None:
        self.now = 0.0
        self.sent: list[tuple[float, int]] = []
        self.received: list[tuple[float, str, int]] = []
        self.over = False
        self._lost, self._lost_acks = set(lost), set(lost_acks)
        self._acks = 0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = 0
        self.sender = Sender(self, TRIP)

    def at(self, moment: float, action: Callable[[], object]) -> None:
        self._order += 1
        heapq.heappush(self._events, (moment, self._order, action))

    def put(self, kind: str, data: bytes) -> float | None:
        self.sent.append((round(self.now, 6), len(data)))
        return None if len(self.sent) - 1 in self._lost else self.now + DELAY

    def acknowledge(self) -> float | None:
        self._acks += 1
        return None if self._acks - 1 in self._lost_acks else self.now + DELAY

    def arrived(self, kind: str, data: bytes) -> None:
        self.received.append((round(self.now, 6), kind, len(data)))

    def given_up(self) -> None:
        self.over = True

    def run(self, octets: int) -> list[float]:
        """Send so many octets; return when each segment was handed over."""
        self.sender.push("data", bytes(octets))
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()
        return [time for time, _, _ in self.received]


def test_without_loss_a_message_of_eight_kilobytes_takes_one_way() -> None:
    bench = Bench()
    assert bench.run(8000) == [DELAY] * 6
    assert [octets for _, octets in bench.sent] == [1460] * 5 + [700]


@pytest.mark.requirement("TCP-59")
def test_the_initial_window_is_ten_segments_and_grows_by_those_acknowledged() -> None:
    bench = Bench()
    bench.run(40 * 1460)
    sent = [time for time, _ in bench.sent]
    assert [sent.count(round(trip * TRIP, 6)) for trip in range(3)] == [10, 20, 10]


def test_three_duplicates_repeat_a_segment_at_once() -> None:
    times = Bench(lost=[0]).run(6 * 1460)
    assert times == [round(TRIP + DELAY, 6)] * 6, "one round trip later, with all that waited behind it"


def test_the_last_segment_waits_for_the_timer() -> None:
    bench = Bench(lost=[5])
    assert bench.run(6 * 1460)[5] == pytest.approx(TRIP + TRIP + 0.2 + DELAY, abs=0.002)


def test_the_timer_doubles() -> None:
    bench = Bench(lost=[0, 1, 2])
    bench.run(100)
    gaps = [round(later[0] - earlier[0], 6) for earlier, later in zip(bench.sent, bench.sent[1:], strict=False)]
    assert gaps == [0.25, 0.5, 1.0]


def test_a_lost_acknowledgement_is_made_up_for_by_the_next() -> None:
    bench = Bench(lost_acks=[0, 1])
    bench.run(6 * 1460)
    assert len(bench.sent) == 6


def test_holes_are_filled_one_by_one() -> None:
    bench = Bench(lost=[0, 2])
    times = bench.run(8 * 1460)
    assert times[-1] == pytest.approx(2 * TRIP + DELAY)
    assert len(bench.sent) == 10


def test_it_gives_up_in_the_end() -> None:
    bench = Bench(lost=range(100))
    bench.run(100)
    assert bench.over
    assert len(bench.sent) == 15


@given(
    st.integers(1, 60_000),
    st.sets(st.integers(0, 60), max_size=12),
    st.sets(st.integers(0, 60), max_size=12),
)
def test_everything_arrives_once_and_in_order(octets: int, lost: set[int], lost_acks: set[int]) -> None:
    bench = Bench(lost, lost_acks)
    times = bench.run(octets)
    assert sum(length for _, _, length in bench.received) == octets
    assert times == sorted(times)
    assert not bench.over


# --- on the network ---------------------------------------------------------------------------------------------------


def lossy_pair(seed: int, tcp: Tcp, udp: Udp | None = None) -> Pair:
    transports = Transports(policy=TcpOnly(), tcp_port=500)
    return Pair(psk_connection("initiator", transports=transports), tcp=tcp, udp=udp, seed=seed)


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_ike_over_a_lossy_connection(loss: float) -> None:
    times = []
    for seed in range(25):
        pair = lossy_pair(seed, Tcp(delay=DELAY, loss=loss))
        pair.establish()
        times.append(pair.now)
        pair.run()
        assert len(pair.responder.of(IkeSaEstablished)) == 1
        assert all(packet.fate in ("delivered", "lost") for packet in pair.network.wire if packet.kind == "data")
    assert min(times) == pytest.approx(3 * TRIP, abs=0.01)
    assert max(times) > 0.25


def test_equal_seeds_give_equal_runs() -> None:
    runs = []
    for _ in range(2):
        pair = lossy_pair(3, Tcp(delay=DELAY, loss=0.3))
        pair.establish()
        runs.append([(packet.time, packet.kind, packet.fate) for packet in pair.network.wire])
    assert runs[0] == runs[1]
    assert "lost" in {fate for _, _, fate in runs[0]}


def test_a_lost_syn_goes_again_after_a_second() -> None:
    for seed in range(200):
        pair = lossy_pair(seed, Tcp(delay=DELAY, loss=0.4))
        pair.initiate()
        pair.run(until=3.5)
        syns = [packet for packet in pair.network.wire if packet.kind == "syn"]
        if [packet.fate for packet in syns[:3]] == ["lost", "lost", "delivered"]:
            assert [packet.time for packet in syns[:3]] == [0.0, 1.0, 3.0]
            return
    pytest.fail("no seed lost two SYNs")


def test_with_an_mtu_large_datagrams_are_lost_more_often() -> None:
    udp = Udp(loss=0.1, mtu=1500)
    assert [udp.loss_of(octets) for octets in (100, 1472)] == pytest.approx([0.1, 0.1])
    assert udp.loss_of(1473) == pytest.approx(1 - 0.9**2)
    assert udp.loss_of(8000) == pytest.approx(1 - 0.9**6)
    assert Udp(loss=0.1).loss_of(8000) == 0.1
