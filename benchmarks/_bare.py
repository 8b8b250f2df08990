"""A responder without an adapter: between what is read and what is sent there is the core, and nothing else.

It knows no sessions, no timer, no errors and no queue, so it serves for measuring only. What it costs above the core
alone is what no adapter on the same framework can save: the system calls, the turns of the loop, and a core that runs
on cold caches after each sleep.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks._peering import responder_config
from ikecore import CloseStream, Endpoint, Local, Output, SendDatagram, StreamId, WriteStream

__all__ = ["Bare"]


class Bare:
    """The core and two sockets. *now* is the framework's clock; *closing* hears of each stream that is to be closed."""

    def __init__(
        self, datagrams: socket.socket, listener: socket.socket, now: Callable[[], float], drained: bool
    ) -> None:
        self.datagrams, self.listener = datagrams, listener
        self.closing: Callable[[socket.socket], object] = lambda stream: None
        self._now, self._drained = now, drained
        self._udp, self._tcp = datagrams.getsockname(), listener.getsockname()
        self._streams: dict[StreamId, socket.socket] = {}
        self._endpoint = Endpoint(responder_config(), random=os.urandom, utc=lambda: datetime.now(UTC))
        self._endpoint.local_added(Local(self._udp, marker=True), now=now())
        self._endpoint.local_added(Local(self._tcp, "tcp"), now=now())

    def read(self) -> None:
        """Take one datagram, or all that are there."""
        while True:
            try:
                data, remote = self.datagrams.recvfrom(65536)
            except BlockingIOError:
                return
            self._endpoint.datagram_received(data, local=self._udp, remote=remote, now=self._now())
            self._flush()
            if not self._drained:
                return

    def accept(self) -> tuple[socket.socket, StreamId]:
        """Take in one connection."""
        sock, remote = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = self._endpoint.stream_accepted(local=self._tcp, remote=remote, now=self._now())
        self._streams[stream] = sock
        self._flush()
        return sock, stream

    def take(self, sock: socket.socket, stream: StreamId) -> bool:
        """Read once; false at the peer's end."""
        data = sock.recv(65536)
        if data:
            self._endpoint.stream_received(stream, data, now=self._now())
        else:
            self._endpoint.stream_eof(stream, now=self._now())
        self._flush()
        return bool(data)

    def _flush(self) -> None:
        for output in self._endpoint.outputs():
            self._carry_out(output)
        _ = self._endpoint.deadline

    def _carry_out(self, output: Output) -> None:
        if isinstance(output, SendDatagram):
            self.datagrams.sendto(output.data, output.remote)
        elif isinstance(output, WriteStream):
            sent = self._streams[output.stream].send(output.data)
            self._endpoint.stream_sent(output.stream, sent, now=self._now())
        elif isinstance(output, CloseStream):
            sock = self._streams.pop(output.stream)
            self.closing(sock)
            sock.close()
