"""What IKE_SA_INIT leaves behind for IKE_AUTH, and nobody needs afterwards."""

from __future__ import annotations

import attrs

from ..crypto import Identity

__all__ = ["AuthContext"]


@attrs.define
class AuthContext:
    """The messages that AUTH signs, and what the peer said about authentication.

    *ours* and *theirs* are the IKE_SA_INIT messages as sent, from the SPI on: the last ones, with cookie and final
    group (RFC 7296 section 2.15). *peer_hashes* is None where the peer sent no SIGNATURE_HASH_ALGORITHMS (RFC 7427).
    *authorities* are the hashes of its CERTREQ, None where it asked for no certificate. *lookup*: it can fetch
    certificates by hash and URL. *childless*: it makes IKE SAs without a Child SA (RFC 6023). *secret* is the one that
    the application was asked for last, with the connection and the peer that it is for.
    """

    ours: bytes = attrs.field(repr=False)
    theirs: bytes = attrs.field(repr=False)
    peer_hashes: frozenset[int] | None = None
    authorities: tuple[bytes, ...] | None = None
    lookup: bool = False
    childless: bool = False
    secret: tuple[str, Identity | None, bytes] | None = attrs.field(default=None, repr=False)
