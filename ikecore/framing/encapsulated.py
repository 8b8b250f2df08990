"""The encapsulated framing of RFC 9329 section 3: a 16-bit length that counts itself, then IKE or ESP.

    length  what follows                             what is done
    0, 1    impossible                               fatal for the stream
    2       nothing                                  dropped
    3..5    a NAT keepalive, 0xFF, or too little     dropped
            for the word that tells IKE from ESP
    6..     four zero octets, then less than an      dropped
            IKE header
    34..    four zero octets, then an IKE message    handed up
    6..     an ESP packet: its SPI is not zero       handed up

The length delimits the unit. Whether the Length inside the IKE header agrees with it is for whoever decodes the
message: a fault there spoils that message and not the stream.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from ikecore.errors import FramingError

from .frames import HEADER_SIZE, Bound, EspPacket, Frame, Framing, unpack_header

__all__ = ["LENGTH_SIZE", "MARKER", "MAX_ESP", "MAX_IKE", "EncapsulatedRules"]

LENGTH_SIZE = 2
MARKER = b"\0\0\0\0"
_HEAD = LENGTH_SIZE + len(MARKER)
_FULL = _HEAD + HEADER_SIZE

MAX_ESP = 0xFFFF - LENGTH_SIZE
"""The largest ESP packet that the length can express, in octets."""
MAX_IKE = 0xFFFF - _HEAD
"""The largest IKE message that the length can express, in octets."""

_unpack_head = struct.Struct("!HI").unpack_from


class EncapsulatedRules:
    """Cuts IKE messages and ESP packets out of an encapsulated stream, after the prefix if there is one."""

    __slots__ = ("_bound", "_esp_bound", "wanted")
    framing: ClassVar[Framing] = Framing.ENCAPSULATED

    def __init__(self, bound: Bound, esp_bound: int = MAX_ESP) -> None:
        self._bound = bound
        self._esp_bound = esp_bound
        self.wanted = LENGTH_SIZE

    def cut(self, data: bytes, pos: int, frames: list[Frame]) -> int:
        bound = self._bound
        append = frames.append
        end = len(data)
        last = end - _HEAD
        while pos <= last:
            length, marker = _unpack_head(data, pos)
            stop = pos + length
            if stop > end or length < _HEAD:
                break
            if marker:
                if length - LENGTH_SIZE > self._esp_bound:
                    raise _refused("an ESP packet", length - LENGTH_SIZE, pos)
                append(EspPacket(data[pos + LENGTH_SIZE : stop]))
            elif length >= _FULL:
                if length - _HEAD > bound(unpack_header(data, pos + _HEAD)):
                    raise _refused("a message", length - _HEAD, pos)
                append(data[pos + _HEAD : stop])
            pos = stop
        return pos

    def examine(self, held: bytearray, frames: list[Frame]) -> int:
        size = len(held)
        length = held[0] << 8 | held[1]
        if size == LENGTH_SIZE:
            if length < LENGTH_SIZE:
                raise FramingError(f"length {length} does not cover itself", 0)
            return 0 if length == size else min(length, _HEAD)
        if size < _HEAD:
            return 0
        if held.startswith(MARKER, LENGTH_SIZE):
            return self._examine_ike(held, size, length, frames)
        if size == _HEAD and length - LENGTH_SIZE > self._esp_bound:
            raise _refused("an ESP packet", length - LENGTH_SIZE, 0)
        if size < length:
            return length
        frames.append(EspPacket(bytes(held[LENGTH_SIZE:])))
        return 0

    def _examine_ike(self, held: bytearray, size: int, length: int, frames: list[Frame]) -> int:
        """What `examine` does behind the non-ESP marker."""
        if length < _FULL:
            return length if size < length else 0
        if size == _HEAD:
            return _FULL
        if size == _FULL and length - _HEAD > self._bound(unpack_header(held, _HEAD)):
            raise _refused("a message", length - _HEAD, 0)
        if size < length:
            return length
        frames.append(bytes(held[_HEAD:]))
        return 0


def _refused(what: str, octets: int, start: int) -> FramingError:
    return FramingError(f"{what} of {octets} octets is refused", start)
