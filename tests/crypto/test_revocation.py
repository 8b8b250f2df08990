"""Revocation lists: whose word counts, about whom, and for how long (RFC 5280 sections 5 and 6.3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto.certificates import TrustStore
from ikecore.crypto.revocation import LARGEST_LIST, RevocationList, Unvouched, check_revocation
from ikecore.errors import AuthenticationFailed, LocalProtocolError
from ikecore.testing import NOON
from ikecore.testing.pki import DAY, CertificateAuthority, Leaf

ROOT = CertificateAuthority("Root", utc=NOON)
MIDDLE = ROOT.intermediate("Middle")
LEAF, OTHER = MIDDLE.leaf(["a.example"]), MIDDLE.leaf(["b.example"])
LISTS = (ROOT.crl(), MIDDLE.crl())
PAST, FUTURE = (NOON - 9 * DAY, NOON - DAY), (NOON + DAY, NOON + 9 * DAY)


def looked_up(
    lists: Sequence[bytes], leaf: Leaf = LEAF, *, root: CertificateAuthority = ROOT, at: Any = NOON
) -> tuple[Unvouched, ...]:
    peer = TrustStore.load([root.der]).validate(leaf.chain[0], leaf.chain[1:], at=NOON)
    return check_revocation(peer.chain, [RevocationList.load(der) for der in lists], at=at)


def subjects(lists: Sequence[bytes], leaf: Leaf = LEAF) -> list[str]:
    return [each.subject for each in looked_up(lists, leaf)]


def issuing_point(**changes: Any) -> tuple[x509.ExtensionType, bool]:
    fields: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(fields | changes)), True


def test_a_list_of_every_issuer_vouches_for_the_whole_chain() -> None:
    assert looked_up(LISTS) == ()
    assert looked_up(LISTS, at=NOON.replace(tzinfo=None)) == ()


def test_what_no_list_covers_is_told_from_the_leaf_upwards() -> None:
    assert subjects([]) == ["CN=a.example", "CN=Middle"]
    assert subjects(LISTS[:1]) == ["CN=a.example"]
    assert subjects(LISTS[1:]) == ["CN=Middle"]


@pytest.mark.parametrize("lists", [(MIDDLE.crl(LEAF),), (*LISTS[:1], MIDDLE.crl(OTHER, LEAF))])
def test_a_revoked_leaf(lists: Sequence[bytes]) -> None:
    with pytest.raises(AuthenticationFailed, match=r"CN=a\.example is revoked"):
        looked_up(lists)


def test_a_revoked_authority_below_the_anchor() -> None:
    with pytest.raises(AuthenticationFailed, match="CN=Middle is revoked"):
        looked_up([ROOT.crl(MIDDLE), MIDDLE.crl()])


def test_others_in_the_list_mean_nothing() -> None:
    assert subjects([ROOT.crl(), MIDDLE.crl(OTHER)]) == []


@pytest.mark.parametrize(
    "issued",
    [
        CertificateAuthority("Middle", utc=NOON).crl(LEAF),
        ROOT.crl(LEAF),
        CertificateAuthority("Stranger", utc=NOON).crl(LEAF),
    ],
    ids=["the same name and another key", "another authority of the chain", "a stranger"],
)
def test_nobody_but_the_issuer_revokes_or_vouches(issued: bytes) -> None:
    assert "CN=a.example" in subjects([issued])


def test_a_list_out_of_date_vouches_for_nobody_but_revokes() -> None:
    assert subjects([ROOT.crl(), MIDDLE.crl(valid=PAST)]) == ["CN=a.example"]
    with pytest.raises(AuthenticationFailed, match="revoked"):
        looked_up([MIDDLE.crl(LEAF, valid=PAST)])


def test_a_list_from_the_future_is_not_there() -> None:
    assert subjects([ROOT.crl(), MIDDLE.crl(LEAF, valid=FUTURE)]) == ["CN=a.example"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_latest_list_decides(order: int) -> None:
    earlier, later = (NOON - 3 * DAY, NOON + DAY), (NOON - 2 * DAY, NOON + DAY)
    with pytest.raises(AuthenticationFailed, match="revoked"):
        looked_up([MIDDLE.crl(valid=earlier), MIDDLE.crl(LEAF, valid=later)][::order])
    released = [MIDDLE.crl(LEAF, valid=earlier), MIDDLE.crl(valid=later)]
    assert subjects(released[::order]) == ["CN=Middle"]


@pytest.mark.parametrize(
    "extension",
    [
        (x509.DeltaCRLIndicator(1), True),
        (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True),
        issuing_point(indirect_crl=True),
        issuing_point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})),
        issuing_point(only_contains_attribute_certs=True),
        issuing_point(only_contains_ca_certs=True),
        issuing_point(full_name=[x509.UniformResourceIdentifier("http://elsewhere.example/crl")]),
        issuing_point(
            relative_name=x509.RelativeDistinguishedName(
                [x509.NameAttribute(x509.NameOID.COMMON_NAME, "relative")],
            )
        ),
    ],
    ids=["delta", "unknown critical", "indirect", "reasons", "attributes", "authorities", "other point", "relative"],
)
def test_lists_that_are_passed_over(extension: tuple[x509.ExtensionType, bool]) -> None:
    assert subjects([ROOT.crl(), MIDDLE.crl(LEAF, extensions=[extension])]) == ["CN=a.example"]


def test_lists_for_part_of_the_certificates() -> None:
    url = "http://crl.example/middle"
    leaf = MIDDLE.leaf(["a.example"], crl_urls=[url, "http://crl.example/other"])
    named = issuing_point(full_name=[x509.UniformResourceIdentifier(url)], only_contains_user_certs=True)
    unknown = (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), False)
    assert subjects([ROOT.crl(), MIDDLE.crl(extensions=[named, unknown])], leaf) == []
    assert subjects([ROOT.crl(extensions=[issuing_point(only_contains_ca_certs=True)]), MIDDLE.crl()]) == []
    with pytest.raises(AuthenticationFailed, match="revoked"):
        looked_up([MIDDLE.crl(leaf, extensions=[named])], leaf)


def test_an_issuer_whose_key_is_not_for_lists() -> None:
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    certificate = ROOT.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.issuer)
        .public_key(certificate.public_key())
        .serial_number(5)
        .not_valid_before(NOON - DAY)
        .not_valid_after(NOON + DAY)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(usage, True)
    )
    from cryptography.hazmat.primitives.hashes import SHA256

    silent = builder.sign(ROOT.key, SHA256())
    leaf = x509.load_der_x509_certificate(ROOT.leaf(["x.example"]).chain[0])
    assert len(check_revocation([leaf, silent], [RevocationList.load(ROOT.crl())], at=NOON)) == 1
    assert check_revocation([leaf, ROOT.certificate], [RevocationList.load(ROOT.crl())], at=NOON) == ()


@pytest.mark.parametrize("kind", ["rsa-2048", "ml-dsa-65", "ecdsa-p384"])
def test_lists_of_every_kind_of_authority(kind: Any) -> None:
    root = CertificateAuthority("Other Root", kind=kind, utc=NOON)
    leaf = root.leaf(["a.example"])
    assert looked_up([root.crl()], leaf, root=root) == ()
    with pytest.raises(AuthenticationFailed, match="revoked"):
        looked_up([root.crl(leaf)], leaf, root=root)


def test_where_more_may_be_asked_is_told_and_never_followed() -> None:
    urls = [f"http://crl.example/{number}" for number in range(20)]
    leaf = MIDDLE.leaf(["a.example"], crl_urls=["http://bad.example/\r\n", *urls], ocsp_urls=["http://ocsp.example"])
    found = looked_up([ROOT.crl()], leaf)[0]
    assert found.distribution_points == tuple(urls[:8])
    assert found.ocsp == ("http://ocsp.example",)
    assert found.has_addresses
    assert (found.certificate, found.issuer) == (leaf.chain[0], MIDDLE.der)
    assert not looked_up([])[1].has_addresses


@given(position=st.integers(0, 10_000), octet=st.integers(0, 255))
def test_a_damaged_list_vouches_for_nobody(position: int, octet: int) -> None:
    der = bytearray(LISTS[1])
    der[position % len(der)] = octet
    found = RevocationList.of_peer(bytes(der))
    if found is not None and bytes(der) != LISTS[1]:
        peer = TrustStore.load([ROOT.der]).validate(LEAF.chain[0], LEAF.chain[1:], at=NOON)
        assert len(check_revocation(peer.chain[:2], [found], at=NOON)) == 1


@given(der=st.binary(max_size=200))
def test_octets_that_are_no_list(der: bytes) -> None:
    assert RevocationList.of_peer(der) is None
    with pytest.raises(LocalProtocolError, match="not a certificate revocation list"):
        RevocationList.load(der)


def test_a_list_too_large() -> None:
    with pytest.raises(LocalProtocolError, match="16777217 octets"):
        RevocationList.load(bytes(LARGEST_LIST + 1))


def test_a_certificate_that_cannot_be_looked_up_is_refused() -> None:
    """Its distribution point is no URL."""
    leaf = MIDDLE.leaf(["a.example"], crl_urls=["http://crl.example/middle"])
    damaged = leaf.chain[0].replace(b"http://crl", b"\xff\xff\xff\xff://crl")
    certificate = x509.load_der_x509_certificate(damaged)
    with pytest.raises(AuthenticationFailed, match="cannot be looked up"):
        check_revocation([certificate, MIDDLE.certificate], [], at=NOON + timedelta(days=1))
