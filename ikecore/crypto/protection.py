"""The Encrypted payload and the Encrypted Fragment payload (RFC 7296 section 3.14, RFC 5282, RFC 7383 section 2.5).

    IKE header | SK or SKF header | IV | encrypted: payloads, padding, Pad Length | ICV
    <----------- data[:body] -------->

A whole message is sealed or opened at once. With an AEAD everything before the IV is associated data and the nonce is
the key's salt and the IV, a counter that only goes up. With CBC and HMAC the IV is random and the HMAC runs over all
before it.

An SA keeps nothing but its raw keys and a counter. The objects that OpenSSL makes of keys are many times larger than
the keys and cheap to make again, so a `Protection` lives in a `CipherCache` of bounded size that all SAs share.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hmac import HMAC

from ..errors import IntegrityError, InvalidSyntax, LocalProtocolError
from ..wire.numbers import Encr
from .prf import HASHES
from .suite import INTEGRITY, IkeSuite

__all__ = ["CipherCache", "Protection"]

_SK, _SKF = 46, 53
_HEADER_SK = struct.Struct("!8s8sBBBBIIBxH")  # IKE header and generic payload header
_HEADER_SKF = struct.Struct("!8s8sBBBBIIBxHHH")  # with fragment number and total
_VERSION = 0x20
_LARGEST = 0xFFFF
"""Largest payload: its length field has 16 bits."""

Aead = AESGCM | ChaCha20Poly1305
CbcHmac = tuple[AES, HMAC]
_AEADS: Final[Mapping[int, type[Aead]]] = {Encr.AES_GCM_16: AESGCM, Encr.CHACHA20_POLY1305: ChaCha20Poly1305}

Directions = tuple["Protection", "Protection"]
"""What seals and what opens the messages of one SA."""


class KeyOwner(Protocol):
    """Whoever has the raw keys of an SA."""

    def make_directions(self) -> Directions:
        """Make both directions, as far as the nonces have gone. Raises LocalProtocolError if the keys are forgotten."""


class CipherCache:
    """The protections of the SAs used last, at most those of *size* SAs."""

    def __init__(self, size: int = 1024) -> None:
        if size < 1:
            raise LocalProtocolError(f"size: {size} is too small for a cache of ciphers; the least is 1")
        self._size = size
        self._made: dict[KeyOwner, Directions] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, owner: KeyOwner) -> Directions:
        """Return those of *owner*, making them and letting go of those unused for longest where necessary."""
        made = self._made.pop(owner, None)
        if made is None:
            made = owner.make_directions()
            if len(self._made) >= self._size:
                del self._made[next(iter(self._made))]
        self._made[owner] = made
        return made

    def forget(self, owner: KeyOwner) -> None:
        """Let go of those of *owner*, if there are any."""
        self._made.pop(owner, None)


class Protection:
    """One direction of an IKE SA: SK_ei and SK_ai seal what the original initiator sends, SK_er and SK_ar the rest.

    *encr_key* ends in the salt of an AEAD, whose *integ_key* is empty. *random* draws the IVs of CBC. With these keys
    *sealed* nonces of an AEAD have been used already.
    """

    __slots__ = ("_block", "_cipher", "_icv", "_iv", "_random", "_salt", "sealed")

    def __init__(
        self,
        suite: IkeSuite,
        encr_key: bytes,
        integ_key: bytes,
        *,
        random: Callable[[int], bytes],
        sealed: int = 0,
    ) -> None:
        if len(encr_key) != suite.encr_key_length or len(integ_key) != suite.integ_key_length:
            raise LocalProtocolError(
                f"keys of {len(encr_key)} and {len(integ_key)} octets; {suite} needs "
                f"{suite.encr_key_length} and {suite.integ_key_length}"
            )
        key_end = len(encr_key) - suite.cipher.salt
        self._salt = encr_key[key_end:]
        self._cipher = _cipher(suite, encr_key[:key_end], integ_key)
        self._random = random
        self.sealed = sealed
        """Nonces used so far."""
        self._iv, self._icv, self._block = suite.iv_length, suite.icv_length, suite.block

    # --- sealing ----------------------------------------------------------------------------------------------------

    def seal(
        self,
        spi_i: bytes,
        spi_r: bytes,
        exchange: int,
        flags: int,
        message_id: int,
        inner_first: int,
        plaintext: bytes,
    ) -> bytes:
        """Return one whole message whose only payload is SK.

        *plaintext* is the chain of inner payloads and *inner_first* the type of the first, 0 if there is none. Raises
        LocalProtocolError if that is more than one payload can hold.
        """
        padded = self._pad(plaintext)
        payload = 4 + self._iv + len(padded) + self._icv
        if payload > _LARGEST:
            raise LocalProtocolError(f"{len(plaintext)} octets of payloads do not fit one Encrypted payload")
        header = _HEADER_SK.pack(
            spi_i, spi_r, _SK, _VERSION, exchange, flags, message_id, 28 + payload, inner_first, payload
        )
        return self._protect(header, padded)

    def seal_fragments(
        self,
        spi_i: bytes,
        spi_r: bytes,
        exchange: int,
        flags: int,
        message_id: int,
        inner_first: int,
        plaintext: bytes,
        *,
        size: int,
        at_least: int = 1,
    ) -> tuple[bytes, ...]:
        """Return the messages that carry *plaintext* in *at_least* so many fragments, each of at most *size* octets.

        Only the first fragment names the type of the first inner payload (RFC 7383 section 2.5). Raises
        LocalProtocolError if *size* leaves no room, or if there would be more than 65535 fragments or octets.
        """
        room = self._fragment_room(size)
        if at_least > 1:
            if at_least > len(plaintext):
                raise LocalProtocolError(f"{len(plaintext)} octets do not make {at_least} fragments")
            room = min(room, (len(plaintext) - 1) // (at_least - 1))
        pieces = [plaintext[pos : pos + room] for pos in range(0, len(plaintext), room)] or [b""]
        total = len(pieces)
        if total > _LARGEST:
            raise LocalProtocolError(f"{total} fragments of {size} octets are too many; the most is {_LARGEST}")
        messages, first = [], inner_first
        for number, piece in enumerate(pieces, 1):
            padded = self._pad(piece)
            payload = 8 + self._iv + len(padded) + self._icv
            header = _HEADER_SKF.pack(
                spi_i, spi_r, _SKF, _VERSION, exchange, flags, message_id, 28 + payload, first, payload, number, total
            )
            messages.append(self._protect(header, padded))
            first = 0
        return tuple(messages)

    def _fragment_room(self, size: int) -> int:
        """Return the octets of plaintext that a fragment of *size* octets has room for."""
        encrypted = min(size, 28 + _LARGEST) - 36 - self._iv - self._icv
        room = encrypted - encrypted % self._block - 1
        if room < 1:
            raise LocalProtocolError(f"size: fragments of {size} octets have no room for any payload")
        return room

    def _pad(self, plaintext: bytes) -> bytes:
        """Append the least padding and its length. Its content has no meaning; zeros say the least."""
        padding = -(len(plaintext) + 1) % self._block
        return plaintext + bytes(padding) + bytes((padding,))

    def _protect(self, header: bytes, padded: bytes) -> bytes:
        cipher = self._cipher
        if isinstance(cipher, tuple):
            aes, keyed = cipher
            iv = self._random(self._iv)
            encryptor = Cipher(aes, modes.CBC(iv)).encryptor()
            message = header + iv + encryptor.update(padded)
            mac = keyed.copy()
            mac.update(message)
            return message + mac.finalize()[: self._icv]
        counter = self.sealed
        if counter >> 64:
            raise LocalProtocolError("every nonce of this key has been used")
        self.sealed = counter + 1
        iv = counter.to_bytes(8, "big")
        return header + iv + cipher.encrypt(self._salt + iv, padded, header)

    # --- opening ----------------------------------------------------------------------------------------------------

    def open(self, data: bytes, body: int) -> bytes:
        """Return the inner payloads of the message or fragment *data*, whose IV begins at octet *body*.

        Raises IntegrityError if the ICV is wrong, or missing: nobody we know sent it. InvalidSyntax means that the peer
        itself sent an impossible padding (RFC 7296 section 3.14).
        """
        start = body + self._iv
        if len(data) < start + self._block + self._icv:
            raise IntegrityError("the Encrypted payload is too short", body)
        cipher = self._cipher
        if isinstance(cipher, tuple):
            padded = self._open_cbc(cipher, data, body, start)
        else:
            try:
                padded = cipher.decrypt(self._salt + data[body:start], data[start:], data[:body])
            except InvalidTag:
                raise IntegrityError("the Integrity Check Value is wrong") from None
        kept = len(padded) - 1 - padded[-1]
        if kept < 0:
            raise InvalidSyntax(f"Pad Length {padded[-1]} is more than was encrypted")
        return padded[:kept]

    def _open_cbc(self, cipher: CbcHmac, data: bytes, body: int, start: int) -> bytes:
        aes, keyed = cipher
        end = len(data) - self._icv
        mac = keyed.copy()
        mac.update(data[:end])
        if not bytes_eq(mac.finalize()[: self._icv], data[end:]):
            raise IntegrityError("the Integrity Check Value is wrong")
        if (end - start) % self._block:
            raise InvalidSyntax(f"{end - start} encrypted octets are no multiple of the cipher's block", start)
        return Cipher(aes, modes.CBC(data[body:start])).decryptor().update(data[start:end])


def _cipher(suite: IkeSuite, encr_key: bytes, integ_key: bytes) -> Aead | CbcHmac:
    if suite.integ is None:
        return _AEADS[suite.encr](encr_key)
    return AES(encr_key), HMAC(integ_key, HASHES[INTEGRITY[suite.integ].hash])
