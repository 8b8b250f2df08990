"""Descriptions: what they say of every payload, that they tile a message, and that no octet of a peer escapes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import RemoteProtocolError
from ikecore.wire import (
    Attribute,
    IdentificationInitiator,
    Notification,
    Payload,
    Transform,
    VendorId,
    decode_payloads,
    encode_message,
    encode_payloads,
)
from ikecore.wire.describe import (
    Description,
    describe_chain,
    describe_message,
    describe_payload,
    in_words,
    printable,
)
from ikecore.wire.numbers import IKE_TCP_SUPPORTED_DEFAULT, VENDOR_ID, IdType, Ke, Notify, TransformType
from ikecore.wire.walk import Step, walk
from tests.recorded import inner_chains, messages
from tests.wire.strategies import CHAINS, PAYLOADS, outcome


def texts(description: Description) -> list[str]:
    found = [description.name, description.title, description.section, description.error or ""]
    return found + [part for field in description.fields for part in field]


@pytest.mark.parametrize("name", messages())
def test_recorded_messages_are_described_whole_and_without_a_fault(name: str) -> None:
    data = messages()[name]
    described = list(describe_message(data))
    assert [item.error for item in described] == [None] * len(described)
    assert described[0].name == "HDR"
    at = 0
    for item in described:
        assert item.offset == at
        at += item.length
    assert at == len(data)


def test_recorded_chains_are_described_without_a_fault() -> None:
    for inner in inner_chains():
        described = list(describe_chain(inner.first, inner.chain, 0, len(inner.chain)))
        assert all(item.error is None for item in described)
        assert sum(item.length for item in described) == len(inner.chain)


@given(CHAINS)
def test_walk_and_decoding_agree_on_good_chains(payloads: list[Payload]) -> None:
    first, chain = encode_payloads(payloads)
    steps = list(walk(first, b"--" + chain, 2, 2 + len(chain)))
    assert [step.value for step in steps] == payloads
    assert all(
        step.payload_type == step.value.TYPE for step in steps if not isinstance(step.value, RemoteProtocolError)
    )


@given(st.integers(0, 255), st.binary(max_size=120), st.booleans())
def test_walk_and_decoding_agree_on_any_octets(first: int, octets: bytes, outer: bool) -> None:
    steps = list(walk(first, octets, 0, len(octets), outer=outer))
    found = outcome(lambda: decode_payloads(first, octets, 0, len(octets), outer=outer))
    errors = [step.value for step in steps if isinstance(step.value, RemoteProtocolError)]
    if isinstance(found, RemoteProtocolError):
        assert (str(errors[0]), errors[0].octet) == (str(found), found.octet)
    else:
        assert not errors
        assert [step.value for step in steps] == found
    assert sum(step.length for step in steps) == len(octets)


def test_walk_goes_on_after_a_malformed_body() -> None:
    _, octets = encode_payloads([Notification(Notify.COOKIE, b"x"), VendorId(b"v")])
    broken = octets[:5] + b"\xff" + octets[6:]
    first, second = walk(41, broken, 0, len(broken))
    assert isinstance(first.value, RemoteProtocolError)
    assert first.value.octet == 5
    assert second == Step(9, 5, 43, False, VendorId(b"v"))


def test_walk_stops_where_the_chain_breaks() -> None:
    _, octets = encode_payloads([VendorId(b"v"), VendorId(b"w")])
    broken = octets[:7] + b"\2" + octets[8:]
    first, second = walk(43, broken, 0, len(broken))
    assert first.value == VendorId(b"v")
    assert isinstance(second.value, RemoteProtocolError)
    assert (second.offset, second.length) == (5, 5)


@pytest.mark.requirement("IKE-247")
def test_walk_is_bounded() -> None:
    octets = bytes.fromhex("2b000004") * 10_000
    steps = list(walk(43, octets, 0, len(octets)))
    assert len(steps) == 257
    assert isinstance(steps[-1].value, RemoteProtocolError)


@given(PAYLOADS)
def test_every_description_is_printable(payload: Payload) -> None:
    described = describe_payload(payload)
    assert described.length == 4 + len(payload.encode_body())
    for text in texts(described):
        assert text.isprintable()
        assert len(text) < 2000


NASTY = [b"\r\nfake: line", b"\x1b[2J", b"%s%n", b"\xff\xfe", b"a" * 65000, "\u202eevil".encode(), b"\0", b'"\\']


@pytest.mark.parametrize("octets", NASTY, ids=range(len(NASTY)))
def test_text_of_a_peer_stays_one_printable_line(octets: bytes) -> None:
    payloads: list[Payload] = [
        VendorId(octets),
        IdentificationInitiator(IdType.ID_FQDN, octets),
        IdentificationInitiator(IdType.ID_KEY_ID, octets),
        Notification(50000, octets),
        Notification(Notify.COOKIE, octets),
    ]
    for payload in payloads:
        for text in texts(describe_payload(payload)):
            assert text.isprintable()
            assert len(text) < 200


@given(st.binary(max_size=80))
def test_printable(octets: bytes) -> None:
    assert printable(octets).isprintable()
    assert len(printable(octets)) < 130


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"strongSwan", '"strongSwan"'), (b"\0\1", "0001"), (b"", "empty"), (b'a"b\\', '"a\\"b\\\\"')],
)
def test_printable_examples(octets: bytes, text: str) -> None:
    assert printable(octets) == text


@given(st.binary(max_size=100))
def test_any_octets_are_described(octets: bytes) -> None:
    described = list(describe_message(octets))
    assert described
    assert all(text.isprintable() for item in described for text in texts(item))


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (Transform(TransformType.ENCR, 20, (Attribute(14, 256),)), "AES_GCM_16-256"),
        (Transform(TransformType.ADDKE1, Ke.ML_KEM_768), "ML_KEM_768"),
        (Transform(TransformType.PRF, 999), "PRF:999"),
        (Transform(99, 7), "99:7"),
        (
            Transform(TransformType.ENCR, 12, (Attribute(14, b"\1\0"), Attribute(9, 1))),
            "AES_CBC (attribute 14) (attribute 9)",
        ),
    ],
)
def test_transforms_in_words(transform: Transform, text: str) -> None:
    assert in_words(transform) == text


@pytest.mark.parametrize(
    ("notification", "name", "data"),
    [
        (Notification(Notify.INVALID_KE_PAYLOAD, b"\0\x1f"), "N(INVALID_KE_PAYLOAD)", "wanted: CURVE25519"),
        (
            Notification(Notify.SIGNATURE_HASH_ALGORITHMS, b"\0\2\0\5"),
            "N(SIGNATURE_HASH_ALGORITHMS)",
            "SHA2_256, IDENTITY",
        ),
        (Notification(Notify.SIGNATURE_HASH_ALGORITHMS, b"\0"), "N(SIGNATURE_HASH_ALGORITHMS)", "unusable: 00"),
        (Notification(Notify.IPCOMP_SUPPORTED, b"\0\7\2"), "N(IPCOMP_SUPPORTED)", "CPI 7, IPCOMP_DEFLATE"),
        (Notification(Notify.AUTH_LIFETIME, b"\0\0\0\x3c"), "N(AUTH_LIFETIME)", "60"),
        (Notification(IKE_TCP_SUPPORTED_DEFAULT, b"\x11\x94"), "N(IKE_TCP_SUPPORTED)", "4500"),
        (Notification(IKE_TCP_SUPPORTED_DEFAULT, b"\0\0"), "N(IKE_TCP_SUPPORTED)", "unusable: 0000"),
        (Notification(40970, b"text"), "N(40970)", '"text"'),
    ],
)
def test_notifications_in_words(notification: Notification, name: str, data: str) -> None:
    described = describe_payload(notification)
    assert described.name == name
    assert described.fields[-1][1] == data
    assert described.section == "RFC 7296 section 3.10"


def test_numbers_of_private_notifications_are_configuration() -> None:
    assert describe_payload(Notification(41000, b"\1\xf4"), private={41000: "IKE_TCP_SUPPORTED"}).fields[-1] == (
        "port",
        "500",
    )


def test_our_own_vendor_id_is_known() -> None:
    assert describe_payload(VendorId(VENDOR_ID)).fields == (("data", "ikecore"),)


def test_description_of_a_message_without_a_shape_says_so() -> None:
    octets = encode_message(
        spi_i=b"initiatr", spi_r=bytes(8), exchange=34, flags=8, message_id=0, payloads=[VendorId(b"v")]
    )
    header, vendor = describe_message(octets)
    assert header.error is not None
    assert "lacks SA" in header.error
    assert vendor.error is None


def test_description_of_a_message_with_another_length_points_to_it() -> None:
    octets = bytearray(messages()["strongswan-udp-psk-aes-gcm-0"])
    octets[27] += 1
    header, *rest = describe_message(bytes(octets))
    assert header.fault == 24
    assert all(item.error is None for item in rest)
