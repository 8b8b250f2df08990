"""TCP: one protocol per connection.

Three of asyncio's habits are not ours. It closes when the peer half-closes, unless `eof_received` returns True; its
`abort` is a plain close; and it does not say how much the kernel took, which we learn from what is left in its buffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol, cast

from ikecore import Address, Endpoint, Local, OpenStream, StreamId

from ._sockets import abort_with_reset, read_less, reduce, words

READ = 65536


class StreamOwner(Protocol):
    """What streams need of the driver that owns them."""

    endpoint: Endpoint
    closed: bool

    def feed(self, change: Callable[..., object], *args: object, **facts: object) -> None: ...
    def register(self, stream: StreamId, protocol: Stream) -> None: ...
    def forget(self, stream: StreamId) -> None: ...


class Stream(asyncio.Protocol):
    """One TCP connection: accepted at *listener*, or opened as *stream*."""

    def __init__(self, driver: StreamOwner, stream: StreamId | None, listener: Local | None) -> None:
        self.task: asyncio.Task[None] | None = None
        self._driver = driver
        self._stream = stream
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._half_close = False
        self._unsent = 0
        self._at_eof = False
        self._ended = False

    # What the core asks for. Nothing here waits.

    def write(self, data: bytes) -> None:
        """Write *data* behind what is queued."""
        if self._transport is None:
            self._early.append(data)
            return
        self._unsent += len(data)
        self._transport.write(data)
        self._driver.feed(self._report)

    def half_close(self) -> None:
        """Send FIN behind what is queued."""
        self._half_close = True
        if self._transport is not None:
            with suppress(OSError):  # reset by the peer, of which we are about to hear
                self._transport.write_eof()

    def close(self) -> None:
        """Close now."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()
        elif self.task is not None:
            self.task.cancel()

    def reset(self) -> None:
        """Close now, with RST."""
        if self._transport is not None:
            abort_with_reset(self._transport)
        self.close()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        remote = transport.get_extra_info("peername")
        if self._ended or self._driver.closed or not remote:  # no longer wanted, or gone before we could look
            self.reset()
            return
        self._transport.set_write_buffer_limits(high=0)
        read_less(transport)
        if self._listener is not None:
            self._driver.feed(self._accepted, local=self._listener.address, remote=reduce(remote))
            return
        if self._early:  # before what the core says to the connection
            data = b"".join(self._early)
            self._unsent = len(data)
            self._transport.write(data)
        if self._half_close:
            self.half_close()
        local = reduce(transport.get_extra_info("sockname"))
        self._driver.feed(self._driver.endpoint.stream_connected, self._stream, local=local)
        self._driver.feed(self._report)

    def data_received(self, data: bytes) -> None:
        if not self._ended:
            self._driver.feed(self._driver.endpoint.stream_received, self._stream, data)

    def eof_received(self) -> bool:
        """Hear of the peer's FIN; True keeps our direction open."""
        self._at_eof = True
        if not self._ended:
            self._driver.feed(self._driver.endpoint.stream_eof, self._stream)
        return True

    def resume_writing(self) -> None:
        """Everything written has been taken."""
        if not self._ended:
            self._driver.feed(self._report)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is broken, unless it was us. What the peer sent before still counts, and is read first."""
        if self._ended:
            return
        for data in self._rest():
            self.data_received(data)
        self.lose(exc)

    # The rest.

    def lose(self, error: BaseException | None) -> None:
        """Tell the core that the connection, or the attempt at one, has come to nothing."""
        if not self._ended and self._stream is not None:
            self._ended = True
            self._driver.forget(self._stream)
            self._driver.feed(self._driver.endpoint.stream_lost, self._stream, words(error))

    def _accepted(self, *, local: Address, remote: Address, now: float) -> None:
        self._stream = self._driver.endpoint.stream_accepted(local=local, remote=remote, now=now)
        self._driver.register(self._stream, self)

    def _report(self, *, now: float) -> None:
        """Tell the core how much of what it wrote the kernel has taken since the last time."""
        if self._transport is None or self._stream is None or self._ended or self._transport.is_closing():
            return  # a broken transport has dropped what it had: an empty buffer means nothing then
        left = self._transport.get_write_buffer_size()
        taken, self._unsent = self._unsent - left, left
        if taken:
            self._driver.endpoint.stream_sent(self._stream, taken, now=now)

    def _rest(self) -> Iterator[bytes]:
        """Read what a broken connection still holds: asyncio gives it up with the first failed write."""
        if self._transport is None or self._at_eof:
            return
        with suppress(OSError), self._transport.get_extra_info("socket").dup() as sock:
            while data := sock.recv(READ):
                yield data


async def open_stream(stream: Stream, wanted: OpenStream) -> None:
    """Connect *stream*; the outcome comes from the stream itself."""
    host, port = wanted.remote
    local = None if wanted.local is None else (wanted.local, 0)
    try:
        await asyncio.get_running_loop().create_connection(lambda: stream, host, port, local_addr=local)
    except OSError as error:
        stream.lose(error)
