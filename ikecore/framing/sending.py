"""Messages to octets: each in one piece, so that header and payloads leave in one write."""

from __future__ import annotations

from ..errors import LocalProtocolError
from .encapsulated import LENGTH_SIZE, MARKER, MAX_ESP, MAX_IKE
from .frames import Framing

__all__ = ["frame_esp", "frame_ike"]

_IKE_OVERHEAD = LENGTH_SIZE + len(MARKER)


def frame_ike(framing: Framing, message: bytes) -> bytes:
    """The octets that carry *message*, an encoded IKE message, on a stream. The stream prefix is not among them.

    Raises `LocalProtocolError` for a message of more than 65,529 octets in the encapsulated framing (RFC 9329
    section 3). The raw framing has no such limit, and its octets are the message itself.
    """
    if framing is Framing.IKE_TCP:
        return message
    size = len(message)
    if size > MAX_IKE:
        raise LocalProtocolError(f"an encapsulated IKE message has at most {MAX_IKE} octets, not {size}")
    return (size + _IKE_OVERHEAD).to_bytes(LENGTH_SIZE, "big") + MARKER + message


def frame_esp(packet: bytes) -> bytes:
    """The octets that carry *packet*, an ESP packet from its SPI on, on an encapsulated stream.

    Raises `LocalProtocolError` for more than 65,533 octets, less than an SPI, or SPI zero (RFC 9329 section 3.2).
    """
    size = len(packet)
    if size > MAX_ESP:
        raise LocalProtocolError(f"an encapsulated ESP packet has at most {MAX_ESP} octets, not {size}")
    if size < len(MARKER) or packet.startswith(MARKER):
        raise LocalProtocolError("an ESP packet begins with an SPI that is not zero")
    return (size + LENGTH_SIZE).to_bytes(LENGTH_SIZE, "big") + packet
