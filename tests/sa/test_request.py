"""One message in flight: sealed once, the same octets for ever."""

from __future__ import annotations

from typing import Any

import pytest

from ikecore.outputs import StreamId
from ikecore.sa import Message, OutgoingRequest, payload_names
from ikecore.transport import DatagramPath, StreamPath
from ikecore.wire import Nonce, Notification, Payload, UnknownPayload
from ikecore.wire.numbers import IKE_TCP_SUPPORTED_DEFAULT, Notify

NOBODY: Any = None
PATH = DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 500), False)


class Sealer:
    """Seals each time to something else, as an AEAD with a counter does."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return b"sealed %d" % self.count


@pytest.mark.requirement("IKE-051", "IKE-054", "IKE-289", "TCP-14")
def test_a_message_is_sealed_once_and_only_when_it_is_wanted() -> None:
    seal = Sealer()
    message = Message(37, 5, seal, ())
    assert seal.count == 0
    assert message.whole == message.whole == b"sealed 1"
    assert seal.count == 1


def test_a_request_knows_its_size_before_it_can_be_built() -> None:
    seal = Sealer()
    waiting = OutgoingRequest(34, 0, seal, (), handler=NOBODY, expected=600, started=1.0, size=500)
    assert waiting.size == 500
    assert seal.count == 0
    waiting.built()
    assert waiting.size == len(b"sealed 1")


@pytest.mark.requirement("TCP-17", "TCP-16")
def test_a_request_knows_exactly_the_paths_that_it_went_by() -> None:
    request = OutgoingRequest(37, 1, Sealer(), (), handler=NOBODY, expected=0, started=0.0)
    assert not request.sent_on(PATH)
    request.sent(PATH)
    request.sent(PATH)
    assert request.paths == [PATH]
    assert request.sent_on(DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 500), False))
    assert not request.sent_on(DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 501), False))
    assert not request.sent_on(DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 500), True))
    assert not request.sent_on(StreamPath(StreamId(1), ("10.0.0.2", 500), ("10.0.0.1", 500)))


def test_payloads_by_name() -> None:
    payloads: list[Payload] = [
        Nonce(bytes(16)),
        Notification(Notify.COOKIE, b"c"),
        Notification(IKE_TCP_SUPPORTED_DEFAULT),
        Notification(40000),
        UnknownPayload(200, False, b""),
    ]
    names = payload_names(payloads, {IKE_TCP_SUPPORTED_DEFAULT: "IKE_TCP_SUPPORTED"})
    assert names[:3] == ("NONCE", "N(COOKIE)", "N(IKE_TCP_SUPPORTED)")
    assert "40000" in names[3]
    assert "200" in names[4]
