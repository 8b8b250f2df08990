"""UDP: one protocol per bound socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ikecore import Address, Endpoint, Local

from ._sockets import reduce, words


class DatagramOwner(Protocol):
    """What a socket needs of the driver that owns it."""

    endpoint: Endpoint

    def feed(self, change: Callable[..., object], *args: object, **facts: object) -> None: ...


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

    def close(self) -> None:
        """Close now, dropping what is queued."""
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self.local is not None:
            endpoint = self._driver.endpoint
            self._driver.feed(endpoint.datagram_received, data, local=self.local.address, remote=reduce(addr))

    def error_received(self, exc: Exception) -> None:
        """Hear of an error, which belongs to the datagram being sent if there is one, and to none we know otherwise."""
        if self.local is not None and self._sending_to is not None:
            endpoint, local = self._driver.endpoint, self.local.address
            self._driver.feed(endpoint.datagram_failed, local=local, remote=self._sending_to, error=words(exc))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
