"""Signing for tests: what `proving` does between choosing a scheme and the AUTH payload."""

from __future__ import annotations

from ikecore.crypto import PrivateKey, Scheme, choose_scheme, sign_with

__all__ = ["sign", "signed_as"]


def sign(key: PrivateKey, octets: bytes, *, peer_hashes: frozenset[int] | None) -> tuple[int, bytes]:
    """Return the method and the data of an AUTH payload over *octets*."""
    return signed_as(choose_scheme(key.public_key(), peer_hashes=peer_hashes), key, octets)


def signed_as(scheme: Scheme, key: PrivateKey, octets: bytes) -> tuple[int, bytes]:
    """Return the same with a scheme of one's choice."""
    return scheme.method, scheme.payload(sign_with(key, scheme, octets), key.public_key())
