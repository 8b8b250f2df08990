"""Keys that sign and verify: which kinds there are, and how they are read."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from ..errors import AuthenticationFailed, LocalProtocolError

__all__ = [
    "PrivateKey",
    "PublicKey",
    "check_public_key",
    "kinds_of",
    "load_private_key",
    "load_public_key",
    "subject_public_key_info",
]

PrivateKey: TypeAlias = (
    RSAPrivateKey
    | EllipticCurvePrivateKey
    | Ed25519PrivateKey
    | Ed448PrivateKey
    | MLDSA44PrivateKey
    | MLDSA65PrivateKey
    | MLDSA87PrivateKey
)
PublicKey: TypeAlias = (
    RSAPublicKey
    | EllipticCurvePublicKey
    | Ed25519PublicKey
    | Ed448PublicKey
    | MLDSA44PublicKey
    | MLDSA65PublicKey
    | MLDSA87PublicKey
)

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_RSA_BITS = range(2048, 8193)
"""Below 2048 bits is refused (RFC 8247 section 4.1.1); above 8192 a verification costs the verifier too much."""


_KINDS: Final[tuple[tuple[type, tuple[str, ...]], ...]] = (
    (RSAPublicKey, ("rsa-pss", "rsa-pkcs1")),
    (EllipticCurvePublicKey, ("ecdsa",)),
    (Ed25519PublicKey, ("ed25519",)),
    (Ed448PublicKey, ("ed448",)),
    (MLDSA44PublicKey, ("ml-dsa-44",)),
    (MLDSA65PublicKey, ("ml-dsa-65",)),
    (MLDSA87PublicKey, ("ml-dsa-87",)),
)


def kinds_of(key: object) -> tuple[str, ...]:
    """Return the kinds of `Algorithm` that go with a public key, the preferred one first; none for anything else."""
    return _kinds_of(type(key))  # type: ignore[arg-type]  # mypy holds that a type may not be hashable


@lru_cache(maxsize=32)
def _kinds_of(cls: type) -> tuple[str, ...]:
    """By class, as it takes long to ask whether a key is of one of the abstract classes of `cryptography`."""
    return next((kinds for known, kinds in _KINDS if issubclass(cls, known)), ())


def check_public_key(key: object) -> PublicKey:
    """Return *key* if signatures are verified with its kind, else raise AuthenticationFailed with the reason."""
    kinds = kinds_of(key)
    if not kinds:
        raise AuthenticationFailed(f"a key of the kind {type(key).__name__} verifies nothing here")
    if "rsa-pss" in kinds:
        bits = cast(RSAPublicKey, key).key_size
        if bits not in _RSA_BITS:
            raise AuthenticationFailed(f"an RSA key of {bits} bits; allowed are 2048 to 8192")
    elif "ecdsa" in kinds:
        curve = cast(EllipticCurvePublicKey, key).curve.name
        if curve not in _CURVES:
            raise AuthenticationFailed(f"an ECDSA key on {curve}; allowed are P-256, P-384 and P-521")
    return cast(PublicKey, key)


def load_public_key(data: bytes) -> PublicKey:
    """Read SubjectPublicKeyInfo, DER or PEM. Raises LocalProtocolError if it is none, or a key that we refuse."""
    try:
        load = load_pem_public_key if data.lstrip().startswith(b"-----") else load_der_public_key
        return check_public_key(load(data))
    except (ValueError, UnsupportedAlgorithm, AuthenticationFailed) as error:
        raise LocalProtocolError(f"not a usable public key: {error}") from None


def load_private_key(data: bytes, password: bytes | None = None) -> PrivateKey:
    """Read a private key, DER or PEM. Raises LocalProtocolError if it is none, or a key that we refuse."""
    try:
        load = load_pem_private_key if data.lstrip().startswith(b"-----") else load_der_private_key
        key = load(data, password)
        if isinstance(key, PrivateKey):
            check_public_key(key.public_key())
            return key
    except (ValueError, TypeError, UnsupportedAlgorithm, AuthenticationFailed) as error:
        raise LocalProtocolError(f"not a usable private key: {error}") from None
    raise LocalProtocolError(f"not a usable private key: {type(key).__name__} signs nothing here")


def subject_public_key_info(key: PublicKey) -> bytes:
    """Return *key* as SubjectPublicKeyInfo in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
