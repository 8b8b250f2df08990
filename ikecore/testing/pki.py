"""Certificates for tests and demonstrations: authorities, intermediates, and leaves with their chains.

    root = CertificateAuthority("Example Root", kind="ml-dsa-65", utc=NOON)
    leaf = root.intermediate("Example Intermediate").leaf(["gateway.example"], kind="ecdsa-p256")
    CertificateCredential(leaf.chain, leaf.key), TrustedCertificates((root.der,))

Dates come from *utc*, never from the system's clock; keys and serial numbers from cryptography's own randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Literal, TypeAlias

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA65PrivateKey, MLDSA87PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ..crypto import PrivateKey
from ..errors import LocalProtocolError

__all__ = ["IPSEC_IKE", "CertificateAuthority", "Kind", "Leaf", "new_key"]

Kind: TypeAlias = Literal[
    "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "ed448", "rsa-2048", "rsa-3072", "rsa-4096",
    "ml-dsa-44", "ml-dsa-65", "ml-dsa-87",
]  # fmt: skip
"""What a key is good for signing with."""

IPSEC_IKE = ObjectIdentifier("1.3.6.1.5.5.7.3.17")
"""The extended key usage of RFC 4945 section 5.1.3.12."""
DAY = timedelta(days=1)

_KINDS: Mapping[str, Callable[[], PrivateKey]] = {
    "ecdsa-p256": lambda: generate_private_key(SECP256R1()),
    "ecdsa-p384": lambda: generate_private_key(SECP384R1()),
    "ecdsa-p521": lambda: generate_private_key(SECP521R1()),
    "ed25519": Ed25519PrivateKey.generate,
    "ed448": Ed448PrivateKey.generate,
    "rsa-2048": lambda: generate_rsa(65537, 2048),
    "rsa-3072": lambda: generate_rsa(65537, 3072),
    "rsa-4096": lambda: generate_rsa(65537, 4096),
    "ml-dsa-44": MLDSA44PrivateKey.generate,
    "ml-dsa-65": MLDSA65PrivateKey.generate,
    "ml-dsa-87": MLDSA87PrivateKey.generate,
}
_CURVE_HASHES: Mapping[str, type[SHA256 | SHA384 | SHA512]] = {
    "secp256r1": SHA256,
    "secp384r1": SHA384,
    "secp521r1": SHA512,
}


def new_key(kind: Kind) -> PrivateKey:
    """Make a key. Raises `LocalProtocolError` for a kind that is not known."""
    if kind not in _KINDS:
        raise LocalProtocolError(f"kind: {kind!r} is not known; allowed are {', '.join(_KINDS)}")
    return _KINDS[kind]()


@attrs.frozen
class Leaf:
    """A certificate of a peer. *chain* is in DER, the leaf first, up to but without the root."""

    chain: tuple[bytes, ...]
    key: PrivateKey = attrs.field(repr=False)

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo in DER, for pinning."""
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class CertificateAuthority:
    """An authority: a root as it is made, or what `intermediate` returns.

    Its certificate and those it signs are valid from a day before *utc* for *days*, unless told otherwise.
    """

    def __init__(self, name: str, *, kind: Kind = "ecdsa-p256", utc: datetime, days: int = 365) -> None:
        key = new_key(kind)
        issuer = _name(name)
        builder = _authority(_builder(issuer, key, issuer, key, (utc - DAY, utc + days * DAY)), None)
        self._kind, self._utc, self._days = kind, utc, days
        self.key = key
        self.certificate = builder.sign(key, _hash(key))
        self._above: tuple[bytes, ...] = ()

    @property
    def der(self) -> bytes:
        """The authority's own certificate, in DER: the anchor, if this is the root."""
        return self.certificate.public_bytes(Encoding.DER)

    def intermediate(
        self,
        name: str,
        *,
        kind: Kind | None = None,
        path_length: int | None = None,
        valid: tuple[datetime, datetime] | None = None,
    ) -> CertificateAuthority:
        """Make an authority below this one; with the same kind of key unless *kind* is given."""
        child = CertificateAuthority(name, kind=kind or self._kind, utc=self._utc, days=self._days)
        builder = _builder(self.certificate.subject, self.key, _name(name), child.key, valid or self._validity)
        child.certificate = _authority(builder, path_length).sign(self.key, _hash(self.key))
        child._above = (child.der, *self._above)
        return child

    def leaf(
        self,
        names: Sequence[str] = (),
        *,
        kind: Kind = "ecdsa-p256",
        key: PrivateKey | None = None,
        subject: str | None = None,
        valid: tuple[datetime, datetime] | None = None,
        usages: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
        digital_signature: bool = True,
        crl_urls: Sequence[str] = (),
        ocsp_urls: Sequence[str] = (),
    ) -> Leaf:
        """Make a certificate for *names*: addresses, "user@realm", or domain names. Without names it has no SAN.

        *subject* is its common name, by default the first name. *valid* gives other dates. *usages* are the extended
        key usages; none leaves the extension out. *crl_urls* and *ocsp_urls* say where its revocation can be asked for.
        """
        key = new_key(kind) if key is None else key
        shown = _name(subject if subject is not None else names[0] if names else "leaf")
        builder = _builder(self.certificate.subject, self.key, shown, key, valid or self._validity)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(digital_signature=digital_signature), critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        if crl_urls:
            builder = builder.add_extension(x509.CRLDistributionPoints([_point(url) for url in crl_urls]), False)
        if ocsp_urls:
            builder = builder.add_extension(x509.AuthorityInformationAccess([_ocsp(url) for url in ocsp_urls]), False)
        certificate = builder.sign(self.key, _hash(self.key))
        return Leaf((certificate.public_bytes(Encoding.DER), *self._above), key)

    def crl(
        self,
        *revoked: Leaf | CertificateAuthority,
        valid: tuple[datetime, datetime] | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """Make this authority's list of *revoked* certificates, in DER, with *extensions*, each critical or not."""
        begin, end = valid or (self._utc - DAY, self._utc + 7 * DAY)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(begin).next_update(end)
        for each in revoked:
            certificate = each.certificate if isinstance(each, CertificateAuthority) else load(each.chain[0])
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(begin)
            builder = builder.add_revoked_certificate(entry.build())
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, _hash(self.key)).public_bytes(Encoding.DER)

    @property
    def _validity(self) -> tuple[datetime, datetime]:
        return self._utc - DAY, self._utc + self._days * DAY


load = x509.load_der_x509_certificate


def _point(url: str) -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)


def _ocsp(url: str) -> x509.AccessDescription:
    return x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


def _builder(
    issuer: x509.Name,
    issuer_key: PrivateKey,
    subject: x509.Name,
    key: PrivateKey,
    valid: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    """Begin a certificate: names, dates and key identifiers."""
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _authority(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        _usage(key_cert_sign=True), critical=True
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=not digital_signature and not key_cert_sign,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _hash(key: PrivateKey) -> SHA256 | SHA384 | SHA512 | None:
    """Return what a certificate's octets are hashed with before *key* signs: the newer kinds hash themselves."""
    if isinstance(key, EllipticCurvePrivateKey):
        return _CURVE_HASHES[key.curve.name]()
    return SHA256() if isinstance(key, RSAPrivateKey) else None
