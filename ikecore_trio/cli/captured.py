"""What a file with messages is made of, one thing after the other, and how an IKE message is known by its octets."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ikecore.outputs import Address
from ikecore.record import record

__all__ = ["HEADER", "Captured", "Kind", "looks_like_ike", "no_bound"]

Kind: TypeAlias = Literal["ike", "esp", "keepalive", "fault"]

HEADER = 28
"""Octets of an IKE header."""


@record
class Captured:
    """One thing found. *data* is an IKE message from its header on, or an ESP packet; for a fault, nothing.

    *number* is the packet that completed it, from 1 on; in files without packets, the message's own number.
    """

    number: int
    time: float | None
    transport: Literal["UDP", "TCP", "octets"]
    source: Address | None
    destination: Address | None
    kind: Kind
    data: bytes
    note: str = ""


def looks_like_ike(data: bytes, *, whole: bool) -> bool:
    """Tell whether *data* begins like an IKEv2 message; *whole* asks that its Length be that of *data* too."""
    if len(data) < HEADER or data[17] >> 4 != 2 or not any(data[:8]) or not 34 <= data[18] <= 250 or data[19] & 0xC7:
        return False
    length = int.from_bytes(data[24:28], "big")
    return length == len(data) if whole else length >= HEADER


def no_bound(header: object) -> int:
    """Admit every size: the file is here already."""
    return 1 << 32
