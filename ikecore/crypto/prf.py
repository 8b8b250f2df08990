"""prf and prf+ (RFC 7296 section 2.13), for HMAC with SHA-2 (RFC 4868).

The HMAC of `cryptography` is used rather than the standard library's: copying one that is keyed already costs a third
of a new one, and prf+ runs the same key over and over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

from ..errors import LocalProtocolError
from .suite import PRFS

__all__ = ["HASHES", "prf", "prf_length", "prf_plus"]

HASHES: Final[Mapping[str, HashAlgorithm]] = {"sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}
"""Hash algorithms by their `hashlib` name."""

_COUNTERS: Final = tuple([bytes((number,)) for number in range(1, 256)])
"""What ends the input of each block of prf+."""
_KEYS: Final = {number: HASHES[mac.hash] for number, mac in PRFS.items()}


def prf_length(alg: int) -> int:
    """Return the octets that the PRF *alg* gives, which is also the size of key it prefers."""
    return _known(alg).digest_size


def prf(alg: int, key: bytes, *parts: bytes) -> bytes:
    """Return prf(key, parts joined). Raises LocalProtocolError for an *alg* that is not ours."""
    mac = HMAC(key, _KEYS.get(alg) or _known(alg))
    for part in parts:
        mac.update(part)
    return mac.finalize()


def prf_plus(alg: int, key: bytes, seed: bytes, length: int) -> bytes:
    """Return *length* octets of prf+(key, seed), or raise LocalProtocolError: its counter ends after 255 blocks."""
    hash_algorithm = _known(alg)
    blocks = -(-length // hash_algorithm.digest_size)
    if not 0 <= blocks <= 255:
        raise LocalProtocolError(f"prf+ gives at most {255 * hash_algorithm.digest_size} octets, not {length}")
    keyed = HMAC(key, hash_algorithm)
    last, stream = b"", b""
    for counter in _COUNTERS[:blocks]:
        mac = keyed.copy()
        mac.update(last + seed + counter)
        last = mac.finalize()
        stream += last
    return stream[:length]


def _known(alg: int) -> HashAlgorithm:
    try:
        return _KEYS[alg]
    except KeyError:
        raise LocalProtocolError(f"PRF {alg} is not supported") from None
