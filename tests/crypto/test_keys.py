"""The key schedule where the recorded exchanges do not go: changes of PRF, Child SAs, secrets in reprs."""

from __future__ import annotations

import hmac

import attrs
import pytest

from ikecore.crypto import (
    ChildKeys,
    IkeKeys,
    child_suite,
    derive_child_keys,
    derive_ike_keys,
    esp_proposals,
    ike_proposals,
    ike_suite,
    rekey_ike_keys,
)
from ikecore.wire.numbers import Prf

NI, NR, SPI_I, SPI_R, SHARED = bytes(range(32)), bytes(range(32, 64)), b"initiatr", b"responde", b"shared" * 5


def prf_plus(name: str, key: bytes, seed: bytes, length: int) -> bytes:
    stream, last, counter = b"", b"", 0
    while len(stream) < length:
        counter += 1
        last = hmac.digest(key, last + seed + bytes([counter]), name)
        stream += last
    return stream[:length]


def joined(keys: IkeKeys | ChildKeys) -> bytes:
    return b"".join(getattr(keys, field.name) for field in attrs.fields(type(keys)))  # type: ignore[arg-type]


@pytest.mark.requirement("IKE-154", "IKE-153")
@pytest.mark.parametrize(
    ("words", "hash_name", "lengths"),
    [
        ("aes128gcm16-prfsha256-x25519", "sha256", [32, 0, 0, 20, 20, 32, 32]),
        ("aes256-sha512-prfsha384-x25519", "sha384", [48, 64, 64, 32, 32, 48, 48]),
        ("chacha20poly1305-prfsha512-x25519", "sha512", [64, 0, 0, 36, 36, 64, 64]),
    ],
)
def test_the_seven_keys_are_one_stream_cut_in_order(words: str, hash_name: str, lengths: list[int]) -> None:
    suite = ike_suite(*ike_proposals(words))
    keys = derive_ike_keys(suite, SHARED, NI, NR, SPI_I, SPI_R)
    assert [len(getattr(keys, field.name)) for field in attrs.fields(IkeKeys)] == lengths  # type: ignore[arg-type]
    skeyseed = hmac.digest(NI + NR, SHARED, hash_name)
    assert joined(keys) == prf_plus(hash_name, skeyseed, NI + NR + SPI_I + SPI_R, sum(lengths))


@pytest.mark.requirement("IKE-177")
def test_a_rekey_mixes_with_the_old_prf_and_expands_with_the_new() -> None:
    suite = ike_suite(*ike_proposals("aes256gcm16-prfsha512-x25519"))
    keys = rekey_ike_keys(Prf.HMAC_SHA2_256, b"old" * 10, suite, SHARED, NI, NR, SPI_I, SPI_R)
    skeyseed = hmac.digest(b"old" * 10, SHARED + NI + NR, "sha256")
    assert joined(keys) == prf_plus("sha512", skeyseed, NI + NR + SPI_I + SPI_R, len(joined(keys)))


@pytest.mark.requirement("IKE-175", "IKE-176")
@pytest.mark.parametrize("shared", [b"", SHARED])
@pytest.mark.parametrize(
    ("words", "lengths"),
    [("aes256gcm16", [36, 0, 36, 0]), ("aes128-sha384", [16, 48, 16, 48]), ("null-sha256", [0, 32] * 2)],
)
def test_child_keys_are_the_initiators_first_and_encryption_before_integrity(
    words: str, lengths: list[int], shared: bytes
) -> None:
    suite = child_suite(*esp_proposals(words))
    keys = derive_child_keys(suite, Prf.HMAC_SHA2_384, b"sk_d" * 12, NI, NR, shared)
    stream = prf_plus("sha384", b"sk_d" * 12, shared + NI + NR, sum(lengths))
    first = lengths[0]
    assert keys.encr_i == stream[:first]
    assert keys.integ_i == stream[first : first + lengths[1]]
    assert joined(keys) == stream
    assert [len(getattr(keys, field.name)) for field in attrs.fields(ChildKeys)] == lengths  # type: ignore[arg-type]


def test_keys_are_not_in_reprs() -> None:
    suite = ike_suite(*ike_proposals("aes256-sha256-x25519"))
    keys = derive_ike_keys(suite, SHARED, NI, NR, SPI_I, SPI_R)
    assert repr(keys) == "IkeKeys()"
    assert repr(derive_child_keys(child_suite(*esp_proposals("aes256gcm16")), 5, b"k", NI, NR)) == "ChildKeys()"
