"""What the application is asked while both sides prove who they are: when, about what, and what an answer does."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
import pytest

from ikecore.config import (
    CertificateCredential,
    Connection,
    ExternalKey,
    PinnedKeys,
    PskCredential,
    PskWanted,
    Transports,
    TrustedCertificates,
)
from ikecore.crypto import Identity, Scheme, load_public_key, sign_with
from ikecore.errors import AuthenticationFailed, LocalProtocolError, PeerUnreachable
from ikecore.events import IkeSaEstablished, IkeSaFailed, Refused
from ikecore.limits import Limits
from ikecore.questions import (
    AuthorizationNeeded,
    CertificateFetchNeeded,
    Question,
    QuestionClosed,
    RevocationNeeded,
    SecretNeeded,
    SignatureNeeded,
)
from ikecore.sa.init_facts import hash_notification
from ikecore.testing import NOON, psk_connection
from ikecore.testing.pki import CertificateAuthority, Kind, Leaf, new_key
from ikecore.wire import Authentication, Certificate, IdentificationInitiator, Notification, Payload
from ikecore.wire.numbers import AuthMethod, CertEncoding, Exchange, HashAlgorithm, Notify
from tests.rig import THERE, Puppet, Rig, notifications
from tests.sa.asked import Answers, Settled, settle

ROOT = CertificateAuthority("Root", utc=NOON)
MIDDLE = ROOT.intermediate("Middle")
LEAF = MIDDLE.leaf(["responder.example"], crl_urls=["http://crl.example/m"], ocsp_urls=["http://ocsp.example"])
PSK = PskCredential(b"secret")
TRUST = TrustedCertificates((ROOT.der,))
AUTH, INFO = Exchange.IKE_AUTH, Exchange.INFORMATIONAL


def initiator(**changes: Any) -> Connection:
    return attrs.evolve(psk_connection("initiator", secret=b"secret"), **changes)


def responder(**changes: Any) -> Connection:
    return attrs.evolve(psk_connection("responder", secret=b"secret"), **changes)


def kinds(settled: Settled, role: str) -> list[type]:
    return [type(each) for each in settled.asked(getattr(settled.pair, role))]


# --- secrets ----------------------------------------------------------------------------------------------------------

WANTED = PskWanted()


@pytest.mark.requirement("IKE-005", "IKE-161")
def test_the_responder_asks_once_for_the_secret_of_who_claims_to_come() -> None:
    theirs = responder(local=WANTED, remote=WANTED, remote_identity=None)
    settled = settle(initiator(), theirs, {SecretNeeded: lambda question: b"secret"})
    assert settled.up
    (question,) = settled.asked(settled.pair.responder)
    assert (question.peer_identity, question.local_identity) == ("fqdn:initiator.example", "fqdn:responder.example")
    assert (question.claimed, question.remote) == (True, ("10.0.0.1", 500))
    assert b"secret" not in repr(settled.pair.responder.events).encode()


def test_the_initiator_asks_before_it_sends_ike_auth_and_not_again() -> None:
    settled = settle(initiator(local=WANTED, remote=WANTED), responder(), {SecretNeeded: lambda question: b"secret"})
    assert settled.up
    (question,) = settled.asked(settled.pair.initiator)
    assert (question.claimed, question.peer_identity) == (False, "fqdn:responder.example")


def test_an_initiator_that_wants_anybody_asks_again_when_it_knows_whom() -> None:
    ours = initiator(local=WANTED, remote=WANTED, remote_identity=None)
    settled = settle(ours, responder(), {SecretNeeded: lambda question: b"secret"})
    assert settled.up
    asked = settled.asked(settled.pair.initiator)
    assert [(each.peer_identity, each.claimed) for each in asked] == [("", False), ("fqdn:responder.example", True)]


@pytest.mark.requirement("IKE-190", "IKE-191")
@pytest.mark.parametrize("answer", [b"", b"other", None])
def test_no_secret_looks_like_a_wrong_one(answer: bytes | None) -> None:
    answers: Answers = {} if answer is None else {SecretNeeded: lambda question: answer}
    theirs = responder(local=WANTED, remote=WANTED, remote_identity=None)
    settled = settle(initiator(), theirs, answers)
    assert str(settled.error) == "the peer did not accept our authentication"
    assert isinstance(settled.refusal, AuthenticationFailed)
    assert len(settled.pair.responder.of(QuestionClosed)) == 1


def test_an_initiator_without_a_secret_sends_nothing() -> None:
    settled = settle(initiator(local=WANTED), responder(), {SecretNeeded: lambda question: b""})
    assert isinstance(settled.error, LocalProtocolError)
    assert not [each for each in settled.pair.network.wire if each.data[18] == AUTH]


def test_questions_about_strangers_are_bounded() -> None:
    """Beyond the rate they are refused unasked; who has proved itself is asked about all the same."""
    theirs = responder(local=WANTED, remote=WANTED, remote_identity=None)
    rig = Rig(theirs, limits=Limits(early_questions_per_second=3.0, half_open_per_source=100))
    for number in range(8):
        puppet = Puppet(rig, address=(THERE[0], 1000 + number), seed=number)
        puppet.begin()
        answers = puppet.give(puppet.seal(AUTH, puppet.auth()))
        assert [puppet.open(each)[1] for each in answers] == (
            [] if number < 3 else [[Notification(Notify.AUTHENTICATION_FAILED)]]
        )
    assert len(rig.of(SecretNeeded)) == 3
    assert "have proved nothing" in rig.one(Refused).reason
    rig.run_for(1.0)
    puppet = Puppet(rig, address=(THERE[0], 2000), seed=50)
    puppet.begin()
    assert puppet.give(puppet.seal(AUTH, puppet.auth())) == []


def test_questions_about_peers_that_we_called_leave_those_about_strangers_their_allowance() -> None:
    theirs = responder(local=WANTED, remote=WANTED, remote_identity=None)
    ours = initiator(local=WANTED, remote=WANTED, remote_identity=None)
    rig = Rig(theirs, limits=Limits(early_questions_per_second=1.0))
    for number in range(3):
        host = f"10.0.1.{1 + number}"
        called = Puppet(rig, "responder", address=(host, 500), seed=number)
        rig.initiate(ours, [host])
        called.answer_init()
        rig.endpoint.answer(rig.last_question(), called.secret, now=rig.now)
        rig.drain()
        called.answer_auth()
        assert rig.last(SecretNeeded).claimed, "it is asked again, by the name that the peer claims"
    assert len(rig.of(SecretNeeded)) == 6
    stranger = Puppet(rig, seed=50)
    stranger.begin()
    assert stranger.give(stranger.seal(AUTH, stranger.auth())) == []
    assert rig.last(SecretNeeded).remote == THERE
    assert rig.of(Refused) == []


# --- signatures made elsewhere ----------------------------------------------------------------------------------------


def elsewhere(leaf: Leaf) -> ExternalKey:
    return ExternalKey(leaf.chain, leaf.public_key)


def signer(leaf: Leaf) -> Any:
    """An HSM: it does as the question says, and knows nothing of IKE."""

    def sign(question: SignatureNeeded) -> bytes:
        assert question.public_key == leaf.public_key
        scheme = Scheme(AuthMethod.DIGITAL_SIGNATURE, question.kind, HashAlgorithm[question.hash])
        return sign_with(leaf.key, scheme, question.octets)

    return sign


SIGNERS: tuple[Kind, ...] = ("ecdsa-p256", "ecdsa-p521", "rsa-2048", "ed25519", "ml-dsa-44")


@pytest.mark.requirement("IKE-275", "IKE-004")
@pytest.mark.parametrize("kind", SIGNERS)
def test_the_application_signs_for_either_side(kind: Kind) -> None:
    leaves = {role: ROOT.leaf([f"{role}.example"], kind=kind) for role in ("initiator", "responder")}

    def sign(question: SignatureNeeded) -> bytes:
        mine = next(leaf for leaf in leaves.values() if leaf.public_key == question.public_key)
        return bytes(signer(mine)(question))

    settled = settle(
        initiator(local=elsewhere(leaves["initiator"]), remote=TRUST),
        responder(local=(elsewhere(leaves["responder"]),), remote=TRUST),
        {SignatureNeeded: sign},
    )
    assert settled.up
    assert kinds(settled, "initiator") == kinds(settled, "responder") == [SignatureNeeded]


@pytest.mark.parametrize(("kind", "size"), [("ecdsa-p256", 64), ("rsa-2048", 256)])
def test_a_peer_without_rfc_7427_gets_the_old_methods(kind: Kind, size: int) -> None:
    leaf = ROOT.leaf(["responder.example"], kind=kind)
    rig = Rig(attrs.evolve(psk_connection("responder"), local=elsewhere(leaf)))
    puppet = Puppet(rig)
    puppet.begin()
    assert puppet.give(puppet.seal(AUTH, puppet.auth())) == []
    question = rig.one(SignatureNeeded)
    assert (question.kind, question.hash) == ("ecdsa" if size == 64 else "rsa-pkcs1", "SHA2_256")
    rig.endpoint.answer(question.question, signer(leaf)(question), now=rig.now)
    (answer,) = puppet.taken(rig.drain())
    (auth,) = [each for each in puppet.open(answer)[1] if isinstance(each, Authentication)]
    assert (auth.method, len(auth.data)) == (9 if size == 64 else 1, size)


@pytest.mark.requirement("IKE-190")
@pytest.mark.parametrize("role", ["initiator", "responder"])
@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "the application did not sign"),
        ({SignatureNeeded: lambda question: b""}, "the application did not sign"),
        ({SignatureNeeded: lambda question: b"x" * 70}, "signature is no good"),
        ({SignatureNeeded: signer(Leaf(LEAF.chain, LEAF.key))}, None),
    ],
)
def test_without_a_good_signature_of_ours_there_is_no_sa(role: str, answers: Any, message: str | None) -> None:
    """It is verified here, so a broken HSM is told on our side, and a secret of the peer's is not even risked."""
    key = elsewhere(LEAF)
    ours = initiator(local=key) if role == "initiator" else initiator(remote=TRUST)
    theirs = responder(remote=PinnedKeys((LEAF.public_key,))) if role == "initiator" else responder(local=key)
    settled = settle(ours, theirs, answers)
    if message is None:
        assert settled.up
        return
    failed = getattr(settled.pair, role).one(IkeSaFailed)
    assert isinstance(failed.error, LocalProtocolError)
    assert message in str(failed.error)
    assert settled.pair.responder.of(IkeSaEstablished) == []
    if role == "responder":
        assert str(settled.error) == "the peer did not accept our authentication"


def test_mistakes_in_an_external_key() -> None:
    with pytest.raises(LocalProtocolError, match="public: not a usable public key"):
        ExternalKey((), b"nonsense")
    key = new_key("ecdsa-p256").public_key()
    from ikecore.crypto import subject_public_key_info

    assert ExternalKey((), subject_public_key_info(key)).public_key == load_public_key(subject_public_key_info(key))


# --- revocation -------------------------------------------------------------------------------------------------------


def asking(**more: Any) -> Connection:
    return initiator(remote=TrustedCertificates((ROOT.der,), revocation="ask", **more))


@pytest.mark.parametrize("crls", [(), (ROOT.crl(),)])
def test_the_application_may_know_what_no_list_tells(crls: tuple[bytes, ...]) -> None:
    theirs = responder(local=CertificateCredential(LEAF.chain, LEAF.key))
    settled = settle(asking(crls=crls), theirs, {RevocationNeeded: lambda question: True})
    assert settled.up
    asked = settled.asked(settled.pair.initiator)
    assert [each.subject for each in asked] == ["CN=responder.example", *([] if crls else ["CN=Middle"])]
    first = asked[0]
    assert (first.distribution_points, first.ocsp) == (("http://crl.example/m",), ("http://ocsp.example",))
    assert (first.certificate, first.issuer) == (LEAF.chain[0], MIDDLE.der)
    assert first.peer_identity == "fqdn:responder.example"


@pytest.mark.parametrize("answers", [{}, {RevocationNeeded: lambda question: False}])
def test_it_has_to_say_so(answers: Any) -> None:
    theirs = responder(local=CertificateCredential(LEAF.chain, LEAF.key))
    settled = settle(asking(), theirs, answers)
    assert str(settled.error) == "the application does not vouch for CN=responder.example"
    assert kinds(settled, "initiator") == [RevocationNeeded]
    # The responder holds the SA for established, and is told.
    assert settled.pair.responder.endpoint.sas == ()


def test_nobody_is_asked_about_a_certificate_whose_key_was_not_used() -> None:
    other = new_key("ecdsa-p256")
    settled = settle(asking(), responder(local=CertificateCredential(LEAF.chain, other)))
    assert isinstance(settled.error, AuthenticationFailed)
    assert kinds(settled, "initiator") == []


def test_nobody_is_asked_about_one_that_is_revoked() -> None:
    theirs = responder(local=CertificateCredential(LEAF.chain, LEAF.key))
    settled = settle(asking(crls=(ROOT.crl(MIDDLE),)), theirs, {RevocationNeeded: lambda question: True})
    assert isinstance(settled.error, AuthenticationFailed)


# --- certificates by hash and URL -------------------------------------------------------------------------------------

URLS = ("http://certs.example/leaf", "http://certs.example/middle")
STORE = dict(zip(URLS, LEAF.chain, strict=True))
LOOKUP = initiator(remote=TRUST, hash_and_url=True)


def fetched(answers: Any, *, connection: Connection = LOOKUP, urls: tuple[str, ...] = URLS) -> Settled:
    return settle(connection, responder(local=CertificateCredential(LEAF.chain, LEAF.key, urls)), answers)


@pytest.mark.requirement("IKE-271")
def test_the_application_fetches_certificates() -> None:
    settled = fetched({CertificateFetchNeeded: lambda question: STORE[question.url]})
    assert settled.up
    asked = settled.asked(settled.pair.initiator)
    assert [(each.url, each.digest, each.bundle) for each in asked] == [
        (url, hashlib.sha1(der).digest(), False) for url, der in STORE.items()
    ]
    assert asked[0].claimed_identity == "fqdn:responder.example"
    assert asked[0].most == 65_536


@pytest.mark.requirement("IKE-271")
@pytest.mark.parametrize(
    "answers",
    [
        {},
        {CertificateFetchNeeded: lambda question: b""},
        {CertificateFetchNeeded: lambda question: LEAF.chain[1]},
        {CertificateFetchNeeded: lambda question: LEAF.chain[0] + b"\0"},
        {CertificateFetchNeeded: lambda question: bytes(65_537)},
    ],
)
def test_what_was_not_fetched_or_is_something_else_proves_nothing(answers: Any) -> None:
    settled = fetched(answers)
    assert isinstance(settled.error, AuthenticationFailed)
    assert kinds(settled, "initiator") == [CertificateFetchNeeded]


def certified(puppet: Puppet, certificates: list[Payload]) -> list[Payload]:
    """An IKE_AUTH request with *certificates*, whose AUTH is not good for anything."""
    identity = IdentificationInitiator(2, b"initiator.example")
    return [identity, *certificates, Authentication(AuthMethod.DIGITAL_SIGNATURE, b"x"), *puppet.child_payloads()]


def by_reference(octets: bytes, url: str, encoding: int = CertEncoding.HASH_AND_URL_X509) -> Payload:
    return Certificate(encoding, hashlib.sha1(octets).digest() + url.encode())


def judging(*certificates: Payload, hash_and_url: bool = True) -> tuple[Rig, Puppet, list[bytes]]:
    rig = Rig(responder(remote=TRUST, hash_and_url=hash_and_url))
    puppet = Puppet(rig)
    puppet.begin()
    return rig, puppet, puppet.give(puppet.seal(AUTH, certified(puppet, list(certificates))))


def failure(rig: Rig) -> str:
    return str(rig.one(IkeSaFailed).error)


@pytest.mark.requirement("IKE-271")
def test_it_is_off_by_default() -> None:
    rig, _, _ = judging(by_reference(b"x", URLS[0]), hash_and_url=False)
    assert rig.of(Question) == []
    assert failure(rig) == "the peer sent no certificate"


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "http://a\r\nb", "gopher://x", "http://" + "a" * 2000])
def test_what_nobody_should_fetch_is_not_asked_for(url: str) -> None:
    rig, puppet, (answer,) = judging(by_reference(b"x", url))
    assert rig.of(Question) == []
    assert notifications(puppet.open(answer)[1]) == [Notify.AUTHENTICATION_FAILED]
    assert failure(rig).startswith("a certificate by hash and URL: ")


def test_four_urls_of_one_message_are_the_most() -> None:
    rig, _, _ = judging(*[by_reference(LEAF.chain[0], f"http://certs.example/{number}") for number in range(5)])
    for _ in range(4):
        question = rig.last(CertificateFetchNeeded)
        rig.endpoint.answer(question.question, LEAF.chain[0], now=rig.now)
        rig.drain()
    assert len(rig.of(CertificateFetchNeeded)) == 4
    assert failure(rig) == "the peer wants more than 4 URLs to be fetched"


def tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


@pytest.mark.requirement("IKE-271")
@pytest.mark.parametrize("revoked", [False, True])
def test_a_bundle_brings_certificates_and_lists(revoked: bool) -> None:
    lists = (ROOT.crl(), MIDDLE.crl(*([LEAF] if revoked else [])))
    bundle = tlv(0x30, b"".join([*(tlv(0xA0, der) for der in LEAF.chain), *(tlv(0xA1, der) for der in lists)]))
    theirs = responder(
        local=CertificateCredential(LEAF.chain, LEAF.key),
        send_certificates="never",
        transports=Transports(fragmentation="no"),
    )
    trust = TrustedCertificates((ROOT.der,), revocation="required")
    settled = settle(
        initiator(remote=trust, hash_and_url=True),
        theirs,
        {CertificateFetchNeeded: lambda question: bundle},
        beside=[by_reference(bundle, URLS[0], CertEncoding.HASH_AND_URL_BUNDLE)],
    )
    assert settled.asked(settled.pair.initiator)[0].bundle
    assert settled.up is not revoked
    assert not revoked or "is revoked" in str(settled.error)


# --- who is welcome ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("welcome", [True, False, None])
def test_the_initiator_too_may_be_asked_whether_the_peer_is_welcome(welcome: bool | None) -> None:
    answers: Answers = {} if welcome is None else {AuthorizationNeeded: lambda question: welcome}
    settled = settle(initiator(authorize=True), responder(), answers)
    (question,) = settled.asked(settled.pair.initiator)
    assert (question.peer_identity, question.remote) == ("fqdn:responder.example", ("10.0.0.2", 500))
    assert settled.up is bool(welcome)
    if not welcome:
        assert str(settled.error) == "the application refused the peer"
        assert settled.pair.responder.endpoint.sas == ()


def test_all_that_can_be_asked_is_asked_in_order() -> None:
    mine = ROOT.leaf(["initiator.example"])
    trust = TrustedCertificates((ROOT.der,), revocation="ask")
    answers = {
        CertificateFetchNeeded: lambda question: STORE[question.url],
        RevocationNeeded: lambda question: True,
        AuthorizationNeeded: lambda question: True,
        SignatureNeeded: signer(mine),
        SecretNeeded: lambda question: b"secret",
    }
    settled = settle(
        initiator(local=elsewhere(mine), remote=trust, hash_and_url=True, authorize=True),
        responder(local=CertificateCredential(LEAF.chain, LEAF.key, URLS), remote=trust, authorize=True),
        answers,
    )
    assert settled.up
    assert kinds(settled, "initiator") == [
        SignatureNeeded, CertificateFetchNeeded, CertificateFetchNeeded, RevocationNeeded, RevocationNeeded,
        AuthorizationNeeded,
    ]  # fmt: skip
    assert kinds(settled, "responder") == [RevocationNeeded, AuthorizationNeeded]


# --- while it is undecided --------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-054", "TCP-80")
def test_a_request_is_not_executed_again_while_the_application_is_asked_about_a_stranger() -> None:
    rig = Rig(responder(local=WANTED, remote=WANTED))
    puppet = Puppet(rig, secret=b"secret")
    puppet.begin()
    message = puppet.seal(AUTH, puppet.auth())
    assert puppet.give(message) == puppet.give(message) == []
    (question,) = rig.of(SecretNeeded)
    assert rig.endpoint.sa(question.sa).state == "deciding"
    assert puppet.give(puppet.seal(AUTH, puppet.auth(), message_id=2)) == []
    rig.endpoint.answer(question.question, b"secret", now=rig.now)
    assert len(puppet.taken(rig.drain())) == 1
    rig.one(IkeSaEstablished)


def test_a_stranger_cannot_stay_by_making_the_application_think() -> None:
    """However long it takes, an SA whose peer has proved nothing goes when a half-open one goes."""
    limits = Limits(question_timeout=500.0)
    rig = Rig(responder(local=WANTED, remote=WANTED), limits=limits)
    puppet = Puppet(rig)
    puppet.begin()
    puppet.give(puppet.seal(AUTH, puppet.auth()))
    rig.run_for(limits.half_open_lifetime + 1.0)
    assert failure(rig) == "the application did not decide in time"
    assert rig.endpoint.idle
    assert not rig.endpoint.answer(rig.one(SecretNeeded).question, b"secret", now=rig.now)


def test_an_initiator_does_not_wait_for_its_application_for_ever() -> None:
    limits = Limits(question_timeout=500.0)
    rig = Rig(limits=limits)
    rig.initiate(initiator(local=elsewhere(ROOT.leaf(["initiator.example"]))))
    Puppet(rig, "responder").answer_init(extra=[hash_notification()])
    rig.one(SignatureNeeded)
    rig.run_for(limits.establish_timeout + 1.0)
    assert isinstance(rig.one(IkeSaFailed).error, PeerUnreachable)
    rig.one(QuestionClosed)
    assert rig.endpoint.idle


@pytest.mark.parametrize("way", ["abandon", "delete", "shutdown"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_question_of_the_initiator_dies_with_its_sa(way: str, when: str) -> None:
    rig = Rig()
    changes: dict[str, Any] = {"local": WANTED} if when == "before" else {"authorize": True}
    sa = rig.initiate(attrs.evolve(psk_connection("initiator"), **changes))
    puppet = Puppet(rig, "responder")
    puppet.answer_init()
    if when == "after":
        puppet.answer_auth()
    (question,) = rig.of(Question)
    assert rig.endpoint.sa(sa).state == "deciding"
    if way == "abandon":
        rig.endpoint.abandon(sa, now=rig.now)
    elif way == "delete":
        rig.endpoint.delete(sa, now=rig.now)
    else:
        rig.endpoint.shutdown(now=rig.now)
    rig.drain()
    rig.one(QuestionClosed)
    rig.one(IkeSaFailed)
    assert not rig.endpoint.answer(question.question, True, now=rig.now)
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


def test_the_peer_is_not_heard_while_our_application_judges_it() -> None:
    rig = Rig()
    rig.initiate(attrs.evolve(psk_connection("initiator"), authorize=True))
    puppet = Puppet(rig, "responder")
    puppet.answer_init()
    puppet.answer_auth()
    assert puppet.give(puppet.seal(INFO)) == []
    rig.endpoint.answer(rig.one(AuthorizationNeeded).question, True, now=rig.now)
    rig.drain()
    rig.one(IkeSaEstablished)
    assert puppet.request(INFO) == []


def test_an_identity_that_is_not_the_wanted_one_is_told_and_nobody_asked() -> None:
    settled = settle(
        initiator(authorize=True, remote_identity=Identity.parse("other.example")),
        responder(),
        {AuthorizationNeeded: lambda question: True},
    )
    assert kinds(settled, "initiator") == []
    assert settled.pair.initiator.one(IkeSaFailed).claimed_identity == "fqdn:responder.example"
