"""Telling the two framings apart on a stream that a peer opened, by its first six octets.

An encapsulated stream begins with the prefix "IKETCP" (RFC 9329 section 4), a raw one with the initiator's SPI. An
SPI may be anything but zero, so the two could be confused: ours never begin like the prefix, nor with the four zero
octets that mark IKE where ESP is possible too. The decision is taken once, at the first octet that settles it.
"""

from __future__ import annotations

from .frames import Framing

__all__ = ["PREFIX", "sniff", "starts_like_prefix"]

PREFIX = b"IKETCP"
"""What the originator of an encapsulated stream sends first, once."""


def sniff(head: bytes) -> Framing | None:
    """Which framing a stream has that begins with *head*; None while more octets are needed."""
    if head.startswith(PREFIX):
        return Framing.ENCAPSULATED
    return None if PREFIX.startswith(head) else Framing.IKE_TCP


def starts_like_prefix(spi: bytes) -> bool:
    """Whether *spi*, 8 octets, must not be chosen as an initiator's SPI, since it could be taken for a framing."""
    return spi.startswith((PREFIX, b"\0\0\0\0"))
