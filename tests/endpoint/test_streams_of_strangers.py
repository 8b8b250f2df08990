"""What a peer that we know nothing of can do with a connection: little, and not for long."""

from __future__ import annotations

import struct

import pytest

from ikecore.errors import LocalProtocolError
from ikecore.events import IkeSaEstablished
from ikecore.limits import Limits
from ikecore.testing import BareEndpoint, BareStream, Network, Pair, Tcp
from ikecore.transport import Local

STRANGER, RESPONDER = "10.0.0.9", ("10.0.0.2", 500)
INIT_BOUND = Limits().message_init
RESPONSE, INITIATOR = 0x20, 0x08


def message(length: int, *, spi_i: bytes = b"initiatr", spi_r: bytes = b"responde", flags: int = INITIATOR) -> bytes:
    """An IKE_AUTH message of *length* octets for SPIs that nobody knows."""
    return struct.pack("!8s8s4B2I", spi_i, spi_r, 46, 0x20, 35, flags, 1, length).ljust(length, b"x")


class Scene:
    """A responder with an established SA, and a stranger connected to it."""

    def __init__(self) -> None:
        self.pair = Pair(tcp=Tcp())
        self.sas = self.pair.establish()
        self.stranger = BareEndpoint()
        network: Network = self.pair.network
        self.host = network.attach(self.stranger, Local((STRANGER, 500)), name="stranger")
        self.stream = self.stranger.open(RESPONDER)
        self.pair.run_for(0.5)
        assert self.stream.state == "open"

    def write(self, *parts: bytes) -> BareStream:
        """Send *parts* in a read each."""
        for part in parts:
            self.stranger.write(self.stream, part)
            self.pair.run_for(0.01)
        self.pair.run_for(0.5)
        return self.stream

    def untouched(self) -> bool:
        """The SA is there, and no other."""
        established = self.pair.responder.of(IkeSaEstablished)
        return self.pair.responder.endpoint.sas == (self.sas[1],) and len(established) == 1


@pytest.mark.requirement("TCP-45", "TCP-46")
@pytest.mark.parametrize("length", [28, 500, INIT_BOUND])
def test_a_small_message_for_no_sa_resets_its_stream(length: int) -> None:
    scene = Scene()
    stream = scene.write(message(length)[:27], message(length)[27:])
    assert stream.state == "lost"
    assert not stream.received
    assert scene.pair.responder.endpoint.counters["unknown SPI"] == 1
    assert scene.untouched()


@pytest.mark.requirement("TCP-45")
def test_what_follows_a_message_for_no_sa_is_not_looked_at() -> None:
    scene = Scene()
    scene.write(message(28) * 1000)
    assert scene.pair.responder.endpoint.counters["unknown SPI"] == 1


@pytest.mark.requirement("TCP-45")
def test_a_large_message_for_no_sa_resets_its_stream_with_its_header() -> None:
    scene = Scene()
    assert scene.write(message(INIT_BOUND + 1)[:27]).state == "open"
    assert scene.write(message(INIT_BOUND + 1)[27:28]).state == "lost"
    assert scene.untouched()


@pytest.mark.requirement("TCP-77")
def test_a_small_response_resets_a_stream_of_the_peer() -> None:
    scene = Scene()
    assert scene.write(message(100, flags=RESPONSE)).state == "lost"
    assert scene.untouched()


@pytest.mark.requirement("TCP-46")
def test_a_later_header_without_spi_resets_the_stream() -> None:
    scene = Scene()
    view = scene.pair.responder.endpoint.sa(scene.sas[1])
    known = message(100, spi_i=view.spi_i, spi_r=view.spi_r)
    assert scene.write(known).state == "open"  # it is not authentic, so it is dropped
    assert scene.write(message(100, spi_i=bytes(8))).state == "lost"
    assert scene.untouched()


@pytest.mark.requirement("TCP-45")
def test_what_the_last_answer_of_a_deleted_sa_is_kept_for_does_not_reset_a_stream() -> None:
    scene = Scene()
    view = scene.pair.responder.endpoint.sa(scene.sas[1])
    scene.pair.initiator.endpoint.delete(scene.sas[0], now=scene.pair.now)
    scene.pair.run_for(1.0)
    with pytest.raises(LocalProtocolError):
        scene.pair.responder.endpoint.sa(scene.sas[1])
    assert scene.write(message(100, spi_i=view.spi_i, spi_r=view.spi_r)).state == "open"
