"""TCP: connect, accept, read, write behind what is queued, and the three ways to end."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from ikecore import Address, Endpoint, Local, OpenStream, StreamId

from ._sockets import begin_connect, close, close_with_reset, no_delay, readable, reduce, writable

READ = 65536
"""Octets taken from one stream before the others get their turn."""
ACCEPT = 64
OUT_OF_DESCRIPTORS = 0.1
"""Seconds until we try to accept again when the process has no descriptor left."""


class StreamOwner(Protocol):
    """What streams and listeners need of the driver that owns them."""

    endpoint: Endpoint

    def now(self) -> float: ...
    def flush(self) -> None: ...
    def spawn(self, task: Callable[..., Awaitable[object]], *args: object) -> None: ...
    def register(self, stream: Stream) -> None: ...
    def forget(self, stream: StreamId) -> None: ...


class Stream:
    """One TCP connection, from the attempt to open it or from its acceptance to its end.

    Once the core has ended it, or has heard of its end, it is not registered any more and its tasks end by themselves.
    """

    def __init__(self, driver: StreamOwner, stream: StreamId, sock: socket.socket, *, connected: bool) -> None:
        self.stream = stream
        self._driver = driver
        self._sock = sock
        self._queue: deque[memoryview] = deque()
        self._connected = connected
        self._half_close = False
        self._writing = False
        self._broken = False
        self._at_eof = False
        self._ended = False

    # What the core asks for. Nothing here waits.

    def write(self, data: bytes) -> None:
        """Write *data* behind what is queued, as much as the kernel takes now, and the rest from a task."""
        self._queue.append(memoryview(data))
        self._push()

    def half_close(self) -> None:
        """Send FIN behind what is queued."""
        self._half_close = True
        self._push()

    def close(self) -> None:
        """Close now."""
        self._end()
        close(self._sock)

    def reset(self) -> None:
        """Close now, with RST."""
        self._end()
        close_with_reset(self._sock)

    def _end(self) -> None:
        self._ended = True
        self._queue.clear()

    # What the network does.

    async def run(self) -> None:
        """Feed the core until the peer's end or ours."""
        if not self._connected:
            await self._connect()
        while not (self._ended or self._at_eof):
            self._take()
            if not (self._ended or self._at_eof):
                await readable(self._sock)

    async def _connect(self) -> None:
        """Wait until the attempt to connect is decided, and write what has been queued meanwhile."""
        if not await writable(self._sock) or self._ended:
            return
        refusal = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refusal:
            self._lose(OSError(refusal, os.strerror(refusal)))
            return
        self._connected = True
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
            self._driver.endpoint.stream_eof(self.stream, now=self._driver.now())
        self._driver.flush()

    def _push(self) -> None:
        """Give the kernel what it takes; leave the rest to a task."""
        if not self._connected or self._writing or self._broken or self._ended:
            return
        self._writing = True
        if self._write_some():
            self._writing = False
        else:
            self._driver.spawn(self._write)

    async def _write(self) -> None:
        """Write what is queued, and end."""
        while self._writing and await writable(self._sock):
            self._writing = not self._write_some()

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


def open_stream(driver: StreamOwner, wanted: OpenStream) -> Stream:
    """Begin to connect; `Stream.run` waits for the outcome. Raises OSError if it is known at once."""
    return Stream(driver, wanted.stream, begin_connect(wanted.remote, wanted.local), connected=False)


class Listener:
    """One listening TCP socket."""

    def __init__(self, driver: StreamOwner, sock: socket.socket, local: Local) -> None:
        self.local = local
        self._driver = driver
        self._sock = sock

    async def accept(self) -> None:
        """Accept connections until the socket is closed."""
        while await readable(self._sock):
            try:
                for _ in range(ACCEPT):
                    sock, address = self._sock.accept()
                    self._accepted(sock, reduce(address))
                    self._driver.flush()
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await trio.sleep(OUT_OF_DESCRIPTORS)

    def _accepted(self, sock: socket.socket, remote: Address) -> None:
        sock.setblocking(False)
        no_delay(sock)
        now = self._driver.now()
        stream = self._driver.endpoint.stream_accepted(local=self.local.address, remote=remote, now=now)
        self._driver.register(Stream(self._driver, stream, sock, connected=True))

    def close(self) -> None:
        """Close the socket, which ends its task."""
        close(self._sock)
