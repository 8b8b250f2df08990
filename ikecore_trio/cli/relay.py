"""A network that drops fragments, in small: a relay on loopback that passes datagrams up to a size and swallows others.

Many networks lose the IP fragments of a datagram that is too large for them; to the two peers that looks as if the
whole datagram had vanished. The relay does that with real sockets. Since it sends from an address of its own, both
peers see a NAT, too. Only UDP goes through it: TCP sends segments of the size that the path takes.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ikecore.outputs import Address

__all__ = ["LARGEST", "Relay"]

LARGEST = 1280
"""Octets of the largest datagram that passes: the least that every IPv6 path carries in one packet."""
BUFFER = 65_535

Drop = Callable[[bool, int], None]
"""Told of each datagram that was dropped: whether it went to the server, and its octets."""


class Relay:
    """Passes datagrams between one client and *server*, and tells *dropped* what it did not pass."""

    def __init__(self, server: Address, dropped: Drop) -> None:
        self.passed = 0
        self.dropped = 0
        self._server = server
        self._tell = dropped
        self._client: Address | None = None
        self._front = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        self._back = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)

    async def open(self) -> Address:
        """Bind the sockets on free ports; return the address that clients send to."""
        await self._front.bind(("127.0.0.1", 0))
        await self._back.bind(("127.0.0.1", 0))
        host, port = self._front.getsockname()
        return host, port

    async def run(self) -> None:
        """Pass datagrams until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outward)
                nursery.start_soon(self._homeward)
        finally:
            self._front.close()
            self._back.close()

    async def _outward(self) -> None:
        while True:
            data, self._client = await self._front.recvfrom(BUFFER)
            if self._passes(True, data):
                await self._back.sendto(data, self._server)

    async def _homeward(self) -> None:
        while True:
            data, _ = await self._back.recvfrom(BUFFER)
            if self._client is not None and self._passes(False, data):
                await self._front.sendto(data, self._client)

    def _passes(self, outward: bool, data: bytes) -> bool:
        if len(data) <= LARGEST:
            self.passed += 1
            return True
        self.dropped += 1
        self._tell(outward, len(data))
        return False
