"""The AlgorithmIdentifiers of RFC 7427: every DER encoding that is accepted, and the one that is sent.

RFC 7427 section 3 allows to compare these as octets with a fixed set, so there is no ASN.1 parser here to be fooled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from ..wire.numbers import HashAlgorithm

__all__ = ["BY_DER", "PREFERRED", "Algorithm"]


@attrs.frozen
class Algorithm:
    """A signature algorithm: the kind of key and padding, and the number of its hash, 5 (identity) for none."""

    kind: str
    hash: int


_NULL: Final = b"\5\0"
_RSA: Final = bytes.fromhex("2a864886f70d0101")  # 1.2.840.113549.1.1
_ECDSA: Final = bytes.fromhex("2a8648ce3d0403")  # 1.2.840.10045.4.3
_NIST_HASH: Final = bytes.fromhex("6086480165030402")  # 2.16.840.1.101.3.4.2
_NIST_SIGNATURE: Final = bytes.fromhex("6086480165030403")  # 2.16.840.1.101.3.4.3
_HASHES: Final = (
    # number, octets of the hash, last arc of: the hash, RSA with it, ECDSA with it
    (HashAlgorithm.SHA2_256, 32, 1, 11, 2),
    (HashAlgorithm.SHA2_384, 48, 2, 12, 3),
    (HashAlgorithm.SHA2_512, 64, 3, 13, 4),
)


def _tlv(tag: int, *contents: bytes) -> bytes:
    """Encode one DER element with fewer than 128 octets of contents."""
    content = b"".join(contents)
    return bytes((tag, len(content))) + content


def _sequence(*contents: bytes) -> bytes:
    return _tlv(0x30, *contents)


def _oid(prefix: bytes, arc: int) -> bytes:
    return _tlv(6, prefix, bytes((arc,)))


def _pss(hash_arc: int, salt: int, hash_parameters: bytes, mgf_parameters: bytes) -> bytes:
    """Encode RSASSA-PSS with MGF1 of the same hash and a salt of the hash's length (RFC 4055 section 3.1)."""
    return _sequence(
        _oid(_RSA, 10),
        _sequence(
            _tlv(0xA0, _sequence(_oid(_NIST_HASH, hash_arc), hash_parameters)),
            _tlv(0xA1, _sequence(_oid(_RSA, 8), _sequence(_oid(_NIST_HASH, hash_arc), mgf_parameters))),
            _tlv(0xA2, _tlv(2, bytes((salt,)))),
        ),
    )


def _encodings() -> dict[Algorithm, tuple[bytes, ...]]:
    """Return the encodings of each algorithm, the one to send first."""
    table: dict[Algorithm, tuple[bytes, ...]] = {}
    for number, size, hash_arc, rsa_arc, ecdsa_arc in _HASHES:
        rsa, ecdsa = _oid(_RSA, rsa_arc), _oid(_ECDSA, ecdsa_arc)
        table[Algorithm("rsa-pkcs1", number)] = (_sequence(rsa, _NULL), _sequence(rsa))
        table[Algorithm("ecdsa", number)] = (_sequence(ecdsa), _sequence(ecdsa, _NULL))
        table[Algorithm("rsa-pss", number)] = tuple(
            _pss(hash_arc, size, first, second) for first in (_NULL, b"") for second in (_NULL, b"")
        )
    identity = HashAlgorithm.IDENTITY
    table[Algorithm("ed25519", identity)] = (_sequence(_tlv(6, bytes.fromhex("2b6570"))),)
    table[Algorithm("ed448", identity)] = (_sequence(_tlv(6, bytes.fromhex("2b6571"))),)
    for arc, kind in ((17, "ml-dsa-44"), (18, "ml-dsa-65"), (19, "ml-dsa-87")):
        table[Algorithm(kind, identity)] = (_sequence(_oid(_NIST_SIGNATURE, arc)),)
    return table


_TABLE: Final = _encodings()

PREFERRED: Final[Mapping[Algorithm, bytes]] = {algorithm: ders[0] for algorithm, ders in _TABLE.items()}
"""The DER encoding that we send, per algorithm."""

BY_DER: Final[Mapping[bytes, Algorithm]] = {der: algorithm for algorithm, ders in _TABLE.items() for der in ders}
"""Every encoding that we accept."""
