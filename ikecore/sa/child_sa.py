"""A Child SA: the pair of ESP SAs that an IKE SA negotiates, as values (RFC 7296 sections 1.2, 2.9, 2.17).

The payloads of a negotiation are the same in IKE_AUTH and CREATE_CHILD_SA, so offering, choosing and checking live here
and the exchanges only place them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from ..config import ChildConfig
from ..crypto import ChildKeys, ChildSuite, check_accepted, choose_proposal
from ..errors import NoProposalChosen, TsUnacceptable
from ..events import ChildKeyMaterial, ChildSaEstablished
from ..outputs import ChildId, SaId
from ..transport import EspRoute
from ..wire import Proposal, TrafficSelector, UnknownSelector
from ..wire.numbers import Protocol, TransformType
from .selectors import covers, host_selector, in_words, narrow

__all__ = ["Agreed", "ChildSa", "accept_answer", "choose", "new_spi", "offer", "selectors_of"]

LOWEST_SPI = 256
"""ESP reserves the SPIs below (RFC 4303 section 2.1)."""


@attrs.define
class ChildSa:
    """One established Child SA. SPIs are 4 octets; *spi_in* is ours."""

    id: ChildId
    config: ChildConfig
    suite: ChildSuite
    spi_in: bytes
    spi_out: bytes
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    mode: str
    keys: ChildKeys = attrs.field(repr=False)
    initiator: bool
    """We initiated the exchange that made it, so the first half of its keys protects what we send."""
    heir: ChildSa | None = None
    """The Child SA that was made to replace this one."""

    @property
    def name(self) -> str:
        return self.config.name

    def export_keys(self) -> ChildKeyMaterial:
        """Return the keys by our direction."""
        keys = self.keys
        if self.initiator:
            return ChildKeyMaterial(keys.encr_r, keys.integ_r, keys.encr_i, keys.integ_i)
        return ChildKeyMaterial(keys.encr_i, keys.integ_i, keys.encr_r, keys.integ_r)

    def established(self, sa: SaId, route: EspRoute, replaces: ChildId | None = None) -> ChildSaEstablished:
        """Return the event that hands this Child SA out."""
        return ChildSaEstablished(
            sa,
            self.id,
            self.name,
            "ah" if self.suite.protocol == Protocol.AH else "esp",
            "transport" if self.mode == "transport" else "tunnel",
            self.spi_in,
            self.spi_out,
            str(self.suite),
            tuple(in_words(selector) for selector in self.local_ts),
            tuple(in_words(selector) for selector in self.remote_ts),
            route.udp_encapsulation,
            route.local,
            route.remote,
            replaces,
            self.export_keys(),
        )


@attrs.define
class Agreed:
    """What both sides agreed on, before keys: the chosen proposal as sent, and the selectors by the wire's names."""

    proposal: Proposal
    ts_i: tuple[TrafficSelector, ...]
    ts_r: tuple[TrafficSelector, ...]


def new_spi(random: Callable[[int], bytes], used: Callable[[bytes], bool]) -> bytes:
    """Draw an inbound SPI: 4 octets, not reserved, not used."""
    while True:
        spi = random(4)
        if usable(spi) and not used(spi):
            return spi


def usable(spi: bytes) -> bool:
    """Tell whether an SPI can stand in an ESP packet."""
    return len(spi) == 4 and int.from_bytes(spi, "big") >= LOWEST_SPI


def offer(config: ChildConfig, spi: bytes, *, with_group: bool) -> tuple[Proposal, ...]:
    """Number our proposals and put *spi* into them. IKE_AUTH leaves out key exchange methods (RFC 7296 section 1.2)."""
    offered = []
    for number, proposal in enumerate(config.proposals, 1):
        transforms = proposal.transforms
        if not with_group:
            transforms = tuple(each for each in transforms if each.type != TransformType.KE)
        offered.append(Proposal(number, proposal.protocol, spi, transforms))
    return tuple(offered)


def selectors_of(config: ChildConfig, local: str, remote: str) -> tuple[tuple[TrafficSelector, ...], ...]:
    """Return (local, remote) selectors, with the hosts' addresses where none are configured."""
    ours = config.local_ts if config.local_ts is not None else (host_selector(local),)
    theirs = config.remote_ts if config.remote_ts is not None else (host_selector(remote),)
    return ours, theirs


def choose(
    children: Sequence[ChildConfig],
    offered: Sequence[Proposal],
    ts_i: Sequence[TrafficSelector | UnknownSelector],
    ts_r: Sequence[TrafficSelector | UnknownSelector],
    *,
    local: str,
    remote: str,
    with_group: bool,
    group: int | None = None,
) -> tuple[ChildConfig, Agreed]:
    """As responder, find the first configured child that the offer fits, and narrow its selectors.

    Raises NoProposalChosen or TsUnacceptable, whichever came nearest to fitting.
    """
    fits = False
    offered = [proposal for proposal in offered if usable(proposal.spi)]
    for config in children:
        chosen = choose_proposal(
            offered, config.proposals, protocol=Protocol.ESP, spi_size=4, with_group=with_group, group=group
        )
        if chosen is None:
            continue
        fits = True
        mine, theirs = selectors_of(config, local, remote)
        narrowed = Agreed(chosen, narrow(ts_i, theirs), narrow(ts_r, mine))
        if narrowed.ts_i and narrowed.ts_r:
            return config, narrowed
    if fits:
        raise TsUnacceptable("no child's traffic selectors meet the offered ones")
    raise NoProposalChosen("no child's proposals meet the offered ones")


def accept_answer(
    offered: Sequence[Proposal],
    ts_i: Sequence[TrafficSelector],
    ts_r: Sequence[TrafficSelector],
    answer: Sequence[Proposal],
    answered_i: Sequence[TrafficSelector | UnknownSelector],
    answered_r: Sequence[TrafficSelector | UnknownSelector],
) -> Agreed:
    """As initiator, check that the response is within what was offered (RFC 7296 sections 2.7 and 2.9)."""
    if len(answer) != 1:
        raise NoProposalChosen(f"the response holds {len(answer)} proposals instead of one")
    check_accepted(offered, answer[0])
    if not usable(answer[0].spi):
        raise NoProposalChosen(f"the response has the SPI {answer[0].spi.hex() or 'nothing'}, which ESP cannot use")
    return Agreed(answer[0], _within(ts_i, answered_i), _within(ts_r, answered_r))


def _within(
    offered: Sequence[TrafficSelector], answered: Sequence[TrafficSelector | UnknownSelector]
) -> tuple[TrafficSelector, ...]:
    kept: list[TrafficSelector] = []
    for selector in answered:
        if isinstance(selector, UnknownSelector) or not any(covers(rule, selector) for rule in offered):
            raise TsUnacceptable(f"the response selects {in_words(selector)}, which was not offered")
        kept.append(selector)
    return tuple(kept)
