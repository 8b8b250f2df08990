"""Authenticating anew: a new IKE SA takes over, and only then the old one goes (RFC 7296 section 2.8.3, RFC 4478)."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from ikecore import ChildConfig, Connection, Lifetimes, Pool, parse_selector
from ikecore.errors import LocalProtocolError, SaClosed
from ikecore.events import (
    AddressesAssigned,
    ChildSaClosed,
    ChildSaEstablished,
    ChildSaFailed,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    IkeSaReauthenticated,
    InternalError,
    LifetimeReached,
    RequestCompleted,
    RequestFailed,
    Role,
    SuccessorBegun,
)
from ikecore.outputs import SaId
from ikecore.testing import Host, Pair, Udp, psk_connection
from ikecore.wire import Notification
from ikecore.wire.notify_data import encode_auth_lifetime
from ikecore.wire.numbers import Exchange, Notify
from tests.rig import Puppet, Rig

NEVER = Lifetimes()
HOURLY = Lifetimes(reauth_time=3600.0)


def side(role: Role, lifetimes: Lifetimes = NEVER, children: int = 1, **more: Any) -> Connection:
    """One side with so many children, each with selectors of its own."""
    made = []
    for number in range(children):
        ours, theirs = (
            parse_selector(f"10.{net}.{number}.0/24") for net in ((1, 2) if role == "initiator" else (2, 1))
        )
        made.append(ChildConfig(name=f"net-{number}", local_ts=(ours,), remote_ts=(theirs,), lifetimes=NEVER))
    return psk_connection(role, lifetimes=lifetimes, children=made, **more)


def only(host: Host) -> IkeSaEstablished:
    """The one SA that *host* has."""
    (sa,) = host.endpoint.sas
    return next(event for event in host.of(IkeSaEstablished) if event.sa == sa)


@pytest.mark.requirement("IKE-134", "IKE-303")
@pytest.mark.parametrize("pool", ["10.3.0.0/24", "10.3.0.5-10.3.0.5"])
def test_the_new_sa_has_the_addresses_of_the_old_one(pool: str) -> None:
    """It got others, or none where the pool was at its end, and the Child SA was gone for as long as the SA lived."""
    child = ChildConfig(name="net", remote_ts=(parse_selector("10.1.0.0/16"),))
    initiator = psk_connection(
        "initiator", lifetimes=HOURLY, virtual_addresses=("0.0.0.0",), children=[child], dpd_action="restart"
    )
    office = Pool(name="office", addresses=(pool,))
    gateway = psk_connection(
        "responder", pools=(office,), children=[ChildConfig(local_ts=(parse_selector("10.1.0.0/16"),))]
    )
    pair = Pair(initiator, gateway)
    pair.establish()
    pair.run_for(5 * 3700.0)
    assert len(pair.initiator.of(IkeSaReauthenticated)) >= 4
    addresses = [event.lease.addresses for event in pair.initiator.of(AddressesAssigned)]
    assert addresses == addresses[:1] * len(addresses)
    assert pair.initiator.of(ChildSaFailed) == []
    for host in (pair.initiator, pair.responder):
        assert len(host.endpoint.sa(only(host).sa).children) == 1


@pytest.mark.requirement("IKE-134")
def test_the_new_sa_is_up_before_the_old_one_goes() -> None:
    pair = Pair(side("initiator", HOURLY), side("responder"))
    mine, theirs = pair.establish()
    pair.run_for(3700.0)
    begun, done = pair.initiator.one(SuccessorBegun), pair.initiator.one(IkeSaReauthenticated)
    assert (begun.sa, begun.successor) == (done.sa, done.successor) == (mine, only(pair.initiator).sa)
    assert pair.initiator.of(LifetimeReached)[0].action == "reauthenticate"
    events = pair.initiator.events
    new_child = next(each for each in events if isinstance(each, ChildSaEstablished) and each.sa == done.successor)
    old_child = next(each for each in events if isinstance(each, ChildSaClosed))
    assert events.index(new_child) < events.index(done) < events.index(old_child)
    closed = pair.initiator.one(IkeSaClosed)
    assert (closed.sa, closed.reason, closed.by) == (mine, "the peers authenticated anew", "us")
    assert pair.responder.one(IkeSaClosed).sa == theirs
    assert pair.initiator.endpoint.sa(done.successor).children[0].spi_in == only_child_of(pair.responder)


def only_child_of(host: Host) -> bytes:
    (child,) = host.endpoint.sa(only(host).sa).children
    return child.spi_out


@pytest.mark.requirement("IKE-134")
def test_every_child_sa_goes_over() -> None:
    pair = Pair(side("initiator", HOURLY, children=3), side("responder", children=3))
    mine, _ = pair.establish()
    for name in ("net-2", "net-1", "net-2"):
        pair.initiator.call(pair.initiator.endpoint.create_child, mine, name)
        pair.run_for(5.0)
    first = pair.initiator.endpoint.sa(mine).children[0].id
    pair.initiator.call(pair.initiator.endpoint.delete, mine, child=first)
    pair.run_for(3700.0)
    after = pair.initiator.endpoint.sa(only(pair.initiator).sa)
    assert [child.name for child in after.children] == ["net-2", "net-1", "net-2"]
    assert len(pair.responder.endpoint.sa(only(pair.responder).sa).children) == 3
    order = [
        type(each) for each in pair.initiator.events if isinstance(each, ChildSaEstablished | IkeSaReauthenticated)
    ]
    assert order[-1] is IkeSaReauthenticated, "the old one goes when all is there"


@pytest.mark.parametrize("seed", range(3))
def test_a_day_of_it_on_a_network_that_loses_packets(seed: int) -> None:
    times = Lifetimes(rekey_time=1800.0, reauth_time=3600.0)
    pair = Pair(side("initiator", times, 2), side("responder", NEVER, 2), udp=Udp(loss=0.1), seed=seed)
    mine, _ = pair.establish()
    pair.initiator.call(pair.initiator.endpoint.create_child, mine, "net-1")
    for _ in range(24):
        pair.run_for(3600.0)
        assert 1 <= len(pair.initiator.endpoint.sas) <= 2
    assert len(pair.initiator.of(IkeSaReauthenticated)) >= 23
    pair.run_for(100.0)
    ours, theirs = (host.endpoint.sa(only(host).sa) for host in (pair.initiator, pair.responder))
    assert ours.export_keys() == theirs.export_keys()
    assert [child.name for child in ours.children] == ["net-0", "net-1"]
    for host in (pair.initiator, pair.responder):
        assert host.of(InternalError) == []
        assert {each.reason for each in host.of(IkeSaClosed)} <= {"the peers authenticated anew", "the peer deleted it"}


def test_one_that_fails_is_tried_again_and_the_old_sa_lives_to_its_limit() -> None:
    pair = Pair(side("initiator", HOURLY), side("responder"))
    mine, _ = pair.establish()
    pair.run_for(3000.0)
    pair.responder.endpoint._endpoint._keeper.closing = True  # it takes no new SAs, and answers on the old one
    pair.run_for(955.0)
    assert pair.initiator.endpoint.sa(mine).state == "established"
    assert len(pair.initiator.of(IkeSaFailed)) >= 1
    pair.run_for(10.0)
    closed = pair.initiator.one(IkeSaClosed)
    assert (closed.sa, closed.reason) == (mine, "its lifetime is over")
    pair.run_for(1000.0)
    assert pair.initiator.endpoint.sas == ()
    assert pair.initiator.endpoint.deadline is None


@pytest.mark.requirement("IKE-013", "IKE-116", "IKE-309")
def test_a_peer_that_never_lets_us_rekey_gets_a_new_ike_sa_instead() -> None:
    """A minimal implementation refuses every CREATE_CHILD_SA; here it takes no part in the exchange at all."""
    pair = Pair(side("initiator", Lifetimes(rekey_time=3600.0)), side("responder"))
    mine, _ = pair.establish()
    sleeper = pair.initiator.endpoint._endpoint._keeper.sas[mine]
    sleeper.life.tries = 6
    sleeper.life.rekey_at = 3780.0 + pair.now
    pair.run_for(3900.0)
    assert pair.initiator.one(IkeSaReauthenticated).sa == mine
    assert pair.initiator.one(LifetimeReached).reason == "no rekey has succeeded"
    assert only(pair.initiator).sa != mine


# --- the responder's word -------------------------------------------------------------------------------------------


def test_the_initiator_obeys_the_responder_that_wants_it_shown_anew() -> None:
    pair = Pair(side("initiator"), side("responder", HOURLY))
    mine, _ = pair.establish()
    pair.run_for(2800.0)
    assert pair.initiator.of(SuccessorBegun) == []
    pair.run_for(500.0)
    assert pair.initiator.one(IkeSaReauthenticated).sa == mine
    assert pair.responder.of(LifetimeReached) == [], "the responder has nothing to do"
    pair.run_for(20_000.0)
    assert len(pair.initiator.of(IkeSaReauthenticated)) >= 5
    assert pair.initiator.of(IkeSaFailed) == []


def test_a_responder_that_is_not_obeyed_deletes_the_sa() -> None:
    rig = Rig(psk_connection("responder", lifetimes=HOURLY))
    puppet = Puppet(rig)
    puppet.begin()
    said = [each for each in puppet.authenticate() if isinstance(each, Notification)]
    assert Notification(Notify.AUTH_LIFETIME, encode_auth_lifetime(3600)) in said
    rig.run_for(3955.0)
    assert puppet.requests() == []
    rig.run_for(10.0)
    assert rig.one(LifetimeReached).action == "delete"
    ((header, _), *_) = puppet.requests()
    puppet.give(puppet.seal(Exchange.INFORMATIONAL, [], message_id=header.message_id, response=True))
    assert rig.one(IkeSaClosed).reason == "its lifetime is over"


@pytest.mark.parametrize(("seconds", "least", "most"), [(1000, 800.0, 900.0), (0, 10.0, 10.0), (2**32 - 1, 3e9, 4e9)])
def test_the_responder_may_say_it_later(seconds: int, least: float, most: float) -> None:
    rig = Rig()
    puppet = Puppet(rig, "responder")
    sa = puppet.establish()
    puppet.request(Exchange.INFORMATIONAL, [Notification(Notify.AUTH_LIFETIME, encode_auth_lifetime(seconds))])
    life = rig.endpoint._keeper.sas[sa].life
    assert rig.now + least <= life.reauth_at <= rig.now + most
    assert rig.endpoint.deadline == min(life.reauth_at, rig.now + rig.endpoint._keeper.limits.response_lifetime)


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\0\0\0\0\1"])
def test_a_bad_one_is_ignored(data: bytes) -> None:
    rig = Rig()
    puppet = Puppet(rig, "responder")
    sa = puppet.establish()
    assert puppet.request(Exchange.INFORMATIONAL, [Notification(Notify.AUTH_LIFETIME, data)]) == []
    assert rig.endpoint._keeper.sas[sa].life.next == inf


def test_the_initiator_of_the_sa_has_no_say_in_it() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.establish()
    puppet.request(Exchange.INFORMATIONAL, [Notification(Notify.AUTH_LIFETIME, encode_auth_lifetime(60))])
    rig.run_for(100.0)
    assert rig.of(SuccessorBegun, LifetimeReached) == []


# --- what comes up, or goes, meanwhile --------------------------------------------------------------------------------

EXACT = Lifetimes(reauth_time=3600.0, rand_time=0.0)
ROUND = 0.02
"""Seconds until the answer is there. IKE_SA_INIT and IKE_AUTH are two, each further Child SA that goes over is one."""
MOMENTS = [pytest.param(part * ROUND / 4 + 0.001, id=f"{part}/4") for part in range(-2, 20)]
"""From a round trip before a reauthentication to its end, with three Child SAs, and beyond."""


def three(moment: float, **more: Any) -> tuple[Pair, SaId, SaId]:
    """Two sides with three Child SAs, so many seconds after they have begun to authenticate anew; and both handles."""
    pair = Pair(side("initiator", EXACT, 5, **more), side("responder", NEVER, 5))
    mine, theirs = pair.establish()
    for name in ("net-1", "net-2"):
        pair.initiator.call(pair.initiator.endpoint.create_child, mine, name)
        pair.run_for(1.0)
    begins = pair.initiator.endpoint._endpoint._keeper.sas[mine].life.reauth_at
    pair.run_for(begins + moment - pair.now)
    assert bool(pair.initiator.of(SuccessorBegun)) is (moment > 0)
    return pair, mine, theirs


def names(host: Host) -> list[str]:
    """The Child SAs of the one SA that *host* has, in the order of their names."""
    return sorted(child.name for child in host.endpoint.sa(only(host).sa).children)


def both(pair: Pair) -> list[str]:
    """The same of both sides, which agree."""
    assert names(pair.initiator) == names(pair.responder)
    return names(pair.initiator)


@pytest.mark.requirement("IKE-134")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_child_sa_asked_for_at_any_moment_is_there_in_the_end(moment: float) -> None:
    """Unless the new SA has taken over already, which was told; then the wish fails, and tells it as well."""
    pair, mine, _ = three(moment)
    told = bool(pair.initiator.of(IkeSaReauthenticated))
    assert told is (moment > 4 * ROUND)
    if mine not in pair.initiator.endpoint.sas:
        assert told
        return
    try:
        pair.initiator.call(pair.initiator.endpoint.create_child, mine, "net-3")
    except LocalProtocolError:
        assert told
        return
    pair.run_for(30.0)
    assert not told
    assert pair.initiator.of(RequestCompleted)[-1].sa == mine
    assert pair.initiator.of(RequestFailed) == []
    assert both(pair) == ["net-0", "net-1", "net-2", "net-3"]
    assert pair.initiator.one(IkeSaReauthenticated).sa == mine
    assert [each.name for each in pair.initiator.of(ChildSaEstablished)].count("net-3") == 2, "once more, not twice"


@pytest.mark.requirement("IKE-134")
@pytest.mark.parametrize("moment", MOMENTS)
def test_one_that_the_peer_makes_is_there_as_well(moment: float) -> None:
    pair, _, theirs = three(moment)
    try:
        pair.responder.call(pair.responder.endpoint.create_child, theirs, "net-3")
    except LocalProtocolError:
        assert pair.initiator.of(IkeSaReauthenticated)
        return
    pair.run_for(30.0)
    there = ["net-3"] if pair.responder.of(RequestCompleted) else []
    assert there or isinstance(pair.responder.one(RequestFailed).error, SaClosed)
    assert both(pair) == ["net-0", "net-1", "net-2", *there]


@pytest.mark.parametrize("moment", MOMENTS[3:])
def test_what_an_sa_had_that_the_peer_deletes_too_soon_goes_over_all_the_same(moment: float) -> None:
    """It may have its own idea of when the new one has replaced it."""
    pair, mine, theirs = three(moment)
    if theirs not in pair.responder.endpoint.sas:
        return
    pair.responder.call(pair.responder.endpoint.abandon, theirs)
    pair.run_for(30.0)
    assert pair.initiator.one(IkeSaClosed).sa == mine
    assert both(pair) == ["net-0", "net-1", "net-2"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_rekey_meanwhile_costs_nothing_and_adds_nothing(moment: float) -> None:
    """The one that IKE_AUTH set up is not the first on the list any more once its like on the old SA is rekeyed."""
    pair, mine, _ = three(moment)
    if pair.initiator.of(IkeSaReauthenticated):
        return
    first = pair.initiator.endpoint.sa(mine).children[0]
    pair.initiator.call(pair.initiator.endpoint.rekey, mine, child=first.id)
    pair.run_for(30.0)
    assert both(pair) == ["net-0", "net-1", "net-2"]


def test_one_without_child_sas_that_gets_one_meanwhile() -> None:
    pair, mine, _ = three(-1.0)
    for child in pair.initiator.endpoint.sa(mine).children:
        pair.initiator.call(pair.initiator.endpoint.delete, mine, child=child.id)
    pair.run_for(1.001)
    assert pair.initiator.endpoint.sa(mine).children == ()
    pair.initiator.call(pair.initiator.endpoint.create_child, mine, "net-4")
    pair.run_for(30.0)
    assert both(pair) == ["net-0", "net-4"], "the first that is configured comes with IKE_AUTH"


def test_one_that_the_peer_cannot_take_yet_is_waited_for() -> None:
    pair, mine, theirs = three(0.001)
    pair.responder.call(pair.responder.endpoint.rekey, theirs)
    pair.initiator.call(pair.initiator.endpoint.create_child, mine, "net-3")
    pair.run_for(4.0)
    assert pair.initiator.of(IkeSaReauthenticated) == []
    assert len(pair.initiator.endpoint.sas) == 2
    pair.run_for(30.0)
    assert pair.initiator.one(IkeSaReauthenticated).sa == mine
    assert both(pair) == ["net-0", "net-1", "net-2", "net-3"]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("moment", MOMENTS)
def test_one_that_the_application_deletes_does_not_come_back(moment: float, which: int) -> None:
    """Not even the one that IKE_AUTH has brought along already. After the new SA has taken over, it is that one's."""
    pair, mine, _ = three(moment)
    if pair.initiator.of(IkeSaReauthenticated):
        return
    child = pair.initiator.endpoint.sa(mine).children[which]
    wish = pair.initiator.call(pair.initiator.endpoint.delete, mine, child=child.id)
    pair.run_for(30.0)
    assert [each.request for each in pair.initiator.of(RequestCompleted)].count(wish) == 1
    assert pair.initiator.one(IkeSaReauthenticated).sa == mine
    assert both(pair) == sorted({"net-0", "net-1", "net-2"} - {child.name})


@pytest.mark.parametrize("how", ["delete", "abandon"])
@pytest.mark.parametrize("moment", MOMENTS[3:])
def test_what_the_application_deletes_with_the_old_sa_does_not_live_on(moment: float, how: str) -> None:
    pair, mine, _ = three(moment)
    if mine not in pair.initiator.endpoint.sas:
        return
    begun = 1 + (moment > 2 * ROUND) + (moment > 3 * ROUND)
    pair.initiator.call(getattr(pair.initiator.endpoint, how), mine)
    pair.run_for(30.0)
    assert both(pair) == ["net-0", "net-1", "net-2"][:begun]
