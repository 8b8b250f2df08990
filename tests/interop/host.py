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

E = TypeVar("E", bound=ikecore.Event)


class UdpHost:
    """An endpoint on the UDP ports *ports* (without and with the non-ESP marker) of *address*; 0 takes a free one."""

    def __init__(
        self, config: ikecore.Config, *, address: str = "127.0.0.2", ports: tuple[int, int] = (500, 4500)
    ) -> None:
        self.endpoint = CheckedEndpoint(
            ikecore.Endpoint(config, random=os.urandom, utc=lambda: datetime.now(UTC)), tolerance=10.0
        )
        self.events: list[ikecore.Event] = []
        self._address, self._ports = address, ports
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
        return time.monotonic()

    def flush(self) -> None:
        """Carry out what the endpoint wants, and keep its events."""
        for output in self.endpoint.outputs():
            if isinstance(output, ikecore.SendDatagram):
                self._sockets[output.local].sendto(output.data, output.remote)
            elif isinstance(output, ikecore.Event):
                self.events.append(output)

    def run_until(self, done: Callable[[], object], *, within: float = 10.0) -> None:
        """Serve the sockets until *done* says so; raises TimeoutError with the events so far."""
        give_up = self.now + within
        self.flush()
        while not done():
            if self.now > give_up:
                raise TimeoutError(f"not done within {within} s; events: {self.events}")
            # Short waits, since what is waited for may be something of charon that no socket tells.
            until = min(self.now + 0.02, self.endpoint.deadline or give_up)
            ready, _, _ = select.select(list(self._sockets.values()), [], [], max(0.0, until - self.now))
            for sock in ready:
                data, remote = sock.recvfrom(65535)
                self.endpoint.datagram_received(data, local=sock.getsockname(), remote=remote, now=self.now)
                self.flush()
            if self.endpoint.deadline is not None and self.endpoint.deadline <= self.now:
                self.endpoint.timer_expired(now=self.now)
            self.flush()

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of *kind* so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, kind: type[E], *, within: float = 10.0) -> E:
        """Serve the sockets until there is an event of *kind*; return the latest."""
        self.run_until(lambda: self.of(kind), within=within)
        return self.of(kind)[-1]
