"""A trust store that knows an issuer spares its next leaf the rest of the chain, and finds what a search finds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto import certificates
from ikecore.crypto.certificates import TrustStore
from ikecore.errors import AuthenticationFailed
from tests.crypto.issued import AT, BEGIN, CA, END, Extension, Issued, extended, issue, names, p256, usage, validated

ROOT = issue("root", None, CA)
SUB = issue("sub", ROOT, CA)
FIRST, SECOND = issue("first", SUB), issue("second", SUB)
DAY = timedelta(days=1)


def outcome(store: TrustStore, leaf: Issued, others: Sequence[Issued], at: datetime = AT) -> Any:
    """Return the chain found, in DER, or the reason why there is none."""
    try:
        peer = validated(store, leaf.der, [each.der for each in others], at=at)
    except AuthenticationFailed as error:
        return str(error)
    assert peer.certificate == peer.chain[0]
    assert peer.public_key == peer.certificate.public_key()
    return [each.public_bytes(Encoding.DER) for each in peer.chain], peer.names


def knowing(*anchors: Issued, leaf: Issued = FIRST, others: Sequence[Issued] = (SUB,), at: datetime = AT) -> TrustStore:
    """Return a store that has found *leaf* good."""
    store = TrustStore.load([each.der for each in anchors or (ROOT,)])
    assert not isinstance(outcome(store, leaf, others, at), str)
    return store


def searches(monkeypatch: pytest.MonkeyPatch, store: TrustStore, leaf: Issued, others: Sequence[Issued]) -> bool:
    """Tell whether *store* searches for the chain of *leaf*."""

    def searched(*args: Any, **more: Any) -> Any:
        raise ArithmeticError

    with monkeypatch.context() as patched:
        patched.setattr(certificates, "_find_chain", searched)
        try:
            outcome(store, leaf, others)
        except ArithmeticError:
            return True
        return False


def test_a_new_leaf_of_a_known_issuer_is_all_that_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    store = knowing()
    assert not searches(monkeypatch, store, SECOND, [SUB])
    assert outcome(store, SECOND, [SUB])[0] == [SECOND.der, SUB.der, ROOT.der]
    assert searches(monkeypatch, TrustStore.load([ROOT.der]), SECOND, [SUB])
    assert searches(monkeypatch, store, issue("third", SUB), [SUB, ROOT])  # other certificates: another search


@pytest.mark.parametrize(
    "leaf",
    [
        issue("forged", Issued("sub", p256(), SUB.der)),
        issue("stranger", issue("other", None, CA)),
        issue("old", SUB, end=AT - DAY),
        issue("early", SUB, begin=AT + DAY),
        issue("usage", SUB, usage(key_encipherment=True)),
        issue("mail", SUB, extended(ExtendedKeyUsageOID.EMAIL_PROTECTION)),
        issue("critical", SUB, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)),
        issue("weak", SUB, key=rsa.generate_private_key(65537, 1024)),
        issue("root", None, CA),
        ROOT,
        SUB,
        Issued("none", None, b"\x30\0"),
    ],
    ids=lambda leaf: leaf.name,
)
def test_every_rule_for_leaves_holds(leaf: Issued) -> None:
    assert outcome(knowing(), leaf, [SUB]) == outcome(TrustStore.load([ROOT.der]), leaf, [SUB])


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_chain_that_constrains_names_is_searched_for_each_leaf(monkeypatch: pytest.MonkeyPatch, where: int) -> None:
    """The one rule for authorities, wherever they are in the chain, that depends on the leaf."""
    inside = x509.NameConstraints([x509.DNSName("example.org")], None), True
    root = issue("root", None, CA, *([inside] if where == 0 else []))
    sub = issue("sub", root, CA, *([inside] if where == 1 else []))
    low = issue("low", sub, CA, *([inside] if where == 2 else []))
    good, bad = [issue("leaf", low, names(x509.DNSName(name))) for name in ("a.example.org", "a.example.net")]
    store = knowing(root, leaf=good, others=[low, sub])
    assert searches(monkeypatch, store, issue("leaf", low, names(x509.DNSName("b.example.org"))), [low, sub])
    assert "outside of what an authority may issue" in outcome(store, bad, [low, sub])
    outcome(store, issue("leaf", low, names(x509.DNSName("b.example.org"))), [low, sub])
    assert list(map(len, store._issuers.values())) == [1]


def test_an_issuer_of_a_name_that_another_has_too_is_searched_for_each_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = issue("sub", ROOT, CA)
    assert searches(monkeypatch, knowing(others=[SUB, twin]), SECOND, [SUB, twin])
    other = issue("sub", None, CA)
    assert searches(monkeypatch, knowing(ROOT, other), SECOND, [SUB])
    assert not searches(monkeypatch, knowing(others=[SUB, SUB]), SECOND, [SUB, SUB])


def test_leaves_of_several_issuers_among_the_same_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    other = issue("other", ROOT, CA)
    store = knowing(others=[SUB, other])
    assert outcome(store, issue("leaf", other), [SUB, other])[0][1] == other.der
    assert not searches(monkeypatch, store, issue("again", other), [SUB, other])
    assert not searches(monkeypatch, store, SECOND, [SUB, other])


def test_few_issuers_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [issue(f"sub {number}", ROOT, CA) for number in range(6)]
    store = TrustStore.load([ROOT.der])
    for each in many:
        outcome(store, issue("first", each), many)
    known = [not searches(monkeypatch, store, issue("second", each), many) for each in many]
    assert known == [True] * certificates.MOST_ISSUERS + [False] * 2


@pytest.mark.parametrize(("begin", "end"), [(BEGIN, AT + DAY), (AT - DAY, END)])
@pytest.mark.parametrize("where", [0, 1])
def test_an_issuer_is_known_while_its_chain_is_in_date(begin: datetime, end: datetime, where: int) -> None:
    root = issue("root", None, CA, **({"begin": begin, "end": end} if where == 0 else {}))
    sub = issue("sub", root, CA, **({"begin": begin, "end": end} if where == 1 else {}))
    for at in (begin - timedelta(seconds=1), begin, end, end + timedelta(seconds=1)):
        store = knowing(root, leaf=issue("first", sub), others=[sub])
        leaf = issue("second", sub, begin=BEGIN - DAY, end=END + DAY)
        found = outcome(store, leaf, [sub], at)
        assert isinstance(found, str) is not (begin <= at <= end)
        assert found == outcome(TrustStore.load([root.der]), leaf, [sub], at)


def test_what_went_out_of_date_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    brief = [issue(f"sub {number}", ROOT, CA, end=AT) for number in range(certificates.MOST_ISSUERS)]
    store, others = TrustStore.load([ROOT.der]), [*brief, SUB]
    for each in brief:
        outcome(store, issue("first", each), others)
    outcome(store, FIRST, others)
    assert searches(monkeypatch, store, SECOND, others)
    outcome(store, SECOND, others, AT + DAY)
    assert list(map(len, store._issuers.values())) == [1]
    assert not searches(monkeypatch, store, issue("third", SUB), others)


def test_a_leaf_that_is_an_anchor_is_its_own_chain() -> None:
    assert outcome(knowing(ROOT, SECOND), SECOND, [SUB])[0] == [SECOND.der]


def test_few_issuers_are_known_and_none_among_many_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    store = knowing()
    monkeypatch.setattr(certificates, "MOST_KEPT", 2)
    for length in range(4):
        validated(store, FIRST.der, [SUB.der, bytes(length)])
    assert len(store._issuers) <= 2
    others = [SUB, Issued("rubbish", None, bytes(17_000))]
    assert searches(monkeypatch, knowing(others=others), SECOND, others)


# --- against a search -------------------------------------------------------------------------------------------------

LOW = issue("low", SUB, CA)
SHORT = issue("short", ROOT, (x509.BasicConstraints(ca=True, path_length=0), True))
BELOW_SHORT = issue("below", SHORT, CA)
TIGHT = issue("tight", ROOT, CA, (x509.NameConstraints([x509.DNSName("example.org")], None), True))
SILENT = issue("silent", ROOT, CA, usage(digital_signature=True))
BELOW_TIGHT = issue("below tight", TIGHT, CA)
BRIEF = issue("brief", ROOT, CA, end=AT)
BELOW_BRIEF = issue("below brief", BRIEF, CA)
TWIN = issue("sub", ROOT, CA, (x509.SubjectKeyIdentifier(b"twin"), False), key=SUB.key)
CROSS = issue("sub", issue("elsewhere", None, CA), CA, key=SUB.key)
RENEWED = issue("root", None, CA, key=ROOT.key, begin=AT)
PATHS = {
    SUB: (SUB,),
    LOW: (LOW, SUB),
    SHORT: (SHORT,),
    BELOW_SHORT: (BELOW_SHORT, SHORT),
    TIGHT: (TIGHT,),
    BELOW_TIGHT: (BELOW_TIGHT, TIGHT),
    SILENT: (SILENT,),
    BRIEF: (BRIEF,),
    BELOW_BRIEF: (BELOW_BRIEF, BRIEF),
    TWIN: (TWIN,),
    CROSS: (CROSS, SUB),
    ROOT: (),
}
"""Authorities, and what leads from each to an anchor."""
KINDS: tuple[tuple[Extension, ...], ...] = (
    (),
    (names(x509.DNSName("a.example.org")),),
    (names(x509.DNSName("a.example.net")),),
    (usage(key_agreement=True),),
    ((x509.AuthorityKeyIdentifier(b"twin", None, None), False),),
)
LEAVES = {
    authority: tuple([issue(f"{authority.name} {number}", authority, *kind) for number, kind in enumerate(KINDS)])
    for authority in PATHS
}
ANCHORS = ((ROOT,), (ROOT, RENEWED), (ROOT, TWIN), (ROOT, LEAVES[SUB][0]))


@pytest.mark.parametrize("authority", PATHS, ids=lambda authority: authority.name)
@given(data=st.data(), anchors=st.sampled_from(ANCHORS))
def test_a_store_that_knows_issuers_finds_what_a_new_one_finds(
    data: st.DataObject, authority: Issued, anchors: tuple[Issued, ...]
) -> None:
    more = data.draw(st.lists(st.sampled_from(list(PATHS)), max_size=2))
    others = data.draw(st.permutations([*PATHS[authority], *more]))
    leaves = st.sampled_from(LEAVES[authority]) | st.sampled_from([*PATHS, *LEAVES[SUB], *LEAVES[TIGHT]])
    visits = st.tuples(leaves, st.sampled_from([AT, AT - DAY, AT + DAY]))
    store = TrustStore.load([each.der for each in anchors])
    for leaf, at in data.draw(st.lists(visits, min_size=2, max_size=6)):
        fresh = TrustStore.load([each.der for each in anchors])
        assert outcome(store, leaf, others, at) == outcome(fresh, leaf, others, at)
