"""Byte streams to IKE messages and back, and what a UDP datagram carries.

`receiver` cuts a TCP stream of either framing; `frame_ike` and `frame_esp` make its octets; `classify` and
`add_marker` do the little that UDP needs.
"""

from __future__ import annotations

from .encapsulated import MAX_ESP, MAX_IKE
from .frames import Bound, EspPacket, Frame, Framing, RawHeader
from .marker import KEEPALIVE, MARKER, DatagramKind, add_marker, classify
from .sending import frame_esp, frame_ike
from .sniff import PREFIX, sniff, starts_like_prefix
from .stream import Receiver, receiver

__all__ = [
    "KEEPALIVE",
    "MARKER",
    "MAX_ESP",
    "MAX_IKE",
    "PREFIX",
    "Bound",
    "DatagramKind",
    "EspPacket",
    "Frame",
    "Framing",
    "RawHeader",
    "Receiver",
    "add_marker",
    "classify",
    "frame_esp",
    "frame_ike",
    "receiver",
    "sniff",
    "starts_like_prefix",
]
