"""Who the peer is and how it proves it: IDi, IDr, CERT, CERTREQ, AUTH (RFC 7296 sections 3.5 to 3.8)."""

from __future__ import annotations

from typing import ClassVar, Final, TypeVar

from ..errors import InvalidSyntax, LocalProtocolError
from ..record import record
from .numbers import AuthMethod, CertEncoding, IdType, members

__all__ = [
    "Authentication",
    "Certificate",
    "CertificateRequest",
    "IdentificationInitiator",
    "IdentificationResponder",
    "decode_authentication",
    "decode_certificate",
    "decode_certificate_request",
    "decode_identification_initiator",
    "decode_identification_responder",
    "identification",
]

_ID_TYPES = members(IdType)
_ENCODINGS = members(CertEncoding)
_METHODS = members(AuthMethod)
_ID_LENGTHS: Final[dict[int, int]] = {IdType.ID_IPV4_ADDR: 4, IdType.ID_IPV6_ADDR: 16, IdType.ID_NULL: 0}
_ID_TEXT: Final = (IdType.ID_FQDN, IdType.ID_RFC822_ADDR)
_HASHED: Final = (CertEncoding.X509_SIGNATURE, CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE)
_AUTHORITY: Final = 20


def _octet(value: int, what: str) -> bytes:
    try:
        return bytes((value,))
    except ValueError:
        raise LocalProtocolError(f"{what} {value} does not fit one octet") from None


@record
class IdentificationInitiator:
    """Identification payload of the initiator, IDi (RFC 7296 section 3.5).

    `reserved` are the three octets after the type: without meaning, but AUTH signs them as they were sent.
    """

    TYPE: ClassVar[int] = 35
    id_type: int
    data: bytes
    reserved: bytes = b"\0\0\0"

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _octet(self.id_type, "identification type") + self.reserved + self.data

    @property
    def body(self) -> bytes:
        """The payload without its generic header, as AUTH signs it (RFC 7296 section 2.15)."""
        return self.encode_body()


@record
class IdentificationResponder:
    """Identification payload of the responder, IDr (RFC 7296 section 3.5); see IdentificationInitiator."""

    TYPE: ClassVar[int] = 36
    id_type: int
    data: bytes
    reserved: bytes = b"\0\0\0"

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _octet(self.id_type, "identification type") + self.reserved + self.data

    @property
    def body(self) -> bytes:
        """The payload without its generic header, as AUTH signs it (RFC 7296 section 2.15)."""
        return self.encode_body()


@record
class Certificate:
    """Certificate payload (RFC 7296 section 3.6); `data` stays octets, whatever the encoding."""

    TYPE: ClassVar[int] = 37
    encoding: int
    data: bytes

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _octet(self.encoding, "certificate encoding") + self.data


@record
class CertificateRequest:
    """Certificate Request payload (RFC 7296 section 3.7)."""

    TYPE: ClassVar[int] = 38
    encoding: int
    data: bytes

    @property
    def authorities(self) -> tuple[bytes, ...]:
        """SHA-1 hashes of the public keys (SubjectPublicKeyInfo) of trusted authorities, 20 octets each.

        Empty for an encoding that has none, and where the length is no multiple of 20: the payload is a hint.
        """
        if self.encoding not in _HASHED or len(self.data) % _AUTHORITY:
            return ()
        return tuple([self.data[pos : pos + _AUTHORITY] for pos in range(0, len(self.data), _AUTHORITY)])

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _octet(self.encoding, "certificate encoding") + self.data


@record
class Authentication:
    """Authentication payload (RFC 7296 section 3.8)."""

    TYPE: ClassVar[int] = 39
    method: int
    data: bytes

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _octet(self.method, "authentication method") + b"\0\0\0" + self.data


IdPayload = TypeVar("IdPayload", IdentificationInitiator, IdentificationResponder)


def decode_identification_initiator(data: bytes, pos: int, end: int) -> IdentificationInitiator:
    """Read an IDi payload body; raises InvalidSyntax for data that its type cannot have."""
    return _identification(IdentificationInitiator, data, pos, end)


def decode_identification_responder(data: bytes, pos: int, end: int) -> IdentificationResponder:
    """Read an IDr payload body; raises InvalidSyntax for data that its type cannot have."""
    return _identification(IdentificationResponder, data, pos, end)


def _identification(cls: type[IdPayload], data: bytes, pos: int, end: int) -> IdPayload:
    if end - pos < 4:
        raise InvalidSyntax("identification payload too short", pos)
    kind = _ID_TYPES.get(data[pos], data[pos])
    return identification(cls, kind, data[pos + 1 : pos + 4], data[pos + 4 : end], pos + 4)


def identification(cls: type[IdPayload], kind: int, reserved: bytes, data: bytes, pos: int = 0) -> IdPayload:
    """Make an IDi or IDr payload; raises InvalidSyntax, with the offset *pos*, for data that its type cannot have."""
    if len(data) != _ID_LENGTHS.get(kind, len(data)):
        raise InvalidSyntax(f"identification of type {kind} with {len(data)} octets", pos)
    if kind in _ID_TEXT and (0 in data or 10 in data or 13 in data):
        raise InvalidSyntax("identification with a terminator in its text", pos)
    return cls(kind, data, reserved)


def decode_certificate(data: bytes, pos: int, end: int) -> Certificate:
    """Read a CERT payload body; raises InvalidSyntax if it is empty."""
    if end - pos < 1:
        raise InvalidSyntax("certificate payload too short", pos)
    return Certificate(_ENCODINGS.get(data[pos], data[pos]), data[pos + 1 : end])


def decode_certificate_request(data: bytes, pos: int, end: int) -> CertificateRequest:
    """Read a CERTREQ payload body; raises InvalidSyntax if it is empty."""
    if end - pos < 1:
        raise InvalidSyntax("certificate request payload too short", pos)
    return CertificateRequest(_ENCODINGS.get(data[pos], data[pos]), data[pos + 1 : end])


def decode_authentication(data: bytes, pos: int, end: int) -> Authentication:
    """Read an AUTH payload body; raises InvalidSyntax if it has fewer than 4 octets."""
    if end - pos < 4:
        raise InvalidSyntax("authentication payload too short", pos)
    return Authentication(_METHODS.get(data[pos], data[pos]), data[pos + 4 : end])
