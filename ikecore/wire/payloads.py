"""Payloads, with one decode function for each type. `chain` reads and writes what they are strung together to.

A payload is a record with its number as `TYPE`, `encode_body()`, and a function that reads its body from
``(data, pos, end)``. A new payload type is such a pair in a module of its own, one line in `DECODERS` and one in
`Payload`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, TypeAlias

from ..errors import InvalidSyntax
from ..record import record
from .configuration import Configuration, Eap, decode_configuration, decode_eap
from .identity import (
    Authentication,
    Certificate,
    CertificateRequest,
    IdentificationInitiator,
    IdentificationResponder,
    decode_authentication,
    decode_certificate,
    decode_certificate_request,
    decode_identification_initiator,
    decode_identification_responder,
)
from .notify import Delete, Notification, decode_delete, decode_notification
from .numbers import Ke, members
from .proposal import SecurityAssociation, decode_security_association
from .selectors import (
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    decode_traffic_selectors_initiator,
    decode_traffic_selectors_responder,
)

__all__ = [
    "CRITICAL",
    "DECODERS",
    "GENERIC",
    "SEALED",
    "Encrypted",
    "EncryptedFragment",
    "KeyExchange",
    "Nonce",
    "Payload",
    "UnknownPayload",
    "VendorId",
    "decode_encrypted",
    "decode_encrypted_fragment",
    "decode_key_exchange",
    "decode_nonce",
    "decode_other",
    "decode_vendor_id",
]

GENERIC: Final = struct.Struct("!BBH")
"""The generic payload header (RFC 7296 section 3.2): next payload, critical bit, length with this header."""
CRITICAL: Final = 0x80
_KE = struct.Struct("!H2x")  # key exchange method, reserved
_FRAGMENT = struct.Struct("!HH")  # fragment number, total fragments
_NONCE_LENGTHS: Final = range(16, 257)
_METHODS = members(Ke)


@record
class KeyExchange:
    """Key Exchange payload (RFC 7296 section 3.4)."""

    TYPE: ClassVar[int] = 34
    group: int
    data: bytes

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _KE.pack(self.group) + self.data


@record
class Nonce:
    """Nonce payload (RFC 7296 section 3.9): 16 to 256 octets."""

    TYPE: ClassVar[int] = 40
    data: bytes

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return self.data


@record
class VendorId:
    """Vendor ID payload (RFC 7296 section 3.12)."""

    TYPE: ClassVar[int] = 43
    data: bytes

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return self.data


@record
class Encrypted:
    """Encrypted and Authenticated payload, SK (RFC 7296 section 3.14), always the last of its message.

    `inner_first` is the type of the first payload inside, `data` everything from the IV to the ICV.
    """

    TYPE: ClassVar[int] = 46
    inner_first: int
    data: bytes

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return self.data


@record
class EncryptedFragment:
    """Encrypted and Authenticated Fragment payload, SKF (RFC 7383 section 2.5), always the last of its message.

    `inner_first` is 0 but in fragment number 1; `data` is everything from the IV to the ICV.
    """

    TYPE: ClassVar[int] = 53
    inner_first: int
    number: int
    total: int
    data: bytes

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _FRAGMENT.pack(self.number, self.total) + self.data


@record
class UnknownPayload:
    """A payload of a type that has no class here, kept as it came."""

    payload_type: int
    critical: bool
    data: bytes

    @property
    def TYPE(self) -> int:  # noqa: N802
        """The payload type, by the name that it has in all payloads."""
        return self.payload_type

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return self.data


Payload: TypeAlias = (
    SecurityAssociation
    | KeyExchange
    | IdentificationInitiator
    | IdentificationResponder
    | Certificate
    | CertificateRequest
    | Authentication
    | Nonce
    | Notification
    | Delete
    | VendorId
    | TrafficSelectorsInitiator
    | TrafficSelectorsResponder
    | Encrypted
    | EncryptedFragment
    | Configuration
    | Eap
    | UnknownPayload
)


def decode_key_exchange(data: bytes, pos: int, end: int) -> KeyExchange:
    """Read a KE payload body; raises InvalidSyntax if it has fewer than 4 octets."""
    if end - pos < 4:
        raise InvalidSyntax("key exchange payload too short", pos)
    (group,) = _KE.unpack_from(data, pos)
    return KeyExchange(_METHODS.get(group, group), data[pos + 4 : end])


def decode_nonce(data: bytes, pos: int, end: int) -> Nonce:
    """Read a nonce payload body; raises InvalidSyntax unless it has 16 to 256 octets."""
    if end - pos not in _NONCE_LENGTHS:
        raise InvalidSyntax(f"nonce of {end - pos} octets", pos)
    return Nonce(data[pos:end])


def decode_vendor_id(data: bytes, pos: int, end: int) -> VendorId:
    """Read a V payload body: any octets."""
    return VendorId(data[pos:end])


def decode_encrypted(data: bytes, pos: int, end: int, inner_first: int) -> Encrypted:
    """Read an SK payload body; *inner_first* is the next payload field of its generic header."""
    return Encrypted(inner_first, data[pos:end])


def decode_encrypted_fragment(data: bytes, pos: int, end: int, inner_first: int) -> EncryptedFragment:
    """Read an SKF payload body; raises InvalidSyntax for fragment numbers that cannot be (RFC 7383 section 2.6)."""
    if end - pos < 4:
        raise InvalidSyntax("encrypted fragment payload too short", pos)
    number, total = _FRAGMENT.unpack_from(data, pos)
    if not 0 < number <= total:
        raise InvalidSyntax(f"fragment {number} of {total}", pos)
    return EncryptedFragment(inner_first, number, total, data[pos + 4 : end])


DECODERS: Final[Mapping[int, Callable[[bytes, int, int], Payload]]] = {
    33: decode_security_association,
    34: decode_key_exchange,
    35: decode_identification_initiator,
    36: decode_identification_responder,
    37: decode_certificate,
    38: decode_certificate_request,
    39: decode_authentication,
    40: decode_nonce,
    41: decode_notification,
    42: decode_delete,
    43: decode_vendor_id,
    44: decode_traffic_selectors_initiator,
    45: decode_traffic_selectors_responder,
    47: decode_configuration,
    48: decode_eap,
}
"""What reads the body of a payload, by payload type. SK and SKF, whose header names what is inside, are not in it."""
SEALED: Final[Mapping[int, Callable[[bytes, int, int, int], Encrypted | EncryptedFragment]]] = {
    46: decode_encrypted,
    53: decode_encrypted_fragment,
}
"""What reads the payloads that end the chain of a message: they take the next payload field besides."""


def decode_other(
    kind: int, following: int, flags: int, data: bytes, pos: int, stop: int, may_seal: bool
) -> Encrypted | EncryptedFragment | UnknownPayload:
    """Read the payload at *pos* whose type is not in `DECODERS`; *may_seal* where SK or SKF may stand."""
    decode = SEALED.get(kind)
    if decode is None:
        return UnknownPayload(kind, flags & CRITICAL != 0, data[pos + 4 : stop])
    if not may_seal:
        raise InvalidSyntax("encrypted payload that is not the last of its message", pos)
    return decode(data, pos + 4, stop, following)
