"""The IKE header (RFC 7296 section 3.1): 28 octets before the first payload."""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from ..errors import InvalidMajorVersion, InvalidSyntax
from ..record import record
from .numbers import INITIATOR, RESPONSE, Exchange, members

__all__ = ["HEADER", "HEADER_LENGTH", "Header", "HeaderFields", "decode_header", "triage"]

HEADER: Final = struct.Struct("!8s8sBBBBII")
"""SPIi, SPIr, next payload, version, exchange type, flags, Message ID, Length."""
HEADER_LENGTH: Final = 28
MAJOR_VERSION: Final = 0x20

HeaderFields: TypeAlias = tuple[bytes, bytes, int, int, int, int, int, int]
"""The fields of a header in their order, see `HEADER`."""

_NO_SPI: Final = bytes(8)
_EXCHANGES = members(Exchange)


@record
class Header:
    """The IKE header (RFC 7296 section 3.1). `length` counts the octets of the whole message, header included."""

    spi_i: bytes
    spi_r: bytes
    next_payload: int
    version: int
    exchange: int
    flags: int
    message_id: int
    length: int

    @property
    def is_initiator(self) -> bool:
        """Whether the sender is the original initiator of the IKE SA."""
        return bool(self.flags & INITIATOR)

    @property
    def is_response(self) -> bool:
        """Whether this is a response."""
        return bool(self.flags & RESPONSE)

    @property
    def is_request(self) -> bool:
        """Whether this is a request."""
        return not self.flags & RESPONSE

    def encode(self) -> bytes:
        """Return the 28 octets."""
        return HEADER.pack(
            self.spi_i,
            self.spi_r,
            self.next_payload,
            self.version,
            self.exchange,
            self.flags,
            self.message_id,
            self.length,
        )


def decode_header(data: bytes, pos: int = 0) -> Header:
    """Read the header at *pos*. `Length` is not compared with anything: *data* may be the beginning of a stream.

    Raises InvalidSyntax for fewer than 28 octets or a zero initiator SPI, and InvalidMajorVersion for a major version
    other than 2 (RFC 7296 section 2.5); a minor version is ignored.
    """
    if len(data) - pos < HEADER_LENGTH:
        raise InvalidSyntax(f"{len(data) - pos} octets are no IKE header", len(data))
    spi_i, spi_r, first, version, exchange, flags, message_id, length = HEADER.unpack_from(data, pos)
    if version & 0xF0 != MAJOR_VERSION:
        raise InvalidMajorVersion(version, pos + 17)
    if spi_i == _NO_SPI:
        raise InvalidSyntax("the initiator's SPI is zero", pos)
    return Header(spi_i, spi_r, first, version, _EXCHANGES.get(exchange, exchange), flags, message_id, length)


def triage(data: bytes) -> HeaderFields:
    """Check a whole message by its header and return the header's fields in their order, without making an object.

    Raises as `decode_header` does, and InvalidSyntax where Length is not the length of *data*.
    """
    if len(data) < HEADER_LENGTH:
        raise InvalidSyntax(f"{len(data)} octets are no IKE header", len(data))
    fields = HEADER.unpack_from(data)
    if fields[7] != len(data):
        raise InvalidSyntax(f"the header says {fields[7]} octets, the message has {len(data)}", 24)
    if fields[3] & 0xF0 != MAJOR_VERSION:
        raise InvalidMajorVersion(fields[3], 17)
    if fields[0] == _NO_SPI:
        raise InvalidSyntax("the initiator's SPI is zero", 0)
    return fields
