"""Rekeying the IKE SA, both sides: new SPIs and keys, the same SA, and the old pair of SPIs until it is deleted."""

from __future__ import annotations

import pytest

from ikecore.crypto import generate, rekey_ike_keys
from ikecore.errors import LocalProtocolError, NoProposalChosen, PeerRefused, TemporaryFailure
from ikecore.events import ChildSaClosed, IkeSaClosed, RequestCompleted, RequestFailed, Role, SpisChanged
from ikecore.limits import Limits
from ikecore.outputs import SaId
from ikecore.sa.keys import SaKeys
from ikecore.wire import (
    Delete,
    Header,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    Transform,
)
from ikecore.wire.numbers import Exchange, Ke, Notify, Protocol, TransformType
from tests.rig import Puppet, Rig, notifications

CHILD, INFO = Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL
ROLES = pytest.mark.parametrize("role", ["initiator", "responder"])
NONCE = bytes(range(32))
NEW_SPI = b"new spi!"


def up(role: Role = "initiator", limits: Limits | None = None) -> tuple[Rig, Puppet, SaId]:
    rig = Rig(limits=limits)
    puppet = Puppet(rig, "responder" if role == "initiator" else "initiator")
    return rig, puppet, puppet.establish()


def rekey(puppet: Puppet, spi: bytes = NEW_SPI, nonce: bytes = NONCE) -> list[Payload]:
    """What the puppet sends to rekey the IKE SA."""
    offered = tuple(Proposal(each.number, each.protocol, spi, each.transforms) for each in puppet.proposals)
    return [
        SecurityAssociation(offered),
        Nonce(nonce),
        KeyExchange(puppet.agreement.group, puppet.agreement.public),
    ]


def asked(rig: Rig, puppet: Puppet) -> tuple[int, list[Payload]]:
    """The endpoint's last request."""
    rig.drain()
    header, payloads = puppet.requests()[-1]
    return header.message_id, payloads


def reply(puppet: Puppet, message_id: int, payloads: list[Payload], exchange: int = CHILD) -> None:
    puppet.give(puppet.seal(exchange, payloads, message_id=message_id, response=True))


def grant(puppet: Puppet, request: list[Payload], *, spi: bytes = NEW_SPI, nonce: bytes = NONCE) -> list[Payload]:
    """Answer the endpoint's rekey."""
    offer = next(each for each in request if isinstance(each, SecurityAssociation))
    assert len(offer.proposals[0].spi) == 8
    chosen = Proposal(1, Protocol.IKE, spi, puppet.chosen.transforms)
    return [
        SecurityAssociation((chosen,)),
        Nonce(nonce),
        KeyExchange(puppet.agreement.group, puppet.agreement.public),
    ]


def move(puppet: Puppet, ours: list[Payload], answer: list[Payload], *, we_initiated: bool) -> SaKeys:
    """Let the puppet go on with the new pair of SPIs; return the keys of the old one."""
    old = puppet.keys
    assert old is not None
    by_type = [{type(each): each for each in payloads} for payloads in (ours, answer)]
    spis, nonces = [], []
    for found in by_type:
        offer, nonce = found[SecurityAssociation], found[Nonce]
        assert isinstance(offer, SecurityAssociation)
        assert isinstance(nonce, Nonce)
        spis.append(offer.proposals[0].spi)
        nonces.append(nonce.data)
    theirs = by_type[1 if we_initiated else 0][KeyExchange]
    assert isinstance(theirs, KeyExchange)
    shared = puppet.agreement.shared(theirs.data)
    keys = rekey_ike_keys(old.suite.prf, old.ike.sk_d, old.suite, shared, *nonces, *spis)
    puppet.role = "initiator" if we_initiated else "responder"
    puppet.keys = SaKeys.make(
        puppet.role,
        (spis[0], spis[1]),
        old.suite,
        (nonces[0], nonces[1]),
        keys,
        puppet.random.randbytes,
    )
    puppet.next_id = 0
    return old


@pytest.mark.requirement("IKE-024", "IKE-026", "IKE-027", "IKE-118", "IKE-122")
@ROLES
def test_the_peer_rekeys(role: Role) -> None:
    rig, puppet, sa = up(role)
    before = rig.endpoint.sa(sa)
    ours = rekey(puppet)
    answer = puppet.request(CHILD, ours)
    after = rig.endpoint.sa(sa)
    assert after.id == before.id
    assert after.children == before.children
    assert after.role == before.role
    assert after.spi_i == NEW_SPI, "whoever rekeys is the original initiator of the new one"
    assert after.replaced_spis == ((before.spi_i, before.spi_r),)
    assert rig.of(SpisChanged)[-1].spi_r == after.spi_r
    old_keys, old_next = puppet.keys, puppet.next_id
    move(puppet, ours, answer, we_initiated=True)
    assert puppet.request(INFO) == [], "Message IDs begin at 0"
    new_keys, new_role = puppet.keys, puppet.role
    puppet.keys, puppet.next_id = old_keys, old_next
    assert puppet.request(INFO, [Delete(Protocol.IKE, ())]) == []
    assert rig.endpoint.sa(sa).replaced_spis == ()
    assert rig.of(IkeSaClosed, ChildSaClosed) == []
    puppet.keys, puppet.role, puppet.next_id = new_keys, new_role, 1
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    ((header, request),) = safe_requests(puppet)
    assert (header.message_id, request) == (0, [])


@pytest.mark.requirement("IKE-023", "IKE-024", "IKE-026", "IKE-027", "IKE-118", "IKE-119")
@ROLES
def test_we_rekey(role: Role) -> None:
    rig, puppet, sa = up(role)
    before = rig.endpoint.sa(sa)
    wish = rig.endpoint.rekey(sa, now=rig.now)
    rig.endpoint.check_liveness(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    answer = grant(puppet, request)
    reply(puppet, message_id, answer)
    assert rig.one(RequestCompleted).request == wish
    after = rig.endpoint.sa(sa)
    assert (after.spi_r, after.children) == (NEW_SPI, before.children)
    rig.drain()
    (on_old,) = [payloads for header, payloads in safe_requests(puppet) if header.message_id == message_id + 1]
    assert on_old == [Delete(Protocol.IKE, ())]
    reply(puppet, message_id + 1, [], INFO)
    assert rig.endpoint.sa(sa).replaced_spis == ()
    move(puppet, request, answer, we_initiated=False)
    assert [payloads for _, payloads in safe_requests(puppet)] == [[]], "what waited goes on with the new SPIs"
    reply(puppet, 0, [], INFO)
    assert len(rig.of(RequestCompleted)) == 2
    assert rig.of(IkeSaClosed) == []


def safe_requests(puppet: Puppet) -> list[tuple[Header, list[Payload]]]:
    """The endpoint's requests on the puppet's present pair of SPIs."""
    assert puppet.keys is not None
    found = []
    for data in puppet.taken(puppet.rig.outputs):
        if data[:16] == puppet.keys.spi_i + puppet.keys.spi_r and not data[19] & 0x20 and data[18] != 34:
            found.append(puppet.open(data))
    return [(header, payloads) for header, payloads in found if header.exchange in (CHILD, INFO)]


@pytest.mark.requirement("IKE-133", "IKE-230", "IKE-232")
def test_both_at_once_and_the_peer_never_noticed() -> None:
    """RFC 7296 section 2.8.2, the last example: the peer deletes the old pair before it sees our request."""
    rig, puppet, sa = up()
    wish = rig.endpoint.rekey(sa, now=rig.now)
    asked(rig, puppet)
    ours = rekey(puppet)
    answer = puppet.request(CHILD, ours)
    assert not notifications(answer), "as usual"
    assert rig.of(RequestCompleted) == []
    assert puppet.request(INFO, [Delete(Protocol.IKE, ())]) == []
    after = rig.endpoint.sa(sa)
    assert (after.spi_i, after.replaced_spis) == (NEW_SPI, ())
    assert rig.one(RequestCompleted).request == wish
    assert rig.of(IkeSaClosed) == []
    rig.run_for(60.0)
    assert rig.of(IkeSaClosed) == [], "our own request is forgotten, not repeated until the SA dies"


@pytest.mark.requirement("IKE-127", "IKE-128", "IKE-130", "IKE-131", "IKE-230")
@pytest.mark.parametrize("ours_loses", [True, False])
def test_both_at_once_and_both_noticed(ours_loses: bool) -> None:
    rig, puppet, sa = up()
    rig.endpoint.rekey(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    lowest, high = bytes(32), b"\xff" * 32
    puppet.request(CHILD, rekey(puppet, b"peer's 1", high if ours_loses else lowest))
    reply(puppet, message_id, grant(puppet, request, spi=b"peer's 2", nonce=lowest if ours_loses else high))
    after = rig.endpoint.sa(sa)
    rig.drain()
    on_old = [payloads for header, payloads in safe_requests(puppet) if header.message_id == message_id + 1]
    if ours_loses:
        assert after.spi_i == b"peer's 1"
        assert on_old == [], "the peer deletes the old one"
        assert len(after.replaced_spis) == 2
    else:
        assert after.spi_r == b"peer's 2"
        assert on_old == [[Delete(Protocol.IKE, ())]]
        assert (b"peer's 1", after.replaced_spis[0][1]) == after.replaced_spis[0]
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-130", "IKE-232")
@pytest.mark.parametrize("outcome", ["ours wins", "ours loses", "refused"])
def test_the_peer_deletes_what_it_made_before_its_answer_to_ours_is_here(outcome: str) -> None:
    """It may be the one too many, or all that remains: then the SA is over. Only the answer tells."""
    rig, puppet, sa = up()
    rig.endpoint.rekey(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    lowest, high = bytes(32), b"\xff" * 32
    ours = rekey(puppet, b"peer's 1", lowest if outcome == "ours wins" else high)
    old_role, old_keys = puppet.role, move(puppet, ours, puppet.request(CHILD, ours), we_initiated=True)
    assert puppet.request(INFO, [Delete(Protocol.IKE, ())]) == []
    assert sa in rig.endpoint.sas
    puppet.role, puppet.keys = old_role, old_keys
    answer = grant(puppet, request, spi=b"peer's 2", nonce=lowest if outcome == "ours loses" else high)
    reply(puppet, message_id, [Notification(Notify.TEMPORARY_FAILURE)] if outcome == "refused" else answer)
    if outcome == "ours wins":
        assert rig.endpoint.sa(sa).spi_r == b"peer's 2"
        assert len(rig.of(RequestCompleted)) == 1
    else:
        assert rig.one(IkeSaClosed).by == "peer"
        assert len(rig.of(RequestFailed)) == 1
        assert rig.endpoint.idle


@pytest.mark.requirement("IKE-015", "IKE-230")
@pytest.mark.parametrize("then", ["nothing", "delete"])
def test_both_at_once_and_the_peer_wants_another_group_of_us(then: str) -> None:
    """Its own rekey is done, so ours is not tried again: a second one would wait behind what else is wished for."""
    rig, puppet, sa = up()
    wish = rig.endpoint.rekey(sa, now=rig.now)
    if then == "delete":
        rig.endpoint.delete(sa, now=rig.now)
    message_id, _ = asked(rig, puppet)
    ours = rekey(puppet)
    answer = puppet.request(CHILD, ours)
    reply(puppet, message_id, [Notification(Notify.INVALID_KE_PAYLOAD, int(Ke.ECP_256).to_bytes(2, "big"))])
    assert rig.one(RequestCompleted).request == wish
    assert rig.endpoint.sa(sa).spi_i == NEW_SPI
    rig.drain()
    assert [header.message_id for header, _ in safe_requests(puppet)] == [message_id], "not tried again"
    old_role, old_id = puppet.role, puppet.next_id
    old_keys = move(puppet, ours, answer, we_initiated=True)
    assert [request for _, request in safe_requests(puppet)] == (
        [[Delete(Protocol.IKE, ())]] if then == "delete" else []
    )
    puppet.keys, puppet.role, puppet.next_id = old_keys, old_role, old_id
    assert puppet.request(INFO, [Delete(Protocol.IKE, ())]) == []
    assert rig.of(IkeSaClosed) == []


@pytest.mark.requirement("IKE-130")
def test_a_pair_that_the_peer_never_knew_goes_without_a_word() -> None:
    """Our Delete of the old pair came before our answer, so the peer has forgotten its rekey."""
    rig, puppet, sa = up(limits=Limits(rekeyed_lifetime=20.0))
    rig.endpoint.rekey(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    puppet.request(CHILD, rekey(puppet, b"peer's 1", bytes(32)))
    reply(puppet, message_id, grant(puppet, request, spi=b"peer's 2", nonce=b"\xff" * 32))
    reply(puppet, message_id + 1, [], INFO)
    assert len(rig.endpoint.sa(sa).replaced_spis) == 1
    sent = len(puppet.taken(rig.outputs))
    rig.run_for(30.0)
    assert rig.endpoint.sa(sa).replaced_spis == ()
    assert len(puppet.taken(rig.outputs)) == sent


@pytest.mark.requirement("IKE-221", "IKE-229")
def test_no_rekey_while_a_child_sa_changes() -> None:
    rig, puppet, sa = up()
    rig.endpoint.create_child(sa, now=rig.now)
    rig.drain()
    assert puppet.request(CHILD, rekey(puppet)) == [Notification(Notify.TEMPORARY_FAILURE)]
    assert rig.endpoint.sa(sa).replaced_spis == ()


@pytest.mark.requirement("IKE-025", "IKE-233")
def test_no_child_sa_while_we_rekey() -> None:
    rig, puppet, sa = up()
    rig.endpoint.rekey(sa, now=rig.now)
    rig.drain()
    answer = puppet.request(CHILD, [Nonce(NONCE), *puppet.child_payloads()])
    assert answer == [Notification(Notify.TEMPORARY_FAILURE)]


@pytest.mark.requirement("IKE-222")
def test_the_peer_cannot_now_and_is_asked_again_after_a_while() -> None:
    limits = Limits(temporary_failure_wait=10.0, temporary_failure_limit=60.0)
    rig, puppet, sa = up(limits=limits)
    wish = rig.endpoint.rekey(sa, now=rig.now)
    message_id, _ = asked(rig, puppet)
    reply(puppet, message_id, [Notification(Notify.TEMPORARY_FAILURE)])
    rig.run_for(9.9)
    assert asked(rig, puppet)[0] == message_id, "not at once"
    rig.run_for(5.2)
    again, request = asked(rig, puppet)
    assert again == message_id + 1
    reply(puppet, again, grant(puppet, request))
    assert rig.one(RequestCompleted).request == wish


@pytest.mark.requirement("IKE-222")
def test_a_peer_that_never_can_has_lost_track() -> None:
    limits = Limits(temporary_failure_wait=10.0, temporary_failure_limit=60.0)
    rig, puppet, sa = up(limits=limits)
    rig.endpoint.rekey(sa, now=rig.now)
    times, last, began = 0, -1, rig.now
    while sa in rig.endpoint.sas:
        message_id, _ = asked(rig, puppet)
        if message_id != last:
            last, times = message_id, times + 1
            reply(puppet, message_id, [Notification(Notify.TEMPORARY_FAILURE)])
        rig.run_for(1.0)
    assert 2 <= times <= 5
    assert 60.0 <= rig.now - began < 200.0
    assert isinstance(rig.one(RequestFailed).error, TemporaryFailure)
    assert rig.one(IkeSaClosed).by == "error"


def test_a_pair_of_spis_that_the_peer_does_not_delete_is_deleted_by_us() -> None:
    rig, puppet, sa = up(limits=Limits(rekeyed_lifetime=20.0))
    puppet.request(CHILD, rekey(puppet))
    rig.run_for(19.0)
    assert safe_requests(puppet) == []
    rig.run_for(1.2)
    ((header, payloads),) = safe_requests(puppet)
    assert payloads == [Delete(Protocol.IKE, ())]
    reply(puppet, header.message_id, [], INFO)
    assert rig.endpoint.sa(sa).replaced_spis == ()


def test_a_replaced_pair_whose_delete_nobody_answers_goes_alone() -> None:
    rig, puppet, sa = up(limits=Limits(rekeyed_lifetime=20.0))
    puppet.request(CHILD, rekey(puppet))
    rig.run_for(600.0)
    assert rig.endpoint.sa(sa).replaced_spis == ()
    assert rig.of(IkeSaClosed) == []


def test_what_waits_goes_on_right_behind_the_answer_to_a_rekey() -> None:
    rig, puppet, sa = up()
    for _ in range(2):  # the first is on its way, the second waits
        rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    ours = rekey(puppet)
    answer, _ = puppet.give(puppet.seal(CHILD, ours))
    move(puppet, ours, puppet.open(answer)[1], we_initiated=True)
    assert [header.message_id for header, _ in safe_requests(puppet)] == [0]


def test_pairs_of_spis_are_bounded() -> None:
    rig, puppet, sa = up(limits=Limits(generations=3))
    for number in range(2):
        ours = rekey(puppet, bytes([number + 1]) * 8)
        move(puppet, ours, puppet.request(CHILD, ours), we_initiated=True)
    assert len(rig.endpoint.sa(sa).replaced_spis) == 2
    assert puppet.request(CHILD, rekey(puppet, b"\7" * 8)) == [Notification(Notify.TEMPORARY_FAILURE)]


@pytest.mark.requirement("IKE-015")
def test_groups() -> None:
    rig, puppet, sa = up()
    wrong = rekey(puppet)
    wrong[2] = KeyExchange(Ke.MODP_1024, bytes(128))
    assert notifications(puppet.request(CHILD, wrong)) == [Notify.INVALID_KE_PAYLOAD]
    rig.endpoint.rekey(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    reply(puppet, message_id, [Notification(Notify.INVALID_KE_PAYLOAD, int(Ke.ECP_256).to_bytes(2, "big"))])
    message_id, request = asked(rig, puppet)
    assert next(each.group for each in request if isinstance(each, KeyExchange)) == Ke.ECP_256
    reply(puppet, message_id, [Notification(Notify.INVALID_KE_PAYLOAD, int(Ke.MODP_1024).to_bytes(2, "big"))])
    assert isinstance(rig.one(RequestFailed).error, PeerRefused)


def test_an_impossible_answer_ends_the_wish_and_not_the_sa() -> None:
    for spi in (b"", bytes(8)):
        rig, puppet, sa = up()
        rig.endpoint.rekey(sa, now=rig.now)
        message_id, request = asked(rig, puppet)
        answer = grant(puppet, request)
        offer = answer[0]
        assert isinstance(offer, SecurityAssociation)
        first = offer.proposals[0]
        answer[0] = SecurityAssociation((Proposal(first.number, first.protocol, spi, first.transforms),))
        reply(puppet, message_id, answer)
        assert isinstance(rig.one(RequestFailed).error, NoProposalChosen)
        assert rig.endpoint.sa(sa).replaced_spis == ()


@pytest.mark.requirement("IKE-110", "IKE-265")
@pytest.mark.parametrize(
    ("chosen", "method"),
    [(Ke.CURVE25519, Ke.ECP_256), (Ke.ECP_256, Ke.CURVE25519), (Ke.ECP_256, Ke.ECP_256)],
)
def test_an_answer_with_another_key_exchange_than_ours_ends_the_wish_and_not_the_sa(chosen: Ke, method: Ke) -> None:
    rig, puppet, sa = up()
    rig.endpoint.rekey(sa, now=rig.now)
    message_id, request = asked(rig, puppet)
    assert next(each.group for each in request if isinstance(each, KeyExchange)) == Ke.CURVE25519
    transforms = [each for each in puppet.chosen.transforms if each.type != TransformType.KE]
    named = Proposal(1, Protocol.IKE, NEW_SPI, (*transforms, Transform(TransformType.KE, chosen)))
    exchange = KeyExchange(method, generate(method, puppet.random.randbytes).public)
    reply(puppet, message_id, [SecurityAssociation((named,)), Nonce(NONCE), exchange])
    assert isinstance(rig.one(RequestFailed).error, NoProposalChosen)
    assert rig.endpoint.sa(sa).replaced_spis == ()
    assert rig.endpoint.sa(sa).state == "established"


def test_no_proposal_that_fits_is_told_and_the_sa_lives() -> None:
    rig, puppet, sa = up()
    ours = rekey(puppet, b"")
    assert notifications(puppet.request(CHILD, ours)) == [Notify.NO_PROPOSAL_CHOSEN]
    assert rig.endpoint.sa(sa).state == "established"


def test_misuse() -> None:
    rig, _, sa = up()
    rig.endpoint.delete(sa, now=rig.now)
    with pytest.raises(LocalProtocolError, match="CREATE_CHILD_SA: not possible while the SA is deleting"):
        rig.endpoint.rekey(sa, now=rig.now)
