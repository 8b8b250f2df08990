"""Choosing one suite out of what is offered (RFC 7296 sections 2.7, 3.3, 3.3.6; RFC 5282 section 8). Pure functions.

A proposal is acceptable as a whole or not at all: it must hold every type of transform that its protocol needs, none
that we do not know, and of each type one transform that we want. Transforms that we do not know only drop out
themselves. Omitting an optional type means the same as offering NONE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ..errors import NoProposalChosen
from ..wire.numbers import Protocol, TransformType
from ..wire.proposal import Proposal, Transform, Transforms, octets_of
from .suite import CIPHERS, ESP_TRANSFORMS, IKE_TRANSFORMS

__all__ = ["accepted_proposal", "choose_proposal"]

_ENCR, _PRF, _INTEG, _KE, _ESN = (
    int(kind)
    for kind in (TransformType.ENCR, TransformType.PRF, TransformType.INTEG, TransformType.KE, TransformType.ESN)
)
_NONE: Final = 0
_REQUIRED: Final[Mapping[int, frozenset[int]]] = {
    Protocol.IKE: frozenset({_ENCR, _PRF, _KE}),
    Protocol.ESP: frozenset({_ENCR, _ESN}),
}
"""INTEG is required as well, unless the cipher is an AEAD."""
_ADDITIONAL: Final = frozenset(range(TransformType.ADDKE1, TransformType.ADDKE7 + 1))
_CAN_BE_NONE: Final = frozenset({_INTEG, _KE}) | _ADDITIONAL
_NO_ADDITIONAL: Final = frozenset(Transform(kind, _NONE) for kind in _ADDITIONAL)
_SUPPORTED: Final[Mapping[int, frozenset[bytes]]] = {
    Protocol.IKE: frozenset(each.octets for each in IKE_TRANSFORMS | _NO_ADDITIONAL),
    Protocol.ESP: frozenset(each.octets for each in ESP_TRANSFORMS | _NO_ADDITIONAL),
}
"""Octets instead of values: they are compared many times, and at the speed of bytes."""
_AEADS: Final = frozenset(number for number, cipher in CIPHERS.items() if cipher.aead)

Offer = tuple[Transform, ...]
"""The transforms of one proposal, as they were offered or accepted."""
ByType = dict[int, dict[bytes, Transform]]
"""Transforms by type and then by their octets, in order."""

_STORED: Final = 512
_STORED_OCTETS: Final = 1024
_CHOSEN: dict[tuple[tuple[bytes, ...], int, int, bool, int | None], tuple[int, Transforms] | None] = {}
"""What was chosen, by all that it depends on: peers offer the same over and over. An offer that is too long to be one
of many is not kept."""
_FITTING: set[tuple[bytes, bytes]] = set()
"""What was offered and what was rightly accepted of it, in octets; bounded alike."""


def choose_proposal(
    offered: Sequence[Proposal],
    ours: Sequence[Proposal],
    *,
    protocol: int,
    spi_size: int,
    with_group: bool,
    group: int | None = None,
) -> Proposal | None:
    """Return what we accept of *offered*, or None.

    The result has number and SPI of the offered proposal and of each of its types one transform, unmodified. Our order
    decides, first among proposals, then among transforms; *group*, the method of the peer's KE payload, goes first
    where it is acceptable, which saves a round trip. A longer key than configured is taken if nothing fits exactly
    (RFC 7296 section 3.3.5). Proposals for another *protocol*, or with an SPI of another size than *spi_size*, do not
    count. Without *with_group* no key exchange is done, as in IKE_AUTH: the only method acceptable is NONE.
    """
    fitting = [each for each in offered if each.protocol == protocol and len(each.spi) == spi_size]
    lists, wanted = [each.transforms for each in fitting], [own.transforms for own in ours if own.protocol == protocol]
    octets = tuple(map(octets_of, (*lists, *wanted)))
    question = octets, len(wanted), protocol, with_group, group
    if question in _CHOSEN:
        found = _CHOSEN[question]
    else:
        found = _choose(lists, wanted, protocol, with_group, group)
        if sum(map(len, octets)) <= _STORED_OCTETS:
            if len(_CHOSEN) >= _STORED:
                _CHOSEN.clear()
            _CHOSEN[question] = found
    if found is None:
        return None
    index, transforms = found
    return Proposal(fitting[index].number, protocol, fitting[index].spi, transforms)


def _choose(
    offered: list[Offer], ours: list[Offer], protocol: int, with_group: bool, group: int | None
) -> tuple[int, Transforms] | None:
    """Return which of *offered* is accepted, and what of it."""
    candidates = [
        (index, types)
        for index, transforms in enumerate(offered)
        if (types := _acceptable_types(protocol, transforms, with_group)) is not None
    ]
    if not candidates:
        return None
    wanted = [_by_type(own, with_group) for own in ours]
    for longer in (False, True):
        for want in wanted:
            for index, types in candidates:
                transforms = _match(types, want, group, longer)
                if transforms is not None:
                    return index, transforms
    return None


def accepted_proposal(offered: Sequence[Proposal], answer: Sequence[Proposal]) -> Proposal:
    """Return the one proposal of an *answer*, which has to be one of *offered* with one transform per type.

    RFC 7296 section 3.3.6. The SPI is the peer's and is not looked at. Raises NoProposalChosen.
    """
    if len(answer) != 1:
        raise NoProposalChosen(f"the response holds {len(answer)} proposals instead of one")
    accepted = answer[0]
    for proposal in offered:
        if proposal.number == accepted.number and proposal.protocol == accepted.protocol:
            break
    else:
        raise NoProposalChosen(f"proposal {accepted.number} for protocol {accepted.protocol} was never offered")
    question = octets_of(proposal.transforms), octets_of(accepted.transforms)
    if question not in _FITTING:
        _check_transforms(proposal.transforms, accepted.transforms)
        if sum(map(len, question)) <= _STORED_OCTETS:
            if len(_FITTING) >= _STORED:
                _FITTING.clear()
            _FITTING.add(question)
    return accepted


def _check_transforms(offered: Offer, accepted: Offer) -> None:
    """Check that *accepted* holds one of each type of *offered*. Raises NoProposalChosen."""
    chosen: set[int] = set()
    choices = _by_type(offered, True)
    for transform in accepted:
        kind = transform.type
        if kind in chosen:
            raise NoProposalChosen(f"the accepted proposal has two transforms of type {kind}")
        chosen.add(kind)
        if transform.octets not in choices.get(kind, ()) and not (kind not in choices and _is_none(transform)):
            raise NoProposalChosen(f"transform {transform.id} of type {kind} was never offered, or was altered")
    for kind in choices.keys() - chosen:
        if not any(map(_is_none, choices[kind].values())):
            raise NoProposalChosen(f"the accepted proposal lacks a transform of type {kind}")


def _is_none(transform: Transform) -> bool:
    return transform.id == _NONE and transform.type in _CAN_BE_NONE and not transform.attributes


def _by_type(transforms: Iterable[Transform], with_group: bool) -> ByType:
    types: ByType = {}
    for transform in transforms:
        if with_group or transform.type != _KE:
            types.setdefault(transform.type, {})[transform.octets] = transform
    return types


def _acceptable_types(protocol: int, transforms: Offer, with_group: bool) -> ByType | None:
    """Sort the transforms of a proposal that we support by type; None if it is unacceptable as a whole."""
    supported = _SUPPORTED.get(protocol)
    if supported is None:
        return None
    ciphers, kinds, integrity = set(), set(), False
    kept: ByType = {}
    for transform in transforms:
        kind, number = transform.type, transform.id
        kinds.add(kind)
        if kind == _ENCR and number in CIPHERS:
            ciphers.add(number in _AEADS)
        elif kind == _INTEG and number != _NONE:
            integrity = True
        if transform.octets in supported and (with_group or kind != _KE or number == _NONE):
            kept.setdefault(kind, {})[transform.octets] = transform
    # A type of which nothing is left cannot be answered; AEADs stand alone (RFC 7296 section 3.3, RFC 5282).
    mixed = len(ciphers) > 1 or (integrity and True in ciphers)
    return None if mixed or len(kept) < len(kinds) or not _REQUIRED[protocol] <= kinds else kept


def _match(types: ByType, want: ByType, group: int | None, longer: bool) -> Transforms | None:
    """Pick one transform of each offered type, in the order of *want*; None if there is a type without one."""
    if any(kind not in types and not any(map(_is_none, choices.values())) for kind, choices in want.items()):
        return None  # we want something that is not there at all
    picked: dict[int, Transform] = {}
    for kind, offered in types.items():
        choices = want.get(kind)
        if choices is None:
            found = next(filter(_is_none, offered.values()), None)
        else:
            order: Iterable[bytes] = choices
            if kind == _KE and group is not None:
                order = sorted(choices, key=lambda octets: choices[octets].id != group)
            found = next((offered[octets] for octets in order if octets in offered), None)
            if found is None and longer and kind == _ENCR:
                found = _longer(offered.values(), choices.values())
        if found is None:
            return None
        picked[kind] = found
    integ = picked.get(_INTEG)
    if (picked[_ENCR].id in _AEADS) is not (integ is None or integ.id == _NONE):
        return None  # a cipher without integrity
    return Transforms(picked.values())


def _longer(offered: Iterable[Transform], choices: Iterable[Transform]) -> Transform | None:
    """Find the same cipher with the least longer key."""
    for choice in choices:
        fitting = [
            (each.key_length, each)
            for each in offered
            if each.id == choice.id and (each.key_length or 0) > (choice.key_length or 0)
        ]
        if fitting:
            return min(fitting, key=lambda pair: pair[0] or 0)[1]
    return None
