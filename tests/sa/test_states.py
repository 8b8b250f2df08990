"""The life of an IKE SA: the table cell by cell, and the same cells with a peer that has the keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import attrs
import pytest

from docs.make_states import PAGE, page
from ikecore.errors import LocalProtocolError
from ikecore.events import IkeSaEstablished, Role
from ikecore.outputs import ChildId, SaId, SendDatagram
from ikecore.questions import AuthorizationNeeded
from ikecore.sa import TABLE, Input, State, Verdict
from ikecore.sa.states import AUTHENTICATED, may_begin, step, verdict
from ikecore.testing import psk_connection
from ikecore.wire import (
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
)
from ikecore.wire.numbers import Exchange, Notify, Protocol
from tests.rig import Puppet, Rig, notifications

ROLES: tuple[Role, ...] = get_args(Role)
INIT, AUTH, CHILD, INFO = (
    Exchange.IKE_SA_INIT,
    Exchange.IKE_AUTH,
    Exchange.CREATE_CHILD_SA,
    Exchange.INFORMATIONAL,
)
EXCHANGES = (*Exchange, 0, 33, 200, 255)
"""Every known exchange type, and some that nobody knows."""

# What RFC 7296 says, written down a second time and in another form: (state, role): ours, theirs, moves.
EXPECTED: dict[tuple[State, Role], tuple[set[int], set[int], dict[Input, State]]] = {
    (State.INITIATING, "initiator"): (
        {INIT},
        set(),
        {Input.INIT_ANSWERED: State.AUTHENTICATING, Input.GONE: State.CLOSED},
    ),
    (State.AUTHENTICATING, "initiator"): (
        {AUTH},
        set(),
        {Input.AUTH_VERIFIED: State.ESTABLISHED, Input.QUESTION_ASKED: State.DECIDING, Input.GONE: State.CLOSED},
    ),
    (State.DECIDING, "initiator"): (
        set(),
        set(),
        {Input.QUESTION_ANSWERED: State.AUTHENTICATING, Input.GONE: State.CLOSED},
    ),
    (State.HALF_OPEN, "responder"): (
        set(),
        {AUTH},
        {Input.AUTH_VERIFIED: State.ESTABLISHED, Input.QUESTION_ASKED: State.DECIDING, Input.GONE: State.CLOSED},
    ),
    (State.DECIDING, "responder"): (
        set(),
        set(),
        {
            Input.AUTH_VERIFIED: State.ESTABLISHED,
            Input.QUESTION_ASKED: State.DECIDING,
            Input.QUESTION_ANSWERED: State.DECIDING,
            Input.GONE: State.CLOSED,
        },
    ),
    **{
        (State.ESTABLISHED, role): (
            {CHILD, INFO},
            {CHILD, INFO},
            {Input.REPLACED: State.REKEYED, Input.DELETE_SENT: State.DELETING, Input.GONE: State.CLOSED},
        )
        for role in ROLES
    },
    **{
        (State.REKEYED, role): ({INFO}, {INFO}, {Input.DELETE_SENT: State.DELETING, Input.GONE: State.CLOSED})
        for role in ROLES
    },
    **{(State.DELETING, role): ({INFO}, {INFO}, {Input.GONE: State.CLOSED}) for role in ROLES},
    **{(State.CLOSED, role): (set(), set(), {}) for role in ROLES},
}


LATER = {(state, role): {CHILD} for state in (State.REKEYED, State.DELETING) for role in ROLES}
"""What is answered with TEMPORARY_FAILURE (RFC 7296 section 2.25.2)."""


# --- the table on paper -------------------------------------------------------------------------------------------


def test_the_table_has_these_rows_and_no_others() -> None:
    found = {key: (set(row.ours), set(row.theirs), dict(row.moves)) for key, row in TABLE.items()}
    assert found == EXPECTED
    assert {key: set(row.later) for key, row in TABLE.items() if row.later} == LATER


@pytest.mark.requirement("IKE-001", "IKE-010", "IKE-012", "IKE-307")
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("what", Input)
def test_step_follows_the_table(state: State, role: Role, what: Input) -> None:
    after = EXPECTED.get((state, role), (set(), set(), {}))[2].get(what)
    if after is None:
        with pytest.raises(LocalProtocolError, match=f"{role} of an SA that is {state.value}"):
            step(state, role, what)
    else:
        assert step(state, role, what) is after


@pytest.mark.requirement("IKE-012", "IKE-029")
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", State)
def test_only_the_exchanges_of_a_row_may_begin(state: State, role: Role) -> None:
    ours = EXPECTED.get((state, role), (set(), set(), {}))[0]
    assert {exchange for exchange in EXCHANGES if may_begin(state, role, exchange)} == ours


@pytest.mark.requirement("IKE-029", "IKE-242")
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_verdict_on_a_request(state: State, role: Role, exchange: int) -> None:
    theirs = EXPECTED.get((state, role), (set(), set(), {}))[1]
    if exchange in theirs:
        expected = Verdict.PROCESS
    elif exchange in LATER.get((state, role), ()):
        expected = Verdict.LATER
    elif state in (State.ESTABLISHED, State.REKEYED):
        expected = Verdict.REFUSE
    else:
        expected = Verdict.DROP
    assert verdict(state, role, exchange) is expected


@pytest.mark.parametrize("role", ROLES)
def test_established_is_only_reached_by_verified_auth(role: Role) -> None:
    rows = [(before, row) for (before, whose), row in TABLE.items() if whose == role]
    ways = {(before, what) for before, row in rows for what in row.moves if row.moves[what] is State.ESTABLISHED}
    assert {what for _, what in ways} == {Input.AUTH_VERIFIED}
    assert State.ESTABLISHED in AUTHENTICATED
    assert {before for before, _ in ways}.isdisjoint(AUTHENTICATED)


def test_every_state_is_reached_and_none_but_closed_is_a_dead_end() -> None:
    for role, first in (("initiator", State.INITIATING), ("responder", State.HALF_OPEN)):
        reached, todo = {first}, [first]
        while todo:
            row = TABLE[todo.pop(), role]  # type: ignore[index]
            fresh = set(row.moves.values()) - reached
            reached |= fresh
            todo += fresh
        assert reached == {state for state, whose in TABLE if whose == role}
    assert {state for (state, _), row in TABLE.items() if not row.moves} == {State.CLOSED}


def test_the_committed_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python docs/make_states.py"


# --- the table in a real SA ---------------------------------------------------------------------------------------


@attrs.frozen
class Placed:
    """An SA in a state, with a peer that has its keys."""

    rig: Rig
    puppet: Puppet
    sa: SaId

    @property
    def state(self) -> str:
        """That of the pair of SPIs which the puppet speaks on."""
        if self.sa not in self.rig.endpoint.sas:
            return "closed"
        view = self.rig.endpoint.sa(self.sa)
        return "rekeyed" if self.puppet.spis in view.replaced_spis else view.state


def half_open() -> Placed:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.begin()
    return Placed(rig, puppet, rig.endpoint.sas[0])


def deciding() -> Placed:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    puppet.begin()
    assert puppet.give(puppet.seal(AUTH, puppet.auth())) == []
    rig.one(AuthorizationNeeded)
    puppet.next_id = 2
    return Placed(rig, puppet, rig.endpoint.sas[0])


def established(role: Role) -> Placed:
    rig = Rig()
    puppet = Puppet(rig, "responder" if role == "initiator" else "initiator")
    return Placed(rig, puppet, puppet.establish())


def rekeyed(role: Role) -> Placed:
    """The puppet has rekeyed, and goes on with the old pair of SPIs."""
    placed = established(role)
    puppet = placed.puppet
    offer = tuple(Proposal(each.number, each.protocol, b"new spi!", each.transforms) for each in puppet.proposals)
    exchange = KeyExchange(puppet.agreement.group, puppet.agreement.public)
    assert not notifications(puppet.request(CHILD, [SecurityAssociation(offer), Nonce(bytes(32)), exchange]))
    return placed


def deleting(role: Role) -> Placed:
    placed = established(role)
    placed.rig.endpoint.delete(placed.sa, now=placed.rig.now)
    placed.rig.drain()
    return placed


def closed(role: Role) -> Placed:
    placed = established(role)
    placed.rig.endpoint.abandon(placed.sa, now=placed.rig.now)
    placed.rig.drain()
    return placed


def initiating() -> Placed:
    rig = Rig()
    sa = rig.initiate()
    puppet = Puppet(rig, "responder")
    # The puppet has read the request and made keys, but never answered: it cannot know more than this.
    puppet.take_init(puppet.taken(rig.outputs)[-1])
    return Placed(rig, puppet, sa)


def authenticating() -> Placed:
    rig = Rig()
    puppet = Puppet(rig, "responder")
    sa = rig.initiate()
    puppet.answer_init()
    return Placed(rig, puppet, sa)


def deciding_as_initiator() -> Placed:
    rig = Rig()
    puppet = Puppet(rig, "responder")
    sa = rig.initiate(attrs.evolve(psk_connection("initiator"), authorize=True))
    puppet.answer_init()
    assert puppet.answer_auth() == []
    rig.one(AuthorizationNeeded)
    return Placed(rig, puppet, sa)


PLACES: dict[tuple[State, Role], Callable[[], Placed]] = {
    (State.INITIATING, "initiator"): initiating,
    (State.AUTHENTICATING, "initiator"): authenticating,
    (State.HALF_OPEN, "responder"): half_open,
    (State.DECIDING, "initiator"): deciding_as_initiator,
    (State.DECIDING, "responder"): deciding,
    (State.ESTABLISHED, "initiator"): lambda: established("initiator"),
    (State.ESTABLISHED, "responder"): lambda: established("responder"),
    (State.REKEYED, "initiator"): lambda: rekeyed("initiator"),
    (State.REKEYED, "responder"): lambda: rekeyed("responder"),
    (State.DELETING, "initiator"): lambda: deleting("initiator"),
    (State.DELETING, "responder"): lambda: deleting("responder"),
    (State.CLOSED, "initiator"): lambda: closed("initiator"),
    (State.CLOSED, "responder"): lambda: closed("responder"),
}


def test_every_row_has_a_place() -> None:
    assert PLACES.keys() == TABLE.keys()
    for (state, role), place in PLACES.items():
        placed = place()
        assert placed.state == state.value
        if state is not State.CLOSED:
            assert placed.rig.endpoint.sa(placed.sa).role == role


def plausible(puppet: Puppet, exchange: int) -> list[Payload]:
    """Payloads that *exchange* could carry."""
    if exchange == AUTH:
        return puppet.auth() if puppet.role == "initiator" else []
    if exchange == CHILD:
        return [*puppet.init_payloads()[2:3], *puppet.child_payloads()]
    return puppet.init_payloads() if exchange == INIT else []


@pytest.mark.requirement("IKE-029", "IKE-242", "IKE-293", "IKE-198", "IKE-004", "IKE-132", "IKE-231")
@pytest.mark.parametrize("exchange", [*Exchange, 200], ids=lambda exchange: str(int(exchange)))
@pytest.mark.parametrize(("state", "role"), PLACES, ids=lambda value: getattr(value, "value", value))
def test_every_exchange_in_every_state(state: State, role: Role, exchange: int) -> None:
    """B8: a peer with the keys gets out of each state exactly what the table grants, with every exchange type."""
    placed = PLACES[state, role]()
    rig, puppet = placed.rig, placed.puppet
    was_up = len(rig.of(IkeSaEstablished))
    answers = puppet.give(puppet.seal(exchange, plausible(puppet, exchange)))
    expected = verdict(state, role, exchange)
    if expected is Verdict.DROP:
        assert answers == []
        assert placed.state == state.value
        assert not [each for each in rig.drain() if isinstance(each, SendDatagram)]
    elif expected is Verdict.REFUSE:
        header, contents = puppet.open(answers[0])
        assert (header.is_response, header.message_id) == (True, puppet.next_id)
        assert notifications(contents) == [Notify.INVALID_SYNTAX]
        assert len(contents) == 1
        assert placed.state == "closed"
    elif expected is Verdict.LATER:
        _, contents = puppet.open(answers[0])
        assert notifications(contents) == [Notify.TEMPORARY_FAILURE]
        assert placed.state == state.value
    else:
        header, contents = puppet.open(answers[0])
        assert header.is_response
        assert Notify.INVALID_SYNTAX not in notifications(contents)
        assert placed.state == ("established" if state is State.HALF_OPEN else state.value)
    reached = len(rig.of(IkeSaEstablished)) - was_up
    assert reached == (1 if state is State.HALF_OPEN and exchange == AUTH else 0)


@pytest.mark.requirement("IKE-239", "IKE-057", "IKE-200")
@pytest.mark.parametrize("exchange", [*Exchange, 200], ids=lambda exchange: str(int(exchange)))
@pytest.mark.parametrize(("state", "role"), PLACES, ids=lambda value: getattr(value, "value", value))
def test_an_unasked_response_never_does_anything(state: State, role: Role, exchange: int) -> None:
    placed = PLACES[state, role]()
    rig, puppet = placed.rig, placed.puppet
    before = rig.picture()
    for message_id in (5, 0xFFFF_FFFF):
        puppet.give(puppet.seal(exchange, plausible(puppet, exchange), message_id=message_id, response=True))
    assert rig.picture() == before
    assert placed.state == state.value


@pytest.mark.requirement("IKE-010", "IKE-004")
@pytest.mark.parametrize(("state", "role"), PLACES, ids=lambda value: getattr(value, "value", value))
def test_our_wishes_in_every_state(state: State, role: Role) -> None:
    placed = PLACES[state, role]()
    rig = placed.rig
    before = rig.picture()
    if INFO in TABLE[state, role].ours:
        assert rig.endpoint.check_liveness(placed.sa, now=rig.now)
        return
    with pytest.raises(LocalProtocolError, match=r"INFORMATIONAL: not possible|there is no SA"):
        rig.endpoint.check_liveness(placed.sa, now=rig.now)
    assert rig.drain() == []
    assert rig.picture() == before


# --- the three uses of CREATE_CHILD_SA ------------------------------------------------------------------------------

USES = ("create", "rekey child", "rekey ike")


def use(placed: Placed, what: str) -> list[Payload]:
    """The payloads of one use of the exchange, which an established SA would grant."""
    puppet = placed.puppet
    if what == "rekey ike":
        offer = tuple(Proposal(each.number, each.protocol, b"another!", each.transforms) for each in puppet.proposals)
        return [
            SecurityAssociation(offer),
            Nonce(bytes(32)),
            KeyExchange(puppet.agreement.group, puppet.agreement.public),
        ]
    offer_sa, ts_i, ts_r = puppet.child_payloads()
    if puppet.role == "responder":  # it initiates this exchange: its own address comes first
        assert isinstance(ts_i, TrafficSelectorsInitiator)
        assert isinstance(ts_r, TrafficSelectorsResponder)
        ts_i, ts_r = TrafficSelectorsInitiator(ts_r.selectors), TrafficSelectorsResponder(ts_i.selectors)
    named: list[Payload] = []
    if what == "rekey child":
        named = [Notification(Notify.REKEY_SA, b"", Protocol.ESP, puppet.spi_in)]
    return [*named, offer_sa, Nonce(bytes(32)), ts_i, ts_r]


@pytest.mark.requirement("IKE-132", "IKE-221", "IKE-231")
@pytest.mark.parametrize("what", USES)
@pytest.mark.parametrize(("state", "role"), PLACES, ids=lambda value: getattr(value, "value", value))
def test_each_use_of_create_child_sa_in_every_state(state: State, role: Role, what: str) -> None:
    placed = PLACES[state, role]()
    rig, puppet = placed.rig, placed.puppet
    before = None if placed.sa not in rig.endpoint.sas else rig.endpoint.sa(placed.sa)
    answers = puppet.give(puppet.seal(CHILD, use(placed, what)))
    if state not in AUTHENTICATED:
        assert answers == []
    else:
        _, contents = puppet.open(answers[0])
        later = state is not State.ESTABLISHED
        assert notifications(contents) == ([Notify.TEMPORARY_FAILURE] if later else [])
    if state is not State.ESTABLISHED:
        assert before == (rig.endpoint.sa(placed.sa) if before is not None else None)
        return
    assert before is not None
    after = rig.endpoint.sa(placed.sa)
    assert len(after.children) == len(before.children) + (what != "rekey ike")
    assert bool(after.replaced_spis) == (what == "rekey ike")


@pytest.mark.requirement("IKE-010", "IKE-004")
@pytest.mark.parametrize("what", USES)
@pytest.mark.parametrize(("state", "role"), PLACES, ids=lambda value: getattr(value, "value", value))
def test_we_begin_each_use_of_create_child_sa_only_once_established(state: State, role: Role, what: str) -> None:
    """The current pair of SPIs counts: after a rekey that is established, whatever its old one is."""
    placed = PLACES[state, role]()
    rig, endpoint = placed.rig, placed.rig.endpoint
    before = rig.picture()
    allowed = state in (State.ESTABLISHED, State.REKEYED)

    def wish() -> None:
        if what == "create":
            endpoint.create_child(placed.sa, now=rig.now)
        elif what == "rekey ike":
            endpoint.rekey(placed.sa, now=rig.now)
        else:
            children = endpoint.sa(placed.sa).children
            endpoint.rekey(placed.sa, child=children[0].id if children else ChildId(1), now=rig.now)

    if allowed:
        wish()
        assert rig.drain()
        return
    with pytest.raises(LocalProtocolError, match=r"CREATE_CHILD_SA: not possible|there is no SA|has no Child SA"):
        wish()
    assert rig.drain() == []
    assert rig.picture() == before
