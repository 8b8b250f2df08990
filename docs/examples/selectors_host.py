"""A whole host for ikecore on plain `selectors`, in one thread that waits in `turn` alone: see docs/embedding.md."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import Any

import ikecore as ike

STREAM_ACTIONS = ike.WriteStream | ike.HalfCloseStream | ike.CloseStream | ike.ResetStream


def reduce(address: Any) -> ike.Address:
    """Return an address as the core has it: an IP literal without scope, and a port."""
    return address[0].partition("%")[0], address[1]


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Host:
    """One endpoint and its sockets. *heard* sees every output, in order, before it is carried out."""

    def __init__(self, endpoint: ike.Endpoint, selector: BaseSelector, heard: Callable[[ike.Output], object]) -> None:
        self.endpoint, self.selector, self.heard, self.draining = endpoint, selector, heard, False
        self.sockets: dict[tuple[str, ike.Address], socket.socket] = {}
        self.streams: dict[ike.StreamId, Stream] = {}

    def tell(self, change: Callable[..., Any], *args: object, **facts: object) -> Any:
        """Call a method of the endpoint, and carry out what comes of it. Nothing in here waits."""
        result = change(*args, **facts, now=time.monotonic())
        if not self.draining:  # else it comes out of the loop that is running
            self.draining = True
            try:
                for output in self.endpoint.outputs():
                    self.heard(output)
                    self.carry_out(output)
            finally:
                self.draining = False
        return result

    def carry_out(self, output: ike.Output) -> None:
        if isinstance(output, ike.SendDatagram):
            self.send(output)
        elif isinstance(output, ike.OpenStream):
            Stream(self, socket.socket(family(output.remote[0])), output.stream, up=False).connect(output)
        elif isinstance(output, STREAM_ACTIONS) and output.stream in self.streams:  # it may have broken a moment ago
            self.streams[output.stream].carry_out(output)

    def bind(self, local: ike.Local) -> None:
        """Bind a UDP socket or a TCP listener, and tell the core the address that it really has."""
        if local.kind == "tcp":
            sock = socket.create_server(local.address, family=family(local.address[0]))
        else:
            sock = socket.socket(family(local.address[0]), socket.SOCK_DGRAM)
            sock.bind(local.address)
        sock.setblocking(False)
        local = ike.Local(reduce(sock.getsockname()), local.kind, local.marker)
        self.sockets[local.kind, local.address] = sock
        self.selector.register(sock, EVENT_READ, lambda _: self.ready(sock, local))
        self.tell(self.endpoint.local_added, local)

    def send(self, action: ike.SendDatagram) -> None:
        try:
            self.sockets["udp", action.local].sendto(action.data, action.remote)
        except OSError as error:  # a full buffer too: datagrams may be lost, and are repeated in their time
            self.tell(self.endpoint.datagram_failed, local=action.local, remote=action.remote, error=str(error))

    def ready(self, sock: socket.socket, local: ike.Local) -> None:
        """Take one datagram or connection; if there are more, the selector brings us back after the others' turn."""
        try:
            taken, remote = sock.recvfrom(65535) if local.kind == "udp" else sock.accept()
        except OSError:  # nothing there after all, or news of something sent earlier
            return
        change = self.endpoint.datagram_received if local.kind == "udp" else self.accepted
        self.tell(change, taken, local=local.address, remote=reduce(remote))

    def accepted(self, sock: socket.socket, *, now: float, **addresses: ike.Address) -> None:
        """Know the stream before the outputs are carried out: they may hold its refusal."""
        Stream(self, sock, self.endpoint.stream_accepted(**addresses, now=now), up=True)

    def close(self) -> None:
        """Close all at once. To leave in good order, first tell `shutdown`, and turn until the endpoint is idle."""
        for stream in list(self.streams.values()):
            stream.close(reset=True)
        for sock in self.sockets.values():
            self.selector.unregister(sock)
            sock.close()


class Stream:
    """One TCP connection: accepted, or begun and not *up* yet."""

    def __init__(self, host: Host, sock: socket.socket, stream: ike.StreamId, *, up: bool) -> None:
        self.host, self.sock, self.stream, self.up = host, sock, stream, up
        self.queue, self.fin, self.eof, self.closed, self.watched = bytearray(), False, False, False, 0
        sock.setblocking(False)
        host.streams[stream] = self
        self.watch()

    def watch(self) -> None:
        """Wait for what can go on: the end of connecting, octets to read, room for octets or FIN."""
        if self.watched:
            self.host.selector.unregister(self.sock)
        self.watched = EVENT_READ if self.up and not self.eof else 0
        self.watched |= EVENT_WRITE if not self.up or self.queue or self.fin else 0
        if self.watched:
            self.host.selector.register(self.sock, self.watched, self.ready)

    def connect(self, action: ike.OpenStream) -> None:
        try:
            if action.local is not None:
                self.sock.bind((action.local, 0))
            self.sock.connect(action.remote)
        except BlockingIOError:
            pass  # decided once the socket is writable
        except OSError as error:
            self.lose(error)

    def carry_out(self, action: ike.Action) -> None:
        if isinstance(action, ike.CloseStream | ike.ResetStream):
            return self.close(reset=isinstance(action, ike.ResetStream))
        if isinstance(action, ike.WriteStream):
            self.queue += action.data
        self.fin = self.fin or isinstance(action, ike.HalfCloseStream)
        self.watch()

    def ready(self, mask: int) -> None:
        """Do one thing, unless what came before in the same turn has closed the socket."""
        if self.closed:
            return
        try:
            news = self.connected() if not self.up else self.write() if mask & EVENT_WRITE else self.read()
        except BlockingIOError:
            return
        except OSError as error:
            return self.lose(error)
        self.host.tell(news)
        if not self.closed:
            self.watch()

    def connected(self) -> Callable[..., object]:
        if refusal := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(refusal, os.strerror(refusal))
        self.up = True
        return partial(self.host.endpoint.stream_connected, self.stream, local=reduce(self.sock.getsockname()))

    def write(self) -> Callable[..., object]:
        sent = self.sock.send(self.queue)
        del self.queue[:sent]
        if self.fin and not self.queue:
            self.sock.shutdown(socket.SHUT_WR)
            self.fin = False
        return partial(self.host.endpoint.stream_sent, self.stream, sent)

    def read(self) -> Callable[..., object]:
        data, core = self.sock.recv(65536), self.host.endpoint
        self.eof = not data
        return partial(core.stream_received, self.stream, data) if data else partial(core.stream_eof, self.stream)

    def lose(self, error: OSError) -> None:
        """The connection is broken. What the peer sent before that counts, and is read first."""
        rest: list[Callable[..., object]] = []
        with suppress(OSError):
            while self.up and not self.eof:
                rest.append(self.read())
        for news in rest:
            self.host.tell(news)
        if not self.closed:
            self.close()
            self.host.tell(self.host.endpoint.stream_lost, self.stream, error.strerror or str(error))

    def close(self, *, reset: bool = False) -> None:
        """Close; a linger time of 0 makes it a RST instead of a FIN."""
        self.closed = True
        del self.host.streams[self.stream]
        if self.watched:
            self.host.selector.unregister(self.sock)
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def turn(selector: BaseSelector, *hosts: Host, at_most: float = 3600.0) -> None:
    """Wait until a socket is ready or the first deadline has come, *at_most* so many seconds, and tell the hosts."""
    waits = [host.endpoint.deadline - time.monotonic() for host in hosts if host.endpoint.deadline is not None]
    for key, mask in selector.select(max(0.0, min([at_most, *waits]))):
        key.data(mask)
    for host in hosts:
        if host.endpoint.deadline is not None and host.endpoint.deadline <= time.monotonic():
            host.tell(host.endpoint.timer_expired)
