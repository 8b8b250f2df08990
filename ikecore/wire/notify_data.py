"""What the data of a notification mean, where an RFC gives them a layout.

Decoding functions take the data and give a value, or None where the data cannot be used: a bad status notification is
ignored and never ends the exchange (RFC 7296 section 3.10.1); a bad error stays an error without its detail. Encoding
functions give data; what is too large for its field is a LocalProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ..errors import LocalProtocolError
from ..record import record
from .notify import Notification
from .numbers import HashAlgorithm, IpCompTransform, Ke, Notify, Protocol, members

__all__ = [
    "COOKIE_LENGTHS",
    "DATA",
    "IpCompSupported",
    "decode_additional_address",
    "decode_auth_lifetime",
    "decode_cookie",
    "decode_critical_payload",
    "decode_hash_algorithms",
    "decode_ipcomp_supported",
    "decode_message_id",
    "decode_nat_detection",
    "decode_tcp_port",
    "decode_wanted_group",
    "decode_window_size",
    "encode_additional_address",
    "encode_auth_lifetime",
    "encode_hash_algorithms",
    "encode_ipcomp_supported",
    "encode_message_id",
    "encode_tcp_port",
    "encode_wanted_group",
    "encode_window_size",
    "rekeyed_sa",
]

COOKIE_LENGTHS: Final = range(1, 65)
_SHA1_LENGTH: Final = 20
_SPI_LENGTH: Final = 4
_METHODS = members(Ke)
_HASHES = members(HashAlgorithm)
_IPCOMPS = members(IpCompTransform)
_IPCOMP = struct.Struct("!HB")


@record
class IpCompSupported:
    """IPCOMP_SUPPORTED (RFC 7296 section 3.10.1): the CPI to send to, and a transform; no attributes are defined."""

    cpi: int
    transform: int
    attributes: bytes = b""


def _number(data: bytes, size: int) -> int | None:
    return int.from_bytes(data, "big") if len(data) == size else None


def _octets(number: int, size: int, what: str) -> bytes:
    try:
        return number.to_bytes(size, "big")
    except OverflowError:
        raise LocalProtocolError(f"{what} {number} does not fit {size} octets") from None


def decode_cookie(data: bytes) -> bytes | None:
    """COOKIE: 1 to 64 octets (RFC 7296 section 2.6)."""
    return data if len(data) in COOKIE_LENGTHS else None


def decode_critical_payload(data: bytes) -> int | None:
    """UNSUPPORTED_CRITICAL_PAYLOAD: the payload type (RFC 7296 section 2.5)."""
    return _number(data, 1)


def decode_wanted_group(data: bytes) -> int | None:
    """INVALID_KE_PAYLOAD: the key exchange method wanted (RFC 7296 section 1.2)."""
    number = _number(data, 2)
    return None if number is None else _METHODS.get(number, number)


def encode_wanted_group(group: int) -> bytes:
    """INVALID_KE_PAYLOAD; see `decode_wanted_group`."""
    return _octets(group, 2, "key exchange method")


def decode_message_id(data: bytes) -> int | None:
    """INVALID_MESSAGE_ID: the Message ID at fault (RFC 7296 section 2.3)."""
    return _number(data, 4)


def encode_message_id(message_id: int) -> bytes:
    """INVALID_MESSAGE_ID; see `decode_message_id`."""
    return _octets(message_id, 4, "Message ID")


def decode_window_size(data: bytes) -> int | None:
    """SET_WINDOW_SIZE: the number of requests the sender can have open at a time, at least 1 (RFC 7296 section 2.3)."""
    return _number(data, 4) or None


def encode_window_size(size: int) -> bytes:
    """SET_WINDOW_SIZE; see `decode_window_size`."""
    return _octets(size, 4, "window size")


def decode_nat_detection(data: bytes) -> bytes | None:
    """NAT_DETECTION_SOURCE_IP and _DESTINATION_IP: a SHA-1 hash (RFC 7296 section 2.23)."""
    return data if len(data) == _SHA1_LENGTH else None


def decode_hash_algorithms(data: bytes) -> tuple[int, ...] | None:
    """SIGNATURE_HASH_ALGORITHMS: what the sender can verify (RFC 7427 section 4)."""
    if len(data) % 2:
        return None
    return tuple([_HASHES.get(number, number) for (number,) in struct.iter_unpack("!H", data)])


def encode_hash_algorithms(algorithms: Sequence[int]) -> bytes:
    """SIGNATURE_HASH_ALGORITHMS; see `decode_hash_algorithms`."""
    return b"".join([_octets(number, 2, "hash algorithm") for number in algorithms])


def decode_ipcomp_supported(data: bytes) -> IpCompSupported | None:
    """IPCOMP_SUPPORTED (RFC 7296 section 3.10.1)."""
    if len(data) < _IPCOMP.size:
        return None
    cpi, transform = _IPCOMP.unpack_from(data)
    return IpCompSupported(cpi, _IPCOMPS.get(transform, transform), data[_IPCOMP.size :])


def encode_ipcomp_supported(value: IpCompSupported) -> bytes:
    """IPCOMP_SUPPORTED; see `decode_ipcomp_supported`."""
    return _octets(value.cpi, 2, "CPI") + _octets(value.transform, 1, "IPComp transform") + value.attributes


def decode_auth_lifetime(data: bytes) -> int | None:
    """AUTH_LIFETIME: seconds until the initiator has to authenticate again (RFC 4478 section 3)."""
    return _number(data, 4)


def encode_auth_lifetime(seconds: int) -> bytes:
    """AUTH_LIFETIME; see `decode_auth_lifetime`."""
    return _octets(seconds, 4, "lifetime")


def decode_additional_address(data: bytes) -> IPv4Address | IPv6Address | None:
    """ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS (RFC 4555 section 4.2)."""
    if len(data) == 4:
        return IPv4Address(data)
    return IPv6Address(data) if len(data) == 16 else None


def encode_additional_address(address: IPv4Address | IPv6Address) -> bytes:
    """ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS; see `decode_additional_address`."""
    return address.packed


def decode_tcp_port(data: bytes) -> int | None:
    """IKE_TCP_SUPPORTED: the TCP port to connect to, never 0 (draft-ietf-ipsecme-ike-tcp-01 section 2.5)."""
    return _number(data, 2) or None


def encode_tcp_port(port: int) -> bytes:
    """IKE_TCP_SUPPORTED; see `decode_tcp_port`."""
    if not port:
        raise LocalProtocolError("port 0 cannot be announced")
    return _octets(port, 2, "port")


def rekeyed_sa(notification: Notification) -> tuple[int, bytes] | None:
    """REKEY_SA: protocol and SPI of the Child SA to replace (RFC 7296 section 1.3.3), which are no data but fields."""
    if notification.protocol not in (Protocol.AH, Protocol.ESP) or len(notification.spi) != _SPI_LENGTH:
        return None
    return notification.protocol, notification.spi


DATA: Final[Mapping[int, Callable[[bytes], object]]] = {
    Notify.UNSUPPORTED_CRITICAL_PAYLOAD: decode_critical_payload,
    Notify.INVALID_MESSAGE_ID: decode_message_id,
    Notify.INVALID_KE_PAYLOAD: decode_wanted_group,
    Notify.SET_WINDOW_SIZE: decode_window_size,
    Notify.IPCOMP_SUPPORTED: decode_ipcomp_supported,
    Notify.NAT_DETECTION_SOURCE_IP: decode_nat_detection,
    Notify.NAT_DETECTION_DESTINATION_IP: decode_nat_detection,
    Notify.COOKIE: decode_cookie,
    Notify.ADDITIONAL_IP4_ADDRESS: decode_additional_address,
    Notify.ADDITIONAL_IP6_ADDRESS: decode_additional_address,
    Notify.AUTH_LIFETIME: decode_auth_lifetime,
    Notify.SIGNATURE_HASH_ALGORITHMS: decode_hash_algorithms,
}
"""What reads the data of a notification, by its registered type. Private-use numbers are not in it."""
