"""The smallest host of the core: two UDP sockets, a clock, and a loop that runs until something has happened."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TypeVar

import ikecore
from ikecore.testing import CheckedEndpoint
from tests.interop.peer import PATIENCE

E = TypeVar("E", bound=ikecore.Event)


class UdpHost:
    """An endpoint on the UDP ports *ports* (without and with the non-ESP marker) of *address*; 0 takes a free one."""

    def __init__(
        self, config: ikecore.Config, *, address: str = "127.0.0.2", ports: tuple[int, int] = (500, 4500)
    ) -> None:
        self.endpoint = CheckedEndpoint(
            ikecore.Endpoint(config, random=os.urandom, utc=lambda: datetime.now(UTC)), tolerance=PATIENCE
        )
        self.events: list[ikecore.Event] = []
        self._address, self._ports = address, ports
        self._ahead = 0.0
        self._sockets: dict[ikecore.Address, socket.socket] = {}

    def __enter__(self) -> UdpHost:
        with ExitStack() as stack:
            for port, marker in zip(self._ports, (False, True), strict=True):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.bind((self._address, port))
                sock.setblocking(False)
                local = sock.getsockname()
                self._sockets[local] = sock
                self.endpoint.local_added(ikecore.Local(local, marker=marker), now=self.now)
                self.flush()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def now(self) -> float:
        return time.monotonic() + self._ahead

    def flush(self) -> None:
        """Carry out what the endpoint wants, and keep its events."""
        for output in self.endpoint.outputs():
            if isinstance(output, ikecore.SendDatagram):
                self._sockets[output.local].sendto(output.data, output.remote)
            elif isinstance(output, ikecore.Event):
                self.events.append(output)

    def turn(self, *, at_most: float) -> None:
        """Serve the sockets and the timer once; wait for them so many seconds, if need be."""
        self.flush()
        deadline = self.endpoint.deadline
        until = self.now + at_most if deadline is None else min(self.now + at_most, deadline)
        ready, _, _ = select.select(list(self._sockets.values()), [], [], max(0.0, until - self.now))
        for sock in ready:
            data, remote = sock.recvfrom(65535)
            self.endpoint.datagram_received(data, local=sock.getsockname(), remote=remote, now=self.now)
            self.flush()
        if self.endpoint.deadline is not None and self.endpoint.deadline <= self.now:
            self.endpoint.timer_expired(now=self.now)
        self.flush()

    def run_until(self, done: Callable[[], object]) -> None:
        """Serve the sockets until *done* says so of us; raises TimeoutError with the events so far.

        What is waited for of a peer, `Peer.until` waits for.
        """
        give_up = time.monotonic() + PATIENCE
        self.flush()
        while not done():
            if time.monotonic() > give_up:
                raise TimeoutError(f"not done within {PATIENCE} s; events: {self.events}")
            self.turn(at_most=0.5)

    def serve_for(self, seconds: float) -> None:
        """Serve the sockets for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.turn(at_most=left)

    def outwait(self, kind: type[E]) -> E:
        """Let time pass for us alone, from deadline to deadline, until there is an event of *kind*; return the latest.

        For a peer that will not answer, without the impatience with one that is slow.
        """
        self.flush()
        while not self.of(kind):
            deadline = self.endpoint.deadline
            if deadline is None:
                raise TimeoutError(f"nothing will happen any more; events: {self.events}")
            self._ahead += max(0.0, deadline - self.now)
            self.turn(at_most=0.0)
        return self.of(kind)[-1]

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of *kind* so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, kind: type[E]) -> E:
        """Serve the sockets until there is an event of *kind*; return the latest."""
        self.run_until(lambda: self.of(kind))
        return self.of(kind)[-1]
