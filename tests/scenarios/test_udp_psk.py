"""Two endpoints with a pre-shared key over UDP: what works, and each way in which it fails clearly."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest

from ikecore import (
    AuthenticationFailed,
    AuthorizationNeeded,
    ChildConfig,
    ChildSaEstablished,
    ChildSaFailed,
    Config,
    Connection,
    CookieReceived,
    CookiesDemanded,
    Identity,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    KeyExchangeRetried,
    Limits,
    LocalProtocolError,
    MessageSent,
    NatDetected,
    NoProposalChosen,
    PeerUnreachable,
    QuestionClosed,
    RequestCompleted,
    RequestFailed,
    Transports,
    TsUnacceptable,
    esp_proposals,
    ike_proposals,
    parse_selector,
)
from ikecore.testing import Host, Mangler, Nat, NetworkError, Pair, psk_connection
from ikecore.wire import decode_message
from ikecore.wire.numbers import Notify
from tests.scenarios.agreement import assert_agreement, assert_nothing_left, children, datagrams, outcome

A, B = "10.0.0.1", "10.0.0.2"
MARKER, KEEPALIVE = bytes(4), b"\xff"


def connections(**changes: object) -> tuple[Connection, Connection]:
    """Both default connections, with changes to fields of both."""
    made = [attrs.evolve(psk_connection(role), **changes) for role in ("initiator", "responder")]  # type: ignore[arg-type]
    return made[0], made[1]


def close_in_order(pair: Pair, host: Host) -> None:
    for sa in host.endpoint.sas:
        host.call(host.endpoint.delete, sa)
    pair.run()


@pytest.mark.requirement("IKE-001", "IKE-054", "IKE-055", "IKE-056", "IKE-057")
def test_four_messages_set_up_an_ike_sa_and_a_child_sa() -> None:
    pair = Pair()
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert [(rung.exchange, rung.message_id, rung.is_response) for rung in pair.rungs()] == [
        ("IKE_SA_INIT", 0, False),
        ("IKE_SA_INIT", 0, True),
        ("IKE_AUTH", 1, False),
        ("IKE_AUTH", 1, True),
    ]
    assert len(children(pair.initiator)) == len(children(pair.responder)) == 1
    assert pair.initiator.one(IkeSaEstablished).role == "initiator"
    assert pair.responder.one(IkeSaEstablished).role == "responder"
    assert max(packet.time for packet in pair.network.wire) == pytest.approx(0.03)


def test_the_responder_has_its_child_sa_before_its_response_leaves() -> None:
    pair = Pair()
    pair.initiate()
    pair.run()
    events = pair.responder.events
    child = events.index(pair.responder.one(ChildSaEstablished))
    response = next(
        index for index, event in enumerate(events) if isinstance(event, MessageSent) and event.exchange == "IKE_AUTH"
    )
    assert events.index(pair.responder.one(IkeSaEstablished)) < child < response


def test_equal_seeds_give_equal_runs_to_the_octet() -> None:
    runs = []
    for seed in (1, 1, 2):
        pair = Pair(seed=seed)
        pair.initiate()
        pair.run()
        runs.append(pair.network.wire)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.requirement("IKE-031")
def test_liveness_is_answered_from_both_sides() -> None:
    pair = Pair()
    mine, theirs = pair.establish()
    for host, sa in ((pair.initiator, mine), (pair.responder, theirs)):
        wish = host.call(host.endpoint.check_liveness, sa)
        pair.run()
        assert host.one(RequestCompleted).request == wish
    assert [rung.message_id for rung in pair.rungs() if rung.exchange == "INFORMATIONAL"] == [2, 2, 0, 0]


@pytest.mark.requirement("IKE-061", "IKE-062")
def test_wishes_wait_for_the_window_and_cross_those_of_the_peer() -> None:
    pair = Pair()
    mine, theirs = pair.establish()
    wishes = [pair.initiator.call(pair.initiator.endpoint.check_liveness, mine) for _ in range(5)]
    their_wish = pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    assert len([packet for packet in datagrams(pair, A)[2:] if packet.time == pair.now]) == 1
    pair.run()
    assert [event.request for event in pair.initiator.of(RequestCompleted)] == wishes
    assert pair.responder.one(RequestCompleted).request == their_wish


# --- authentication that fails ----------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-004", "IKE-010", "IKE-190", "IKE-191")
def test_a_wrong_key_fails_on_both_sides_and_leaves_nothing() -> None:
    pair = Pair(psk_connection("initiator", secret=b"one"), psk_connection("responder", secret=b"another"))
    pair.initiate()
    pair.run()
    for host in (pair.initiator, pair.responder):
        failed = host.one(IkeSaFailed)
        assert isinstance(failed.error, AuthenticationFailed)
        assert failed.step == "IKE_AUTH"
        assert children(host) == []
    pair.run_for(60.0)
    assert_nothing_left(pair)


@pytest.mark.requirement("IKE-005", "IKE-190")
def test_an_unknown_identity_looks_like_a_wrong_key() -> None:
    mine, theirs = connections()
    sizes = []
    for initiator in (
        attrs.evolve(mine, local_identity=Identity.parse("nitiatorx.example")),
        psk_connection("initiator", secret=b"wrong"),
    ):
        pair = Pair(initiator, theirs)
        pair.initiate()
        pair.run()
        assert isinstance(pair.initiator.one(IkeSaFailed).error, AuthenticationFailed)
        sizes.append(len(datagrams(pair, B)[-1].data))
    assert sizes[0] == sizes[1]


@pytest.mark.requirement("IKE-003", "IKE-192")
def test_a_responder_with_another_identity_is_refused_and_learns_of_it() -> None:
    mine, theirs = connections()
    pair = Pair(mine, attrs.evolve(theirs, local_identity=Identity.parse("other.example")))
    pair.initiate()
    pair.run()
    assert isinstance(pair.initiator.one(IkeSaFailed).error, AuthenticationFailed)
    assert "authenticate" in pair.responder.one(IkeSaClosed).reason
    pair.run_for(60.0)
    assert_nothing_left(pair)


# --- proposals --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-107")
def test_no_common_proposal_fails_after_a_while_without_state_at_the_responder() -> None:
    mine, _ = connections(proposals=ike_proposals("aes256gcm16-prfsha256-x25519"))
    _, theirs = connections(proposals=ike_proposals("aes256-sha512-ecp521"))
    pair = Pair(mine, theirs)
    pair.initiate()
    pair.run()
    assert isinstance(pair.initiator.one(IkeSaFailed).error, NoProposalChosen)
    assert outcome(pair.responder) == []
    assert_nothing_left(pair)


@pytest.mark.requirement("IKE-006", "IKE-007", "IKE-104")
def test_a_wrong_group_guessed_is_corrected() -> None:
    mine, _ = connections(
        proposals=ike_proposals("aes256gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-ecp256"),
    )
    _, theirs = connections(proposals=ike_proposals("aes256gcm16-prfsha256-ecp256"))
    pair = Pair(mine, theirs)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    retried = pair.initiator.one(KeyExchangeRetried)
    assert (retried.offered, retried.wanted) != ("", "")
    first, second = (decode_message(packet.data) for packet in datagrams(pair, A)[:2])
    assert first[1][0] == second[1][0], "the full set of suites is proposed again"
    assert [header.message_id for header, _ in (first, second)] == [0, 0]


@pytest.mark.parametrize(
    "proposal",
    [
        "aes128-sha256-ecp256",
        "aes256-sha384-modp2048",
        "chacha20poly1305-prfsha512-x448",
        "aes128gcm16-prfsha384-ecp384",
    ],
)
def test_other_suites_work(proposal: str) -> None:
    mine, theirs = connections(proposals=ike_proposals(proposal))
    pair = Pair(mine, theirs)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)


# --- the first Child SA -----------------------------------------------------------------------------------------------


def child_pair(mine: ChildConfig, theirs: ChildConfig) -> Pair:
    return Pair(psk_connection("initiator", children=[mine]), psk_connection("responder", children=[theirs]))


@pytest.mark.requirement("IKE-140", "IKE-141", "IKE-135")
def test_traffic_selectors_are_narrowed() -> None:
    wide = ChildConfig(local_ts=(parse_selector("10.1.0.0/16"),), remote_ts=(parse_selector("0.0.0.0/0"),))
    narrow = ChildConfig(local_ts=(parse_selector("10.2.3.0/24"),), remote_ts=(parse_selector("10.1.5.0/24"),))
    pair = child_pair(wide, narrow)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    [child] = children(pair.initiator)
    assert (child.local_ts, child.remote_ts) == (("10.1.5.0/24",), ("10.2.3.0/24",))


@pytest.mark.requirement("IKE-009", "IKE-138", "IKE-194")
@pytest.mark.parametrize(
    ("theirs", "error"),
    [
        (ChildConfig(local_ts=(parse_selector("192.168.0.0/16"),)), TsUnacceptable),
        (ChildConfig(proposals=esp_proposals("aes128-sha512")), NoProposalChosen),
    ],
)
def test_a_child_sa_that_fails_leaves_the_ike_sa(theirs: ChildConfig, error: type[Exception]) -> None:
    pair = child_pair(ChildConfig(proposals=esp_proposals("aes256gcm16")), theirs)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert children(pair.initiator) == children(pair.responder) == []
    for host in (pair.initiator, pair.responder):
        assert isinstance(host.one(ChildSaFailed).error, error)


def test_childless_sas_need_no_child() -> None:
    mine, theirs = connections(children=())
    pair = Pair(mine, theirs)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert children(pair.initiator) == []
    assert pair.initiator.of(ChildSaFailed) == []


@pytest.mark.requirement("IKE-019")
@pytest.mark.parametrize(("theirs", "agreed"), [("transport", "transport"), ("tunnel", "tunnel")])
def test_transport_mode_has_to_be_wanted_by_both(theirs: str, agreed: str) -> None:
    pair = child_pair(ChildConfig(mode="transport"), ChildConfig(mode=theirs))  # type: ignore[arg-type]
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert children(pair.responder)[0].mode == agreed


# --- NAT --------------------------------------------------------------------------------------------------------------


def behind_nat(*, nat: Nat | None = None, responder_nat: Nat | None = None, **changes: object) -> Pair:
    """A pair whose children have selectors of their own: addresses behind a NAT are not those that the peer sees."""
    left, right = "10.1.0.0/16", "10.2.0.0/16"
    mine, theirs = connections(**changes)
    ours = ChildConfig(local_ts=(parse_selector(left),), remote_ts=(parse_selector(right),))
    other = ChildConfig(local_ts=(parse_selector(right),), remote_ts=(parse_selector(left),))
    return Pair(
        attrs.evolve(mine, children=(ours,)),
        attrs.evolve(theirs, children=(other,)),
        nat=nat,
        responder_nat=responder_nat,
    )


@pytest.mark.requirement("IKE-206", "IKE-209")
def test_without_a_nat_nobody_says_that_there_is_one() -> None:
    pair = Pair()
    pair.establish()
    assert pair.initiator.of(NatDetected) == pair.responder.of(NatDetected) == []
    assert {packet.destination[1] for packet in pair.network.wire} == {500}
    assert not children(pair.initiator)[0].udp_encapsulation


@pytest.mark.requirement("IKE-044", "IKE-148", "IKE-149", "IKE-209", "IKE-210", "IKE-217")
def test_behind_a_nat_everything_moves_to_port_4500_with_the_marker() -> None:
    pair = behind_nat(nat=Nat("203.0.113.1"))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(NatDetected).local_behind_nat
    assert not pair.initiator.one(NatDetected).peer_behind_nat
    assert pair.responder.one(NatDetected).peer_behind_nat
    init, later = datagrams(pair, "203.0.113.1")[:1], datagrams(pair, "203.0.113.1")[1:]
    assert [packet.destination[1] for packet in init] == [500]
    assert later
    for packet in later:
        assert packet.destination == (B, 4500)
        assert packet.data.startswith(MARKER) or packet.data == KEEPALIVE
    answers = datagrams(pair, B)
    assert answers[1].source == (B, 4500)
    assert answers[1].destination == later[0].source
    assert all(host_children[0].udp_encapsulation for host_children in map(children, (pair.initiator, pair.responder)))


@pytest.mark.requirement("IKE-210")
def test_a_responder_behind_a_nat_is_found_too() -> None:
    nat = Nat("203.0.113.2", forwards={("udp", 500): (B, 500), ("udp", 4500): (B, 4500)})
    pair = behind_nat(responder_nat=nat)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(NatDetected).peer_behind_nat
    assert pair.responder.one(NatDetected).local_behind_nat


@pytest.mark.requirement("IKE-213")
def test_port_4500_may_be_used_from_the_start() -> None:
    mine, theirs = connections(transports=Transports(udp_start="nat"))
    pair = Pair(mine, theirs)
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert {packet.destination[1] for packet in pair.network.wire} == {4500}
    assert all(packet.data.startswith(MARKER) for packet in pair.network.wire)


@pytest.mark.requirement("IKE-215")
def test_the_peer_s_address_follows_fresh_traffic_through_a_new_mapping() -> None:
    nat = Nat("203.0.113.1", lifetime=30.0)
    pair = behind_nat(nat=nat, transports=Transports(keepalive=0))
    mine, theirs = pair.establish()
    pair.run_for(100.0)
    before = pair.responder.endpoint.sa(theirs).remote
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run()
    after = pair.responder.endpoint.sa(theirs).remote
    assert before != after
    pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    pair.run()
    assert len(pair.responder.of(RequestCompleted)) == 1


# --- silence ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-045", "IKE-047", "IKE-050", "IKE-051", "IKE-054", "IKE-076", "IKE-077")
def test_silence_is_met_with_repeats_that_grow_rarer_and_ends_in_a_clear_error() -> None:
    pair = Pair()
    pair.network.block("udp", source=A)
    pair.initiate()
    pair.run()
    failed = pair.initiator.one(IkeSaFailed)
    assert isinstance(failed.error, PeerUnreachable)
    assert failed.error.attempts
    sent = datagrams(pair, A)
    assert len(sent) >= 8
    assert len({packet.data for packet in sent}) == 1
    gaps = [later.time - earlier.time for earlier, later in pairwise(sent)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(gaps))
    assert gaps[2] > gaps[1] > gaps[0]
    assert pair.now <= 165.0
    assert_nothing_left(pair)


@pytest.mark.requirement("IKE-046", "IKE-047", "IKE-051", "IKE-064")
@pytest.mark.parametrize("lost", range(4))
def test_each_message_may_be_lost_once(lost: int) -> None:
    pair = Pair()
    Mangler(pair.network).drop(lost)
    sa = pair.initiate()
    pair.run()
    assert [packet.fate for packet in pair.network.wire].count("mangled away") == 1
    assert_agreement(pair, sa)
    assert len(outcome(pair.responder)) == 1
    assert len(children(pair.responder)) == 1
    requests = [packet.data for packet in datagrams(pair, A)]
    assert len(set(requests)) == 2, "repeats are bit-identical"


def test_a_dead_peer_is_noticed_by_a_liveness_check() -> None:
    pair = Pair()
    mine, _ = pair.establish()
    pair.network.detach(pair.responder)
    wish = pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run()
    failed = pair.initiator.one(RequestFailed)
    assert failed.request == wish
    assert isinstance(failed.error, PeerUnreachable)
    assert pair.initiator.one(IkeSaClosed).by == "silence"
    assert pair.initiator.endpoint.sas == ()
    assert pair.initiator.endpoint.idle


def test_other_addresses_are_tried_in_order() -> None:
    pair = Pair(limits=Limits(retransmit_tries=3))
    sa = pair.initiate(remotes=["10.0.0.77", B])
    pair.run()
    assert_agreement(pair, sa)
    assert {packet.fate for packet in pair.network.wire if packet.destination[0] == "10.0.0.77"} == {"unreachable"}


@pytest.mark.requirement("IKE-072")
def test_icmp_says_nothing() -> None:
    pair = Pair()
    mine, _ = pair.establish()
    for _ in range(10):
        endpoint = pair.initiator.endpoint
        pair.initiator.call(endpoint.datagram_failed, local=(A, 500), remote=(B, 500), error="connection refused")
    pair.run()
    assert pair.initiator.endpoint.sas == (mine,)
    assert pair.initiator.of(IkeSaClosed) == []


# --- cookies ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-097", "IKE-099", "IKE-104", "TCP-19")
def test_a_cookie_demanded_is_given() -> None:
    pair = Pair(responder=Config(connections=[psk_connection("responder")], limits=Limits(cookie_threshold=0)))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)
    assert pair.initiator.one(CookieReceived).transport == "udp"
    (_, first), (header, second) = (decode_message(packet.data) for packet in datagrams(pair, A)[:2])
    cookie, *rest = second
    assert getattr(cookie, "notify_type", None) == Notify.COOKIE
    assert rest == first
    assert header.message_id == 0
    assert pair.responder.one(IkeSaEstablished)


@pytest.mark.requirement("IKE-105")
def test_a_cookie_and_a_wrong_group_together() -> None:
    mine, _ = connections(
        proposals=ike_proposals("aes256gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-ecp256"),
    )
    _, theirs = connections(proposals=ike_proposals("aes256gcm16-prfsha256-ecp256"))
    pair = Pair(mine, Config(connections=[theirs], limits=Limits(cookie_threshold=0)))
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)


def test_the_demand_for_cookies_is_told() -> None:
    pair = Pair(responder=Config(connections=[psk_connection("responder")], limits=Limits(cookie_threshold=1)))
    rule = pair.network.block("udp", source=B)
    pair.initiate()
    pair.run_for(0.5)
    assert [event.active for event in pair.responder.of(CookiesDemanded)] == [True]
    pair.network.unblock(rule)
    pair.run()
    assert [event.active for event in pair.responder.of(CookiesDemanded)] == [True, False]


# --- the application decides ------------------------------------------------------------------------------------------


def asking() -> Pair:
    mine, theirs = connections()
    return Pair(mine, attrs.evolve(theirs, authorize=True))


@pytest.mark.parametrize("welcome", [True, False])
def test_the_application_decides_about_a_proven_identity(welcome: bool) -> None:
    pair = asking()
    sa = pair.initiate()
    pair.run(until=lambda: pair.responder.of(AuthorizationNeeded))
    pair.run_for(5.0)
    question = pair.responder.one(AuthorizationNeeded)
    assert question.peer_identity == "fqdn:initiator.example"
    assert outcome(pair.responder) == []
    assert pair.responder.call(pair.responder.endpoint.answer, question.question, welcome)
    pair.run()
    assert pair.responder.one(QuestionClosed).question == question.question
    if welcome:
        assert_agreement(pair, sa)
    else:
        assert isinstance(pair.initiator.one(IkeSaFailed).error, AuthenticationFailed)
        assert len(outcome(pair.responder)) == 1
    assert not pair.responder.call(pair.responder.endpoint.answer, question.question, True)


def test_no_answer_is_a_refusal() -> None:
    pair = asking()
    pair.initiate()
    pair.run()
    assert isinstance(pair.initiator.one(IkeSaFailed).error, AuthenticationFailed)
    assert isinstance(pair.responder.one(IkeSaFailed).error, AuthenticationFailed)
    assert_nothing_left(pair)


def test_answers_of_the_wrong_kind_are_misuse() -> None:
    pair = asking()
    pair.initiate()
    pair.run(until=lambda: pair.responder.of(AuthorizationNeeded))
    question = pair.responder.one(AuthorizationNeeded).question
    with pytest.raises(LocalProtocolError):
        pair.responder.call(pair.responder.endpoint.answer, question, "yes")
    with pytest.raises(LocalProtocolError):
        pair.responder.call(pair.responder.endpoint.answer, 999, True)


# --- the application lets go ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.015, 0.025, 0.035, 1.0])
def test_abandoning_at_any_moment_leaves_nothing(moment: float) -> None:
    pair = Pair()
    sa = pair.initiate()
    pair.run(until=moment)
    pair.initiator.call(pair.initiator.endpoint.abandon, sa)
    assert pair.initiator.endpoint.sas == ()
    assert pair.initiator.endpoint.idle
    pair.run_for(100.0)
    if moment not in (0.025, 0.035):  # then IKE_AUTH makes the responder's SA, and nobody tells it
        assert_nothing_left(pair)


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.015, 0.025, 0.035, 1.0])
def test_shutting_down_at_any_moment_leaves_nothing(moment: float) -> None:
    pair = Pair()
    pair.initiate()
    pair.run(until=moment)
    for host in (pair.responder, pair.initiator):
        host.call(host.endpoint.shutdown)
    pair.run_for(200.0)
    assert pair.initiator.endpoint.idle
    assert pair.responder.endpoint.idle


def test_many_sas_live_side_by_side() -> None:
    pair = Pair()
    sas = [pair.initiate() for _ in range(20)]
    pair.run()
    for sa in sas:
        assert_agreement(pair, sa)
    assert len({pair.initiator.endpoint.sa(sa).spi_i for sa in sas}) == 20
    close_in_order(pair, pair.initiator)
    assert_nothing_left(pair)


def test_both_sides_may_initiate_at_once() -> None:
    pair = Pair()
    mine = pair.initiate()
    theirs = pair.responder.call(pair.responder.endpoint.initiate, psk_connection("responder"), [A])
    pair.run()
    assert len(pair.initiator.of(IkeSaEstablished)) == 2
    assert len(pair.responder.of(IkeSaEstablished)) == 2
    assert mine in pair.initiator.endpoint.sas
    assert theirs in pair.responder.endpoint.sas


def test_waiting_for_what_cannot_come_is_an_error_of_the_test() -> None:
    pair = Pair()
    with pytest.raises(NetworkError):
        pair.run(until=lambda: pair.initiator.of(IkeSaEstablished))
