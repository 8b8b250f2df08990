"""The ladder: from events to steps, from steps to lines that keep their columns."""

from __future__ import annotations

import re

import pytest

from ikecore.errors import AuthenticationFailed
from ikecore.events import (
    CookieReceived,
    IkeSaFailed,
    MessageReceived,
    MessageSent,
    NatDetected,
    StreamChanged,
    TcpAnnounced,
    TransportChosen,
    TransportSwitched,
)
from ikecore.outputs import Output, SaId, StreamId
from ikecore_trio.cli.drawing import to_text
from ikecore_trio.cli.ladder import Lost, Note, Step, draw, steps_of

SA = SaId(1)
LEFT, RIGHT = ("192.0.2.1", 500), ("192.0.2.2", 500)


def sent(exchange: str, number: int, octets: int, transport: str = "udp", **fields: object) -> MessageSent:
    values = {"is_response": False, "repeat": False, "reason": "because", "payloads": ("SA", "KE"), **fields}
    return MessageSent(
        SA, exchange, number, values["is_response"], octets, transport, LEFT, RIGHT,  # type: ignore[arg-type]
        values["repeat"], values["reason"], values["payloads"], values.get("fragments", 0),  # type: ignore[arg-type]
    )  # fmt: skip


def received(exchange: str, number: int, octets: int, transport: str = "udp") -> MessageReceived:
    return MessageReceived(SA, exchange, number, True, octets, transport, LEFT, RIGHT, False, ("SA", "N(COOKIE)"))  # type: ignore[arg-type]


EXCHANGE: list[Output] = [
    sent("IKE_SA_INIT", 0, 424, reason="the first message goes over UDP, which needs no connection"),
    received("IKE_SA_INIT", 0, 271),
    TcpAnnounced(SA, 500, True, "may be used"),
    NatDetected(SA, False, False),
    StreamChanged(StreamId(1), RIGHT, "open", "connected"),
    sent("IKE_AUTH", 1, 9689, "tcp", reason="the request has 9689 octets, above 1200"),
    received("IKE_AUTH", 1, 9538, "tcp"),
]

DRAWN = """\
initiator                                          responder
192.0.2.1:500                                  192.0.2.2:500
  |                                                      |
  |  IKE_SA_INIT request 0            UDP    424 octets  |
  |----------------------------------------------------->|
  |  the first message goes over UDP, which needs no     |
  |  connection                                          |
  |  SA KE                                               |
  |                                                      |
  |  IKE_SA_INIT response 0           UDP    271 octets  |
  |<-----------------------------------------------------|
  |  SA N(COOKIE)                                        |
  |                                                      |
  | * the peer announces IKE over TCP at port 500        |
  | * TCP with 192.0.2.2:500 open: connected             |
  |                                                      |
  |  IKE_AUTH request 1               TCP  9,689 octets  |
  |----------------------------------------------------->|
  |  the request has 9689 octets, above 1200             |
  |  SA KE                                               |
  |                                                      |
  |  IKE_AUTH response 1              TCP  9,538 octets  |
  |<-----------------------------------------------------|
  |  SA N(COOKIE)                                        |
  |                                                      |"""


def chosen(exchange: str, number: int, transport: str, reason: str) -> TransportChosen:
    return TransportChosen(SA, exchange, number, 400, 0, transport, reason)  # type: ignore[arg-type]


def test_a_choice_is_told_where_nothing_came_of_it() -> None:
    closed = StreamChanged(StreamId(1), RIGHT, "closed", "Connection refused")
    vain = steps_of([chosen("IKE_AUTH", 1, "tcp", "it is large"), closed])
    assert [str(step.text) for step in vain if isinstance(step, Note)] == [
        "IKE_AUTH 1 was to go over TCP: it is large",
        "TCP with 192.0.2.2:500 closed: Connection refused",
    ]
    good = steps_of([chosen("IKE_AUTH", 1, "tcp", "it is large"), sent("IKE_AUTH", 1, 400, "tcp"), closed])
    assert [step.text for step in good if isinstance(step, Note)] == [
        "TCP with 192.0.2.2:500 closed: Connection refused"
    ]


def drawn(events: list[Output], width: int = 60, ascii_only: bool = True) -> str:
    ends = ("initiator", "192.0.2.1:500"), ("responder", "192.0.2.2:500")
    return to_text(draw(steps_of(events), *ends, width=width, ascii_only=ascii_only))


def test_a_whole_exchange() -> None:
    assert drawn(EXCHANGE) == DRAWN


@pytest.mark.parametrize(("asked", "width"), [(20, 60), (60, 60), (80, 80), (101, 101), (200, 110)])
def test_every_line_keeps_the_width(asked: int, width: int) -> None:
    names, addresses, *rest = drawn(EXCHANGE, asked, ascii_only=False).splitlines()
    assert len(names) == len(addresses) == width
    for line in rest:
        assert len(line) == width - 2
        assert line[2] == "│"
        assert line[-1] in "│▶"


def test_ends_that_would_touch_have_lines_of_their_own() -> None:
    lines = to_text(draw([], ("a", "x" * 20), ("b", "y" * 37), width=60)).splitlines()
    assert lines[1:3] == ["x" * 20, " " * 23 + "y" * 37]


def test_a_responder_draws_the_initiator_on_the_left() -> None:
    steps = steps_of(EXCHANGE, left="peer")
    assert [step.rightwards for step in steps if isinstance(step, Step)] == [False, True, False, True]


def test_a_lost_request_is_marked_where_it_was_sent() -> None:
    events = [sent("IKE_AUTH", 1, 9689), sent("IKE_AUTH", 1, 9689, repeat=True)]
    steps = steps_of([events[0], Lost(True, 9693, "too large"), events[1]])
    assert [step.lost for step in steps if isinstance(step, Step)] == ["too large", ""]
    text = drawn([events[0], Lost(True, 9689, "too large"), events[1]])
    assert "  |------------------------------------x                 |" in text
    assert "  |  lost: too large " in text
    assert "IKE_AUTH request 1 (repeated)" in text


def test_a_lost_response_is_known_only_from_its_sender() -> None:
    response = sent("IKE_AUTH", 1, 9539, is_response=True)
    steps = steps_of([received("IKE_AUTH", 1, 80), Lost(False, 9539, "too large", response)])
    assert [(step.rightwards, step.lost) for step in steps if isinstance(step, Step)] == [
        (False, ""),
        (False, "too large"),
    ]
    assert "  |                 x------------------------------------|" in drawn(
        [Lost(False, 9539, "too large", response)]
    )


def test_a_loss_without_a_message_is_told_all_the_same() -> None:
    assert steps_of([Lost(True, 5000, "too large")]) == [
        Note("a datagram of 5,000 octets was dropped: too large", "bad")
    ]


def test_fragments_are_one_message() -> None:
    event = sent("IKE_AUTH", 1, 3312, fragments=3)
    assert "IKE_AUTH request 1        UDP 3 fragments,  3,312 octets  |" in drawn([event], 66)
    narrow = drawn([sent("IKE_AUTH", 1, 53312, fragments=30, repeat=True)])
    assert re.search(r"\(repeated\) +UDP 53,312 octets  \|\n", narrow)
    assert "  |  in 30 fragments  " in narrow
    switch = TransportSwitched(SA, "IKE_AUTH", 1, "udp", "udp", "3 transmissions unanswered", 20, 548)
    [note] = steps_of([switch])
    assert isinstance(note, Note)
    assert note.text == "IKE_AUTH 1 goes in 20 IKE fragments: 3 transmissions unanswered"


def test_of_a_message_in_fragments_it_is_counted_how_many_were_lost() -> None:
    event = sent("IKE_AUTH", 1, 3312, fragments=3)
    text = drawn([event, Lost(True, 1252, "too large"), Lost(True, 1252, "too large")])
    assert "  |  2 of 3 fragments lost: too large " in text
    [step] = steps_of([event, *[Lost(True, 1252, "too large")] * 3])
    assert isinstance(step, Step)
    assert step.missing == 3
    response = sent("IKE_AUTH", 1, 3312, is_response=True, fragments=3)
    again = sent("IKE_AUTH", 1, 3312, is_response=True, fragments=3, repeat=True)
    losses = [Lost(False, 1252, "too large", each) for each in (response, response, again)]
    assert [step.missing for step in steps_of(losses) if isinstance(step, Step)] == [2, 1]


def test_failures_and_retries_are_told() -> None:
    events: list[Output] = [
        CookieReceived(SA, "udp"),
        NatDetected(SA, True, True),
        IkeSaFailed(SA, "office", "initiator", "IKE_AUTH", AuthenticationFailed("wrong\x1b[2J key"), RIGHT),
    ]
    assert [step.text for step in steps_of(events) if isinstance(step, Note)] == [
        "the responder demands a cookie: IKE_SA_INIT again, on the same transport",
        "a NAT was found: both sides are behind it",
        "IKE SA failed in IKE_AUTH: wrong\\x1b[2J key",
    ]
