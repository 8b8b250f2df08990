"""The AUTH payload: what is signed, and how it is signed and verified (RFC 7296 section 2.15, RFC 7427, RFC 4754).

Each side signs the IKE_SA_INIT message that it sent, the nonce of the other, and its own identity, so nobody in between
can have changed any of it. How the check went is for us: the peer only hears AUTHENTICATION_FAILED.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import attrs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes as hazmat
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ..errors import AuthenticationFailed, LocalProtocolError
from ..wire.numbers import AuthMethod, HashAlgorithm
from .prf import prf
from .public_keys import PrivateKey, PublicKey, check_public_key, kinds_of
from .signature_algorithms import BY_DER, PREFERRED

__all__ = [
    "SUPPORTED_HASHES",
    "Scheme",
    "check_psk",
    "choose_scheme",
    "pad_secret",
    "psk_auth",
    "sign_with",
    "signed_octets",
    "verify",
]

SUPPORTED_HASHES: Final[frozenset[int]] = frozenset(
    {HashAlgorithm.SHA2_256, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_512, HashAlgorithm.IDENTITY}
)
"""What we announce in SIGNATURE_HASH_ALGORITHMS. SHA-1 is not in it (RFC 8247 section 4.2)."""

_Hash: TypeAlias = hazmat.SHA256 | hazmat.SHA384 | hazmat.SHA512

_PAD: Final = b"Key Pad for IKEv2"
_IDENTIFIERS: Final[Mapping[tuple[str, int], bytes]] = {
    (algorithm.kind, algorithm.hash): bytes((len(der),)) + der for algorithm, der in PREFERRED.items()
}
"""What AUTH of method 14 begins with, by kind and hash: the AlgorithmIdentifier that we send, behind its length."""
_HASH: Final[Mapping[int, _Hash]] = {
    HashAlgorithm.SHA2_256: hazmat.SHA256(),
    HashAlgorithm.SHA2_384: hazmat.SHA384(),
    HashAlgorithm.SHA2_512: hazmat.SHA512(),
}
_ECDSA: Final[Mapping[int, ec.ECDSA]] = {number: ec.ECDSA(chosen) for number, chosen in _HASH.items()}
_PKCS1: Final = padding.PKCS1v15()
_BY_CURVE: Final[Mapping[str, tuple[int, int, int]]] = {
    "secp256r1": (AuthMethod.ECDSA_SHA256_P256, HashAlgorithm.SHA2_256, 32),
    "secp384r1": (AuthMethod.ECDSA_SHA384_P384, HashAlgorithm.SHA2_384, 48),
    "secp521r1": (AuthMethod.ECDSA_SHA512_P521, HashAlgorithm.SHA2_512, 66),
}
"""Method of RFC 4754, hash of the curve's strength, octets of each half of a signature."""


def _parameters(kind: str, number: int) -> tuple[Any, ...]:
    if kind == "rsa-pss":
        chosen = _HASH[number]
        return padding.PSS(mgf=padding.MGF1(chosen), salt_length=chosen.digest_size), chosen
    if kind == "rsa-pkcs1":
        return _PKCS1, _HASH[number]
    return (_ECDSA[number],) if kind == "ecdsa" else ()


_PARAMETERS: Final[Mapping[tuple[str, int], tuple[Any, ...]]] = {
    (each.kind, each.hash): _parameters(each.kind, each.hash) for each in PREFERRED
}
"""What `cryptography` wants to know besides octets and signature, by kind of signature and hash."""


def signed_octets(
    message: bytes, peer_nonce: bytes, prf_alg: int, sk_p: bytes, id_body: bytes, int_auth: bytes = b""
) -> bytes:
    """Return what one side signs (RFC 7296 section 2.15).

    *message* is the last IKE_SA_INIT message that this side sent, from its SPI on; *peer_nonce* the data of the other
    side's nonce; *sk_p* this side's SK_pi or SK_pr; *id_body* its ID payload without the generic header, reserved
    octets as sent. *int_auth* is what IKE_INTERMEDIATE adds (RFC 9242 section 3.3.1).
    """
    return message + peer_nonce + prf(prf_alg, sk_p, id_body) + int_auth


# --- pre-shared keys --------------------------------------------------------------------------------------------------


def pad_secret(prf_alg: int, secret: bytes) -> bytes:
    """Return the key that `psk_auth` and `check_psk` work with: it depends on nothing else, and may be kept."""
    return prf(prf_alg, secret, _PAD)


def psk_auth(prf_alg: int, padded: bytes, octets: bytes) -> bytes:
    """Return the AUTH data of a side that knows the secret of *padded*, over its `signed_octets`."""
    return prf(prf_alg, padded, octets)


def check_psk(prf_alg: int, padded: bytes, octets: bytes, data: bytes) -> None:
    """Compare the peer's AUTH *data* in constant time. Raises AuthenticationFailed."""
    if not hmac.compare_digest(psk_auth(prf_alg, padded, octets), data):
        raise AuthenticationFailed("AUTH does not fit the pre-shared key")


# --- signatures -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Scheme:
    """How an AUTH payload is signed: with which method, which kind of signature over which hash.

    *kind* is "rsa-pss" (MGF1 of the same hash, a salt as long as the hash), "rsa-pkcs1", "ecdsa", "ed25519", "ed448" or
    "ml-dsa-44" to "-87"; *hash* is the number of a hash algorithm, 5 (identity) where the kind hashes itself. A
    signature is made over the octets as they are; that of ECDSA is in DER, as libraries and hardware give it.
    """

    method: int
    kind: str
    hash: int

    def payload(self, signature: bytes, public_key: PublicKey) -> bytes:
        """Return the data of the AUTH payload that carries *signature*. LocalProtocolError for DER that is none."""
        if self.method == AuthMethod.DIGITAL_SIGNATURE:
            return _IDENTIFIERS[self.kind, self.hash] + signature
        if not isinstance(public_key, EllipticCurvePublicKey):
            return signature
        half = _BY_CURVE[public_key.curve.name][2]
        try:
            r, s = decode_dss_signature(signature)
            return r.to_bytes(half, "big") + s.to_bytes(half, "big")
        except (ValueError, OverflowError) as error:
            raise LocalProtocolError(f"not an ECDSA signature in DER: {error}") from None


def choose_scheme(public_key: PublicKey, *, peer_hashes: frozenset[int] | None) -> Scheme:
    """Choose how the owner of *public_key* signs for a peer.

    *peer_hashes* are those of the peer's SIGNATURE_HASH_ALGORITHMS, which make it method 14 (RFC 7427), or None if it
    sent none. With it RSA means PSS. The old RSA method uses SHA-256, which the signature names: SHA-1, which RFC 7296
    section 3.8 recommends for it, is out (RFC 8247 section 4.2).

    Raises AuthenticationFailed if the peer can verify no signature of this key.
    """
    if peer_hashes is not None:
        kind = kinds_of(public_key)[0]
        curve = cast(EllipticCurvePublicKey, public_key).curve.name if kind == "ecdsa" else ""
        scheme = _digital(kind, curve, peer_hashes & SUPPORTED_HASHES)
        if scheme is None:
            raise AuthenticationFailed(
                f"our {kind} key signs with hash {' or '.join(str(int(each)) for each in _hashes(kind, curve))}; "
                f"the peer verifies only {sorted(peer_hashes)}"
            )
        return scheme
    if isinstance(public_key, RSAPublicKey):
        return Scheme(AuthMethod.RSA_SIGNATURE, "rsa-pkcs1", HashAlgorithm.SHA2_256)
    if isinstance(public_key, EllipticCurvePublicKey):
        method, number, _ = _BY_CURVE[public_key.curve.name]
        return Scheme(method, "ecdsa", number)
    raise AuthenticationFailed("the peer sent no SIGNATURE_HASH_ALGORITHMS, which our kind of key needs (RFC 7427)")


def sign_with(key: PrivateKey, scheme: Scheme, octets: bytes) -> bytes:
    """Return the signature of *octets*, not yet as an AUTH payload carries it. Raises LocalProtocolError."""
    signing: Any = key
    try:
        signature: bytes = signing.sign(octets, *_PARAMETERS[scheme.kind, scheme.hash])
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LocalProtocolError(f"our key cannot sign: {error}") from None
    return signature


@lru_cache(maxsize=256)
def _digital(kind: str, curve: str, peer_hashes: frozenset[int]) -> Scheme | None:
    """Return the scheme of method 14 for a kind of key, None if the peer verifies none. *curve* is that of ECDSA."""
    for number in _hashes(kind, curve):
        if number in peer_hashes:
            return Scheme(AuthMethod.DIGITAL_SIGNATURE, kind, number)
    return None


def _hashes(kind: str, curve: str) -> list[int]:
    """Return the hashes that a kind of key signs with, the best one first: on a curve the one of its strength."""
    if kind != "ecdsa" and not kind.startswith("rsa"):
        return [HashAlgorithm.IDENTITY]
    hashes: list[int] = [HashAlgorithm.SHA2_256, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_512]
    return sorted(hashes, key=lambda number: number != _BY_CURVE[curve][1]) if curve else hashes


def verify(
    public_key: PublicKey,
    method: int,
    data: bytes,
    octets: bytes,
    *,
    hashes: frozenset[int] = SUPPORTED_HASHES,
) -> None:
    """Check the AUTH *data* of the peer over its `signed_octets`. Raises AuthenticationFailed with the reason.

    *hashes* are those that we announced, empty if we announced none: no other is accepted with method 14.
    """
    key = check_public_key(public_key)
    if method == AuthMethod.DIGITAL_SIGNATURE:
        _verify_digital(key, data, octets, hashes)
    elif method == AuthMethod.RSA_SIGNATURE and isinstance(key, RSAPublicKey):
        _verify_rsa(key, data, octets)
    elif method in _CLASSIC_ECDSA and isinstance(key, EllipticCurvePublicKey):
        _verify_ecdsa(key, method, data, octets)
    else:
        raise AuthenticationFailed(f"authentication method {int(method)} does not go with a {kinds_of(key)[0]} key")


def _verify_digital(key: PublicKey, data: bytes, octets: bytes, hashes: frozenset[int]) -> None:
    end = 1 + data[0] if data else 0
    algorithm = BY_DER.get(data[1:end])
    if algorithm is None:
        raise AuthenticationFailed("AUTH names no signature algorithm that we know")
    if algorithm.hash not in hashes:
        raise AuthenticationFailed(f"AUTH is signed with hash {int(algorithm.hash)}, which we did not announce")
    if algorithm.kind not in kinds_of(key):
        raise AuthenticationFailed(f"AUTH is signed with {algorithm.kind}, the peer's key is {kinds_of(key)[0]}")
    verifying: Any = key
    if not _good(lambda: verifying.verify(data[end:], octets, *_PARAMETERS[algorithm.kind, algorithm.hash])):
        raise AuthenticationFailed(f"the {algorithm.kind} signature is wrong")


def _verify_rsa(key: RSAPublicKey, data: bytes, octets: bytes) -> None:
    """Method 1: the signature names its hash, so whichever of ours fits decides (RFC 7296 section 3.8)."""
    for chosen in _HASH.values():
        if _good(lambda chosen=chosen: key.verify(data, octets, _PKCS1, chosen)):  # type: ignore[misc]
            return
    raise AuthenticationFailed("the RSA signature is wrong, or uses SHA-1")


def _verify_ecdsa(key: EllipticCurvePublicKey, method: int, data: bytes, octets: bytes) -> None:
    """Methods 9 to 11: r and s in fixed lengths, curve and hash by the method (RFC 4754 section 7)."""
    wanted, number, half = _BY_CURVE[key.curve.name]
    if method != wanted:
        raise AuthenticationFailed(f"authentication method {int(method)} does not go with a key on {key.curve.name}")
    if len(data) != 2 * half:
        raise AuthenticationFailed(f"an ECDSA signature of {len(data)} octets, {2 * half} are expected")
    r, s = int.from_bytes(data[:half], "big"), int.from_bytes(data[half:], "big")
    if not _good(lambda: key.verify(encode_dss_signature(r, s), octets, _ECDSA[number])):
        raise AuthenticationFailed("the ECDSA signature is wrong")


def _good(check: Callable[[], None]) -> bool:
    """Run a verification of `cryptography`; whatever it raises for bad input means no."""
    try:
        check()
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


_CLASSIC_ECDSA: Final = frozenset(method for method, _, _ in _BY_CURVE.values())
