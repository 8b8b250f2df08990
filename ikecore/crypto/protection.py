"""The Encrypted payload and the Encrypted Fragment payload (RFC 7296 section 3.14, RFC 5282, RFC 7383 section 2.5).

    IKE header | SK or SKF header | IV | encrypted: payloads, padding, Pad Length | ICV
    <----------- data[:body] -------->

A whole message is sealed or opened at once. With an AEAD everything before the IV is associated data and the nonce is
the key's salt and the IV, a counter that only goes up. With CBC and HMAC the IV is random and the HMAC runs over all
before it.

An SA keeps nothing but its raw keys and a counter. What OpenSSL makes of a key is 2.5 KiB that are made in less than a
microsecond. To keep it for every SA takes more memory than the SA, and to keep it for those used last takes as long,
where there are many, as to make it again. So a `Protection` is made for one message and let go.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

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

__all__ = ["Protection"]

_SK, _SKF = 46, 53
_HEADER_SK = struct.Struct("!8s8sBBBBIIBxH")  # IKE header and generic payload header
_HEADER_SKF = struct.Struct("!8s8sBBBBIIBxHHH")  # with fragment number and total
_VERSION = 0x20
_LARGEST = 0xFFFF
"""Largest payload: its length field has 16 bits."""

_PADDING = tuple(bytes(length) + bytes((length,)) for length in range(16))
"""Padding and its length, by its length."""

Aead = AESGCM | ChaCha20Poly1305
CbcHmac = tuple[AES, HMAC]
_AEADS: Mapping[int, type[Aead]] = {Encr.AES_GCM_16: AESGCM, Encr.CHACHA20_POLY1305: ChaCha20Poly1305}


class Protection:
    """One direction of an IKE SA: SK_ei and SK_ai seal what the original initiator sends, SK_er and SK_ar the rest.

    *encr_key* ends in the salt of an AEAD, whose *integ_key* is empty. *random* draws the IVs of CBC. With these keys
    *sealed* nonces of an AEAD have been used already.
    """

    __slots__ = (
        "_cipher",
        "_random",
        "_salt",
        "_suite",
        "sealed",
    )

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
        self._suite = suite
        self._cipher: Aead | CbcHmac
        if suite.integ is None:
            key_end = len(encr_key) - suite.cipher.salt
            self._salt = encr_key[key_end:]
            self._cipher = _AEADS[suite.encr](encr_key[:key_end])
        else:
            self._cipher = AES(encr_key), HMAC(integ_key, HASHES[INTEGRITY[suite.integ].hash])
        self._random = random
        self.sealed = sealed
        """Nonces used so far."""

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
        suite, padded = self._suite, self._pad(plaintext)
        payload = 4 + suite.iv_length + len(padded) + suite.icv_length
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
            payload = 8 + self._suite.iv_length + len(padded) + self._suite.icv_length
            header = _HEADER_SKF.pack(
                spi_i, spi_r, _SKF, _VERSION, exchange, flags, message_id, 28 + payload, first, payload, number, total
            )
            messages.append(self._protect(header, padded))
            first = 0
        return tuple(messages)

    def _fragment_room(self, size: int) -> int:
        """Return the octets of plaintext that a fragment of *size* octets has room for."""
        suite = self._suite
        encrypted = min(size, 28 + _LARGEST) - 36 - suite.iv_length - suite.icv_length
        room = encrypted - encrypted % suite.block - 1
        if room < 1:
            raise LocalProtocolError(f"size: fragments of {size} octets have no room for any payload")
        return room

    def _pad(self, plaintext: bytes) -> bytes:
        """Append the least padding and its length. Its content has no meaning; zeros say the least."""
        return plaintext + _PADDING[-(len(plaintext) + 1) % self._suite.block]

    def _protect(self, header: bytes, padded: bytes) -> bytes:
        cipher = self._cipher
        if isinstance(cipher, tuple):
            aes, keyed = cipher
            iv = self._random(self._suite.iv_length)
            encryptor = Cipher(aes, modes.CBC(iv)).encryptor()
            message = header + iv + encryptor.update(padded)
            mac = keyed.copy()
            mac.update(message)
            return message + mac.finalize()[: self._suite.icv_length]
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
        suite = self._suite
        start = body + suite.iv_length
        if len(data) < start + suite.block + suite.icv_length:
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
        icv = self._suite.icv_length
        end = len(data) - icv
        mac = keyed.copy()
        mac.update(data[:end])
        if not bytes_eq(mac.finalize()[:icv], data[end:]):
            raise IntegrityError("the Integrity Check Value is wrong")
        if (end - start) % self._suite.block:
            raise InvalidSyntax(f"{end - start} encrypted octets are no multiple of the cipher's block", start)
        return Cipher(aes, modes.CBC(data[body:start])).decryptor().update(data[start:end])
