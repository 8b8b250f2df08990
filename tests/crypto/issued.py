"""Certificates of any shape for tests: issued by hand, with whatever extensions a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ikecore.crypto.certificates import TrustStore, ValidatedPeer

__all__ = [
    "AT",
    "BEGIN",
    "CA",
    "END",
    "IKE_USAGE",
    "Extension",
    "Issued",
    "extended",
    "issue",
    "named",
    "names",
    "p256",
    "usage",
    "validated",
]

BEGIN, AT, END = datetime(2026, 1, 1), datetime(2027, 1, 1), datetime(2030, 1, 1)
IKE_USAGE = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.17")
CA = (x509.BasicConstraints(ca=True, path_length=None), True)
Extension = tuple[x509.ExtensionType, bool]


class Issued(NamedTuple):
    """A certificate in DER and its private key."""

    name: str
    key: Any
    der: bytes


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=len(name) <= 64)])


def validated(store: TrustStore, leaf: bytes, others: Sequence[bytes], *, at: datetime = AT) -> ValidatedPeer:
    """Find the chain of a peer that then proves to have its key."""
    peer = store.validate(leaf, others, at=at)
    store.remember(peer, at=at)
    return peer


def issue(
    name: str,
    issuer: Issued | None = None,
    *extensions: Extension,
    key: Any = None,
    begin: datetime = BEGIN,
    end: datetime = END,
) -> Issued:
    """Issue a certificate, self-signed without *issuer*."""
    key = key or p256()
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer.name if issuer else name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    with_hash = isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    certificate = builder.sign(signer, hashes.SHA256() if with_hash else None)
    return Issued(name, key, certificate.public_bytes(Encoding.DER))


def usage(**allowed: bool) -> Extension:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names}), True


def extended(*usages: x509.ObjectIdentifier) -> Extension:
    return x509.ExtendedKeyUsage(usages), False


def names(*general: x509.GeneralName) -> Extension:
    return x509.SubjectAlternativeName(general), False
