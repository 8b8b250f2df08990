"""The life of one TCP connection, as "A TCP transport for IKE" has it (the draft, sections 2.1 to 2.4).

    CONNECTING --connected--> OPEN --our FIN--> HALF_CLOSED_HERE --their FIN--> CLOSED
         |                     |                                                  ^
         |                     '---their FIN---> HALF_CLOSED_THERE --last answer--+
         '--refused, silent, lost: CLOSED                LINGERING ---------------'

Who opened a connection is the only one to send requests on it, and closes it once all of them are answered. Who
accepted it answers, closes after the last answer if the other side is closed already, and otherwise after idling some
seconds. Closing with unread input makes a kernel send RST, which can destroy the last answer on its way; so the
accepting side sends FIN and LINGERs, reading and dropping, until the other's FIN or a deadline. Abuse is met with a
reset.

A stream knows requests only as opaque keys. It never decides what is sent.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from math import inf

from ..events import StreamChanged
from ..framing import EspPacket, Framing, Receiver, frame_ike
from ..limits import Limits
from ..outputs import Address, CloseStream, HalfCloseStream, OpenStream, Output, ResetStream, StreamId, WriteStream
from .path import StreamPath

__all__ = ["Stream", "StreamState"]


class StreamState(enum.Enum):
    """Where a stream is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    HALF_CLOSED_HERE = "half-closed here"
    HALF_CLOSED_THERE = "half-closed there"
    LINGERING = "lingering"
    CLOSED = "closed"


_WRITABLE = (StreamState.OPEN, StreamState.HALF_CLOSED_THERE)
_READABLE = (StreamState.OPEN, StreamState.HALF_CLOSED_HERE)


class Stream:
    """One connection. Emits its actions; the caller keeps the table of streams and their deadlines."""

    __slots__ = (
        "_answer_by",
        "_connect_by",
        "_emit",
        "_first_by",
        "_idle_at",
        "_limits",
        "_close_once_sent",
        "armed",
        "_linger_until",
        "_message_by",
        "_receiver",
        "awaited",
        "end_reason",
        "heard",
        "id",
        "local",
        "number",
        "opened",
        "owed",
        "proved",
        "remote",
        "reserved",
        "state",
        "unsent",
        "waiting",
        "was_open",
    )

    def __init__(
        self,
        id: StreamId,
        remote: Address,
        *,
        opened: bool,
        receiver: Receiver,
        limits: Limits,
        emit: Callable[[Output], None],
    ) -> None:
        self.id = id
        self.remote = remote
        self.local: Address = ("", 0)
        self.opened = opened
        self.state = StreamState.CONNECTING
        self.awaited: set[Hashable] = set()
        """Requests sent here that are not answered yet."""
        self.owed: set[Hashable] = set()
        """Requests received here that we have not answered yet."""
        self.waiting: list[Hashable] = []
        """Requests that go out as soon as it is connected."""
        self.armed: float | None = None
        self.number = 0
        """Its place in the endpoint's schedule."""
        self.reserved = False
        """Opened early, for requests that will come."""
        self.was_open = False
        self.end_reason = ""
        """Why it is closed, in words."""
        self.unsent = 0
        self.heard = False
        """A whole message has come."""
        self.proved = False
        """A message on it was authenticated."""
        self._receiver = receiver
        self._limits = limits
        self._emit = emit
        self._connect_by: float | None = None
        self._first_by: float | None = None
        self._message_by: float | None = None
        self._idle_at: float | None = None
        self._answer_by: float | None = None
        self._linger_until: float | None = None
        self._close_once_sent = False

    # --- what happens to it -----------------------------------------------------------------------------------------

    def open(self, local: str | None, now: float) -> None:
        """Begin to connect."""
        self._connect_by = now + self._limits.stream_connect_timeout
        self._emit(OpenStream(self.id, self.remote, local))

    def connected(self, local: Address, now: float) -> None:
        """The handshake is done, on either side."""
        self.local = local
        self._connect_by = None
        self.was_open = True
        self._enter(StreamState.OPEN, "connected" if self.opened else "accepted")
        if self.opened:
            self._idle_at = now + self._limits.stream_idle
        else:
            self._first_by = now + self._limits.stream_first_message

    def received(self, data: bytes, now: float) -> list[bytes]:
        """Return the whole messages that *data* completes. A fault in the framing resets the stream after them."""
        if self.state not in _READABLE:
            return []
        frames = self._receiver.receive(data)
        messages = [frame for frame in frames if not isinstance(frame, EspPacket)]
        if messages:
            self.heard = True
            self._first_by = None
            self._message_by = None
            self.touch(now)
        if not self._receiver.at_boundary and self._message_by is None and self._first_by is None:
            self._message_by = now + self._limits.stream_message
        return messages

    @property
    def unfinished(self) -> int:
        """Octets that are kept of a message that is not whole yet."""
        return self._receiver.buffered

    @property
    def fault(self) -> str | None:
        """What is wrong with the input, in words; None while it can be cut into messages."""
        return None if self._receiver.fault is None else str(self._receiver.fault)

    def eof(self, now: float) -> None:
        """The peer sent FIN."""
        if self.state is StreamState.OPEN:
            self._enter(StreamState.HALF_CLOSED_THERE, "the peer sent FIN")
            self._first_by = self._message_by = None
            self.touch(now)
        elif self.state in (StreamState.HALF_CLOSED_HERE, StreamState.LINGERING):
            self._message_by = None
            self._close_when_sent("both sides sent FIN", now)

    def lost(self, reason: str) -> None:
        """The connection is gone, or never came up."""
        self._enter(StreamState.CLOSED, reason)

    # --- what is done with it ---------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self.state is not StreamState.CLOSED

    @property
    def path(self) -> StreamPath:
        return StreamPath(self.id, self.local, self.remote)

    @property
    def connecting(self) -> bool:
        return self.state is StreamState.CONNECTING

    @property
    def writable(self) -> bool:
        return self.state in _WRITABLE

    @property
    def framing(self) -> Framing | None:
        return self._receiver.framing

    def write(self, message: bytes, now: float) -> bool:
        """Queue one whole message. False if the peer does not read what we sent: the stream is reset then."""
        if self.unsent + len(message) > self._limits.stream_unsent:
            self.reset(f"the peer does not read: {self.unsent} octets are waiting")
            return False
        octets = frame_ike(Framing.IKE_TCP, message)
        self.unsent += len(octets)
        self._emit(WriteStream(self.id, octets))
        if self.opened:
            self._answer_by = now + self._limits.stream_answer_timeout
        self.touch(now)
        return True

    def sent(self, octets: int) -> None:
        """The kernel took *octets*."""
        self.unsent = max(0, self.unsent - octets)
        if not self.unsent and self._close_once_sent:
            self.close("all is sent, both sides sent FIN")

    def half_close(self, reason: str) -> None:
        """Send FIN behind what is queued, and go on reading."""
        if self.state is StreamState.OPEN:
            self._emit(HalfCloseStream(self.id))
            self._enter(StreamState.HALF_CLOSED_HERE, reason)

    def finish(self, reason: str, now: float) -> None:
        """End it in order: FIN behind what is queued, then drop input until the peer's FIN or a deadline."""
        if self.state is StreamState.HALF_CLOSED_THERE:
            if self.unsent:
                self._emit(HalfCloseStream(self.id))
            self._close_when_sent(reason, now)  # which sends FIN by itself where nothing waits before it
        elif self.state in (StreamState.OPEN, StreamState.HALF_CLOSED_HERE):
            if self.state is StreamState.OPEN:
                self._emit(HalfCloseStream(self.id))
            self._enter(StreamState.LINGERING, reason)
            self._first_by = self._message_by = self._idle_at = None
            self._linger_until = now + self._limits.stream_linger
        elif self.state is StreamState.CONNECTING:
            self.close(reason)

    def close(self, reason: str) -> None:
        """Close now, or cancel the attempt to connect."""
        if self.state is not StreamState.CLOSED:
            self._emit(CloseStream(self.id))
            self._enter(StreamState.CLOSED, reason)

    def reset(self, reason: str) -> None:
        """Close with RST."""
        if self.state is not StreamState.CLOSED:
            self._emit(ResetStream(self.id))
            self._enter(StreamState.CLOSED, reason)

    def touch(self, now: float) -> None:
        """Something useful happened: the idle time begins anew."""
        if self._first_by is None and self.state is not StreamState.LINGERING:
            self._idle_at = now + self._limits.stream_idle

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When `expire` has something to do."""
        if self.state is StreamState.CLOSED:
            return None
        earliest = inf
        for moment in (self._connect_by, self._first_by, self._message_by, self._linger_until):
            if moment is not None and moment < earliest:
                earliest = moment
        if self._answer_by is not None and self._answer_by < earliest and self.awaited:
            earliest = self._answer_by
        if self._idle_at is not None and self._idle_at < earliest and self._may_idle:
            earliest = self._idle_at
        return None if earliest == inf else earliest

    def expire(self, now: float) -> str | None:
        """Do what is due. Returns the reason if the stream is unusable from now on, else None."""
        if not self.alive:
            return None
        if _due(self._connect_by, now):
            reason = f"no connection within {self._limits.stream_connect_timeout:g} s"
            self.close(reason)
        elif _due(self._first_by, now):
            reason = f"no whole message within {self._limits.stream_first_message:g} s"
            self.reset(reason)
        elif _due(self._message_by, now):
            reason = f"a message is not whole after {self._limits.stream_message:g} s"
            self.reset(reason)
        elif _due(self._answer_by, now) and self.awaited:
            reason = f"no answer within {self._limits.stream_answer_timeout:g} s"
            self.reset(reason)
        elif _due(self._linger_until, now):
            reason = "the peer did not close in time"
            self.close(reason)
        elif _due(self._idle_at, now) and self._may_idle:
            reason = f"idle for {self._limits.stream_idle:g} s"
            self._idle_at = None
            self.finish(reason, now)
        else:
            return None
        return reason

    @property
    def _may_idle(self) -> bool:
        """No idle time runs while an answer is owed or awaited, or a message is on its way in."""
        return not self.owed and not self.awaited and not self.waiting and self._message_by is None

    def _close_when_sent(self, reason: str, now: float) -> None:
        """Both FINs are on their way; the socket may go once the kernel has our last octets."""
        if not self.unsent:
            self.close(reason)
            return
        self._enter(StreamState.LINGERING, reason)
        self._close_once_sent = True
        self._idle_at = None
        self._linger_until = now + self._limits.stream_linger

    def _enter(self, state: StreamState, reason: str) -> None:
        if state is not self.state:
            self.state = state
            if state is StreamState.CLOSED:
                self.end_reason = reason
                self._receiver.eof()  # what it holds of a message is of no use any more
            self._emit(StreamChanged(self.id, self.remote, state.value, reason))


def _due(moment: float | None, now: float) -> bool:
    return moment is not None and moment <= now
