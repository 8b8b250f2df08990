"""A peer that is hostile past decryption: it has the keys, so that what it changes or makes up has a valid ICV.

insider = Insider(pair.initiator)
insider.rewrite(lambda header, payloads: [each for each in payloads if each.TYPE != 39])     # no AUTH any more
pair.network.send(insider.seal("initiator", Exchange.INFORMATIONAL, 2, []), source=..., destination=...)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ..crypto import IkeSuite, Protection
from ..events import IkeKeyMaterial, IkeKeysDerived, Role
from ..wire import Envelope, Header, Payload, decode_envelope, decode_payloads, encode_payloads
from ..wire.numbers import INITIATOR, RESPONSE, Encr, Integ, Ke, Prf
from .links import NetworkError, Packet
from .network import Host

__all__ = ["Insider", "Rewrite"]

Rewrite = Callable[[Header, list[Payload]], Sequence[Payload] | bytes | None]
"""Takes the header and the decrypted payloads of a message and returns those to send in their place; octets replace the
whole plaintext, its first payload keeping its type; None lets the message vanish."""

MARKER = bytes(4)


class Insider:
    """Knows the keys of every SA of *host*, which has to be traced (`Config.trace`)."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def keys(self) -> IkeKeyMaterial:
        """The keys derived last. Raises `NetworkError` if there are none yet."""
        return self._keys(None)

    def open(self, data: bytes) -> tuple[Header, list[Payload]]:
        """Return header and payloads of a message without marker, decrypted if it is protected."""
        envelope = decode_envelope(data)
        first, plaintext = self._open(envelope)
        return envelope.header, [*envelope.payloads, *decode_payloads(first, plaintext, 0, len(plaintext))]

    def seal(
        self,
        role: Role,
        exchange: int,
        message_id: int,
        payloads: Sequence[Payload],
        *,
        is_response: bool = False,
        keys: IkeKeyMaterial | None = None,
    ) -> bytes:
        """Return a protected message as the original *role* would send it, without marker."""
        first, plaintext = encode_payloads(payloads)
        return self.seal_octets(role, exchange, message_id, first, plaintext, is_response=is_response, keys=keys)

    def seal_octets(
        self,
        role: Role,
        exchange: int,
        message_id: int,
        first: int,
        plaintext: bytes,
        *,
        is_response: bool = False,
        keys: IkeKeyMaterial | None = None,
    ) -> bytes:
        """Return a protected message of any plaintext, whose first payload has the type *first*."""
        keys = self.keys if keys is None else keys
        flags = (INITIATOR if role == "initiator" else 0) | (RESPONSE if is_response else 0)
        protection = _protection(keys, role)
        return protection.seal(keys.spi_i, keys.spi_r, exchange, flags, message_id, first, plaintext)

    def rewrite(self, change: Rewrite, *, source: str | None = None) -> Callable[[], None]:
        """Change every protected message on the wire, or those from *source*. Returns what ends it.

        Sees a message of a stream only if it comes in one piece.
        """
        network = self._host.network

        def mangle(packet: Packet, data: bytes) -> bytes | None:
            if source not in (None, packet.source[0]):
                return data
            marker = MARKER if packet.transport == "udp" and data.startswith(MARKER) else b""
            envelope = decode_envelope(data[len(marker) :])
            if envelope.encrypted is None:
                return data
            changed = self._rewritten(envelope, change)
            return None if changed is None else marker + changed

        network.manglers.append(mangle)
        return lambda: network.manglers.remove(mangle)

    def _rewritten(self, envelope: Envelope, change: Rewrite) -> bytes | None:
        header = envelope.header
        first, plaintext = self._open(envelope)
        payloads = [*envelope.payloads, *decode_payloads(first, plaintext, 0, len(plaintext))]
        changed = change(header, payloads)
        if changed is None or changed is payloads:
            return None if changed is None else envelope.data
        role: Role = "initiator" if header.flags & INITIATOR else "responder"
        if not isinstance(changed, bytes):
            first, changed = encode_payloads(changed)
        return self.seal_octets(
            role,
            header.exchange,
            header.message_id,
            first,
            changed,
            is_response=bool(header.flags & RESPONSE),
            keys=self._keys(header),
        )

    def _open(self, envelope: Envelope) -> tuple[int, bytes]:
        if envelope.encrypted is None:
            return 0, b""
        role: Role = "initiator" if envelope.header.flags & INITIATOR else "responder"
        protection = _protection(self._keys(envelope.header), role)
        return envelope.encrypted.inner_first, protection.open(envelope.data, envelope.body)

    def _keys(self, header: Header | None) -> IkeKeyMaterial:
        for event in reversed(self._host.events):
            if isinstance(event, IkeKeysDerived):
                keys = event.export_keys()
                if header is None or (keys.spi_i, keys.spi_r) == (header.spi_i, header.spi_r):
                    return keys
        raise NetworkError(f"{self._host.name} has told no keys for this message; is it traced?")


def _protection(keys: IkeKeyMaterial, role: Role) -> Protection:
    """Return what seals and opens messages of *role*. Group and PRF play no part in it."""
    name, _, bits = keys.encryption.partition("-")
    integ = None if keys.integrity == "NONE" else Integ[keys.integrity]
    suite = IkeSuite(Encr[name], int(bits or 0), Prf.HMAC_SHA2_256, integ, Ke.CURVE25519)
    encr_key, integ_key = (keys.sk_ei, keys.sk_ai) if role == "initiator" else (keys.sk_er, keys.sk_ar)
    return Protection(suite, encr_key, integ_key, random=random.Random(encr_key).randbytes)
