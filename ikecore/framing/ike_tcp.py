"""The raw framing: IKE messages back to back, delimited by the Length in their own headers.

Source: draft-ietf-ipsecme-ike-tcp-01 section 2.4. There is no prefix, no marker, no keepalive and no ESP. The draft
puts no bound on Length; here it is at least a header, and at most what the caller allows for that header.

A stream whose first header cannot be IKEv2 is refused as soon as the octet that says so is in: whatever speaks there
would be cut at random. Later headers need no such check, since the caller's bound refuses those it does not know.
"""

from __future__ import annotations

from typing import ClassVar

from ikecore.errors import FramingError

from .frames import HEADER_SIZE, Bound, Frame, Framing, unpack_header

__all__ = ["IkeTcpRules"]

_SPI_END = 8
_VERSION = 17
_LENGTH = 24


class IkeTcpRules:
    """Cuts IKE messages out of a raw stream."""

    __slots__ = ("_bound", "wanted")
    framing: ClassVar[Framing] = Framing.IKE_TCP

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self.wanted = _SPI_END

    def cut(self, data: bytes, pos: int, frames: list[Frame]) -> int:
        if self.wanted != HEADER_SIZE:
            return pos
        bound = self._bound
        append = frames.append
        end = len(data)
        last = end - HEADER_SIZE
        while pos <= last:
            header = unpack_header(data, pos)
            length = header[7]
            stop = pos + length
            if stop > end or length < HEADER_SIZE:
                break
            if length > bound(header):
                raise _refused(length, pos)
            append(data[pos:stop])
            pos = stop
        return pos

    def examine(self, held: bytearray, frames: list[Frame]) -> int:
        size = len(held)
        if size < HEADER_SIZE:
            return self._examine_first(held, size)
        if size == HEADER_SIZE:
            header = unpack_header(held, 0)
            length = header[7]
            if length < HEADER_SIZE:
                raise FramingError(f"a message of {length} octets is shorter than its header", _LENGTH)
            if length > self._bound(header):
                raise _refused(length, 0)
            if length > size:
                return length
        self.wanted = HEADER_SIZE
        frames.append(bytes(held))
        return 0

    def _examine_first(self, held: bytearray, size: int) -> int:
        """Check what is there of the stream's first header."""
        if size == _SPI_END:
            if not any(held):
                raise FramingError("the initiator's SPI is zero", 0)
            return _VERSION + 1
        if held[_VERSION] >> 4 != 2:
            raise FramingError(f"the stream begins with major version {held[_VERSION] >> 4}", _VERSION)
        return HEADER_SIZE


def _refused(length: int, start: int) -> FramingError:
    return FramingError(f"a message of {length} octets is refused", start + _LENGTH)
