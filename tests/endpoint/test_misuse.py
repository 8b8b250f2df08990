"""Misuse by the host or the application: LocalProtocolError, said plainly, and nothing has changed."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from ikecore.config import Transports
from ikecore.endpoint import Endpoint
from ikecore.errors import LocalProtocolError
from ikecore.events import IkeSaEstablished, PathChanged
from ikecore.framing import Framing
from ikecore.outputs import ChildId, OpenStream, QuestionId, SaId, StreamId
from ikecore.testing import psk_connection
from ikecore.transport import Local, WholeMission
from tests.rig import HERE, NAT_HERE, NAT_THERE, THERE, Puppet, Rig

ELSEWHERE = ("10.0.0.99", 500)


@attrs.frozen
class Scene:
    """An endpoint with an established SA, one being set up over TCP, and an accepted connection."""

    rig: Rig
    up: SaId
    connecting: StreamId
    accepted: StreamId

    @property
    def endpoint(self) -> Endpoint:
        return self.rig.endpoint

    @property
    def now(self) -> float:
        return self.rig.now


@pytest.fixture
def scene() -> Scene:
    rig = Rig()
    puppet = Puppet(rig)
    up = puppet.establish()
    transports = Transports(policy=WholeMission(), tcp_port=500)
    rig.initiate(attrs.evolve(psk_connection("initiator"), transports=transports))
    accepted = rig.endpoint.stream_accepted(local=HERE, remote=("10.0.0.1", 40000), now=rig.now)
    rig.drain()
    return Scene(rig, up, rig.one(OpenStream).stream, accepted)


Call = Callable[[Scene], object]
NEVER = StreamId(99)
CALLS: dict[str, tuple[Call, str]] = {
    "local_added: no literal": (
        lambda s: s.endpoint.local_added(Local(("localhost", 500)), now=s.now),
        "local: 'localhost' is no IP literal",
    ),
    "local_added: port": (
        lambda s: s.endpoint.local_added(Local(("10.0.0.2", 0)), now=s.now),
        "local: 0 is no port",
    ),
    "local_added: framing": (
        lambda s: s.endpoint.local_added(
            Local(("10.0.0.2", 4500), "tcp", framings=frozenset({Framing.ENCAPSULATED})), now=s.now
        ),
        "framings: .*allowed is ike-tcp",
    ),
    "local_added: no framing": (
        lambda s: s.endpoint.local_added(Local(("10.0.0.2", 4500), "tcp", framings=frozenset()), now=s.now),
        "framings: nothing",
    ),
    "local_added: no Local": (
        lambda s: s.endpoint.local_added(ELSEWHERE, now=s.now),  # type: ignore[arg-type]
        "local: a tuple; allowed is a Local",
    ),
    "local_removed: unknown": (
        lambda s: s.endpoint.local_removed(ELSEWHERE, now=s.now),
        "address: there is no udp socket",
    ),
    "local_removed: other kind": (
        lambda s: s.endpoint.local_removed(NAT_HERE, "tcp", now=s.now),
        "address: there is no tcp socket",
    ),
    "datagram_received: socket": (
        lambda s: s.endpoint.datagram_received(b"", local=ELSEWHERE, remote=THERE, now=s.now),
        "local: there is no udp socket",
    ),
    "stream_accepted: listener": (
        lambda s: s.endpoint.stream_accepted(local=NAT_HERE, remote=THERE, now=s.now),
        "local: there is no tcp listener",
    ),
    "stream_accepted: remote": (
        lambda s: s.endpoint.stream_accepted(local=HERE, remote=("peer.example", 1), now=s.now),
        "remote: 'peer.example' is no IP literal",
    ),
    "stream_accepted: no address": (
        lambda s: s.endpoint.stream_accepted(local=HERE, remote=None, now=s.now),  # type: ignore[arg-type]
        "remote: None does not fit",
    ),
    "stream_accepted: address of four": (
        lambda s: s.endpoint.stream_accepted(local=HERE, remote=("::1", 1, 0, 0), now=s.now),  # type: ignore[arg-type]
        "remote: .* does not fit; allowed are an IP literal and a port",
    ),
    "stream_accepted: port in words": (
        lambda s: s.endpoint.stream_accepted(local=HERE, remote=("10.0.0.1", "1"), now=s.now),  # type: ignore[arg-type]
        "remote: '1' is no port",
    ),
    "stream_connected: never": (
        lambda s: s.endpoint.stream_connected(NEVER, local=HERE, now=s.now),
        "there never was a stream 99",
    ),
    "stream_connected: zero": (
        lambda s: s.endpoint.stream_connected(StreamId(0), local=HERE, now=s.now),
        "there never was a stream 0",
    ),
    "stream_connected: accepted": (
        lambda s: s.endpoint.stream_connected(s.accepted, local=HERE, now=s.now),
        "is connected already",
    ),
    "stream_connected: local": (
        lambda s: s.endpoint.stream_connected(s.connecting, local=("here", 5), now=s.now),
        "local: 'here'",
    ),
    "stream_received: never": (
        lambda s: s.endpoint.stream_received(NEVER, b"x", now=s.now),
        "there never was a stream 99",
    ),
    "stream_sent: never": (
        lambda s: s.endpoint.stream_sent(NEVER, 1, now=s.now),
        "there never was a stream 99",
    ),
    "stream_sent: too much": (
        lambda s: s.endpoint.stream_sent(s.accepted, 1, now=s.now),
        "octets: 1 sent on stream .*, where 0 are unsent",
    ),
    "stream_sent: negative": (
        lambda s: s.endpoint.stream_sent(s.accepted, -1, now=s.now),
        "octets: -1 sent",
    ),
    "stream_eof: never": (lambda s: s.endpoint.stream_eof(NEVER, now=s.now), "there never was a stream 99"),
    "stream_lost: never": (lambda s: s.endpoint.stream_lost(NEVER, "x", now=s.now), "there never was a stream 99"),
    "initiate: nowhere": (
        lambda s: s.endpoint.initiate(psk_connection("initiator"), [], now=s.now),
        "remotes: at least one",
    ),
    "initiate: a name": (
        lambda s: s.endpoint.initiate(psk_connection("initiator"), ["vpn.example"], now=s.now),
        "remotes: 'vpn.example' is no IP literal",
    ),
    "initiate: a lone address": (
        lambda s: s.endpoint.initiate(psk_connection("initiator"), "192.0.2.1", now=s.now),
        "remotes: '192.0.2.1' does not fit; allowed are several IP literals",
    ),
    "initiate: a number": (
        lambda s: s.endpoint.initiate(psk_connection("initiator"), [7], now=s.now),  # type: ignore[list-item]
        "remotes: .7,. does not fit; allowed are several IP literals",
    ),
    "initiate: no connection": (
        lambda s: s.endpoint.initiate("net", ["192.0.2.1"], now=s.now),  # type: ignore[arg-type]
        "connection: a str; allowed is a Connection",
    ),
    "initiate: local is a number": (
        lambda s: s.endpoint.initiate(psk_connection("initiator"), [THERE[0]], now=s.now, local=1),  # type: ignore[arg-type]
        "local: 1 is no IP literal",
    ),
    "initiate: local": (
        lambda s: s.endpoint.initiate(psk_connection("initiator"), [THERE[0]], now=s.now, local="eth0"),
        "local: 'eth0' is no IP literal",
    ),
    "check_liveness: no SA": (lambda s: s.endpoint.check_liveness(SaId(99), now=s.now), "there is no SA 99"),
    "check_liveness: not up": (
        lambda s: s.endpoint.check_liveness(s.endpoint.sas[-1], now=s.now),
        "INFORMATIONAL: not possible while the SA is initiating",
    ),
    "delete: no SA": (lambda s: s.endpoint.delete(SaId(99), now=s.now), "there is no SA 99"),
    "delete: no child": (
        lambda s: s.endpoint.delete(s.up, child=ChildId(99), now=s.now),
        "child: SA .* has no Child SA 99",
    ),
    "abandon: no SA": (lambda s: s.endpoint.abandon(SaId(99), now=s.now), "there is no SA 99"),
    "answer: never asked": (
        lambda s: s.endpoint.answer(QuestionId(1), True, now=s.now),
        "question 1 was never asked",
    ),
    "sa: no SA": (lambda s: s.endpoint.sa(SaId(99)), "there is no SA 99"),
    "keys: none yet": (lambda s: s.endpoint.sa(s.endpoint.sas[-1]).export_keys(), "no keys yet"),
}


@pytest.mark.parametrize("case", CALLS)
def test_misuse_is_told_and_changes_nothing(scene: Scene, case: str) -> None:
    call, message = CALLS[case]
    before, counters = scene.rig.picture(), dict(scene.endpoint.counters)
    with pytest.raises(LocalProtocolError, match=message):
        call(scene)
    assert scene.rig.drain() == []
    assert scene.rig.picture() == before
    assert scene.endpoint.counters == counters


def test_counters_cannot_be_written(scene: Scene) -> None:
    with pytest.raises(TypeError):
        scene.endpoint.counters["x"] = 1  # type: ignore[index]


def test_inputs_for_a_closed_stream_were_in_flight(scene: Scene) -> None:
    endpoint, now = scene.endpoint, scene.now
    endpoint.stream_lost(scene.accepted, "reset by peer", now=now)
    endpoint.abandon(endpoint.sas[-1], now=now)
    scene.rig.drain()
    before = scene.rig.picture()
    for stream in (scene.accepted, scene.connecting):
        endpoint.stream_received(stream, b"late", now=now)
        endpoint.stream_eof(stream, now=now)
        endpoint.stream_sent(stream, 17, now=now)
        endpoint.stream_lost(stream, "again", now=now)
        endpoint.stream_connected(stream, local=HERE, now=now)
    assert scene.rig.drain() == []
    assert scene.rig.picture() == before


def test_time_that_goes_backwards_stands_still(scene: Scene) -> None:
    endpoint = scene.endpoint
    endpoint.timer_expired(now=scene.now + 3.0)
    endpoint.timer_expired(now=0.0)
    wish = endpoint.check_liveness(scene.up, now=-5.0)
    assert wish
    assert endpoint.deadline is not None
    assert endpoint.deadline >= scene.now + 3.0


def test_a_timer_may_ring_at_any_time(scene: Scene) -> None:
    before = scene.rig.picture()
    for _ in range(10):
        scene.endpoint.timer_expired(now=scene.now)
    assert scene.rig.drain() == []
    assert scene.rig.picture() == before


def test_after_shutting_down_nothing_is_begun(scene: Scene) -> None:
    scene.endpoint.shutdown(now=scene.now)
    with pytest.raises(LocalProtocolError, match="shutting down"):
        scene.endpoint.initiate(psk_connection("initiator"), [THERE[0]], now=scene.now)
    scene.rig.run_for(100.0)
    assert scene.endpoint.idle
    assert scene.endpoint.deadline is None


def test_a_listener_that_is_gone_accepts_nothing(scene: Scene) -> None:
    scene.endpoint.local_removed(HERE, "tcp", now=scene.now)
    with pytest.raises(LocalProtocolError, match="no tcp listener"):
        scene.endpoint.stream_accepted(local=HERE, remote=THERE, now=scene.now)
    puppet = Puppet(scene.rig, seed=77)
    puppet.establish()


def test_a_socket_that_is_gone_is_not_used(scene: Scene) -> None:
    """The SA stays, and finds its way again when the peer shows one."""
    rig = scene.rig
    rig.endpoint.local_removed(HERE, now=rig.now)
    assert rig.endpoint.sa(scene.up).local is None
    rig.endpoint.check_liveness(scene.up, now=rig.now)
    rig.run_for(1.0)
    assert scene.up in rig.endpoint.sas
    rig.endpoint.local_added(Local(HERE), now=rig.now)
    rig.one(IkeSaEstablished)


@pytest.mark.parametrize(
    "other",
    [
        Local(("10.0.0.3", 4500), marker=True),
        Local((HERE[0], 4501), marker=True),
        Local(NAT_HERE),
        Local(NAT_HERE, "tcp"),
    ],
    ids=["another host", "another port", "without the marker", "a listener"],
)
def test_a_lost_path_comes_back_only_with_its_own_socket(other: Local) -> None:
    rig = Rig()
    puppet = Puppet(rig, address=NAT_THERE, local=NAT_HERE)
    sa = puppet.establish()
    rig.endpoint.local_removed(NAT_HERE, now=rig.now)
    rig.endpoint.local_added(other, now=rig.now)
    assert rig.drain() == []
    assert rig.endpoint.sa(sa).local is None
    if other.kind == "udp" and other.address == NAT_HERE:
        rig.endpoint.local_removed(NAT_HERE, now=rig.now)
    rig.endpoint.local_added(Local(NAT_HERE, marker=True), now=rig.now)
    rig.drain()
    back = rig.one(PathChanged)
    assert (back.sa, back.local, back.remote, back.reason) == (sa, NAT_HERE, NAT_THERE, "our socket is back")
    assert rig.endpoint.sa(sa).local == NAT_HERE
