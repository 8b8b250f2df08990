"""The cryptography that one side of a handshake cannot do without, and nothing else: what handshakes are measured by.

Each function returns what does the work of one side once: the calls into `cryptography` with inputs of the sizes that a
handshake has, without a message, a state or a check of our own. Both sides do the same but for direction.

* a key exchange with x25519: a key pair made of 32 octets, its public value, the shared secret;
* the key schedule with HMAC-SHA2-256: SKEYSEED, prf+ (which is HKDF-Expand, one call) for the IKE SA (6 blocks) and
  for the Child SA (3 blocks), and prf of either identity;
* AES-256-GCM: the ciphers of both directions, one message sealed and one opened;
* authentication: two HMACs with a pre-shared key that was padded when it was configured; or one signature made, one
  verified, and the peer's chain of leaf and intermediate parsed and verified, for which `cryptography` gets a policy
  without a rule of ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store

__all__ = ["certificates", "psk"]

Work = Callable[[], None]

NONCES = os.urandom(64)
SEED = os.urandom(64 + 16)
SECRET = os.urandom(32)
IDENTITY = b"\2\0\0\0initiator.example"
SIGNED = os.urandom(380 + 32 + 32)
"""An IKE_SA_INIT message, a nonce, and prf(SK_p, ID)."""


def psk() -> Work:
    """Return the work of one side where both know a pre-shared key. Sealed and opened are messages of 250 octets."""
    base = _base(250)

    def side() -> None:
        base()
        for _ in range(2):
            _hmac(SECRET, SIGNED)

    return side


def certificates(
    chain: Sequence[bytes], anchor: bytes, key: EllipticCurvePrivateKey | RSAPrivateKey, at: datetime
) -> Work:
    """Return the work of one side where both have certificates: *chain* is in DER, the leaf first, *key* the leaf's."""
    base = _base(250 + sum(map(len, chain)))
    store = Store([x509.load_der_x509_certificate(anchor)])
    ca_policy, leaf_policy = ExtensionPolicy.webpki_defaults_ca(), ExtensionPolicy.permit_all()
    pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)

    def side() -> None:
        base()
        leaf, *others = map(x509.load_der_x509_certificate, chain)
        policy = PolicyBuilder().store(store).time(at).extension_policies(ca_policy=ca_policy, ee_policy=leaf_policy)
        policy.build_client_verifier().verify(leaf, others)
        public = leaf.public_key()
        if isinstance(key, RSAPrivateKey):
            public.verify(key.sign(SIGNED, pss, SHA256()), SIGNED, pss, SHA256())  # type: ignore[union-attr,call-arg,arg-type]
        else:
            algorithm = ec.ECDSA(SHA256())
            public.verify(key.sign(SIGNED, algorithm), SIGNED, algorithm)  # type: ignore[union-attr,call-arg,arg-type]

    return side


def _base(size: int) -> Work:
    """Return what is done whatever the method of authentication; *size* octets are sealed and opened."""
    peer = X25519PrivateKey.generate().public_key().public_bytes_raw()
    plaintext, header, nonce = os.urandom(size), os.urandom(32), os.urandom(12)
    sealed = AESGCM(SECRET).encrypt(nonce, plaintext, header)

    def base() -> None:
        private = X25519PrivateKey.from_private_bytes(os.urandom(32))
        private.public_key().public_bytes_raw()
        skeyseed = _hmac(NONCES, private.exchange(X25519PublicKey.from_public_bytes(peer)))
        stream = _expand(skeyseed, 6)
        _expand(stream[:32], 3)
        _hmac(stream[32:64], IDENTITY)
        _hmac(stream[64:96], IDENTITY)
        AESGCM(stream[96:128]).encrypt(nonce, plaintext, header)
        AESGCM(SECRET).decrypt(nonce, sealed, header)

    return base


def _hmac(key: bytes, data: bytes) -> bytes:
    mac = HMAC(key, SHA256())
    mac.update(data)
    return mac.finalize()


def _expand(key: bytes, blocks: int) -> bytes:
    return HKDFExpand(SHA256(), 32 * blocks, SEED).derive(key)
