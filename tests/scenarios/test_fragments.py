"""IKE fragments as they are sent (RFC 7383): which messages, how large, what happens while nobody answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.config import CertificateCredential, Config, Connection, Transports, TrustedCertificates
from ikecore.crypto import Identity
from ikecore.endpoint import Endpoint
from ikecore.errors import PeerUnreachable
from ikecore.events import (
    IkeSaEstablished,
    IkeSaFailed,
    MessageReceived,
    MessageSent,
    TransportChosen,
    TransportSwitched,
)
from ikecore.framing import MARKER
from ikecore.limits import Limits
from ikecore.outputs import SendDatagram, WriteStream
from ikecore.questions import AuthorizationNeeded
from ikecore.testing import NOON, Mangler, Network, Packet, Pair, Tcp, Udp, psk_connection
from ikecore.testing.pki import CertificateAuthority
from ikecore.transport import BySize, Fallback, Local, Policy, Race, Step, UdpOnly, Way, WholeMission
from ikecore.wire import (
    Encrypted,
    EncryptedFragment,
    Envelope,
    Notification,
    VendorId,
    decode_envelope,
    encode_payloads,
)
from ikecore.wire.numbers import Exchange, Notify
from tests.rig import THERE, Puppet, Rig

from .agreement import assert_agreement

A, B = "10.0.0.1", "10.0.0.2"
ROOT = CertificateAuthority("Root", kind="ml-dsa-65", utc=NOON)
BELOW = ROOT.intermediate("Below")
LEAVES = {name: BELOW.leaf([f"{name}.example"]) for name in ("initiator", "responder")}


def certified(name: str, transports: Transports | None = None) -> Connection:
    """A side whose IKE_AUTH has about 9,000 octets."""
    return Connection(
        name=name,
        local_identity=Identity.parse(f"{name}.example"),
        local=CertificateCredential(LEAVES[name].chain, LEAVES[name].key),
        remote=TrustedCertificates((ROOT.der,)),
        transports=transports or Transports(),
    )


def fragmenting(
    udp: Udp | None = None,
    *,
    policy: Policy | None = None,
    tcp: bool | Tcp = False,
    ours: Transports | None = None,
    theirs: Transports | None = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> Pair:
    ours = ours or Transports(policy=policy or UdpOnly())
    return Pair(
        certified("initiator", ours), certified("responder", theirs), udp=udp, tcp=tcp, limits=limits, seed=seed
    )


def datagrams(pair: Pair, source: str | None = None) -> list[Packet]:
    """Every datagram of IKE_AUTH, or of what follows, that was put on the wire."""
    found = [each for each in pair.network.wire if each.transport == "udp" and source in (None, each.source[0])]
    return [each for each in found if decode_envelope(ike(each)).encrypted is not None]


def ike(packet: Packet) -> bytes:
    return packet.data.removeprefix(MARKER)


def fragments(packets: Sequence[Packet]) -> list[tuple[Envelope, EncryptedFragment]]:
    envelopes = [decode_envelope(ike(each)) for each in packets]
    return [(each, each.encrypted) for each in envelopes if isinstance(each.encrypted, EncryptedFragment)]


def sent(pair: Pair, exchange: str = "IKE_AUTH", *, response: bool = False) -> list[MessageSent]:
    """What one side told of its messages of an exchange: its request, or the other's response."""
    host = pair.responder if response else pair.initiator
    return [each for each in host.of(MessageSent) if each.exchange == exchange and each.is_response is response]


# --- which messages, and what the octets are --------------------------------------------------------------------------


@pytest.mark.requirement("FRAG-06", "FRAG-07", "FRAG-10", "FRAG-21", "FRAG-54")
def test_large_messages_go_in_fragments_that_fit_a_packet_and_small_ones_whole() -> None:
    pair = fragmenting(Udp(max_datagram=1252))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    [request], [response] = sent(pair), sent(pair, response=True)
    assert (request.fragments, response.fragments) == (9, 8)
    assert {rung.transport for rung in pair.rungs()} == {"udp"}
    packets = datagrams(pair)
    assert max(len(each.data) for each in packets) <= 1280 - 20 - 8
    assert len(packets) == 17
    assert request.octets == sum(len(ike(each)) for each in packets if each.source[0] == A)
    [received] = [each for each in pair.responder.of(MessageReceived) if each.exchange == "IKE_AUTH"]
    assert (received.fragments, received.octets) == (9, request.octets)
    assert received.payloads == request.payloads


@pytest.mark.requirement("FRAG-09")
def test_a_liveness_check_is_whole() -> None:
    pair = fragmenting()
    sa, _ = pair.establish()
    pair.initiator.call(pair.initiator.endpoint.check_liveness, sa)
    pair.run()
    assert [each.fragments for each in sent(pair, "INFORMATIONAL")] == [0]
    assert isinstance(decode_envelope(ike(datagrams(pair)[-1])).encrypted, Encrypted)


@pytest.mark.requirement("FRAG-13", "FRAG-14", "FRAG-15", "FRAG-16", "FRAG-17", "FRAG-34")
def test_the_octets_of_each_fragment() -> None:
    pair = fragmenting()
    pair.establish()
    for source, flags in ((A, 0x08), (B, 0x20)):
        found = fragments(datagrams(pair, source))
        assert [each.number for _, each in found] == list(range(1, len(found) + 1))
        assert {each.total for _, each in found} == {len(found)}
        assert [each.inner_first for _, each in found] == [35 if source == A else 36] + [0] * (len(found) - 1)
        assert len({(each.header.spi_i, each.header.spi_r, each.header.message_id) for each, _ in found}) == 1
        assert {(each.header.exchange, each.header.flags) for each, _ in found} == {(Exchange.IKE_AUTH, flags)}
        assert all(each.header.next_payload == 53 and not each.payloads for each, _ in found)
        assert all(each.header.length == len(each.data) for each, _ in found)


@pytest.mark.requirement("FRAG-05", "FRAG-03", "FRAG-02")
@pytest.mark.parametrize(("ours", "theirs"), [("accept", "yes"), ("no", "yes"), ("yes", "no")])
def test_without_agreement_or_against_our_own_will_none_is_sent(ours: str, theirs: str) -> None:
    pair = fragmenting(
        ours=Transports(policy=UdpOnly(), fragmentation=ours),  # type: ignore[arg-type]
        theirs=Transports(fragmentation=theirs),  # type: ignore[arg-type]
    )
    pair.establish()
    assert [each.fragments for each in sent(pair)] == [0]
    assert [each.fragments for each in sent(pair, response=True)] == [8 if ours == "accept" else 0]
    first, second = pair.rungs()[:2]
    name = "N(IKEV2_FRAGMENTATION_SUPPORTED)"
    assert (name in first.payloads) is (ours != "no")
    assert (name in second.payloads) is (ours != "no" and theirs != "no")


@pytest.mark.requirement("FRAG-01")
def test_ike_sa_init_is_whole_however_large() -> None:
    mine = psk_connection("initiator", transports=Transports(policy=UdpOnly(), fragment_size=576))
    many = attrs.evolve(mine, proposals=mine.proposals * 3)
    pair = Pair(many, psk_connection("responder", transports=Transports(fragment_size=576)))
    pair.establish()
    [first] = sent(pair, "IKE_SA_INIT")
    assert first.octets > 576
    assert first.fragments == 0


@pytest.mark.requirement("FRAG-22")
@pytest.mark.parametrize("size", [576, 1000, 1500, 9000])
def test_a_path_that_is_known_sets_the_size(size: int) -> None:
    known = Transports(policy=UdpOnly(), fragment_size=size)
    pair = fragmenting(Udp(max_datagram=size - 28), ours=known, theirs=known)
    pair.establish()
    assert size - 60 < max(len(each.data) for each in datagrams(pair)) + 28 <= size


@pytest.mark.requirement("FRAG-23", "FRAG-24", "FRAG-21")
def test_sizes_count_the_headers_of_the_address_family_and_the_marker() -> None:
    from ikecore.transport import DatagramPath, least_packet, packet_of, room_in, smaller_packet

    four, six = ("192.0.2.1", 500), ("2001:db8::1", 500)
    assert room_in(DatagramPath(four, four, False), 576) == 548
    assert room_in(DatagramPath(four, four, True), 576) == 544
    assert room_in(DatagramPath(six, six, True), 1280) == 1228
    assert packet_of(DatagramPath(six, six, False), 1232) == 1280
    assert (least_packet(DatagramPath(four, four, False)), least_packet(DatagramPath(six, six, False))) == (576, 1280)
    steps = [1500]
    while (smaller := smaller_packet(DatagramPath(four, four, True), steps[-1])) is not None:
        steps.append(smaller)
    assert steps == [1500, 1280, 576]
    assert smaller_packet(DatagramPath(six, six, True), 1500) == 1280
    assert smaller_packet(DatagramPath(six, six, True), 1280) is None
    assert smaller_packet(DatagramPath(six, six, True), 600) is None


# --- repeats ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FRAG-19", "FRAG-50", "FRAG-45")
def test_a_repeat_is_all_fragments_again_to_the_octet() -> None:
    pair = fragmenting()
    Mangler(pair.network, source=A).drop(4)
    pair.establish()
    packets = [each.data for each in datagrams(pair, A)]
    assert len(packets) == 18
    assert packets[:9] == packets[9:]
    assert [each.repeat for each in sent(pair)] == [False, True]
    assert [each.repeat for each in sent(pair, response=True)] == [False]


@pytest.mark.requirement("FRAG-49", "FRAG-48", "FRAG-50")
def test_a_lost_fragment_of_the_response_costs_one_repeat_of_both() -> None:
    pair = fragmenting()
    Mangler(pair.network, source=B).drop(3)
    pair.establish()
    assert [each.repeat for each in sent(pair, response=True)] == [False, True]
    octets = [ike(each) for each in datagrams(pair, B)]
    assert octets[:8] == octets[8:16]


@pytest.mark.requirement("FRAG-19")
@given(lost=st.sets(st.integers(1, 40), max_size=25), seed=st.integers(0, 3))
def test_whatever_is_lost_no_octets_are_sealed_twice_and_both_agree(lost: set[int], seed: int) -> None:
    pair = fragmenting(Udp(jitter=0.03, duplication=0.1, reordering=0.1), seed=seed)
    Mangler(pair.network).drop(*lost)
    sa = pair.initiate()
    pair.run()
    failed = pair.initiator.of(IkeSaFailed)
    if failed:  # eleven losses in a row are more than IKE_SA_INIT tries
        assert isinstance(failed[0].error, PeerUnreachable)
    else:
        assert_agreement(pair, sa)
    for source in (A, B):
        octets = {ike(each) for each in datagrams(pair, source)}
        ivs = [data[decode_envelope(data).body :][:8] for data in octets]
        assert len(ivs) == len(set(ivs))


# --- smaller, if nobody answers ---------------------------------------------------------------------------------------

NARROW = Udp(max_datagram=576 - 28)


@pytest.mark.requirement("FRAG-27", "FRAG-28", "FRAG-29", "FRAG-30", "FRAG-33", "FRAG-24")
def test_fragments_that_stay_unanswered_get_smaller_and_more() -> None:
    pair = fragmenting(NARROW)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert [each.fragments for each in sent(pair)] == [9, 9, 9, 20]
    [switch] = pair.initiator.of(TransportSwitched)
    assert (switch.before, switch.after, switch.fragments) == ("udp", "udp", 20)
    assert switch.reason == "3 transmissions unanswered: IKE fragments for packets of 576 octets"
    assert switch.fragment_octets <= 548
    totals = [each.total for _, each in fragments(datagrams(pair, A))]
    assert totals == [9] * 27 + [20] * 20
    rungs = [rung for rung in pair.rungs() if rung.exchange == "IKE_AUTH"]
    assert [rung.fragments for rung in rungs] == [9, 9, 9, 20, 20]
    assert [rung.arrived is not None for rung in rungs] == [False, False, False, True, True]
    assert "10112 octets in 9 fragments again" in re.sub(r"\d{5} octets", "10112 octets", str(rungs[1]))


@pytest.mark.requirement("FRAG-25", "FRAG-10")
def test_the_response_is_no_larger_than_what_the_request_came_in() -> None:
    pair = fragmenting(NARROW)
    pair.establish()
    assert [each.fragments for each in sent(pair, response=True)] == [20]
    small = Transports(policy=UdpOnly(), fragment_size=900)
    pair = fragmenting(ours=small)
    pair.establish()
    assert max(len(each.data) for each in datagrams(pair, B)) <= 900 - 28


@pytest.mark.requirement("FRAG-25")
def test_a_response_already_given_is_made_smaller_where_only_smaller_packets_pass() -> None:
    pair = fragmenting()
    pair.network.between(B, A, udp=Udp(max_datagram=576 - 28))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    totals = [each.total for _, each in fragments(datagrams(pair, B))]
    assert set(totals) == {8, 20}
    assert totals == sorted(totals)


@pytest.mark.requirement("FRAG-30", "FRAG-31", "FRAG-53")
def test_intervals_begin_anew_and_at_the_smallest_size_go_on_to_the_end() -> None:
    limits = Limits(retransmit_tries=5)
    pair = fragmenting(Udp(max_datagram=500), limits=limits)
    pair.initiate()
    pair.run()
    failed = pair.initiator.one(IkeSaFailed)
    assert "IKE_AUTH of" in str(failed.error)
    assert " octets to 10.0.0.2 port 500 by UDP in IKE fragments, 8 transmissions, unanswered" in str(failed.error)
    times = [rung.time for rung in pair.rungs() if rung.exchange == "IKE_AUTH"]
    gaps = [round(later - sooner, 3) for sooner, later in pairwise(times)]
    assert gaps == pytest.approx([1.0, 1.8, 3.24, 1.0, 1.8, 3.24, 5.832], abs=0.01)


def rekeyed(pair: Pair) -> None:
    """Rekey the initiator's only Child SA: its proposals make a message that 576 octets of packet do not hold."""
    sa = pair.initiator.endpoint.sas[0]
    child = pair.initiator.endpoint.sa(sa).children[0].id
    pair.initiator.call(pair.initiator.endpoint.rekey, sa, child=child)
    pair.run()


def with_many_proposals(udp: Udp) -> Pair:
    one = psk_connection("initiator", transports=Transports(policy=UdpOnly()))
    proposals = one.children[0].proposals * 4
    many = attrs.evolve(one, children=(attrs.evolve(one.children[0], proposals=proposals),))
    return Pair(many, udp=udp)


@pytest.mark.requirement("FRAG-08", "FRAG-28")
def test_a_size_that_was_answered_is_used_at_once_from_then_on() -> None:
    pair = with_many_proposals(NARROW)
    pair.establish()
    rekeyed(pair)
    rekeys = sent(pair, "CREATE_CHILD_SA")
    assert [each.fragments for each in rekeys] == [2]
    assert rekeys[0].octets > 544
    assert len(pair.initiator.of(TransportSwitched)) == 1, "that of IKE_AUTH"


@pytest.mark.requirement("FRAG-28")
def test_another_path_is_found_out_about_anew() -> None:
    pair = with_many_proposals(NARROW)
    _, theirs = pair.establish()
    pair.network.between(A, B, udp=Udp())
    pair.network.between(B, A, udp=Udp())
    pair.initiator.remove(Local((A, 500)))
    pair.initiator.add(Local((A, 500)))
    rekeyed(pair)
    assert [each.fragments for each in sent(pair, "CREATE_CHILD_SA")] == [0]
    assert pair.responder.endpoint.sa(theirs).children


def test_a_whole_message_that_is_not_answered_is_tried_in_small_fragments_too() -> None:
    """It fits the packets that most paths take, but not those that every path takes."""
    pair = with_many_proposals(NARROW)
    pair.establish()
    [first, *rest] = sent(pair)
    assert 544 < first.octets < 1250
    assert [each.fragments for each in (first, *rest)] == [0, 0, 0, 2]


@pytest.mark.requirement("FRAG-23", "FRAG-31")
@pytest.mark.parametrize("largest", [1232, 1231])
def test_over_ipv6_the_first_size_is_what_every_path_takes_and_the_last(largest: int) -> None:
    """Where even that does not pass, nothing smaller is tried: no path may be so narrow."""
    network = Network(0, udp=Udp(max_datagram=largest))
    hosts = []
    for number, name in enumerate(("initiator", "responder"), 1):
        config = Config(connections=(certified(name, Transports(policy=UdpOnly())),), trace=True)
        endpoint = Endpoint(config, random=Random(name).randbytes, utc=lambda: NOON, raise_bugs=True)
        address = f"2001:db8::{number}"
        hosts.append(network.attach(endpoint, Local((address, 500)), Local((address, 4500), marker=True), name=name))
    first = hosts[0]
    first.call(first.endpoint.initiate, certified("initiator", Transports(policy=UdpOnly())), ["2001:db8::2"])
    network.run(until=lambda: first.of(IkeSaEstablished, IkeSaFailed))
    assert bool(first.of(IkeSaEstablished)) is (largest == 1232)
    assert first.of(TransportSwitched) == []
    packets = [each for each in network.wire if len(each.data) > 600]
    assert max(len(each.data) for each in packets) == 1232 == 1280 - 40 - 8


@pytest.mark.requirement("FRAG-31")
def test_a_size_from_the_configuration_is_not_made_smaller_than_that_of_every_path() -> None:
    pair = fragmenting(
        Udp(max_datagram=500), ours=Transports(policy=UdpOnly(), fragment_size=576), limits=Limits(retransmit_tries=5)
    )
    pair.initiate()
    pair.run()
    assert len(sent(pair)) == 5
    assert pair.initiator.of(TransportSwitched) == []


# --- one of the ways that a policy ranks ------------------------------------------------------------------------------


@pytest.mark.requirement("FRAG-07", "TCP-60")
def test_by_size_prefers_tcp_and_has_fragments_without() -> None:
    pair = fragmenting(policy=BySize(), tcp=True)
    pair.establish()
    assert pair.initiator.one(IkeSaEstablished).transport == "tcp"
    pair = fragmenting(policy=BySize())
    pair.establish()
    chosen = pair.initiator.of(TransportChosen)[1]
    assert (chosen.transport, chosen.fragments, chosen.fragment_octets) == ("udp", 9, 1252)
    assert "but the peer announced no TCP port; in IKE fragments, since one packet holds 1252 octets" in chosen.reason


@pytest.mark.requirement("FRAG-11", "TCP-14", "TCP-75")
@pytest.mark.parametrize("policy", [BySize(), WholeMission()], ids=str)
def test_a_request_moves_from_tcp_to_fragments_and_stays_one_request(policy: Policy) -> None:
    pair = fragmenting(
        Udp(max_datagram=1252), tcp=Tcp(black_hole=True, window=10**6), ours=Transports(policy=policy, tcp_port=500)
    )
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    by_tcp = [each for each in sent(pair) if each.transport == "tcp"]
    by_udp = [each for each in sent(pair) if each.transport == "udp"]
    assert {each.fragments for each in by_tcp} <= {0}
    assert by_udp[0].fragments == 9
    assert {each.message_id for each in sent(pair)} == {1}


@pytest.mark.requirement("FRAG-11", "FRAG-42")
def test_a_request_moves_from_fragments_to_tcp_whole() -> None:
    pair = fragmenting(Udp(max_datagram=500), tcp=True, ours=Transports(policy=BySize(threshold=60_000)))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(IkeSaEstablished).transport == "tcp"
    switches = pair.initiator.of(TransportSwitched)
    assert [(each.before, each.after) for each in switches] == [("udp", "udp"), ("udp", "tcp")]
    assert "UDP with IKE fragments failed" in switches[1].reason
    assert [each.fragments for each in sent(pair)] == [9, 9, 9, 20, 20, 0]


@pytest.mark.requirement("FRAG-07")
def test_a_list_may_try_whole_datagrams_then_fragments_then_tcp() -> None:
    steps = Fallback((Step("udp", 2.0), Step("fragments", 4.0), Step("tcp")))
    ours = Transports(policy=steps, tcp_port=500)
    pair = fragmenting(Udp(max_datagram=1252), tcp=True, ours=ours)
    pair.establish()
    assert [(each.transport, each.fragments) for each in sent(pair)] == [("udp", 0), ("udp", 0), ("udp", 9)]
    [switch] = pair.initiator.of(TransportSwitched)
    assert switch.reason.startswith("UDP failed; step 2 of 3; in IKE fragments")
    pair = fragmenting(Udp(max_datagram=500), tcp=True, ours=ours)
    pair.establish()
    assert pair.initiator.one(IkeSaEstablished).transport == "tcp"
    times = [rung.time for rung in pair.rungs() if rung.exchange == "IKE_AUTH" and rung.transport == "udp"]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps == pytest.approx([1.0, 1.0, 1.0, 1.8], abs=0.01), "another form begins with the shortest interval"


@pytest.mark.parametrize("steps", [("udp", "fragments"), ("fragments", "udp")])
def test_a_form_that_has_had_all_its_transmissions_makes_way_for_the_next(steps: tuple[Way, Way]) -> None:
    policy = Fallback((Step(steps[0], 100.0), Step(steps[1], 100.0)))
    pair = fragmenting(Udp(max_datagram=500), policy=policy, limits=Limits(retransmit_tries=3, fragment_tries=9))
    pair.initiate()
    pair.run()
    forms: list[Way] = ["fragments" if each.fragments else "udp" for each in sent(pair)]
    assert forms == [steps[0]] * 3 + [steps[1]] * 3
    assert "6 transmissions" in str(pair.initiator.one(IkeSaFailed).error)


def test_forms_that_take_turns_come_to_an_end() -> None:
    """Patience runs out again and again, but each form has its transmissions only once."""
    policy = Fallback((Step("udp", 2.0), Step("fragments", 2.0)))
    pair = fragmenting(
        Udp(max_datagram=500), policy=policy, limits=Limits(retransmit_tries=6, establish_timeout=10_000.0)
    )
    pair.initiate()
    pair.run()
    assert isinstance(pair.initiator.one(IkeSaFailed).error, PeerUnreachable)
    assert max(rung.time for rung in pair.rungs()) < 60.0
    assert len(sent(pair)) < 20


@pytest.mark.requirement("FRAG-25")
def test_a_peer_that_sends_crumbs_gets_no_crumbs() -> None:
    long = Identity.parse(f"keyid:{'r' * 5000}")
    rig = Rig(attrs.evolve(psk_connection("responder"), local_identity=long))
    puppet = Puppet(rig)
    puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
    assert puppet.keys is not None
    inner_first, plaintext = encode_payloads(puppet.auth())
    crumbs = puppet.keys.seal_fragments(Exchange.IKE_AUTH, 0, 1, inner_first, plaintext, 80, 1)
    answers = [answer for data in crumbs for answer in puppet.give(data)]
    assert len(answers) == 11
    assert max(map(len, answers)) == 548


def test_a_race_that_tcp_loses_goes_on_in_fragments() -> None:
    pair = fragmenting(Udp(max_datagram=1252), tcp=Tcp(connect="silent"), ours=Transports(policy=Race(), tcp_port=500))
    pair.establish()
    assert [each.fragments for each in sent(pair)] == [9]


# --- a copy in another form is the same request -----------------------------------------------------------------------


def joined(puppet: Puppet, messages: Sequence[bytes]) -> bytes:
    """Open a response, whole or in fragments, and return the inner payloads."""
    assert puppet.keys is not None
    return b"".join(puppet.keys.open(decode_envelope(data)) for data in messages)


@pytest.mark.requirement("FRAG-48", "FRAG-49", "FRAG-11", "FRAG-19", "TCP-14", "TCP-15")
@pytest.mark.parametrize("first", ["whole over TCP", "in fragments over UDP", "whole over UDP"])
def test_a_request_in_three_forms_is_answered_once_and_in_the_form_that_fits(first: str) -> None:
    long = Identity.parse(f"keyid:{'r' * 5000}")
    rig = Rig(attrs.evolve(psk_connection("responder"), local_identity=long))
    puppet = Puppet(rig)
    puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
    assert puppet.keys is not None
    inner_first, plaintext = encode_payloads([VendorId(bytes(2000)), *puppet.auth()])
    whole = puppet.keys.seal(Exchange.IKE_AUTH, 0, 1, inner_first, plaintext)
    pieces = puppet.keys.seal_fragments(Exchange.IKE_AUTH, 0, 1, inner_first, plaintext, 1200, 1)
    finer = puppet.keys.seal_fragments(Exchange.IKE_AUTH, 0, 1, inner_first, plaintext, 548, 1)
    by_tcp = Puppet(rig, address=("10.0.0.1", 40_000))
    by_tcp.connect()
    ways: dict[str, Callable[[], list[bytes]]] = {
        "whole over TCP": lambda: by_tcp.give(whole),
        "in fragments over UDP": lambda: [answer for data in pieces for answer in puppet.give(data)],
        "whole over UDP": lambda: puppet.give(whole),
        "in smaller fragments": lambda: [answer for data in finer for answer in puppet.give(data)],
    }
    answers = {first: ways.pop(first)()}
    for way in ways:
        rig.run_for(1.0)
        answers[way] = ways[way]()
    assert len(rig.of(IkeSaEstablished)) == 1
    assert len({joined(puppet, each) for each in answers.values()}) == 1
    assert len(answers["whole over TCP"]) == 1
    smaller = answers.pop("in smaller fragments")
    assert max(map(len, smaller)) <= 548
    udp = [answers["in fragments over UDP"], answers["whole over UDP"]]
    assert all(1000 < max(map(len, each)) <= 1252 for each in udp)
    if first != "whole over UDP":  # then nothing was known yet of what the peer's path takes
        assert udp[0] == udp[1]
    sealed = {data for each in (*udp, answers["whole over TCP"], smaller) for data in each}
    ivs = [data[decode_envelope(data).body :][:8] for data in sealed]
    assert len(ivs) == len(set(ivs))


@pytest.mark.requirement("FRAG-48", "FRAG-49")
def test_a_copy_in_another_form_waits_for_the_decision_too() -> None:
    rig = Rig(attrs.evolve(psk_connection("responder"), authorize=True))
    puppet = Puppet(rig)
    puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
    assert puppet.keys is not None
    inner_first, plaintext = encode_payloads([VendorId(bytes(2000)), *puppet.auth()])
    pieces = puppet.keys.seal_fragments(Exchange.IKE_AUTH, 0, 1, inner_first, plaintext, 1200, 1)
    assert [puppet.give(each) for each in pieces] == [[], []]
    by_tcp = Puppet(rig, address=("10.0.0.1", 40_000))
    by_tcp.connect()
    assert by_tcp.give(puppet.keys.seal(Exchange.IKE_AUTH, 0, 1, inner_first, plaintext)) == []
    stranger = Puppet(rig, address=("10.0.0.66", 500))
    assert stranger.give(puppet.keys.seal(Exchange.IKE_AUTH, 0, 1, inner_first, plaintext)[:-1] + b"x") == []
    question = rig.one(AuthorizationNeeded)
    rig.endpoint.answer(question.question, True, now=rig.now)
    new = rig.drain()
    assert [each.stream for each in new if isinstance(each, WriteStream)] == [by_tcp.stream]
    assert [each.remote for each in new if isinstance(each, SendDatagram)] == [THERE]


@pytest.mark.requirement("FRAG-49")
def test_an_sa_that_is_gone_answers_in_the_forms_that_were_kept() -> None:
    """A response that refuses is small, so a large one is made of the identity that goes into it."""
    long = Identity.parse(f"keyid:{'r' * 5000}")
    connection = attrs.evolve(psk_connection("responder"), local_identity=long)
    rig = Rig(connection)
    puppet = Puppet(rig)
    puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
    request = puppet.seal(Exchange.IKE_AUTH, puppet.auth())
    answer = puppet.give(request)
    assert len(answer) == 5
    rig.endpoint.abandon(rig.endpoint.sas[0], now=rig.now)
    rig.run_for(1.0)
    assert rig.endpoint.sas == ()
    assert puppet.give(request) == answer
    by_tcp = Puppet(rig, address=("10.0.0.1", 40_000))
    by_tcp.connect()
    [whole] = by_tcp.give(request)
    assert joined(puppet, [whole]) == joined(puppet, answer)
