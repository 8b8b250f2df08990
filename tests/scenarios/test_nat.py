"""NATs between two endpoints: what keeps their mappings, what happens when they go, and where ESP has to be sent.

RFC 7296 section 2.23, RFC 3948. How a NAT is found at all is in test_udp_psk.py, and over TCP in test_tcp.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

import attrs
import pytest

from ikecore import (
    Address,
    AuthorizationNeeded,
    ChildConfig,
    ChildSaClosed,
    ChildSaEstablished,
    Config,
    Connection,
    Endpoint,
    IkeSaClosed,
    IkeSaEstablished,
    Lifetimes,
    Local,
    LocalProtocolError,
    NatDetected,
    PathChanged,
    RequestCompleted,
    RequestFailed,
    SaId,
    SpisChanged,
    TcpOnly,
    Transports,
    UdpOnly,
    WholeMission,
    parse_selector,
)
from ikecore.testing import NOON, CheckedEndpoint, Host, Mangler, Nat, Network, Packet, Pair, psk_connection
from ikecore.transport import nat_digest
from ikecore.wire import Notification, decode_message
from ikecore.wire.numbers import Exchange, Notify
from tests.rig import HERE, THERE, Puppet, Rig
from tests.scenarios.agreement import assert_agreement

A, B = "10.0.0.1", "10.0.0.2"
OUTSIDE, THEIR_OUTSIDE = "203.0.113.1", "203.0.113.2"
KEEPALIVE, MARKER = b"\xff", bytes(4)


def connection(role: str, **transports: object) -> Connection:
    """One side, whose child has selectors of its own: addresses behind a NAT are not those that the peer sees."""
    left, right = (parse_selector("10.1.0.0/16"),), (parse_selector("10.2.0.0/16"),)
    if role == "responder":
        left, right = right, left
    child = ChildConfig(local_ts=left, remote_ts=right, lifetimes=Lifetimes())
    return attrs.evolve(
        psk_connection(role),  # type: ignore[arg-type]
        children=(child,),
        transports=Transports(**transports),  # type: ignore[arg-type]
    )


def pair_with(
    *,
    nat: Nat | None = None,
    responder_nat: Nat | None = None,
    ours: dict[str, object] | None = None,
    theirs: dict[str, object] | None = None,
    tcp: bool = False,
) -> Pair:
    return Pair(
        connection("initiator", **(ours or {})),
        connection("responder", **(theirs or {})),
        nat=nat,
        responder_nat=responder_nat,
        tcp=tcp,
    )


def forwarding(**kwargs: object) -> Nat:
    """A NAT in front of the responder, with its ports forwarded."""
    return Nat(THEIR_OUTSIDE, forwards={("udp", 500): (B, 500), ("udp", 4500): (B, 4500)}, **kwargs)  # type: ignore[arg-type]


def keepalives(pair: Pair, sender: Host | None = None) -> list[Packet]:
    name = None if sender is None else sender.name
    return [each for each in pair.network.wire if each.data == KEEPALIVE and name in (None, each.sender)]


def alive(pair: Pair, host: Host, sa: SaId, seconds: float = 5.0) -> bool:
    """Tell whether a liveness check of *host* is answered in time."""
    wish = host.call(host.endpoint.check_liveness, sa)
    pair.run_for(seconds)
    return any(each.request == wish for each in host.of(RequestCompleted))


# --- keepalives -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-209", "IKE-214")
def test_who_is_behind_a_nat_says_one_octet_every_twenty_seconds_of_silence() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    pair.establish()
    start = pair.now
    pair.run_for(205.0)
    sent = keepalives(pair)
    assert [round(each.time - start, 1) for each in sent] == pytest.approx([20.0 * n for n in range(1, 11)], abs=0.1)
    assert {(each.sender, each.destination, each.fate) for each in sent} == {("initiator", (B, 4500), "delivered")}
    assert len({each.source for each in sent}) == 1
    assert pair.responder.endpoint.counters["datagram: keepalive"] == 10
    assert len(pair.responder.endpoint.sas) == 1


@pytest.mark.requirement("IKE-209")
@pytest.mark.parametrize(
    ("nat", "responder_nat", "ours", "who"),
    [
        (None, None, {}, set()),
        (None, None, {"force_encapsulation": True}, set()),
        (None, forwarding(), {}, {"responder"}),
        (Nat(OUTSIDE), forwarding(), {}, {"initiator", "responder"}),
        (Nat(OUTSIDE), None, {"keepalive": 0}, set()),
    ],
    ids=["no NAT", "forced", "responder", "both", "switched off"],
)
def test_nobody_else_does(nat: Nat | None, responder_nat: Nat | None, ours: dict[str, object], who: set[str]) -> None:
    pair = pair_with(nat=nat, responder_nat=responder_nat, ours=ours)
    pair.establish()
    pair.run_for(100.0)
    assert {each.sender for each in keepalives(pair)} == who


@pytest.mark.requirement("IKE-209")
def test_other_traffic_spares_the_keepalive() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    mine, theirs = pair.establish()
    for _ in range(5):
        pair.run_for(10.0)
        assert alive(pair, pair.initiator, mine)
        pair.run_for(10.0)
        pair.initiator.call(pair.initiator.endpoint.esp_sent, mine)
        pair.run_for(10.0)
        assert alive(pair, pair.responder, theirs), "an answer is traffic too"
    assert keepalives(pair) == []
    pair.run_for(20.0)
    assert len(keepalives(pair)) == 1


def test_an_answer_to_another_address_keeps_no_mapping() -> None:
    pair = pair_with(nat=Nat(OUTSIDE, open=True))
    _, theirs = pair.establish()
    pair.run_for(15.0)
    check_from(pair, pair.responder, theirs, ("192.0.2.9", 9999))
    pair.network.block("udp", source=B)  # the repeats, which are answered where they come from
    assert ("192.0.2.9", 9999) in {each.destination for each in pair.network.wire}
    pair.run_for(6.0)
    assert len(keepalives(pair)) == 1


def test_the_timer_is_not_wound_up_for_each_packet() -> None:
    """100,000 SAs with ESP every second must cost nothing: the deadline stays where it is."""
    pair = pair_with(nat=Nat(OUTSIDE))
    mine, _ = pair.establish()
    endpoint = pair.initiator.endpoint
    before = endpoint.deadline
    for _ in range(10):
        pair.run_for(1.0)
        pair.initiator.call(endpoint.esp_sent, mine)
        assert endpoint.deadline == before


@pytest.mark.requirement("IKE-209")
def test_an_sa_whose_set_up_took_longer_than_that_has_them_too() -> None:
    """Here the application takes its time to decide; a peer that is slow with IKE_AUTH is the same."""
    ours = attrs.evolve(connection("initiator"), authorize=True)
    pair = Pair(ours, connection("responder"), nat=Nat(OUTSIDE, lifetime=30.0))
    sa = pair.initiate()
    pair.run_for(25.0)
    assert keepalives(pair) == []
    question = pair.initiator.one(AuthorizationNeeded).question
    pair.initiator.call(pair.initiator.endpoint.answer, question, True)
    pair.run_for(60.0)
    assert len(keepalives(pair)) == 3
    assert len({each.source for each in keepalives(pair)}) == 1
    assert alive(pair, pair.responder, pair.responder.endpoint.sas[0])
    assert pair.initiator.endpoint.sa(sa).state == "established"


def test_another_interval() -> None:
    pair = pair_with(nat=Nat(OUTSIDE), ours={"keepalive": 7})
    pair.establish()
    pair.run_for(36.0)
    assert len(keepalives(pair)) == 5


@pytest.mark.parametrize("wrong", [-1, 0.5, 4000, float("nan")])
def test_an_interval_that_makes_no_sense_is_refused(wrong: float) -> None:
    with pytest.raises(LocalProtocolError, match=r"keepalive: .* allowed are 0, or 1 to 3600 seconds"):
        Transports(keepalive=wrong)


def test_none_before_the_sa_is_up_and_none_after_it_is_gone() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    block = pair.network.block("udp", port=4500)
    pair.initiate()
    pair.run_for(60.0)
    assert keepalives(pair) == []
    pair.network.unblock(block)
    pair.run(until=lambda: pair.initiator.of(IkeSaEstablished))
    pair.run_for(50.0)
    sent = len(keepalives(pair))
    assert sent == 2
    pair.initiator.call(pair.initiator.endpoint.delete, pair.initiator.endpoint.sas[0])
    pair.run_for(100.0)
    assert len(keepalives(pair)) == sent
    assert pair.initiator.endpoint.idle


def test_none_while_our_socket_is_gone() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    pair.establish()
    socket = Local((A, 4500), marker=True)
    pair.initiator.remove(socket)
    pair.run_for(50.0)
    assert keepalives(pair) == []
    pair.initiator.add(socket)
    pair.run_for(50.0)
    assert len(keepalives(pair)) == 2


@pytest.mark.requirement("SEP-26", "SEP-27", "TCP-71", "ENC-076")
def test_ike_over_tcp_keeps_no_mapping_of_udp() -> None:
    pair = pair_with(nat=Nat(OUTSIDE), ours={"policy": TcpOnly()}, tcp=True)
    mine, _ = pair.establish()
    pair.run_for(5.0)
    for _ in range(10):
        pair.run_for(10.0)
        assert alive(pair, pair.initiator, mine, 1.0)
    by_tcp = [each for each in pair.rungs() if each.transport == "tcp" and each.exchange == "INFORMATIONAL"]
    assert len(by_tcp) >= 20
    assert len(keepalives(pair)) == 5
    assert all(each.transport == "udp" for each in keepalives(pair))


# --- mappings that go -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-209", "SEP-26")
def test_keepalives_keep_a_mapping_of_thirty_seconds() -> None:
    pair = pair_with(nat=Nat(OUTSIDE, lifetime=30.0))
    mine, theirs = pair.establish()
    before = pair.responder.endpoint.sa(theirs).remote
    pair.run_for(3600.0)
    assert alive(pair, pair.responder, theirs)
    assert pair.responder.endpoint.sa(theirs).remote == before
    assert alive(pair, pair.initiator, mine)


@pytest.mark.requirement("IKE-215", "IKE-217")
def test_without_them_the_way_in_closes_until_the_inner_side_speaks() -> None:
    pair = pair_with(nat=Nat(OUTSIDE, lifetime=30.0), ours={"keepalive": 0})
    mine, theirs = pair.establish()
    before = pair.responder.endpoint.sa(theirs).remote
    pair.run_for(3600.0)
    assert not alive(pair, pair.responder, theirs)
    assert alive(pair, pair.initiator, mine)
    moved = pair.responder.of(PathChanged)[-1]
    assert moved.remote == pair.responder.endpoint.sa(theirs).remote != before
    assert moved.udp_encapsulation
    (child,) = pair.responder.endpoint.sa(theirs).children
    assert (child.udp_encapsulation, child.local, child.remote) == (True, moved.local, moved.remote)
    pair.run_for(30.0)
    assert len(pair.responder.of(RequestCompleted)) == 1, "the request that was under way got through in the end"
    assert not pair.responder.of(IkeSaClosed, RequestFailed, ChildSaClosed)


@pytest.mark.requirement("IKE-215", "IKE-216", "IKE-217", "IKE-148")
def test_a_mapping_that_goes_in_the_middle_of_an_exchange() -> None:
    """The repeat of the request comes from a new port: it is answered there, but moves nothing. The next one does."""
    nat = Nat(OUTSIDE)
    pair = pair_with(nat=nat)
    mine, theirs = pair.establish()
    before = pair.responder.endpoint.sa(theirs).remote
    wish = pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run_for(0.005)
    nat.forget()
    pair.run_for(5.0)
    assert pair.initiator.one(RequestCompleted).request == wish
    assert pair.responder.endpoint.sa(theirs).remote == before
    assert alive(pair, pair.initiator, mine)
    assert pair.responder.endpoint.sa(theirs).remote != before
    assert alive(pair, pair.responder, theirs)


@pytest.mark.requirement("IKE-215", "IKE-217")
def test_esp_that_comes_from_a_new_port_moves_the_path_too() -> None:
    nat = Nat(OUTSIDE)
    pair = pair_with(nat=nat)
    mine, theirs = pair.establish()
    nat.forget()
    source = nat.outbound("udp", (A, 4500), (B, 4500), pair.now)  # as ESP of the initiator's kernel leaves
    pair.responder.call(pair.responder.endpoint.esp_received, theirs, local=(B, 4500), remote=source)
    assert pair.responder.of(PathChanged)[-1] == PathChanged(
        theirs, (B, 4500), source, "authenticated ESP came this way", True
    )
    assert alive(pair, pair.responder, theirs)
    told = len(pair.responder.of(PathChanged))
    pair.responder.call(pair.responder.endpoint.esp_received, theirs, local=(B, 4500), remote=source)
    assert len(pair.responder.of(PathChanged)) == told
    assert alive(pair, pair.initiator, mine)


@pytest.mark.requirement("IKE-216")
def test_behind_our_own_nat_esp_moves_nothing() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    mine, _ = pair.establish()
    before = pair.initiator.endpoint.sa(mine)
    pair.initiator.call(pair.initiator.endpoint.esp_received, mine, local=(A, 4500), remote=("192.0.2.66", 4500))
    assert pair.initiator.endpoint.sa(mine) == before


def test_misuse_of_what_the_application_tells_of_esp() -> None:
    pair = pair_with()
    pending = pair.initiate()
    endpoint = pair.initiator.endpoint
    with pytest.raises(LocalProtocolError, match="no Child SA yet"):
        pair.initiator.call(endpoint.esp_received, pending, local=(A, 4500), remote=(B, 4500))
    pair.run()
    sa = endpoint.sas[0]
    with pytest.raises(LocalProtocolError, match=r"no udp socket .* with the non-ESP marker"):
        pair.initiator.call(endpoint.esp_received, sa, local=(A, 500), remote=(B, 4500))
    for call in (endpoint.esp_sent, endpoint.esp_received):
        facts = {} if call == endpoint.esp_sent else {"local": (A, 4500), "remote": (B, 4500)}
        with pytest.raises(LocalProtocolError, match="there is no SA 77"):
            pair.initiator.call(call, SaId(77), **facts)


# --- who follows whom -------------------------------------------------------------------------------------------------


def check_from(pair: Pair, host: Host, sa: SaId, source: Address) -> None:
    """Let a liveness check of *host* arrive from *source*, as if it had been sent there."""

    def take(packet: Packet, data: bytes) -> bytes | None:
        if packet.sender != host.name:
            return data
        pair.network.manglers.remove(take)
        pair.network.send(data, source=source, destination=packet.destination)
        return None

    pair.network.manglers.append(take)
    host.call(host.endpoint.check_liveness, sa)
    pair.run_for(0.1)


@pytest.mark.requirement("IKE-210", "IKE-216", "IKE-148")
def test_a_responder_behind_a_nat_follows_to_port_4500_and_no_farther() -> None:
    pair = pair_with(responder_nat=forwarding())
    mine, theirs = pair.establish()
    assert pair.responder.endpoint.sa(theirs).local == (B, 4500)
    assert pair.responder.endpoint.sa(theirs).remote == (A, 4500)
    assert alive(pair, pair.responder, theirs)
    check_from(pair, pair.initiator, mine, ("192.0.2.9", 9999))
    assert pair.responder.endpoint.sa(theirs).remote == (A, 4500)


@pytest.mark.requirement("IKE-215")
def test_an_initiator_without_a_nat_follows_its_peer() -> None:
    pair = pair_with(responder_nat=forwarding())
    mine, theirs = pair.establish()
    check_from(pair, pair.responder, theirs, ("192.0.2.9", 9999))
    assert pair.initiator.endpoint.sa(mine).remote == ("192.0.2.9", 9999)
    # The next word of the peer from where it is brings the path back.
    assert pair.responder.endpoint.sa(theirs).remote == (A, 4500)
    pair.run_for(5.0)
    assert alive(pair, pair.responder, theirs)
    assert pair.initiator.endpoint.sa(mine).remote == (THEIR_OUTSIDE, 4500)


@pytest.mark.requirement("IKE-216")
def test_an_initiator_behind_a_nat_does_not() -> None:
    pair = pair_with(nat=Nat(OUTSIDE, open=True))
    mine, theirs = pair.establish()
    check_from(pair, pair.responder, theirs, ("192.0.2.9", 9999))
    assert pair.initiator.endpoint.sa(mine).remote == (B, 4500)
    assert pair.initiator.of(PathChanged)[-1].reason == "a NAT was found: port 4500"


@pytest.mark.requirement("IKE-216")
def test_repeats_from_anywhere_move_nothing() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    mine, theirs = pair.establish()
    assert alive(pair, pair.initiator, mine)
    before = pair.responder.endpoint.sa(theirs)
    recorded = [each for each in pair.network.wire if each.destination[0] == B]
    for packet in recorded * 2:
        pair.network.send(packet.data, source=("192.0.2.66", 4500), destination=packet.destination)
        pair.run_for(1.0)
    assert pair.responder.endpoint.sa(theirs) == before


@pytest.mark.requirement("IKE-215", "IKE-216")
def test_what_comes_under_replaced_spis_moves_nothing() -> None:
    """The Delete of the old SPIs is fresh and authentic, but whoever held it back gains nothing by it."""
    pair = pair_with()
    mine, theirs = pair.establish()
    strange = ("192.0.2.66", 666)

    def resource(packet: Packet, data: bytes) -> bytes | None:
        if packet.source[0] != A or data[18] != Exchange.INFORMATIONAL:
            return data
        pair.network.send(data, source=strange, destination=packet.destination)
        return None

    pair.network.manglers.append(resource)
    pair.initiator.call(pair.initiator.endpoint.rekey, mine)
    pair.run_for(0.5)
    pair.network.manglers.remove(resource)
    assert [each.fate for each in pair.network.wire if each.source == strange] == ["delivered"]
    assert len(pair.responder.of(SpisChanged)) == 1
    assert pair.responder.endpoint.sa(theirs).remote == (A, 500)
    assert not pair.responder.of(PathChanged)
    pair.run_for(5.0)
    assert alive(pair, pair.responder, theirs)


@pytest.mark.requirement("IKE-216")
def test_both_behind_nats_the_mapping_of_the_initiator_is_followed_only_through_a_static_nat() -> None:
    for static in (False, True):
        nat = Nat(OUTSIDE)
        pair = pair_with(nat=nat, responder_nat=forwarding(), theirs={"static_nat": static})
        mine, theirs = pair.establish()
        assert pair.responder.one(NatDetected) == NatDetected(theirs, True, True)
        before = pair.responder.endpoint.sa(theirs).remote
        nat.forget()
        assert alive(pair, pair.initiator, mine), "answers go where requests come from"
        assert (pair.responder.endpoint.sa(theirs).remote != before) is static
        assert alive(pair, pair.responder, theirs) is static


# --- kinds of NATs ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-210", "IKE-217")
def test_a_nat_with_a_mapping_per_partner() -> None:
    """The mapping of port 4500 is another one than that of port 500, and lets nothing else in."""
    nat = Nat(OUTSIDE, per_partner=True, lifetime=30.0)
    pair = pair_with(nat=nat)
    mine, theirs = pair.establish()
    pair.run_for(300.0)
    assert alive(pair, pair.responder, theirs)
    assert alive(pair, pair.initiator, mine)
    assert len({each.source for each in pair.network.wire if each.source[0] == OUTSIDE}) == 2
    assert nat.inbound("udp", pair.responder.endpoint.sa(theirs).remote[1], (B, 500), pair.now) is None


@pytest.mark.requirement("IKE-209")
def test_two_hosts_behind_the_same_nat_meet_outside() -> None:
    nat = Nat(OUTSIDE, forwards={("udp", 500): (B, 500), ("udp", 4500): (B, 4500)}, lifetime=30.0)
    pair = pair_with(nat=nat, responder_nat=nat)
    mine, theirs = pair.establish()
    assert pair.initiator.one(NatDetected) == NatDetected(mine, True, True)
    assert pair.initiator.endpoint.sa(mine).remote == (OUTSIDE, 4500)
    pair.run_for(300.0)
    assert alive(pair, pair.responder, theirs)
    assert alive(pair, pair.initiator, mine)


@pytest.mark.requirement("IKE-207", "IKE-209", "IKE-210")
def test_a_nat_of_ipv6() -> None:
    network = Network(1)
    nat = Nat("2001:db8:ffff::1", lifetime=30.0)
    hosts: list[Host] = []
    sides: Sequence[tuple[str, str, Nat | None]] = (("initiator", "fd00::1", nat), ("responder", "2001:db8::2", None))
    for role, address, behind in sides:
        endpoint = Endpoint(
            Config(connections=(connection(role),)),
            random=random.Random(role).randbytes,
            utc=lambda: NOON,
            raise_bugs=True,
        )
        locals = [Local((address, 500)), Local((address, 4500), marker=True)]
        hosts.append(network.attach(CheckedEndpoint(endpoint), *locals, nat=behind, name=role))
    ours, theirs = hosts
    ours.call(ours.endpoint.initiate, connection("initiator"), ["2001:db8::2"])
    network.run(until=lambda: ours.of(ChildSaEstablished))
    network.run_for(600.0)
    child, their_child = ours.one(ChildSaEstablished), theirs.one(ChildSaEstablished)
    assert (child.local, child.remote) == (("fd00::1", 4500), ("2001:db8::2", 4500))
    assert their_child.remote is not None
    assert their_child.remote[0] == "2001:db8:ffff::1"
    theirs.call(theirs.endpoint.check_liveness, theirs.endpoint.sas[0])
    network.run_for(5.0)
    assert len(theirs.of(RequestCompleted)) == 1


# --- forced encapsulation ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-209", "IKE-210", "IKE-212", "SEP-25")
@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (True, True)])
def test_a_nat_that_is_only_said_to_be_there(ours: bool, theirs: bool) -> None:
    pair = pair_with(ours={"force_encapsulation": ours}, theirs={"force_encapsulation": theirs})
    mine, other = pair.establish()
    assert_agreement(pair, mine)
    assert pair.initiator.one(NatDetected) == NatDetected(mine, False, theirs, ours)
    assert pair.responder.one(NatDetected) == NatDetected(other, False, ours, theirs)
    for host, local, remote in ((pair.initiator, A, B), (pair.responder, B, A)):
        child = host.one(ChildSaEstablished)
        assert child.udp_encapsulation
        assert (child.local, child.remote) == ((local, 4500), (remote, 4500))
    assert [each.destination[1] for each in pair.network.wire] == [500, 500, 4500, 4500]
    assert alive(pair, pair.responder, other)
    assert alive(pair, pair.initiator, mine)
    said = "UDP encapsulation is forced" if ours and not theirs else "a NAT was found"
    assert pair.initiator.one(PathChanged).reason == f"{said}: port 4500"


def test_what_is_said_to_be_there_has_no_address() -> None:
    """The digest of the source is chance, so nobody can know us by it, and the other one is true."""
    pair = pair_with(ours={"force_encapsulation": True})
    pair.initiate()
    pair.run()
    header, payloads = decode_message(pair.network.wire[0].data)
    said = {each.notify_type: each.data for each in payloads if isinstance(each, Notification)}
    source, destination = said[Notify.NAT_DETECTION_SOURCE_IP], said[Notify.NAT_DETECTION_DESTINATION_IP]
    assert destination == nat_digest(header.spi_i, header.spi_r, (B, 500))
    assert len(source) == len(destination)
    assert source != nat_digest(header.spi_i, header.spi_r, (A, 500))


@pytest.mark.requirement("IKE-212")
@pytest.mark.parametrize("silent", ["initiator", "responder"])
def test_nothing_is_forced_on_a_peer_that_knows_no_nats(silent: Literal["initiator", "responder"]) -> None:
    """A peer without NAT_DETECTION notifications cannot do UDP encapsulation: all stays on port 500."""
    rig = Rig(connection("responder" if silent == "initiator" else "initiator", force_encapsulation=True))
    puppet = Puppet(rig, silent)
    puppet.nat_detection = list  # type: ignore[method-assign]
    if silent == "responder":
        rig.initiate(rig.connections[0])
        puppet.answer_init()
        puppet.answer_auth()
    else:
        puppet.establish()
    view = rig.endpoint.sa(rig.one(IkeSaEstablished).sa)
    assert (view.local, view.remote) == (HERE, THERE)
    assert rig.of(NatDetected) == []


# --- ESP --------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-211", "IKE-212")
def test_without_a_nat_esp_goes_between_the_hosts() -> None:
    for start in ("ike", "nat"):
        pair = pair_with(ours={"udp_start": start})
        pair.establish()
        for host, local, remote in ((pair.initiator, A, B), (pair.responder, B, A)):
            child = host.one(ChildSaEstablished)
            assert (child.udp_encapsulation, child.local, child.remote) == (False, (local, 0), (remote, 0))


@pytest.mark.requirement("IKE-210", "IKE-211", "IKE-212", "SEP-25")
@pytest.mark.parametrize("start", ["ike", "nat"])
def test_with_a_nat_esp_goes_beside_ike(start: str) -> None:
    pair = pair_with(nat=Nat(OUTSIDE), ours={"udp_start": start})
    _, theirs = pair.establish()
    child, their_child = pair.initiator.one(ChildSaEstablished), pair.responder.one(ChildSaEstablished)
    assert (child.udp_encapsulation, child.local, child.remote) == (True, (A, 4500), (B, 4500))
    outside = pair.responder.endpoint.sa(theirs).remote
    assert outside[0] == OUTSIDE
    assert (their_child.udp_encapsulation, their_child.local, their_child.remote) == (True, (B, 4500), outside)


@pytest.mark.requirement("IKE-211", "TCP-73")
def test_after_a_set_up_over_tcp_esp_waits_for_the_path_of_datagrams() -> None:
    pair = pair_with(nat=Nat(OUTSIDE), ours={"policy": WholeMission()}, tcp=True)
    _, theirs = pair.establish()
    child = pair.responder.one(ChildSaEstablished)
    assert (child.udp_encapsulation, child.local, child.remote) == (True, None, None)
    pair.run_for(5.0)
    found = pair.responder.one(PathChanged)
    assert found.udp_encapsulation
    assert (found.local, found.remote) == ((B, 4500), pair.responder.endpoint.sa(theirs).remote)


@pytest.mark.requirement("IKE-211")
def test_without_a_socket_with_the_marker_esp_has_no_way_through_a_nat() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    pair.initiator.remove(Local((A, 4500), marker=True))
    pair.establish()
    for host in (pair.initiator, pair.responder):
        child = host.one(ChildSaEstablished)
        assert (child.udp_encapsulation, child.local, child.remote) == (True, None, None)
    pair.run_for(100.0)
    assert keepalives(pair) == [], "an octet on port 500 is no keepalive"


@pytest.mark.requirement("IKE-214")
def test_esp_and_keepalives_of_anybody_reach_no_sa() -> None:
    pair = pair_with(nat=Nat(OUTSIDE))
    _, theirs = pair.establish()
    before = pair.responder.endpoint.sa(theirs)
    for data in (KEEPALIVE, b"\0\0\1\1" + bytes(60), b"\xff\xff", b""):
        pair.network.send(data, source=("192.0.2.66", 4500), destination=(B, 4500))
        pair.run_for(0.1)
    assert pair.responder.endpoint.sa(theirs) == before
    counters = pair.responder.endpoint.counters
    assert (counters["datagram: esp"], counters["datagram: keepalive"], counters["datagram: junk"]) == (1, 1, 2)


def test_losses_of_port_4500_while_the_path_moves() -> None:
    """The first IKE_AUTH from port 4500 is lost: the repeat does all the same."""
    pair = pair_with(nat=Nat(OUTSIDE), ours={"policy": UdpOnly()})
    Mangler(pair.network).drop(2)
    mine, theirs = pair.establish()
    assert alive(pair, pair.responder, theirs)
    assert pair.initiator.endpoint.sa(mine).remote == (B, 4500)
