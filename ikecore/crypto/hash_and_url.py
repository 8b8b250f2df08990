"""Certificates by reference: a SHA-1 hash and the URL where the octets are (RFC 7296 section 3.6, encodings 12, 13).

Nothing is fetched here. What the application fetched is taken only if it is what the hash stands for.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import attrs

from ..errors import AuthenticationFailed, LocalProtocolError
from ..wire.numbers import CertEncoding
from .names import elements

__all__ = ["LARGEST_FETCHED", "Reference", "check_url", "read_reference", "reference_to", "take_fetched"]

LARGEST_FETCHED: Final = 65_536
"""Octets behind one URL: as much as one message could have carried itself."""
_LONGEST_URL: Final = 1024
_DIGEST: Final = 20
_SEQUENCE, _CERTIFICATE, _LIST = 0x30, 0xA0, 0xA1


@attrs.frozen
class Reference:
    """Where the octets of a certificate, or of a *bundle*, can be fetched, and their SHA-1 hash."""

    url: str
    digest: bytes
    bundle: bool


def check_url(url: str) -> None:
    """Refuse what is no plain http(s) URL, with a ValueError that says why."""
    scheme, mark, rest = url.partition("://")
    if scheme.lower() not in ("http", "https") or not mark or not rest or rest.startswith("/"):
        raise ValueError("only http and https URLs are taken")
    if len(url) > _LONGEST_URL:
        raise ValueError(f"a URL of {len(url)} characters; the most is {_LONGEST_URL}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL has printable ASCII characters only, and no space")


def reference_to(der: bytes, url: str) -> bytes:
    """Return the data of a CERT payload that stands for the certificate *der*. LocalProtocolError for a bad *url*."""
    try:
        check_url(url)
    except ValueError as error:
        raise LocalProtocolError(f"url: {url!r}: {error}") from None
    return hashlib.sha1(der, usedforsecurity=False).digest() + url.encode("ascii")


def read_reference(encoding: int, data: bytes) -> Reference:
    """Read a CERT payload of encoding 12 or 13. Raises AuthenticationFailed for a URL that nobody should fetch."""
    url = data[_DIGEST:].decode("latin-1")
    try:
        check_url(url)
    except ValueError as error:
        raise AuthenticationFailed(f"a certificate by hash and URL: {error}") from None
    return Reference(url, data[:_DIGEST], encoding == CertEncoding.HASH_AND_URL_BUNDLE)


def take_fetched(reference: Reference, octets: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the certificates and the revocation lists in what was fetched, in DER and in order.

    Raises AuthenticationFailed where there is nothing, too much, or something else than the peer meant.
    """
    if not octets:
        raise AuthenticationFailed("a certificate by hash and URL was not fetched")
    if len(octets) > LARGEST_FETCHED:
        raise AuthenticationFailed(f"{len(octets)} octets behind a URL; the most is {LARGEST_FETCHED}")
    if not hmac.compare_digest(hashlib.sha1(octets, usedforsecurity=False).digest(), reference.digest):
        raise AuthenticationFailed("what is behind the URL of a certificate has another hash")
    if not reference.bundle:
        return (octets,), ()
    try:
        return _bundle(octets)
    except ValueError:
        raise AuthenticationFailed("what is behind the URL of a bundle is none") from None


def _bundle(octets: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Take a CertificateBundle apart: a sequence of [0] certificates and [1] revocation lists."""
    ((tag, begin, end),) = elements(octets, 0, len(octets))
    if tag != _SEQUENCE:
        raise ValueError("not a sequence")
    found: dict[int, list[bytes]] = {_CERTIFICATE: [], _LIST: []}
    for kind, start, stop in elements(octets, begin, end):
        if kind not in found:
            raise ValueError("neither a certificate nor a list")
        found[kind].append(octets[start:stop])
    return tuple(found[_CERTIFICATE]), tuple(found[_LIST])
