"""Certificates: which chains are good, whom a certificate is for, and all that a hostile peer could send (B10)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ikecore.crypto import Identity, certificates, subject_public_key_info
from ikecore.crypto.certificates import (
    MAX_CERTIFICATES,
    MAX_DEPTH,
    TrustStore,
    ValidatedPeer,
    authority_hash,
    issuer_name,
    own_validity,
    subject_name,
    validate_chain,
)
from ikecore.crypto.chain_reasons import OWN_WORDS
from ikecore.errors import AuthenticationFailed, LocalProtocolError
from ikecore.wire.numbers import IdType
from tests.crypto.issued import (
    AT,
    BEGIN,
    CA,
    END,
    IKE_USAGE,
    Extension,
    Issued,
    extended,
    issue,
    named,
    names,
    p256,
    usage,
    validated,
)


def check(
    leaf: Issued | bytes, others: Sequence[Issued] = (), anchors: Sequence[Issued] | None = None, at: datetime = AT
) -> ValidatedPeer:
    der = leaf if isinstance(leaf, bytes) else leaf.der
    store = TrustStore.load([each.der for each in (anchors if anchors is not None else [ROOT])])
    return validate_chain(der, [each.der for each in others], store, at=at)


def is_named(identity: Identity, certificate: x509.Certificate) -> bool:
    """Ask the peer that has *certificate*, whatever its chain is."""
    try:
        found = tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        found = ()
    key: Any = certificate.public_key()
    return ValidatedPeer(key, certificate, (), found).is_named(identity)


def refused(*args: Any, match: str = ".", **more: Any) -> None:
    with pytest.raises(AuthenticationFailed, match=match) as caught:
        check(*args, **more)
    assert str(caught.value).isprintable()


ROOT = issue("root", None, CA)
SUB = issue("sub", ROOT, CA)
FORGED = issue("sub", Issued("root", p256(), b""), CA, key=SUB.key)
LEAF = issue("leaf", SUB)


@pytest.mark.requirement("IKE-310")
def test_a_chain_gives_the_key_of_the_leaf() -> None:
    peer = check(LEAF, [SUB])
    assert subject_public_key_info(peer.public_key) == subject_public_key_info(LEAF.key.public_key())
    assert [each.subject.rfc4514_string() for each in peer.chain] == ["CN=leaf", "CN=sub", "CN=root"]
    assert peer.certificate == peer.chain[0]


@pytest.mark.requirement("IKE-310")
@pytest.mark.parametrize(
    "make",
    [
        p256,
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        mldsa.MLDSA44PrivateKey.generate,
        mldsa.MLDSA65PrivateKey.generate,
        mldsa.MLDSA87PrivateKey.generate,
    ],
)
def test_which_keys_an_authority_and_a_leaf_may_have(make: Any) -> None:
    root = issue("root", None, CA, key=make())
    check(issue("leaf", root), anchors=[root])
    check(issue("leaf", ROOT, key=make()))


@pytest.mark.parametrize("make", [ed25519.Ed25519PrivateKey.generate, ed448.Ed448PrivateKey.generate])
def test_edwards_keys_are_for_leaves(make: Any) -> None:
    check(issue("leaf", ROOT, key=make()))
    root = issue("root", None, CA, key=make())
    refused(issue("leaf", root), anchors=[root], match="not for authorities")


def test_weak_keys_are_refused_everywhere() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    refused(issue("leaf", ROOT, key=weak), match="2048")
    root = issue("root", None, CA, key=weak)
    refused(issue("leaf", root), anchors=[root])
    refused(issue("leaf", ROOT, key=ec.generate_private_key(ec.SECP224R1())), match="allowed are P-256")


def test_nothing_the_peer_sends_becomes_an_anchor() -> None:
    refused(LEAF)
    refused(LEAF, [SUB], anchors=[issue("root", None, CA)])
    refused(LEAF, [SUB, ROOT], anchors=[issue("other", None, CA)])
    refused(ROOT, anchors=[issue("root", None, CA)])


def test_a_self_signed_leaf_is_good_only_as_an_anchor() -> None:
    alone = issue("alone")
    refused(alone)
    assert check(alone, anchors=[alone]).chain[0].subject.rfc4514_string() == "CN=alone"


@pytest.mark.parametrize("at", [datetime(2025, 12, 31), datetime(2030, 1, 2), datetime(2031, 1, 1, tzinfo=UTC)])
def test_the_time_is_the_callers(at: datetime) -> None:
    refused(LEAF, [SUB], at=at, match="not valid before|has expired on")
    check(LEAF, [SUB], at=AT.replace(tzinfo=UTC))


def test_an_expired_certificate_anywhere_ends_it() -> None:
    old = {"begin": datetime(2020, 1, 1), "end": datetime(2021, 1, 1)}
    refused(issue("leaf", SUB, **old), [SUB])
    sub = issue("sub", ROOT, CA, **old)
    refused(issue("leaf", sub), [sub])
    root = issue("root", None, CA, **old)
    refused(issue("leaf", root), anchors=[root])


def test_depth() -> None:
    chain = [ROOT]
    for number in range(MAX_DEPTH + 1):
        chain.append(issue(f"ca {number}", chain[-1], CA))
    assert len(check(issue("leaf", chain[MAX_DEPTH]), chain[1:-1]).chain) == MAX_DEPTH + 2
    refused(issue("leaf", chain[-1]), chain[1:], match="depth")


def test_width_and_loops_are_bounded() -> None:
    key = p256()
    twins = [issue("twin", issue("twin", None, CA, key=key), CA, key=key) for _ in range(60)]
    refused(issue("leaf", twins[0]), twins)
    strangers = [issue("sub", issue("root", None, CA), CA) for _ in range(60)]
    refused(LEAF, strangers)
    one, two = issue("one", None, CA), issue("two", None, CA)
    crossed = [issue("one", two, CA, key=one.key), issue("two", one, CA, key=two.key)]
    refused(issue("leaf", one), crossed)
    refused(LEAF, [issue(f"{number}", ROOT) for number in range(MAX_CERTIFICATES + 1)], match=str(MAX_CERTIFICATES))
    check(LEAF, [SUB] * 1000)


def test_a_leaf_issues_nothing() -> None:
    middle = issue("middle", ROOT)
    refused(issue("leaf", middle), [middle])
    false = issue("false", ROOT, (x509.BasicConstraints(ca=False, path_length=None), True))
    refused(issue("leaf", false), [false])
    silent = issue("silent", ROOT, CA, usage(digital_signature=True))
    refused(issue("leaf", silent), [silent], match="key usage of an authority")
    check(issue("leaf", SUB), [issue("sub", ROOT, CA, usage(key_cert_sign=True), key=SUB.key)])


def test_the_path_length_is_kept() -> None:
    short = issue("root", None, (x509.BasicConstraints(ca=True, path_length=0), True))
    sub = issue("sub", short, CA)
    refused(issue("leaf", sub), [sub], anchors=[short])
    check(issue("leaf", short), anchors=[short])


@pytest.mark.parametrize(
    ("extension", "good"),
    [
        (usage(digital_signature=True), True),
        (usage(content_commitment=True), True),
        (usage(key_encipherment=True), False),
        (usage(key_cert_sign=True), False),
        (extended(IKE_USAGE), True),
        (extended(ExtendedKeyUsageOID.SERVER_AUTH), True),
        (extended(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING), True),
        (extended(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE), True),
        (extended(ExtendedKeyUsageOID.CODE_SIGNING), False),
        (extended(ExtendedKeyUsageOID.EMAIL_PROTECTION), False),
        ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), False), True),
        ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True), False),
        (names(x509.DNSName("x")), True),
    ],
)
def test_usages_and_critical_extensions_of_the_leaf(extension: Extension, good: bool) -> None:
    leaf = issue("leaf", SUB, extension)
    if good:
        check(leaf, [SUB])
    else:
        refused(leaf, [SUB])


def test_the_extended_usage_of_an_authority_counts() -> None:
    for allowed, good in ((IKE_USAGE, True), (ExtendedKeyUsageOID.EMAIL_PROTECTION, False)):
        sub = issue("sub", ROOT, CA, extended(allowed))
        leaf = issue("leaf", sub)
        if good:
            check(leaf, [sub])
        else:
            refused(leaf, [sub], match="not for IKE")


def test_name_constraints_hold_or_the_chain_does_not() -> None:
    def constrained(*allowed: x509.GeneralName) -> Issued:
        return issue("root", None, CA, (x509.NameConstraints(allowed, None), True))

    root = constrained(x509.DNSName("example.org"))
    check(issue("leaf", root, names(x509.DNSName("gw.example.org"))), anchors=[root])
    refused(issue("leaf", root, names(x509.DNSName("gw.example.net"))), anchors=[root])
    subject = constrained(x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")])))
    refused(issue("leaf", subject), anchors=[subject], match="distinguished names")


def test_an_ml_dsa_authority_over_an_ecdsa_leaf_with_a_chain_between() -> None:
    root = issue("root", None, CA, key=mldsa.MLDSA65PrivateKey.generate())
    sub = issue("sub", root, CA, key=mldsa.MLDSA65PrivateKey.generate())
    assert len(check(issue("leaf", sub), [sub], anchors=[root]).chain) == 3


@given(position=st.integers(0, 10_000), octet=st.integers(0, 255))
@settings(max_examples=150)
def test_a_damaged_leaf_is_refused_or_is_the_same(position: int, octet: int) -> None:
    der = bytearray(LEAF.der)
    der[position % len(der)] = octet
    if bytes(der) != LEAF.der:
        refused(bytes(der), [SUB])


@given(der=st.binary(max_size=100))
def test_octets_that_are_no_certificate(der: bytes) -> None:
    refused(der, [SUB])
    with pytest.raises(LocalProtocolError):
        TrustStore.load([der])
    with pytest.raises(LocalProtocolError):
        authority_hash(der)


def test_rubbish_among_the_others_is_passed_over() -> None:
    store = TrustStore.load([ROOT.der])
    rubbish = [b"", b"\x30\0", SUB.der[:-1], bytes(40_000), b"\x30\x84\xff\xff\xff\xff"]
    validate_chain(LEAF.der, [*rubbish, SUB.der], store, at=AT)
    with pytest.raises(AuthenticationFailed, match="too large"):
        validate_chain(bytes(40_000), [SUB.der], store, at=AT)


def test_the_refusal_names_the_subject_on_one_printable_line() -> None:
    refused(issue("evil\r\n\x1b[31m %s", None), match="CN=evil")


def test_a_store_has_at_least_one_anchor() -> None:
    with pytest.raises(LocalProtocolError, match="anchors"):
        TrustStore([])


@pytest.mark.requirement("IKE-272")
def test_an_authority_is_named_by_the_hash_of_its_key() -> None:
    info = ROOT.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert authority_hash(ROOT.der) == hashlib.sha1(info).digest()
    assert authority_hash(ROOT.der) != authority_hash(SUB.der)


# --- identities -------------------------------------------------------------------------------------------------------

NAMED = x509.load_der_x509_certificate(
    issue(
        "gw.subject.example",
        None,
        names(
            x509.DNSName("gw.example.org"),
            x509.DNSName("*.wild.example.org"),
            x509.RFC822Name("User@example.org"),
            x509.IPAddress(ip_address("192.0.2.1")),
            x509.IPAddress(ip_address("2001:db8::1")),
            x509.UniformResourceIdentifier("https://example.com"),
        ),
        (x509.SubjectKeyIdentifier(b"key-1"), False),
    ).der
)
BARE = x509.load_der_x509_certificate(issue("gw.example.org").der)


@pytest.mark.requirement("IKE-310", "IKE-267")
@pytest.mark.parametrize(
    ("identity", "fits"),
    [
        ("gw.example.org", True),
        ("GW.EXAMPLE.ORG", True),
        ("gw.example.org.evil", False),
        ("gw.subject.example", False),
        ("a.wild.example.org", False),
        ("*.wild.example.org", True),
        ("User@example.org", True),
        ("User@EXAMPLE.org", True),
        ("user@example.org", False),
        ("email:gw.example.org", False),
        ("fqdn:User@example.org", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("fqdn:192.0.2.1", False),
        ("2001:db8::1", True),
        ("2001:db8::2", False),
        ("CN=gw.subject.example", True),
        ("CN=GW.subject.example", True),
        ("CN=gw.example.org", False),
        ("C=DE, CN=gw.subject.example", False),
        ("asn1dn:0x3000", False),
        ("keyid:gw.example.org", False),
        ("keyid:key-1", True),
        ("keyid:key-", False),
        ("fqdn:https://example.com", False),
    ],
)
def test_whom_a_certificate_is_for(identity: str, fits: bool) -> None:
    assert is_named(Identity.parse(identity), NAMED) is fits


def general(tag: int, content: bytes) -> Identity:
    return Identity(IdType.ID_DER_ASN1_GN, bytes((tag, len(content))) + content)


@pytest.mark.parametrize(
    ("identity", "fits"),
    [
        (general(0x82, b"gw.example.org"), True),
        (general(0x82, b"other.example.org"), False),
        (general(0x81, b"User@example.org"), True),
        (general(0x82, b"User@example.org"), False),
        (general(0x87, ip_address("192.0.2.1").packed), True),
        (general(0x87, ip_address("2001:db8::1").packed), True),
        (general(0x87, b"\xc0\0\2\1\xff\xff\xff\xff"), False),
        (general(0xA4, named("gw.subject.example").public_bytes()), True),
        (general(0xA4, named("other").public_bytes()), False),
        (general(0x86, b"https://example.com"), False),
        (Identity(IdType.ID_DER_ASN1_GN, b"\x82\x7fgw"), False),
        (Identity(IdType.ID_DER_ASN1_GN, general(0x82, b"gw.example.org").data * 2), False),
        (Identity(IdType.ID_NULL, b""), False),
    ],
)
def test_general_names_are_what_is_in_them(identity: Identity, fits: bool) -> None:
    assert is_named(identity, NAMED) is fits


def test_a_certificate_without_a_key_identifier_has_no_key_id() -> None:
    assert not is_named(Identity(IdType.ID_KEY_ID, b""), BARE)
    assert not is_named(Identity.parse("keyid:key-1"), BARE)


def test_our_own_certificate_out_of_date_is_told() -> None:
    ours = own_validity(LEAF.der)
    assert ours.problem(AT) is None
    assert ours.problem(datetime(2025, 6, 1)) == ("our certificate CN=leaf is not valid before 2026-01-01 00:00 UTC")
    assert ours.problem(datetime(2031, 1, 1, tzinfo=UTC)) == (
        "our certificate CN=leaf has expired on 2030-01-01 00:00 UTC"
    )
    with pytest.raises(LocalProtocolError):
        own_validity(b"")


def test_names_of_our_own_certificates() -> None:
    assert (subject_name(LEAF.der), issuer_name(LEAF.der)) == (named("leaf").public_bytes(), subject_name(SUB.der))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: check(LEAF), "the issuer CN=sub is neither trusted nor among the certificates at hand"),
        (
            lambda: check(LEAF, [SUB], anchors=[issue("other", None, CA)]),
            "the issuer CN=root is neither trusted nor among the certificates at hand",
        ),
        (lambda: check(LEAF, [SUB], at=datetime(2031, 1, 1)), "CN=leaf has expired on 2030-01-01 00:00 UTC"),
        (
            lambda: check(LEAF, [issue("sub", ROOT, CA, key=SUB.key, end=datetime(2026, 2, 1))]),
            "CN=sub has expired on 2026-02-01 00:00 UTC",
        ),
        (lambda: check(LEAF, [issue("sub", ROOT, CA)]), "a signature in the chain is wrong"),
        (lambda: check(LEAF, [FORGED]), "a signature in the chain is wrong"),
        (lambda: check(issue("leaf", LEAF), [LEAF]), "a certificate that is no authority has issued another"),
        (lambda: check(issue("leaf", ROOT, usage(key_agreement=True))), OWN_WORDS[0]),
    ],
)
def test_reasons_are_in_words_of_our_own(make: Any, words: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        make()
    assert str(caught.value) == f"no good certificate chain for CN=leaf: {words}"


def test_authorities_that_nobody_trusts_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """They issue one another, so that there are more ways through them than anybody can go."""
    keys = [p256() for _ in range(3)]
    ring = [issue("ring", Issued("ring", above, b""), CA, key=key) for key in keys for above in keys]
    given: list[Sequence[x509.Certificate]] = []
    verifier = TrustStore.verifier

    class Watched:
        def __init__(self, store: TrustStore, at: datetime) -> None:
            self._verifier = verifier(store, at)

        def verify(self, leaf: x509.Certificate, others: list[x509.Certificate]) -> Any:
            given.append(others)
            return self._verifier.verify(leaf, others)

    monkeypatch.setattr(TrustStore, "verifier", lambda store, at: Watched(store, at))
    refused(issue("leaf", ring[0]), ring, match="CN=ring is neither trusted")
    assert len(check(LEAF, [*ring, SUB, issue("ring", SUB)]).chain) == 3
    assert given == [[], [x509.load_der_x509_certificate(SUB.der)]]


def test_the_subject_is_no_domain_name() -> None:
    assert not is_named(Identity.parse("gw.example.org"), BARE)
    assert is_named(Identity.parse("CN=gw.example.org"), BARE)


def test_an_empty_subject_is_nobody() -> None:
    empty = x509.Name([])
    key = p256()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(empty)
        .issuer_name(empty)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .sign(key, hashes.SHA256())
    )
    assert not is_named(Identity(IdType.ID_DER_ASN1_DN, b"\x30\0"), certificate)


@given(kind=st.sampled_from(list(IdType)) | st.integers(0, 255), data=st.binary(max_size=60))
def test_any_identity_gets_an_answer(kind: int, data: bytes) -> None:
    assert is_named(Identity(kind, data), NAMED) is False
    with suppress(LocalProtocolError):
        assert not is_named(Identity.parse(data.decode("latin-1")), BARE)


def test_a_certificate_that_cryptography_warns_of_raises_nothing_else_where_warnings_are_errors() -> None:
    """Which they are in these tests: a common name longer than allowed is a warning when it is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = issue("x" * 65, None, key=p256())
    with pytest.raises(UserWarning, match="length"):
        _ = x509.load_der_x509_certificate(odd.der).subject
    refused(odd, match="unreadable name")
    certificate = check(odd, anchors=[odd]).certificate
    assert not is_named(Identity.parse("CN=x"), certificate)


def test_a_key_of_an_unknown_kind_is_refused_wherever_it_is() -> None:
    def strange(issued: Issued) -> bytes:
        return issued.der.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209"))

    refused(strange(LEAF), [SUB])
    with pytest.raises(AuthenticationFailed):
        validate_chain(LEAF.der, [strange(SUB)], TrustStore.load([ROOT.der]), at=AT)
    with pytest.raises(LocalProtocolError, match="unusable key"):
        authority_hash(strange(ROOT))


# --- peers that come again --------------------------------------------------------------------------------------------


def test_a_peer_that_comes_again_is_spared_the_chain() -> None:
    store = TrustStore.load([ROOT.der])
    first = validated(store, LEAF.der, [SUB.der])
    assert store.validate(LEAF.der, [SUB.der], at=AT) is first
    assert store.validate(LEAF.der, [SUB.der], at=AT.replace(tzinfo=UTC)) is first
    assert store.validate(LEAF.der, [SUB.der, ROOT.der], at=AT) is not first  # other octets are looked at anew
    with pytest.raises(AuthenticationFailed):
        store.validate(LEAF.der, [], at=AT)
    other = issue("Other", None, (x509.BasicConstraints(True, None), True))
    with pytest.raises(AuthenticationFailed):  # another anchor has to find out for itself
        TrustStore.load([other.der]).validate(LEAF.der, [SUB.der], at=AT)


def test_what_was_good_is_out_of_date_one_day() -> None:
    store = TrustStore.load([ROOT.der])
    validated(store, LEAF.der, [SUB.der])
    for moment in (BEGIN, END):  # the last moments at which all of it is in date
        store.validate(LEAF.der, [SUB.der], at=moment)
    with pytest.raises(AuthenticationFailed, match="expired"):
        store.validate(LEAF.der, [SUB.der], at=END + timedelta(seconds=1))
    with pytest.raises(AuthenticationFailed, match="before"):
        store.validate(LEAF.der, [SUB.der], at=BEGIN - timedelta(seconds=1))


def test_few_chains_are_remembered_and_no_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TrustStore.load([ROOT.der])
    monkeypatch.setattr(certificates, "MOST_KEPT", 2)
    chains = [[SUB.der, bytes(length)] for length in range(4)]
    for others in chains:
        validated(store, LEAF.der, others)
    assert len(store._good) <= 2
    long = [SUB.der, bytes(17_000)]
    assert validated(store, LEAF.der, long) is not store.validate(LEAF.der, long, at=AT)


def test_whoever_has_not_proved_its_key_makes_us_remember_and_forget_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TrustStore.load([ROOT.der])
    monkeypatch.setattr(certificates, "MOST_KEPT", 2)
    honest = validated(store, LEAF.der, [SUB.der])
    for length in range(4):  # certificates are public: anyone may send them, with whatever beside them
        store.validate(LEAF.der, [SUB.der, bytes(length)], at=AT)
    assert store.validate(LEAF.der, [SUB.der], at=AT) is honest
    assert len(store._good) == len(store._issuers) == 1
