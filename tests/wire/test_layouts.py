"""Chains read by their layout: always what reading payload by payload gives, and bounded whatever strangers send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import RemoteProtocolError
from ikecore.wire import (
    Authentication,
    Certificate,
    CertificateRequest,
    Delete,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelector,
    TrafficSelectorsResponder,
    Transform,
    VendorId,
    decode_payloads,
    encode_payloads,
    layouts,
)
from ikecore.wire.chain import MAX_PAYLOADS, _read_each
from ikecore.wire.numbers import AuthMethod, CertEncoding, Esn, IdType, Ke, Notify, Protocol, TransformType
from ikecore.wire.payloads import DECODERS
from tests.wire.strategies import BY_TYPE, CHAINS, outcome


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    layouts.LAYOUTS.clear()
    layouts._MET.clear()


def read(first: int, data: bytes, pos: int = 0, **options: Any) -> list[Payload]:
    return decode_payloads(first, data, pos, len(data), **options)


def told(found: list[Payload] | RemoteProtocolError) -> object:
    return (type(found), str(found)) if isinstance(found, RemoteProtocolError) else found


def learn(first: int, octets: bytes) -> None:
    forget()
    for _ in range(2):
        read(first, octets)


@given(CHAINS.filter(bool))
def test_a_chain_by_its_layout_is_the_same_chain(payloads: list[Payload]) -> None:
    first, octets = encode_payloads(payloads)
    learn(first, octets)
    (layout,) = layouts.LAYOUTS.values() or (None,)
    assert layout is not None or any(payload.TYPE not in DECODERS for payload in payloads)
    assert read(first, octets) == payloads
    assert read(first, b"before" + octets, 6) == payloads
    assert read(first, octets, outer=True) == payloads


@pytest.mark.requirement("IKE-248")
@pytest.mark.parametrize("kind", [kind for kind in BY_TYPE if kind in DECODERS])
@given(data=st.data())
def test_whatever_changes_is_found_as_payload_by_payload(kind: int, data: st.DataObject) -> None:
    first, octets = encode_payloads([data.draw(BY_TYPE[kind]), *data.draw(CHAINS)])
    learn(first, octets)
    changed = bytearray(octets)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    wanted = outcome(lambda: _read_each(first, bytes(changed), 0, len(changed), MAX_PAYLOADS, False))
    assert told(outcome(lambda: read(first, bytes(changed)))) == told(wanted)


def test_contents_are_made_of_the_layout_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def payloads(fill: int) -> list[Payload]:
        def octets(length: int) -> bytes:
            return bytes((fill,)) * length

        return [
            IdentificationInitiator(IdType.ID_FQDN, octets(20)),
            IdentificationResponder(IdType.ID_KEY_ID, octets(20), b"res"),
            Certificate(CertEncoding.X509_SIGNATURE, octets(300)),
            CertificateRequest(CertEncoding.X509_SIGNATURE, octets(40)),
            Authentication(AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE, octets(32)),
            SecurityAssociation((Proposal(1, Protocol.ESP, octets(4), (Transform(TransformType.ESN, Esn.NO_ESN),)),)),
            SecurityAssociation((Proposal(1, Protocol.IKE, b"", (Transform(TransformType.ENCR, 12),)),)),
            TrafficSelectorsResponder((TrafficSelector(7, 6, 0, fill, octets(4), octets(4)),)),
            KeyExchange(Ke.CURVE25519, octets(32)),
            Nonce(octets(32)),
            Notification(Notify.NAT_DETECTION_SOURCE_IP, octets(20)),
            Notification(Notify.REKEY_SA, b"", Protocol.ESP, octets(4)),
            Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED),
            Delete(Protocol.ESP, (octets(4),)),
        ]

    learn(*encode_payloads(payloads(65)))
    monkeypatch.delattr("ikecore.wire.chain._read_each")
    assert read(*encode_payloads(payloads(66))) == payloads(66)


def test_more_payloads_than_allowed_are_too_many_in_a_known_layout() -> None:
    first, octets = encode_payloads([VendorId(b"a")] * 3)
    learn(first, octets)
    with pytest.raises(RemoteProtocolError, match="more than 2 payloads"):
        read(first, octets, most=2)


def test_a_layout_makes_room_for_another_that_comes_as_often() -> None:
    one, other = (encode_payloads([VendorId(bytes(size)) for size in sizes]) for sizes in ((8, 12, 4), (8, 4, 12)))
    learn(*one)
    assert len(one[1]) == len(other[1])
    for _ in range(2):
        read(*other)
    (layout,) = layouts.LAYOUTS.values()
    assert layout.read(other[1], 0) is not None
    assert layout.read(one[1], 0) is None


def test_strangers_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_MOST", 8)
    for size in range(100):
        for _ in range(2 if size % 3 else 1):
            read(*encode_payloads([VendorId(bytes(size))]))
        assert len(layouts.LAYOUTS) <= 8
        assert len(layouts._MET) <= 8
    forget()
    for long in ([VendorId(b"")] * 25, [Notification(Notify.COOKIE)] * 24 + [Nonce(bytes(16))]):
        learn(*encode_payloads(long))
        assert not layouts.LAYOUTS
