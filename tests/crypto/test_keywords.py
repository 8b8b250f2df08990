"""Proposals in words."""

from __future__ import annotations

import pytest

from ikecore.crypto import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    esp_proposals,
    ike_proposals,
    parse_esp_proposal,
    parse_ike_proposal,
    supported_esp_transform,
    supported_ike_transform,
)
from ikecore.errors import LocalProtocolError
from ikecore.wire import Attribute, Transform
from ikecore.wire.numbers import Encr, Esn, Integ, Ke, Prf, Protocol, TransformType

ENCR, PRF, INTEG, KE, ESN = (TransformType(number) for number in range(1, 6))


def test_an_aead_with_its_prf_and_group() -> None:
    assert parse_ike_proposal("aes256gcm16-prfsha256-x25519") == (
        Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 256),)),
        Transform(PRF, Prf.HMAC_SHA2_256),
        Transform(KE, Ke.CURVE25519),
    )


def test_the_prf_follows_the_integrity_algorithm() -> None:
    assert parse_ike_proposal(" AES128-sha384-modp2048 ") == (
        Transform(ENCR, Encr.AES_CBC, (Attribute(14, 128),)),
        Transform(PRF, Prf.HMAC_SHA2_384),
        Transform(INTEG, Integ.HMAC_SHA2_384_192),
        Transform(KE, Ke.MODP_2048),
    )


def test_esp_has_no_extended_sequence_numbers_unless_written() -> None:
    cipher = Transform(ENCR, Encr.AES_GCM_16, (Attribute(14, 128),))
    assert parse_esp_proposal("aes128gcm16") == (cipher, Transform(ESN, Esn.NO_ESN))
    assert parse_esp_proposal("aes128gcm128-esn") == (cipher, Transform(ESN, Esn.ESN))
    both = parse_esp_proposal("aes128gcm16-esn-noesn-modpnone")
    assert both == (cipher, Transform(KE, Ke.NONE), Transform(ESN, Esn.ESN), Transform(ESN, Esn.NO_ESN))


def test_order_is_preference_and_repetition_means_nothing() -> None:
    transforms = parse_ike_proposal("aes128gcm16-aes256gcm16-prfsha256-ecp256-x25519-aes128gcm16")
    assert [each.key_length for each in transforms if each.type == ENCR] == [128, 256]
    assert [each.id for each in transforms if each.type == KE] == [Ke.ECP_256, Ke.CURVE25519]


@pytest.mark.requirement("IKE-109")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "''"),
        ("aes256gcm16-prfsha256-x25519-", "''"),
        ("3des-sha256-x25519", "'3des' is not known; allowed are aes128gcm16"),
        ("aes256gcm16-x25519", "prfsha256"),
        ("aes256gcm16-prfsha256", "x25519"),
        ("prfsha256-x25519", "a cipher is needed"),
        ("aes256-prfsha256-x25519", "integrity algorithm is needed"),
        ("aes256gcm16-sha256-x25519", "no integrity"),
        ("aes256gcm16-aes256-prfsha256-sha256-x25519", "different proposals"),
        ("null-sha256-x25519", "'null' is not known"),
        ("aes256gcm16-prfsha256-x25519-esn", "'esn' is not known"),
    ],
)
def test_a_mistake_in_an_ike_proposal_is_named(text: str, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        parse_ike_proposal(text)


@pytest.mark.parametrize("text", ["", "null", "aes128", "aes128gcm16-sha256", "aes128gcm16-prfsha256", "sha256"])
def test_a_mistake_in_an_esp_proposal_is_named(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        parse_esp_proposal(text)


@pytest.mark.requirement("IKE-250")
def test_proposals_are_numbered_from_one() -> None:
    proposals = ike_proposals("aes128-sha256-x25519", "aes256-sha256-x25519")
    assert [(each.number, each.protocol, each.spi) for each in proposals] == [(1, Protocol.IKE, b""), (2, 1, b"")]
    assert [each.protocol for each in esp_proposals("aes128gcm16", "aes256gcm16")] == [Protocol.ESP] * 2


@pytest.mark.requirement("IKE-011", "IKE-109", "IKE-257")
def test_the_defaults_hold_what_can_be_computed_and_nothing_old() -> None:
    for proposal in DEFAULT_IKE_PROPOSALS:
        assert all(map(supported_ike_transform, proposal.transforms))
        groups = {each.id for each in proposal.transforms if each.type == KE}
        assert groups == {Ke.CURVE25519, Ke.CURVE448, Ke.ECP_256, Ke.ECP_384, Ke.ECP_521}
    for proposal in DEFAULT_ESP_PROPOSALS:
        assert all(map(supported_esp_transform, proposal.transforms))
        assert all(each.type != KE for each in proposal.transforms)
