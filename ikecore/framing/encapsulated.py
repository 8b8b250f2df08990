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

from ..errors import FramingError
from ..wire.header import HEADER_LENGTH
from .frames import Bound, EspPacket, Frame, Framing, unpack_header

__all__ = ["LENGTH_SIZE", "MARKER", "MAX_ESP", "MAX_IKE", "EncapsulatedRules"]

LENGTH_SIZE = 2
MARKER = b"\0\0\0\0"
_HEAD = LENGTH_SIZE + len(MARKER)
_FULL = _HEAD + HEADER_LENGTH

MAX_ESP = 0xFFFF - LENGTH_SIZE
"""The largest ESP packet that the length can express, in octets."""
MAX_IKE = 0xFFFF - _HEAD
"""The largest IKE message that the length can express, in octets."""

_unpack_head = struct.Struct("!HI").unpack_from


class EncapsulatedRules:
    """Cuts IKE messages and ESP packets out of an encapsulated stream, after the prefix if there is one."""

    __slots__ = ("_admitted", "_bound", "_esp_bound", "_unasked", "wanted")
    framing: ClassVar[Framing] = Framing.ENCAPSULATED

    def __init__(self, bound: Bound, esp_bound: int = MAX_ESP, unasked: int = 0) -> None:
        self.wanted = LENGTH_SIZE
        self._bound = bound
        self._unasked = _HEAD + unasked  # compared with the length of a unit, as it stands on the stream
        self._esp_bound = esp_bound
        self._admitted = False  # whether the IKE message that is waited for has passed its bound

    def cut(self, data: bytes, frames: list[Frame]) -> int:
        pos = 0
        if self._admitted:
            self._admitted = False
            pos = self.wanted
            frames.append(data[_HEAD:pos])
        unasked = self._unasked
        append = frames.append
        end = len(data)
        last = end - _HEAD
        while pos <= last:
            length, marker = _unpack_head(data, pos)
            stop = pos + length
            if stop > end:
                break
            if not marker and length >= _FULL:
                start = pos + _HEAD
                if length > unasked and length - _HEAD > self._bound(unpack_header(data, start)):
                    raise _refused("a message", length - _HEAD, pos)
                append(data[start:stop])
            elif marker and length >= _HEAD:
                if length - LENGTH_SIZE > self._esp_bound:
                    raise _refused("an ESP packet", length - LENGTH_SIZE, pos)
                append(EspPacket(data[pos + LENGTH_SIZE : stop]))
            elif length < LENGTH_SIZE:
                raise _impossible(length, pos)
            pos = stop
        return self._wait(data, pos, end)

    def _wait(self, data: bytes, pos: int, end: int) -> int:
        """Say what the unit at *pos* wants, which is not whole, unless it is one of those too short to give a frame."""
        while end - pos >= LENGTH_SIZE:
            length = data[pos] << 8 | data[pos + 1]
            if length < LENGTH_SIZE:
                raise _impossible(length, pos)
            if pos + length > end:
                self.wanted = self._examine(data, pos, end - pos, length)
                return pos
            pos += length
        self.wanted = LENGTH_SIZE
        return pos

    def _examine(self, data: bytes, pos: int, size: int, length: int) -> int:
        """How many octets a unit of *length* wants, of which *size* are there, fewer than all."""
        if length < _HEAD or size < _HEAD:
            return min(length, _HEAD)
        if not data.startswith(MARKER, pos + LENGTH_SIZE):
            if length - LENGTH_SIZE > self._esp_bound:
                raise _refused("an ESP packet", length - LENGTH_SIZE, pos)
        elif length >= _FULL:
            if length > self._unasked:
                if size < _FULL:
                    return _FULL
                if length - _HEAD > self._bound(unpack_header(data, pos + _HEAD)):
                    raise _refused("a message", length - _HEAD, pos)
            self._admitted = True
        return length


def _impossible(length: int, octet: int) -> FramingError:
    return FramingError(f"a length of {length} does not count itself", octet)


def _refused(what: str, octets: int, octet: int) -> FramingError:
    return FramingError(f"{what} of {octets} octets is refused", octet)
