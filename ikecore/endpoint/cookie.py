"""Stateless cookies (RFC 7296 section 2.6): the responder hands out a MAC and remembers nothing.

A cookie is a version octet and an HMAC over nonce, address and SPI. Ports stay out of it, since over TCP they change
from try to try and over UDP a NAT may change them (ENC-066). The secret changes; the one before is accepted as long
again.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

__all__ = ["CookieJar"]

_OCTETS = 32


class CookieJar:
    """Makes and checks cookies."""

    def __init__(self, random: Callable[[int], bytes], lifetime: float) -> None:
        self._random = random
        self._lifetime = lifetime
        self._version = 0
        self._secrets: dict[int, bytes] = {}
        self._changed = 0.0

    def bake(self, nonce: bytes, host: str, spi_i: bytes, now: float) -> bytes:
        """Return the cookie for this request: 33 octets."""
        self._turn(now)
        return self._cookie(self._version, nonce, host, spi_i)

    def accepts(self, cookie: bytes, nonce: bytes, host: str, spi_i: bytes, now: float) -> bool:
        """Tell whether *cookie* is one of ours for this request, and not too old."""
        self._turn(now)
        if len(cookie) != 1 + _OCTETS or cookie[0] not in self._secrets:
            return False
        return hmac.compare_digest(cookie, self._cookie(cookie[0], nonce, host, spi_i))

    def _cookie(self, version: int, nonce: bytes, host: str, spi_i: bytes) -> bytes:
        # Each part ends where it says: no nonce can pass for the end of another one and an address.
        octets = b"".join((spi_i, bytes((version, len(host))), host.encode(), nonce))
        return octets[8:9] + hmac.digest(self._secrets[version], octets, "sha256")

    def _turn(self, now: float) -> None:
        age = now - self._changed
        if self._secrets and age < self._lifetime:
            return
        before = self._version
        self._version = (before + 1) % 256
        kept = {before: self._secrets[before]} if before in self._secrets and age < 2 * self._lifetime else {}
        self._secrets = {**kept, self._version: self._random(_OCTETS)}
        self._changed = now
