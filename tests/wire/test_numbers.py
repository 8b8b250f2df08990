"""Registries: names, numbers, and the numbers that we chose ourselves."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import pytest

from ikecore.wire.numbers import (
    IKE_TCP_SUPPORTED_DEFAULT,
    INITIATOR,
    RESPONSE,
    SEPARATE_TRANSPORTS_DEFAULT,
    VENDOR_ID,
    VERSION,
    AuthMethod,
    Encr,
    Exchange,
    Integ,
    Ke,
    Notify,
    PayloadType,
    Prf,
    TransformType,
    known,
    members,
    name_of,
)


@pytest.mark.parametrize(
    ("member", "number"),
    [
        (Exchange.IKE_SA_INIT, 34),
        (Exchange.IKE_INTERMEDIATE, 43),
        (PayloadType.SKF, 53),
        (TransformType.ADDKE7, 12),
        (Encr.AES_GCM_16, 20),
        (Encr.CHACHA20_POLY1305, 28),
        (Prf.HMAC_SHA2_256, 5),
        (Integ.HMAC_SHA2_256_128, 12),
        (Ke.MODP_2048, 14),
        (Ke.CURVE25519, 31),
        (Ke.ML_KEM_768, 36),
        (AuthMethod.DIGITAL_SIGNATURE, 14),
        (Notify.INVALID_SYNTAX, 7),
        (Notify.IKEV2_FRAGMENTATION_SUPPORTED, 16430),
    ],
)
def test_numbers_of_the_registry(member: IntEnum, number: int) -> None:
    assert member == number
    assert known(type(member), number) is member
    assert name_of(type(member), number) == member.name
    assert members(type(member))[number] is member


@pytest.mark.parametrize("number", [0, 9999, 40970, 65535])
def test_unknown_number_stays_a_plain_int(number: int) -> None:
    assert type(known(Notify, number)) is int
    assert known(Notify, number) == number
    assert name_of(Notify, number) == str(number)


def test_lookup_makes_no_members() -> None:
    before = len(Notify)
    known(Notify, 50000)
    name_of(Notify, 50001)
    assert len(Notify) == before
    assert 50000 not in members(Notify)


@pytest.mark.requirement("TCP-52", "TCP-84")
@pytest.mark.parametrize("number", [IKE_TCP_SUPPORTED_DEFAULT, SEPARATE_TRANSPORTS_DEFAULT])
def test_our_own_notify_types_collide_with_nothing(number: int) -> None:
    assert number not in members(Notify)
    assert 40960 <= number <= 65535, "not a private-use status"
    assert not 40960 <= number <= 40999, "used by others"
    assert len({IKE_TCP_SUPPORTED_DEFAULT, SEPARATE_TRANSPORTS_DEFAULT}) == 2


def test_vendor_id_is_the_hash_that_its_comment_says() -> None:
    assert hashlib.sha256(b"ikecore 1").digest()[:16] == VENDOR_ID


@pytest.mark.requirement("IKE-236")
def test_flags() -> None:
    assert (INITIATOR, VERSION, RESPONSE) == (0x08, 0x10, 0x20)
