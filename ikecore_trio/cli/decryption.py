"""Encrypted messages of a capture to their payloads, with keys from a table."""

from __future__ import annotations

import attrs

from ikecore.crypto import IkeSuite, Protection
from ikecore.errors import LocalProtocolError, RemoteProtocolError
from ikecore.wire import Encrypted, EncryptedFragment, Envelope, decode_envelope, decode_payloads, match
from ikecore.wire.describe import Description, describe_chain
from ikecore.wire.numbers import Encr, Integ, Ke, Prf, members

from .key_table import KeyRow

__all__ = ["Decryption", "Opened"]

FRAGMENT_SETS = 1024
"""Messages at most whose fragments are kept while some are missing."""

SetKey = tuple[bytes, bytes, int, bool, bool]


@attrs.define
class Opened:
    """What became of the encrypted part of a message.

    *problem* is a fault, found at *octet* of the message; *note* says why there is nothing to see, without a fault.
    """

    parts: list[Description] = attrs.field(factory=list)
    note: str = ""
    missing_keys: bool = False
    problem: str = ""
    octet: int | None = None
    shape_problem: str = ""


@attrs.define
class FragmentSet:
    """Fragments of one message that have been decrypted."""

    total: int
    pieces: dict[int, bytes] = attrs.field(factory=dict)
    first: int = 0


class Decryption:
    """Decrypts messages of any number of IKE SAs, each direction with its own keys."""

    def __init__(self, keys: dict[tuple[bytes, bytes], KeyRow]) -> None:
        self._keys = keys
        self._made: dict[tuple[bytes, bytes, bool], Protection] = {}
        self._sets: dict[SetKey, FragmentSet] = {}

    def open(self, data: bytes) -> Opened | None:
        """Return what is encrypted in a message, None where nothing is. Raises as `decode_envelope` does."""
        envelope = decode_envelope(data)
        header = envelope.header
        encrypted = envelope.encrypted
        if encrypted is None:
            return None
        row = self._keys.get((header.spi_i, header.spi_r))
        if row is None:
            return Opened(note="encrypted; the key table has no row for these SPIs", missing_keys=True)
        try:
            protection = self._protection(row, header.is_initiator)
        except LocalProtocolError as error:
            return Opened(note=f"encrypted, and not decrypted: {error}")
        try:
            plaintext = protection.open(data, envelope.body)
        except RemoteProtocolError as error:
            return Opened(problem=error.message, octet=envelope.body if error.octet is None else error.octet)
        if isinstance(encrypted, EncryptedFragment):
            return self._fragment(envelope, encrypted, plaintext)
        return opened_chain(envelope, encrypted, plaintext)

    def _protection(self, row: KeyRow, initiator: bool) -> Protection:
        key = (row.spi_i, row.spi_r, initiator)
        if key not in self._made:
            keys = (row.sk_ei, row.sk_ai) if initiator else (row.sk_er, row.sk_ar)
            self._made[key] = Protection(suite_of(row), *keys, random=bytes)
        return self._made[key]

    def _fragment(self, envelope: Envelope, fragment: EncryptedFragment, plaintext: bytes) -> Opened:
        """Keep a fragment; describe the whole message with the one that completes it."""
        header = envelope.header
        key = (header.spi_i, header.spi_r, header.message_id, header.is_response, header.is_initiator)
        if key not in self._sets and len(self._sets) >= FRAGMENT_SETS:
            del self._sets[next(iter(self._sets))]
        known = self._sets.get(key)
        words = f"fragment {fragment.number} of {fragment.total}: {len(plaintext)} octets decrypted"
        if known is None or known.total < fragment.total:
            known = self._sets[key] = FragmentSet(fragment.total)
        elif known.total > fragment.total:
            return Opened(note=f"{words}; the sender has begun anew with {known.total} smaller ones")
        known.pieces[fragment.number] = plaintext
        if fragment.number == 1:
            known.first = fragment.inner_first
        if len(known.pieces) < known.total:
            return Opened(note=words)
        del self._sets[key]
        whole = b"".join([known.pieces[number] for number in sorted(known.pieces)])
        opened = opened_chain(envelope, Encrypted(known.first, b""), whole)
        opened.note = f"{words}; all are there, and make {len(whole)} octets"
        return opened


def opened_chain(envelope: Envelope, encrypted: Encrypted, plaintext: bytes) -> Opened:
    """Describe decrypted payloads, and say where the message as a whole has not the shape of its exchange."""
    opened = Opened(list(describe_chain(encrypted.inner_first, plaintext, 0, len(plaintext))))
    if not opened.parts:
        opened.note = "decrypted: there is no payload inside"
    if any(part.error is not None for part in opened.parts):
        return opened
    try:
        inner = decode_payloads(encrypted.inner_first, plaintext, 0, len(plaintext))
        match(envelope.header.exchange, envelope.header.is_response, [*envelope.payloads, *inner])
    except RemoteProtocolError as error:
        opened.shape_problem = error.message
    return opened


def suite_of(row: KeyRow) -> IkeSuite:
    """Return the algorithms of a row; PRF and key exchange have no part in decryption. Raises LocalProtocolError."""
    name, _, bits = row.encryption.partition("-")
    ciphers = {Encr(number).name: number for number in members(Encr)}
    macs = {Integ(number).name: number for number in members(Integ)}
    if name not in ciphers or (bits and not bits.isdigit()):
        raise LocalProtocolError(f"{row.encryption} is not known here")
    if row.integrity not in macs:
        raise LocalProtocolError(f"{row.integrity} is not known here")
    integrity = None if row.integrity == "NONE" else macs[row.integrity]
    return IkeSuite(ciphers[name], int(bits or 0), Prf.HMAC_SHA2_256, integrity, Ke.CURVE25519)
