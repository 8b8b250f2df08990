"""Notify and Delete payloads (RFC 7296 sections 3.10 and 3.11). What notification data mean is in `notify_data`."""

from __future__ import annotations

import struct
from typing import ClassVar, Final

from ..errors import InvalidSyntax, LocalProtocolError
from ..record import record
from .numbers import Notify, Protocol, members

__all__ = ["FIRST_STATUS", "Delete", "Notification", "decode_delete", "decode_notification"]

FIRST_STATUS: Final = 16384
"""Notify types below this are errors."""

_FIXED = struct.Struct("!BBH")  # protocol, SPI size, and the notify type or the number of SPIs
_NOTIFIES = members(Notify)
_PROTOCOLS = members(Protocol)
_SPI_SIZES: Final[dict[int, int]] = {Protocol.IKE: 0, Protocol.AH: 4, Protocol.ESP: 4}


@record
class Notification:
    """Notify payload (RFC 7296 section 3.10). Without an SPI the protocol means nothing: it is sent and read as 0."""

    TYPE: ClassVar[int] = 41
    notify_type: int
    data: bytes = b""
    protocol: int = 0
    spi: bytes = b""

    @property
    def is_error(self) -> bool:
        """Whether the type is in the range of errors."""
        return self.notify_type < FIRST_STATUS

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        if not self.spi:
            return _FIXED.pack(0, 0, self.notify_type) + self.data
        return _FIXED.pack(self.protocol, len(self.spi), self.notify_type) + self.spi + self.data


@record
class Delete:
    """Delete payload (RFC 7296 section 3.11): no SPI for the IKE SA itself, SPIs of 4 octets for AH and ESP."""

    TYPE: ClassVar[int] = 42
    protocol: int
    spis: tuple[bytes, ...] = ()

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        size = _SPI_SIZES.get(self.protocol, len(self.spis[0]) if self.spis else 0)
        if any(len(spi) != size or not size for spi in self.spis):
            raise LocalProtocolError(f"{self}: every SPI has {size} octets")
        return _FIXED.pack(self.protocol, size, len(self.spis)) + b"".join(self.spis)


def decode_notification(data: bytes, pos: int, end: int) -> Notification:
    """Read an N payload body; raises InvalidSyntax if it is cut off. The data are not looked at."""
    if end - pos < 4:
        raise InvalidSyntax("notify payload too short", pos)
    protocol, spi_size, kind = _FIXED.unpack_from(data, pos)
    if not spi_size:
        return Notification(_NOTIFIES.get(kind, kind), data[pos + 4 : end])
    start = pos + 4 + spi_size
    if start > end:
        raise InvalidSyntax(f"notify payload says its SPI is {spi_size} octets long", pos + 1)
    protocol = _PROTOCOLS.get(protocol, protocol)
    return Notification(_NOTIFIES.get(kind, kind), data[start:end], protocol, data[pos + 4 : start])


def decode_delete(data: bytes, pos: int, end: int) -> Delete:
    """Read a D payload body; raises InvalidSyntax for an SPI size wrong for the protocol, or a wrong number of SPIs."""
    if end - pos < 4:
        raise InvalidSyntax("delete payload too short", pos)
    protocol, size, count = _FIXED.unpack_from(data, pos)
    if size != _SPI_SIZES.get(protocol, size):
        raise InvalidSyntax(f"delete payload for protocol {protocol} with SPIs of {size} octets", pos + 1)
    if size * count != end - pos - 4 or (count and not size):
        raise InvalidSyntax(f"delete payload says it has {count} SPIs of {size} octets", pos + 2)
    spis = tuple([data[start : start + size] for start in range(pos + 4, end, size or 1)])
    return Delete(_PROTOCOLS.get(protocol, protocol), spis)
