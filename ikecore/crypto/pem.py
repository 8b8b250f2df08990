"""Certificates and revocation lists out of files, as the octets that CERT payloads carry; without X.509 itself."""

from __future__ import annotations

import binascii
import re
from typing import Final

from ..errors import LocalProtocolError
from .names import is_one_sequence

__all__ = ["load_certificates", "load_crls"]

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATES: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")
_CRLS: Final = (b"X509 CRL",)


def load_certificates(data: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a file in DER and in its order: either one in DER, or any number in PEM.

    PEM blocks of other kinds are passed over. Raises LocalProtocolError if there is no certificate; what is inside of
    one is looked at when it is used.
    """
    return _load(data, _CERTIFICATES, "certificate")


def load_crls(data: bytes) -> tuple[bytes, ...]:
    """Return the revocation lists of a file, likewise."""
    return _load(data, _CRLS, "revocation list")


def _load(data: bytes, labels: tuple[bytes, ...], what: str) -> tuple[bytes, ...]:
    if b"-----BEGIN " not in data:
        found = [data]
    else:
        found = [_decoded(text, what) for label, text in _BLOCK.findall(data) if label in labels]
    if not found or not all(map(is_one_sequence, found)):
        raise LocalProtocolError(f"no {what} here, in PEM or in DER")
    return tuple(found)


def _decoded(text: bytes, what: str) -> bytes:
    try:
        return binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
    except binascii.Error as error:
        raise LocalProtocolError(f"a {what} in PEM that is damaged: {error}") from None
