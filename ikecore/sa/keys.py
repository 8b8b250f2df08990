"""The keys of one IKE SA, and what they do to its messages."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ..crypto import IkeKeys, IkeSuite, Protection
from ..errors import LocalProtocolError
from ..events import IkeKeyMaterial, Role
from ..transport import LEAST_PACKET
from ..wire import Envelope
from ..wire.numbers import INITIATOR, Encr, Integ, name_of

__all__ = ["SMALL", "SaKeys", "Unsealed"]

SMALL = LEAST_PACKET - 32
"""Octets of a message that fits every packet, and is never sent in fragments."""


@attrs.define(eq=False)
class Unsealed:
    """A protected message before its octets are made, in whatever form: its header's fields and its plaintext."""

    keys: SaKeys
    exchange: int
    flags: int
    message_id: int
    inner_first: int
    plaintext: bytes = attrs.field(repr=False)

    @property
    def length(self) -> int:
        """Octets of the whole message; 0 where it is so short that it fits every packet."""
        octets = len(self.plaintext)
        return self.keys.suite.sealed_length(octets) if octets > SMALL else 0

    def whole(self) -> bytes:
        """Seal it in one piece."""
        return self.keys.seal(self.exchange, self.flags, self.message_id, self.inner_first, self.plaintext)

    def fragments(self, size: int, at_least: int) -> tuple[bytes, ...]:
        """Seal it in fragments."""
        return self.keys.seal_fragments(
            self.exchange, self.flags, self.message_id, self.inner_first, self.plaintext, size, at_least
        )


@attrs.define(eq=False)
class SaKeys:
    """Suite, nonces and keys of an IKE SA, and the two directions of SK protection (RFC 7296 section 3.14).

    The keys are kept as the octets that the key schedule made, and *sealed* is how many nonces of an AEAD are used.
    """

    role: Role
    spi_i: bytes
    spi_r: bytes
    suite: IkeSuite
    ni: bytes = attrs.field(repr=False)
    nr: bytes = attrs.field(repr=False)
    _octets: bytes = attrs.field(repr=False)
    _random: Callable[[int], bytes] = attrs.field(repr=False)
    _sealed: int = attrs.field(default=0, repr=False)

    @classmethod
    def make(
        cls,
        role: Role,
        spis: tuple[bytes, bytes],
        suite: IkeSuite,
        nonces: tuple[bytes, bytes],
        keys: IkeKeys,
        random: Callable[[int], bytes],
    ) -> SaKeys:
        """Put it together."""
        return cls(role, *spis, suite, *nonces, keys.joined(), random)

    @property
    def ike(self) -> IkeKeys:
        """The seven keys. Raises LocalProtocolError if they were forgotten."""
        return IkeKeys.cut(self.suite, self._remembered())

    def _remembered(self) -> bytes:
        if not self._octets:
            raise LocalProtocolError("the keys have been forgotten: their SA is gone")
        return self._octets

    # A handshake asks for one key at a time, so these are cut out alone: they lie at the ends of `IkeSuite.key_layout`.

    @property
    def sk_d(self) -> bytes:
        """What other keys are derived from. Raises LocalProtocolError as `ike` does."""
        return self._remembered()[: self.suite.prf_key_length]

    def sk_p(self, *, initiator: bool) -> bytes:
        """Return what authenticates the original initiator, SK_pi, or the responder, SK_pr; raises as `ike` does."""
        length = self.suite.prf_key_length
        octets = self._remembered()
        return octets[-2 * length : -length] if initiator else octets[-length:]

    def _protection(self, sealed_by_initiator: bool) -> Protection:
        """Make what one message needs: the original initiator seals with SK_ei and SK_ai, the responder with others."""
        suite = self.suite
        _, sk_ai, sk_ar, sk_ei, sk_er, _, _ = suite.key_layout.unpack(self._remembered())
        encr, integ = (sk_ei, sk_ai) if sealed_by_initiator else (sk_er, sk_ar)
        return Protection(suite, encr, integ, random=self._random, sealed=self._sealed)

    def seal(self, exchange: int, flags: int, message_id: int, inner_first: int, plaintext: bytes) -> bytes:
        """Return one whole protected message; the Initiator flag is added by our original role."""
        initiator = self.role == "initiator"
        sealing = self._protection(initiator)
        if initiator:
            flags |= INITIATOR
        try:
            return sealing.seal(self.spi_i, self.spi_r, exchange, flags, message_id, inner_first, plaintext)
        finally:
            self._sealed = sealing.sealed

    def seal_fragments(
        self, exchange: int, flags: int, message_id: int, inner_first: int, plaintext: bytes, size: int, at_least: int
    ) -> tuple[bytes, ...]:
        """Return the same message as *at_least* so many fragments of at most *size* octets (RFC 7383)."""
        initiator = self.role == "initiator"
        sealing = self._protection(initiator)
        if initiator:
            flags |= INITIATOR
        spis = self.spi_i, self.spi_r
        try:
            return sealing.seal_fragments(
                *spis, exchange, flags, message_id, inner_first, plaintext, size=size, at_least=at_least
            )
        finally:
            self._sealed = sealing.sealed

    def open(self, envelope: Envelope) -> bytes:
        """Return the plaintext payloads; IntegrityError if the ICV is wrong."""
        return self._protection(self.role != "initiator").open(envelope.data, envelope.body)

    def forget(self) -> None:
        """Let go of what could open or seal a message of this SA (RFC 7296 section 2.12)."""
        self._octets = b""

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
