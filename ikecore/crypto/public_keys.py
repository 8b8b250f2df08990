"""Keys that sign and verify: which kinds there are, and how they are read."""

from __future__ import annotations

from typing import TypeAlias

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


def check_public_key(key: object) -> PublicKey:
    """Return *key* if signatures are verified with its kind, else raise AuthenticationFailed with the reason."""
    if isinstance(key, RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise AuthenticationFailed(f"an RSA key of {key.key_size} bits; allowed are 2048 to 8192")
    elif isinstance(key, EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise AuthenticationFailed(f"an ECDSA key on {key.curve.name}; allowed are P-256, P-384 and P-521")
    elif not isinstance(key, PublicKey):
        raise AuthenticationFailed(f"a key of the kind {type(key).__name__} verifies nothing here")
    return key


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
