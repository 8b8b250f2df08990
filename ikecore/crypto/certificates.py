"""X.509: is this chain good, and does the certificate belong to this identity (RFC 4945, RFC 7296 sections 3.6, 3.7).

The chain is built and checked by `cryptography`, with the rules of RFC 5280 for authorities and those of RFC 4945 for
the leaf, at a time that the caller names. Nothing is fetched: no revocation list, no certificate by URL. `cryptography`
bounds its own work (signatures checked per chain) and refuses authorities with Ed25519, Ed448 or small RSA keys.

Only this module imports `cryptography.x509`, and only those import this module who need certificates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from ..errors import AuthenticationFailed, LocalProtocolError
from ..wire.numbers import IdType
from .identity import Identity
from .names import parse_name, printable, same_name
from .public_keys import PublicKey, check_public_key

__all__ = [
    "MAX_CERTIFICATES",
    "MAX_DEPTH",
    "TrustStore",
    "ValidatedPeer",
    "authority_hash",
    "identity_matches",
    "validate_chain",
]

MAX_DEPTH: Final = 8
"""Certificates between the leaf and the anchor."""
MAX_CERTIFICATES: Final = 64
"""Certificates, beside the leaf, that a chain is looked for in."""
_LARGEST: Final = 32_768
"""Octets of one certificate: four times one with ML-DSA-87."""

_USABLE: Final = frozenset(
    {
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.17"),  # ipsecIKE
        x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2"),  # iKEIntermediate, of old implementations
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
)
_BAD_INPUT: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    VerificationError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,
)
"""What `cryptography` raises for certificates that it cannot make sense of. It warns of odd ones (a serial number of 0,
a name too long), which raises where the application made errors of warnings."""


@attrs.frozen
class ValidatedPeer:
    """A certificate whose chain is good: the key that has to verify AUTH, and the chain, leaf and anchor included.

    *names* are those of its subjectAltName.
    """

    public_key: PublicKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    names: tuple[x509.GeneralName, ...] = ()

    def is_named(self, identity: Identity) -> bool:
        """Tell whether the certificate names *identity*, as `identity_matches` does."""
        return _names_match(identity, self.certificate, self.names)


class TrustStore:
    """The certificates that a chain may end in. Raises LocalProtocolError without any."""

    def __init__(self, anchors: Sequence[x509.Certificate]) -> None:
        if not anchors:
            raise LocalProtocolError("anchors: at least one certificate has to be trusted")
        self.anchors = tuple(anchors)
        self._policy = (
            PolicyBuilder()
            .store(Store(list(anchors)))
            .max_chain_depth(MAX_DEPTH)
            .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        )

    @classmethod
    def load(cls, ders: Iterable[bytes]) -> TrustStore:
        """Make a store of certificates in DER. Raises LocalProtocolError for what is none."""
        return cls([_own(der) for der in ders])

    def verifier(self, at: datetime) -> ClientVerifier:
        """Return what verifies chains as they were good at the time *at*."""
        return self._policy.time(at).build_client_verifier()

    def validate(self, leaf_der: bytes, intermediates_der: Iterable[bytes], *, at: datetime) -> ValidatedPeer:
        """Find a chain to one of these anchors; see `validate_chain`."""
        return validate_chain(leaf_der, intermediates_der, self, at=at)


def validate_chain(
    leaf_der: bytes, intermediates_der: Iterable[bytes], anchors: TrustStore, *, at: datetime
) -> ValidatedPeer:
    """Find a chain from a peer's certificate to one of *anchors* that is good at the time *at* (UTC where it is naive).

    *intermediates_der* may hold anything, in any order: what is no certificate is passed over. A self-signed leaf is
    good if it is an anchor itself. Raises AuthenticationFailed with the reason.
    """
    leaf = _of_peer(leaf_der)
    others = list(dict.fromkeys(intermediates_der))
    if len(others) > MAX_CERTIFICATES:
        raise AuthenticationFailed(f"{len(others)} certificates to make a chain of; the most is {MAX_CERTIFICATES}")
    usable = [certificate for der in others if (certificate := _maybe(der)) is not None]
    try:
        key = check_public_key(leaf.public_key())
        verified = anchors.verifier(at).verify(leaf, usable)
    except _BAD_INPUT as error:
        raise AuthenticationFailed(_reason(error, leaf, (*usable, *anchors.anchors))) from None
    return ValidatedPeer(key, leaf, tuple(verified.chain), tuple(verified.subjects or ()))


def identity_matches(identity: Identity, certificate: x509.Certificate) -> bool:
    """Tell whether *certificate* names *identity* (RFC 4945 section 3.1).

    Names and addresses are looked for in subjectAltName only, distinguished names in the subject only. A wildcard in a
    certificate stands for itself. A key ID is never found in a certificate.
    """
    try:
        names = tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = ()
    except _BAD_INPUT:
        return False
    return _names_match(identity, certificate, names)


def _names_match(identity: Identity, certificate: x509.Certificate, names: Iterable[x509.GeneralName]) -> bool:
    kind, data = identity.id_type, identity.data
    if kind == IdType.ID_DER_ASN1_DN:
        try:
            return bool(parse_name(data)) and same_name(data, certificate.subject.public_bytes())
        except _BAD_INPUT:
            return False
    if kind == IdType.ID_FQDN:
        return data.lower() in [each.value.lower().encode() for each in names if isinstance(each, x509.DNSName)]
    if kind == IdType.ID_RFC822_ADDR:
        return _mail(data) in [_mail(each.value.encode()) for each in names if isinstance(each, x509.RFC822Name)]
    if kind in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
        found = [each.value for each in names if isinstance(each, x509.IPAddress)]
        return data in [each.packed for each in found if isinstance(each, IPv4Address | IPv6Address)]
    return False


def authority_hash(der: bytes) -> bytes:
    """Return the 20 octets that stand for an authority in CERTREQ: SHA-1 of its key (RFC 7296 section 3.7).

    Raises LocalProtocolError for *der* that is no certificate.
    """
    try:
        key = _own(der).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _BAD_INPUT as error:
        raise LocalProtocolError(f"an authority with an unusable key: {error}") from None
    return hashlib.sha1(key, usedforsecurity=False).digest()


# --- the rules --------------------------------------------------------------------------------------------------------


def _check_leaf_usage(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    """If there is a key usage, it has to allow signatures (RFC 4945 section 5.1.3.2)."""
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise ValueError("the key usage of the certificate is not for signatures")


def _check_authority_usage(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key usage of an authority is not for certificates")


def _check_extended_usage(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    """If there is an extended key usage, one that fits IKE has to be in it (RFC 4945 section 5.1.3.12)."""
    if usage is not None and _USABLE.isdisjoint(usage):
        raise ValueError("the extended key usage of a certificate is not for IKE")


def _check_constraints(policy: Policy, certificate: x509.Certificate, names: x509.NameConstraints | None) -> None:
    """Refuse constraints on subjects: `cryptography` checks those on alternative names, and only those."""
    if names is not None:
        for subtree in (*(names.permitted_subtrees or ()), *(names.excluded_subtrees or ())):
            if isinstance(subtree, x509.DirectoryName):
                raise ValueError("an authority constrains distinguished names, which is not supported")


_CA_POLICY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_authority_usage)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_extended_usage)
    .may_be_present(x509.NameConstraints, Criticality.AGNOSTIC, _check_constraints)
)
_LEAF_POLICY: Final = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_leaf_usage)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_extended_usage)
)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _own(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except _BAD_INPUT as error:
        raise LocalProtocolError(f"not a certificate in DER: {error}") from None


def _of_peer(der: bytes) -> x509.Certificate:
    certificate = _maybe(der)
    if certificate is None:
        raise AuthenticationFailed("the peer's first certificate is none, or too large")
    return certificate


def _maybe(der: bytes) -> x509.Certificate | None:
    if len(der) > _LARGEST:
        return None
    try:
        return x509.load_der_x509_certificate(der)
    except _BAD_INPUT:
        return None


def _reason(error: Exception, leaf: x509.Certificate, others: Iterable[x509.Certificate]) -> str:
    """Put a refusal into one line, with what the words of `cryptography` leave to guess."""
    text = printable(str(error).encode())
    if any(_is_edwards(each) for each in others):
        text += "; Ed25519 and Ed448 keys are supported for leaf certificates, not for authorities"
    return f"no good certificate chain for {_subject(leaf)}: {text}"


def _subject(certificate: x509.Certificate) -> str:
    try:
        return printable(certificate.subject.rfc4514_string().encode())
    except _BAD_INPUT:
        return "an unreadable name"


def _is_edwards(certificate: x509.Certificate) -> bool:
    try:
        return isinstance(certificate.public_key(), Ed25519PublicKey | Ed448PublicKey)
    except _BAD_INPUT:
        return False


def _mail(address: bytes) -> tuple[bytes, bytes]:
    """Split an address: case means something before the "@" and nothing after it (RFC 5280 section 7.5)."""
    local, _, host = address.rpartition(b"@")
    return local, host.lower()
