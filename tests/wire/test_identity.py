"""IDi, IDr, CERT, CERTREQ and AUTH."""

from __future__ import annotations

import pytest

from ikecore.errors import InvalidSyntax, LocalProtocolError
from ikecore.wire import (
    Authentication,
    Certificate,
    CertificateRequest,
    IdentificationInitiator,
    IdentificationResponder,
    Payload,
)
from ikecore.wire.identity import (
    decode_authentication,
    decode_certificate,
    decode_certificate_request,
    decode_identification_initiator,
    decode_identification_responder,
)
from ikecore.wire.numbers import AuthMethod, CertEncoding, IdType


def test_golden_identification() -> None:
    octets = bytes.fromhex("02000000") + b"vpn.example"
    assert IdentificationInitiator(IdType.ID_FQDN, b"vpn.example").encode_body() == octets
    found = decode_identification_responder(octets, 0, len(octets))
    assert found == IdentificationResponder(IdType.ID_FQDN, b"vpn.example")


def test_body_is_what_was_sent_with_its_reserved_octets() -> None:
    octets = bytes.fromhex("0b aabbcc") + b"key"
    assert decode_identification_initiator(octets, 0, len(octets)).body == octets
    assert decode_identification_responder(octets, 0, len(octets)).body == octets


@pytest.mark.requirement("IKE-270")
@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (IdType.ID_IPV4_ADDR, {4}),
        (IdType.ID_IPV6_ADDR, {16}),
        (IdType.ID_NULL, {0}),
        (IdType.ID_KEY_ID, set(range(20))),
    ],
)
def test_length_of_addresses(kind: int, good: set[int]) -> None:
    for size in range(20):
        octets = bytes((kind, 0, 0, 0)) + bytes(size)
        if size in good:
            assert decode_identification_initiator(octets, 0, len(octets)).data == bytes(size)
        else:
            with pytest.raises(InvalidSyntax):
                decode_identification_initiator(octets, 0, len(octets))


@pytest.mark.requirement("IKE-268")
@pytest.mark.parametrize("kind", [IdType.ID_FQDN, IdType.ID_RFC822_ADDR])
@pytest.mark.parametrize("end", [b"\0", b"\r", b"\n", b"\0.example"])
def test_terminators_in_text_are_malformed(kind: int, end: bytes) -> None:
    octets = bytes((kind, 0, 0, 0)) + b"a@vpn" + end
    with pytest.raises(InvalidSyntax, match="terminator"):
        decode_identification_initiator(octets, 0, len(octets))


@pytest.mark.requirement("IKE-269")
@pytest.mark.parametrize("text", [b"user", b"user@realm", b"@", b"a@b@c", "jürgen@münchen".encode()])
def test_odd_mail_addresses_are_accepted(text: bytes) -> None:
    octets = bytes((IdType.ID_RFC822_ADDR, 0, 0, 0)) + text
    assert decode_identification_initiator(octets, 0, len(octets)).data == text


@pytest.mark.requirement("IKE-272")
@pytest.mark.parametrize("encoding", [4, 12, 13])
def test_certificate_request_lists_authorities(encoding: int) -> None:
    octets = bytes((encoding,)) + b"a" * 20 + b"b" * 20
    found = decode_certificate_request(octets, 0, len(octets))
    assert found.authorities == (b"a" * 20, b"b" * 20)
    assert found.encode_body() == octets
    assert CertificateRequest(encoding, b"").authorities == ()


@pytest.mark.requirement("IKE-272", "IKE-273")
def test_certificate_request_that_cannot_be_used_is_an_empty_hint() -> None:
    for size in (1, 19, 21, 39):
        assert decode_certificate_request(b"\4" + bytes(size), 0, 1 + size).authorities == ()
    assert CertificateRequest(CertEncoding.RAW_PUBLIC_KEY, bytes(20)).authorities == ()


def test_golden_certificate_and_authentication() -> None:
    assert Certificate(CertEncoding.X509_SIGNATURE, b"\x30\x00").encode_body().hex() == "043000"
    assert decode_certificate(b"\x04\x30\x00", 0, 3) == Certificate(CertEncoding.X509_SIGNATURE, b"\x30\x00")
    octets = bytes.fromhex("0e 000000") + b"signature"
    assert Authentication(AuthMethod.DIGITAL_SIGNATURE, b"signature").encode_body() == octets


@pytest.mark.requirement("IKE-086", "IKE-274")
def test_reserved_octets_and_unknown_method_of_authentication() -> None:
    found = decode_authentication(bytes.fromhex("c8 ffffff 01"), 0, 5)
    assert found == Authentication(200, b"\1")
    assert type(found.method) is int


@pytest.mark.parametrize(
    ("decode", "least"),
    [
        (decode_identification_initiator, 4),
        (decode_identification_responder, 4),
        (decode_certificate, 1),
        (decode_certificate_request, 1),
        (decode_authentication, 4),
    ],
)
def test_too_short(decode: object, least: int) -> None:
    for size in range(least):
        with pytest.raises(InvalidSyntax, match="too short"):
            decode(bytes(9), 2, 2 + size)  # type: ignore[operator]
    decode(bytes((99, 0, 0, 0)), 0, least)  # type: ignore[operator]


@pytest.mark.parametrize(
    "payload",
    [
        IdentificationInitiator(256, b""),
        IdentificationResponder(-1, b""),
        Certificate(256, b""),
        CertificateRequest(256, b""),
        Authentication(256, b""),
    ],
)
def test_number_that_does_not_fit_is_our_own_fault(payload: Payload) -> None:
    with pytest.raises(LocalProtocolError):
        payload.encode_body()
