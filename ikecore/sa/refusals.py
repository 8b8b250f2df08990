"""What the peer's refusal of a CREATE_CHILD_SA request means for us (RFC 7296 sections 1.3, 2.25, 3.10.1)."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import (
    ChildSaNotFound,
    FailedCpRequired,
    InternalAddressFailure,
    NoProposalChosen,
    RemoteProtocolError,
    SinglePairRequired,
    TemporaryFailure,
    TsUnacceptable,
)
from ..wire import Contents
from ..wire.numbers import Notify
from .init_facts import refusal_of

__all__ = ["CHILD_REFUSALS", "CHILD_REFUSED", "refusal"]

CHILD_REFUSALS: Mapping[int, tuple[type[RemoteProtocolError], str]] = {
    Notify.SINGLE_PAIR_REQUIRED: (SinglePairRequired, "the peer wants selectors of a single pair of addresses"),
    Notify.INTERNAL_ADDRESS_FAILURE: (InternalAddressFailure, "the peer has no address for us"),
    Notify.FAILED_CP_REQUIRED: (FailedCpRequired, "the peer wants us to ask for an address"),
    Notify.TS_UNACCEPTABLE: (TsUnacceptable, "the peer accepts none of our traffic selectors"),
}
"""Refusals of a Child SA that say why, with our error and its words."""
CHILD_REFUSED: tuple[type[RemoteProtocolError], ...] = (
    NoProposalChosen,
    *(kind for kind, _ in CHILD_REFUSALS.values()),
)
"""With what we refuse a Child SA ourselves; the IKE SA lives."""


def refusal(contents: Contents) -> RemoteProtocolError:
    """Return the error that stands for the first error notification of a refused request."""
    found = contents.error()
    number = 0 if found is None else found.notify_type
    if number == Notify.TEMPORARY_FAILURE:
        return TemporaryFailure("the peer cannot do it now")
    if number == Notify.CHILD_SA_NOT_FOUND:
        return ChildSaNotFound("the peer has no such Child SA")
    if number == Notify.NO_PROPOSAL_CHOSEN:
        return NoProposalChosen("the peer accepts none of our proposals")
    if number in CHILD_REFUSALS:
        kind, words = CHILD_REFUSALS[number]
        return kind(words)
    return refusal_of(number)
