"""Configuration payloads: addresses asked for and granted, in both roles (RFC 7296 sections 2.19, 2.20, 3.15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.addressing import Lease, Pool
from ikecore.config import ChildConfig, Connection
from ikecore.errors import ChildSaNotFound, FailedCpRequired, InternalAddressFailure, LocalProtocolError, TsUnacceptable
from ikecore.events import AddressesAssigned, ChildSaEstablished, ChildSaFailed, IkeSaEstablished
from ikecore.limits import Limits
from ikecore.outputs import SaId
from ikecore.questions import AcceptanceNeeded, AuthorizationNeeded, LeaseNeeded, QuestionClosed
from ikecore.sa.selectors import parse_selector
from ikecore.testing import Pair, psk_connection
from ikecore.wire import (
    Configuration,
    ConfigurationAttribute,
    Delete,
    Nonce,
    Notification,
    Payload,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
)
from ikecore.wire.numbers import CfgAttribute, CfgType, Exchange, Notify, Protocol
from tests.rig import THERE, Puppet, Rig, esp_proposals, notifications

A = CfgAttribute
ANY4, ANY6 = parse_selector("0.0.0.0/0"), parse_selector("::/0")
NET = parse_selector("10.1.0.0/16")
POOL = Pool(
    name="office",
    addresses=("10.3.0.0/29", "2001:db8:3::/64"),
    dns=("10.1.0.53", "2001:db8:1::53"),
    nbns=("10.1.0.54",),
    dhcp=("10.1.0.55", "2001:db8:1::55"),
    subnets=("10.1.0.0/16", "2001:db8:1::/48"),
    domains=("office.example",),
    netmask="255.255.255.0",
    attributes=((A.P_CSCF_IP4_ADDRESS, bytes((10, 1, 0, 99))),),
)
CHILD = ChildConfig(local_ts=(NET,))


def asks(*wanted: int | tuple[int, bytes]) -> Configuration:
    """A CFG_REQUEST for attributes by number, with a value if it is a pair."""
    items = [ConfigurationAttribute(*((each, b"") if isinstance(each, int) else each)) for each in wanted]
    return Configuration(CfgType.CFG_REQUEST, tuple(items))


def replies(*told: tuple[int, bytes]) -> Configuration:
    return Configuration(CfgType.CFG_REPLY, tuple(ConfigurationAttribute(*each) for each in told))


IP4 = asks(A.INTERNAL_IP4_ADDRESS)


def gateway(limits: Limits | None = None, **more: Any) -> Rig:
    more = {"pools": (POOL,), "children": (CHILD,), **more}
    return Rig(psk_connection("responder", **more), limits=limits)


def client(rig: Rig, seed: int = 1, host: str = THERE[0]) -> Puppet:
    puppet = Puppet(rig, seed=seed, address=(host, THERE[1]))
    puppet.begin()
    return puppet


def auth_with(puppet: Puppet, *extra: Payload, child: bool = True, ts_i: Sequence[Any] = (ANY4, ANY6)) -> list[Payload]:
    """IKE_AUTH with *extra* before the SA payload, and selectors for any address."""
    payloads = puppet.auth(child)
    if child:
        kinds = (TrafficSelectorsInitiator, TrafficSelectorsResponder)
        payloads = [each for each in payloads if not isinstance(each, kinds)]
        payloads += [TrafficSelectorsInitiator(tuple(ts_i)), TrafficSelectorsResponder((ANY4,))]
    return [*payloads[:2], *extra, *payloads[2:]]


def authenticate(puppet: Puppet, *extra: Payload, **how: Any) -> list[Payload]:
    return puppet.request(Exchange.IKE_AUTH, auth_with(puppet, *extra, **how))


def only(answer: Sequence[Payload]) -> dict[int, list[bytes]]:
    """The attributes of the one CFG_REPLY of an answer."""
    (reply,) = [each for each in answer if isinstance(each, Configuration)]
    assert reply.cfg_type == CfgType.CFG_REPLY
    found: dict[int, list[bytes]] = {}
    for attribute in reply.attributes:
        found.setdefault(attribute.type, []).append(attribute.value)
    return found


# --- both sides together --------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-180", "IKE-181")
def test_an_address_is_assigned_and_becomes_the_selector() -> None:
    initiator = psk_connection(
        "initiator",
        virtual_addresses=("0.0.0.0", "::"),
        children=(ChildConfig(remote_ts=(NET,)),),
        requested_attributes=(A.INTERNAL_IP4_DNS, A.INTERNAL_IP4_SUBNET, A.INTERNAL_DNS_DOMAIN, A.P_CSCF_IP4_ADDRESS),
    )
    pair = Pair(initiator, psk_connection("responder", pools=(POOL,), children=(CHILD,)))
    mine, theirs = pair.establish()
    pair.run()
    for host, sa, to_peer in ((pair.initiator, mine, False), (pair.responder, theirs, True)):
        events = [each for each in host.events if isinstance(each, AddressesAssigned | ChildSaEstablished)]
        assert [type(each) for each in events] == [AddressesAssigned, ChildSaEstablished]
        assigned, child = events
        assert isinstance(assigned, AddressesAssigned)
        assert isinstance(child, ChildSaEstablished)
        assert assigned.to_peer is to_peer
        assert assigned.lease.addresses == ("10.3.0.1", "2001:db8:3::1")
        assert (child.remote_ts if to_peer else child.local_ts) == ("10.3.0.1", "2001:db8:3::1")
        assert (child.local_ts if to_peer else child.remote_ts) == ("10.1.0.0/16",)
        view = host.endpoint.sa(sa)
        assert (view.granted if to_peer else view.assigned) == assigned.lease
        assert (view.assigned if to_peer else view.granted) is None
    lease = pair.initiator.endpoint.sa(mine).assigned
    assert lease == Lease(
        addresses=("10.3.0.1", "2001:db8:3::1"),
        prefix_length=64,
        dns=("10.1.0.53",),
        subnets=("10.1.0.0/16",),
        domains=("office.example",),
        attributes=((A.P_CSCF_IP4_ADDRESS, bytes((10, 1, 0, 99))),),
    )


def test_an_event_tells_the_lease_in_json() -> None:
    event = AddressesAssigned(SaId(1), Lease(addresses=("10.3.0.1",), attributes=((20, b"\1"),)), True)
    told = event.to_dict()
    assert told["lease"]["addresses"] == ["10.3.0.1"]
    assert told["lease"]["attributes"] == [[20, "01"]]


def connected(pair: Pair) -> tuple[SaId, SaId]:
    mine, theirs = pair.establish()
    pair.run()
    return mine, theirs


def assigned_of(pair: Pair) -> list[tuple[str, ...]]:
    return [event.lease.addresses for event in pair.responder.of(AddressesAssigned)]


def test_who_comes_back_gets_the_same_address() -> None:
    pair = Pair(psk_connection("initiator", virtual_addresses=("0.0.0.0",)), psk_connection("responder", pools=(POOL,)))
    mine, _ = connected(pair)
    pair.initiator.call(pair.initiator.endpoint.delete, mine)
    pair.run()
    connected(pair)
    connected(pair)
    assert assigned_of(pair) == [("10.3.0.1",), ("10.3.0.1",), ("10.3.0.2",)]


def test_a_lease_survives_a_rekey_and_ends_with_the_sa() -> None:
    pair = Pair(
        psk_connection("initiator", virtual_addresses=("0.0.0.0",), children=(ChildConfig(remote_ts=(NET,)),)),
        psk_connection("responder", pools=(POOL,), children=(CHILD,)),
        checked=False,
    )
    mine, theirs = connected(pair)
    pair.initiator.call(pair.initiator.endpoint.rekey, mine)
    pair.run()
    for child in [each.id for each in pair.initiator.endpoint.sa(mine).children]:
        pair.initiator.call(pair.initiator.endpoint.rekey, mine, child=child)
        pair.run()
    last = pair.responder.of(ChildSaEstablished)[-1]
    assert last.replaces is not None
    assert last.remote_ts == ("10.3.0.1",)
    assert pair.responder.endpoint.sa(theirs).granted == pair.responder.of(AddressesAssigned)[0].lease
    assert len(pair.responder.of(AddressesAssigned)) == len(pair.initiator.of(AddressesAssigned)) == 1
    assert len(gateway_leases(pair)) == 1
    pair.responder.call(pair.responder.endpoint.abandon, theirs)
    assert len(gateway_leases(pair)) == 0


def gateway_leases(pair: Pair) -> Any:
    endpoint = pair.responder.endpoint
    return getattr(endpoint, "endpoint", endpoint)._keeper.leases  # the table itself: no two SAs can share a row


# --- the side that grants ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-297", "IKE-299")
def test_what_is_asked_for_is_told_and_no_more() -> None:
    answer = authenticate(
        client(gateway()),
        asks(
            A.INTERNAL_IP4_ADDRESS,
            A.INTERNAL_IP4_NETMASK,
            A.INTERNAL_IP4_DNS,
            A.INTERNAL_IP6_DNS,
            A.INTERNAL_IP4_NBNS,
            A.INTERNAL_IP4_DHCP,
            A.INTERNAL_IP6_DHCP,
            A.INTERNAL_IP4_SUBNET,
            A.INTERNAL_IP6_SUBNET,
            A.INTERNAL_DNS_DOMAIN,
            A.P_CSCF_IP4_ADDRESS,
            A.MIP6_HOME_PREFIX,
            0x7ABC,
        ),
    )
    assert only(answer) == {
        A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 1))],
        A.INTERNAL_IP4_NETMASK: [bytes((255, 255, 255, 0))],
        A.INTERNAL_IP4_DNS: [bytes((10, 1, 0, 53))],
        A.INTERNAL_IP6_DNS: [bytes.fromhex("20010db8000100000000000000000053")],
        A.INTERNAL_IP4_NBNS: [bytes((10, 1, 0, 54))],
        A.INTERNAL_IP4_DHCP: [bytes((10, 1, 0, 55))],
        A.INTERNAL_IP6_DHCP: [bytes.fromhex("20010db8000100000000000000000055")],
        A.INTERNAL_IP4_SUBNET: [bytes((10, 1, 0, 0, 255, 255, 0, 0))],
        A.INTERNAL_IP6_SUBNET: [bytes.fromhex("20010db800010000000000000000000030")],
        A.INTERNAL_DNS_DOMAIN: [b"office.example"],
        A.P_CSCF_IP4_ADDRESS: [bytes((10, 1, 0, 99))],
    }
    names = [type(each).__name__ for each in answer]
    assert names.index("Configuration") < names.index("SecurityAssociation")
    assert only(authenticate(client(gateway()), IP4)) == {A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 1))]}


@pytest.mark.requirement("IKE-297", "IKE-299")
def test_not_more_addresses_than_asked_for_and_no_netmask_without_one() -> None:
    found = only(authenticate(client(gateway()), asks(A.INTERNAL_IP6_ADDRESS, A.INTERNAL_IP4_NETMASK)))
    assert found == {A.INTERNAL_IP6_ADDRESS: [bytes.fromhex("20010db800030000000000000000000140")]}


@pytest.mark.requirement("IKE-299")
@pytest.mark.parametrize("full", [False, True])
def test_a_part_of_what_is_asked_for_is_granted(full: bool) -> None:
    rig = gateway(pools=(Pool(name="one", addresses=("10.3.0.1-10.3.0.2",)),))
    if full:
        authenticate(client(rig, seed=7), IP4)
    answer = authenticate(client(rig), asks(*[A.INTERNAL_IP4_ADDRESS] * 3, A.INTERNAL_IP6_ADDRESS))
    assert len(only(answer)[A.INTERNAL_IP4_ADDRESS]) == (1 if full else 2)
    assert rig.last(ChildSaEstablished).remote_ts == (("10.3.0.2",) if full else ("10.3.0.1", "10.3.0.2"))


@pytest.mark.requirement("IKE-009", "IKE-299", "IKE-303")
@pytest.mark.parametrize("wanted", [A.INTERNAL_IP4_ADDRESS, A.INTERNAL_IP6_ADDRESS])
def test_without_an_address_there_is_no_child_but_an_ike_sa(wanted: int) -> None:
    rig = gateway(pools=(Pool(name="one", addresses=("10.3.0.1",)),))
    authenticate(client(rig, seed=7), IP4)
    answer = authenticate(client(rig), asks(wanted))
    assert notifications(answer) == [Notify.INTERNAL_ADDRESS_FAILURE]
    assert not any(isinstance(each, Configuration | SecurityAssociation) for each in answer)
    assert isinstance(rig.one(ChildSaFailed).error, InternalAddressFailure)
    assert len(rig.of(IkeSaEstablished)) == 2
    assert rig.endpoint.sa(rig.endpoint.sas[-1]).children == ()


@pytest.mark.requirement("IKE-182")
def test_nobody_who_does_not_ask_is_answered() -> None:
    rig = gateway()
    answer = authenticate(client(rig), ts_i=(parse_selector("10.0.0.1"),))
    assert not any(isinstance(each, Configuration) for each in answer)
    assert rig.one(ChildSaEstablished).remote_ts == ("10.0.0.1",)
    assert not rig.of(AddressesAssigned)
    other = gateway(pools=())
    assert not any(isinstance(each, Configuration) for each in authenticate(client(other), IP4))
    assert other.one(ChildSaEstablished).remote_ts == ("10.0.0.1",)


@pytest.mark.requirement("IKE-009", "IKE-183")
@pytest.mark.parametrize("asked", [[], [asks(A.INTERNAL_IP4_DNS)]])
def test_an_address_can_be_required(asked: list[Payload]) -> None:
    rig = gateway(addresses_required=True)
    answer = authenticate(client(rig), *asked)
    assert notifications(answer) == [Notify.FAILED_CP_REQUIRED]
    assert isinstance(rig.one(ChildSaFailed).error, FailedCpRequired)
    rig.one(IkeSaEstablished)


def test_a_peer_may_ask_later_for_what_it_should_have_asked_for() -> None:
    rig = gateway(addresses_required=True)
    puppet = client(rig)
    authenticate(puppet)
    answer = puppet.request(Exchange.INFORMATIONAL, [IP4])
    assert only(answer) == {A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 1))]}
    again = puppet.request(Exchange.INFORMATIONAL, [asks(A.INTERNAL_IP4_ADDRESS, A.INTERNAL_IP4_ADDRESS)])
    assert only(again) == only(answer)
    assert rig.one(AddressesAssigned).lease.addresses == ("10.3.0.1",)


def test_an_empty_pool_is_told_in_informational_too() -> None:
    rig = gateway(pools=(Pool(name="one", addresses=("10.3.0.1",)),))
    authenticate(client(rig, seed=7), IP4)
    puppet = client(rig)
    authenticate(puppet, ts_i=(parse_selector("10.0.0.1"),))
    assert notifications(puppet.request(Exchange.INFORMATIONAL, [IP4])) == [Notify.INTERNAL_ADDRESS_FAILURE]


def test_an_address_can_be_wanted() -> None:
    rig = gateway()
    assert only(authenticate(client(rig), asks((A.INTERNAL_IP4_ADDRESS, bytes((10, 3, 0, 5)))))) == {
        A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 5))]
    }
    wanted = bytes.fromhex("fe80000000000000000000000000beef")
    answer = authenticate(client(rig, seed=2), asks((A.INTERNAL_IP6_ADDRESS, wanted + b"\x40")))
    assert only(answer)[A.INTERNAL_IP6_ADDRESS] == [bytes.fromhex("20010db800030000000000000000beef40")]


def test_an_address_is_only_kept_for_a_child() -> None:
    rig = gateway(pools=(Pool(name="one", addresses=("10.3.0.1",)),))
    answer = authenticate(client(rig, seed=7), IP4, ts_i=(parse_selector("192.0.2.1"),))
    assert notifications(answer) == [Notify.TS_UNACCEPTABLE]
    assert not rig.of(AddressesAssigned)
    assert only(authenticate(client(rig), IP4))


def test_a_childless_sa_may_have_an_address() -> None:
    rig = gateway()
    assert only(authenticate(client(rig), IP4, child=False))
    assert rig.one(AddressesAssigned).lease.addresses == ("10.3.0.1",)


def test_one_peer_cannot_take_a_whole_pool() -> None:
    rig = gateway(limits=Limits(addresses_per_sa=2))
    answer = authenticate(client(rig), asks(*[A.INTERNAL_IP4_ADDRESS] * 5))
    assert len(only(answer)[A.INTERNAL_IP4_ADDRESS]) == 2


@pytest.mark.requirement("IKE-009", "IKE-299", "IKE-303")
@pytest.mark.parametrize("unique", ["never", "no"])
def test_one_identity_cannot_empty_a_pool_with_sa_after_sa(unique: str) -> None:
    rig = gateway(limits=Limits(addresses_per_identity=3), unique=unique)
    for seed, count in ((2, 2), (3, 1)):  # the last one gets a part of what it asks for
        answer = authenticate(client(rig, seed), asks(A.INTERNAL_IP4_ADDRESS, A.INTERNAL_IP4_ADDRESS))
        assert len(only(answer)[A.INTERNAL_IP4_ADDRESS]) == count
    one_too_many = client(rig, seed=4)
    answer = authenticate(one_too_many, IP4)
    assert notifications(answer) == [Notify.INTERNAL_ADDRESS_FAILURE]
    assert not any(isinstance(each, Configuration | SecurityAssociation) for each in answer)
    error = rig.one(ChildSaFailed).error
    assert str(error) == "fqdn:initiator.example has as many addresses as one identity may lease at once (3)"
    assert len(rig.of(IkeSaEstablished)) == 3
    assert rig.endpoint.sa(rig.endpoint.sas[-1]).children == ()
    rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    assert only(one_too_many.request(Exchange.INFORMATIONAL, [IP4])) == {A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 2))]}


@pytest.mark.requirement("IKE-296", "IKE-302")
def test_attribute_5_and_unknown_ones_are_ignored() -> None:
    answer = authenticate(client(gateway()), asks((5, bytes(4)), A.INTERNAL_IP4_ADDRESS, (0x7000, b"what")))
    assert only(answer) == {A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 1))]}


@pytest.mark.requirement("IKE-184")
@pytest.mark.parametrize("told", ["", "ikecore in a test"])
def test_our_version_is_what_configuration_says(told: str) -> None:
    rig = gateway(application_version=told)
    puppet = client(rig)
    authenticate(puppet)
    assert only(puppet.request(Exchange.INFORMATIONAL, [asks(A.APPLICATION_VERSION)])) == {
        A.APPLICATION_VERSION: [told.encode()]
    }


@pytest.mark.requirement("IKE-298")
def test_supported_attributes_are_listed() -> None:
    puppet = client(gateway())
    authenticate(puppet)
    (value,) = only(puppet.request(Exchange.INFORMATIONAL, [asks(A.SUPPORTED_ATTRIBUTES)]))[A.SUPPORTED_ATTRIBUTES]
    numbers = [int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value), 2)]
    assert {A.INTERNAL_IP4_ADDRESS, A.INTERNAL_IP6_ADDRESS, A.INTERNAL_IP4_DNS, A.SUPPORTED_ATTRIBUTES} <= set(numbers)
    assert numbers == sorted(set(numbers))


@pytest.mark.requirement("IKE-301")
@pytest.mark.parametrize("kind", [CfgType.CFG_SET, CfgType.CFG_REPLY, CfgType.CFG_ACK, 77])
def test_a_set_is_acknowledged_with_nothing_and_an_answer_to_nothing_ignored(kind: int) -> None:
    rig = gateway()
    puppet = client(rig)
    authenticate(puppet, Configuration(kind, (ConfigurationAttribute(A.INTERNAL_IP4_ADDRESS, bytes((10, 9, 9, 9))),)))
    before = rig.picture()
    answer = puppet.request(
        Exchange.INFORMATIONAL, [Configuration(kind, (ConfigurationAttribute(A.INTERNAL_IP4_DNS, bytes(4)),))]
    )
    assert answer == ([Configuration(CfgType.CFG_ACK)] if kind == CfgType.CFG_SET else [])
    assert rig.picture() == before


# --- the application of the side that grants --------------------------------------------------------------------------


def asking(**more: Any) -> tuple[Rig, Puppet, LeaseNeeded]:
    rig = gateway(ask_lease=True, **more)
    puppet = client(rig)
    assert puppet.give(puppet.seal(Exchange.IKE_AUTH, auth_with(puppet, asks(1, 8, 3, 0x7ABC)))) == []
    return rig, puppet, rig.one(LeaseNeeded)


def answered(rig: Rig, puppet: Puppet, question: LeaseNeeded, lease: Lease | None) -> list[Payload]:
    rig.endpoint.answer(question.question, lease, now=rig.now)
    (data,) = puppet.taken(rig.drain())
    return puppet.open(data)[1]


def test_the_application_can_choose_the_lease() -> None:
    rig, puppet, question = asking(pools=())
    assert question.peer_identity == "fqdn:initiator.example"
    assert question.addresses == ("0.0.0.0", "::")
    assert question.attributes == ("INTERNAL_IP4_DNS", "31420")
    assert not rig.of(IkeSaEstablished)
    lease = Lease(addresses=("192.0.2.7", "192.0.2.8"), dns=("192.0.2.53",), domains=("never.asked",))
    assert only(answered(rig, puppet, question, lease)) == {
        A.INTERNAL_IP4_ADDRESS: [bytes((192, 0, 2, 7))],  # one was asked for
        A.INTERNAL_IP4_DNS: [bytes((192, 0, 2, 53))],
    }
    assert rig.one(AddressesAssigned).lease.addresses == ("192.0.2.7",)
    assert rig.one(ChildSaEstablished).remote_ts == ("192.0.2.7",)


@pytest.mark.requirement("IKE-303")
@pytest.mark.parametrize("how", ["refused", "nothing", "out of time"])
def test_the_application_can_refuse_a_lease(how: str) -> None:
    rig, puppet, question = asking()
    if how == "out of time":
        (data,) = puppet.taken(rig.run_for(31))
        answer = puppet.open(data)[1]
    else:
        answer = answered(rig, puppet, question, None if how == "refused" else Lease())
    assert notifications(answer) == [Notify.INTERNAL_ADDRESS_FAILURE]
    rig.one(IkeSaEstablished)
    assert isinstance(rig.one(ChildSaFailed).error, InternalAddressFailure)


def test_an_address_that_another_sa_has_is_not_leased_again() -> None:
    rig, puppet, question = asking()
    answered(rig, puppet, question, Lease(addresses=("192.0.2.7",)))
    other = client(rig, seed=9, host="10.9.9.9")
    other.give(other.seal(Exchange.IKE_AUTH, auth_with(other, IP4)))
    answer = answered(rig, other, rig.last(LeaseNeeded), Lease(addresses=("192.0.2.7", "10.3.0.1")))
    assert only(answer) == {A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 1))]}


def test_the_application_may_lease_the_same_address_to_a_peer_that_authenticates_anew() -> None:
    rig, puppet, question = asking()
    answered(rig, puppet, question, Lease(addresses=("192.0.2.7",)))
    again = client(rig, seed=9)
    again.give(again.seal(Exchange.IKE_AUTH, auth_with(again, IP4)))
    answer = answered(rig, again, rig.last(LeaseNeeded), Lease(addresses=("192.0.2.7",)))
    assert only(answer) == {A.INTERNAL_IP4_ADDRESS: [bytes((192, 0, 2, 7))]}


@pytest.mark.parametrize("host", [THERE[0], "10.9.9.9"])
def test_who_asks_for_the_address_of_its_other_sa_gets_it_from_where_that_one_is(host: str) -> None:
    """The same identity elsewhere may be another device, which would take the address away from the first."""
    rig = gateway()
    assert only(authenticate(client(rig), IP4)) == {A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, 1))]}
    wanted = asks((A.INTERNAL_IP4_ADDRESS, bytes((10, 3, 0, 1))))
    last = 1 if host == THERE[0] else 2
    assert only(authenticate(client(rig, 9, host), wanted)) == {A.INTERNAL_IP4_ADDRESS: [bytes((10, 3, 0, last))]}


def test_who_may_not_come_in_is_not_asked_about_addresses() -> None:
    rig = gateway(ask_lease=True, authorize=True)
    puppet = client(rig)
    puppet.give(puppet.seal(Exchange.IKE_AUTH, auth_with(puppet, IP4)))
    rig.endpoint.answer(rig.one(AuthorizationNeeded).question, True, now=rig.now)
    rig.drain()
    answer = answered(rig, puppet, rig.one(LeaseNeeded), Lease(addresses=("192.0.2.7",)))
    assert only(answer)
    stranger = client(rig, seed=5)
    stranger.secret = b"wrong"
    stranger.give(stranger.seal(Exchange.IKE_AUTH, auth_with(stranger, IP4)))
    rig.one(LeaseNeeded)


def later(exchange: int, **more: Any) -> tuple[Rig, Puppet, LeaseNeeded, list[Payload]]:
    """An SA without a lease, whose peer asks for one in *exchange*."""
    rig = gateway(ask_lease=True, **more)
    puppet = client(rig)
    authenticate(puppet, ts_i=(parse_selector("10.0.0.1"),))
    request: list[Payload] = [IP4]
    if exchange == Exchange.CREATE_CHILD_SA:
        spi = b"\1\2\3\4"
        request += [SecurityAssociation(esp_proposals(spi)), Nonce(bytes(32))]
        request += [TrafficSelectorsInitiator((ANY4,)), TrafficSelectorsResponder((ANY4,))]
    assert puppet.give(puppet.seal(exchange, request)) == []
    return rig, puppet, rig.one(LeaseNeeded), request


@pytest.mark.parametrize("exchange", [Exchange.INFORMATIONAL, Exchange.CREATE_CHILD_SA])
def test_the_application_is_asked_in_later_exchanges_too(exchange: int) -> None:
    rig, puppet, question, request = later(exchange)
    assert puppet.give(puppet.seal(exchange, request)) == []  # a repeat asks nobody again
    answer = answered(rig, puppet, question, Lease(addresses=("192.0.2.7",)))
    assert only(answer) == {A.INTERNAL_IP4_ADDRESS: [bytes((192, 0, 2, 7))]}
    rig.one(AddressesAssigned)
    if exchange == Exchange.CREATE_CHILD_SA:
        assert rig.last(ChildSaEstablished).remote_ts == ("192.0.2.7",)
    puppet.next_id += 1
    assert only(puppet.request(Exchange.INFORMATIONAL, [IP4])) == only(answer)
    rig.one(LeaseNeeded)


@pytest.mark.parametrize("exchange", [Exchange.INFORMATIONAL, Exchange.CREATE_CHILD_SA])
def test_a_refusal_in_later_exchanges_is_told(exchange: int) -> None:
    rig, puppet, question, _ = later(exchange)
    answer = answered(rig, puppet, question, None)
    assert notifications(answer) == [Notify.INTERNAL_ADDRESS_FAILURE]
    assert len(rig.of(ChildSaEstablished)) == 1
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "established"


def test_an_answer_that_comes_too_late_makes_no_child() -> None:
    rig, puppet, question, _ = later(Exchange.CREATE_CHILD_SA)
    rig.endpoint.delete(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    assert notifications(answered(rig, puppet, question, Lease(addresses=("192.0.2.7",)))) == [Notify.TEMPORARY_FAILURE]
    assert len(rig.of(ChildSaEstablished)) == 1


def test_an_sa_that_ends_ends_its_question() -> None:
    rig, _, question, _ = later(Exchange.INFORMATIONAL)
    rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    assert rig.one(QuestionClosed).question == question.question
    assert not rig.endpoint.answer(question.question, Lease(addresses=("192.0.2.7",)), now=rig.now)


def test_a_question_names_no_more_addresses_than_one_may_have() -> None:
    rig = gateway(ask_lease=True)
    puppet = client(rig)
    puppet.give(puppet.seal(Exchange.IKE_AUTH, auth_with(puppet, asks(*[1] * 800, *range(200, 400)))))
    question = rig.one(LeaseNeeded)
    assert question.addresses == ("0.0.0.0",) * Limits().addresses_per_sa
    assert len(question.attributes) == 64


def test_a_wrong_answer_is_misuse() -> None:
    rig, _, question = asking()
    with pytest.raises(LocalProtocolError, match="wants a Lease"):
        rig.endpoint.answer(question.question, True, now=rig.now)


# --- the side that asks -----------------------------------------------------------------------------------------------


def asked_for(*addresses: str, **more: Any) -> tuple[Rig, Puppet, list[Payload]]:
    """Initiate with virtual addresses; return what IKE_AUTH asks."""
    rig = Rig()
    more = {"children": (ChildConfig(remote_ts=(NET,)),), **more}
    rig.initiate(psk_connection("initiator", virtual_addresses=addresses, **more))
    puppet = Puppet(rig, "responder")
    puppet.answer_init(extra=[Notification(Notify.CHILDLESS_IKEV2_SUPPORTED)])
    return rig, puppet, puppet.requests()[-1][1]


def grant(puppet: Puppet, *extra: Payload, ts: Sequence[str] = ("10.3.0.1",)) -> None:
    """Answer IKE_AUTH with a Child SA for the selectors *ts* on the initiator's side."""
    kinds = (TrafficSelectorsInitiator, TrafficSelectorsResponder)
    payloads: list[Payload] = [each for each in puppet.auth() if not isinstance(each, kinds)]
    selectors = tuple(parse_selector(each) for each in ts)
    payloads += [TrafficSelectorsInitiator(selectors), TrafficSelectorsResponder((NET,))]
    puppet.answer_auth([*payloads[:2], *extra, *payloads[2:]])


GRANTED = replies((A.INTERNAL_IP4_ADDRESS, bytes((10, 3, 0, 1))), (A.INTERNAL_IP4_DNS, bytes((10, 1, 0, 53))))


@pytest.mark.requirement("IKE-180", "IKE-181", "IKE-298")
def test_the_request_comes_before_the_sa_payload_and_offers_everything() -> None:
    _, _, request = asked_for("0.0.0.0", "::", "10.3.0.9", "2001:db8::9")
    names = [type(each).__name__ for each in request]
    assert names.index("Configuration") < names.index("SecurityAssociation")
    (found,) = [each for each in request if isinstance(each, Configuration)]
    assert found == asks(
        A.INTERNAL_IP4_ADDRESS,
        A.INTERNAL_IP6_ADDRESS,
        (A.INTERNAL_IP4_ADDRESS, bytes((10, 3, 0, 9))),
        (A.INTERNAL_IP6_ADDRESS, bytes.fromhex("20010db8000000000000000000000009") + b"\x80"),
        A.INTERNAL_IP4_DNS,
        A.INTERNAL_IP6_DNS,
    )
    (offered,) = [each for each in request if isinstance(each, TrafficSelectorsInitiator)]
    assert offered.selectors == (ANY4, ANY6)


def test_without_wishes_nothing_is_asked_for() -> None:
    _, _, request = asked_for()
    assert not any(isinstance(each, Configuration) for each in request)


def test_selectors_that_are_configured_are_offered_as_they_are() -> None:
    child = ChildConfig(local_ts=(parse_selector("10.9.0.0/24"),), remote_ts=(NET,))
    rig, puppet, request = asked_for("0.0.0.0", children=(child,))
    (offered,) = [each for each in request if isinstance(each, TrafficSelectorsInitiator)]
    assert offered.selectors == child.local_ts
    grant(puppet, GRANTED, ts=("10.9.0.0/24",))
    assert rig.one(ChildSaEstablished).local_ts == ("10.9.0.0/24",)


@pytest.mark.parametrize("answered", [("10.3.0.1",), ("0.0.0.0/0",), ("10.3.0.0/24", "192.0.2.0/24")])
def test_the_granted_address_is_our_selector(answered: tuple[str, ...]) -> None:
    rig, puppet, _ = asked_for("0.0.0.0")
    grant(puppet, GRANTED, ts=answered)
    assert rig.one(AddressesAssigned) == AddressesAssigned(
        rig.endpoint.sas[0], Lease(addresses=("10.3.0.1",), dns=("10.1.0.53",)), False
    )
    assert rig.one(ChildSaEstablished).local_ts == ("10.3.0.1",)


@pytest.mark.requirement("IKE-300")
@pytest.mark.parametrize("reply", [None, replies(), replies((A.INTERNAL_IP6_ADDRESS, bytes(15) + b"\1\x80"))])
def test_no_address_is_no_child(reply: Configuration | None) -> None:
    rig, puppet, _ = asked_for("0.0.0.0")
    grant(puppet, *([] if reply is None else [reply]))
    assert isinstance(rig.one(ChildSaFailed).error, InternalAddressFailure)
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "established"
    assert [each for each in puppet.requests()[-1][1] if isinstance(each, Delete)]


@pytest.mark.requirement("IKE-009", "IKE-300")
@pytest.mark.parametrize(
    ("notify", "error"),
    [
        (Notify.INTERNAL_ADDRESS_FAILURE, InternalAddressFailure),
        (Notify.FAILED_CP_REQUIRED, FailedCpRequired),
        (Notify.TS_UNACCEPTABLE, TsUnacceptable),
    ],
)
def test_the_peers_refusal_is_told(notify: int, error: type[Exception]) -> None:
    rig, puppet, _ = asked_for("0.0.0.0")
    puppet.answer_auth([*puppet.auth(child=False), Notification(notify)])
    assert type(rig.one(ChildSaFailed).error) is error
    assert not rig.of(AddressesAssigned)
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "established"


def test_selectors_beside_the_granted_address_are_refused() -> None:
    rig, puppet, _ = asked_for("0.0.0.0")
    grant(puppet, GRANTED, ts=("192.0.2.0/24",))
    assert isinstance(rig.one(ChildSaFailed).error, TsUnacceptable)


@pytest.mark.requirement("IKE-296", "IKE-302")
def test_a_reply_is_taken_as_far_as_it_was_asked_for() -> None:
    rig, puppet, _ = asked_for("0.0.0.0", requested_attributes=(A.INTERNAL_IP4_SUBNET, A.INTERNAL_DNS_DOMAIN, 0x7001))
    grant(
        puppet,
        replies(
            (5, bytes(4)),
            (A.INTERNAL_IP4_ADDRESS, bytes(4)),
            (A.INTERNAL_IP4_ADDRESS, bytes((224, 0, 0, 1))),
            (A.INTERNAL_IP4_ADDRESS, bytes((10, 3, 0, 1))),
            (A.INTERNAL_IP4_ADDRESS, bytes((10, 3, 0, 2))),
            (A.INTERNAL_IP6_ADDRESS, bytes(15) + b"\1\x40"),
            (A.INTERNAL_IP4_NETMASK, bytes((255, 255, 255, 0))),
            (A.INTERNAL_IP4_DNS, bytes((10, 1, 0, 53))),
            (A.INTERNAL_IP4_SUBNET, bytes((10, 1, 2, 3, 255, 255, 0, 0))),
            (A.INTERNAL_IP4_SUBNET, bytes((10, 1, 2, 3, 255, 0, 255, 0))),
            (A.INTERNAL_IP4_SUBNET, bytes((10, 1, 2, 3, 0, 0, 0, 255))),
            (A.INTERNAL_DNS_DOMAIN, b"office.example"),
            (A.INTERNAL_DNS_DOMAIN, b"two\nlines"),
            (A.INTERNAL_DNS_DOMAIN, b"\xff"),
            (0x7001, b"octets"),
            (0x7002, b"more"),
        ),
    )
    assert rig.one(AddressesAssigned).lease == Lease(
        addresses=("10.3.0.1",),
        netmask="255.255.255.0",
        subnets=("10.1.0.0/16",),
        domains=("office.example",),
        attributes=((0x7001, b"octets"),),
    )


@pytest.mark.parametrize("accepted", [True, False])
def test_the_application_can_be_asked_what_it_takes(accepted: bool) -> None:
    rig, puppet, _ = asked_for("0.0.0.0", ask_acceptance=True)
    grant(puppet, GRANTED)
    question = rig.one(AcceptanceNeeded)
    assert question.lease.addresses == ("10.3.0.1",)
    rig.one(IkeSaEstablished)
    assert not rig.of(AddressesAssigned, ChildSaEstablished)
    rig.endpoint.answer(question.question, accepted, now=rig.now)
    rig.drain()
    if accepted:
        rig.one(AddressesAssigned)
        assert rig.one(ChildSaEstablished).local_ts == ("10.3.0.1",)
    else:
        assert isinstance(rig.one(ChildSaFailed).error, InternalAddressFailure)
        assert [each for each in puppet.requests()[-1][1] if isinstance(each, Delete)]
        assert rig.endpoint.sa(rig.endpoint.sas[0]).assigned is None


def test_a_child_that_is_gone_before_it_is_accepted() -> None:
    rig, puppet, _ = asked_for("0.0.0.0", ask_acceptance=True)
    grant(puppet, GRANTED)
    puppet.request(Exchange.INFORMATIONAL, [Delete(Protocol.ESP, (puppet.spi_in,))])
    rig.endpoint.answer(rig.one(AcceptanceNeeded).question, True, now=rig.now)
    rig.drain()
    assert isinstance(rig.one(ChildSaFailed).error, ChildSaNotFound)
    assert not rig.of(ChildSaEstablished)


def test_what_has_to_be_accepted_is_asked_for_once() -> None:
    rig, puppet, _ = asked_for("0.0.0.0", ask_acceptance=True)
    grant(puppet, GRANTED)
    rig.endpoint.answer(rig.one(AcceptanceNeeded).question, False, now=rig.now)
    rig.drain()
    header, _ = puppet.requests()[-1]
    puppet.give(puppet.seal(Exchange.INFORMATIONAL, [], message_id=header.message_id, response=True))
    rig.endpoint.create_child(rig.endpoint.sas[0], now=rig.now)
    rig.drain()
    request = puppet.requests()[-1][1]
    assert any(isinstance(each, SecurityAssociation) for each in request)
    assert not any(isinstance(each, Configuration) for each in request)


def test_silence_takes_nothing() -> None:
    rig, puppet, _ = asked_for("0.0.0.0", ask_acceptance=True)
    grant(puppet, GRANTED)
    rig.run_for(31)
    assert isinstance(rig.one(ChildSaFailed).error, InternalAddressFailure)


def test_without_a_child_addresses_are_asked_for_too() -> None:
    rig, puppet, request = asked_for("0.0.0.0", children=())
    assert [each for each in request if isinstance(each, Configuration)]
    puppet.answer_auth([*puppet.auth(child=False), GRANTED])
    rig.one(AddressesAssigned)


def test_the_next_child_asks_again() -> None:
    pair = Pair(
        psk_connection("initiator", virtual_addresses=("0.0.0.0",), children=(ChildConfig(remote_ts=(NET,)),)),
        psk_connection("responder", pools=(Pool(name="one", addresses=("10.3.0.1",)),), children=(CHILD,)),
        checked=False,
    )
    first, at_responder = connected(pair)
    second, _ = connected(pair)
    assert isinstance(pair.initiator.of(ChildSaFailed)[0].error, InternalAddressFailure)
    pair.responder.call(pair.responder.endpoint.delete, at_responder)
    pair.run()
    pair.initiator.call(pair.initiator.endpoint.create_child, second)
    pair.run()
    assert pair.initiator.of(AddressesAssigned)[-1].sa == second
    assert pair.initiator.of(ChildSaEstablished)[-1].local_ts == ("10.3.0.1",)
    pair.initiator.call(pair.initiator.endpoint.create_child, second)
    pair.run()
    assert len(pair.initiator.of(AddressesAssigned)) == 2
    assert len(pair.initiator.endpoint.sa(second).children) == 2
    assert first != second


ATTRIBUTE = st.builds(
    ConfigurationAttribute,
    st.sampled_from([*CfgAttribute, 5, 0x7001]),
    st.sampled_from(
        [b"", bytes(4), bytes(8), bytes(16), bytes(17), b"\xff" * 4, b"\xff" * 8, b"\xff" * 16, b"\xff" * 17]
    ),
)


@given(st.lists(ATTRIBUTE, max_size=12), st.sampled_from([*CfgType, 0, 9]))
def test_whatever_a_peer_tells_is_taken_or_left(attributes: list[ConfigurationAttribute], kind: int) -> None:
    payload = Configuration(kind, tuple(attributes))
    rig, puppet, _ = asked_for(
        "0.0.0.0", "::", requested_attributes=tuple(each for each in CfgAttribute if each not in (1, 8))
    )
    grant(puppet, payload)
    assert len(rig.of(IkeSaEstablished)) + len(rig.events) > 1
    rig = gateway()
    other = client(rig)
    other.give(other.seal(Exchange.IKE_AUTH, auth_with(other, payload)))
    for event in rig.of(AddressesAssigned):
        assert len(event.lease.addresses) <= sum(each.type in (1, 8) for each in attributes)


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("virtual_addresses", ("nowhere",)),
        ("virtual_addresses", ("0.0.0.0",) * 17),
        ("requested_attributes", (1,)),
        ("requested_attributes", (40_000,)),
        ("application_version", "two\nlines"),
        ("application_version", "x" * 256),
    ],
)
def test_mistakes_are_named(field: str, value: object) -> None:
    made: Connection = psk_connection("initiator")
    with pytest.raises(LocalProtocolError, match=field):
        attrs.evolve(made, **{field: value})  # type: ignore[arg-type]
