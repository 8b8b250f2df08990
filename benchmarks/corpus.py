"""The messages that the benchmarks read and write: fixed octets, made here."""

from __future__ import annotations

import hashlib

from ikecore.wire import (
    Attribute,
    Authentication,
    Certificate,
    CertificateRequest,
    Encrypted,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelector,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Transform,
    VendorId,
    encode_message,
    encode_payloads,
)
from ikecore.wire.numbers import (
    INITIATOR,
    AuthMethod,
    CertEncoding,
    Encr,
    Esn,
    Exchange,
    IdType,
    Integ,
    Ke,
    Notify,
    Prf,
    Protocol,
    TransformType,
    TsType,
)

__all__ = [
    "EMPTY_OCTETS",
    "IKE_AUTH_FIRST",
    "IKE_AUTH_OCTETS",
    "IKE_AUTH_PAYLOADS",
    "INIT_OCTETS",
    "INIT_PAYLOADS",
    "INIT_SPI",
]


def octets(seed: str, length: int) -> bytes:
    """Return octets that look random and are always the same."""
    return hashlib.shake_128(seed.encode()).digest(length)


def encr(number: int, bits: int | None = None) -> Transform:
    return Transform(TransformType.ENCR, number, (Attribute(14, bits),) if bits else ())


def init_payloads() -> list[Payload]:
    """An IKE_SA_INIT request with 2 proposals, 12 transforms and 8 notifications, as a real client would send it."""
    combined = (
        encr(Encr.AES_GCM_16, 256),
        encr(Encr.AES_GCM_16, 128),
        Transform(TransformType.PRF, Prf.HMAC_SHA2_384),
        Transform(TransformType.PRF, Prf.HMAC_SHA2_256),
        Transform(TransformType.KE, Ke.ECP_384),
        Transform(TransformType.KE, Ke.CURVE25519),
    )
    classic = (
        encr(Encr.AES_CBC, 256),
        encr(Encr.AES_CBC, 128),
        Transform(TransformType.PRF, Prf.HMAC_SHA2_256),
        Transform(TransformType.INTEG, Integ.HMAC_SHA2_256_128),
        Transform(TransformType.KE, Ke.ECP_384),
        Transform(TransformType.KE, Ke.MODP_2048),
    )
    return [
        SecurityAssociation((Proposal(1, Protocol.IKE, b"", combined), Proposal(2, Protocol.IKE, b"", classic))),
        KeyExchange(Ke.ECP_384, octets("public value", 96)),
        Nonce(octets("nonce", 32)),
        Notification(Notify.NAT_DETECTION_SOURCE_IP, octets("source", 20)),
        Notification(Notify.NAT_DETECTION_DESTINATION_IP, octets("destination", 20)),
        Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED),
        Notification(Notify.SIGNATURE_HASH_ALGORITHMS, bytes((0, 1, 0, 2, 0, 3, 0, 4, 0, 5))),
        Notification(Notify.REDIRECT_SUPPORTED),
        Notification(Notify.CHILDLESS_IKEV2_SUPPORTED),
        Notification(Notify.USE_PPK),
        Notification(Notify.HTTP_CERT_LOOKUP_SUPPORTED),
        VendorId(octets("one vendor", 16)),
        VendorId(octets("another vendor", 16)),
    ]


def ike_auth_payloads() -> list[Payload]:
    """What an initiator with a certificate and its issuer's seals in IKE_AUTH."""
    selector = TrafficSelector(TsType.TS_IPV4_ADDR_RANGE, 0, 0, 65535, bytes(4), b"\xff" * 4)
    esp = (encr(Encr.AES_GCM_16, 256), encr(Encr.AES_GCM_16, 128), Transform(TransformType.ESN, Esn.NO_ESN))
    return [
        IdentificationInitiator(IdType.ID_FQDN, b"client.example.org"),
        Certificate(CertEncoding.X509_SIGNATURE, octets("leaf", 1100)),
        Certificate(CertEncoding.X509_SIGNATURE, octets("issuer", 1300)),
        CertificateRequest(CertEncoding.X509_SIGNATURE, octets("authorities", 40)),
        IdentificationResponder(IdType.ID_FQDN, b"gateway.example.org"),
        Authentication(AuthMethod.DIGITAL_SIGNATURE, octets("signature", 320)),
        SecurityAssociation((Proposal(1, Protocol.ESP, octets("SPI", 4), esp),)),
        TrafficSelectorsInitiator((selector,)),
        TrafficSelectorsResponder((selector,)),
        Notification(Notify.INITIAL_CONTACT),
        Notification(Notify.MOBIKE_SUPPORTED),
        Notification(Notify.ESP_TFC_PADDING_NOT_SUPPORTED),
    ]


INIT_SPI = octets("initiator", 8)
INIT_PAYLOADS = init_payloads()
INIT_OCTETS = encode_message(
    spi_i=INIT_SPI,
    spi_r=bytes(8),
    exchange=Exchange.IKE_SA_INIT,
    flags=INITIATOR,
    message_id=0,
    payloads=INIT_PAYLOADS,
)
IKE_AUTH_PAYLOADS = ike_auth_payloads()
IKE_AUTH_FIRST, IKE_AUTH_OCTETS = encode_payloads(IKE_AUTH_PAYLOADS)
EMPTY_OCTETS = encode_message(
    spi_i=INIT_SPI,
    spi_r=octets("responder", 8),
    exchange=Exchange.INFORMATIONAL,
    flags=INITIATOR,
    message_id=2,
    payloads=[Encrypted(0, octets("IV, padding and ICV", 25))],
)
"""A sign of life, as AES-GCM seals it."""
