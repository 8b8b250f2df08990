"""Whole messages: header and chain. An `Envelope` is what can be said of a protected message before it is opened."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ..errors import LocalProtocolError
from ..record import record
from .chain import MAX_PAYLOADS, decode_payloads, encode_payloads
from .header import HEADER, HEADER_LENGTH, MAJOR_VERSION, Header, HeaderFields, triage
from .numbers import RESPONSE, Exchange, members
from .payloads import GENERIC, SEALED, Encrypted, EncryptedFragment, Payload, decode_encrypted_fragment

__all__ = ["Envelope", "decode_envelope", "decode_message", "encode_message"]

_EXCHANGES = members(Exchange)
_SEALED = HEADER_LENGTH + GENERIC.size
"""Where the content of an SK payload begins that is the first payload."""


@record
class Envelope:
    """A message as it came: what lies outside of the encryption, and what is encrypted.

    `payloads` are those before the encrypted one. `body` is the offset in `data`, the whole message, where the content
    of the encrypted payload begins, the IV; ``data[:body]`` is the associated data of an AEAD (RFC 5282 section 5.1).
    """

    header: Header
    payloads: list[Payload]
    encrypted: Encrypted | EncryptedFragment | None
    body: int
    data: bytes


def decode_envelope(
    data: bytes,
    *,
    most: int = MAX_PAYLOADS,
    fields: HeaderFields | None = None,
) -> Envelope:
    """Read a message up to what is encrypted in it. *fields* is what `triage` says of it, for whoever has that already.

    Raises InvalidSyntax where it is malformed or Length is not its length, InvalidMajorVersion for another version.
    """
    if fields is None:
        data = bytes(data)  # bytes are not copied by that
        fields = triage(data)
    header = _header(fields)
    if header.next_payload in SEALED and len(data) >= _SEALED:
        inner_first, _, length = GENERIC.unpack_from(data, HEADER_LENGTH)
        if length == len(data) - HEADER_LENGTH:  # what nearly every message is
            if header.next_payload == Encrypted.TYPE:
                return Envelope(header, [], Encrypted(inner_first, data[_SEALED:]), _SEALED, data)
            fragment = decode_encrypted_fragment(data, _SEALED, len(data), inner_first)
            return Envelope(header, [], fragment, len(data) - len(fragment.data), data)
    payloads = decode_payloads(header.next_payload, data, HEADER_LENGTH, len(data), most=most, outer=True)
    last = payloads[-1] if payloads else None
    if not isinstance(last, (Encrypted, EncryptedFragment)):
        return Envelope(header, payloads, None, len(data), data)
    payloads.pop()
    return Envelope(header, payloads, last, len(data) - len(last.data), data)


def decode_message(data: bytes, *, most: int = MAX_PAYLOADS) -> tuple[Header, list[Payload]]:
    """Read a message that is not encrypted. Raises as `decode_envelope` does, and InvalidSyntax if it is encrypted."""
    header = _header(triage(data))
    return header, decode_payloads(header.next_payload, data, HEADER_LENGTH, len(data), most=most)


def _header(fields: HeaderFields) -> Header:
    spi_i, spi_r, first, version, exchange, flags, message_id, length = fields
    return Header(spi_i, spi_r, first, version, _EXCHANGES.get(exchange, exchange), flags, message_id, length)


def encode_message(
    *, spi_i: bytes, spi_r: bytes, exchange: int, flags: int, message_id: int, payloads: Iterable[Payload]
) -> bytes:
    """Return the octets of a message that is not encrypted.

    Raises LocalProtocolError where something does not fit its field.
    """
    first, chain = encode_payloads(payloads, is_response=bool(flags & RESPONSE))
    length = HEADER_LENGTH + len(chain)
    if len(spi_i) != 8 or len(spi_r) != 8:
        raise LocalProtocolError("an IKE SPI has 8 octets")
    try:
        header = HEADER.pack(spi_i, spi_r, first, MAJOR_VERSION, exchange, flags, message_id, length)
    except struct.error as error:
        raise LocalProtocolError(f"header: {error}") from None
    return header + chain
