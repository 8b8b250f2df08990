"""Each breach of the host contract that can be seen raises, and a host that keeps it meets no check."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from ikecore import Config, Endpoint, IkeSaEstablished, Local, ResetStream, StreamId, WholeMission, WriteStream
from ikecore.config import Transports
from ikecore.testing import NOON, CheckedEndpoint, HostContractError, Pair, psk_connection

UDP, TCP = Local(("10.0.0.1", 500)), Local(("10.0.0.1", 500), "tcp")
PEER = ("10.0.0.2", 500)


def drain(endpoint: CheckedEndpoint) -> None:
    for _ in endpoint.outputs():
        pass


@pytest.fixture
def endpoint() -> CheckedEndpoint:
    """An endpoint with a UDP socket and a TCP listener, drained."""
    connection = psk_connection("initiator", transports=Transports(policy=WholeMission()))
    inner = Endpoint(Config(connections=[connection]), random=random.Random(1).randbytes, utc=lambda: NOON)
    checked = CheckedEndpoint(inner)
    for local in (UDP, TCP):
        checked.local_added(local, now=0.0)
        drain(checked)
    return checked


def accepted(endpoint: CheckedEndpoint) -> StreamId:
    stream = endpoint.stream_accepted(local=TCP.address, remote=PEER, now=0.0)
    drain(endpoint)
    return stream


def connecting(endpoint: CheckedEndpoint) -> StreamId:
    endpoint.initiate(psk_connection("initiator", transports=Transports(policy=WholeMission())), [PEER[0]], now=0.0)
    drain(endpoint)
    return StreamId(1)


def datagram(endpoint: CheckedEndpoint, **changes: object) -> None:
    inputs: dict[str, object] = {"data": b"x", "local": UDP.address, "remote": PEER, "now": 0.0, **changes}
    data = inputs.pop("data")
    endpoint.datagram_received(data, **inputs)  # type: ignore[arg-type]


Breach = Callable[[CheckedEndpoint], object]


def undrained(endpoint: CheckedEndpoint) -> None:
    datagram(endpoint)
    datagram(endpoint)


def half_drained(endpoint: CheckedEndpoint) -> None:
    endpoint.initiate(psk_connection("initiator"), [PEER[0]], now=0.0)
    for _ in endpoint.outputs():
        break
    datagram(endpoint)


def drained_inside(endpoint: CheckedEndpoint) -> None:
    endpoint.initiate(psk_connection("initiator"), [PEER[0]], now=0.0)
    for _ in endpoint.outputs():
        drain(endpoint)


def late(endpoint: CheckedEndpoint) -> None:
    endpoint.initiate(psk_connection("initiator"), [PEER[0]], now=0.0)
    drain(endpoint)
    assert endpoint.deadline is not None
    datagram(endpoint, now=endpoint.deadline + 1.5)


def connected_twice(endpoint: CheckedEndpoint) -> None:
    stream = connecting(endpoint)
    for _ in range(2):
        endpoint.stream_connected(stream, local=("10.0.0.1", 40_000), now=0.0)
        drain(endpoint)


def too_much_progress(endpoint: CheckedEndpoint) -> None:
    stream = connecting(endpoint)
    endpoint.stream_connected(stream, local=("10.0.0.1", 40_000), now=0.0)
    written = sum(len(output.data) for output in endpoint.outputs() if isinstance(output, WriteStream))
    assert written
    endpoint.stream_sent(stream, written, now=0.0)
    drain(endpoint)
    endpoint.stream_sent(stream, 1, now=0.0)


def after_loss(endpoint: CheckedEndpoint) -> None:
    stream = accepted(endpoint)
    endpoint.stream_lost(stream, "reset", now=0.0)
    drain(endpoint)
    endpoint.stream_eof(stream, now=0.0)


def octets_after_eof(endpoint: CheckedEndpoint) -> None:
    stream = accepted(endpoint)
    endpoint.stream_eof(stream, now=0.0)
    drain(endpoint)
    endpoint.stream_received(stream, b"x", now=0.0)


def eof_twice(endpoint: CheckedEndpoint) -> None:
    stream = accepted(endpoint)
    for _ in range(2):
        endpoint.stream_eof(stream, now=0.0)
        drain(endpoint)


def other_thread(endpoint: CheckedEndpoint) -> None:
    caught: list[HostContractError] = []

    def call() -> None:
        try:
            endpoint.timer_expired(now=0.0)
        except HostContractError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    raise caught[0]


BREACHES: dict[str, tuple[Breach, str]] = {
    "outputs not drained": (undrained, "not carried out"),
    "drain broken off": (half_drained, "not carried out"),
    "drained inside": (drained_inside, "inside of the drain loop"),
    "timer late": (late, "without timer_expired"),
    "connected twice": (connected_twice, "connected before"),
    "accepted, then connected": (
        lambda e: e.stream_connected(accepted(e), local=("10.0.0.1", 1), now=0.0),
        "not opened by us",
    ),
    "octets before connected": (lambda e: e.stream_received(connecting(e), b"x", now=0.0), "not reported connected"),
    "progress beyond what is queued": (too_much_progress, "0 are queued"),
    "progress backwards": (lambda e: e.stream_sent(accepted(e), -1, now=0.0), "-1 octets"),
    "unknown stream": (lambda e: e.stream_received(StreamId(9), b"x", now=0.0), "never issued"),
    "after the loss": (after_loss, "reported lost"),
    "octets after EOF": (octets_after_eof, "had its EOF"),
    "EOF twice": (eof_twice, "had its EOF before"),
    "EOF as no octets": (lambda e: e.stream_received(accepted(e), b"", now=0.0), "stream_eof"),
    "time as text": (lambda e: datagram(e, now="0"), "not seconds"),
    "time not finite": (lambda e: datagram(e, now=float("nan")), "not seconds"),
    "time as bool": (lambda e: e.timer_expired(now=True), "not seconds"),
    "bytearray": (lambda e: datagram(e, data=bytearray(b"x")), "bytearray"),
    "no such socket": (lambda e: datagram(e, local=("10.0.0.1", 4500)), "no udp socket"),
    "a listener's datagram": (lambda e: datagram(e, local=("0.0.0.0", 500)), "no udp socket"),
    "accepted nowhere": (lambda e: e.stream_accepted(local=("10.0.0.9", 1), remote=PEER, now=0.0), "no tcp socket"),
    "address of four": (lambda e: datagram(e, remote=("fe80::1", 500, 0, 3)), "IP literal"),
    "address with scope": (lambda e: datagram(e, remote=("fe80::1%eth0", 500)), "IP literal"),
    "address by name": (lambda e: datagram(e, remote=("vpn.example", 500)), "IP literal"),
    "socket added twice": (lambda e: e.local_added(UDP, now=0.0), "added before"),
    "socket with port 0": (lambda e: e.local_added(Local(("10.0.0.3", 0)), now=0.0), "port 0"),
    "socket never added": (lambda e: e.local_removed(("10.0.0.3", 500), now=0.0), "never added"),
    "another thread": (other_thread, "another thread"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_raises(endpoint: CheckedEndpoint, name: str) -> None:
    breach, words = BREACHES[name]
    with pytest.raises(HostContractError, match=words):
        breach(endpoint)


def test_inputs_inside_the_drain_loop_are_legal(endpoint: CheckedEndpoint) -> None:
    endpoint.initiate(psk_connection("initiator"), [PEER[0]], now=0.0)
    for index, _ in enumerate(endpoint.outputs()):
        if index < 2:
            datagram(endpoint)
            endpoint.timer_expired(now=0.0)
    datagram(endpoint)


def broken_off(endpoint: CheckedEndpoint) -> None:
    for _ in endpoint.outputs():
        raise ZeroDivisionError


def test_a_loop_whose_body_raised_can_be_taken_up_again(endpoint: CheckedEndpoint) -> None:
    endpoint.initiate(psk_connection("initiator"), [PEER[0]], now=0.0)
    with pytest.raises(ZeroDivisionError):
        broken_off(endpoint)
    drain(endpoint)
    datagram(endpoint)


def test_inputs_for_a_stream_that_the_core_closed_were_in_flight(endpoint: CheckedEndpoint) -> None:
    stream = accepted(endpoint)
    endpoint.stream_received(stream, bytes(28), now=0.0)
    assert ResetStream(stream) in list(endpoint.outputs())
    endpoint.stream_received(stream, b"more", now=0.0)
    drain(endpoint)
    endpoint.stream_eof(stream, now=0.0)
    drain(endpoint)


def test_timers_may_be_early_and_a_little_late(endpoint: CheckedEndpoint) -> None:
    endpoint.initiate(psk_connection("initiator"), [PEER[0]], now=0.0)
    drain(endpoint)
    endpoint.timer_expired(now=0.0)
    drain(endpoint)
    assert endpoint.deadline is not None
    datagram(endpoint, now=endpoint.deadline + 0.5)
    drain(endpoint)
    endpoint.timer_expired(now=endpoint.deadline + 100.0)


def test_the_network_keeps_the_contract() -> None:
    for tcp in (False, True):
        pair = Pair(tcp=tcp)
        sa, _ = pair.establish()
        pair.run()
        assert pair.initiator.one(IkeSaEstablished).sa == sa
        assert pair.initiator.endpoint.sas == (sa,)
        assert pair.initiator.endpoint.sa(sa).id == sa
        assert not pair.initiator.endpoint.idle
        assert pair.initiator.endpoint.counters is not None
