"""Why a chain of certificates is no good, in words of our own: those of the verifier are for its authors.

What the verifier said only chooses among sentences here; what is told besides comes out of the certificates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .names import printable

__all__ = ["BAD_INPUT", "OWN_WORDS", "is_authority", "name_of", "out_of_date", "reason", "subject_of"]

BAD_INPUT: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,
)
"""What reading a certificate that makes no sense raises. Odd ones (a serial number of 0, a name too long) are warned
of, which raises where the application made errors of warnings."""

OWN_WORDS: Final = (
    "the key usage of the certificate is not for signatures",
    "the key usage of an authority is not for certificates",
    "the extended key usage of a certificate is not for IKE",
    "an authority constrains distinguished names, which is not supported",
)
"""What the rules of `certificates` refuse with; the verifier wraps it into words of its own."""

_WRONG_SIGNATURE: Final = "a signature in the chain is wrong"
_NO_AUTHORITY: Final = "a certificate that is no authority has issued another"
_SENTENCES: Final = (
    ("path length", "an authority may not issue that deep"),
    ("signature does not match", _WRONG_SIGNATURE),
    ("max depth", "the chain has too great a depth"),
    ("critical extension", "a critical extension is not known"),
    ("name constraints", "a name lies outside of what an authority may issue"),
    ("signature check limit", "there are too many certificates to try"),
    ("basicConstraints", _NO_AUTHORITY),
)
_EDWARDS: Final = "Ed25519 and Ed448 keys are supported for leaf certificates, not for authorities"


def reason(
    said: str,
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    at: datetime,
) -> str:
    """Say on one line why *leaf* has no good chain to *anchors*; *said* is the verifier's message.

    *others* are all that were at hand, also those that the verifier did not see as no anchor vouches for them. Of
    several causes on several paths, it names one.
    """
    return f"no good certificate chain for {subject_of(leaf)}: {_cause(said, leaf, others, anchors, at)}"


def _cause(
    said: str,
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    at: datetime,
) -> str:
    for words in OWN_WORDS:
        if words in said:
            return words
    path = list(_upwards(leaf, (*others, *anchors)))
    if "validation time" in said:
        for certificate in path:
            dates = out_of_date(certificate.not_valid_before_utc, certificate.not_valid_after_utc, at)
            if dates:
                return f"{subject_of(certificate)} {dates}"
        return "a certificate is not valid now"
    if any(_is_edwards(each) for each in path[1:]):
        return _EDWARDS
    for phrase, sentence in _SENTENCES:
        if phrase in said:
            return sentence
    if "no interior errors" in said:
        if not all(map(is_authority, path[1:])):
            return _NO_AUTHORITY
        if path[-1] in anchors:
            return _WRONG_SIGNATURE
        return f"the issuer {_issuer_of(path[-1])} is neither trusted nor among the certificates at hand"
    return "a certificate in it breaks the rules of RFC 5280, or has a key or signature that is not supported"


def _upwards(leaf: x509.Certificate, others: Sequence[x509.Certificate]) -> Iterable[x509.Certificate]:
    """Yield *leaf* and, by names alone, who issued it, who issued that, and so on. Each at most once."""
    left = list(others)
    here: x509.Certificate | None = leaf
    while here is not None:
        yield here
        wanted = name_of(here, "issuer")
        here = next((each for each in left if wanted is not None and name_of(each, "subject") == wanted), None)
        if here is not None:
            left.remove(here)


def name_of(certificate: x509.Certificate, which: str) -> bytes | None:
    """Return the "subject" or "issuer" in DER; None for one that cannot be read."""
    try:
        name: x509.Name = getattr(certificate, which)
        return name.public_bytes()
    except BAD_INPUT:
        return None


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether it says that it may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *BAD_INPUT):
        return False


def out_of_date(begin: datetime, end: datetime, at: datetime) -> str | None:
    """Say how a certificate that is valid from *begin* to *end* is out of date at the time *at*; None if it is not."""
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if at < begin:
        return f"is not valid before {begin:%Y-%m-%d %H:%M} UTC"
    return f"has expired on {end:%Y-%m-%d %H:%M} UTC" if at > end else None


def subject_of(certificate: x509.Certificate) -> str:
    """Name a certificate's subject on one printable line."""
    return _in_words(certificate, "subject")


def _issuer_of(certificate: x509.Certificate) -> str:
    return _in_words(certificate, "issuer")


def _in_words(certificate: x509.Certificate, which: str) -> str:
    try:
        name: x509.Name = getattr(certificate, which)
        return printable(name.rfc4514_string().encode()) or "an empty name"
    except BAD_INPUT:
        return "an unreadable name"


def _is_edwards(certificate: x509.Certificate) -> bool:
    try:
        return isinstance(certificate.public_key(), Ed25519PublicKey | Ed448PublicKey)
    except BAD_INPUT:
        return False
