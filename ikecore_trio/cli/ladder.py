"""The ladder: messages between two peers as a sequence diagram, drawn from trace events.

    initiator                                         responder
        |  IKE_SA_INIT request 0     UDP      454 octets  |
        |------------------------------------------------>|
        |     the first message goes over UDP, ...        |

`steps_of` picks what is drawn out of the events of the endpoint that watched; `draw` makes lines of it for a given
width. Both are pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import attrs

from ikecore.errors import SaClosed
from ikecore.events import (
    ChildSaClosed,
    ChildSaEstablished,
    ChildSaFailed,
    CookieReceived,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    KeyExchangeRetried,
    MessageReceived,
    MessageSent,
    NatDetected,
    RefusalReceived,
    SpisChanged,
    StreamChanged,
    TcpAnnounced,
    TransportChosen,
    TransportSwitched,
)
from ikecore.outputs import Output
from ikecore.record import record

from .drawing import Line, Style, wrap
from .text import address_text, printable, size

__all__ = ["Lost", "Note", "Step", "draw", "steps_of"]

NARROWEST: Final = 60
WIDEST: Final = 110
"""Beyond this, a line is longer than an eye follows."""


@attrs.define
class Step:
    """One message. *rightwards* means from the left to the right. *lost* tells why it never arrived, if it did not.

    *fragments* is the number of IKE fragments that it went in, 0 where it was whole; *missing* of them were lost.
    """

    rightwards: bool
    title: str
    transport: Literal["udp", "tcp"]
    octets: int
    reason: str
    payloads: tuple[str, ...]
    repeat: bool = False
    lost: str = ""
    fragments: int = 0
    missing: int = 0


@record
class Note:
    """Something that happened between messages. *style* is its role."""

    text: str
    style: Style = "note"


@record
class Lost(Output):
    """A datagram of *octets* that the network of a demonstration swallowed, *rightwards* or not.

    *sent* is what its sender told of it, where that was not the endpoint that watches.
    """

    rightwards: bool
    octets: int
    reason: str
    sent: MessageSent | None = None


def steps_of(events: Iterable[Output], *, left: Literal["us", "peer"] = "us") -> list[Step | Note]:
    """Turn what one endpoint told, in order, into steps. *left* says which side is drawn on the left."""
    steps: list[Step | Note] = []
    chosen: TransportChosen | None = None
    for event in events:
        if isinstance(event, TransportChosen):
            chosen = event
        elif isinstance(event, StreamChanged) and event.state == "closed" and chosen is not None:
            # A message that never went out has no arrow to stand below.
            if chosen.transport == "tcp":
                steps.append(Note(f"{chosen.exchange} {chosen.message_id} was to go over TCP: {chosen.reason}", "dim"))
            chosen = None
        if isinstance(event, MessageSent | MessageReceived):
            chosen = None
            steps.append(step_of(event, left))
        elif isinstance(event, Lost):
            mark_lost(steps, event)
        else:
            note = note_of(event)
            if note is not None:
                steps.append(note)
    return steps


def step_of(event: MessageSent | MessageReceived, left: Literal["us", "peer"]) -> Step:
    """Turn one message into a step."""
    sent = isinstance(event, MessageSent)
    return Step(
        rightwards=sent == (left == "us"),
        title=f"{event.exchange} {'response' if event.is_response else 'request'} {event.message_id}",
        transport=event.transport,
        octets=event.octets,
        reason=event.reason if isinstance(event, MessageSent) else "",
        payloads=event.payloads,
        repeat=event.repeat,
        fragments=event.fragments,
    )


def mark_lost(steps: list[Step | Note], event: Lost) -> None:
    """Mark the message that was lost: the latest one of its size that went that way, or what only its sender knows.

    Of a message in fragments it is counted how many were lost.
    """
    if event.sent is not None:
        step, before = step_of(event.sent, "us" if event.rightwards else "peer"), steps[-1] if steps else None
        if isinstance(before, Step) and (before.title, before.repeat) == (step.title, step.repeat):
            another = 0 < before.missing < before.fragments
            step = before if another else step
        if step is not before:
            steps.append(step)
        step.lost = event.reason
        step.missing += 1
        return
    for each in reversed(steps):
        if (
            isinstance(each, Step)
            and each.rightwards == event.rightwards
            and each.transport == "udp"
            and (each.missing < each.fragments or each.octets in (event.octets, event.octets - MARKER))
        ):
            each.lost = event.reason
            each.missing += 1
            return
    steps.append(Note(f"a datagram of {size(event.octets)} was dropped: {event.reason}", "bad"))


def note_of(event: Output) -> Note | None:
    """Put an event between messages into words, None for what a ladder does not tell."""
    match event:
        case CookieReceived():
            return Note("the responder demands a cookie: IKE_SA_INIT again, on the same transport")
        case RefusalReceived():
            error = f"{type(event.error).__name__}: {printable(str(event.error))}"
            return Note(f"the peer, or somebody in its name, refuses ({error}): a better answer is waited for", "bad")
        case KeyExchangeRetried():
            return Note(f"the responder wants {event.wanted} instead of {event.offered}: IKE_SA_INIT again")
        case NatDetected() if event.local_behind_nat or event.peer_behind_nat:
            who = ("both sides are", "we are", "the peer is")
            which = 0 if event.local_behind_nat and event.peer_behind_nat else 1 if event.local_behind_nat else 2
            return Note(f"a NAT was found: {who[which]} behind it")
        case TcpAnnounced():
            usable = "" if event.usable else f", which we do not use: {event.reason}"
            return Note(f"the peer announces IKE over TCP at port {event.port}{usable}")
        case TransportSwitched():
            move = f"moves from {event.before} to {event.after}"
            if event.before == event.after:
                move = f"goes in {event.fragments} IKE fragments" if event.fragments else "goes whole"
            return Note(f"{event.exchange} {event.message_id} {move}: {event.reason}")
        case StreamChanged():
            return Note(f"TCP with {address_text(event.remote)} {event.state}: {printable(event.reason)}", "dim")
        case IkeSaEstablished():
            return Note("IKE SA established", "good")
        case ChildSaEstablished() if event.replaces is not None:
            return Note(f"Child SA {printable(event.name)} rekeyed: {event.child} in place of {event.replaces}", "good")
        case ChildSaEstablished():
            return Note(f"Child SA {printable(event.name)} established", "good")
        case ChildSaClosed():
            return Note(f"Child SA {event.child} closed: {printable(event.reason)}")
        case SpisChanged() if event.rekeyed:
            return Note(f"new keys, and Message IDs from 0: {printable(event.reason)}", "good")
        case ChildSaFailed():
            name = f" {printable(event.name)}" if event.name else ""
            return Note(f"Child SA{name} failed: {printable(str(event.error))}", "bad")
        case IkeSaFailed() if isinstance(event.error, SaClosed):  # we gave it up: nothing has gone wrong
            return Note(f"IKE SA ended in {event.step}: {event.error}")
        case IkeSaFailed():
            return Note(f"IKE SA failed in {event.step}: {printable(str(event.error))}", "bad")
        case IkeSaClosed():
            return Note(
                f"IKE SA closed by {event.by}: {printable(event.reason)}", "bad" if event.by == "error" else "note"
            )
        case _:
            return None


# --- drawing ----------------------------------------------------------------------------------------------------------


@record
class Strokes:
    """The characters of the drawing."""

    rail: str
    dash: str
    right: str
    left: str
    lost: str


UNICODE: Final = Strokes("\N{BOX DRAWINGS LIGHT VERTICAL}", "\N{BOX DRAWINGS LIGHT HORIZONTAL}", "▶", "◀", "✗")
ASCII: Final = Strokes("|", "-", ">", "<", "x")


def draw(
    steps: Sequence[Step | Note],
    left: tuple[str, str],
    right: tuple[str, str],
    *,
    width: int = 80,
    ascii_only: bool = False,
    payloads: bool = True,
) -> list[Line]:
    """Draw *steps* between two rails, each with a name and a second line, in *width* columns (60 to 110)."""
    strokes = ASCII if ascii_only else UNICODE
    width = max(NARROWEST, min(width, WIDEST))
    inner = width - 2 - 2 * MARGIN
    lines: list[Line] = [*spread(left[0], right[0], width, "head"), *spread(left[1], right[1], width, "dim")]
    before: Step | Note | None = None
    for step in steps:
        if not (isinstance(step, Note) and isinstance(before, Note)):
            lines.append(between("", "note", inner, strokes))
        before = step
        if isinstance(step, Note):
            bullet = " * "
            for text in wrap(step.text, inner - len(bullet) - INDENT):
                lines.append(between(bullet + text, step.style, inner, strokes))
                bullet = "   "
        else:
            lines += message_lines(step, inner, strokes, payloads)
    lines.append(between("", "note", inner, strokes))
    return lines


MARGIN: Final = 2
INDENT: Final = 2
MARKER: Final = 4
"""Octets of the non-ESP marker, which are no part of the message."""


def message_lines(step: Step, inner: int, strokes: Strokes, payloads: bool) -> Iterator[Line]:
    """Draw one message: what it is, its arrow, why it went this way, and what is in it."""
    title = step.title + (" (repeated)" if step.repeat else "")
    transport, octets = step.transport.upper(), size(step.octets).rjust(14)
    pieces = f" {step.fragments} fragments," if step.fragments else ""
    space = inner - 2 * INDENT - len(title) - len(transport) - len(octets)
    beside = pieces if len(pieces) < space else ""
    tail: Line = ((transport + beside, step.transport), (octets, "size"))
    space -= len(beside)
    yield rails(((" " * INDENT, "frame"), (title, "head"), (" " * max(1, space), "frame"), *tail), inner, strokes)
    yield arrow(step, inner, strokes)
    if pieces and not beside:
        yield between(" " * INDENT + f"in {step.fragments} fragments", "note", inner, strokes)
    if step.lost:
        some = f"{step.missing} of {step.fragments} fragments " if step.fragments else ""
        for text in wrap(f"{some}lost: {step.lost}", inner - 2 * INDENT):
            yield between(" " * INDENT + text, "bad", inner, strokes)
    if step.repeat:
        return
    for text in wrap(step.reason, inner - 2 * INDENT):
        yield between(" " * INDENT + text, "note", inner, strokes)
    if payloads and step.payloads:
        for text in wrap(printable(" ".join(step.payloads)), inner - 2 * INDENT):
            yield between(" " * INDENT + text, "dim", inner, strokes)


def arrow(step: Step, inner: int, strokes: Strokes) -> Line:
    """Draw the arrow from rail to rail; that of a lost message ends on its way."""
    if step.lost:
        shaft = strokes.dash * (inner * 2 // 3)
        body = shaft + strokes.lost if step.rightwards else strokes.lost + shaft
        return rails(((body if step.rightwards else body.rjust(inner), "bad"),), inner, strokes)
    shaft = strokes.dash * (inner - 1)
    return rails(
        ((shaft + strokes.right if step.rightwards else strokes.left + shaft, step.transport),), inner, strokes
    )


def between(text: str, style: Style, inner: int, strokes: Strokes) -> Line:
    """Put one text between the rails."""
    return rails(((text, style),), inner, strokes)


def rails(spans: Line, inner: int, strokes: Strokes) -> Line:
    """Put spans between the rails, and fill up to the right one."""
    used = sum(len(text) for text, _ in spans)
    pad = " " * max(0, inner - used)
    edge = " " * MARGIN + strokes.rail
    return ((edge, "frame"), *spans, (f"{pad}{strokes.rail}", "frame"))


def spread(left: str, right: str, width: int, style: Style) -> list[Line]:
    """Put one text at each end, on lines of their own where they would touch."""
    left, right = printable(left), printable(right)
    if len(left) + len(right) + 4 > width:
        return [((left, style),), ((right.rjust(width), style),)]
    return [((f"{left}{' ' * (width - len(left) - len(right))}{right}", style),)]
