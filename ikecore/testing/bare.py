"""An endpoint without a protocol: sends what it is told, and keeps what comes. For strangers, attackers and floods."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import attrs

from ..events import Transport
from ..outputs import (
    Address,
    CloseStream,
    HalfCloseStream,
    OpenStream,
    Output,
    ResetStream,
    SendDatagram,
    StreamId,
    WriteStream,
)
from ..transport import Local

__all__ = ["BareEndpoint", "BareStream", "Datagram"]


@attrs.frozen
class Datagram:
    """A datagram as it came in. `source` is the sender as we see it."""

    time: float
    data: bytes
    local: Address
    source: Address


@attrs.define
class BareStream:
    """What is known of one connection. `state` is "connecting", "open" or "lost"."""

    id: StreamId
    remote: Address
    opened: bool
    state: str = "connecting"
    local: Address | None = None
    received: bytearray = attrs.Factory(bytearray)
    reads: list[bytes] = attrs.Factory(list)
    eof: bool = False
    error: str | None = None
    unsent: int = 0


class BareEndpoint:
    """Has the face that a host sees of an endpoint. Wishes take effect at the host's next flush, or network run."""

    deadline: float | None = None

    def __init__(self) -> None:
        self.datagrams: list[Datagram] = []
        self.failures: list[tuple[Address, str]] = []
        self.streams: dict[StreamId, BareStream] = {}
        self._queue: deque[Output] = deque()

    # --- wishes -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes, *, local: Address, remote: Address) -> None:
        """Send a datagram. The non-ESP marker, where wanted, is in *data*."""
        self._queue.append(SendDatagram(data, local, remote))

    def open(self, remote: Address, local: str | None = None) -> BareStream:
        """Begin to connect."""
        stream = self._stream(remote, opened=True)
        self._queue.append(OpenStream(stream.id, remote, local))
        return stream

    def write(self, stream: BareStream, data: bytes) -> None:
        """Write octets of any kind."""
        stream.unsent += len(data)
        self._queue.append(WriteStream(stream.id, data))

    def half_close(self, stream: BareStream) -> None:
        """Send FIN behind what is written."""
        self._queue.append(HalfCloseStream(stream.id))

    def close(self, stream: BareStream) -> None:
        """Close the socket."""
        self._queue.append(CloseStream(stream.id))

    def reset(self, stream: BareStream) -> None:
        """Send RST."""
        self._queue.append(ResetStream(stream.id))

    # --- the host's side --------------------------------------------------------------------------------------------

    def local_added(self, local: Local, *, now: float) -> None:
        pass

    def local_removed(self, address: Address, kind: Transport = "udp", *, now: float) -> None:
        pass

    def datagram_received(self, data: bytes, *, local: Address, remote: Address, now: float) -> None:
        self.datagrams.append(Datagram(now, data, local, remote))

    def datagram_failed(self, *, local: Address, remote: Address, error: str, now: float) -> None:
        self.failures.append((remote, error))

    def stream_accepted(self, *, local: Address, remote: Address, now: float) -> StreamId:
        stream = self._stream(remote, opened=False)
        stream.state, stream.local = "open", local
        return stream.id

    def stream_connected(self, stream: StreamId, *, local: Address, now: float) -> None:
        self.streams[stream].state = "open"
        self.streams[stream].local = local

    def stream_received(self, stream: StreamId, data: bytes, *, now: float) -> None:
        self.streams[stream].received += data
        self.streams[stream].reads.append(data)

    def stream_sent(self, stream: StreamId, octets: int, *, now: float) -> None:
        self.streams[stream].unsent -= octets

    def stream_eof(self, stream: StreamId, *, now: float) -> None:
        self.streams[stream].eof = True

    def stream_lost(self, stream: StreamId, error: str, *, now: float) -> None:
        self.streams[stream].state = "lost"
        self.streams[stream].error = error

    def timer_expired(self, *, now: float) -> None:
        pass

    def outputs(self) -> Iterator[Output]:
        while self._queue:
            yield self._queue.popleft()

    def _stream(self, remote: Address, *, opened: bool) -> BareStream:
        stream = BareStream(StreamId(len(self.streams) + 1), remote, opened)
        self.streams[stream.id] = stream
        return stream
