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
    CloseStream,
    Config,
    Connection,
    Endpoint,
    HalfCloseStream,
    IkeSaEstablished,
    IkeSaFailed,
    Local,
    OpenStream,
    RequestCompleted,
    RequestFailed,
    ResetStream,
    SaId,
    SendDatagram,
    StreamId,
    WriteStream,
)

__all__ = ["Initiator", "establish", "wait"]

HOST = "127.0.0.1"
PATIENCE = 60.0


class Initiator:
    """One endpoint with one UDP socket, and a TCP connection where the endpoint wants one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.endpoint = Endpoint(Config(limits=UNLIMITED), random=os.urandom, utc=lambda: datetime.now(UTC))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self.local = self.socket.getsockname()
        self.streams: dict[StreamId, socket.socket] = {}
        self.sas: list[SaId] = []
        self.done = 0
        self.endpoint.local_added(Local(self.local, marker=True), now=time.monotonic())

    def tell(self, change: Callable[..., object], *args: object, **facts: object) -> None:
        change(*args, **facts, now=time.monotonic())
        for output in self.endpoint.outputs():
            if isinstance(output, SendDatagram):
                self.socket.sendto(output.data, output.remote)
            elif isinstance(output, WriteStream):
                self.streams[output.stream].sendall(output.data)
                self.endpoint.stream_sent(output.stream, len(output.data), now=time.monotonic())
            elif isinstance(output, OpenStream):
                stream = self.streams[output.stream] = socket.create_connection(output.remote)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.endpoint.stream_connected(output.stream, local=stream.getsockname(), now=time.monotonic())
            elif isinstance(output, HalfCloseStream):
                self.streams[output.stream].shutdown(socket.SHUT_WR)
            elif isinstance(output, CloseStream | ResetStream):
                self.streams.pop(output.stream).close()
            elif isinstance(output, IkeSaEstablished):
                self.sas.append(output.sa)
                self.done += 1
            elif isinstance(output, RequestCompleted):
                self.done += 1
            elif isinstance(output, IkeSaFailed | RequestFailed):
                raise RuntimeError(f"the load failed: {output.error}")

    def initiate(self) -> None:
        self.tell(self.endpoint.initiate, self.connection, [HOST])

    def check(self) -> None:
        """Ask for a sign of life on the first SA."""
        self.tell(self.endpoint.check_liveness, self.sas[0])

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
        self.socket.close()
        for stream in self.streams.values():
            stream.close()


def wait(initiators: list[Initiator], until: Callable[[], bool]) -> None:
    """Read whatever comes until *until* holds. Raises RuntimeError after a minute without."""
    give_up = time.monotonic() + PATIENCE
    while not until():
        poll = select.poll()
        ready: dict[int, Initiator] = {}
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


def establish(initiator: Initiator, count: int, *, at_once: int = 20) -> None:
    """Set up *count* more SAs, so many at once."""
    begun, wanted = 0, initiator.done + count
    while initiator.done < wanted:
        while begun < count and begun - (initiator.done - wanted + count) < at_once:
            initiator.initiate()
            begun += 1
        before = initiator.done
        wait([initiator], lambda before=before: initiator.done > before)  # type: ignore[misc]
