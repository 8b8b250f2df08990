"""What an error notification of the peer means for us, in whatever exchange it comes (RFC 7296 section 3.10.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import (
    AuthenticationFailed,
    ChildSaNotFound,
    FailedCpRequired,
    InternalAddressFailure,
    NoProposalChosen,
    PeerRefused,
    RemoteProtocolError,
    SinglePairRequired,
    TemporaryFailure,
    TsUnacceptable,
)
from ..wire import Contents
from ..wire.numbers import Notify, name_of

__all__ = ["CHILD_REFUSED", "REFUSALS", "refusal"]

REFUSALS: Final[Mapping[int, tuple[type[RemoteProtocolError], str]]] = {
    Notify.NO_PROPOSAL_CHOSEN: (NoProposalChosen, "the peer accepts none of our proposals"),
    Notify.AUTHENTICATION_FAILED: (AuthenticationFailed, "the peer did not accept our authentication"),
    Notify.SINGLE_PAIR_REQUIRED: (SinglePairRequired, "the peer wants selectors of a single pair of addresses"),
    Notify.INTERNAL_ADDRESS_FAILURE: (InternalAddressFailure, "the peer has no address for us"),
    Notify.FAILED_CP_REQUIRED: (FailedCpRequired, "the peer wants us to ask for an address"),
    Notify.TS_UNACCEPTABLE: (TsUnacceptable, "the peer accepts none of our traffic selectors"),
    Notify.TEMPORARY_FAILURE: (TemporaryFailure, "the peer cannot do it now"),
    Notify.CHILD_SA_NOT_FOUND: (ChildSaNotFound, "the peer has no such Child SA"),
}
"""Refusals with an error class of their own, and its words. All others are `PeerRefused`."""

CHILD_REFUSED: Final[tuple[type[RemoteProtocolError], ...]] = (
    NoProposalChosen,
    SinglePairRequired,
    InternalAddressFailure,
    FailedCpRequired,
    TsUnacceptable,
)
"""With what we refuse a Child SA ourselves; the IKE SA lives."""


def refusal(contents: Contents) -> RemoteProtocolError:
    """Return the error that stands for the first error notification of a message."""
    found = contents.error()
    number = 0 if found is None else found.notify_type
    if number in REFUSALS:
        kind, words = REFUSALS[number]
        return kind(words)
    return PeerRefused(number, name_of(Notify, number))
