"""What failed lately with a peer: remembered for a while, for so many peers, and forgotten when it works."""

from __future__ import annotations

import attrs
import pytest

from ikecore.config import Transports
from ikecore.endpoint.choosing import Chooser
from ikecore.limits import Limits
from ikecore.outputs import OpenStream, SendDatagram, WriteStream
from ikecore.testing import psk_connection
from ikecore.transport import WholeMission
from tests.rig import THERE, Rig

MISSION = attrs.evolve(psk_connection("initiator"), transports=Transports(policy=WholeMission(), tcp_port=500))


def begin(rig: Rig, host: str = THERE[0]) -> str:
    """Begin an SA and say which transport it was begun on."""
    sa = rig.initiate(MISSION, remotes=(host,))
    new = rig.outputs[-1]
    rig.endpoint.abandon(sa, now=rig.now)
    rig.drain()
    return "tcp" if isinstance(new, OpenStream) else "udp"


def refuse(rig: Rig, host: str = THERE[0]) -> None:
    """Let a connection to *host* be refused."""
    sa = rig.initiate(MISSION, remotes=(host,))
    rig.endpoint.stream_lost(rig.last(OpenStream).stream, "connection refused", now=rig.now)
    rig.endpoint.abandon(sa, now=rig.now)
    rig.drain()


@pytest.mark.requirement("TCP-67", "TCP-13", "TCP-32")
def test_what_failed_comes_last_for_a_while_and_for_this_peer_only() -> None:
    rig = Rig(limits=Limits(failed_memory=60.0))
    assert begin(rig) == "tcp"
    refuse(rig)
    assert begin(rig) == "udp"
    assert begin(rig, "10.0.0.77") == "tcp"
    rig.run_for(59.0)
    assert begin(rig) == "udp"
    rig.run_for(2.0)
    assert begin(rig) == "tcp"


def test_what_works_again_is_forgiven() -> None:
    rig = Rig(limits=Limits(failed_memory=1000.0))
    refuse(rig)
    sent = len(rig.of(SendDatagram))
    assert begin(rig) == "udp"
    assert len(rig.of(SendDatagram)) > sent
    assert rig.of(WriteStream) == []


def test_the_peers_remembered_are_bounded() -> None:
    rig = Rig(limits=Limits(failed_memory=1e9))
    refuse(rig)
    for number in range(Chooser.MOST_REMEMBERED):
        refuse(rig, f"10.{number // 250 + 1}.{number % 250}.1")
    assert begin(rig) == "tcp"
    assert begin(rig, "10.1.1.1") == "udp"
