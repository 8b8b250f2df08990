"""What is left of an SA that is gone: the last answer, for a peer that did not get it.

A peer whose Delete or failed IKE_AUTH was answered, but the answer lost, repeats the request. The SA need not live for
that: its last response is kept for a while, by our SPI, and sent again to whoever sends the very octets of the request.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import attrs

from ..sa import OutgoingResponse

__all__ = ["Tombstones"]


@attrs.define
class _Tombstone:
    digest: bytes
    response: OutgoingResponse
    until: float


class Tombstones:
    """Bounded in number and time; the oldest goes first."""

    MOST = 1000
    SECONDS = 30.0

    def __init__(self) -> None:
        self._by_spi: OrderedDict[bytes, _Tombstone] = OrderedDict()

    def bury(
        self, spi: bytes, last: tuple[bytes, OutgoingResponse] | None, now: float, room: int | None = None
    ) -> None:
        """Keep the last answer of the SA that had our SPI *spi*, also for datagrams of *room* octets if that is given.

        All of it is sealed now, since the keys go with the SA.
        """
        if last is None:
            return
        last[1].settle(room)
        self._by_spi[spi] = _Tombstone(*last, now + self.SECONDS)
        while len(self._by_spi) > self.MOST or next(iter(self._by_spi.values())).until <= now:
            self._by_spi.popitem(last=False)

    def has(self, spi: bytes) -> bool:
        """Tell whether an answer is kept for our SPI *spi*."""
        return spi in self._by_spi

    def answer(self, spi: bytes, request: bytes, now: float) -> OutgoingResponse | None:
        """Return the answer to the octets *request*, if they are the ones that it answered."""
        stone = self._by_spi.get(spi)
        if stone is None or stone.until <= now or hashlib.sha256(request).digest() != stone.digest:
            return None
        return stone.response
