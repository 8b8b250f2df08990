"""Finite-field Diffie-Hellman over the MODP groups of RFC 3526: for peers that know nothing newer.

`cryptography` has deprecated it, so it is in no default proposal and this module is loaded when a group of it is first
used. OpenSSL is still preferred over `pow`: it is six times faster and its time does not depend on
the exponent. The one thing it cannot do is to begin with an exponent of ours, so the public value is computed as an
exchange with the generator.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ..errors import InvalidSyntax
from ..wire.numbers import Ke

with warnings.catch_warnings():
    # Naming these classes is what warns. Whoever configured MODP knows, and a core has nobody to tell.
    warnings.simplefilter("ignore")
    from cryptography.hazmat.primitives.asymmetric.dh import DHParameterNumbers, DHPrivateNumbers, DHPublicNumbers

__all__ = ["MODP_OCTETS", "ModpAgreement", "prime"]

_BITS_AND_CONSTANT: Final = {
    Ke.MODP_2048: (2048, 124476),
    Ke.MODP_3072: (3072, 1690314),
    Ke.MODP_4096: (4096, 240904),
    Ke.MODP_6144: (6144, 929484),
    Ke.MODP_8192: (8192, 4743158),
}
"""Each prime is 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) * pi) + k) (RFC 3526)."""

MODP_OCTETS: Final[dict[int, int]] = {group: bits // 8 for group, (bits, _) in _BITS_AND_CONSTANT.items()}
"""Octets of a public value, and of a shared secret."""

_EXPONENT: Final = 64
"""Octets of a private exponent: above twice the strength of the largest group (RFC 3526 section 8)."""


@lru_cache
def prime(group: int) -> int:
    """Return the prime of *group*."""
    bits, constant = _BITS_AND_CONSTANT[Ke(group)]
    return int(2**bits - 2 ** (bits - 64) - 1 + 2**64 * (_scaled_pi(bits - 130) + constant))


def _scaled_pi(bits: int) -> int:
    """Return floor(2^bits * pi), by Machin's formula with 64 bits to spare."""
    one = 1 << (bits + 64)

    def arctan_of_inverse(x: int) -> int:
        term, total, n, sign = one // x, 0, 1, 1
        while term:
            total += sign * (term // n)
            term //= x * x
            n, sign = n + 2, -sign
        return total

    return (16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)) >> 64


class ModpAgreement:
    """A key pair of a MODP group, made of 64 octets from *random*."""

    def __init__(self, group: int, random: Callable[[int], bytes]) -> None:
        self.group = group
        self._length = MODP_OCTETS[group]
        self._prime = prime(group)
        exponent = int.from_bytes(random(_EXPONENT), "big") | 1 << (8 * _EXPONENT - 1)
        self._parameters = DHParameterNumbers(self._prime, 2)
        generator = DHPublicNumbers(2, self._parameters)
        # OpenSSL takes the public half of a private key on trust; it has no part in an exchange.
        self._private = DHPrivateNumbers(exponent, generator).private_key()
        self.public = self._private.exchange(generator.public_key()).rjust(self._length, b"\0")

    def shared(self, peer_public: bytes) -> bytes:
        """Return g^ir, padded to the length of the prime. Raises InvalidSyntax as `KeyAgreement.shared` does."""
        if len(peer_public) != self._length:
            raise InvalidSyntax(f"a public value of {len(peer_public)} octets, {self._length} are expected")
        value = int.from_bytes(peer_public, "big")
        if not 1 < value < self._prime - 1:
            raise InvalidSyntax("the public value is 0, 1, p-1 or larger")
        try:
            peer = DHPublicNumbers(value, self._parameters).public_key()
            return self._private.exchange(peer).rjust(self._length, b"\0")
        except ValueError as error:
            raise InvalidSyntax(f"the public value is refused: {error}") from None
