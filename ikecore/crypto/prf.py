"""prf and prf+ (RFC 7296 section 2.13), for HMAC with SHA-2 (RFC 4868).

prf+ is what HKDF calls Expand (RFC 5869 section 2.3), octet for octet, and `cryptography` computes that in one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ..errors import LocalProtocolError
from .suite import PRFS

__all__ = ["HASHES", "prf", "prf_plus"]

HASHES: Final[Mapping[str, HashAlgorithm]] = {"sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}
"""Hash algorithms by their `hashlib` name."""

_KEYS: Final = {number: HASHES[mac.hash] for number, mac in PRFS.items()}


def prf(alg: int, key: bytes, data: bytes) -> bytes:
    """Return prf(key, data). Raises LocalProtocolError for an *alg* that is not ours."""
    mac = HMAC(key, _KEYS.get(alg) or _known(alg))
    mac.update(data)
    return mac.finalize()


def prf_plus(alg: int, key: bytes, seed: bytes, length: int) -> bytes:
    """Return *length* octets of prf+(key, seed), or raise LocalProtocolError: its counter ends after 255 blocks."""
    hash_algorithm = _KEYS.get(alg) or _known(alg)
    if not 0 <= length <= 255 * hash_algorithm.digest_size:
        raise LocalProtocolError(f"prf+ gives at most {255 * hash_algorithm.digest_size} octets, not {length}")
    return HKDFExpand(hash_algorithm, length, seed).derive(key) if length else b""


def _known(alg: int) -> HashAlgorithm:
    try:
        return _KEYS[alg]
    except KeyError:
        raise LocalProtocolError(f"PRF {alg} is not supported") from None
