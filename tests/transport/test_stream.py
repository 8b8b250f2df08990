"""The life of one TCP connection: every state with every input, and every deadline (the draft, sections 2.1 to 2.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.events import StreamChanged
from ikecore.framing import Framing, receiver
from ikecore.limits import Limits
from ikecore.outputs import (
    Address,
    CloseStream,
    HalfCloseStream,
    OpenStream,
    Output,
    ResetStream,
    StreamId,
    WriteStream,
)
from ikecore.transport import Stream, StreamPath, StreamState

S = StreamState
LIMITS = Limits(
    stream_connect_timeout=5.0,
    stream_first_message=6.0,
    stream_message=10.0,
    stream_idle=7.0,
    stream_linger=2.0,
    stream_unsent=1000,
)
LOCAL: Address = ("10.0.0.2", 500)
REMOTE: Address = ("10.0.0.1", 40_000)
MESSAGE = struct.pack("!8s8s4B2I", b"initiatr", b"responde", 0, 0x20, 37, 0x08, 1, 40) + bytes(12)
ACTIONS = (OpenStream, WriteStream, HalfCloseStream, CloseStream, ResetStream)


class Probe:
    """A stream with all that it emits."""

    def __init__(self, *, opened: bool = False) -> None:
        self.out: list[Output] = []
        self.stream = Stream(
            StreamId(1),
            REMOTE,
            opened=opened,
            receiver=receiver(Framing.IKE_TCP, prefix=not opened, bound=lambda header: 1000),
            limits=LIMITS,
            emit=self.out.append,
        )

    def take(self) -> list[type[Output]]:
        """The classes of the actions since the last time."""
        taken: list[type[Output]] = [type(each) for each in self.out if isinstance(each, ACTIONS)]
        self.out.clear()
        return taken

    def said(self) -> list[str]:
        return [each.state for each in self.out if isinstance(each, StreamChanged)]


def in_state(state: StreamState, *, opened: bool = False) -> Probe:
    """A stream brought to *state* at the moment 0, the shortest way."""
    probe = Probe(opened=opened)
    stream = probe.stream
    if state is not S.CONNECTING:
        stream.connected(LOCAL, 0.0)
    else:
        stream.open(None, 0.0)
    if state is S.HALF_CLOSED_HERE:
        stream.half_close("test")
    elif state is S.HALF_CLOSED_THERE:
        stream.eof(0.0)
    elif state is S.LINGERING:
        stream.finish("test", 0.0)
    elif state is S.CLOSED:
        stream.close("test")
    assert stream.state is state
    probe.take()
    return probe


INPUTS: dict[str, Callable[[Stream], object]] = {
    "message": lambda stream: stream.received(MESSAGE, 1.0),
    "part": lambda stream: stream.received(MESSAGE[:30], 1.0),
    "FIN": lambda stream: stream.eof(1.0),
    "lost": lambda stream: stream.lost("reset by peer"),
    "half-close": lambda stream: stream.half_close("done"),
    "finish": lambda stream: stream.finish("done", 1.0),
    "close": lambda stream: stream.close("done"),
    "reset": lambda stream: stream.reset("abuse"),
    "sent": lambda stream: stream.sent(0),
    "nothing due": lambda stream: stream.expire(0.5),
}

SAME: dict[str, tuple[StreamState | None, list[type[Output]]]] = {name: (None, []) for name in INPUTS}
END: dict[str, tuple[StreamState | None, list[type[Output]]]] = {
    "lost": (S.CLOSED, []),
    "close": (S.CLOSED, [CloseStream]),
    "reset": (S.CLOSED, [ResetStream]),
}
TABLE: dict[StreamState, dict[str, tuple[StreamState | None, list[type[Output]]]]] = {
    S.CONNECTING: {**SAME, **END, "finish": (S.CLOSED, [CloseStream])},
    S.OPEN: {
        **SAME,
        **END,
        "FIN": (S.HALF_CLOSED_THERE, []),
        "half-close": (S.HALF_CLOSED_HERE, [HalfCloseStream]),
        "finish": (S.LINGERING, [HalfCloseStream]),
    },
    S.HALF_CLOSED_HERE: {**SAME, **END, "FIN": (S.CLOSED, [CloseStream]), "finish": (S.LINGERING, [])},
    S.HALF_CLOSED_THERE: {**SAME, **END, "finish": (S.CLOSED, [CloseStream])},
    S.LINGERING: {**SAME, **END, "FIN": (S.CLOSED, [CloseStream])},
    S.CLOSED: SAME,
}


@pytest.mark.requirement("TCP-10", "TCP-11", "TCP-12", "TCP-33")
@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("state", StreamState, ids=lambda state: state.value)
def test_every_input_in_every_state(state: StreamState, name: str, opened: bool) -> None:
    """B16 too: what is closed stays closed, and is closed by one action."""
    probe = in_state(state, opened=opened)
    INPUTS[name](probe.stream)
    after, actions = TABLE[state][name]
    assert probe.stream.state is (after or state)
    assert probe.said() == ([] if after is None else [after.value])
    assert probe.take() == actions


def test_the_table_covers_the_machine() -> None:
    assert set(TABLE) == set(StreamState)
    assert all(row.keys() == INPUTS.keys() for row in TABLE.values())


@pytest.mark.parametrize("opened", [True, False])
@given(names=st.lists(st.sampled_from(sorted(INPUTS)), max_size=12), writes=st.booleans())
def test_any_sequence_ends_a_stream_at_most_once(opened: bool, names: list[str], writes: bool) -> None:
    probe = in_state(S.OPEN, opened=opened)
    if writes:
        probe.stream.write(MESSAGE, 0.0)
    for name in names:
        INPUTS[name](probe.stream)
    ends = [each for each in probe.out if isinstance(each, CloseStream | ResetStream)]
    assert len(ends) <= 1
    half = [each for each in probe.out if isinstance(each, HalfCloseStream)]
    assert len(half) <= 1
    if ends:
        assert not probe.stream.alive
        assert isinstance(probe.out[probe.out.index(ends[0]) + 1], StreamChanged)
        assert probe.stream.deadline is None


# --- octets ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-02", "TCP-40", "TCP-41", "TCP-47")
@pytest.mark.parametrize("state", [S.OPEN, S.HALF_CLOSED_HERE])
def test_messages_are_taken_while_the_other_side_is_open(state: StreamState) -> None:
    stream = in_state(state).stream
    assert stream.received(MESSAGE + MESSAGE[:35], 1.0) == [MESSAGE]
    assert stream.heard
    assert stream.received(MESSAGE[35:], 1.0) == [MESSAGE]


@pytest.mark.parametrize("state", [S.CONNECTING, S.HALF_CLOSED_THERE, S.LINGERING, S.CLOSED])
def test_otherwise_octets_are_dropped(state: StreamState) -> None:
    stream = in_state(state).stream
    assert stream.received(MESSAGE, 1.0) == []
    assert not stream.heard


@pytest.mark.requirement("TCP-44", "TCP-46")
def test_a_fault_is_told_after_the_messages_before_it() -> None:
    stream = in_state(S.OPEN).stream
    assert stream.fault is None
    assert stream.received(MESSAGE + MESSAGE[:24] + struct.pack("!I", 27), 1.0) == [MESSAGE]
    assert stream.fault is not None
    assert "27 octets" in stream.fault


@pytest.mark.requirement("TCP-02", "TCP-38", "TCP-78")
def test_a_message_is_written_whole_and_as_it_is() -> None:
    probe = in_state(S.OPEN)
    assert probe.stream.write(MESSAGE, 1.0)
    assert [each for each in probe.out if isinstance(each, WriteStream)] == [WriteStream(StreamId(1), MESSAGE)]
    assert probe.stream.unsent == len(MESSAGE)
    probe.stream.sent(10)
    assert probe.stream.unsent == len(MESSAGE) - 10


def test_a_reader_that_does_not_read_is_reset() -> None:
    probe = in_state(S.OPEN)
    assert probe.stream.write(bytes(1000), 1.0)
    assert not probe.stream.write(b"x", 1.0)
    assert probe.take() == [WriteStream, ResetStream]
    assert "1000 octets" in probe.stream.end_reason
    again = in_state(S.OPEN)
    for _ in range(10):
        assert again.stream.write(bytes(1000), 1.0)
        again.stream.sent(1000)


@pytest.mark.requirement("TCP-33", "TCP-12")
def test_the_last_answer_leaves_before_the_socket_goes() -> None:
    probe = in_state(S.HALF_CLOSED_THERE)
    probe.stream.write(MESSAGE, 1.0)
    probe.stream.finish("all is answered", 1.0)
    assert probe.take() == [WriteStream, HalfCloseStream]
    assert probe.stream.state is S.LINGERING
    probe.stream.sent(len(MESSAGE) - 1)
    assert probe.take() == []
    probe.stream.sent(1)
    assert probe.take() == [CloseStream]


def test_a_peer_that_never_takes_the_last_answer_is_left() -> None:
    probe = in_state(S.HALF_CLOSED_THERE)
    probe.stream.write(MESSAGE, 1.0)
    probe.stream.finish("all is answered", 1.0)
    assert probe.stream.deadline == 3.0
    assert probe.stream.expire(3.0)
    assert probe.take()[-1] is CloseStream


def test_lingering_drops_what_comes_until_the_other_fin() -> None:
    probe = in_state(S.OPEN)
    probe.stream.write(MESSAGE, 0.0)
    probe.stream.finish("idle", 0.0)
    assert probe.stream.received(MESSAGE, 1.0) == []
    probe.stream.eof(1.0)
    assert probe.take() == [WriteStream, HalfCloseStream]
    assert probe.stream.alive
    probe.stream.sent(len(MESSAGE))
    assert probe.take() == [CloseStream]


# --- deadlines ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-34", "TCP-35", "TCP-65", "TCP-83")
@pytest.mark.parametrize(
    ("prepare", "due", "actions", "reason"),
    [
        (lambda: in_state(S.CONNECTING, opened=True), 5.0, [CloseStream], "no connection within 5 s"),
        (lambda: in_state(S.OPEN), 6.0, [ResetStream], "no whole message within 6 s"),
        (lambda: begun(), 6.0, [ResetStream], "no whole message within 6 s"),
        (lambda: heard(MESSAGE[:30]), 11.0, [ResetStream], "a message is not whole after 10 s"),
        (lambda: heard(b""), 8.0, [HalfCloseStream], "idle for 7 s"),
        (lambda: in_state(S.OPEN, opened=True), 7.0, [HalfCloseStream], "idle for 7 s"),
        (lambda: in_state(S.HALF_CLOSED_THERE), 7.0, [CloseStream], "idle for 7 s"),
        (lambda: in_state(S.LINGERING), 2.0, [CloseStream], "did not close in time"),
    ],
    ids=["connect", "first", "begun", "message", "idle", "idle opened", "idle half-closed", "linger"],
)
def test_deadlines(prepare: Callable[[], Probe], due: float, actions: list[type[Output]], reason: str) -> None:
    probe = prepare()
    assert probe.stream.deadline == due
    assert probe.stream.expire(due - 0.001) is None
    assert probe.take() == []
    told = probe.stream.expire(due)
    assert told is not None
    assert reason in told
    assert probe.take() == actions


def begun() -> Probe:
    """One octet short of a first message, however often octets come."""
    probe = in_state(S.OPEN)
    for place in range(len(MESSAGE) - 1):
        probe.stream.received(MESSAGE[place : place + 1], place / 10)
    return probe


def heard(rest: bytes) -> Probe:
    """A first message came at the moment 1, and the beginning of another."""
    probe = in_state(S.OPEN)
    probe.stream.received(MESSAGE + rest, 1.0)
    return probe


def test_a_closed_stream_has_no_deadline() -> None:
    assert in_state(S.CLOSED).stream.deadline is None
    assert in_state(S.CLOSED).stream.expire(1e9) is None


@pytest.mark.requirement("TCP-34", "TCP-11")
def test_no_idle_time_runs_while_something_is_due() -> None:
    stream = heard(b"").stream
    stream.owed.add("request")
    assert stream.deadline is None
    assert stream.expire(1000.0) is None
    stream.owed.clear()
    assert stream.deadline == 8.0
    for way in ("awaited", "waiting"):
        stream = in_state(S.OPEN, opened=True).stream
        getattr(stream, way).add("r") if way == "awaited" else stream.waiting.append("r")
        assert stream.deadline is None


@pytest.mark.requirement("TCP-67")
def test_a_request_that_is_never_answered_ends_the_connection() -> None:
    probe = in_state(S.OPEN, opened=True)
    probe.stream.awaited.add("request")
    probe.stream.write(MESSAGE, 1.0)
    due = 1.0 + LIMITS.stream_answer_timeout
    assert probe.stream.deadline == due
    assert probe.stream.expire(due - 0.1) is None
    assert probe.stream.expire(due) == "no answer within 20 s"
    assert probe.take() == [WriteStream, ResetStream]


def test_what_happens_on_it_keeps_it_from_idling() -> None:
    stream = heard(b"").stream
    stream.write(MESSAGE, 5.0)
    assert stream.deadline == 12.0
    stream.received(MESSAGE, 6.0)
    assert stream.deadline == 13.0


@pytest.mark.requirement("TCP-83")
def test_a_message_that_goes_on_keeps_its_first_deadline() -> None:
    stream = heard(MESSAGE[:29]).stream
    stream.received(MESSAGE[29:30], 9.0)
    assert stream.deadline == 11.0
    stream.received(MESSAGE[30:] + MESSAGE[:1], 10.0)
    assert stream.deadline == 20.0


# --- what it knows ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-03", "TCP-08")
def test_opening_names_the_peer_and_perhaps_our_address() -> None:
    probe = Probe(opened=True)
    probe.stream.open("10.0.0.2", 0.0)
    assert probe.out == [OpenStream(StreamId(1), REMOTE, "10.0.0.2")]
    assert probe.stream.connecting
    assert not probe.stream.was_open
    probe.stream.connected(LOCAL, 1.0)
    assert probe.stream.was_open
    assert probe.stream.path == StreamPath(StreamId(1), LOCAL, REMOTE)
    assert probe.stream.path.transport == "tcp"
    assert probe.stream.framing is Framing.IKE_TCP


def test_where_it_can_be_written() -> None:
    writable = {state for state in StreamState if in_state(state).stream.writable}
    assert writable == {S.OPEN, S.HALF_CLOSED_THERE}


def test_the_reason_of_the_end_is_kept() -> None:
    probe = in_state(S.OPEN)
    probe.stream.lost("connection reset by peer")
    probe.stream.close("again")
    assert probe.stream.end_reason == "connection reset by peer"
    assert not probe.stream.alive
