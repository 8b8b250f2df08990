"""Authentication with certificates, lists and tables of secrets: what is asked for, what is sent, what is accepted."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import attrs
import pytest

from ikecore.config import (
    CertificateCredential,
    Config,
    Connection,
    PinnedKeys,
    PskCredential,
    PskTable,
    Transports,
    TrustedCertificates,
)
from ikecore.crypto import Identity, pad_secret
from ikecore.crypto.certificates import authority_hash
from ikecore.errors import AuthenticationFailed, LocalProtocolError
from ikecore.events import IkeSaEstablished, IkeSaFailed, OwnCertificateOutOfDate
from ikecore.testing import NOON, Insider, psk_connection
from ikecore.testing.pki import DAY, CertificateAuthority, Kind, Leaf
from ikecore.wire import Certificate, CertificateRequest, Notification, Payload, decode_envelope
from ikecore.wire.numbers import CertEncoding, Exchange, Notify
from tests.rig import Puppet, Rig, notifications
from tests.sa.asked import Settled, settle

ROOT = CertificateAuthority("Root", utc=NOON)
OTHER = CertificateAuthority("Other Root", utc=NOON)
MIDDLE = ROOT.intermediate("Middle")
LEAF = MIDDLE.leaf(["responder.example"])
STRANGER = OTHER.leaf(["responder.example"])
CLIENT = OTHER.intermediate("Other Middle").leaf(["initiator.example"])
PSK = PskCredential(b"secret")
A = Identity.parse("a.example")
WHOLE = Transports(fragmentation="no")
"""Messages are looked at on the wire, where they are easier to take apart whole."""


def credential(leaf: Leaf, **more: Any) -> CertificateCredential:
    return CertificateCredential(leaf.chain, leaf.key, **more)


def initiator(**changes: Any) -> Connection:
    return attrs.evolve(psk_connection("initiator", transports=WHOLE), local=PSK, **changes)


def responder(**changes: Any) -> Connection:
    return attrs.evolve(psk_connection("responder", transports=WHOLE), remote=PSK, **changes)


def sent(settled: Settled, *, by: str = "10.0.0.2") -> list[Payload]:
    """The payloads of the IKE_AUTH message of one side."""
    insider = Insider(settled.pair.initiator)
    for packet in settled.pair.network.wire:
        if packet.source[0] == by and packet.data[18] == Exchange.IKE_AUTH:
            return insider.open(packet.data)[1]
    raise AssertionError(f"{by} sent no IKE_AUTH")


def certificates(settled: Settled, *, by: str = "10.0.0.2") -> list[bytes]:
    return [each.data for each in sent(settled, by=by) if isinstance(each, Certificate)]


# --- several of our certificates --------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-002", "IKE-272", "IKE-273", "IKE-163")
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("root", "leaf"), [(ROOT, LEAF), (OTHER, STRANGER)])
def test_the_responder_proves_itself_to_the_authority_that_is_asked_for(
    root: CertificateAuthority, leaf: Leaf, backwards: bool
) -> None:
    """The root is not in a chain: that of the first shows in the configuration, that of the second is named."""
    local = [credential(LEAF, authorities=(ROOT.der,)), credential(STRANGER, authorities=[OTHER.der])]
    theirs = responder(local=tuple(local[::-1] if backwards else local))
    settled = settle(initiator(remote=TrustedCertificates((root.der,))), theirs)
    assert settled.up
    assert certificates(settled) == list(leaf.chain)


@pytest.mark.requirement("IKE-272", "IKE-273")
@pytest.mark.parametrize(("root", "number"), [(ROOT, 0), (OTHER, 1)])
def test_the_initiator_likewise(root: CertificateAuthority, number: int) -> None:
    """It is asked in IKE_SA_INIT. What it trusts itself tells which root a chain goes back to."""
    leaves = [MIDDLE.leaf(["initiator.example"]), CLIENT]
    ours = attrs.evolve(
        psk_connection("initiator", transports=WHOLE),
        local=[credential(leaf) for leaf in leaves],
        remote=TrustedCertificates((ROOT.der, OTHER.der)),
    )
    theirs = attrs.evolve(psk_connection("responder"), local=credential(LEAF), remote=TrustedCertificates((root.der,)))
    settled = settle(ours, theirs)
    assert settled.up
    assert certificates(settled, by="10.0.0.1") == list(leaves[number].chain)


def test_a_peer_that_comes_again_is_spared_its_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = CertificateAuthority("A Root of its own", utc=NOON)
    ours = initiator(remote=TrustedCertificates((fresh.der,)))
    theirs = responder(local=credential(fresh.leaf(["responder.example"])))
    assert settle(ours, theirs).up

    def searched(*_: Any, **__: Any) -> None:
        raise ArithmeticError

    monkeypatch.setattr("ikecore.crypto.certificates._find_chain", searched)
    assert settle(ours, theirs).up


@pytest.mark.requirement("IKE-272")
def test_an_intermediate_that_the_peer_trusts_is_an_answer_too() -> None:
    local = (credential(STRANGER), credential(LEAF))
    settled = settle(initiator(remote=TrustedCertificates((MIDDLE.der,))), responder(local=local))
    assert certificates(settled) == list(LEAF.chain)


@pytest.mark.requirement("IKE-273")
def test_a_request_that_nothing_fits_gets_the_first_certificate() -> None:
    third = CertificateAuthority("Third Root", utc=NOON)
    settled = settle(initiator(remote=TrustedCertificates((third.der,))), responder(local=[credential(LEAF)] * 2))
    assert certificates(settled) == list(LEAF.chain)
    assert isinstance(settled.error, AuthenticationFailed)


def test_a_key_that_the_peer_cannot_verify_is_passed_over() -> None:
    """The puppet announces no hash algorithms, so that an Ed25519 key is of no use (RFC 7427)."""
    edwards, plain = ROOT.leaf(["responder.example"], kind="ed25519"), ROOT.leaf(["responder.example"])
    rig = Rig(attrs.evolve(psk_connection("responder"), local=(credential(edwards), credential(plain))))
    puppet = Puppet(rig)
    puppet.begin()
    answer = puppet.authenticate()
    assert [each.data for each in answer if isinstance(each, Certificate)] == list(plain.chain)


def test_a_peer_that_can_verify_none_of_our_keys() -> None:
    edwards = ROOT.leaf(["responder.example"], kind="ed25519")
    rig = Rig(attrs.evolve(psk_connection("responder"), local=credential(edwards)))
    puppet = Puppet(rig)
    puppet.begin()
    assert notifications(puppet.authenticate()) == [Notify.AUTHENTICATION_FAILED]
    failed = rig.one(IkeSaFailed)
    assert "SIGNATURE_HASH_ALGORITHMS" in str(failed.error)
    assert failed.claimed_identity == "fqdn:initiator.example"


# --- what is asked for ------------------------------------------------------------------------------------------------


def init_answer(*connections: Connection) -> list[Payload]:
    puppet = Puppet(Rig(*connections))
    puppet.begin()
    return list(decode_envelope(puppet.init_received).payloads)


def trusting(number: int, **changes: Any) -> Connection:
    root = CertificateAuthority(f"Root {number}", utc=NOON)
    remote = TrustedCertificates((root.der, ROOT.der))
    return attrs.evolve(psk_connection("responder", name=f"{number}"), remote=remote, **changes)


@pytest.mark.requirement("IKE-001", "IKE-272")
def test_a_responder_asks_for_the_authorities_of_all_connections_that_may_be_meant() -> None:
    rows = [psk_connection("responder", name="psk"), trusting(1), trusting(2)]
    (request,) = [each for each in init_answer(*rows) if isinstance(each, CertificateRequest)]
    trusted = [each.remote for each in rows[1:]]
    assert all(isinstance(each, TrustedCertificates) for each in trusted)
    hashes = [authority_hash(der) for each in trusted for der in each.anchors]  # type: ignore[union-attr]
    assert list(request.authorities) == list(dict.fromkeys(hashes))
    elsewhere = [attrs.evolve(each, remote_addresses=("192.0.2.1",)) for each in rows[1:]]
    assert not [each for each in init_answer(rows[0], *elsewhere) if isinstance(each, CertificateRequest)]


def test_the_answer_to_a_stranger_does_not_grow_with_the_configuration() -> None:
    rows = [trusting(number) for number in range(20)]
    (request,) = [each for each in init_answer(*rows) if isinstance(each, CertificateRequest)]
    assert len(request.authorities) == 16
    many = tuple(CertificateAuthority(f"Root {number}", utc=NOON).der for number in range(20))
    row = attrs.evolve(psk_connection("responder"), remote=TrustedCertificates(many))
    (request,) = [each for each in init_answer(row) if isinstance(each, CertificateRequest)]
    assert list(request.authorities) == [authority_hash(der) for der in many[:16]]


@pytest.mark.requirement("IKE-271")
def test_certificates_by_reference_are_only_welcome_where_that_is_configured() -> None:
    lookup = Notify.HTTP_CERT_LOOKUP_SUPPORTED
    assert lookup not in notifications(init_answer(trusting(1)))
    assert lookup in notifications(init_answer(trusting(1), trusting(2, hash_and_url=True)))
    for on in (False, True):
        remote = TrustedCertificates((ROOT.der,))
        settled = settle(initiator(remote=remote, hash_and_url=on), responder(local=credential(LEAF)))
        assert settled.up
        assert (lookup in notifications(sent(settled, by="10.0.0.1"))) is on


# --- by hash and URL --------------------------------------------------------------------------------------------------

URLS = ("http://certs.example/leaf", "https://certs.example/middle")


@pytest.mark.requirement("IKE-271")
@pytest.mark.parametrize("count", [0, 1, 2])
def test_hash_and_url_replace_certificates_for_a_peer_that_can_look_them_up(count: int) -> None:
    theirs = responder(local=credential(LEAF, urls=URLS[:count]))
    settled = settle(initiator(remote=TrustedCertificates((ROOT.der,)), hash_and_url=True), theirs)
    payloads = [each for each in sent(settled) if isinstance(each, Certificate)]
    referred = [
        Certificate(CertEncoding.HASH_AND_URL_X509, hashlib.sha1(der).digest() + url.encode())
        for der, url in zip(LEAF.chain, URLS[:count], strict=False)
    ]
    assert payloads == [*referred, *(Certificate(CertEncoding.X509_SIGNATURE, der) for der in LEAF.chain[count:])]


@pytest.mark.requirement("IKE-271")
def test_without_that_they_go_as_they_are() -> None:
    theirs = responder(local=credential(LEAF, urls=URLS))
    settled = settle(initiator(remote=TrustedCertificates((ROOT.der,))), theirs)
    assert settled.up
    assert certificates(settled) == list(LEAF.chain)


# --- revocation lists -------------------------------------------------------------------------------------------------

LISTS = (ROOT.crl(), MIDDLE.crl())
LINKED = MIDDLE.leaf(["responder.example"], crl_urls=["http://crl.example/middle"])


def judged(leaf: Leaf = LEAF, extra: tuple[bytes, ...] = (), **trust: Any) -> Settled:
    """A responder that has *leaf* and sends *extra* lists beside it, and an initiator that trusts the root."""
    theirs = responder(local=credential(leaf))
    ours = initiator(remote=TrustedCertificates((ROOT.der,), **trust))
    return settle(ours, theirs, beside=[Certificate(CertEncoding.CRL, der) for der in extra])


@pytest.mark.parametrize("policy", ["if-known", "if-uri", "required", "ask"])
@pytest.mark.parametrize("configured", [True, False])
def test_a_chain_that_lists_vouch_for(policy: Any, configured: bool) -> None:
    if configured:
        assert judged(crls=LISTS, revocation=policy).up
    else:
        assert judged(extra=LISTS, revocation=policy).up


@pytest.mark.parametrize("policy", ["if-known", "if-uri", "required", "ask"])
@pytest.mark.parametrize("lists", [(MIDDLE.crl(LEAF),), (ROOT.crl(MIDDLE), MIDDLE.crl())])
def test_who_is_revoked_gets_in_under_no_policy_that_looks(policy: Any, lists: tuple[bytes, ...]) -> None:
    for settled in (judged(crls=lists, revocation=policy), judged(extra=lists, revocation=policy)):
        assert isinstance(settled.error, AuthenticationFailed)
        assert "is revoked" in str(settled.error)
        assert settled.pair.initiator.of(IkeSaEstablished) == []


def test_lists_are_not_looked_at_where_that_is_wanted() -> None:
    assert judged(crls=(MIDDLE.crl(LEAF),), revocation="ignore").up


@pytest.mark.parametrize(
    ("policy", "leaf", "lists", "up"),
    [
        ("if-known", LEAF, (), True),
        ("if-known", LINKED, LISTS[:1], True),
        ("if-uri", LEAF, (), True),
        ("if-uri", LINKED, (), False),
        ("required", LEAF, (), False),
        ("required", LEAF, LISTS[:1], False),
        ("required", LEAF, LISTS[1:], False),
        ("required", LEAF, (LISTS[0], MIDDLE.crl(valid=(NOON - 9 * DAY, NOON - DAY))), False),
        ("ask", LEAF, LISTS[:1], False),
    ],
)
def test_what_no_list_tells_is_decided_as_configured(
    policy: Any, leaf: Leaf, lists: tuple[bytes, ...], up: bool
) -> None:
    """Nobody answers here, so that to ask is to refuse."""
    assert judged(leaf, crls=lists, revocation=policy).up is up


def test_what_a_peer_sends_as_a_list_and_is_none_is_passed_over() -> None:
    assert judged(extra=(b"", b"nonsense", *LISTS), revocation="required").up
    assert not judged(extra=(b"nonsense",) * 8 + LISTS, revocation="required").up, "no more than eight are looked at"


# --- secrets by identity ----------------------------------------------------------------------------------------------


def table(**secrets: bytes) -> PskTable:
    return PskTable(
        [(Identity.parse(name.replace("_", ".").replace("any", "*")), key) for name, key in secrets.items()]
    )


TABLE = table(any_example=b"wide", initiator_example=b"one", other_example=b"other")


@pytest.mark.requirement("IKE-005", "IKE-161", "IKE-190", "IKE-310")
@pytest.mark.parametrize(
    ("identity", "secret", "up"),
    [
        ("initiator.example", b"one", True),
        ("initiator.example", b"other", False),
        ("initiator.example", b"wide", False),
        ("x.example", b"wide", True),
        ("x.example", b"one", False),
        ("x.elsewhere", b"wide", False),
        ("x.elsewhere", bytes(32), False),
    ],
)
def test_each_peer_has_a_secret_of_its_own(identity: str, secret: bytes, up: bool) -> None:
    """Both proofs of the responder's side use it: the peer's and its own."""
    theirs = attrs.evolve(psk_connection("responder"), local=TABLE, remote=TABLE, remote_identity=None)
    ours = attrs.evolve(
        psk_connection("initiator", secret=secret), local_identity=Identity.parse(identity), children=()
    )
    settled = settle(ours, theirs)
    assert settled.up is up
    if not up:
        assert str(settled.error) == "the peer did not accept our authentication"
        assert settled.pair.responder.one(IkeSaFailed).claimed_identity == f"fqdn:{identity}"


@pytest.mark.requirement("IKE-005")
@pytest.mark.parametrize("guess", [bytes(32), b"\0", b"x"])
def test_nothing_is_the_secret_of_who_has_none(guess: bytes) -> None:
    """Not even what stands in its place while the work of checking is done all the same."""
    theirs = attrs.evolve(psk_connection("responder"), local=PskCredential(guess), remote=TABLE, remote_identity=None)
    ours = attrs.evolve(
        psk_connection("initiator", secret=guess), local_identity=Identity.parse("x.elsewhere"), children=()
    )
    settled = settle(ours, theirs)
    assert str(settled.refusal) == "there is no pre-shared key for fqdn:x.elsewhere"
    assert settled.pair.responder.of(IkeSaEstablished) == []


def test_who_has_no_secret_is_checked_with_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a refusal takes does not tell which identities there are."""
    calls: list[bytes] = []

    def counted(prf_alg: int, secret: bytes) -> bytes:
        calls.append(secret)
        return pad_secret(prf_alg, secret)

    def work(identity: str) -> int:
        theirs = attrs.evolve(
            psk_connection("responder"), local=PskCredential(b"x"), remote=TABLE, remote_identity=None
        )
        ours = attrs.evolve(
            psk_connection("initiator", secret=b"y"), local_identity=Identity.parse(identity), children=()
        )
        before = len(calls)
        assert not settle(ours, theirs).up
        return len(calls) - before

    for module in ("proving", "verifying"):
        monkeypatch.setattr(f"ikecore.sa.{module}.pad_secret", counted)
    assert work("x.elsewhere") == work("initiator.example") == 1


def test_an_initiator_finds_the_secret_by_whom_it_wants() -> None:
    secrets = table(any_example=b"wide", responder_example=b"gw")
    theirs = psk_connection("responder", secret=b"gw")
    ours = attrs.evolve(psk_connection("initiator"), local=secrets, remote=secrets)
    assert settle(ours, theirs).up
    assert settle(attrs.evolve(ours, local=PskCredential(b"gw"), remote_identity=None), theirs).up
    unknown = settle(attrs.evolve(ours, remote_identity=Identity.parse("*.example")), theirs)
    assert isinstance(unknown.error, LocalProtocolError)
    assert "no pre-shared key for the peer" in str(unknown.error)


def test_the_narrowest_entry_of_a_table() -> None:
    def of(text: str) -> bytes | None:
        return secrets.secret_for(Identity.parse(text))

    wanted = ["email:*", "*@example.org", "C=CH, CN=*", "C=CH, CN=a", "keyid:0x01", "10.0.0.1"]
    secrets = PskTable({Identity.parse(text): text.encode() for text in wanted})
    assert of("A@EXAMPLE.org") == b"*@example.org"
    assert of("a@example.com") == b"email:*"
    assert of("C=ch, CN=A") == b"C=CH, CN=a"
    assert of("C=CH, CN=b") == b"C=CH, CN=*"
    assert (of("keyid:0x01"), of("10.0.0.1")) == (b"keyid:0x01", b"10.0.0.1")
    assert (of("keyid:0x02"), of("10.0.0.2"), of("example.org"), secrets.secret_for(None)) == (None,) * 4
    assert "keyid" not in repr(secrets)
    assert of("keyid:0x02") is None
    assert PskTable(secrets.secrets, others=b"rest").secret_for(Identity.parse("keyid:0x02")) == b"rest"
    assert PskTable(secrets.secrets, others=b"rest").secret_for(None) == b"rest"


# --- two sides, two methods -------------------------------------------------------------------------------------------

KINDS: tuple[Kind, ...] = ("ecdsa-p256", "rsa-2048", "ed25519", "ml-dsa-44")


@pytest.mark.requirement("IKE-163", "IKE-310")
@pytest.mark.parametrize("ours", ["secret", "certificate", "raw key"])
@pytest.mark.parametrize("theirs", ["secret", "certificate", "raw key"])
def test_each_side_proves_itself_in_its_own_way(ours: str, theirs: str) -> None:
    mine, yours = ROOT.leaf(["initiator.example"]), ROOT.leaf(["responder.example"])

    def ways(way: str, leaf: Leaf) -> tuple[Any, Any]:
        return {
            "secret": (PSK, PSK),
            "certificate": (credential(leaf), TrustedCertificates((ROOT.der,))),
            "raw key": (CertificateCredential((), leaf.key), PinnedKeys((leaf.public_key,))),
        }[way]

    (my_proof, my_check), (your_proof, your_check) = ways(ours, mine), ways(theirs, yours)
    settled = settle(
        attrs.evolve(psk_connection("initiator"), local=my_proof, remote=your_check),
        attrs.evolve(psk_connection("responder"), local=your_proof, remote=my_check),
    )
    assert settled.up


@pytest.mark.requirement("IKE-310", "IKE-267", "IKE-269")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("identity", "names"),
    [
        ("responder.example", ["responder.example"]),
        ("me@responder.example", ["me@responder.example"]),
        ("192.0.2.1", ["192.0.2.1"]),
        ("2001:db8::1", ["2001:db8::1"]),
        ("CN=responder", []),
        ("keyid", []),
    ],
)
def test_identities_of_all_types_with_certificates(kind: Kind, identity: str, names: list[str]) -> None:
    leaf = ROOT.leaf(names, subject="responder", kind=kind)
    if identity == "keyid":
        from cryptography import x509

        certificate = x509.load_der_x509_certificate(leaf.chain[0])
        key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        identity = f"keyid:0x{key_id.hex()}"
    mine = Identity.parse(identity)
    for claimed, up in ((mine, True), (Identity(mine.id_type, mine.data[:-1] + bytes((mine.data[-1] ^ 1,))), False)):
        settled = settle(
            initiator(remote=TrustedCertificates((ROOT.der,)), remote_identity=None),
            responder(local=credential(leaf), local_identity=claimed),
        )
        assert settled.up is up
        if not up:
            failed = settled.pair.initiator.one(IkeSaFailed)
            assert "is not for" in str(failed.error)
            assert failed.claimed_identity == str(claimed)


# --- our own certificate ----------------------------------------------------------------------------------------------


def test_our_own_certificate_out_of_date_is_told_on_our_side() -> None:
    expired = ROOT.leaf(["responder.example"], valid=(NOON - 9 * DAY, NOON - timedelta(hours=1)))
    settled = settle(initiator(remote=TrustedCertificates((ROOT.der,))), responder(local=credential(expired)))
    told = settled.pair.responder.one(OwnCertificateOutOfDate)
    assert told.reason == "our certificate CN=responder.example has expired on 2026-06-01 11:00 UTC"
    assert "has expired on" in str(settled.error)


def test_nothing_is_told_of_a_good_one() -> None:
    settled = settle(initiator(remote=TrustedCertificates((ROOT.der,))), responder(local=credential(LEAF)))
    assert settled.pair.responder.of(OwnCertificateOutOfDate) == []


# --- mistakes in the configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PskTable({}), "secrets: at least one"),
        (lambda: PskTable({A: b"x"}, others=b""), "others: an empty key"),
        (lambda: PskTable({Identity.parse("a"): b""}), "secrets: that of fqdn:a is empty"),
        (lambda: responder(local=()), "local: at least one"),
        (lambda: responder(local=(PSK, PSK)), "local: a tuple does not fit; allowed is .*tuple.CertificateCredential"),
        (lambda: credential(LEAF, urls=("http://a",) * 3), "urls: 3 for a chain of 2"),
        (lambda: credential(LEAF, urls=("ftp://a",)), "url: 'ftp://a': only http"),
        (lambda: credential(LEAF, authorities=(b"x",)), "authorities: number 1 is not a certificate"),
        (lambda: CertificateCredential((b"x",), LEAF.key), "chain: number 1 is not a certificate"),
        (lambda: TrustedCertificates((ROOT.der,), crls=(b"x",)), "crls: number 1 is not a certificate revocation"),
        (lambda: TrustedCertificates((ROOT.der,), crls=(LISTS[0],) * 65), "crls: 65 lists; the most is 64"),
        (
            lambda: TrustedCertificates((ROOT.der,), revocation="sometimes"),  # type: ignore[arg-type]
            "revocation: 'sometimes' .* ignore, if-known, if-uri, required, ask",
        ),
    ],
)
def test_mistakes(make: Any, message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        make()


def test_many_connections_share_one_endpoint() -> None:
    """Different methods, secrets and authorities, chosen by identity."""
    rows = Config(
        connections=(
            attrs.evolve(
                psk_connection("responder", name="psk", secret=b"1"), remote_identity=Identity.parse("a.example")
            ),
            responder(name="both", local=credential(LEAF), remote_identity=Identity.parse("b.example")),
            attrs.evolve(
                psk_connection("responder", name="certs"),
                local=credential(LEAF),
                remote=TrustedCertificates((OTHER.der,)),
                remote_identity=None,
            ),
        )
    )
    trust = TrustedCertificates((ROOT.der,))
    attempts: dict[str, Connection] = {
        "psk": attrs.evolve(psk_connection("initiator", secret=b"1"), local_identity=A),
        "both": initiator(remote=trust, local_identity=Identity.parse("b.example")),
        "certs": initiator(remote=trust, local_identity=Identity.parse("initiator.example")),
    }
    attempts["certs"] = attrs.evolve(attempts["certs"], local=credential(CLIENT))
    for name, ours in attempts.items():
        settled = settle(ours, rows)
        assert settled.up
        assert settled.pair.responder.one(IkeSaEstablished).connection == name


def test_a_notification_of_nothing_is_no_lookup() -> None:
    """HTTP_CERT_LOOKUP_SUPPORTED is a status notification; others mean nothing for certificates."""
    rig = Rig(responder(local=credential(LEAF, urls=URLS)))
    puppet = Puppet(rig, secret=PSK.secret)
    puppet.begin()
    answer = puppet.request(Exchange.IKE_AUTH, [*puppet.auth(), Notification(50_000)])
    assert {each.encoding for each in answer if isinstance(each, Certificate)} == {CertEncoding.X509_SIGNATURE}
