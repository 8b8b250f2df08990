"""UDP: told once that there is something, take what is there, and carry out after each datagram what comes of it.

The loop watches the socket for us, and nothing more: its own transport reads one datagram per turn, and makes a buffer
and a call of each. Flushing costs next to nothing where there is nothing to do, and an answer that waited for the rest
of a burst would be late by all of the cryptography in it.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ikecore import Address, Endpoint, Local
from ikecore.esp import TakeEsp, is_esp

from ._sockets import reduce, watch

DRAIN = 64
"""Datagrams taken from one socket before the others get their turn."""
WAITING = 256
"""Datagrams that wait for the kernel's buffer; what comes when it is full is lost, as datagrams may be."""
LARGEST = 65535


class DatagramOwner(Protocol):
    """What a socket needs of the driver that owns it."""

    endpoint: Endpoint
    esp: TakeEsp | None

    def now(self) -> float: ...
    def flush(self) -> None: ...
    def guarded(self, callback: Callable[[], object]) -> None: ...


class DatagramSocket:
    """One bound UDP socket, watched by the loop in which it is made."""

    def __init__(self, driver: DatagramOwner, sock: socket.socket, local: Local) -> None:
        self.local = local
        self._driver = driver
        self._sock = sock
        self._descriptor = sock.fileno()
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._waiting: deque[tuple[bytes, Address]] = deque()

    def start(self) -> None:
        """Feed the core until the socket is closed."""
        watch(self._loop, self._descriptor, self._driver.guarded, self._read)
        self._reading = True

    def send(self, data: bytes, remote: Address) -> None:
        """Send now, or, while the kernel's buffer is full, as soon as it is not. Never waits."""
        if self._waiting:
            if len(self._waiting) < WAITING:
                self._waiting.append((data, remote))
        elif not self._try(data, remote):
            self._waiting.append((data, remote))
            self._loop.add_writer(self._descriptor, self._driver.guarded, self._write)

    def offer(self, data: bytes, remote: Address) -> bool:
        """Send now or not at all; false means that the kernel's buffer is full, or was and others wait."""
        return not self._waiting and self._try(data, remote)

    def _try(self, data: bytes, remote: Address) -> bool:
        """Hand one datagram to the kernel; false means that its buffer is full."""
        try:
            self._sock.sendto(data, remote)
        except BlockingIOError:
            return False
        except OSError as error:
            self._driver.endpoint.datagram_failed(
                local=self.local.address, remote=remote, error=error.strerror or str(error), now=self._driver.now()
            )
        return True

    def _write(self) -> None:
        """Send what waits, as much as the kernel takes."""
        while self._waiting and self._try(*self._waiting[0]):
            self._waiting.popleft()
            self._driver.flush()
        if not self._waiting:
            self._loop.remove_writer(self._descriptor)

    def _read(self) -> None:
        """Feed the core with what is there."""
        endpoint, local, take_esp = self._driver.endpoint, self.local.address, self._driver.esp
        for _ in range(DRAIN):
            try:
                data, remote = self._sock.recvfrom(LARGEST)
            except OSError:  # nothing more, or an error of something sent earlier: no datagram's here
                break
            if take_esp is not None and is_esp(data, self.local):
                take_esp(data, local, reduce(remote))
                continue
            endpoint.datagram_received(data, local=local, remote=reduce(remote), now=self._driver.now())
            self._driver.flush()

    def close(self) -> None:
        """Close the socket, dropping what waits. One that is closed already stays so."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)
        if self._waiting:
            self._waiting.clear()
            self._loop.remove_writer(self._descriptor)
        self._sock.close()
