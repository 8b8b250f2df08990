"""The load: initiators over real sockets in this process, for whatever responder listens on loopback."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks._peering import UNLIMITED
from ikecore import (
    Address,
    CloseStream,
    Config,
    Connection,
    Endpoint,
    HalfCloseStream,
    IkeSaEstablished,
    IkeSaFailed,
    Local,
    OpenStream,
    Output,
    RequestCompleted,
    RequestFailed,
    ResetStream,
    SaId,
    SendDatagram,
    StreamId,
    WriteStream,
)

__all__ = ["HOST", "PATIENCE", "Initiator", "SocketInitiator", "establish", "wait"]

HOST = "127.0.0.1"
PATIENCE = 60.0


class Initiator:
    """One endpoint that wants SAs, and what has become of its wishes. What it sends is for `carry_out`."""

    def __init__(self, connection: Connection, local: Address) -> None:
        self.connection, self.local = connection, local
        self.endpoint = Endpoint(Config(limits=UNLIMITED), random=os.urandom, utc=lambda: datetime.now(UTC))
        self.endpoint.local_added(Local(local, marker=True), now=time.monotonic())
        self.sas: list[SaId] = []
        self.done = 0
        """How many wishes came true."""

    def tell(self, change: Callable[..., object], *args: object, **facts: object) -> None:
        """Call a method of the endpoint. Raises RuntimeError for a wish that failed."""
        change(*args, **facts, now=time.monotonic())
        for output in self.endpoint.outputs():
            if isinstance(output, IkeSaEstablished):
                self.sas.append(output.sa)
                self.done += 1
            elif isinstance(output, RequestCompleted):
                self.done += 1
            elif isinstance(output, IkeSaFailed | RequestFailed):
                raise RuntimeError(f"the load failed: {output.error}")
            else:
                self.carry_out(output)

    def carry_out(self, output: Output) -> None:
        """Do what an action says."""
        raise NotImplementedError

    def initiate(self) -> None:
        """Begin to set up one more SA."""
        self.tell(self.endpoint.initiate, self.connection, [HOST])

    def check(self) -> None:
        """Ask for a sign of life on the first SA."""
        self.tell(self.endpoint.check_liveness, self.sas[0])


class SocketInitiator(Initiator):
    """An initiator with one UDP socket, and a TCP connection where it wants one."""

    def __init__(self, connection: Connection) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self.streams: dict[StreamId, socket.socket] = {}
        self._held: list[Output] | None = None
        super().__init__(connection, self.socket.getsockname())

    def carry_out(self, output: Output) -> None:
        if self._held is not None:
            self._held.append(output)
        elif isinstance(output, SendDatagram):
            self.socket.sendto(output.data, output.remote)
        elif isinstance(output, WriteStream):
            self.streams[output.stream].sendall(output.data)
            self.endpoint.stream_sent(output.stream, len(output.data), now=time.monotonic())
        elif isinstance(output, OpenStream):
            stream = self.streams[output.stream] = socket.create_connection(output.remote)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.tell(self.endpoint.stream_connected, output.stream, local=stream.getsockname())
        elif isinstance(output, HalfCloseStream):
            self.streams[output.stream].shutdown(socket.SHUT_WR)
        elif isinstance(output, CloseStream | ResetStream):
            self.streams.pop(output.stream).close()

    def hold(self) -> None:
        """Keep what is to be sent until `release`."""
        self._held = []

    def release(self) -> None:
        """Send it."""
        held, self._held = self._held or [], None
        for output in held:
            self.carry_out(output)

    def read(self) -> None:
        """Take all that is there."""
        while True:
            try:
                data, remote = self.socket.recvfrom(65536)
            except BlockingIOError:
                break
            self.tell(self.endpoint.datagram_received, data, local=self.local, remote=remote)
        for stream, sock in list(self.streams.items()):
            try:
                data = sock.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            if data:
                self.tell(self.endpoint.stream_received, stream, data)
            elif stream in self.streams:
                self.tell(self.endpoint.stream_eof, stream)

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close()
        for stream in self.streams.values():
            stream.close()


def wait(initiators: list[SocketInitiator], until: Callable[[], object]) -> None:
    """Read whatever comes until *until* holds. Raises RuntimeError after a minute without."""
    give_up = time.monotonic() + PATIENCE
    while not until():
        poll = select.poll()
        ready: dict[int, SocketInitiator] = {}
        for each in initiators:
            for sock in (each.socket, *each.streams.values()):
                poll.register(sock, select.POLLIN)
                ready[sock.fileno()] = each
        for number, _ in poll.poll(100):
            ready[number].read()
        now = time.monotonic()
        for each in initiators:
            deadline = each.endpoint.deadline
            if deadline is not None and deadline <= now:
                each.tell(each.endpoint.timer_expired)
        if now > give_up:
            raise RuntimeError("the responder does not answer")


def establish(initiator: SocketInitiator, count: int, *, at_once: int = 20) -> None:
    """Set up *count* more SAs, so many at once."""
    before, begun = initiator.done, 0
    while (done := initiator.done - before) < count:
        while begun < count and begun - done < at_once:
            initiator.initiate()
            begun += 1
        wait([initiator], lambda done=done: initiator.done - before > done)  # type: ignore[misc]
