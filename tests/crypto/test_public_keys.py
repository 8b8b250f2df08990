"""Keys from files, and which of them are refused."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ikecore.crypto import PrivateKey, load_private_key, load_public_key, subject_public_key_info
from ikecore.crypto.public_keys import check_public_key
from ikecore.errors import AuthenticationFailed, LocalProtocolError

GOOD: dict[str, PrivateKey] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate(),
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate(),
    "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate(),
}
BAD: dict[str, Any] = {
    "RSA of 1024 bits": rsa.generate_private_key(65537, 1024),
    "P-224": ec.generate_private_key(ec.SECP224R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Brainpool": ec.generate_private_key(ec.BrainpoolP256R1()),
    "X25519": x25519.X25519PrivateKey.generate(),
    "DSA": dsa.generate_private_key(2048),
}


def private(key: Any, encoding: Encoding, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(encoding, PrivateFormat.PKCS8, encryption)


def public(key: Any, encoding: Encoding = Encoding.DER) -> bytes:
    return key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.requirement("IKE-310")
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_a_key_comes_back_from_either_encoding(name: str, encoding: Encoding) -> None:
    key = GOOD[name]
    info = public(key)
    assert subject_public_key_info(load_public_key(public(key, encoding))) == info
    assert subject_public_key_info(load_private_key(private(key, encoding)).public_key()) == info


@pytest.mark.parametrize("name", BAD)
def test_a_weak_or_useless_key_is_refused(name: str) -> None:
    key = BAD[name]
    with pytest.raises(LocalProtocolError, match="not a usable public key"):
        load_public_key(public(key))
    with pytest.raises(LocalProtocolError, match="not a usable private key"):
        load_private_key(private(key, Encoding.PEM))
    with pytest.raises(AuthenticationFailed):
        check_public_key(key.public_key())


def test_an_encrypted_key_needs_its_password() -> None:
    data = private(GOOD["P-256"], Encoding.PEM, b"open")
    assert load_private_key(data, b"open").public_key() == GOOD["P-256"].public_key()
    for password in (None, b"wrong"):
        with pytest.raises(LocalProtocolError):
            load_private_key(data, password)
    with pytest.raises(LocalProtocolError):
        load_private_key(private(GOOD["P-256"], Encoding.DER), b"not needed")


@pytest.mark.parametrize(
    "data", [b"", b"\x30\0", b"-----BEGIN", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        load_public_key(data)
    with pytest.raises(LocalProtocolError):
        load_private_key(data)
