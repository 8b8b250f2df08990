"""What goes over a byte stream, and what a framing has to know to cut it apart.

A *unit* is what lies on the stream between two boundaries: an IKE message in the raw framing; a 16-bit length and
what it covers in the encapsulated one. A *frame* is what is handed up from a unit. Some units give no frame.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import ClassVar, Protocol

from ..record import record
from ..wire.header import HEADER

__all__ = ["Bound", "EspPacket", "Frame", "Framing", "RawHeader", "Rules", "unpack_header"]


class Framing(enum.Enum):
    """How IKE messages lie on a TCP stream."""

    IKE_TCP = "ike-tcp"
    """IKE messages back to back (draft-ietf-ipsecme-ike-tcp-01 section 2.4)."""
    ENCAPSULATED = "encapsulated"
    """A stream prefix, then lengths with IKE or ESP behind them (RFC 9329)."""


@record
class EspPacket:
    """An ESP packet from an encapsulated stream, from its SPI on.

    A type of its own rather than a kind of `bytes`, so that the type checker sees who forgets to ask.
    """

    data: bytes


Frame = bytes | EspPacket
"""An IKE message is plain `bytes`, from the first octet of its header on; ESP is an `EspPacket`."""

RawHeader = tuple[bytes, bytes, int, int, int, int, int, int]
"""(SPIi, SPIr, next payload, version, exchange type, flags, Message ID, Length) of RFC 7296 section 3.1, unchecked."""

Bound = Callable[[RawHeader], int]
"""How many octets the message with this header may have; 0 refuses it. Asked at most once per message; raises nothing.
"""

unpack_header: Callable[[bytes, int], RawHeader] = HEADER.unpack_from


class Rules(Protocol):
    """How one framing is cut apart. The octets of a unit that is not whole are kept by `Receiver`, not here."""

    framing: ClassVar[Framing]
    wanted: int
    """How many octets of the next unit are needed before there is anything more to decide about it."""

    def cut(self, data: bytes, frames: list[Frame]) -> int:
        """Append the frame of each whole unit of *data*; set `wanted`; return where the first that is not whole begins.

        *data* begins with a unit: the one where the call before stopped, with at least as many octets as it wanted.
        Raises `FramingError` with an offset into *data*.
        """
