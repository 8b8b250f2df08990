"""The keys of one IKE SA, and what they do to its messages."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ..crypto import CipherCache, IkeKeys, IkeSuite, Protection
from ..events import IkeKeyMaterial, Role
from ..wire import Envelope
from ..wire.numbers import INITIATOR, Encr, Integ, name_of

__all__ = ["SaKeys", "Unsealed"]


@attrs.frozen(eq=False)
class Unsealed:
    """A protected message before its octets are made, in whatever form: its header's fields and its plaintext."""

    keys: SaKeys
    exchange: int
    flags: int
    message_id: int
    inner_first: int
    plaintext: bytes = attrs.field(repr=False)

    def whole(self) -> bytes:
        """Seal it in one piece."""
        return self.keys.seal(self.exchange, self.flags, self.message_id, self.inner_first, self.plaintext)

    def fragments(self, size: int, at_least: int) -> tuple[bytes, ...]:
        """Seal it in fragments."""
        return self.keys.seal_fragments(
            self.exchange, self.flags, self.message_id, self.inner_first, self.plaintext, size, at_least
        )


@attrs.define
class SaKeys:
    """Suite, nonces and keys of an IKE SA, and the two directions of SK protection (RFC 7296 section 3.14)."""

    role: Role
    spi_i: bytes
    spi_r: bytes
    suite: IkeSuite
    ni: bytes = attrs.field(repr=False)
    nr: bytes = attrs.field(repr=False)
    ike: IkeKeys = attrs.field(repr=False)
    _sealing: Protection = attrs.field(repr=False)
    _opening: Protection = attrs.field(repr=False)

    @classmethod
    def make(
        cls,
        role: Role,
        spis: tuple[bytes, bytes],
        suite: IkeSuite,
        nonces: tuple[bytes, bytes],
        keys: IkeKeys,
        ciphers: CipherCache,
        random: Callable[[int], bytes],
    ) -> SaKeys:
        """Put the two directions together: the original initiator seals with SK_ei and SK_ai."""
        from_i = Protection(suite, keys.sk_ei, keys.sk_ai, ciphers=ciphers, random=random)
        from_r = Protection(suite, keys.sk_er, keys.sk_ar, ciphers=ciphers, random=random)
        ours, theirs = (from_i, from_r) if role == "initiator" else (from_r, from_i)
        return cls(role, spis[0], spis[1], suite, nonces[0], nonces[1], keys, ours, theirs)

    def seal(self, exchange: int, flags: int, message_id: int, inner_first: int, plaintext: bytes) -> bytes:
        """Return one whole protected message; the Initiator flag is added by our original role."""
        if self.role == "initiator":
            flags |= INITIATOR
        return self._sealing.seal(self.spi_i, self.spi_r, exchange, flags, message_id, inner_first, plaintext)

    def seal_fragments(
        self, exchange: int, flags: int, message_id: int, inner_first: int, plaintext: bytes, size: int, at_least: int
    ) -> tuple[bytes, ...]:
        """Return the same message as *at_least* so many fragments of at most *size* octets (RFC 7383)."""
        if self.role == "initiator":
            flags |= INITIATOR
        return self._sealing.seal_fragments(
            self.spi_i,
            self.spi_r,
            exchange,
            flags,
            message_id,
            inner_first,
            plaintext,
            size=size,
            at_least=at_least,
        )

    def open(self, envelope: Envelope) -> bytes:
        """Return the plaintext payloads; IntegrityError if the ICV is wrong."""
        return self._opening.open(envelope.data, envelope.body)

    def forget(self) -> None:
        """Let go of what could open or seal a message of this SA (RFC 7296 section 2.12)."""
        self._sealing.forget()
        self._opening.forget()

    def export(self) -> IkeKeyMaterial:
        """Hand out everything, with the names that a dissector knows."""
        suite, keys = self.suite, self.ike
        encryption = name_of(Encr, suite.encr) + (f"-{suite.key_bits}" if suite.key_bits else "")
        integrity = "NONE" if suite.integ is None else name_of(Integ, suite.integ)
        return IkeKeyMaterial(
            self.spi_i,
            self.spi_r,
            encryption,
            integrity,
            keys.sk_d,
            keys.sk_ai,
            keys.sk_ar,
            keys.sk_ei,
            keys.sk_er,
            keys.sk_pi,
            keys.sk_pr,
        )
