"""UDP: one protocol per bound socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ikecore import Address, Endpoint, Local
from ikecore.esp import TakeEsp, is_esp

from ._sockets import read_less, reduce, words


class DatagramOwner(Protocol):
    """What a socket needs of the driver that owns it."""

    endpoint: Endpoint
    esp: TakeEsp | None

    def feed(self, change: Callable[..., object], *args: object, **facts: object) -> None: ...
    def take_esp(self, data: bytes, local: Address, remote: Address) -> None: ...


class DatagramSocket(asyncio.DatagramProtocol):
    """One bound UDP socket."""

    def __init__(self, driver: DatagramOwner) -> None:
        self.local: Local | None = None
        self._driver = driver
        self._transport: asyncio.DatagramTransport | None = None
        self._full = False
        self._sending_to: Address | None = None

    def send(self, data: bytes, remote: Address) -> None:
        """Send now. While asyncio's buffer is full the datagram is lost, as datagrams may be."""
        if self._transport is None or self._full:
            return
        self._sending_to = remote
        try:
            self._transport.sendto(data, remote)
        finally:
            self._sending_to = None

    def offer(self, data: bytes, remote: Address) -> bool:
        """Send now or not at all; false means that something waits already for the kernel's buffer."""
        if self._transport is None or self._transport.get_write_buffer_size():  # type: ignore[attr-defined]
            return False
        self.send(data, remote)
        return True

    def close(self) -> None:
        """Close now, dropping what is queued."""
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        read_less(transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self.local is None:
            return
        driver, local, remote = self._driver, self.local.address, reduce(addr)
        if driver.esp is not None and is_esp(data, self.local):
            driver.take_esp(data, local, remote)
        else:
            driver.feed(driver.endpoint.datagram_received, data, local=local, remote=remote)

    def error_received(self, exc: Exception) -> None:
        """Hear of an error, which belongs to the datagram being sent if there is one, and to none we know otherwise."""
        if self.local is not None and self._sending_to is not None:
            endpoint, local = self._driver.endpoint, self.local.address
            self._driver.feed(endpoint.datagram_failed, local=local, remote=self._sending_to, error=words(exc))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
