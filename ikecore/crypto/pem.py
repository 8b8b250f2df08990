"""Certificates out of files, as the octets that CERT payloads carry; X.509 itself is not needed for that."""

from __future__ import annotations

import binascii
import re
from typing import Final

from ..errors import LocalProtocolError
from .names import is_one_sequence

__all__ = ["load_certificates"]

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_LABELS: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")


def load_certificates(data: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a file in DER and in its order: either one in DER, or any number in PEM.

    PEM blocks of other kinds are passed over. Raises LocalProtocolError if there is no certificate; what is inside of
    one is looked at when it is used.
    """
    if b"-----BEGIN " not in data:
        found = [data]
    else:
        found = [_decoded(text) for label, text in _BLOCK.findall(data) if label in _LABELS]
    if not found or not all(map(is_one_sequence, found)):
        raise LocalProtocolError("no certificate here, in PEM or in DER")
    return tuple(found)


def _decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
    except binascii.Error as error:
        raise LocalProtocolError(f"a certificate in PEM that is damaged: {error}") from None
