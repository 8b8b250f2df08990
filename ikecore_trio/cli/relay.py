"""Bad networks, in small and on real sockets of the loopback interface.

The relay stands for what happens to datagrams: it passes some and swallows others. Since it sends from an address of
its own, both peers see a NAT, too. TCP goes past it; what may be wrong with TCP is where it leads: to a port where
nobody listens, or to one whose owner never takes a connection (`SilentPort`).
"""

from __future__ import annotations

import errno
import random
import socket
import sys
from collections.abc import Callable
from typing import Final, TypeAlias

import trio

from ikecore.outputs import Address

__all__ = ["LARGEST", "LOSSES", "Loss", "Relay", "SilentPort"]

HOST: Final = "127.0.0.1"
LARGEST: Final = 1280
"""Octets of the largest datagram that passes: the least that every IPv6 path carries in one packet."""
SHARE: Final = 0.1
"""What a lossy network loses of its datagrams."""
BUFFER = 65_535

Drop: TypeAlias = Callable[[bool, int, str], None]
"""Told of each datagram that was dropped: whether it went to the server, its octets, and why."""
Loss: TypeAlias = Callable[[bytes], str | None]
"""Tells why a datagram is lost; None if it passes."""


def too_large() -> Loss:
    """Lose what would not fit one packet."""
    reason = f"the relay drops datagrams above {LARGEST:,} octets"
    return lambda data: reason if len(data) > LARGEST else None


def everything() -> Loss:
    """Lose all datagrams."""
    return lambda data: "the relay drops all datagrams"


def by_chance() -> Loss:
    """Lose a tenth of the datagrams, by the same dice in every run."""
    dice = random.Random(15)
    return lambda data: f"the relay drops {SHARE:.0%} of all datagrams" if dice.random() < SHARE else None


LOSSES: Final = {"drops-fragments": too_large, "blocks-udp": everything, "lossy": by_chance}
"""Networks with a relay, and what that does; called once per run."""


class Relay:
    """Passes datagrams between one client and *server* but for those with a *loss*, of which it tells *dropped*."""

    def __init__(self, server: Address, loss: Loss, dropped: Drop) -> None:
        self.passed = 0
        self.dropped = 0
        self._server = server
        self._loss = loss
        self._tell = dropped
        self._client: Address | None = None
        self._front = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        self._back = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)

    async def open(self) -> Address:
        """Bind the sockets on free ports; return the address that clients send to."""
        await self._front.bind((HOST, 0))
        await self._back.bind((HOST, 0))
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
        reason = self._loss(data)
        if reason is None:
            self.passed += 1
            return True
        self.dropped += 1
        self._tell(outward, len(data), reason)
        return False


class SilentPort:
    """A TCP port that answers nothing, as a filter that drops connections does. Use it as a context manager.

    Nobody accepts, and the queue for those who wait is full: then Linux drops what else comes.
    """

    MOST = 8

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._waiting: list[socket.socket] = []
        self.port = 0

    def __enter__(self) -> SilentPort:
        self._listener.bind((HOST, 0))
        self._listener.listen(0)
        self.port = self._listener.getsockname()[1]
        for _ in range(self.MOST):
            waiting = socket.socket()
            waiting.settimeout(0.1)
            self._waiting.append(waiting)
            if waiting.connect_ex((HOST, self.port)) in (errno.EAGAIN, errno.EINPROGRESS):
                return self
        self.__exit__()
        raise OSError(f"{sys.platform} accepts connections however many wait already; no port can be made silent")

    def __exit__(self, *exception: object) -> None:
        for each in (*self._waiting, self._listener):
            each.close()
