"""Suites: sizes, key length rules, names."""

from __future__ import annotations

import pytest

from ikecore.crypto import (
    ChildSuite,
    IkeSuite,
    child_suite,
    esp_proposals,
    ike_proposals,
    ike_suite,
    supported_esp_transform,
    supported_ike_transform,
)
from ikecore.errors import LocalProtocolError, NoProposalChosen
from ikecore.wire import Attribute, Proposal, Transform
from ikecore.wire.numbers import AttributeType, Encr, Esn, Integ, Ke, Prf, Protocol, TransformType


def encr(number: int, *lengths: int | bytes, kind: int = AttributeType.KEY_LENGTH) -> Transform:
    return Transform(TransformType.ENCR, number, tuple(Attribute(kind, length) for length in lengths))


@pytest.mark.requirement("IKE-153")
@pytest.mark.parametrize(
    ("words", "encr_key", "integ_key", "prf_key", "iv", "icv", "block", "aead"),
    [
        ("aes128gcm16-prfsha256-x25519", 20, 0, 32, 8, 16, 1, True),
        ("aes192gcm16-prfsha384-x448", 28, 0, 48, 8, 16, 1, True),
        ("aes256gcm16-prfsha512-ecp521", 36, 0, 64, 8, 16, 1, True),
        ("chacha20poly1305-prfsha256-ecp256", 36, 0, 32, 8, 16, 1, True),
        ("aes128-sha256-modp2048", 16, 32, 32, 16, 16, 16, False),
        ("aes192-sha384-prfsha512-ecp384", 24, 48, 64, 16, 24, 16, False),
        ("aes256-sha512-prfsha256-modp8192", 32, 64, 32, 16, 32, 16, False),
    ],
)
def test_sizes_of_an_ike_suite(
    words: str, encr_key: int, integ_key: int, prf_key: int, iv: int, icv: int, block: int, aead: bool
) -> None:
    suite = ike_suite(*ike_proposals(words))
    assert (suite.encr_key_length, suite.integ_key_length, suite.prf_key_length) == (encr_key, integ_key, prf_key)
    assert (suite.iv_length, suite.icv_length, suite.block, suite.aead) == (iv, icv, block, aead)


@pytest.mark.requirement("IKE-153")
@pytest.mark.parametrize(
    ("words", "encr_key", "integ_key"),
    [
        ("aes128gcm16", 20, 0),
        ("aes192gcm16", 28, 0),
        ("aes256gcm16-esn", 36, 0),
        ("chacha20poly1305", 36, 0),
        ("aes128-sha256", 16, 32),
        ("aes256-sha512", 32, 64),
        ("null-sha384", 0, 48),
    ],
)
def test_sizes_of_a_child_suite(words: str, encr_key: int, integ_key: int) -> None:
    suite = child_suite(*esp_proposals(words))
    assert (suite.encr_key_length, suite.integ_key_length) == (encr_key, integ_key)
    assert suite.esn == (Esn.ESN if "esn" in words else Esn.NO_ESN)
    assert suite.group is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("aes256gcm16-prfsha256-x25519", "AES_GCM_16-256/PRF_HMAC_SHA2_256/CURVE25519"),
        ("chacha20poly1305-prfsha384-ecp384", "CHACHA20_POLY1305/PRF_HMAC_SHA2_384/ECP_384"),
        ("aes128-sha256-modp2048", "AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048"),
    ],
)
def test_an_ike_suite_reads_well(words: str, text: str) -> None:
    assert str(ike_suite(*ike_proposals(words))) == text


def test_a_child_suite_reads_well() -> None:
    assert str(child_suite(*esp_proposals("aes256gcm16-x25519-esn"))) == "AES_GCM_16-256/CURVE25519/ESN"
    assert str(child_suite(*esp_proposals("aes128-sha256"))) == "AES_CBC-128/HMAC_SHA2_256_128/NO_ESN"


@pytest.mark.requirement("IKE-259", "IKE-262", "IKE-113")
@pytest.mark.parametrize(
    ("transform", "fits"),
    [
        (encr(Encr.AES_GCM_16, 128), True),
        (encr(Encr.AES_GCM_16, 192), True),
        (encr(Encr.AES_GCM_16), False),
        (encr(Encr.AES_GCM_16, 0), False),
        (encr(Encr.AES_GCM_16, 512), False),
        (encr(Encr.AES_GCM_16, b"\1\0"), False),
        (encr(Encr.AES_GCM_16, 256, 256), False),
        (encr(Encr.AES_GCM_16, 256, kind=99), False),
        (encr(Encr.AES_CBC, 256), True),
        (encr(Encr.AES_CBC), False),
        (encr(Encr.CHACHA20_POLY1305), True),
        (encr(Encr.CHACHA20_POLY1305, 256), False),
        (encr(Encr.AES_CTR, 256), False),
        (encr(Encr.TRIPLE_DES), False),
        (encr(64000, 256), False),
        (Transform(TransformType.PRF, Prf.HMAC_SHA2_256), True),
        (Transform(TransformType.PRF, Prf.HMAC_SHA2_256, (Attribute(14, 256),)), False),
        (Transform(TransformType.PRF, Prf.HMAC_MD5), False),
        (Transform(TransformType.INTEG, Integ.NONE), True),
        (Transform(TransformType.INTEG, Integ.HMAC_SHA1_96), False),
        (Transform(TransformType.KE, Ke.CURVE25519), True),
        (Transform(TransformType.KE, Ke.MODP_1024), False),
        (Transform(TransformType.KE, Ke.NONE), False),
        (Transform(TransformType.ESN, Esn.ESN), False),
        (Transform(200, 1), False),
    ],
)
def test_which_transforms_an_ike_sa_can_have(transform: Transform, fits: bool) -> None:
    assert supported_ike_transform(transform) is fits


@pytest.mark.requirement("IKE-263")
def test_encr_null_is_for_esp_only() -> None:
    null = encr(Encr.NULL)
    assert supported_esp_transform(null)
    assert not supported_esp_transform(encr(Encr.NULL, 128))
    assert not supported_ike_transform(null)


@pytest.mark.parametrize(
    ("transform", "fits"),
    [
        (Transform(TransformType.ESN, Esn.ESN), True),
        (Transform(TransformType.ESN, Esn.NO_ESN), True),
        (Transform(TransformType.ESN, Esn.UNSPECIFIED_32_BIT), False),
        (Transform(TransformType.KE, Ke.NONE), True),
        (Transform(TransformType.PRF, Prf.HMAC_SHA2_256), False),
    ],
)
def test_which_transforms_a_child_sa_can_have(transform: Transform, fits: bool) -> None:
    assert supported_esp_transform(transform) is fits


@pytest.mark.requirement("IKE-263")
@pytest.mark.parametrize(
    ("cipher", "bits", "prf", "integ", "group"),
    [
        (Encr.NULL, 0, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128, Ke.CURVE25519),
        (Encr.AES_CBC, 256, Prf.HMAC_SHA2_256, None, Ke.CURVE25519),
        (Encr.AES_CBC, 0, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128, Ke.CURVE25519),
        (Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128, Ke.CURVE25519),
        (Encr.AES_GCM_16, 256, Prf.HMAC_MD5, None, Ke.CURVE25519),
        (Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_256, None, Ke.NONE),
        (Encr.CHACHA20_POLY1305, 256, Prf.HMAC_SHA2_256, None, Ke.CURVE25519),
        (64000, 0, Prf.HMAC_SHA2_256, None, Ke.CURVE25519),
    ],
)
def test_a_suite_without_sense_cannot_be_made(cipher: int, bits: int, prf: int, integ: int | None, group: int) -> None:
    with pytest.raises(LocalProtocolError):
        IkeSuite(cipher, bits, prf, integ, group)


@pytest.mark.parametrize(
    ("protocol", "cipher", "bits", "integ", "esn"),
    [
        (Protocol.AH, Encr.AES_GCM_16, 256, None, Esn.ESN),
        (Protocol.ESP, Encr.NULL, 0, None, Esn.ESN),
        (Protocol.ESP, Encr.AES_CBC, 128, None, Esn.ESN),
        (Protocol.ESP, Encr.AES_GCM_16, 256, None, 7),
    ],
)
def test_a_child_suite_without_sense_cannot_be_made(
    protocol: int, cipher: int, bits: int, integ: int | None, esn: int
) -> None:
    with pytest.raises(LocalProtocolError):
        ChildSuite(protocol, cipher, bits, integ, esn, None)


def test_a_proposal_that_is_no_suite_is_refused() -> None:
    (good,) = ike_proposals("aes256gcm16-prfsha256-x25519")
    two = Proposal(1, Protocol.IKE, b"", (*good.transforms, Transform(TransformType.PRF, Prf.HMAC_SHA2_384)))
    cut = Proposal(1, Protocol.IKE, b"", good.transforms[:-1])
    other = Proposal(1, Protocol.ESP, b"", good.transforms)
    for bad in (two, cut, other):
        with pytest.raises(NoProposalChosen):
            ike_suite(bad)
        with pytest.raises(NoProposalChosen):
            child_suite(bad)
