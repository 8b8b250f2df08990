"""The raw framing: IKE messages back to back, delimited by the Length in their own headers.

Source: draft-ietf-ipsecme-ike-tcp-01 section 2.4. There is no prefix, no marker, no keepalive and no ESP. The draft
puts no bound on Length; here it is at least a header, and at most what the caller allows for that header.

A stream whose first header cannot be IKEv2 is refused as soon as the octet that says so is in: whatever speaks there
would be cut at random. Later headers need no such check: the caller's bound refuses those that it does not know, and a
caller that takes small messages unasked looks at each of them.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from ..errors import FramingError
from ..wire.header import HEADER_LENGTH
from .frames import Bound, Frame, Framing, unpack_header

__all__ = ["IkeTcpRules"]

_SPI_END = 8
_VERSION = 17
_LENGTH = 24

_unpack_length = struct.Struct("!I").unpack_from


class IkeTcpRules:
    """Cuts IKE messages out of a raw stream."""

    __slots__ = ("_admitted", "_bound", "_fresh", "_unasked", "wanted")
    framing: ClassVar[Framing] = Framing.IKE_TCP

    def __init__(self, bound: Bound, unasked: int = 0) -> None:
        self.wanted = _SPI_END
        self._bound = bound
        self._unasked = unasked
        self._admitted = False  # whether the message that is waited for has passed its bound
        self._fresh = True

    def cut(self, data: bytes, frames: list[Frame]) -> int:
        if self._fresh and not self._check_first(data):
            return 0
        pos = 0
        if self._admitted:
            self._admitted = False
            pos = self.wanted
            frames.append(data[:pos])
        unasked = self._unasked
        append = frames.append
        end = len(data)
        last = end - HEADER_LENGTH
        while pos <= last:
            (length,) = _unpack_length(data, pos + _LENGTH)
            if length < HEADER_LENGTH:
                raise FramingError(f"a message of {length} octets is shorter than its header", pos + _LENGTH)
            if length > unasked and length > self._bound(unpack_header(data, pos)):
                raise FramingError(f"a message of {length} octets is refused", pos + _LENGTH)
            stop = pos + length
            if stop > end:
                self._admitted = True
                self.wanted = length
                return pos
            append(data[pos:stop])
            pos = stop
        self.wanted = HEADER_LENGTH
        return pos

    def _check_first(self, data: bytes) -> bool:
        """Check what is there of the stream's first header; say whether all of it is."""
        if len(data) < _SPI_END:
            return False
        if not any(data[:_SPI_END]):
            raise FramingError("the initiator's SPI is zero", 0)
        if len(data) <= _VERSION:
            self.wanted = _VERSION + 1
            return False
        if data[_VERSION] >> 4 != 2:
            raise FramingError(f"the stream begins with major version {data[_VERSION] >> 4}", _VERSION)
        self.wanted = HEADER_LENGTH
        self._fresh = len(data) < HEADER_LENGTH
        return not self._fresh
