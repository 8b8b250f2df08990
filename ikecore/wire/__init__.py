"""The IKEv2 codec: octets to values and back. No state, no time, no cryptography.

Decoding takes ``(data, pos, end)`` and gives values, or raises a `RemoteProtocolError` with the offset at fault; values
encode to octets. `numbers` has the registries, `payloads` the payloads, `chain` how they follow one another, `message`
whole messages, `shapes` what a message of each exchange may carry, `notify_data` what notifications say.
"""

from __future__ import annotations

from .chain import MAX_PAYLOADS, decode_payloads, encode_payloads
from .configuration import Configuration, ConfigurationAttribute, Eap
from .glance import cookie_demand, is_whole, nonce_without_cookie
from .header import HEADER, HEADER_LENGTH, Header, HeaderFields, decode_header, triage
from .identity import (
    Authentication,
    Certificate,
    CertificateRequest,
    IdentificationInitiator,
    IdentificationResponder,
)
from .message import Envelope, decode_envelope, decode_message, encode_message
from .notify import FIRST_STATUS, Delete, Notification
from .payloads import (
    Encrypted,
    EncryptedFragment,
    KeyExchange,
    Nonce,
    Payload,
    UnknownPayload,
    VendorId,
)
from .proposal import Attribute, Proposal, SecurityAssociation, Transform
from .selectors import TrafficSelector, TrafficSelectorsInitiator, TrafficSelectorsResponder, UnknownSelector
from .shapes import ANY_ERROR, SHAPES, Contents, Shape, match

__all__ = [
    "ANY_ERROR",
    "FIRST_STATUS",
    "HEADER",
    "HEADER_LENGTH",
    "MAX_PAYLOADS",
    "SHAPES",
    "Attribute",
    "Authentication",
    "Certificate",
    "CertificateRequest",
    "Configuration",
    "ConfigurationAttribute",
    "Contents",
    "Delete",
    "Eap",
    "Encrypted",
    "EncryptedFragment",
    "Envelope",
    "Header",
    "HeaderFields",
    "IdentificationInitiator",
    "IdentificationResponder",
    "KeyExchange",
    "Nonce",
    "Notification",
    "Payload",
    "Proposal",
    "SecurityAssociation",
    "Shape",
    "TrafficSelector",
    "TrafficSelectorsInitiator",
    "TrafficSelectorsResponder",
    "Transform",
    "UnknownPayload",
    "UnknownSelector",
    "VendorId",
    "cookie_demand",
    "decode_envelope",
    "decode_header",
    "decode_message",
    "decode_payloads",
    "encode_message",
    "encode_payloads",
    "is_whole",
    "match",
    "nonce_without_cookie",
    "triage",
]
