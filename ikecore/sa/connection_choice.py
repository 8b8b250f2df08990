"""Which connection a peer's IKE_AUTH request is for, of those that its address and its IKE_SA_INIT leave.

A connection has to fit the identity that the peer claims (IDi). Of those that fit, the most specific counts, in this
order:

1. one whose own identity the peer asked for (IDr), before any other: we may be several hosts to our peers
2. the narrowest in the peer's identity: that identity, then the longest pattern, then any identity
3. one that can check the method of the peer's AUTH payload at all
4. the narrowest in the peer's address

A narrower connection that the peer does not satisfy is never passed over for a wider one: who is to use a certificate
cannot choose a secret that is meant for everybody else. Only among equals each is tried, as many as `MOST_TRIED`: two
that admit anybody may trust different authorities. In what order they stand in the configuration matters only there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..config import Connection
from ..crypto import Identity
from ..errors import AuthenticationFailed
from ..wire import Authentication, Contents, IdentificationResponder
from .verifying import can_check

__all__ = ["MOST_TRIED", "choose_connections"]

MOST_TRIED = 4
"""Connections that one IKE_AUTH request is checked against: each may cost a chain of signatures."""
_ANYBODY = 0x1_0000
"""Wider than any pattern."""


def choose_connections(
    candidates: Sequence[Connection], identity: Identity, contents: Contents, address: str
) -> list[Connection]:
    """Return those to try, in order, for a peer that says it is *identity*. Raises AuthenticationFailed without any."""
    fitting = [each for each in candidates if each.remote_identity is None or identity.matches(each.remote_identity)]
    if not fitting:
        raise AuthenticationFailed(f"no connection is configured for {identity}")
    if len(fitting) == 1:
        return fitting
    asked = contents.maybe(IdentificationResponder)
    wanted = None if asked is None else Identity(asked.id_type, asked.data)
    method = contents.one(Authentication).method

    def rank(connection: Connection) -> tuple[bool, int, bool, int]:
        return (
            wanted is not None and not wanted.matches(connection.local_identity),
            _ANYBODY if connection.remote_identity is None else connection.remote_identity.width,
            not can_check(connection, method),
            -(connection.nearness(address) or 0),
        )

    ranks = [rank(each) for each in fitting]
    best = min(ranks)
    return [each for each, its in zip(fitting, ranks, strict=True) if its == best][:MOST_TRIED]
