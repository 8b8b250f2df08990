"""Configuration and EAP payloads (RFC 7296 sections 3.15 and 3.16)."""

from __future__ import annotations

import struct
from typing import ClassVar, Final

from ..errors import InvalidSyntax, LocalProtocolError
from ..record import record
from .numbers import CfgAttribute, CfgType, EapCode, members

__all__ = ["MAX_ATTRIBUTES", "Configuration", "ConfigurationAttribute", "Eap", "decode_configuration", "decode_eap"]

MAX_ATTRIBUTES: Final = 1024
"""Attributes of one CP payload. Real ones have tens, or hundreds where many networks are told; decoded, each takes many
times its octets, and a stranger's request may wait for the application.
"""
_ATTRIBUTE = struct.Struct("!HH")  # reserved bit and type, length
_EAP = struct.Struct("!BBH")  # code, identifier, length
_CFG_TYPES = members(CfgType)
_ATTRIBUTES = members(CfgAttribute)
_CODES = members(EapCode)
_IP4, _IP6 = (0, 4), (0, 16)
_LENGTHS: Final[dict[int, tuple[int, ...]]] = {
    CfgAttribute.INTERNAL_IP4_ADDRESS: _IP4,
    CfgAttribute.INTERNAL_IP4_NETMASK: _IP4,
    CfgAttribute.INTERNAL_IP4_DNS: _IP4,
    CfgAttribute.INTERNAL_IP4_NBNS: _IP4,
    CfgAttribute.INTERNAL_IP4_DHCP: _IP4,
    CfgAttribute.INTERNAL_IP6_ADDRESS: (0, 16, 17),  # 16, without a prefix length, is what some peers send
    CfgAttribute.INTERNAL_IP6_DNS: _IP6,
    CfgAttribute.INTERNAL_IP6_DHCP: _IP6,
    CfgAttribute.INTERNAL_IP4_SUBNET: (0, 8),
    CfgAttribute.INTERNAL_IP6_SUBNET: (0, 17),
    CfgAttribute.P_CSCF_IP4_ADDRESS: _IP4,
    CfgAttribute.P_CSCF_IP6_ADDRESS: _IP6,
}


@record
class ConfigurationAttribute:
    """One attribute (RFC 7296 section 3.15.1); an empty value asks for one, or takes whatever comes."""

    type: int
    value: bytes = b""


@record
class Configuration:
    """Configuration payload (RFC 7296 section 3.15)."""

    TYPE: ClassVar[int] = 47
    cfg_type: int
    attributes: tuple[ConfigurationAttribute, ...] = ()

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        if not 0 <= self.cfg_type < 256 or any(not 0 <= item.type < 0x8000 for item in self.attributes):
            raise LocalProtocolError(f"{self}: a number does not fit its field")
        parts = [bytes((self.cfg_type, 0, 0, 0))]
        for item in self.attributes:
            parts += (_ATTRIBUTE.pack(item.type, len(item.value)), item.value)
        return b"".join(parts)


@record
class Eap:
    """EAP payload (RFC 7296 section 3.16, RFC 3748): `data` is what follows the EAP length, the EAP type first."""

    TYPE: ClassVar[int] = 48
    code: int
    identifier: int
    data: bytes = b""

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        return _EAP.pack(self.code, self.identifier, 4 + len(self.data)) + self.data


def decode_configuration(data: bytes, pos: int, end: int) -> Configuration:
    """Read a CP payload body; raises InvalidSyntax for wrong lengths, of known attributes too, or too many of them."""
    if end - pos < 4:
        raise InvalidSyntax("configuration payload too short", pos)
    kind = data[pos]
    attributes: list[ConfigurationAttribute] = []
    pos += 4
    while pos < end:
        if end - pos < 4:
            raise InvalidSyntax("configuration attribute cut off", pos)
        number, length = _ATTRIBUTE.unpack_from(data, pos)
        number &= 0x7FFF
        stop = pos + 4 + length
        if stop > end or length not in _LENGTHS.get(number, (length,)):
            raise InvalidSyntax(f"configuration attribute {number} says its value is {length} octets long", pos + 2)
        if len(attributes) >= MAX_ATTRIBUTES:
            raise InvalidSyntax(f"more than {MAX_ATTRIBUTES} configuration attributes", pos)
        attributes.append(ConfigurationAttribute(_ATTRIBUTES.get(number, number), data[pos + 4 : stop]))
        pos = stop
    return Configuration(_CFG_TYPES.get(kind, kind), tuple(attributes))


def decode_eap(data: bytes, pos: int, end: int) -> Eap:
    """Read an EAP payload body; raises InvalidSyntax where the EAP length is not that of the payload."""
    if end - pos < 4:
        raise InvalidSyntax("EAP payload too short", pos)
    code, identifier, length = _EAP.unpack_from(data, pos)
    if length != end - pos:
        raise InvalidSyntax(f"EAP message says it is {length} octets long, the payload has {end - pos}", pos + 2)
    if (code in (EapCode.SUCCESS, EapCode.FAILURE)) != (length == 4):
        raise InvalidSyntax(f"EAP message of code {code} with {length} octets", pos + 2)
    return Eap(_CODES.get(code, code), identifier, data[pos + 4 : end])
