"""Life-times against a peer that does as it is told: rekeys in time, with jitter, and an end where they fail."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.config import ChildConfig, Lifetimes
from ikecore.errors import LocalProtocolError
from ikecore.events import ChildSaClosed, ChildSaFailed, IkeSaClosed, LifetimeReached, Role, SuccessorBegun
from ikecore.limits import Limits
from ikecore.outputs import ChildId, SaId
from ikecore.sa.life import Life
from ikecore.sa.window import NEARLY_USED_UP
from ikecore.testing import psk_connection
from ikecore.wire import Delete, Nonce, Notification, Payload, SecurityAssociation
from ikecore.wire.numbers import Exchange, Notify, Protocol
from tests.rig import Puppet, Rig
from tests.sa.test_create_child_sa import offer
from tests.sa.test_rekey_ike_sa import grant, move, rekey

CHILD, INFO = Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL
ROLES = pytest.mark.parametrize("role", ["initiator", "responder"])
NEVER = Lifetimes()
HOUR = Lifetimes(rekey_time=3600.0)
REFUSED = Notification(Notify.NO_ADDITIONAL_SAS)


def up(
    role: Role = "initiator", ike: Lifetimes = NEVER, child: Lifetimes = NEVER, limits: Limits | None = None
) -> tuple[Rig, Puppet, SaId]:
    connection = psk_connection(role, lifetimes=ike, children=(ChildConfig(lifetimes=child),))
    rig = Rig(connection, limits=limits)
    puppet = Puppet(rig, "responder" if role == "initiator" else "initiator")
    if role == "responder":
        return rig, puppet, puppet.establish()
    sa = rig.initiate(connection)
    puppet.answer_init()
    puppet.answer_auth()
    return rig, puppet, sa


Asked = tuple[float, int, list[Payload]]
"""A request of the endpoint: when, which exchange, and what was in it."""


def watching(rig: Rig, puppet: Puppet, seconds: float, answer: Payload | None = REFUSED) -> list[Asked]:
    """Let time pass, and answer every CREATE_CHILD_SA of the endpoint alike; None answers nothing at all."""
    seen: list[Asked] = []
    numbers = set()
    until = rig.now + seconds
    while (deadline := rig.endpoint.deadline) is not None and deadline <= until:
        for header, payloads in puppet.requests(rig.run_for(deadline - rig.now)):
            if header.message_id in numbers:
                continue
            numbers.add(header.message_id)
            seen.append((rig.now, header.exchange, payloads))
            if answer is not None:
                content = [answer] if header.exchange == CHILD else []
                puppet.give(puppet.seal(header.exchange, content, message_id=header.message_id, response=True))
    rig.run_for(max(0.0, until - rig.now))
    return seen


# --- the moments ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-125")
@given(
    st.integers(0, 2**32),
    st.floats(1.0, 1e6),
    st.none() | st.floats(0.0, 0.9),
    st.floats(0.0, 1e9),
)
def test_a_rekey_comes_at_random_within_its_bounds(seed: int, time: float, part: float | None, now: float) -> None:
    lifetimes = Lifetimes(rekey_time=time, rand_time=None if part is None else part * time)
    life = Life()
    life.renew(lifetimes, random.Random(seed).randbytes, now)
    assert now + time - lifetimes.rand <= life.rekey_at <= now + time
    assert life.ends_at == now + time + lifetimes.over
    assert life.tries == 0


@pytest.mark.requirement("IKE-125")
def test_two_sides_seldom_choose_the_same_moment() -> None:
    moments = []
    for seed in range(50):
        life = Life()
        life.renew(HOUR, random.Random(seed).randbytes, 0.0)
        moments.append(life.rekey_at)
    assert len({round(moment) for moment in moments}) > 40
    assert max(moments) - min(moments) > 250.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rekey_time", -1.0),
        ("reauth_time", float("inf")),
        ("over_time", 0.0),
        ("rand_time", 3600.0),
        ("rekey_time", float("nan")),
    ],
)
def test_life_times_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(LocalProtocolError, match=field):
        Lifetimes(**{"rekey_time": 3600.0, field: value})


def test_a_child_sa_is_not_authenticated_anew() -> None:
    with pytest.raises(LocalProtocolError, match="reauth_time"):
        ChildConfig(lifetimes=Lifetimes(reauth_time=60.0))


def test_what_is_never_rekeyed_needs_no_timer_and_no_random_octets() -> None:
    rig, _, _ = up()
    rig.run_for(100.0)
    drawn: list[int] = []
    random_of = rig.endpoint._keeper.random
    rig.endpoint._keeper.random = lambda octets: drawn.append(octets) or random_of(octets)  # type: ignore[func-returns-value]
    assert rig.run_for(1e7) == []
    assert (rig.endpoint.deadline, drawn) == (None, [])


# --- the IKE SA -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-120", "IKE-125")
@ROLES
def test_the_ike_sa_is_rekeyed_in_time(role: Role) -> None:
    rig, puppet, sa = up(role, ike=HOUR)
    start = rig.now
    assert watching(rig, puppet, 3200.0) == []
    (moment, exchange, request), *_ = watching(rig, puppet, 410.0, None)
    assert start + 3240.0 <= moment <= start + 3600.0
    assert exchange == CHILD
    assert rig.one(LifetimeReached) == LifetimeReached(sa, None, "rekey", "it is time to rekey")
    answer = grant(puppet, request)
    puppet.give(puppet.seal(CHILD, answer, message_id=puppet.requests()[-1][0].message_id, response=True))
    life = rig.endpoint._keeper.sas[sa].life
    assert rig.now + 3240.0 <= life.rekey_at <= rig.now + 3600.0, "and the time begins anew"


@pytest.mark.requirement("IKE-120")
def test_a_rekey_of_the_peer_begins_the_time_anew() -> None:
    rig, puppet, sa = up(ike=HOUR)
    rig.run_for(3000.0)
    ours = rekey(puppet)
    move(puppet, ours, puppet.request(CHILD, ours), we_initiated=True)
    rig.run_for(3200.0)
    assert rig.of(LifetimeReached) == []
    assert rig.now + 40.0 <= rig.endpoint._keeper.sas[sa].life.rekey_at


@pytest.mark.requirement("IKE-013", "IKE-309")
def test_a_peer_that_refuses_every_rekey_is_met_with_a_new_ike_sa_in_good_time() -> None:
    """Half of `over_time` before the hard limit, so that there is time left to set it up."""
    rig, puppet, sa = up(ike=HOUR)
    watching(rig, puppet, 3779.0)
    assert rig.of(SuccessorBegun) == []
    watching(rig, puppet, 2.0)
    assert rig.one(SuccessorBegun).sa == sa
    assert rig.of(LifetimeReached)[-1] == LifetimeReached(sa, None, "reauthenticate", "no rekey has succeeded")


@pytest.mark.requirement("IKE-013", "IKE-116")
def test_the_responder_begins_no_new_one() -> None:
    rig, puppet, sa = up("responder", ike=HOUR)
    watching(rig, puppet, 4000.0)
    assert rig.of(SuccessorBegun) == []
    assert rig.one(IkeSaClosed) == IkeSaClosed(sa, "its lifetime is over", "us")


@pytest.mark.requirement("IKE-013", "IKE-115", "IKE-116")
def test_a_peer_that_refuses_every_rekey_loses_the_ike_sa_at_the_hard_limit() -> None:
    rig, puppet, sa = up(ike=HOUR)
    start = rig.now
    seen = watching(rig, puppet, 4000.0)
    tries = [moment for moment, exchange, _ in seen if exchange == CHILD]
    assert 4 <= len(tries) <= 8
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert all(10.0 * 2**n <= wait <= 15.0 * 2**n for n, wait in enumerate(waits)), "they grow"
    moment, exchange, payloads = seen[-1]
    assert (moment, exchange, payloads) == (start + 3960.0, INFO, [Delete(Protocol.IKE, ())])
    assert rig.of(LifetimeReached)[-1].action == "delete"
    assert rig.one(IkeSaClosed) == IkeSaClosed(sa, "its lifetime is over", "us")
    assert rig.endpoint.deadline is None or rig.run_for(1000.0) == []


def test_the_wait_before_another_try_is_configured() -> None:
    rig, puppet, _ = up(ike=HOUR, limits=Limits(rekey_wait=100.0))
    tries = [moment for moment, exchange, _ in watching(rig, puppet, 3960.0) if exchange == CHILD]
    assert all(later - earlier >= 100.0 for earlier, later in pairwise(tries))


@pytest.mark.requirement("IKE-058")
def test_message_ids_that_come_to_their_end_rekey_the_ike_sa() -> None:
    rig, puppet, sa = up()
    window = rig.endpoint._keeper.sas[sa].current.ours
    window.next_id = NEARLY_USED_UP - 2
    for _ in range(2):
        assert rig.of(LifetimeReached) == []
        rig.endpoint.check_liveness(sa, now=rig.now)
        rig.drain()
        header, _ = puppet.requests()[-1]
        puppet.give(puppet.seal(INFO, [], message_id=header.message_id, response=True))
    (moment, exchange, _), *_ = watching(rig, puppet, 1.0, None)
    assert (moment, exchange) == (rig.now - 1.0, CHILD)
    assert rig.one(LifetimeReached).action == "rekey"


# --- its Child SAs --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-120", "IKE-125")
@ROLES
def test_a_child_sa_is_rekeyed_in_time(role: Role) -> None:
    rig, puppet, sa = up(role, child=HOUR)
    start, old = rig.now, rig.endpoint.sa(sa).children[0]
    assert watching(rig, puppet, 3200.0) == []
    (moment, exchange, request), *_ = watching(rig, puppet, 410.0, None)
    assert start + 3240.0 <= moment <= start + 3600.0
    assert exchange == CHILD
    assert request[0] == Notification(Notify.REKEY_SA, b"", Protocol.ESP, old.spi_in)
    assert rig.one(LifetimeReached) == LifetimeReached(sa, old.id, "rekey", "it is time to rekey")


@pytest.mark.requirement("IKE-115", "IKE-116")
def test_a_peer_that_refuses_every_rekey_loses_the_child_sa_at_the_hard_limit() -> None:
    rig, puppet, sa = up(child=HOUR)
    start, old = rig.now, rig.endpoint.sa(sa).children[0]
    seen = watching(rig, puppet, 4000.0)
    assert len(seen) == len(rig.of(ChildSaFailed)) + 1 >= 4
    assert seen[-1] == (start + 3960.0, INFO, [Delete(Protocol.ESP, (old.spi_in,))])
    assert rig.of(LifetimeReached)[-1] == LifetimeReached(sa, old.id, "delete", "its lifetime is over")
    closed = rig.one(ChildSaClosed)
    assert (closed.child, closed.reason, closed.by) == (old.id, "its lifetime is over", "us")
    assert rig.endpoint.sa(sa).state == "established"
    assert watching(rig, puppet, 10_000.0) == []


@pytest.mark.requirement("IKE-128")
def test_a_child_sa_that_the_peer_replaced_and_does_not_delete_goes_after_a_while() -> None:
    rig, puppet, sa = up(child=HOUR)
    old = rig.endpoint.sa(sa).children[0]
    named = Notification(Notify.REKEY_SA, b"", Protocol.ESP, puppet.spi_in)
    puppet.request(CHILD, [named, *offer(puppet, b"\1\2\3\4")])
    assert watching(rig, puppet, 239.0) == []
    ((_, _, payloads),) = watching(rig, puppet, 2.0)
    assert payloads == [Delete(Protocol.ESP, (old.spi_in,))]
    assert rig.one(ChildSaClosed).reason == "it was rekeyed"
    assert rig.of(LifetimeReached) == []
    assert len(rig.endpoint.sa(sa).children) == 1


# --- octets and packets, which the application counts ---------------------------------------------------------------


@pytest.mark.requirement("IKE-120")
def test_a_child_sa_that_carried_much_is_rekeyed_once() -> None:
    rig, puppet, sa = up()
    old = rig.endpoint.sa(sa).children[0]
    for _ in range(3):
        rig.endpoint.child_expiring(sa, old.id, now=rig.now)
    rig.drain()
    ((header, request),) = puppet.requests()[1:]
    assert request[0] == Notification(Notify.REKEY_SA, b"", Protocol.ESP, old.spi_in)
    assert any(isinstance(each, Nonce) for each in request)
    assert any(isinstance(each, SecurityAssociation) for each in request)
    puppet.give(puppet.seal(CHILD, [REFUSED], message_id=header.message_id, response=True))
    assert len(watching(rig, puppet, 1000.0)) >= 3, "refused, it is tried again"


@pytest.mark.requirement("IKE-115")
def test_a_child_sa_that_carried_too_much_is_deleted() -> None:
    rig, puppet, sa = up()
    old = rig.endpoint.sa(sa).children[0]
    rig.endpoint.child_expiring(sa, old.id, hard=True, now=rig.now)
    rig.drain()
    ((header, request),) = puppet.requests()[1:]
    assert request == [Delete(Protocol.ESP, (old.spi_in,))]
    rig.run_for(5.0)
    assert rig.one(LifetimeReached).action == "delete", "what ends is not rekeyed"
    puppet.give(
        puppet.seal(INFO, [Delete(Protocol.ESP, (puppet.spi_in,))], message_id=header.message_id, response=True)
    )
    assert rig.one(ChildSaClosed).reason == "its lifetime is over"
    rig.endpoint.child_expiring(sa, old.id, hard=True, now=rig.now)
    rig.endpoint.child_expiring(SaId(77), ChildId(1), now=rig.now)
    assert rig.drain() == [], "what is gone already is passed over"
