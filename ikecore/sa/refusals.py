"""What the peer's refusal of a CREATE_CHILD_SA request means for us (RFC 7296 sections 1.3, 2.25, 3.10.1)."""

from __future__ import annotations

from ..errors import ChildSaNotFound, NoProposalChosen, RemoteProtocolError, TemporaryFailure, TsUnacceptable
from ..wire import Contents
from ..wire.numbers import Notify
from .init_facts import refusal_of

__all__ = ["refusal", "wanted_group"]


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
    if number == Notify.TS_UNACCEPTABLE:
        return TsUnacceptable("the peer accepts none of our traffic selectors")
    return refusal_of(number)


def wanted_group(contents: Contents) -> int | None:
    """Return the key exchange method that INVALID_KE_PAYLOAD asks for, None if it is another refusal."""
    found = contents.error()
    if found is None or found.notify_type != Notify.INVALID_KE_PAYLOAD:
        return None
    return int.from_bytes(found.data, "big") if len(found.data) == 2 else 0
