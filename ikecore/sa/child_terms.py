"""What a Child SA is agreed on to be: offering, choosing, narrowing and checking (RFC 7296 sections 1.3.1, 2.7, 2.9).

The same in IKE_AUTH and CREATE_CHILD_SA; everything here is a function of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import attrs

from ..config import ChildConfig
from ..crypto import accepted_proposal, choose_proposal
from ..errors import NoProposalChosen, RemoteProtocolError, SinglePairRequired, TsUnacceptable
from ..wire import Proposal, TrafficSelector, Transform, UnknownSelector
from ..wire.numbers import Protocol, TransformType
from ..wire.proposal import Transforms
from .child_sa import ChildSa, Mode, usable
from .ends import Ends, through_nat
from .selectors import covers, in_words, narrow, packet_first, same_address

__all__ = ["Agreed", "accept_answer", "cannot_offer", "choose", "no_host", "offer", "offered_selectors"]


@attrs.define
class Agreed:
    """What both sides agreed on, before keys: the chosen proposal as sent, and the selectors by the wire's names.

    *originals* are, in transport mode through a NAT, our address and the peer's as the peer wrote them. *additional*
    says that other selectors would have been granted in another Child SA.
    """

    proposal: Proposal
    ts_i: tuple[TrafficSelector, ...]
    ts_r: tuple[TrafficSelector, ...]
    mode: Mode = "tunnel"
    originals: tuple[str, str] | None = None
    additional: bool = False


def offer(config: ChildConfig, spi: bytes, *, with_group: bool) -> tuple[Proposal, ...]:
    """Number our proposals and put *spi* into them. IKE_AUTH leaves out key exchange methods (RFC 7296 section 1.2)."""
    offered = []
    for number, proposal in enumerate(config.proposals, 1):
        transforms = proposal.transforms if with_group else _without_group(proposal.transforms)
        offered.append(Proposal(number, proposal.protocol, spi, transforms))
    return tuple(offered)


@lru_cache(maxsize=256)
def _without_group(transforms: tuple[Transform, ...]) -> Transforms:
    """Leave out the key exchange methods of what is configured: the same at every IKE_AUTH."""
    return Transforms(each for each in transforms if each.type != TransformType.KE)


def cannot_offer(config: ChildConfig, ends: Ends) -> bool:
    """Tell whether `offered_selectors` has nothing, which only transport mode brings about."""
    return config.mode == "transport" and offered_selectors(config, ends) is None


def offered_selectors(
    config: ChildConfig, ends: Ends
) -> tuple[tuple[TrafficSelector, ...], tuple[TrafficSelector, ...], Mode] | None:
    """Return (local, remote) selectors to offer and the mode, those of a waiting packet first.

    Transport mode needs selectors that meet both hosts; where they do not, a tunnel is offered if it may be one, and
    None says that nothing can be.
    """
    mode: Mode = config.mode
    mine, theirs = ends.selectors(config, transport=mode == "transport")
    if not mine or not theirs:
        if not config.tunnel_fallback:
            return None
        mode = "tunnel"
        mine, theirs = ends.selectors(config, transport=False)
    if config.packet is not None:
        mine, theirs = packet_first(config.packet[0], mine), packet_first(config.packet[1], theirs)
    return mine, theirs, mode


def no_host(config: ChildConfig) -> str:
    """Say why nothing can be offered."""
    return f"the child {config.name!r} needs transport mode, and its selectors do not meet both hosts"


def choose(
    children: Sequence[ChildConfig],
    offered: Sequence[Proposal],
    ts_i: Sequence[TrafficSelector | UnknownSelector],
    ts_r: Sequence[TrafficSelector | UnknownSelector],
    *,
    ends: Ends,
    transport: bool,
    with_group: bool,
    group: int | None = None,
    kept: ChildSa | None = None,
) -> tuple[ChildConfig, Agreed]:
    """As responder, find the first configured child that the offer fits, and narrow its selectors.

    *transport* says that the peer asks for transport mode. *kept* is the Child SA to be replaced, whose selectors are
    fine whatever has become of the hosts' addresses (RFC 7296 section 2.9.2).

    Raises NoProposalChosen, TsUnacceptable or SinglePairRequired, whichever came nearest to fitting.
    """
    failure: RemoteProtocolError | None = None
    offered = [proposal for proposal in offered if usable(proposal.spi)]
    found: tuple[ChildConfig, Agreed] | None = None
    for config in children:
        chosen = choose_proposal(
            offered, config.proposals, protocol=Protocol.ESP, spi_size=4, with_group=with_group, group=group
        )
        if chosen is None:
            continue
        try:
            agreed = _narrowed(config, chosen, ts_i, ts_r, ends, transport=transport, kept=kept)
        except (TsUnacceptable, SinglePairRequired) as error:
            failure = error if not isinstance(failure, SinglePairRequired) else failure
            continue
        if found is None:
            found = config, agreed
        elif not _includes(found[1], agreed):
            found[1].additional = True
            break
    if found is None:
        raise failure or NoProposalChosen("no child's proposals meet the offered ones")
    return found


def _narrowed(
    config: ChildConfig,
    chosen: Proposal,
    ts_i: Sequence[TrafficSelector | UnknownSelector],
    ts_r: Sequence[TrafficSelector | UnknownSelector],
    ends: Ends,
    *,
    transport: bool,
    kept: ChildSa | None,
) -> Agreed:
    """Narrow the offer to what *config* allows: in transport mode if both sides want it, in tunnel mode if it may.

    A lookup in transport mode that comes to nothing is done again for a tunnel, with the selectors as they were sent
    (RFC 7296 section 2.23.1). Raises TsUnacceptable or SinglePairRequired.
    """
    was_mine, was_theirs = ((), ()) if kept is None else (kept.local_ts, kept.remote_ts)
    if transport and config.mode == "transport":
        seen = through_nat(ts_r, ts_i, ends)
        mine, theirs = ends.selectors(config, transport=True)
        mine, theirs = (*was_mine, *mine), (*was_theirs, *theirs)
        narrowed_i, narrowed_r = narrow(seen.peers, theirs), narrow(seen.ours, mine)
        if narrowed_i and narrowed_r:
            return Agreed(chosen, narrowed_i, narrowed_r, "transport", seen.originals)
    if config.mode == "transport" and not config.tunnel_fallback:
        raise TsUnacceptable(f"the child {config.name!r} needs transport mode, which does not fit the offer")
    mine, theirs = ends.selectors(config, transport=False)
    narrowed_i, narrowed_r = narrow(ts_i, (*was_theirs, *theirs)), narrow(ts_r, (*was_mine, *mine))
    if not narrowed_i or not narrowed_r:
        raise TsUnacceptable("no child's traffic selectors meet the offered ones")
    if config.single_pair:
        # The first selectors are those of a packet, if there is one (RFC 7296 section 2.9): its pair is granted.
        narrowed_i, narrowed_r = same_address(ts_i[0], narrowed_i), same_address(ts_r[0], narrowed_r)
        if not narrowed_i or not narrowed_r:
            raise SinglePairRequired(f"the child {config.name!r} is for a single pair of addresses")
    return Agreed(chosen, narrowed_i, narrowed_r)


def _includes(one: Agreed, other: Agreed) -> bool:
    """Tell whether the selectors of *other* are all within those of *one*."""
    return all(
        any(covers(rule, each) for rule in outer)
        for outer, inner in ((one.ts_i, other.ts_i), (one.ts_r, other.ts_r))
        for each in inner
    )


def accept_answer(
    offered: Sequence[Proposal],
    ts_i: Sequence[TrafficSelector],
    ts_r: Sequence[TrafficSelector],
    answer: Sequence[Proposal],
    answered_i: Sequence[TrafficSelector | UnknownSelector],
    answered_r: Sequence[TrafficSelector | UnknownSelector],
    *,
    ends: Ends,
    config: ChildConfig,
    transport: bool,
    offered_mode: Mode,
) -> Agreed:
    """As initiator, check that the response is within what was offered (RFC 7296 sections 1.3.1, 2.7, 2.9, 2.23.1).

    *transport* says that the response takes transport mode. Where addresses were assigned to us since the offer, the
    result is about those alone.
    """
    accepted = accepted_proposal(offered, answer)
    if not usable(accepted.spi):
        raise NoProposalChosen(f"the response has the SPI {accepted.spi.hex() or 'nothing'}, which ESP cannot use")
    if transport and offered_mode != "transport":
        raise NoProposalChosen("the response takes transport mode, which was not offered")
    if not transport and offered_mode == "transport" and not config.tunnel_fallback:
        raise NoProposalChosen("the peer does not take transport mode")
    originals = None
    if transport:
        seen = through_nat(answered_i, answered_r, ends)
        answered_i, answered_r, originals = seen.ours, seen.peers, seen.originals
    granted_i, granted_r = _within(ts_i, answered_i), _within(ts_r, answered_r)
    if not transport and config.local_ts is None and ends.local_assigned:
        granted_i = narrow(granted_i, ends.selectors(config, transport=False)[0])
        if not granted_i:
            raise TsUnacceptable("the response selects nothing of the addresses that the peer assigned to us")
    return Agreed(accepted, granted_i, granted_r, "transport" if transport else "tunnel", originals)


def _within(
    offered: Sequence[TrafficSelector], answered: Sequence[TrafficSelector | UnknownSelector]
) -> tuple[TrafficSelector, ...]:
    kept: list[TrafficSelector] = []
    for selector in answered:
        if selector in offered:
            kept.append(selector)  # type: ignore[arg-type]
            continue
        if isinstance(selector, UnknownSelector) or not any(covers(rule, selector) for rule in offered):
            raise TsUnacceptable(f"the response selects {in_words(selector)}, which was not offered")
        kept.append(selector)
    return tuple(kept)
