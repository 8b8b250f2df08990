"""UDP: what a datagram carries, by the rules of RFC 3948 and RFC 7296 section 2.23.

On a socket with the non-ESP marker (port 4500) four zero octets stand before an IKE message, an ESP packet begins
with its SPI, which is not zero, and a single octet 0xFF keeps a NAT's mapping alive. On a socket without it (port
500) there is nothing but IKE. Which of the two a socket is, is a property of the socket and is never guessed.
"""

from __future__ import annotations

import enum

from ..wire.header import HEADER_LENGTH
from .encapsulated import MARKER

__all__ = ["KEEPALIVE", "MARKER", "DatagramKind", "add_marker", "classify"]

KEEPALIVE = b"\xff"
"""The whole payload of a NAT keepalive (RFC 3948 section 2.3)."""


class DatagramKind(enum.Enum):
    """What a datagram carries."""

    IKE = "ike"
    ESP = "esp"
    KEEPALIVE = "keepalive"
    JUNK = "junk"
    """Too short for anything else."""


Classified = tuple[DatagramKind, int]

_PLAIN_IKE: Classified = (DatagramKind.IKE, 0)
_MARKED_IKE: Classified = (DatagramKind.IKE, len(MARKER))
_ESP: Classified = (DatagramKind.ESP, 0)
_KEEPALIVE: Classified = (DatagramKind.KEEPALIVE, 0)
_JUNK: Classified = (DatagramKind.JUNK, 0)
_MARKED_SIZE = len(MARKER) + HEADER_LENGTH


def classify(data: bytes, marker: bool) -> Classified:
    """What *data*, a datagram's payload, carries, and the offset of its first octet behind the marker.

    *marker* says that the socket has the non-ESP marker. IKE means at least an IKE header's octets, ESP at least an
    SPI's; nothing else about them has been looked at.
    """
    size = len(data)
    if not marker:
        return _PLAIN_IKE if size >= HEADER_LENGTH else _JUNK
    if data.startswith(MARKER):
        return _MARKED_IKE if size >= _MARKED_SIZE else _JUNK
    if size >= len(MARKER):
        return _ESP
    return _KEEPALIVE if data == KEEPALIVE else _JUNK


def add_marker(message: bytes) -> bytes:
    """The datagram that carries *message*, an encoded IKE message, on a socket with the non-ESP marker."""
    return MARKER + message
