"""Who answers which question: what both bindings take from an application, word for word.

An application gives coroutine functions by name. Here they are only sorted; the bindings run them, each in its own way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from .addressing import Lease
from .questions import (
    AcceptanceNeeded,
    AuthorizationNeeded,
    CertificateFetchNeeded,
    LeaseNeeded,
    Question,
    RevocationNeeded,
    SecretNeeded,
    SignatureNeeded,
)

__all__ = [
    "Accept",
    "Answerer",
    "Answerers",
    "Authorize",
    "CheckRevocation",
    "Fetch",
    "FindSecret",
    "GiveLease",
    "Sign",
    "answerers",
]

Authorize: TypeAlias = Callable[[str, AuthorizationNeeded], Awaitable[bool]]
GiveLease: TypeAlias = Callable[[LeaseNeeded], Awaitable[Lease | None]]
Accept: TypeAlias = Callable[[AcceptanceNeeded], Awaitable[bool]]
FindSecret: TypeAlias = Callable[[SecretNeeded], Awaitable[bytes]]
Sign: TypeAlias = Callable[[SignatureNeeded], Awaitable[bytes]]
CheckRevocation: TypeAlias = Callable[[RevocationNeeded], Awaitable[bool]]
Fetch: TypeAlias = Callable[[CertificateFetchNeeded], Awaitable[bytes]]
Answerer: TypeAlias = Callable[[Any], Awaitable[object]]
Answerers: TypeAlias = Mapping[type[Question[Any]], Answerer]


def answerers(
    *,
    authorize: Authorize | None = None,
    lease: GiveLease | None = None,
    accept: Accept | None = None,
    secret: FindSecret | None = None,
    sign: Sign | None = None,
    revocation: CheckRevocation | None = None,
    fetch: Fetch | None = None,
) -> Answerers:
    """Return who answers which kind of question."""
    given: dict[type[Question[Any]], Answerer | None] = {
        LeaseNeeded: lease,
        AcceptanceNeeded: accept,
        SecretNeeded: secret,
        SignatureNeeded: sign,
        RevocationNeeded: revocation,
        CertificateFetchNeeded: fetch,
    }
    found = {kind: answerer for kind, answerer in given.items() if answerer is not None}
    if authorize is not None:
        found[AuthorizationNeeded] = lambda question: authorize(question.peer_identity, question)
    return found
