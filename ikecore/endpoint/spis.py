"""SPIs that are taken: ours of IKE SAs, each with the SA that it leads to, and those of Child SAs."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import LocalProtocolError
from ..framing import starts_like_prefix
from ..outputs import SaId
from ..sa import MOST_DRAWS, IkeSa, new_spi

__all__ = ["ChildSpis", "IkeSpis"]


class IkeSpis:
    """Our IKE SPIs, 8 octets each. *source* is the host's own source of them, None draws them from *random*."""

    def __init__(self, random: Callable[[int], bytes], source: Callable[[], bytes] | None) -> None:
        self._random = random
        self._source = source
        self._name = "random" if source is None else "new_spi"
        self.owners: dict[bytes, IkeSa] = {}
        """The SAs to which messages that bear them are routed."""

    def new(self) -> bytes:
        """Draw an SPI that is not zero, not in use, and that no listener can take for another framing (TCP-79).

        Raises LocalProtocolError where the host's source of them gives none.
        """
        for _ in range(MOST_DRAWS):
            spi = self._random(8) if self._source is None else self._source()
            if len(spi) != 8:
                raise LocalProtocolError(f"{self._name}: gave {len(spi)} octets, not the 8 of an SPI")
            if not starts_like_prefix(spi) and any(spi) and spi not in self.owners:
                return spi
        raise LocalProtocolError(f"{self._name}: among {MOST_DRAWS} SPIs none could be used")

    def claim(self, spi: bytes, sa: IkeSa) -> None:
        """Route messages for *spi* to *sa*."""
        self.owners[spi] = sa

    def release(self, spi: bytes) -> None:
        """Stop routing messages for *spi*."""
        self.owners.pop(spi, None)


class ChildSpis:
    """Inbound SPIs, 4 octets each. ESP finds its SA by one and our address, so no two SAs may have the same."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._taken: set[bytes] = set()
        self._of_sa: dict[SaId, tuple[bytes, ...]] = {}

    def new(self, sa: SaId) -> bytes:
        """Draw one that no Child SA has; kept for *sa* until it is released or the SA ends."""
        spi = new_spi(self._random, self._taken.__contains__)
        self._taken.add(spi)
        self._of_sa[sa] = (*self._of_sa.get(sa, ()), spi)
        return spi

    def release(self, sa: SaId, spi: bytes) -> None:
        """Let *spi* be used again."""
        self._taken.discard(spi)
        left = tuple(each for each in self._of_sa.pop(sa, ()) if each != spi)
        if left:
            self._of_sa[sa] = left

    def release_all(self, sa: SaId) -> None:
        """The SA is gone."""
        self._taken.difference_update(self._of_sa.pop(sa, ()))

    @property
    def taken(self) -> frozenset[bytes]:
        """Those that are in use."""
        return frozenset(self._taken)
