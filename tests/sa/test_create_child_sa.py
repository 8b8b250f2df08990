"""CREATE_CHILD_SA for Child SAs, both sides: new ones, rekeys, and every refusal that has a meaning of its own."""

from __future__ import annotations

import attrs
import pytest

from ikecore.config import ChildConfig
from ikecore.crypto import DEFAULT_ESP_PROPOSALS, derive_child_keys, generate
from ikecore.crypto.suite import SUPPORTED_GROUPS
from ikecore.errors import (
    ChildSaNotFound,
    LocalProtocolError,
    NoProposalChosen,
    PeerRefused,
    SaClosed,
    TemporaryFailure,
    TsUnacceptable,
)
from ikecore.events import (
    ChildSaClosed,
    ChildSaEstablished,
    ChildSaFailed,
    IkeSaClosed,
    RequestCompleted,
    RequestFailed,
    Role,
)
from ikecore.limits import Limits
from ikecore.outputs import ChildId, SaId
from ikecore.sa import parse_selector
from ikecore.sa.selectors import host_selector
from ikecore.testing import psk_connection
from ikecore.wire import (
    Delete,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Transform,
)
from ikecore.wire.numbers import Exchange, Ke, Notify, Protocol, TransformType
from tests.rig import Puppet, Rig, notifications

CHILD, INFO = Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL
ROLES = pytest.mark.parametrize("role", ["initiator", "responder"])
NONCE = bytes(range(32))


def up(role: Role = "initiator", *, limits: Limits | None = None, **changes: object) -> tuple[Rig, Puppet, SaId]:
    """An endpoint of original *role* with an SA, and its peer."""
    connection = attrs.evolve(psk_connection("responder"), **changes)  # type: ignore[arg-type]
    rig = Rig(connection, limits=limits)
    if role == "responder":
        puppet = Puppet(rig)
        return rig, puppet, puppet.establish()
    puppet = Puppet(rig, "responder")
    sa = rig.initiate(attrs.evolve(psk_connection("initiator"), **changes))  # type: ignore[arg-type]
    puppet.answer_init()
    puppet.answer_auth()
    return rig, puppet, sa


def child_of(rig: Rig) -> ChildId:
    return rig.endpoint.sa(rig.endpoint.sas[0]).children[0].id


def offer(puppet: Puppet, spi: bytes, *, group: int | None = None) -> list[Payload]:
    """What the puppet asks for: a new Child SA between the two hosts, with a key exchange of *group* or without."""
    transforms = [
        tuple(each for each in proposal.transforms if each.type != TransformType.KE)
        + ((Transform(TransformType.KE, group),) if group is not None else ())
        for proposal in DEFAULT_ESP_PROPOSALS
    ]
    offered = tuple(Proposal(number, Protocol.ESP, spi, each) for number, each in enumerate(transforms, 1))
    host = puppet.child_payloads()
    selectors = [each for each in host if not isinstance(each, SecurityAssociation)]
    if puppet.role == "responder":
        # It initiates this exchange: its own address comes first.
        first, second = selectors
        assert isinstance(first, TrafficSelectorsInitiator)
        assert isinstance(second, TrafficSelectorsResponder)
        selectors = [TrafficSelectorsInitiator(second.selectors), TrafficSelectorsResponder(first.selectors)]
    payloads: list[Payload] = [SecurityAssociation(offered), Nonce(NONCE)]
    if group is not None:
        known = group in SUPPORTED_GROUPS
        public = generate(group, puppet.random.randbytes).public if known else bytes(128)
        payloads.append(KeyExchange(group, public))
    return [*payloads, *selectors]


def grant(request: list[Payload], spi: bytes, *more: Payload) -> list[Payload]:
    """Answer a request of the endpoint with the first of everything."""
    found = {type(each): each for each in request}
    asked = found[SecurityAssociation]
    assert isinstance(asked, SecurityAssociation)
    kept: dict[int, Transform] = {}
    for transform in asked.proposals[0].transforms:
        kept.setdefault(transform.type, transform)
    if not any(isinstance(each, KeyExchange) for each in more):
        kept.pop(TransformType.KE, None)
    return [
        SecurityAssociation((Proposal(1, Protocol.ESP, spi, tuple(kept.values())),)),
        Nonce(NONCE),
        *more,
        found[TrafficSelectorsInitiator],
        found[TrafficSelectorsResponder],
    ]


def asked(rig: Rig, puppet: Puppet) -> tuple[int, list[Payload]]:
    """The endpoint's last request."""
    rig.drain()
    header, payloads = puppet.requests()[-1]
    return header.message_id, payloads


def reply(puppet: Puppet, message_id: int, payloads: list[Payload], exchange: int = CHILD) -> None:
    puppet.give(puppet.seal(exchange, payloads, message_id=message_id, response=True))


def with_groups(*groups: int) -> tuple[ChildConfig, ...]:
    """A child whose rekeys do a key exchange by one of *groups*."""
    transforms = tuple(Transform(TransformType.KE, group) for group in groups)
    proposals = tuple(
        Proposal(each.number, each.protocol, each.spi, (*each.transforms, *transforms))
        for each in DEFAULT_ESP_PROPOSALS
    )
    return (ChildConfig(proposals=proposals),)


# --- the side that answers ------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-012", "IKE-018", "IKE-114", "IKE-122", "IKE-135", "IKE-175", "IKE-176")
@ROLES
def test_a_new_child_sa_without_key_exchange(role: Role) -> None:
    rig, puppet, sa = up(role)
    answer = puppet.request(CHILD, offer(puppet, b"\1\2\3\4"))
    made = rig.of(ChildSaEstablished)[-1]
    assert (made.spi_out, made.replaces) == (b"\1\2\3\4", None)
    assert len(rig.endpoint.sa(sa).children) == 2
    assert not any(isinstance(each, KeyExchange) for each in answer)
    nonce = next(each.data for each in answer if isinstance(each, Nonce))
    assert puppet.keys is not None
    child = rig.endpoint.sa(sa).children[-1]
    material = child.export_keys()
    suite = rig.endpoint._keeper.sas[sa].children[child.id].suite
    expected = derive_child_keys(suite, puppet.keys.suite.prf, puppet.keys.ike.sk_d, NONCE, nonce)
    assert (material.encr_in, material.encr_out) == (expected.encr_i, expected.encr_r)


@pytest.mark.requirement("IKE-015", "IKE-017")
def test_another_group_is_asked_for_and_nothing_is_kept() -> None:
    rig, puppet, sa = up()
    answer = puppet.request(CHILD, offer(puppet, b"\1\2\3\4", group=Ke.MODP_1024))
    assert notifications(answer) == [Notify.NO_PROPOSAL_CHOSEN]
    rig, puppet, sa = up(children=with_groups(Ke.CURVE25519, Ke.ECP_256))
    request = offer(puppet, b"\1\2\3\4", group=Ke.CURVE25519)
    request[2] = KeyExchange(Ke.ECP_384, bytes(96))
    assert puppet.request(CHILD, request) == [
        Notification(Notify.INVALID_KE_PAYLOAD, int(Ke.CURVE25519).to_bytes(2, "big"))
    ]
    assert len(rig.endpoint.sa(sa).children) == 1
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-028", "IKE-117", "IKE-121", "IKE-126")
@ROLES
def test_a_rekey_names_what_it_replaces(role: Role) -> None:
    rig, puppet, sa = up(role)
    old = child_of(rig)
    named = Notification(Notify.REKEY_SA, b"", Protocol.ESP, puppet.spi_in)
    assert not notifications(puppet.request(CHILD, [named, *offer(puppet, b"\1\2\3\4")]))
    assert rig.of(ChildSaEstablished)[-1].replaces == old
    assert rig.endpoint.sa(sa).children[0].id == old, "both live until the old one is deleted"
    gone = puppet.request(INFO, [Delete(Protocol.ESP, (puppet.spi_in,))])
    assert len(gone) == 1
    assert rig.one(ChildSaClosed).child == old
    assert len(rig.endpoint.sa(sa).children) == 1


@pytest.mark.requirement("IKE-129", "IKE-223")
def test_a_rekey_of_what_is_not_there() -> None:
    rig, puppet, sa = up()
    named = Notification(Notify.REKEY_SA, b"", Protocol.ESP, b"none")
    answer = puppet.request(CHILD, [named, *offer(puppet, b"\1\2\3\4", group=Ke.CURVE25519)])
    assert answer == [Notification(Notify.CHILD_SA_NOT_FOUND, b"", Protocol.ESP, b"none")]
    assert len(rig.endpoint.sa(sa).children) == 1
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-221", "IKE-225")
def test_a_rekey_of_what_we_are_deleting() -> None:
    rig, puppet, sa = up()
    rig.endpoint.delete(sa, child=child_of(rig), now=rig.now)
    rig.drain()
    named = Notification(Notify.REKEY_SA, b"", Protocol.ESP, puppet.spi_in)
    answer = puppet.request(CHILD, [named, *offer(puppet, b"\1\2\3\4", group=Ke.CURVE25519)])
    assert notifications(answer) == [Notify.TEMPORARY_FAILURE]


@pytest.mark.requirement("IKE-016")
def test_as_many_child_sas_as_the_limit_allows() -> None:
    rig, puppet, sa = up(limits=Limits(children=2))
    assert not notifications(puppet.request(CHILD, offer(puppet, b"\1\2\3\4")))
    assert puppet.request(CHILD, offer(puppet, b"\1\2\3\5")) == [Notification(Notify.NO_ADDITIONAL_SAS)]
    assert len(rig.endpoint.sa(sa).children) == 2


@pytest.mark.requirement("IKE-198", "IKE-196")
def test_a_malformed_one_ends_the_sa() -> None:
    rig, puppet, _ = up()
    assert puppet.request(CHILD, [Nonce(bytes(32))]) == [Notification(Notify.INVALID_SYNTAX)]
    rig.one(IkeSaClosed)


@pytest.mark.requirement("IKE-017", "IKE-138")
def test_selectors_that_are_not_ours_are_refused_and_the_sa_lives() -> None:
    rig, puppet, sa = up()
    request = offer(puppet, b"\1\2\3\4")
    ours = request[-1]
    assert isinstance(ours, TrafficSelectorsResponder)
    request[-1] = TrafficSelectorsResponder((host_selector("9.9.9.9"),))
    assert notifications(puppet.request(CHILD, request)) == [Notify.TS_UNACCEPTABLE]
    assert isinstance(rig.one(ChildSaFailed).error, TsUnacceptable)
    assert rig.endpoint.sa(sa).state == "established"


@pytest.mark.requirement("IKE-018", "IKE-175")
@ROLES
def test_a_key_exchange_goes_into_the_keys(role: Role) -> None:
    rig, puppet, sa = up(role, children=with_groups(Ke.CURVE25519))
    agreement = generate(Ke.CURVE25519, puppet.random.randbytes)
    request = offer(puppet, b"\1\2\3\4", group=Ke.CURVE25519)
    request[2] = KeyExchange(agreement.group, agreement.public)
    answer = {type(each): each for each in puppet.request(CHILD, request)}
    exchange, nonce = answer[KeyExchange], answer[Nonce]
    assert isinstance(exchange, KeyExchange)
    assert isinstance(nonce, Nonce)
    assert puppet.keys is not None
    child = rig.endpoint.sa(sa).children[-1]
    assert "CURVE25519" in child.suite
    expected = derive_child_keys(
        rig.endpoint._keeper.sas[sa].children[child.id].suite,
        puppet.keys.suite.prf,
        puppet.keys.ike.sk_d,
        NONCE,
        nonce.data,
        agreement.shared(exchange.data),
    )
    assert child.export_keys().encr_in == expected.encr_i


# --- we ask ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-012", "IKE-135")
@ROLES
def test_we_create_a_child_sa(role: Role) -> None:
    rig, puppet, sa = up(role, children=(ChildConfig(name="first"), ChildConfig(name="second")))
    wish = rig.endpoint.create_child(sa, "second", now=rig.now)
    message_id, request = asked(rig, puppet)
    assert [type(each) for each in request] == [
        SecurityAssociation,
        Nonce,
        TrafficSelectorsInitiator,
        TrafficSelectorsResponder,
    ]
    reply(puppet, message_id, grant(request, b"\1\2\3\4"))
    made, done = rig.of(ChildSaEstablished)[-1], rig.one(RequestCompleted)
    assert (made.name, made.spi_out) == ("second", b"\1\2\3\4")
    assert (done.request, done.child) == (wish, made.child)


@pytest.mark.requirement("IKE-028", "IKE-117", "IKE-145")
@ROLES
def test_we_rekey_a_child_sa_and_delete_the_old_one(role: Role) -> None:
    rig, puppet, sa = up(role)
    old = child_of(rig)
    old_spi = rig.endpoint.sa(sa).children[0].spi_in
    wish = rig.endpoint.rekey(sa, child=old, now=rig.now)
    message_id, request = asked(rig, puppet)
    assert request[0] == Notification(Notify.REKEY_SA, b"", Protocol.ESP, old_spi)
    reply(puppet, message_id, grant(request, b"\1\2\3\4"))
    made = rig.of(ChildSaEstablished)[-1]
    assert made.replaces == old
    assert (rig.one(RequestCompleted).request, rig.one(RequestCompleted).child) == (wish, made.child)
    message_id, request = asked(rig, puppet)
    assert request == [Delete(Protocol.ESP, (old_spi,))]
    reply(puppet, message_id, [Delete(Protocol.ESP, (puppet.spi_in,))], INFO)
    assert rig.one(ChildSaClosed).reason == "it was rekeyed"
    assert [each.id for each in rig.endpoint.sa(sa).children] == [made.child]


@pytest.mark.requirement("IKE-014", "IKE-015")
def test_the_group_that_the_peer_wants_is_tried_once() -> None:
    rig, puppet, sa = up(children=with_groups(Ke.CURVE25519, Ke.ECP_256))
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    assert next(each.group for each in request if isinstance(each, KeyExchange)) == Ke.CURVE25519
    other = Ke.ECP_256
    reply(puppet, message_id, [Notification(Notify.INVALID_KE_PAYLOAD, int(other).to_bytes(2, "big"))])
    message_id, request = asked(rig, puppet)
    exchange = next(each for each in request if isinstance(each, KeyExchange))
    assert exchange.group == other
    reply(puppet, message_id, [Notification(Notify.INVALID_KE_PAYLOAD, int(other).to_bytes(2, "big"))])
    assert isinstance(rig.one(RequestFailed).error, PeerRefused)
    assert len(rig.endpoint.sa(sa).children) == 1


@pytest.mark.requirement("IKE-008")
@pytest.mark.parametrize("data", [b"", b"\x13", b"\0\0\x13"])
def test_a_demand_that_names_no_group_is_not_followed_even_where_none_is_on_offer(data: bytes) -> None:
    rig, puppet, sa = up(children=with_groups(Ke.CURVE25519, Ke.NONE))
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, _ = asked(rig, puppet)
    reply(puppet, message_id, [Notification(Notify.INVALID_KE_PAYLOAD, data)])
    assert isinstance(rig.one(RequestFailed).error, PeerRefused)
    assert asked(rig, puppet)[0] == message_id


def granted(request: list[Payload], spi: bytes, chosen: int | None, exchange: KeyExchange | None) -> list[Payload]:
    """Answer a request of the endpoint with the method *chosen* in the proposal and *exchange* beside it."""
    answer = grant(request, spi)
    offer = answer[0]
    assert isinstance(offer, SecurityAssociation)
    (proposal,) = offer.proposals
    method = () if chosen is None else (Transform(TransformType.KE, chosen),)
    answer[0] = SecurityAssociation((Proposal(1, Protocol.ESP, spi, (*proposal.transforms, *method)),))
    return [*answer[:2], *([] if exchange is None else [exchange]), *answer[2:]]


@pytest.mark.requirement("IKE-018", "IKE-175")
@ROLES
def test_the_key_exchange_that_we_began_goes_into_the_keys(role: Role) -> None:
    rig, puppet, sa = up(role, children=with_groups(Ke.CURVE25519, Ke.NONE))
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    begun = {type(each): each for each in request}
    ours, nonce = begun[KeyExchange], begun[Nonce]
    assert isinstance(ours, KeyExchange)
    assert isinstance(nonce, Nonce)
    agreement = generate(Ke.CURVE25519, puppet.random.randbytes)
    answer = KeyExchange(Ke.CURVE25519, agreement.public)
    reply(puppet, message_id, granted(request, b"\1\2\3\4", Ke.CURVE25519, answer))
    child = rig.endpoint.sa(sa).children[-1]
    assert "CURVE25519" in child.suite
    assert puppet.keys is not None
    expected = derive_child_keys(
        rig.endpoint._keeper.sas[sa].children[child.id].suite,
        puppet.keys.suite.prf,
        puppet.keys.ike.sk_d,
        nonce.data,
        NONCE,
        agreement.shared(ours.data),
    )
    assert child.export_keys().encr_out == expected.encr_i


@pytest.mark.requirement("IKE-018", "IKE-110")
@pytest.mark.parametrize("left_out", [True, False])
def test_the_peer_may_choose_to_do_without_where_that_is_on_offer(left_out: bool) -> None:
    rig, puppet, sa = up(children=with_groups(Ke.CURVE25519, Ke.NONE))
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    reply(puppet, message_id, granted(request, b"\1\2\3\4", None if left_out else Ke.NONE, None))
    assert "CURVE25519" not in rig.endpoint.sa(sa).children[-1].suite
    assert len(rig.of(RequestCompleted)) == 1


@pytest.mark.requirement("IKE-018", "IKE-110")
@pytest.mark.parametrize(
    ("chosen", "method"),
    [
        (Ke.CURVE25519, Ke.ECP_256),
        (Ke.ECP_256, Ke.CURVE25519),
        (Ke.ECP_256, Ke.ECP_256),
        (Ke.CURVE25519, None),
        (Ke.NONE, Ke.CURVE25519),
        (None, Ke.CURVE25519),
    ],
)
def test_an_answer_with_another_key_exchange_than_ours_is_refused_and_the_sa_lives(
    chosen: int | None, method: int | None
) -> None:
    rig, puppet, sa = up(children=with_groups(Ke.CURVE25519, Ke.ECP_256, Ke.NONE))
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    exchange = None if method is None else KeyExchange(method, generate(method, puppet.random.randbytes).public)
    reply(puppet, message_id, granted(request, b"\1\2\3\4", chosen, exchange))
    assert isinstance(rig.one(RequestFailed).error, NoProposalChosen)
    offer = request[0]
    assert isinstance(offer, SecurityAssociation)
    message_id, request = asked(rig, puppet)
    assert request == [Delete(Protocol.ESP, (offer.proposals[0].spi,))], "the peer believes that it is there"
    assert len(rig.endpoint.sa(sa).children) == 1
    assert rig.endpoint.sa(sa).state == "established"


@pytest.mark.requirement("IKE-018", "IKE-110")
def test_a_key_exchange_that_was_not_begun_cannot_be_chosen() -> None:
    rig, puppet, sa = up(children=with_groups(Ke.NONE, Ke.CURVE25519))
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    assert not any(isinstance(each, KeyExchange) for each in request)
    answer = KeyExchange(Ke.CURVE25519, generate(Ke.CURVE25519, puppet.random.randbytes).public)
    reply(puppet, message_id, granted(request, b"\1\2\3\4", Ke.CURVE25519, answer))
    assert isinstance(rig.one(RequestFailed).error, NoProposalChosen)
    assert len(rig.endpoint.sa(sa).children) == 1


@pytest.mark.requirement("IKE-016", "IKE-017", "IKE-187")
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (Notify.NO_ADDITIONAL_SAS, PeerRefused),
        (Notify.NO_PROPOSAL_CHOSEN, NoProposalChosen),
        (Notify.TS_UNACCEPTABLE, TsUnacceptable),
        (Notify.CHILD_SA_NOT_FOUND, ChildSaNotFound),
    ],
)
def test_a_refusal_ends_the_wish_and_not_the_sa(number: int, error: type[Exception]) -> None:
    rig, puppet, sa = up()
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, _ = asked(rig, puppet)
    reply(puppet, message_id, [Notification(number)])
    assert isinstance(rig.one(RequestFailed).error, error)
    assert isinstance(rig.one(ChildSaFailed).error, error)
    assert rig.endpoint.sa(sa).state == "established"


@pytest.mark.requirement("IKE-224")
def test_a_child_sa_that_the_peer_has_lost_is_made_anew() -> None:
    rig, puppet, sa = up()
    old = child_of(rig)
    wish = rig.endpoint.rekey(sa, child=old, now=rig.now)
    message_id, _ = asked(rig, puppet)
    reply(puppet, message_id, [Notification(Notify.CHILD_SA_NOT_FOUND)])
    assert rig.one(ChildSaClosed).child == old
    message_id, request = asked(rig, puppet)
    assert not notifications(request), "from scratch, without REKEY_SA"
    reply(puppet, message_id, grant(request, b"\1\2\3\4"))
    assert rig.of(ChildSaEstablished)[-1].replaces is None
    assert rig.one(RequestCompleted).request == wish


@pytest.mark.requirement("IKE-142", "IKE-186")
def test_an_answer_beyond_the_offer_is_deleted_again() -> None:
    rig, puppet, sa = up()
    rig.endpoint.create_child(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    offered = next(each for each in request if isinstance(each, SecurityAssociation))
    spi = offered.proposals[0].spi
    answer = grant(request, b"\1\2\3\4")
    selectors = answer[-1]
    assert isinstance(selectors, TrafficSelectorsResponder)
    answer[-1] = TrafficSelectorsResponder((parse_selector("0.0.0.0/0"),))
    reply(puppet, message_id, answer)
    assert isinstance(rig.one(RequestFailed).error, TsUnacceptable)
    message_id, request = asked(rig, puppet)
    assert request == [Delete(Protocol.ESP, (spi,))]
    assert len(rig.endpoint.sa(sa).children) == 1


@pytest.mark.requirement("IKE-127", "IKE-128", "IKE-226")
@pytest.mark.parametrize("ours_loses", [True, False])
def test_both_rekey_the_same_child_sa(ours_loses: bool) -> None:
    """RFC 7296 section 2.8.1: the answer is as usual, and the lowest of four nonces decides when all are known."""
    rig, puppet, sa = up()
    old = rig.endpoint.sa(sa).children[0]
    wish = rig.endpoint.rekey(sa, child=old.id, now=rig.now)
    message_id, request = asked(rig, puppet)
    named = Notification(Notify.REKEY_SA, b"", Protocol.ESP, puppet.spi_in)
    theirs = [named, *offer(puppet, b"\1\2\3\4")]
    lowest, high = bytes(32), b"\xff" * 32
    theirs[2] = Nonce(high if ours_loses else lowest)
    assert not notifications(puppet.request(CHILD, theirs))
    answer = grant(request, b"\1\2\3\5")
    answer[1] = Nonce(lowest if ours_loses else high)
    reply(puppet, message_id, answer)
    assert rig.one(RequestCompleted).request == wish
    by_peer, by_us = rig.of(ChildSaEstablished)[-2:]
    _, request = asked(rig, puppet)
    assert request == [Delete(Protocol.ESP, (by_us.spi_in if ours_loses else old.spi_in,))]
    assert {child.id for child in rig.endpoint.sa(sa).children} == {old.id, by_peer.child, by_us.child}


@pytest.mark.requirement("IKE-228")
def test_the_peer_deletes_what_we_are_rekeying() -> None:
    rig, puppet, sa = up()
    old = rig.endpoint.sa(sa).children[0]
    rig.endpoint.rekey(sa, child=old.id, now=rig.now)
    message_id, _ = asked(rig, puppet)
    assert puppet.request(INFO, [Delete(Protocol.ESP, (puppet.spi_in,))]) == [Delete(Protocol.ESP, (old.spi_in,))]
    assert rig.one(ChildSaClosed).child == old.id
    reply(puppet, message_id, [Notification(Notify.TEMPORARY_FAILURE)])
    assert isinstance(rig.one(RequestFailed).error, TemporaryFailure)
    rig.run_for(100.0)
    assert len(puppet.requests()) == len({header.message_id for header, _ in puppet.requests()}), "not tried again"


@pytest.mark.requirement("IKE-222")
def test_we_delete_the_sa_while_a_child_sa_waits_to_be_asked_for_again() -> None:
    """It ends as with an SA that is gone: the wish was no misuse."""
    rig, puppet, sa = up(limits=Limits(temporary_failure_wait=2.0))
    wish = rig.endpoint.create_child(sa, now=rig.now)
    message_id, _ = asked(rig, puppet)
    reply(puppet, message_id, [Notification(Notify.TEMPORARY_FAILURE)])
    rig.endpoint.delete(sa, now=rig.now)
    rig.run_for(4.0)
    assert rig.endpoint.sa(sa).state == "deleting"
    failed = rig.one(RequestFailed)
    assert (failed.request, type(failed.error)) == (wish, SaClosed)
    assert str(failed.error) == "the IKE SA is being deleted"


def test_misuse() -> None:
    rig, _, sa = up()
    with pytest.raises(LocalProtocolError, match="has no child 'nobody'"):
        rig.endpoint.create_child(sa, "nobody", now=rig.now)
    with pytest.raises(LocalProtocolError, match="has no Child SA 77"):
        rig.endpoint.rekey(sa, child=ChildId(77), now=rig.now)
