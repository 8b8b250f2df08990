"""Key exchange methods: one ephemeral key pair, one shared secret (RFC 7296 section 3.4).

Key pairs are made of octets from the caller's *random*, so that runs can be repeated. Every public value of a peer is
tested as RFC 6989 asks, although no key pair is used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ..errors import InvalidSyntax, LocalProtocolError
from ..wire.numbers import Ke
from .suite import SUPPORTED_GROUPS

__all__ = ["SUPPORTED_GROUPS", "KeyAgreement", "generate"]

Random = Callable[[int], bytes]


class KeyAgreement(Protocol):
    """Our half of a key exchange with the method *group*; *public* are the octets of our KE payload."""

    group: int
    public: bytes

    def shared(self, peer_public: bytes) -> bytes:
        """Return g^ir, in the form that SKEYSEED is made of.

        Raises InvalidSyntax for a value of the wrong length, one that is not in the group (RFC 6989), or one that
        would make the secret known to everybody.
        """


def generate(group: int, random: Random) -> KeyAgreement:
    """Make a key pair for *group* of octets from *random*. Raises LocalProtocolError for a group that is not ours."""
    maker = _MAKERS.get(group)
    if maker is not None:
        return maker(group, random)
    if group not in SUPPORTED_GROUPS:
        raise LocalProtocolError(f"key exchange method {group} is not supported")
    from .modp import ModpAgreement

    return ModpAgreement(group, random)


class _Curve25519:
    """X25519 (RFC 8031)."""

    def __init__(self, group: int, random: Random) -> None:
        self.group = group
        self._private = X25519PrivateKey.from_private_bytes(random(32))
        self.public = self._private.public_key().public_bytes_raw()

    def shared(self, peer_public: bytes) -> bytes:
        if len(peer_public) != 32:
            raise _wrong_length(peer_public, 32)
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError:
            raise InvalidSyntax("the public value is a point of small order: the secret would be zero") from None


class _Curve448:
    """X448 (RFC 8031)."""

    def __init__(self, group: int, random: Random) -> None:
        self.group = group
        self._private = X448PrivateKey.from_private_bytes(random(56))
        self.public = self._private.public_key().public_bytes_raw()

    def shared(self, peer_public: bytes) -> bytes:
        if len(peer_public) != 56:
            raise _wrong_length(peer_public, 56)
        try:
            return self._private.exchange(X448PublicKey.from_public_bytes(peer_public))
        except ValueError:
            raise InvalidSyntax("the public value is a point of small order: the secret would be zero") from None


class _Ecp:
    """ECP groups: public values are x and y, the secret is x alone (RFC 5903 sections 7 and 9)."""

    def __init__(self, group: int, random: Random) -> None:
        self.group = group
        self._curve, order, octets = _ECP[group]
        # 64 bits more than the order leave no bias to speak of.
        scalar = int.from_bytes(random(octets + 8), "big") % (order - 1) + 1
        self._private = ec.derive_private_key(scalar, self._curve)
        numbers = self._private.public_key().public_numbers()
        self.public = numbers.x.to_bytes(octets, "big") + numbers.y.to_bytes(octets, "big")

    def shared(self, peer_public: bytes) -> bytes:
        if len(peer_public) != len(self.public):
            raise _wrong_length(peer_public, len(self.public))
        try:
            # Refuses coordinates beyond the field and points off the curve. Infinity has no such encoding.
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, b"\4" + peer_public)
            return self._private.exchange(ec.ECDH(), peer)
        except ValueError:
            raise InvalidSyntax("the public value is no point of the curve") from None


def _wrong_length(public: bytes, length: int) -> InvalidSyntax:
    return InvalidSyntax(f"a public value of {len(public)} octets, {length} are expected")


_ECP: Final[Mapping[int, tuple[ec.EllipticCurve, int, int]]] = {
    Ke.ECP_256: (ec.SECP256R1(), 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 32),
    Ke.ECP_384: (
        ec.SECP384R1(),
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        48,
    ),
    Ke.ECP_521: (
        ec.SECP521R1(),
        0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
        66,
    ),
}

_MAKERS: Final[Mapping[int, Callable[[int, Random], KeyAgreement]]] = {
    Ke.CURVE25519: _Curve25519,
    Ke.CURVE448: _Curve448,
    Ke.ECP_256: _Ecp,
    Ke.ECP_384: _Ecp,
    Ke.ECP_521: _Ecp,
}
