"""TCP: connect, accept, read, write behind what is queued, and the three ways to end.

The loop watches the sockets and nothing more. Its own transports close when the peer half-closes, do not say how much
the kernel took, and make a task, a future and five turns of each connection that comes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ikecore import Address, Endpoint, Local, OpenStream, StreamId

from ._sockets import begin_connect, close_with_reset, no_delay, reduce, watch

READ = 65536
"""Octets taken from one stream before the others get their turn."""
ACCEPT = 64
OUT_OF_DESCRIPTORS = 0.1
"""Seconds until we try to accept again when the process has no descriptor left."""


class StreamOwner(Protocol):
    """What streams and listeners need of the driver that owns them."""

    endpoint: Endpoint
    loop: asyncio.AbstractEventLoop

    def now(self) -> float: ...
    def flush(self) -> None: ...
    def guarded(self, callback: Callable[[], object]) -> None: ...
    def register(self, stream: Stream) -> None: ...
    def forget(self, stream: StreamId) -> None: ...


class Stream:
    """One TCP connection, from the attempt to open it or from its acceptance to its end.

    Once the core has ended it, or has heard of its end, it is not registered any more, and the loop watches it no more.
    """

    def __init__(self, driver: StreamOwner, stream: StreamId, sock: socket.socket, *, connected: bool) -> None:
        self.stream = stream
        self._driver = driver
        self._sock = sock
        self._descriptor = sock.fileno()
        self._queue: deque[memoryview] = deque()
        self._connected = connected
        self._half_close = False
        self._writing = False
        self._broken = False
        self._at_eof = False
        self._ended = False
        self._reader = False
        """Whether the loop watches for something to read."""
        self._writer = False
        """Whether it watches for room to write."""

    def start(self) -> None:
        """Feed the core from now on, until the peer's end or ours."""
        if self._connected:
            self._watch_reading()
        else:
            self._watch_writing(self._connect)

    # What the core asks for. Nothing here waits.

    def write(self, data: bytes) -> None:
        """Write *data* behind what is queued, as much as the kernel takes now, and the rest when it takes more."""
        self._queue.append(memoryview(data))
        self._push()

    def half_close(self) -> None:
        """Send FIN behind what is queued."""
        self._half_close = True
        self._push()

    def close(self) -> None:
        """Close now."""
        self._end()
        self._sock.close()

    def reset(self) -> None:
        """Close now, with RST."""
        self._end()
        close_with_reset(self._sock)

    def _end(self) -> None:
        self._ended = True
        self._queue.clear()
        self._leave_reading()
        self._leave_writing()

    # What the network does.

    def _connect(self) -> None:
        """The attempt to connect is decided: write what has been queued meanwhile."""
        self._leave_writing()
        refusal = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refusal:
            self._lose(OSError(refusal, os.strerror(refusal)))
            return
        self._connected = True
        self._watch_reading()
        local = reduce(self._sock.getsockname())
        self._driver.endpoint.stream_connected(self.stream, local=local, now=self._driver.now())
        self._driver.flush()
        self._push()

    def _take(self) -> None:
        """Read once."""
        try:
            data = self._sock.recv(READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._driver.endpoint.stream_received(self.stream, data, now=self._driver.now())
        else:
            self._at_eof = True
            self._leave_reading()
            self._driver.endpoint.stream_eof(self.stream, now=self._driver.now())
        self._driver.flush()

    def _push(self) -> None:
        """Give the kernel what it takes; the rest goes when it takes more."""
        if not self._connected or self._writing or self._broken or self._ended:
            return
        self._writing = True
        if self._write_some():
            self._writing = False
        else:
            self._watch_writing(self._write)

    def _write(self) -> None:
        """There is room: write what is queued."""
        if self._write_some():
            self._writing = False
            self._leave_writing()

    def _write_some(self) -> bool:
        """Write until the kernel takes no more, also what is queued meanwhile; true means that nothing is left."""
        while self._queue and not self._ended:
            try:
                sent = self._sock.send(self._queue[0])
            except BlockingIOError:
                return False
            except OSError as error:
                self._lose(error)
                return True
            if sent == len(self._queue[0]):
                self._queue.popleft()
            else:
                self._queue[0] = self._queue[0][sent:]
            self._driver.endpoint.stream_sent(self.stream, sent, now=self._driver.now())
            self._driver.flush()
        if self._half_close and not self._ended:
            self._half_close = False
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._lose(error)
        return True

    def _lose(self, error: OSError) -> None:
        """The connection is broken. What the peer sent before still counts, and is read first."""
        self._broken = True
        while self._connected and not (self._at_eof or self._ended):
            try:
                data = self._sock.recv(READ)
            except OSError:
                break
            if not data:
                break
            self._driver.endpoint.stream_received(self.stream, data, now=self._driver.now())
            self._driver.flush()
        if not self._ended:
            self._driver.forget(self.stream)
            self.close()
            text = error.strerror or str(error)
            self._driver.endpoint.stream_lost(self.stream, text, now=self._driver.now())
            self._driver.flush()

    # What the loop watches.

    def _watch_reading(self) -> None:
        self._reader = True
        watch(self._driver.loop, self._descriptor, self._driver.guarded, self._take)

    def _leave_reading(self) -> None:
        if self._reader:
            self._reader = False
            self._driver.loop.remove_reader(self._descriptor)

    def _watch_writing(self, callback: Callable[[], object]) -> None:
        self._writer = True
        self._driver.loop.add_writer(self._descriptor, self._driver.guarded, callback)

    def _leave_writing(self) -> None:
        if self._writer:
            self._writer = False
            self._driver.loop.remove_writer(self._descriptor)


def open_stream(driver: StreamOwner, wanted: OpenStream) -> Stream:
    """Begin to connect; the outcome comes from `Stream.start`. Raises OSError if it is known at once."""
    return Stream(driver, wanted.stream, begin_connect(wanted.remote, wanted.local), connected=False)


class Listener:
    """One listening TCP socket."""

    def __init__(self, driver: StreamOwner, sock: socket.socket, local: Local) -> None:
        self.local = local
        self._driver = driver
        self._sock = sock
        self._reader = False
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept connections until the socket is closed."""
        watch(self._driver.loop, self._sock.fileno(), self._driver.guarded, self._accept)
        self._reader = True

    def _accept(self) -> None:
        """Accept those that wait."""
        try:
            for _ in range(ACCEPT):
                sock, address = self._sock.accept()
                self._accepted(sock, reduce(address))
                self._driver.flush()
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._leave_reading()
                self._pause = self._driver.loop.call_later(OUT_OF_DESCRIPTORS, self._driver.guarded, self.start)

    def _accepted(self, sock: socket.socket, remote: Address) -> None:
        sock.setblocking(False)
        no_delay(sock)
        now = self._driver.now()
        stream = self._driver.endpoint.stream_accepted(local=self.local.address, remote=remote, now=now)
        self._driver.register(Stream(self._driver, stream, sock, connected=True))

    def _leave_reading(self) -> None:
        if self._reader:
            self._reader = False
            self._driver.loop.remove_reader(self._sock.fileno())

    def close(self) -> None:
        """Close the socket."""
        if self._pause is not None:
            self._pause.cancel()
        self._leave_reading()
        self._sock.close()
