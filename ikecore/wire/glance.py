"""What a responder in a flood wants to know of an IKE_SA_INIT request, without a value being made of it."""

from __future__ import annotations

import struct

from .header import HEADER, HEADER_LENGTH, MAJOR_VERSION
from .notify import Notification
from .numbers import RESPONSE, Exchange, Notify
from .payloads import GENERIC, Nonce

__all__ = ["cookie_demand", "is_whole", "nonce_without_cookie"]

_LENGTH = struct.Struct("!I")
_COOKIE = bytes((0,)) + Notify.COOKIE.to_bytes(2, "big")
"""SPI size and type of the notification."""
_DEMAND = struct.Struct("!BBHBBH")  # generic header; protocol, SPI size, notify type
_NONCE = Nonce.TYPE
_NONCE_LENGTHS = range(16, 257)
_EXCHANGE = int(Exchange.IKE_SA_INIT)
_MOST = 16
"""Payloads before the nonce: three are usual."""


def is_whole(data: bytes) -> bool:
    """Tell whether the Length of a header is that of *data*, of at least 28 octets: junk hardly ever has that."""
    return bool(_LENGTH.unpack_from(data, 24)[0] == len(data))


def nonce_without_cookie(first: int, data: bytes) -> bytes | None:
    """Return the nonce of an IKE_SA_INIT request that brings no cookie; *first* is the type of its first payload.

    None where it may bring one, or where there is no nonce to be found: whoever wants to know reads it in full. What
    comes after the nonce is not looked at.
    """
    if _COOKIE in data:
        return None
    kind, pos, end = first, HEADER_LENGTH, len(data)
    for _ in range(_MOST):
        if end - pos < 4:
            return None
        following, _, length = GENERIC.unpack_from(data, pos)
        stop = pos + length
        if length < 4 or stop > end:
            return None
        if kind == _NONCE:
            return data[pos + 4 : stop] if length - 4 in _NONCE_LENGTHS else None
        kind, pos = following, stop
    return None


def cookie_demand(spi_i: bytes, spi_r: bytes, cookie: bytes) -> bytes:
    """Return the response that demands *cookie* (RFC 7296 section 2.6)."""
    length = HEADER_LENGTH + 8 + len(cookie)
    header = HEADER.pack(spi_i, spi_r, Notification.TYPE, MAJOR_VERSION, _EXCHANGE, RESPONSE, 0, length)
    return header + _DEMAND.pack(0, 0, 8 + len(cookie), 0, 0, Notify.COOKIE) + cookie
