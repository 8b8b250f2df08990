"""Test certificates have to satisfy the verifier that certificates of real peers meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ikecore import LocalProtocolError
from ikecore.testing.pki import IPSEC_IKE, CertificateAuthority, Kind, Leaf

UTC_NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def verify(root: CertificateAuthority, leaf: Leaf, utc: datetime = UTC_NOW) -> list[x509.Certificate]:
    """Verify as the engine does: in client mode, at a given time."""
    certificates = [x509.load_der_x509_certificate(der) for der in leaf.chain]
    policy = PolicyBuilder().store(Store([root.certificate])).time(utc)
    return policy.build_client_verifier().verify(certificates[0], certificates[1:]).chain


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_chains_of_each_kind_verify(kind: Kind) -> None:
    root = CertificateAuthority("Root", kind=kind, utc=UTC_NOW)
    leaf = root.intermediate("Intermediate").leaf(["gateway.example"])
    assert len(verify(root, leaf)) == 3


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p521", "ml-dsa-65", "rsa-3072"])
def test_a_leaf_of_any_kind_verifies_under_ecdsa(kind: Kind) -> None:
    root = CertificateAuthority("Root", utc=UTC_NOW)
    assert len(verify(root, root.leaf(["gateway.example"], kind=kind))) == 2


def test_the_chain_of_the_demonstration_is_too_large_for_a_datagram() -> None:
    root = CertificateAuthority("Root", kind="ml-dsa-65", utc=UTC_NOW)
    leaf = root.intermediate("Intermediate").leaf(["gateway.example"])
    assert len(verify(root, leaf)) == 3
    assert 8_500 < sum(map(len, leaf.chain)) < 9_700
    assert len(leaf.chain) == 2


def test_names_go_into_the_subject_alternative_name_by_their_type() -> None:
    root = CertificateAuthority("Root", utc=UTC_NOW)
    leaf = root.leaf(["gateway.example", "192.0.2.1", "2001:db8::1", "user@example.org"])
    names = x509.load_der_x509_certificate(leaf.chain[0]).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["gateway.example"]
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]
    assert names.value.get_values_for_type(x509.RFC822Name) == ["user@example.org"]


def test_dates_come_from_the_argument() -> None:
    root = CertificateAuthority("Root", utc=UTC_NOW, days=30)
    leaf = root.leaf(["gateway.example"])
    verify(root, leaf, UTC_NOW + timedelta(days=29))
    for when in (UTC_NOW + timedelta(days=31), UTC_NOW - timedelta(days=2)):
        with pytest.raises(VerificationError):
            verify(root, leaf, when)


def test_an_expired_leaf_and_a_stranger_s_leaf_do_not_verify() -> None:
    root = CertificateAuthority("Root", utc=UTC_NOW)
    expired = root.leaf(["gateway.example"], valid=(UTC_NOW - timedelta(days=9), UTC_NOW - timedelta(days=1)))
    with pytest.raises(VerificationError):
        verify(root, expired)
    with pytest.raises(VerificationError):
        verify(root, CertificateAuthority("Root", utc=UTC_NOW).leaf(["gateway.example"]))


def test_a_leaf_may_do_without_names_and_usages() -> None:
    root = CertificateAuthority("Root", utc=UTC_NOW)
    certificate = x509.load_der_x509_certificate(root.leaf(usages=(), subject="plain").chain[0])
    present = {extension.oid for extension in certificate.extensions}
    assert ExtensionOID.SUBJECT_ALTERNATIVE_NAME not in present
    assert ExtensionOID.EXTENDED_KEY_USAGE not in present
    usages = x509.load_der_x509_certificate(root.leaf(["a.example"], usages=(IPSEC_IKE,)).chain[0])
    assert IPSEC_IKE in usages.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value


def test_the_public_key_is_ready_for_pinning() -> None:
    root = CertificateAuthority("Root", utc=UTC_NOW)
    leaf = root.leaf(["a.example"])
    certificate = x509.load_der_x509_certificate(leaf.chain[0])
    assert certificate.public_key() == leaf.key.public_key()
    assert leaf.public_key.hex() in leaf.chain[0].hex()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="ml-dsa-65"):
        CertificateAuthority("Root", kind="rsa-1", utc=UTC_NOW)  # type: ignore[arg-type]
