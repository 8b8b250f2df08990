"""IKE_AUTH, both roles: who is believed, what is told, and the first Child SA (RFC 7296 sections 1.2, 2.15, 2.21.2)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from ikecore.config import ChildConfig, Connection, PskCredential
from ikecore.crypto import Identity, derive_child_keys, esp_proposals
from ikecore.errors import (
    AuthenticationFailed,
    FailedCpRequired,
    InternalAddressFailure,
    InvalidSyntax,
    NoProposalChosen,
    PeerRefused,
    PeerUnreachable,
    SinglePairRequired,
    TsUnacceptable,
    UnsupportedCriticalPayload,
)
from ikecore.events import ChildSaEstablished, ChildSaFailed, IkeSaClosed, IkeSaEstablished, IkeSaFailed
from ikecore.limits import Limits
from ikecore.outputs import SendDatagram
from ikecore.questions import AuthorizationNeeded, QuestionClosed
from ikecore.sa import parse_selector
from ikecore.testing import psk_connection
from ikecore.wire import (
    Authentication,
    CertificateRequest,
    Configuration,
    ConfigurationAttribute,
    Delete,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelector,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Transform,
    UnknownPayload,
    UnknownSelector,
    VendorId,
    decode_envelope,
)
from ikecore.wire.numbers import AuthMethod, CfgType, Exchange, IdType, Notify, Protocol, TransformType
from tests.rig import HERE, THERE, Puppet, Rig, notifications

AUTH, INFO = Exchange.IKE_AUTH, Exchange.INFORMATIONAL


def responder(*connections: Connection, **changes: Any) -> tuple[Rig, Puppet]:
    """An endpoint as responder, and an initiator that has its keys."""
    rig = Rig(*(connections or (attrs.evolve(psk_connection("responder"), **changes),)))
    puppet = Puppet(rig)
    puppet.begin()
    return rig, puppet


def initiator(*, init_extra: Sequence[Payload] = (), **changes: Any) -> tuple[Rig, Puppet]:
    """An endpoint that has sent IKE_AUTH, and the responder that has to answer it."""
    rig = Rig()
    rig.initiate(attrs.evolve(psk_connection("initiator"), **changes))
    puppet = Puppet(rig, "responder")
    puppet.answer_init(extra=init_extra)
    ((_, payloads),) = puppet.requests()
    for payload in payloads:
        if isinstance(payload, SecurityAssociation):
            puppet.peer_spi_in = payload.proposals[0].spi
    return rig, puppet


def asked(rig: Rig, puppet: Puppet) -> list[Payload]:
    """The payloads of the endpoint's IKE_AUTH request."""
    ((header, payloads),) = [each for each in puppet.requests() if each[0].exchange == AUTH]
    assert header.message_id == 1
    return payloads


# --- the initiator's proof ------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-001", "IKE-004", "IKE-307", "IKE-310", "IKE-055")
def test_an_honest_initiator_is_let_in() -> None:
    rig, puppet = responder()
    answer = puppet.authenticate()
    event = rig.one(IkeSaEstablished)
    assert (event.local_identity, event.peer_identity) == ("fqdn:responder.example", "fqdn:initiator.example")
    assert event.role == "responder"
    kinds = [type(payload) for payload in answer]
    assert kinds == [
        IdentificationResponder,
        Authentication,
        SecurityAssociation,
        TrafficSelectorsInitiator,
        TrafficSelectorsResponder,
    ]


def mac_changed(puppet: Puppet, octet: int) -> list[Payload]:
    payloads = puppet.auth()
    proof = payloads[1]
    assert isinstance(proof, Authentication)
    data = bytearray(proof.data)
    data[octet] ^= 1
    return [payloads[0], Authentication(proof.method, bytes(data)), *payloads[2:]]


def proof_swapped(puppet: Puppet) -> list[Payload]:
    """A proof for one identity under the name of another."""
    return [puppet.auth(identity="admin.example")[0], *puppet.auth()[1:]]


WRONG_PROOFS: dict[str, Any] = {
    "another secret": lambda puppet: puppet.auth(secret=b"guess"),
    "first octet of the MAC": lambda puppet: mac_changed(puppet, 0),
    "last octet of the MAC": lambda puppet: mac_changed(puppet, -1),
    "MAC cut": lambda puppet: [
        puppet.auth()[0],
        Authentication(2, puppet.auth()[1].data[:-1]),
        *puppet.auth()[2:],
    ],
    "no MAC": lambda puppet: [puppet.auth()[0], Authentication(2, b""), *puppet.auth()[2:]],
    "a signature in place of a MAC": lambda puppet: puppet.auth(method=AuthMethod.DIGITAL_SIGNATURE),
    "NULL authentication": lambda puppet: puppet.auth(method=AuthMethod.NULL),
    "an unknown method": lambda puppet: puppet.auth(method=200),
    "another identity": lambda puppet: puppet.auth(identity="stranger.example"),
    "an identity of another type": lambda puppet: puppet.auth(identity="keyid:initiator.example"),
    "another's identity with our proof": proof_swapped,
    "EAP wanted": lambda puppet: [puppet.auth()[0], *puppet.child_payloads()],
    "EAP at once": lambda puppet: [Eap(2, 1, b"\1")],
    "AUTH alone": lambda puppet: puppet.auth()[1:2],
}


@pytest.mark.requirement("IKE-004", "IKE-005", "IKE-010", "IKE-190", "IKE-191", "IKE-274", "IKE-173")
@pytest.mark.parametrize("case", WRONG_PROOFS)
def test_who_cannot_prove_it_is_told_that_and_nothing_more(case: str) -> None:
    rig, puppet = responder()
    (answer,) = puppet.give(puppet.seal(AUTH, WRONG_PROOFS[case](puppet)))
    header, payloads = puppet.open(answer)
    assert payloads == [Notification(Notify.AUTHENTICATION_FAILED)]
    assert (header.exchange, header.message_id, header.is_response) == (AUTH, 1, True)
    failed = rig.one(IkeSaFailed)
    assert isinstance(failed.error, AuthenticationFailed)
    assert failed.step == "IKE_AUTH"
    assert rig.of(IkeSaEstablished, ChildSaEstablished) == []
    assert rig.endpoint.idle
    # B6: after the error nothing goes on, not even with the right proof.
    puppet.next_id = 2
    assert puppet.give(puppet.seal(AUTH, puppet.auth())) == []
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-104", "IKE-004")
def test_the_proof_is_over_the_messages_as_they_were_sent() -> None:
    _rig, puppet = responder()
    puppet.init_sent = puppet.init_sent[:-1] + bytes([puppet.init_sent[-1] ^ 1])
    (answer,) = puppet.give(puppet.seal(AUTH, puppet.auth()))
    assert puppet.open(answer)[1] == [Notification(Notify.AUTHENTICATION_FAILED)]


@pytest.mark.requirement("IKE-193", "IKE-195", "IKE-088", "IKE-187", "IKE-196")
@pytest.mark.parametrize(
    ("extra", "answer", "kind"),
    [
        (
            [UnknownPayload(200, True, b"")],
            Notification(Notify.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8"),
            UnsupportedCriticalPayload,
        ),
        ([Authentication(2, b"x")], Notification(Notify.INVALID_SYNTAX), InvalidSyntax),
        ([IdentificationInitiator(IdType.ID_FQDN, b"x")], Notification(Notify.INVALID_SYNTAX), InvalidSyntax),
    ],
)
def test_a_message_rejected_as_a_whole_ends_the_sa_unverified(
    extra: list[Payload], answer: Notification, kind: type[Exception]
) -> None:
    """The half-open SA goes too, so that nobody keeps it by provoking errors."""
    rig, puppet = responder()
    (data,) = puppet.give(puppet.seal(AUTH, [*puppet.auth(), *extra]))
    assert puppet.open(data)[1] == [answer]
    assert isinstance(rig.one(IkeSaFailed).error, kind)
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-092", "IKE-087", "IKE-089")
def test_order_and_unknown_payloads_mean_nothing() -> None:
    rig, puppet = responder()
    payloads = [*reversed(puppet.auth()), UnknownPayload(201, False, b"?"), VendorId(b"v"), Notification(50001)]
    answer = puppet.request(AUTH, payloads)
    assert IdentificationResponder in map(type, answer)
    rig.one(ChildSaEstablished)


# --- which connection -----------------------------------------------------------------------------------------------


def named(name: str, secret: bytes, peer: str | None, us: str = "responder.example") -> Connection:
    credential = PskCredential(secret)
    return attrs.evolve(
        psk_connection("responder", name=name),
        local=credential,
        remote=credential,
        local_identity=Identity.parse(us),
        remote_identity=None if peer is None else Identity.parse(peer),
    )


@pytest.mark.requirement("IKE-005", "IKE-314", "IKE-003", "IKE-173")
@pytest.mark.parametrize(
    ("peer", "secret", "wanted", "chosen", "us"),
    [
        ("a.example", b"a", None, "a", "responder.example"),
        ("b.example", b"b", None, "b", "responder.example"),
        ("b.example", b"a", None, None, ""),
        ("x.b.example", b"wide", None, "wide", "responder.example"),
        ("c.example", b"any", None, "any", "responder.example"),
        ("c.example", b"any2", "other.example", "any2", "other.example"),
        ("c.example", b"any", "nobody.example", "any", "responder.example"),
    ],
)
def test_identities_choose_the_connection(
    peer: str, secret: bytes, wanted: str | None, chosen: str | None, us: str
) -> None:
    rig, puppet = responder(
        named("a", b"a", "a.example"),
        named("b", b"b", "b.example"),
        named("wide", b"wide", "*.b.example"),
        named("any", b"any", None),
        named("any2", b"any2", None, "other.example"),
    )
    payloads = puppet.auth(identity=peer, secret=secret)
    if wanted is not None:
        identity = Identity.parse(wanted)
        payloads.append(IdentificationResponder(IdType(identity.id_type), identity.data))
    answer = puppet.request(AUTH, payloads)
    if chosen is None:
        assert answer == [Notification(Notify.AUTHENTICATION_FAILED)]
        return
    assert rig.one(IkeSaEstablished).connection == chosen
    (idr,) = [each for each in answer if isinstance(each, IdentificationResponder)]
    assert idr.data == us.encode()


# --- the application decides ------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-314", "TCP-80", "IKE-046")
@pytest.mark.parametrize("welcome", [True, False])
def test_the_application_is_asked_after_the_proof(welcome: bool) -> None:
    rig, puppet = responder(authorize=True)
    message = puppet.seal(AUTH, puppet.auth())
    assert puppet.give(message) == []
    question = rig.one(AuthorizationNeeded)
    assert question.peer_identity == "fqdn:initiator.example"
    assert question.remote == THERE
    assert rig.of(IkeSaEstablished) == []
    assert puppet.give(message) == []
    assert rig.endpoint.answer(question.question, welcome, now=rig.now)
    (answer,) = puppet.taken(rig.drain())
    _, payloads = puppet.open(answer)
    assert rig.one(QuestionClosed).question == question.question
    if welcome:
        rig.one(IkeSaEstablished)
        rig.one(ChildSaEstablished)
    else:
        assert payloads == [Notification(Notify.AUTHENTICATION_FAILED)]
        assert isinstance(rig.one(IkeSaFailed).error, AuthenticationFailed)
        assert rig.endpoint.idle
    rig.run_for(1.0)
    assert puppet.give(message) == [answer]


def test_nobody_is_asked_about_a_peer_without_proof() -> None:
    rig, puppet = responder(authorize=True)
    puppet.give(puppet.seal(AUTH, puppet.auth(secret=b"wrong")))
    assert rig.of(AuthorizationNeeded) == []


def test_no_answer_is_a_refusal() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True), limits=Limits(question_timeout=9.0))
    puppet = Puppet(rig)
    puppet.begin()
    puppet.give(puppet.seal(AUTH, puppet.auth()))
    question = rig.one(AuthorizationNeeded)
    assert question.deadline == rig.now + 9.0
    rig.run_for(8.9)
    assert rig.of(QuestionClosed) == []
    new = rig.run_for(0.2)
    (answer,) = puppet.taken(new)
    assert puppet.open(answer)[1] == [Notification(Notify.AUTHENTICATION_FAILED)]
    rig.one(QuestionClosed)
    assert not rig.endpoint.answer(question.question, True, now=rig.now)
    assert rig.endpoint.idle


def test_forged_octets_while_the_application_decides_are_not_the_request() -> None:
    rig, puppet = responder(authorize=True)
    puppet.give(puppet.seal(AUTH, puppet.auth()))
    elsewhere = Puppet(rig, address=("10.0.0.66", 500))
    forged = puppet.seal(AUTH, puppet.auth())
    elsewhere.give(forged[:-1] + bytes([forged[-1] ^ 1]))
    rig.endpoint.answer(rig.one(AuthorizationNeeded).question, True, now=rig.now)
    new = rig.drain()
    assert [each.remote for each in new if isinstance(each, SendDatagram)] == [THERE]


# --- the responder's proof --------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-093", "IKE-001", "IKE-011", "IKE-135", "IKE-267")
def test_the_request_as_it_leaves() -> None:
    rig, puppet = initiator()
    payloads = asked(rig, puppet)
    assert [type(payload) for payload in payloads] == [
        IdentificationInitiator,
        IdentificationResponder,
        Authentication,
        SecurityAssociation,
        TrafficSelectorsInitiator,
        TrafficSelectorsResponder,
    ]
    offer = payloads[3]
    assert isinstance(offer, SecurityAssociation)
    for proposal in offer.proposals:
        assert len(proposal.spi) == 4
        assert TransformType.KE not in {transform.type for transform in proposal.transforms}


def test_who_is_wanted_is_only_named_where_that_is_one_identity() -> None:
    rig, puppet = initiator(remote_identity=Identity.parse("*.example"))
    assert IdentificationResponder not in map(type, asked(rig, puppet))
    puppet.answer_auth()
    assert rig.one(IkeSaEstablished).peer_identity == "fqdn:responder.example"


@pytest.mark.requirement("IKE-004", "IKE-005", "IKE-190", "IKE-192", "IKE-003", "IKE-010")
@pytest.mark.parametrize(
    "proof",
    [
        lambda puppet: puppet.auth(secret=b"guess"),
        lambda puppet: puppet.auth(identity="stranger.example"),
        lambda puppet: puppet.auth(method=AuthMethod.NULL),
        lambda puppet: mac_changed(puppet, 5),
    ],
    ids=["secret", "identity", "method", "MAC"],
)
def test_a_responder_without_proof_is_not_believed_and_is_told(proof: Any) -> None:
    rig, puppet = initiator()
    new = puppet.answer_auth(proof(puppet))
    assert isinstance(rig.one(IkeSaFailed).error, AuthenticationFailed)
    assert rig.of(IkeSaEstablished, ChildSaEstablished) == []
    (told,) = new
    header, payloads = puppet.open(told)
    assert (header.exchange, header.is_response) == (INFO, False)
    assert payloads == [Notification(Notify.AUTHENTICATION_FAILED)]
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-010", "IKE-186", "IKE-187", "IKE-195", "IKE-279", "IKE-090", "IKE-274")
@pytest.mark.parametrize(
    ("payloads", "kind"),
    [
        ([Notification(Notify.AUTHENTICATION_FAILED)], AuthenticationFailed),
        ([Notification(Notify.NO_PROPOSAL_CHOSEN)], NoProposalChosen),
        ([Notification(Notify.INVALID_SYNTAX)], PeerRefused),
        ([Notification(9999)], PeerRefused),
        ([Eap(1, 1, b"\1")], AuthenticationFailed),
        ([UnknownPayload(200, True, b"")], UnsupportedCriticalPayload),
        ([], InvalidSyntax),
        ([Delete(Protocol.IKE)], InvalidSyntax),
    ],
)
def test_a_refused_or_broken_answer_ends_it_without_a_word(payloads: list[Payload], kind: type[Exception]) -> None:
    rig, puppet = initiator()
    assert puppet.answer_auth(payloads) == []
    failed = rig.one(IkeSaFailed)
    assert isinstance(failed.error, kind)
    assert (failed.role, failed.step) == ("initiator", "IKE_AUTH")
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


@pytest.mark.requirement("IKE-050", "IKE-051", "IKE-073")
def test_silence_after_ike_sa_init_ends_in_peer_unreachable() -> None:
    rig, puppet = initiator()
    new = rig.run_for(Limits().establish_timeout)
    assert len(set(puppet.taken(new))) == 1
    failed = rig.one(IkeSaFailed)
    assert isinstance(failed.error, PeerUnreachable)
    assert "IKE_AUTH" in str(failed.error)


# --- the first Child SA -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-175", "IKE-176", "IKE-032", "IKE-122", "IKE-307")
def test_the_child_and_its_keys_fit_on_both_sides() -> None:
    rig, puppet = responder()
    puppet.authenticate()
    child = rig.one(ChildSaEstablished)
    assert (child.spi_in, child.spi_out) == (puppet.peer_spi_in, puppet.spi_in)
    assert (child.local_ts, child.remote_ts) == ((HERE[0],), (THERE[0],))
    keys = puppet.keys
    assert keys is not None
    order = [type(output) for output in rig.outputs]
    assert order.index(ChildSaEstablished) < len(order) - 1 - order[::-1].index(SendDatagram)
    assert child.keys.encr_in != child.keys.encr_out
    (view,) = rig.endpoint.sa(rig.endpoint.sas[0]).children
    assert view.export_keys() == child.export_keys()
    assert (view.spi_in, view.spi_out, view.mode, view.protocol) == (child.spi_in, child.spi_out, "tunnel", "esp")


@pytest.mark.requirement("IKE-175", "IKE-176")
def test_initiator_to_responder_keys_come_first() -> None:
    from ikecore.crypto import child_suite

    rig, puppet = responder()
    answer = puppet.authenticate()
    (granted,) = [each for each in answer if isinstance(each, SecurityAssociation)]
    keys = puppet.keys
    assert keys is not None
    expected = derive_child_keys(child_suite(granted.proposals[0]), keys.suite.prf, keys.ike.sk_d, *puppet.nonces)
    found = rig.one(ChildSaEstablished).export_keys()
    assert (found.encr_in, found.encr_out) == (expected.encr_i, expected.encr_r)
    assert (found.integ_in, found.integ_out) == (expected.integ_i, expected.integ_r)


def child_with(**changes: Any) -> ChildConfig:
    return ChildConfig(**changes)


ESP_ODD = Proposal(1, Protocol.ESP, b"abcd", (Transform(TransformType.ENCR, 3), Transform(TransformType.ESN, 0)))


@pytest.mark.requirement("IKE-009", "IKE-017", "IKE-138", "IKE-107", "IKE-194")
@pytest.mark.parametrize(
    ("changes", "offer", "notify", "kind"),
    [
        ({"children": ()}, None, Notify.NO_PROPOSAL_CHOSEN, NoProposalChosen),
        ({}, ESP_ODD, Notify.NO_PROPOSAL_CHOSEN, NoProposalChosen),
        (
            {"children": (child_with(local_ts=(parse_selector("192.0.2.0/24"),)),)},
            None,
            Notify.TS_UNACCEPTABLE,
            TsUnacceptable,
        ),
        (
            {
                "children": (
                    child_with(name="one", proposals=esp_proposals("aes256-sha256")),
                    child_with(name="two", remote_ts=(parse_selector("192.0.2.0/24"),)),
                )
            },
            None,
            Notify.TS_UNACCEPTABLE,
            TsUnacceptable,
        ),
    ],
)
def test_a_refused_child_leaves_the_ike_sa_up(
    changes: dict[str, Any], offer: Proposal | None, notify: int, kind: type[Exception]
) -> None:
    rig, puppet = responder(**changes)
    payloads = puppet.auth()
    if offer is not None:
        payloads[2] = SecurityAssociation((offer,))
    elif len(changes.get("children", ())) == 2:
        gcm_only = [each for each in payloads[2].proposals if each.number == 1]  # type: ignore[union-attr]
        payloads[2] = SecurityAssociation(tuple(gcm_only))
    answer = puppet.request(AUTH, payloads)
    assert notifications(answer) == [notify]
    assert [type(each) for each in answer[:2]] == [IdentificationResponder, Authentication]
    rig.one(IkeSaEstablished)
    assert isinstance(rig.one(ChildSaFailed).error, kind)
    assert puppet.request(INFO) == []


@pytest.mark.requirement("IKE-139", "IKE-140", "IKE-141", "IKE-136", "IKE-314")
def test_the_second_child_that_fits_is_taken_and_narrowed() -> None:
    rig, puppet = responder(
        children=(
            child_with(name="far", remote_ts=(parse_selector("192.0.2.0/24"),)),
            child_with(
                name="near",
                local_ts=(parse_selector("10.2.0.0/16"),),
                remote_ts=(parse_selector("10.1.0.0/16[tcp]"),),
            ),
        )
    )
    payloads = puppet.auth()
    first = parse_selector("10.1.2.3[tcp/443]")
    payloads[3] = TrafficSelectorsInitiator((UnknownSelector(200, 0, b"1234"), first))
    payloads[4] = TrafficSelectorsResponder((parse_selector("10.0.0.0/8"),))
    answer = puppet.request(AUTH, payloads)
    found = {type(each): each for each in answer}
    assert found[TrafficSelectorsInitiator] == TrafficSelectorsInitiator((first,))
    assert found[TrafficSelectorsResponder] == TrafficSelectorsResponder((parse_selector("10.2.0.0/16"),))
    child = rig.one(ChildSaEstablished)
    assert (child.name, child.local_ts, child.remote_ts) == ("near", ("10.2.0.0/16",), ("10.1.2.3[6/443]",))


@pytest.mark.requirement("IKE-019", "IKE-021", "IKE-022")
@pytest.mark.parametrize("asked_for", [True, False])
@pytest.mark.parametrize("configured", ["transport", "tunnel"])
def test_transport_mode_needs_both(configured: Any, asked_for: bool) -> None:
    rig, puppet = responder(children=(child_with(mode=configured),))
    payloads = puppet.auth()
    if asked_for:
        payloads.insert(2, Notification(Notify.USE_TRANSPORT_MODE))
    answer = puppet.request(AUTH, payloads)
    both = configured == "transport" and asked_for
    assert (Notify.USE_TRANSPORT_MODE in notifications(answer)) is both
    assert rig.one(ChildSaEstablished).mode == ("transport" if both else "tunnel")


@pytest.mark.requirement("IKE-019", "IKE-020")
@pytest.mark.parametrize("granted", [True, False])
def test_transport_mode_is_offered_and_in_force_if_granted(granted: bool) -> None:
    rig, puppet = initiator(children=(child_with(mode="transport"),))
    assert Notify.USE_TRANSPORT_MODE in notifications(asked(rig, puppet))
    extra = [Notification(Notify.USE_TRANSPORT_MODE)] if granted else []
    puppet.answer_auth([*puppet.auth(), *extra])
    assert rig.one(ChildSaEstablished).mode == ("transport" if granted else "tunnel")


def test_a_childless_sa_in_either_role() -> None:
    rig, puppet = initiator(children=(), init_extra=[Notification(Notify.CHILDLESS_IKEV2_SUPPORTED)])
    payloads = asked(rig, puppet)
    assert [type(each) for each in payloads] == [IdentificationInitiator, IdentificationResponder, Authentication]
    puppet.answer_auth(puppet.auth(child=False))
    rig.one(IkeSaEstablished)
    assert rig.of(ChildSaEstablished, ChildSaFailed) == []
    rig, puppet = responder()
    assert Notify.CHILDLESS_IKEV2_SUPPORTED in notifications(decode_envelope(puppet.init_received).payloads)
    answer = puppet.authenticate(child=False)
    assert [type(each) for each in answer] == [IdentificationResponder, Authentication]
    rig.one(IkeSaEstablished)
    assert rig.of(ChildSaEstablished, ChildSaFailed) == []


def test_nothing_childless_is_asked_of_a_responder_that_does_not_offer_it() -> None:
    """RFC 6023 section 3: the modified IKE_AUTH is not sent. The response is not protected: a better one may come."""
    rig = Rig()
    rig.initiate(attrs.evolve(psk_connection("initiator"), children=()))
    puppet = Puppet(rig, "responder")
    assert puppet.answer_init() == []
    assert rig.of(IkeSaFailed) == []
    rig.run_for(Limits().init_error_wait + 0.1)
    failed = rig.one(IkeSaFailed)
    assert isinstance(failed.error, NoProposalChosen)
    assert "without a Child SA" in str(failed.error)


@pytest.mark.requirement("IKE-009", "IKE-194", "IKE-017", "IKE-279")
@pytest.mark.parametrize(
    ("notify", "kind"),
    [
        (Notify.NO_PROPOSAL_CHOSEN, NoProposalChosen),
        (Notify.TS_UNACCEPTABLE, TsUnacceptable),
        (Notify.INTERNAL_ADDRESS_FAILURE, InternalAddressFailure),
        (Notify.FAILED_CP_REQUIRED, FailedCpRequired),
        (Notify.SINGLE_PAIR_REQUIRED, SinglePairRequired),
        (None, PeerRefused),
    ],
)
def test_a_child_that_the_responder_refused_leaves_the_ike_sa_up(notify: int | None, kind: type[Exception]) -> None:
    rig, puppet = initiator()
    extra = [] if notify is None else [Notification(notify)]
    puppet.answer_auth([*puppet.auth(child=False), *extra])
    rig.one(IkeSaEstablished)
    assert isinstance(rig.one(ChildSaFailed).error, kind)
    assert rig.of(ChildSaEstablished) == []
    assert puppet.request(INFO) == []


def ts(text: str) -> tuple[TrafficSelector, ...]:
    return (parse_selector(text),)


def granted(puppet: Puppet, **changes: Any) -> list[Payload]:
    """An honest answer, but for the Child SA."""
    proof = puppet.auth()
    offer = proof[2]
    assert isinstance(offer, SecurityAssociation)
    (proposal,) = offer.proposals
    made = Proposal(
        changes.get("number", proposal.number),
        changes.get("protocol", proposal.protocol),
        changes.get("spi", proposal.spi),
        changes.get("transforms", proposal.transforms),
    )
    return [
        *proof[:2],
        SecurityAssociation((made,) * changes.get("times", 1)),
        TrafficSelectorsInitiator(changes.get("ts_i", proof[3].selectors)),  # type: ignore[union-attr]
        TrafficSelectorsResponder(changes.get("ts_r", proof[4].selectors)),  # type: ignore[union-attr]
    ]


@pytest.mark.requirement("IKE-142", "IKE-110", "IKE-186", "IKE-081", "IKE-205", "IKE-033", "IKE-112")
@pytest.mark.parametrize(
    "changes",
    [
        {"ts_i": ts("10.0.0.0/24")},
        {"ts_r": ts("0.0.0.0/0")},
        {"ts_i": ts("192.0.2.1")},
        {"ts_r": (UnknownSelector(200, 0, b"abcd"),)},
        {"number": 9},
        {"transforms": ESP_ODD.transforms},
        {"transforms": ()},
    ],
    ids=["wider TSi", "any TSr", "other TSi", "unknown TSr", "number", "transforms", "cipher missing"],
)
def test_a_child_other_than_offered_is_refused_and_deleted(changes: dict[str, Any]) -> None:
    rig, puppet = initiator()
    if changes.get("transforms") == ():
        offered = puppet.auth()[2].proposals[0].transforms  # type: ignore[union-attr]
        changes = {"transforms": tuple(each for each in offered if each.type == TransformType.ESN)}
    answers = puppet.answer_auth(granted(puppet, **changes))
    rig.one(IkeSaEstablished)
    rig.one(ChildSaFailed)
    assert rig.of(ChildSaEstablished) == []
    (delete,) = answers
    header, payloads = puppet.open(delete)
    assert header.exchange == INFO
    assert payloads == [Delete(Protocol.ESP, (puppet.peer_spi_in,))]
    puppet.give(puppet.seal(INFO, message_id=header.message_id, response=True))
    assert puppet.request(INFO) == []


def few_spis() -> Callable[[int], bytes]:
    """Randomness that is good but for SPIs of ESP, of which it knows only some, two of them reserved."""
    good, numbers = random.Random(5), itertools.cycle((0, 255, 0x1111, 0x1111, 0x2222, 0x3333))
    return lambda count: next(numbers).to_bytes(4, "big") if count == 4 else good.randbytes(count)


@pytest.mark.requirement("IKE-030", "IKE-037")
def test_inbound_spis_are_used_once_in_the_whole_endpoint() -> None:
    """ESP finds its SA by address and SPI, whichever IKE SA made it."""
    rig = Rig(random_octets=few_spis())
    puppets = [Puppet(rig, address=("10.0.0.1", 500 + seed), seed=seed) for seed in range(3)]
    sas = [puppet.establish() for puppet in puppets]
    spis = [child.spi_in for child in rig.of(ChildSaEstablished)]
    assert sorted(spis) == [b"\0\0\x11\x11", b"\0\0\x22\x22", b"\0\0\x33\x33"]
    puppets[0].request(INFO, [Delete(Protocol.ESP, (puppets[0].spi_in,))])
    Puppet(rig, address=("10.0.0.1", 600), seed=9).establish()
    assert rig.last(ChildSaEstablished).spi_in == spis[0]
    rig.endpoint.abandon(sas[1], now=rig.now)
    Puppet(rig, address=("10.0.0.1", 601), seed=10).establish()
    assert rig.last(ChildSaEstablished).spi_in == spis[1]


@pytest.mark.requirement("IKE-121")
def test_equal_selectors_of_one_identity_end_nothing() -> None:
    rig = Rig()
    puppets = [Puppet(rig, address=("10.0.0.1", 500 + seed), seed=seed) for seed in range(3)]
    for puppet in puppets:
        puppet.establish()
    children = rig.of(ChildSaEstablished)
    assert len({(child.local_ts, child.remote_ts) for child in children}) == 1
    for puppet in puppets:
        assert puppet.request(INFO) == []
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-182")
def test_no_configuration_is_given_to_who_did_not_ask_nor_to_who_did() -> None:
    for extra in ([], [Configuration(CfgType.CFG_REQUEST, (ConfigurationAttribute(1, b""),))]):
        rig, puppet = responder()
        payloads: list[Payload] = [*puppet.auth(), *extra]
        assert Configuration not in map(type, puppet.request(AUTH, payloads))
        rig.one(ChildSaEstablished)


@pytest.mark.requirement("IKE-107", "IKE-110")
def test_a_child_granted_twice_is_refused() -> None:
    rig, puppet = initiator()
    payloads = puppet.auth()
    offer = payloads[2]
    assert isinstance(offer, SecurityAssociation)
    (one,) = offer.proposals
    payloads[2] = SecurityAssociation((one, Proposal(2, one.protocol, one.spi, one.transforms)))
    puppet.answer_auth(payloads)
    rig.one(IkeSaEstablished)
    assert isinstance(rig.one(ChildSaFailed).error, NoProposalChosen)


@pytest.mark.requirement("IKE-142", "IKE-252")
@pytest.mark.parametrize("spi", [b"", bytes(4), b"\0\0\0\xff"])
def test_a_child_without_a_usable_spi_is_refused(spi: bytes) -> None:
    rig, puppet = initiator()
    puppet.answer_auth(granted(puppet, spi=spi))
    assert rig.of(ChildSaEstablished) == []


@pytest.mark.parametrize("spi", [bytes(4), b"\0\0\0\xff"])
def test_an_offer_without_a_usable_spi_is_refused(spi: bytes) -> None:
    rig, puppet = responder()
    puppet.spi_in = spi
    assert notifications(puppet.authenticate()) == [Notify.NO_PROPOSAL_CHOSEN]
    rig.one(IkeSaEstablished)
    rig.one(ChildSaFailed)


@pytest.mark.requirement("IKE-142", "IKE-140")
def test_a_narrowed_child_is_taken_as_narrowed() -> None:
    rig, puppet = initiator(children=(child_with(local_ts=ts("10.2.0.0/16"), remote_ts=ts("10.1.0.0/16")),))
    puppet.answer_auth(granted(puppet, ts_i=ts("10.2.3.0/24"), ts_r=ts("10.1.0.0/16")))
    child = rig.one(ChildSaEstablished)
    assert (child.local_ts, child.remote_ts) == (("10.2.3.0/24",), ("10.1.0.0/16",))


@pytest.mark.requirement("IKE-273", "IKE-272", "IKE-194")
def test_a_request_for_certificates_means_nothing_to_who_has_a_secret() -> None:
    rig, puppet = responder()
    puppet.request(AUTH, [*puppet.auth(), CertificateRequest(4, bytes(20))])
    rig.one(IkeSaEstablished)


@pytest.mark.requirement("IKE-192", "IKE-010")
def test_an_initiator_that_does_not_believe_us_closes_the_sa() -> None:
    rig, puppet = responder()
    puppet.authenticate()
    assert puppet.request(INFO, [Notification(Notify.AUTHENTICATION_FAILED)]) == []
    closed = rig.one(IkeSaClosed)
    assert closed.by == "peer"
    assert rig.endpoint.idle
