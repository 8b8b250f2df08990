"""What is left of an SA that is gone: the last answer, for a peer that did not get it.

A peer whose Delete or failed IKE_AUTH was answered, but the answer lost, repeats the request. The SA need not live for
that: its last response is kept for a while, by our SPI, and sent again to whoever sends the very octets of the request.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import attrs

from ..outputs import SaId
from ..sa import OutgoingResponse

__all__ = ["Tombstones"]


@attrs.define
class _Tombstone:
    digest: bytes
    response: OutgoingResponse
    until: float
    owner: SaId


class Tombstones:
    """Bounded in number and time; the oldest goes first. An SA that is rekeyed again and again has few of them."""

    MOST = 1000
    MOST_OF_ONE = 2
    SECONDS = 30.0

    def __init__(self) -> None:
        self._by_spi: OrderedDict[bytes, _Tombstone] = OrderedDict()
        self._of: dict[SaId, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._by_spi)

    def bury(
        self,
        owner: SaId,
        spi: bytes,
        last: tuple[bytes, OutgoingResponse],
        now: float,
        room: int | None = None,
    ) -> None:
        """Keep the last answer of *owner* under our SPI *spi*, also for datagrams of *room* octets if that is given.

        All of it is sealed now, since the keys go with the SA.
        """
        last[1].settle(room)
        self._by_spi[spi] = _Tombstone(*last, now + self.SECONDS, owner)
        own = self._of.setdefault(owner, [])
        own.append(spi)
        if len(own) > self.MOST_OF_ONE:
            self._forget(own[0])
        while len(self._by_spi) > self.MOST or next(iter(self._by_spi.values())).until <= now:
            self._forget(next(iter(self._by_spi)))

    def _forget(self, spi: bytes) -> None:
        owner = self._by_spi.pop(spi).owner
        own = self._of[owner]
        own.remove(spi)
        if not own:
            del self._of[owner]

    def has(self, spi: bytes) -> bool:
        """Tell whether an answer is kept for our SPI *spi*."""
        return spi in self._by_spi

    def answer(self, spi: bytes, request: bytes, now: float) -> OutgoingResponse | None:
        """Return the answer to the octets *request*, if they are the ones that it answered."""
        stone = self._by_spi.get(spi)
        if stone is None or stone.until <= now or hashlib.sha256(request).digest() != stone.digest:
            return None
        return stone.response
