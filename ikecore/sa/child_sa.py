"""A Child SA: the pair of ESP SAs that an IKE SA negotiates, as a value (RFC 7296 sections 1.2, 2.17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

from ..config import ChildConfig
from ..crypto import ChildSuite
from ..errors import LocalProtocolError
from ..events import ChildKeyMaterial, ChildSaEstablished
from ..outputs import ChildId, SaId
from ..transport import EspRoute
from ..wire import TrafficSelector
from .life import Life
from .selectors import unpacked, words_of

__all__ = ["MOST_DRAWS", "ChildFacts", "ChildSa", "Mode", "new_spi", "usable"]

Mode: TypeAlias = Literal["tunnel", "transport"]

LOWEST_SPI = 256
"""ESP reserves the SPIs below (RFC 4303 section 2.1)."""
MOST_DRAWS: Final = 1000
"""Of an SPI. By chance a second one is seldom wanted, so a source of octets that gives none by then is not random."""


@attrs.frozen
class ChildFacts:
    """What was said beside the selectors; see `ChildSaEstablished`. *originals* are our address and the peer's."""

    originals: tuple[str, str] | None = None
    tfc_padding: bool = True
    non_first_fragments: bool = False
    additional_ts_possible: bool = False


@attrs.define
class ChildSa:
    """One established Child SA. SPIs are 4 octets; *spi_in* is ours.

    A gateway has very many of them, and seldom looks at their selectors and keys: these are kept as octets.
    """

    id: ChildId
    config: ChildConfig
    suite: ChildSuite
    spi_in: bytes
    spi_out: bytes
    _local_ts: bytes
    """As `packed` makes them."""
    _remote_ts: bytes
    mode: Mode
    _keys: bytes = attrs.field(repr=False)
    """As `ChildKeys.joined` makes them."""
    initiator: bool
    """We initiated the exchange that made it, so the first half of its keys protects what we send."""
    facts: ChildFacts
    life: Life = attrs.field(factory=Life)
    heir: ChildSa | None = None
    """The Child SA that was made to replace this one."""

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def local_ts(self) -> tuple[TrafficSelector, ...]:
        return unpacked(self._local_ts)

    @property
    def remote_ts(self) -> tuple[TrafficSelector, ...]:
        return unpacked(self._remote_ts)

    def export_keys(self) -> ChildKeyMaterial:
        """Return the keys by our direction."""
        encr_i, integ_i, encr_r, integ_r = self.suite.key_layout.unpack(self._keys)
        if self.initiator:
            return ChildKeyMaterial(encr_r, integ_r, encr_i, integ_i)
        return ChildKeyMaterial(encr_i, integ_i, encr_r, integ_r)

    def established(self, sa: SaId, route: EspRoute, replaces: ChildId | None = None) -> ChildSaEstablished:
        """Return the event that hands this Child SA out."""
        facts = self.facts
        ours, theirs = facts.originals or (None, None)
        return ChildSaEstablished(
            sa,
            self.id,
            self.name,
            "esp",
            self.mode,
            self.spi_in,
            self.spi_out,
            str(self.suite),
            words_of(self._local_ts),
            words_of(self._remote_ts),
            route.udp_encapsulation,
            route.local,
            route.remote,
            replaces,
            self.export_keys(),
            original_local=ours,
            original_remote=theirs,
            tfc_padding=facts.tfc_padding,
            non_first_fragments=facts.non_first_fragments,
            additional_ts_possible=facts.additional_ts_possible,
            peer_ready=self.initiator,
        )


def new_spi(random: Callable[[int], bytes], used: Callable[[bytes], bool]) -> bytes:
    """Draw an inbound SPI: 4 octets, not reserved, not used. LocalProtocolError where *random* gives none."""
    for _ in range(MOST_DRAWS):
        spi = random(4)
        if usable(spi) and not used(spi):
            return spi
        if len(spi) != 4:
            raise LocalProtocolError(f"random: gave {len(spi)} octets, not the 4 of an SPI")
    raise LocalProtocolError(f"random: among {MOST_DRAWS} SPIs none could be used")


def usable(spi: bytes) -> bool:
    """Tell whether an SPI can stand in an ESP packet."""
    return len(spi) == 4 and int.from_bytes(spi, "big") >= LOWEST_SPI
