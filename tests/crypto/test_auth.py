"""AUTH payloads: every kind of key signs and verifies, and nothing that was bent verifies (B9)."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from ikecore.crypto import (
    SUPPORTED_HASHES,
    PrivateKey,
    Scheme,
    check_psk,
    choose_scheme,
    pad_secret,
    psk_auth,
    sign_with,
    signed_octets,
    verify,
)
from ikecore.crypto.signature_algorithms import BY_DER, PREFERRED, Algorithm
from ikecore.errors import AuthenticationFailed, LocalProtocolError
from ikecore.wire.numbers import AuthMethod, HashAlgorithm, Prf
from tests.crypto.signing import sign, signed_as
from tests.crypto.test_public_keys import BAD, GOOD

OVER = b"message | nonce | prf(SK_p, ID)" * 5
KINDS = {
    "RSA": "rsa-pss",
    "P-256": "ecdsa",
    "P-384": "ecdsa",
    "P-521": "ecdsa",
    "Ed25519": "ed25519",
    "Ed448": "ed448",
    "ML-DSA-44": "ml-dsa-44",
    "ML-DSA-65": "ml-dsa-65",
    "ML-DSA-87": "ml-dsa-87",
}
SHA2 = [HashAlgorithm.SHA2_256, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_512]
HAZMAT = {2: hashes.SHA256(), 3: hashes.SHA384(), 4: hashes.SHA512()}
RSA: Any = GOOD["RSA"]
P256: Any = GOOD["P-256"]
DIGITAL = AuthMethod.DIGITAL_SIGNATURE
every_key = pytest.mark.parametrize("name", GOOD)


def split(data: bytes) -> tuple[Algorithm, bytes]:
    end = 1 + data[0]
    return BY_DER[data[1:end]], data[end:]


def joined(identifier: bytes, signature: bytes) -> bytes:
    return bytes([len(identifier)]) + identifier + signature


@pytest.mark.requirement("IKE-275", "IKE-004")
@every_key
def test_every_kind_of_key_signs_and_verifies(name: str) -> None:
    key = GOOD[name]
    method, data = sign(key, OVER, peer_hashes=SUPPORTED_HASHES)
    assert method == DIGITAL
    assert split(data)[0].kind == KINDS[name]
    verify(key.public_key(), method, data, OVER, hashes=SUPPORTED_HASHES)


@every_key
@pytest.mark.parametrize("peer_hashes", [SUPPORTED_HASHES, None])
def test_a_signature_may_be_made_elsewhere(name: str, peer_hashes: frozenset[int] | None) -> None:
    """What an HSM has to know is in the scheme: kind and hash; ECDSA signatures come in DER as libraries give them."""
    key = GOOD[name]
    if peer_hashes is None and KINDS[name] not in ("rsa-pss", "ecdsa"):
        with pytest.raises(AuthenticationFailed, match="SIGNATURE_HASH_ALGORITHMS"):
            choose_scheme(key.public_key(), peer_hashes=None)
        return
    scheme = choose_scheme(key.public_key(), peer_hashes=peer_hashes)
    data = scheme.payload(sign_with(key, scheme, OVER), key.public_key())
    verify(key.public_key(), scheme.method, data, OVER)


def test_der_that_is_no_ecdsa_signature_is_told_to_us() -> None:
    scheme = choose_scheme(P256.public_key(), peer_hashes=None)
    for bad in (b"", b"\x30\0", encode_dss_signature(1 << 300, 1)):
        with pytest.raises(LocalProtocolError, match="not an ECDSA signature"):
            scheme.payload(bad, P256.public_key())


@pytest.mark.requirement("IKE-275")
@pytest.mark.parametrize("number", SHA2)
@pytest.mark.parametrize("name", ["RSA", "P-256", "P-384", "P-521"])
def test_the_hash_is_one_that_the_peer_announced(name: str, number: int) -> None:
    _, data = sign(GOOD[name], OVER, peer_hashes=frozenset({HashAlgorithm.SHA1, number, 99}))
    assert split(data)[0].hash == number
    verify(GOOD[name].public_key(), DIGITAL, data, OVER)


def test_ecdsa_takes_the_hash_of_its_curve_if_it_can() -> None:
    for name, number in (("P-256", 2), ("P-384", 3), ("P-521", 4)):
        assert split(sign(GOOD[name], OVER, peer_hashes=SUPPORTED_HASHES)[1])[0].hash == number


@pytest.mark.requirement("IKE-275")
@every_key
def test_a_peer_that_verifies_no_hash_of_ours_gets_no_signature(name: str) -> None:
    for announced in (frozenset[int](), frozenset({1, 6, 99})):
        with pytest.raises(AuthenticationFailed, match="verifies only"):
            sign(GOOD[name], OVER, peer_hashes=announced)


@pytest.mark.requirement("IKE-275")
@every_key
def test_a_hash_that_we_did_not_announce_is_not_accepted(name: str) -> None:
    method, data = sign(GOOD[name], OVER, peer_hashes=SUPPORTED_HASHES)
    for announced in (frozenset[int](), SUPPORTED_HASHES - {split(data)[0].hash}):
        with pytest.raises(AuthenticationFailed, match="announce"):
            verify(GOOD[name].public_key(), method, data, OVER, hashes=announced)


@pytest.mark.requirement("IKE-004")
@every_key
def test_a_signature_that_was_bent_verifies_nowhere(name: str) -> None:
    key = GOOD[name].public_key()
    _, data = sign(GOOD[name], OVER, peer_hashes=SUPPORTED_HASHES)
    begin = 1 + data[0]
    wrong = [data[:length] for length in (0, 1, 5, begin - 1, begin, begin + 1, len(data) - 1)]
    wrong += [data + b"\0", data[:begin] + bytes(len(data) - begin), data[:begin] + b"\xff" * (len(data) - begin)]
    wrong += [
        b"\0" + data[begin:],
        b"\xff" + data[1:],
        bytes([data[0] - 1]) + data[1:],
        bytes([data[0] + 1]) + data[1:],
    ]
    step = max(1, len(data) // 60)
    for position in [*range(begin), *range(begin, len(data), step)]:
        wrong.append(data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :])
    for each in wrong:
        with pytest.raises(AuthenticationFailed):
            verify(key, DIGITAL, each, OVER)
    for other in (OVER[:-1], OVER + b"\0", b""):
        with pytest.raises(AuthenticationFailed):
            verify(key, DIGITAL, data, other)


@every_key
def test_no_other_key_verifies_it(name: str) -> None:
    _, data = sign(GOOD[name], OVER, peer_hashes=SUPPORTED_HASHES)
    strangers: list[PrivateKey] = [key for other, key in GOOD.items() if other != name]
    strangers += [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())]
    for stranger in strangers:
        with pytest.raises(AuthenticationFailed):
            verify(stranger.public_key(), DIGITAL, data, OVER)


@pytest.mark.requirement("IKE-275")
@pytest.mark.parametrize("identifier", BY_DER, ids=lambda der: f"{BY_DER[der].kind}-{BY_DER[der].hash}-{len(der)}")
def test_every_encoding_of_an_algorithm_is_understood(identifier: bytes) -> None:
    algorithm = BY_DER[identifier]
    name = next(name for name, kind in KINDS.items() if kind == algorithm.kind.replace("pkcs1", "pss"))
    _, data = signed_as(Scheme(DIGITAL, algorithm.kind, algorithm.hash), GOOD[name], OVER)
    chosen, signature = split(data)
    assert chosen == algorithm
    verify(GOOD[name].public_key(), DIGITAL, joined(identifier, signature), OVER)


@pytest.mark.requirement("IKE-275")
def test_the_algorithm_that_is_named_is_the_one_that_counts() -> None:
    _, data = sign(RSA, OVER, peer_hashes=SUPPORTED_HASHES)
    named, signature = split(data)
    for algorithm, identifier in PREFERRED.items():
        if algorithm != named:
            with pytest.raises(AuthenticationFailed):
                verify(RSA.public_key(), DIGITAL, joined(identifier, signature), OVER)


SHA1_WITH_RSA = bytes.fromhex("300d06092a864886f70d0101050500")
PSS_DEFAULTS = bytes.fromhex("300d06092a864886f70d01010a3000")


def test_sha1_and_default_pss_are_not_among_the_algorithms() -> None:
    for identifier in (SHA1_WITH_RSA, PSS_DEFAULTS):
        data = joined(identifier, RSA.sign(OVER, padding.PKCS1v15(), hashes.SHA1()))
        with pytest.raises(AuthenticationFailed, match="no signature algorithm"):
            verify(RSA.public_key(), DIGITAL, data, OVER)


@pytest.mark.parametrize("salt", [0, 20, 31, 33])
def test_a_salt_of_another_length_than_named_is_refused(salt: int) -> None:
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    data = joined(PREFERRED[Algorithm("rsa-pss", 2)], RSA.sign(OVER, pss, hashes.SHA256()))
    with pytest.raises(AuthenticationFailed):
        verify(RSA.public_key(), DIGITAL, data, OVER)


def forged_pkcs1(digest_info: bytes, size: int) -> bytes:
    """What a lax verifier would accept for e=3: short padding, the digest, then anything that makes it a cube."""
    prefix = b"\0\1\xff\xff\xff\xff\xff\xff\xff\xff\0" + digest_info
    target = int.from_bytes(prefix + b"\0" * (size - len(prefix)), "big")
    low, high = 0, 1 << (8 * size // 3 + 2)
    while low < high:
        middle = (low + high) // 2
        if middle**3 < target:
            low = middle + 1
        else:
            high = middle
    return low.to_bytes(size, "big")


def test_a_forged_cube_root_is_refused() -> None:
    key = rsa.generate_private_key(3, 2048)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(OVER)
    info = bytes.fromhex("3031300d060960864801650304020105000420") + digest.finalize()
    signature = forged_pkcs1(info, 256)
    cube = (int.from_bytes(signature, "big") ** 3).to_bytes(256, "big")
    assert cube.startswith(b"\0\1\xff\xff\xff\xff\xff\xff\xff\xff\0" + info), "the forgery is one"
    with pytest.raises(AuthenticationFailed):
        verify(key.public_key(), DIGITAL, joined(PREFERRED[Algorithm("rsa-pkcs1", 2)], signature), OVER)
    with pytest.raises(AuthenticationFailed):
        verify(key.public_key(), AuthMethod.RSA_SIGNATURE, signature, OVER)


@pytest.mark.parametrize(
    "signature", [b"", b"\x30\0", encode_dss_signature(0, 0), encode_dss_signature(1, 0), b"\x30\x06\2\1\x81\2\1\x81"]
)
def test_degenerate_ecdsa_signatures_are_refused(signature: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        verify(P256.public_key(), DIGITAL, joined(PREFERRED[Algorithm("ecdsa", 2)], signature), OVER)


@every_key
@given(data=st.binary(max_size=120))
@settings(max_examples=40)
def test_any_octets_are_refused_quietly(name: str, data: bytes) -> None:
    key = GOOD[name].public_key()
    identifiers = [der for algorithm, der in PREFERRED.items() if algorithm.kind.partition("-")[0] in KINDS[name]]
    for method in (1, 2, 9, 10, 11, 13, 14, 200):
        for each in (data, *[joined(der, data) for der in identifiers]):
            with pytest.raises(AuthenticationFailed):
                verify(key, method, each, OVER)


# --- without RFC 7427 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method", "length"),
    [
        ("P-256", AuthMethod.ECDSA_SHA256_P256, 64),
        ("P-384", AuthMethod.ECDSA_SHA384_P384, 96),
        ("P-521", AuthMethod.ECDSA_SHA512_P521, 132),
        ("RSA", AuthMethod.RSA_SIGNATURE, 256),
    ],
)
def test_a_peer_without_rfc_7427_gets_the_old_methods(name: str, method: int, length: int) -> None:
    key = GOOD[name]
    chosen, data = sign(key, OVER, peer_hashes=None)
    assert (chosen, len(data)) == (method, length)
    verify(key.public_key(), chosen, data, OVER)
    for wrong in (data[:-1], data + b"\0", b"", bytes(length), bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(AuthenticationFailed):
            verify(key.public_key(), chosen, wrong, OVER)
    for other in {1, 9, 10, 11} - {method}:
        with pytest.raises(AuthenticationFailed):
            verify(key.public_key(), other, data, OVER)


def test_the_halves_of_an_old_ecdsa_signature_are_r_and_s() -> None:
    r, s = decode_dss_signature(P256.sign(OVER, ec.ECDSA(hashes.SHA256())))
    verify(P256.public_key(), 9, r.to_bytes(32, "big") + s.to_bytes(32, "big"), OVER)


@pytest.mark.parametrize("name", ["Ed25519", "Ed448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"])
def test_newer_keys_need_rfc_7427(name: str) -> None:
    with pytest.raises(AuthenticationFailed, match="RFC 7427"):
        sign(GOOD[name], OVER, peer_hashes=None)


def test_sha1_is_out() -> None:
    """RFC 8247 section 4.2: neither made nor accepted, whatever the old RSA method was meant for."""
    data = RSA.sign(OVER, padding.PKCS1v15(), hashes.SHA1())
    with pytest.raises(AuthenticationFailed, match="SHA-1"):
        verify(RSA.public_key(), AuthMethod.RSA_SIGNATURE, data, OVER)


@pytest.mark.parametrize("number", SHA2)
def test_the_old_rsa_method_takes_the_hash_that_the_signature_names(number: int) -> None:
    verify(RSA.public_key(), 1, RSA.sign(OVER, padding.PKCS1v15(), HAZMAT[number]), OVER)


@pytest.mark.requirement("IKE-274")
@every_key
def test_an_unknown_method_is_refused(name: str) -> None:
    _, data = sign(GOOD[name], OVER, peer_hashes=SUPPORTED_HASHES)
    for method in (0, 2, 3, 12, 13, 15, 200, 255):
        with pytest.raises(AuthenticationFailed, match="method"):
            verify(GOOD[name].public_key(), method, data, OVER)


@pytest.mark.requirement("IKE-310")
@pytest.mark.parametrize("name", BAD)
def test_a_key_that_is_too_weak_or_of_no_use_verifies_nothing(name: str) -> None:
    with pytest.raises(AuthenticationFailed):
        verify(BAD[name].public_key(), DIGITAL, bytes(100), OVER)


def test_a_key_that_cannot_sign_what_is_wanted_is_our_own_mistake() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(LocalProtocolError):
        sign(weak, OVER, peer_hashes=frozenset({HashAlgorithm.SHA2_512}))


# --- pre-shared keys and what is signed -------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-161", "IKE-162")
def test_a_pre_shared_key_of_any_length_and_every_octet_counts() -> None:
    alg = Prf.HMAC_SHA2_256
    for secret in (b"\0", b"x" * 64, b"x" * 65, bytes(range(256)), b"x" * 1000):
        mac = psk_auth(alg, pad_secret(alg, secret), OVER)
        check_psk(alg, pad_secret(alg, secret), OVER, mac)
        # Below a block of the hash HMAC fills keys up with zeros, so a terminator would go unseen; from there on not.
        for other in (secret + b"x", *([secret + b"\0"] if len(secret) >= 64 else [])):
            with pytest.raises(AuthenticationFailed):
                check_psk(alg, pad_secret(alg, other), OVER, mac)


@pytest.mark.requirement("IKE-004")
def test_a_bent_mac_is_refused() -> None:
    padded = pad_secret(Prf.HMAC_SHA2_384, b"secret")
    mac = psk_auth(Prf.HMAC_SHA2_384, padded, OVER)
    for wrong in (b"", mac[:-1], mac + b"\0", bytes(48), bytes([mac[0] ^ 1]) + mac[1:]):
        with pytest.raises(AuthenticationFailed):
            check_psk(Prf.HMAC_SHA2_384, padded, OVER, wrong)


@pytest.mark.requirement("IKE-158", "IKE-159", "IKE-164")
def test_what_is_signed_depends_on_every_part() -> None:
    parts: tuple[Any, ...] = (b"message", b"nonce", Prf.HMAC_SHA2_256, b"sk_p", b"id body", b"intermediate")
    whole = signed_octets(*parts)
    assert whole.startswith(b"messagenonce")
    assert whole.endswith(b"intermediate")
    assert len(whole) == len(b"messagenonce") + 32 + len(b"intermediate")
    assert signed_octets(*parts[:5]) == whole[: -len(b"intermediate")]
    for index, other in enumerate((b"massage", b"once", Prf.HMAC_SHA2_512, b"sk_q", b"id\0body", b"")):
        changed = [*parts]
        changed[index] = other
        assert signed_octets(*changed) != whole
