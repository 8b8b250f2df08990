"""Messages in words, for people: each payload with its name, where it is defined, where it lies, and its fields.

Nothing is drawn here: a `Description` is data, and every text in it is one printable line, whatever octets the peer
sent. Malformed messages are described as far as they can be understood, with the octet at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from ..errors import RemoteProtocolError
from ..record import record
from .configuration import Configuration, Eap
from .header import HEADER_LENGTH, Header, decode_header
from .identity import (
    Authentication,
    Certificate,
    CertificateRequest,
    IdentificationInitiator,
    IdentificationResponder,
)
from .notify import Delete, Notification
from .notify_data import DATA, IpCompSupported, decode_tcp_port
from .numbers import (
    IKE_TCP_SUPPORTED_DEFAULT,
    INITIATOR,
    RESPONSE,
    SEPARATE_TRANSPORTS_DEFAULT,
    VENDOR_ID,
    VERSION,
    AuthMethod,
    CertEncoding,
    CfgAttribute,
    CfgType,
    EapCode,
    Exchange,
    HashAlgorithm,
    IdType,
    IpCompTransform,
    Ke,
    Notify,
    PayloadType,
    Protocol,
    TransformType,
    TsType,
    name_of,
)
from .payloads import Encrypted, EncryptedFragment, KeyExchange, Nonce, Payload, UnknownPayload, VendorId
from .proposal import TRANSFORM_IDS, Attribute, SecurityAssociation, Transform
from .selectors import Selector, TrafficSelectorsInitiator, TrafficSelectorsResponder, UnknownSelector
from .shapes import match
from .walk import walk

__all__ = [
    "PRIVATE_NOTIFIES",
    "Description",
    "describe_chain",
    "describe_message",
    "describe_payload",
    "in_words",
    "printable",
]

PRIVATE_NOTIFIES: Final[Mapping[int, str]] = {
    IKE_TCP_SUPPORTED_DEFAULT: "IKE_TCP_SUPPORTED",
    SEPARATE_TRANSPORTS_DEFAULT: "SEPARATE_TRANSPORTS",
}
"""Names of private-use notify types, as far as we gave them a meaning."""

_SHOWN: Final = 48
_Fields = tuple[tuple[str, str], ...]


@record
class Description:
    """One header or payload in words.

    `name` is short ("SA", "N(COOKIE)"), `title` long, `section` where it is defined. `offset` and `length` say which
    octets are meant. `fields` are pairs of a name and a text, in the order of the octets. `error` says what is wrong,
    `fault` at which octet; both are None where nothing is.
    """

    name: str
    title: str
    section: str
    offset: int
    length: int
    fields: _Fields = ()
    error: str | None = None
    fault: int | None = None


def describe_message(data: bytes, *, private: Mapping[int, str] = PRIVATE_NOTIFIES) -> Iterator[Description]:
    """Describe a message: its header, then its payloads. What is inside of SK is for who has the keys."""
    try:
        header = decode_header(data)
    except RemoteProtocolError as error:
        yield Description("HDR", "IKE header", _HEADER, 0, len(data), (), error.message, error.octet)
        return
    steps = list(walk(header.next_payload, data, HEADER_LENGTH, len(data), outer=True))
    error_text, fault = None, None
    if header.length != len(data):
        error_text, fault = f"Length is {header.length}, the message has {len(data)} octets", 24
    elif steps and not any(
        isinstance(step.value, (RemoteProtocolError, Encrypted, EncryptedFragment)) for step in steps
    ):
        error_text = _shape_error(header, [step.value for step in steps])  # type: ignore[misc]
    yield Description("HDR", "IKE header", _HEADER, 0, HEADER_LENGTH, _header_fields(header), error_text, fault)
    yield from describe_chain(header.next_payload, data, HEADER_LENGTH, len(data), outer=True, private=private)


def describe_chain(
    first: int, data: bytes, pos: int, end: int, *, outer: bool = False, private: Mapping[int, str] = PRIVATE_NOTIFIES
) -> Iterator[Description]:
    """Describe a chain of payloads, in a message (*outer*) or decrypted."""
    for step in walk(first, data, pos, end, outer=outer):
        if isinstance(step.value, RemoteProtocolError):
            name, title, section = _names(step.payload_type)
            error = step.value
            yield Description(name, title, section, step.offset, step.length, (), error.message, error.octet)
        else:
            yield describe_payload(step.value, step.offset, step.length, private=private)


def describe_payload(
    payload: Payload, offset: int = 0, length: int | None = None, *, private: Mapping[int, str] = PRIVATE_NOTIFIES
) -> Description:
    """Describe one payload that lies at *offset* and is *length* octets long with its generic header."""
    if length is None:
        length = 4 + len(payload.encode_body())
    name, title, section = _names(payload.TYPE)
    if isinstance(payload, Notification):
        kind = payload.notify_type
        name = f"N({private.get(kind) or name_of(Notify, kind)})"
        return Description(name, title, section, offset, length, _notification(payload, private))
    return Description(name, title, section, offset, length, _FIELDS[type(payload)](payload))


def in_words(transform: Transform) -> str:
    """Write a transform as its registered name and key length: "AES_GCM_16-256"."""
    registry = TRANSFORM_IDS.get(transform.type)
    name = name_of(registry, transform.id) if registry else f"{transform.type}:{transform.id}"
    if registry and name.isdigit():
        name = f"{name_of(TransformType, transform.type)}:{name}"
    for attribute in transform.attributes:
        name += f"-{transform.key_length}" if _is_key_length(attribute) else f" (attribute {attribute.type})"
    return name


def _is_key_length(attribute: Attribute) -> bool:
    return attribute.type == 14 and isinstance(attribute.value, int)


def printable(octets: bytes) -> str:
    """Write octets of a peer as one short printable line: as quoted text where they are text, else in hexadecimal."""
    rest = f"... ({len(octets)} octets)" if len(octets) > _SHOWN else ""
    shown = octets[:_SHOWN]
    try:
        text = shown.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"{rest}'
    return (shown.hex() or "empty") + rest


def _hex(octets: bytes) -> str:
    return (octets[:_SHOWN].hex() or "empty") + (f"... ({len(octets)} octets)" if len(octets) > _SHOWN else "")


def _shape_error(header: Header, payloads: list[Payload]) -> str | None:
    try:
        match(header.exchange, header.is_response, payloads)
    except RemoteProtocolError as error:
        return error.message
    return None


def _header_fields(header: Header) -> _Fields:
    words = [word for bit, word in _FLAGS if header.flags & bit]
    return (
        ("initiator's SPI", header.spi_i.hex()),
        ("responder's SPI", header.spi_r.hex()),
        ("version", f"{header.version >> 4}.{header.version & 15}"),
        ("exchange", name_of(Exchange, header.exchange)),
        ("flags", f"0x{header.flags:02x} ({', '.join(words) or 'none'})"),
        ("Message ID", str(header.message_id)),
        ("length", str(header.length)),
    )


def _names(payload_type: int) -> tuple[str, str, str]:
    if not payload_type:
        return "?", "octets that belong to no payload", "RFC 7296 section 3.2"
    known = _PAYLOADS.get(payload_type)
    if known is None:
        return name_of(PayloadType, payload_type), "payload of unknown type", "RFC 7296 section 2.5"
    return known


def _security_association(payload: SecurityAssociation) -> _Fields:
    fields = []
    for proposal in payload.proposals:
        spi = f", SPI {proposal.spi.hex()}" if proposal.spi else ""
        transforms = ", ".join([in_words(transform) for transform in proposal.transforms])
        fields.append((f"proposal {proposal.number}", f"{name_of(Protocol, proposal.protocol)}{spi}: {transforms}"))
    return tuple(fields)


def _key_exchange(payload: KeyExchange) -> _Fields:
    return ("method", name_of(Ke, payload.group)), ("data", _hex(payload.data))


def _identification(payload: IdentificationInitiator | IdentificationResponder) -> _Fields:
    if payload.id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR) and len(payload.data) in (4, 16):
        text = str(ip_address(payload.data))
    else:
        text = printable(payload.data)
    return ("type", name_of(IdType, payload.id_type)), ("identity", text)


def _certificate(payload: Certificate) -> _Fields:
    return ("encoding", name_of(CertEncoding, payload.encoding)), ("data", _hex(payload.data))


def _certificate_request(payload: CertificateRequest) -> _Fields:
    authorities = payload.authorities
    found = tuple([(f"authority {number}", key.hex()) for number, key in enumerate(authorities, 1)])
    return ("encoding", name_of(CertEncoding, payload.encoding)), *(found or (("data", _hex(payload.data)),))


def _authentication(payload: Authentication) -> _Fields:
    return ("method", name_of(AuthMethod, payload.method)), ("data", _hex(payload.data))


def _octets(payload: Nonce) -> _Fields:
    return (("data", _hex(payload.data)),)


def _vendor_id(payload: VendorId) -> _Fields:
    return (("data", "ikecore" if payload.data == VENDOR_ID else printable(payload.data)),)


def _notification(payload: Notification, private: Mapping[int, str]) -> _Fields:
    fields = [("kind", f"{'error' if payload.is_error else 'status'} {int(payload.notify_type)}")]
    if payload.spi:
        fields += [("protocol", name_of(Protocol, payload.protocol)), ("SPI", payload.spi.hex())]
    if private.get(payload.notify_type) == "IKE_TCP_SUPPORTED":
        port = decode_tcp_port(payload.data)
        fields.append(("port", str(port)) if port else ("data", f"unusable: {_hex(payload.data)}"))
    elif payload.notify_type in DATA:
        value = DATA[payload.notify_type](payload.data)
        fields.append(("data", f"unusable: {_hex(payload.data)}" if value is None else _value(payload, value)))
    elif payload.data:
        fields.append(("data", printable(payload.data)))
    return tuple(fields)


def _value(payload: Notification, value: object) -> str:
    if payload.notify_type == Notify.INVALID_KE_PAYLOAD and isinstance(value, int):
        return f"wanted: {name_of(Ke, value)}"
    if isinstance(value, tuple):
        return ", ".join([name_of(HashAlgorithm, number) for number in value]) or "none"
    if isinstance(value, IpCompSupported):
        return f"CPI {value.cpi}, {name_of(IpCompTransform, value.transform)}"
    return _hex(value) if isinstance(value, bytes) else str(value)


def _delete(payload: Delete) -> _Fields:
    spis = tuple([("SPI", spi.hex()) for spi in payload.spis[:_SHOWN]])
    return ("protocol", name_of(Protocol, payload.protocol)), ("number of SPIs", str(len(payload.spis))), *spis


def _selectors(payload: TrafficSelectorsInitiator | TrafficSelectorsResponder) -> _Fields:
    return tuple([(f"selector {number}", _selector(item)) for number, item in enumerate(payload.selectors, 1)])


def _selector(selector: Selector) -> str:
    kind = name_of(TsType, selector.ts_type)
    if isinstance(selector, UnknownSelector):
        return f"{kind}: {printable(selector.data)}"
    addresses = f"{ip_address(selector.start)} to {ip_address(selector.end)}"
    ports = (selector.start_port, selector.end_port)
    words = {(0, 65535): "any port", (65535, 0): "opaque ports"}.get(ports, f"ports {ports[0]} to {ports[1]}")
    return f"{addresses}, {f'protocol {selector.protocol}' if selector.protocol else 'any protocol'}, {words}"


def _encrypted(payload: Encrypted) -> _Fields:
    return ("first inside", name_of(PayloadType, payload.inner_first)), ("encrypted", f"{len(payload.data)} octets")


def _encrypted_fragment(payload: EncryptedFragment) -> _Fields:
    return (
        ("first inside", name_of(PayloadType, payload.inner_first)),
        ("fragment", f"{payload.number} of {payload.total}"),
        ("encrypted", f"{len(payload.data)} octets"),
    )


def _configuration(payload: Configuration) -> _Fields:
    fields = [("type", name_of(CfgType, payload.cfg_type))]
    for item in payload.attributes:
        fields.append((name_of(CfgAttribute, item.type), _configuration_value(item.type, item.value)))
    return tuple(fields)


def _configuration_value(kind: int, value: bytes) -> str:
    if not value:
        return "empty"
    name = name_of(CfgAttribute, kind)
    if "IP4" in name and len(value) in (4, 8):
        address = str(IPv4Address(value[:4]))
        return f"{address} mask {IPv4Address(value[4:])}" if len(value) == 8 else address
    if "IP6" in name and len(value) in (16, 17):
        address = str(IPv6Address(value[:16]))
        return f"{address}/{value[16]}" if len(value) == 17 else address
    return printable(value)


def _eap(payload: Eap) -> _Fields:
    fields = (("code", name_of(EapCode, payload.code)), ("identifier", str(payload.identifier)))
    return (*fields, ("type", str(payload.data[0])), ("data", _hex(payload.data[1:]))) if payload.data else fields


def _unknown(payload: UnknownPayload) -> _Fields:
    return ("critical", "yes" if payload.critical else "no"), ("data", _hex(payload.data))


_HEADER: Final = "RFC 7296 section 3.1"
_FLAGS: Final = ((INITIATOR, "initiator"), (VERSION, "version"), (RESPONSE, "response"))
_PAYLOADS: Final[Mapping[int, tuple[str, str, str]]] = {
    33: ("SA", "Security Association", "RFC 7296 section 3.3"),
    34: ("KE", "Key Exchange", "RFC 7296 section 3.4"),
    35: ("IDi", "Identification of the initiator", "RFC 7296 section 3.5"),
    36: ("IDr", "Identification of the responder", "RFC 7296 section 3.5"),
    37: ("CERT", "Certificate", "RFC 7296 section 3.6"),
    38: ("CERTREQ", "Certificate Request", "RFC 7296 section 3.7"),
    39: ("AUTH", "Authentication", "RFC 7296 section 3.8"),
    40: ("NONCE", "Nonce", "RFC 7296 section 3.9"),
    41: ("N", "Notify", "RFC 7296 section 3.10"),
    42: ("D", "Delete", "RFC 7296 section 3.11"),
    43: ("V", "Vendor ID", "RFC 7296 section 3.12"),
    44: ("TSi", "Traffic Selectors of the initiator", "RFC 7296 section 3.13"),
    45: ("TSr", "Traffic Selectors of the responder", "RFC 7296 section 3.13"),
    46: ("SK", "Encrypted and Authenticated", "RFC 7296 section 3.14"),
    47: ("CP", "Configuration", "RFC 7296 section 3.15"),
    48: ("EAP", "Extensible Authentication", "RFC 7296 section 3.16"),
    53: ("SKF", "Encrypted and Authenticated Fragment", "RFC 7383 section 2.5"),
}
_FIELDS: Final[Mapping[type, Callable[[Any], _Fields]]] = {
    SecurityAssociation: _security_association,
    KeyExchange: _key_exchange,
    IdentificationInitiator: _identification,
    IdentificationResponder: _identification,
    Certificate: _certificate,
    CertificateRequest: _certificate_request,
    Authentication: _authentication,
    Nonce: _octets,
    Delete: _delete,
    VendorId: _vendor_id,
    TrafficSelectorsInitiator: _selectors,
    TrafficSelectorsResponder: _selectors,
    Encrypted: _encrypted,
    EncryptedFragment: _encrypted_fragment,
    Configuration: _configuration,
    Eap: _eap,
    UnknownPayload: _unknown,
}
