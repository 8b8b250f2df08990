"""The reference model can fail: each breach of a rule, made by hand, is raised with its row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ikecore import (
    IkeSaClosed,
    IkeSaEstablished,
    Limits,
    Local,
    MessageReceived,
    QuestionClosed,
    QuestionId,
    RequestCompleted,
    RequestId,
    SaId,
    StreamId,
)
from ikecore.outputs import CloseStream, HalfCloseStream, OpenStream, Output, ResetStream, SendDatagram, WriteStream
from ikecore.testing import Network, Packet, psk_connection
from tests.model.reference import RuleBroken, Side, Wire

US, PEER = ("10.0.0.1", 500), ("10.0.0.2", 500)
STREAM = StreamId(1)
SA = SaId(1)


class Puppet:
    """An endpoint that says what it is told to say."""

    deadline = None

    def __init__(self) -> None:
        self.queue: list[Output] = []

    def initiate(self, *args: object, **keywords: object) -> SaId:
        return SA

    def stream_accepted(self, **keywords: object) -> StreamId:
        return STREAM

    def outputs(self) -> Iterator[Output]:
        while self.queue:
            yield self.queue.pop(0)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **keywords: None


def message(flags: int, *, spi: bytes = b"initiate", number: int = 0, exchange: int = 34, body: bytes = b"") -> bytes:
    """Return a message without a meaning; *flags* 0x08 is the initiator's, 0x20 a response's."""
    head = spi + bytes(8) + bytes([0, 0x20, exchange, flags]) + number.to_bytes(4, "big")
    return head + (28 + len(body)).to_bytes(4, "big") + body


class Scene:
    """One side with one SA of its own, between a puppet and a network that carries nothing."""

    def __init__(self) -> None:
        self.puppet = Puppet()
        host = Network().attach(self.puppet, Local(US), name="puppet")
        self.side = Side(self.puppet, host, psk_connection("initiator"), Limits(), natted=False)
        self.side.initiate(psk_connection("initiator"), [PEER[0]], now=0.0)

    def says(self, *outputs: Output) -> None:
        self.puppet.queue += outputs
        list(self.side.outputs())

    def open(self) -> None:
        self.says(OpenStream(STREAM, PEER, None))
        self.side.stream_connected(STREAM, local=US, now=0.0)

    def accept(self) -> None:
        self.side.stream_accepted(local=US, remote=("10.0.0.2", 40_000), now=0.0)


REQUEST, RESPONSE = message(0x08), message(0x20)
ASKED = message(0x08, spi=b"theirspi")
ANSWER = message(0x20, spi=b"theirspi", body=b"\x00" * 8)


def breach(row: str, scene: Scene, *outputs: Output) -> None:
    with pytest.raises(RuleBroken, match=row):
        scene.says(*outputs)


def test_a_response_goes_only_where_its_request_came_from() -> None:
    breach("TCP-22", Scene(), SendDatagram(ANSWER, US, PEER))
    scene = Scene()
    scene.side.datagram_received(ASKED, local=US, remote=PEER, now=0.0)
    scene.says(SendDatagram(ANSWER, US, PEER))
    breach("TCP-22", scene, SendDatagram(ANSWER, US, ("10.0.0.3", 500)))
    scene = Scene()
    scene.accept()
    scene.side.stream_received(STREAM, ASKED, now=0.0)
    breach("TCP-23", scene, SendDatagram(ANSWER, US, PEER))


def test_keepalives_go_only_through_a_nat() -> None:
    breach("IKE-214", Scene(), SendDatagram(b"\xff", US, PEER))
    scene = Scene()
    scene.side.natted = True
    breach("IKE-214", scene, SendDatagram(b"\xff", US, PEER))
    scene.side.local_added(Local(("10.0.0.1", 4500), marker=True), now=0.0)
    breach("IKE-209", scene, SendDatagram(b"\xff", ("10.0.0.1", 4500), ("10.0.0.2", 4500)))


def test_nobody_is_told_of_an_sa_that_there_is() -> None:
    body = bytes([0, 0, 0, 8, 0, 0, 0, 4])
    told = message(0x20, spi=b"theirspi", number=1, exchange=37, body=body)
    told = told[:16] + b"\x29" + told[17:]
    asked = message(0x08, spi=b"theirspi", number=1, exchange=37)
    scene = Scene()
    scene.side.datagram_received(asked, local=US, remote=PEER, now=0.0)
    scene.says(SendDatagram(told, US, PEER))
    scene.side.by_spis[b"theirspi", bytes(8)] = SA
    breach("IKE-201", scene, SendDatagram(told, US, PEER))
    scene = Scene()
    scene.accept()
    scene.side.stream_received(STREAM, asked, now=0.0)
    breach("IKE-201", scene, WriteStream(STREAM, told))


def test_requests_and_responses_keep_to_their_connections() -> None:
    scene = Scene()
    scene.open()
    breach("TCP-30", scene, WriteStream(STREAM, RESPONSE))
    scene = Scene()
    scene.accept()
    breach("TCP-30", scene, WriteStream(STREAM, REQUEST))


def test_nothing_is_said_twice_or_in_pieces_on_a_connection() -> None:
    scene = Scene()
    scene.open()
    scene.says(WriteStream(STREAM, REQUEST))
    breach("TCP-37", scene, WriteStream(STREAM, REQUEST))
    breach("TCP-38", scene, WriteStream(STREAM, REQUEST[:27] + b"\xff"))


def test_ike_sa_init_stays_where_it_began_and_as_it_was() -> None:
    scene = Scene()
    scene.says(SendDatagram(REQUEST, US, PEER))
    breach("in other octets", scene, SendDatagram(message(0x08, body=b"more"), US, PEER))
    scene.open()
    breach("TCP-19", scene, WriteStream(STREAM, REQUEST))


def test_connections_lead_only_where_they_may() -> None:
    breach("TCP-32", Scene(), OpenStream(STREAM, ("10.0.0.3", 500), None))
    breach("TCP-32", Scene(), OpenStream(STREAM, ("10.0.0.2", 22), None))


def test_who_may_end_a_connection() -> None:
    scene = Scene()
    scene.accept()
    breach("TCP-33", scene, CloseStream(STREAM))
    scene = Scene()
    scene.open()
    scene.says(HalfCloseStream(STREAM))
    breach("TCP-09", scene, WriteStream(STREAM, REQUEST))
    scene.says(ResetStream(STREAM))
    breach("TCP-09", scene, WriteStream(STREAM, REQUEST))


def test_connections_do_not_outlive_their_use() -> None:
    scene = Scene()
    scene.accept()
    scene.side.stream_eof(STREAM, now=0.0)
    breach("TCP-33", scene)
    scene = Scene()
    scene.accept()
    scene.side.timer_expired(now=100.0)
    breach("TCP-83", scene)


def test_datagrams_need_a_socket() -> None:
    scene = Scene()
    scene.side.local_removed(US, now=0.0)
    breach("no socket", scene, SendDatagram(REQUEST, US, PEER))


def test_transmissions_are_counted() -> None:
    scene = Scene()
    scene.says(*[SendDatagram(REQUEST, US, PEER)] * Limits().retransmit_tries)
    breach("IKE-047", scene, SendDatagram(REQUEST, US, PEER))


def test_answers_are_counted_and_take_their_time() -> None:
    answer = message(0x20, spi=b"theirspi", exchange=37)
    scene = Scene()
    for moment in (0.0, 0.1):
        scene.side.datagram_received(message(0x08, spi=b"theirspi", exchange=37), local=US, remote=PEER, now=moment)
    scene.says(SendDatagram(answer, US, PEER))
    breach("TCP-43", scene, SendDatagram(answer, US, PEER))
    breach("TCP-24", scene, SendDatagram(answer, US, PEER))


def test_wishes_questions_and_sas_end_once() -> None:
    breach("IKE-046", Scene(), RequestCompleted(SA, RequestId(1), "INFORMATIONAL"))
    breach("TCP-80", Scene(), QuestionClosed(QuestionId(1), SA))
    breach("IKE-046", Scene(), IkeSaClosed(SA, "", "us"))
    up = IkeSaEstablished(SA, "", "initiator", "", "", b"", b"", "", "udp", "", PEER)
    breach("IKE-046", Scene(), up, up)
    breach("TCP-67", Scene(), up, IkeSaClosed(SA, "a reset", "silence"))


def test_requests_are_executed_once_and_responses_taken_where_they_belong() -> None:
    taken = MessageReceived(SA, "INFORMATIONAL", 2, False, 57, "udp", US, PEER, False, ())
    breach("TCP-80", Scene(), taken, taken)
    breach("TCP-17", Scene(), MessageReceived(SA, "IKE_SA_INIT", 0, True, 300, "udp", US, PEER, False, ()))


def datagram(data: bytes) -> Packet:
    return Packet(time=0.0, transport="udp", kind="datagram", source=US, destination=PEER, data=data)


def test_the_wire_shows_two_forms_and_a_nonce_used_twice() -> None:
    first = message(0x08, exchange=37, number=1, body=b"SK..nonce-01 text")
    for other, row in (
        (message(0x08, exchange=37, number=1, body=b"SK..nonce-02 text"), "TCP-14"),
        (message(0x08, exchange=37, number=2, body=b"SK..nonce-01 text"), "IKE-289"),
    ):
        wire = Wire(Network())
        wire.network.wire += [datagram(first), datagram(first), datagram(other)]
        with pytest.raises(RuleBroken, match=row):
            wire.check()


def test_the_wire_shows_who_says_what_on_a_connection() -> None:
    wire = Wire(Network())
    for kind, data in (("syn", b""), ("data", RESPONSE)):
        wire.network.wire.append(
            Packet(time=0.0, transport="tcp", kind=kind, source=US, destination=PEER, data=data, connection=1)  # type: ignore[arg-type]
        )
    with pytest.raises(RuleBroken, match="TCP-77"):
        wire.check()
