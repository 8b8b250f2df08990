"""What a Child SA is agreed on to be: selectors, modes and notifications (RFC 7296 sections 1.3.1, 2.9, 2.23.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.config import ChildConfig
from ikecore.errors import LocalProtocolError, NoProposalChosen, SinglePairRequired, TsUnacceptable
from ikecore.events import ChildSaEstablished, ChildSaFailed, IkeSaFailed
from ikecore.sa.child_terms import Agreed, accept_answer, choose, offer, offered_selectors
from ikecore.sa.ends import Ends, through_nat
from ikecore.sa.selectors import covers, in_words, intersect, narrow, parse_selector
from ikecore.testing import Pair, psk_connection
from ikecore.testing.nat import Nat
from ikecore.transport import Local, NatFacts
from ikecore.wire import (
    Delete,
    Nonce,
    Notification,
    Payload,
    SecurityAssociation,
    TrafficSelector,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    UnknownSelector,
)
from ikecore.wire.numbers import Exchange, Notify, Protocol
from tests.rig import Puppet, Rig, esp_proposals, notifications
from tests.sa.test_selectors import selectors

SPI = b"spi!"
NO_NAT = NatFacts()
HOSTS = Ends("10.0.0.2", "10.0.0.1", NO_NAT)
"""Seen by the responder, whose peer is 10.0.0.1."""


def ts(*texts: str) -> tuple[TrafficSelector, ...]:
    return tuple(parse_selector(text) for text in texts)


def words(selectors: Sequence[TrafficSelector | UnknownSelector]) -> list[str]:
    return [in_words(each) for each in selectors]


def chosen(
    *children: ChildConfig,
    ts_i: Sequence[TrafficSelector],
    ts_r: Sequence[TrafficSelector],
    ends: Ends = HOSTS,
    transport: bool = False,
) -> tuple[ChildConfig, Agreed]:
    proposals = offer(ChildConfig(), SPI, with_group=False)
    return choose(children, proposals, ts_i, ts_r, ends=ends, transport=transport, with_group=False)


# --- narrowing --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-138", "IKE-139", "IKE-140", "IKE-142")
@given(
    st.lists(selectors(), min_size=1, max_size=5),
    st.lists(selectors(), min_size=1, max_size=5),
    st.lists(selectors(), min_size=1, max_size=5),
    st.lists(selectors(), min_size=1, max_size=5),
)
def test_what_the_responder_grants_the_initiator_takes(
    offered_i: list[TrafficSelector],
    offered_r: list[TrafficSelector],
    mine: list[TrafficSelector],
    theirs: list[TrafficSelector],
) -> None:
    config = ChildConfig(local_ts=tuple(mine), remote_ts=tuple(theirs))
    try:
        _, agreed = chosen(config, ts_i=offered_i, ts_r=offered_r)
    except TsUnacceptable:
        assert not narrow(offered_i, theirs) or not narrow(offered_r, mine)
        return
    again = narrow(agreed.ts_i, theirs), narrow(agreed.ts_r, mine)
    assert again == (agreed.ts_i, agreed.ts_r)  # narrowing twice changes nothing
    for offered, allowed, granted in ((offered_i, theirs, agreed.ts_i), (offered_r, mine, agreed.ts_r)):
        assert all(any(covers(each, one) for each in offered) for one in granted)
        assert all(any(covers(each, one) for each in allowed) for one in granted)
        firsts = [common for rule in allowed if (common := intersect(offered[0], rule)) is not None]
        assert all(any(covers(one, first) for one in granted) for first in firsts)
    proposals = offer(ChildConfig(), SPI, with_group=False)
    taken = accept_answer(
        proposals,
        offered_i,
        offered_r,
        [agreed.proposal],
        agreed.ts_i,
        agreed.ts_r,
        ends=HOSTS,
        config=ChildConfig(local_ts=tuple(offered_i)),
        transport=False,
        offered_mode="tunnel",
    )
    assert (taken.ts_i, taken.ts_r) == (agreed.ts_i, agreed.ts_r)


@pytest.mark.requirement("IKE-137", "IKE-139")
def test_a_waiting_packet_goes_first_and_is_granted() -> None:
    packet = ts("10.1.2.3[tcp/40000]", "10.2.0.9[tcp/443]")
    config = ChildConfig(local_ts=ts("10.1.0.0/16"), remote_ts=ts("10.2.0.0/16", "10.4.0.0/16"), packet=packet)
    terms = offered_selectors(config, HOSTS)
    assert terms is not None
    assert words(terms[0]) == ["10.1.2.3[6/40000]", "10.1.0.0/16"]
    assert words(terms[1]) == ["10.2.0.9[6/443]", "10.2.0.0/16", "10.4.0.0/16"]
    policy = ChildConfig(local_ts=ts("10.2.0.0/24[tcp]"), remote_ts=ts("10.1.0.0/16[tcp]"))
    _, agreed = chosen(policy, ts_i=terms[0], ts_r=terms[1])
    assert words(agreed.ts_i) == ["10.1.0.0/16[6]"]
    assert words(agreed.ts_r) == ["10.2.0.0/24[6]"]


def test_a_packet_that_is_not_for_this_child_is_not_named() -> None:
    packet = ts("192.0.2.1[tcp/40000]", "10.2.0.9[tcp/443]")
    terms = offered_selectors(
        ChildConfig(local_ts=ts("10.1.0.0/16"), remote_ts=ts("10.2.0.9[tcp]"), packet=packet), HOSTS
    )
    assert terms is not None
    assert words(terms[0]) == ["10.1.0.0/16"]
    assert words(terms[1]) == ["10.2.0.9[6/443]", "10.2.0.9[6]"]


@pytest.mark.requirement("IKE-140")
def test_other_selectors_are_possible_in_another_child() -> None:
    first = ChildConfig(name="first", local_ts=ts("10.2.0.0/24"), remote_ts=ts("10.1.0.0/16"))
    second = ChildConfig(name="second", local_ts=ts("10.3.0.0/24"), remote_ts=ts("10.1.0.0/16"))
    within = ChildConfig(name="within", local_ts=ts("10.2.0.0/25"), remote_ts=ts("10.1.0.0/16"))
    offered: dict[str, Any] = {"ts_i": ts("10.1.0.0/16"), "ts_r": ts("10.0.0.0/8")}
    config, agreed = chosen(first, second, **offered)
    assert (config.name, agreed.additional) == ("first", True)
    assert not chosen(first, **offered)[1].additional
    assert not chosen(first, within, **offered)[1].additional


@pytest.mark.requirement("IKE-140")
def test_that_other_selectors_are_possible_is_told() -> None:
    children = [
        ChildConfig(name=name, local_ts=ts(net), remote_ts=ts("0.0.0.0/0"))
        for name, net in (("first", "10.2.0.0/24"), ("second", "10.3.0.0/24"))
    ]
    ours = ChildConfig(local_ts=ts("10.1.0.0/24"), remote_ts=ts("10.0.0.0/8"))
    pair = Pair(psk_connection("initiator", children=[ours]), psk_connection("responder", children=children))
    pair.establish()
    pair.run()
    for host in (pair.initiator, pair.responder):
        (child,) = host.of(ChildSaEstablished)
        assert child.additional_ts_possible


@pytest.mark.requirement("IKE-141")
def test_a_child_for_single_pairs() -> None:
    config = ChildConfig(local_ts=ts("10.2.0.0/16"), remote_ts=ts("10.1.0.0/16"), single_pair=True)
    with pytest.raises(SinglePairRequired):
        chosen(config, ts_i=ts("10.1.0.0/16"), ts_r=ts("10.2.0.0/16"))
    _, agreed = chosen(
        config, ts_i=ts("10.1.2.3[tcp/40000]", "10.1.0.0/16"), ts_r=ts("10.2.0.9[tcp/443]", "10.2.0.0/16")
    )
    assert (words(agreed.ts_i), words(agreed.ts_r)) == (["10.1.2.3"], ["10.2.0.9"])
    _, agreed = chosen(config, ts_i=ts("10.1.2.3[tcp]"), ts_r=ts("10.2.0.9[tcp/443]", "10.2.0.9[udp/53]"))
    assert (words(agreed.ts_i), words(agreed.ts_r)) == (["10.1.2.3[6]"], ["10.2.0.9[6/443]", "10.2.0.9[17/53]"])
    with pytest.raises(SinglePairRequired):
        chosen(config, ts_i=ts("192.0.2.1", "10.1.0.0/16"), ts_r=ts("10.2.0.9"))


def test_a_single_pair_is_demanded_and_given_for_a_packet() -> None:
    wide = ChildConfig(local_ts=ts("10.1.0.0/16"), remote_ts=ts("10.2.0.0/16"))
    exact = ChildConfig(**{**fields(wide), "packet": ts("10.1.0.5[tcp/40000]", "10.2.0.5[tcp/22]")})
    policy = ChildConfig(local_ts=ts("10.2.0.0/16"), remote_ts=ts("10.1.0.0/16"), single_pair=True)
    for child in (wide, exact):
        pair = Pair(psk_connection("initiator", children=[child]), psk_connection("responder", children=[policy]))
        pair.establish()
        pair.run()
        if child is wide:
            assert isinstance(pair.initiator.of(ChildSaFailed)[0].error, SinglePairRequired)
            assert isinstance(pair.responder.of(ChildSaFailed)[0].error, SinglePairRequired)
        else:
            (up,) = pair.initiator.of(ChildSaEstablished)
            assert (up.local_ts, up.remote_ts) == (("10.1.0.5",), ("10.2.0.5",))


def fields(config: ChildConfig) -> dict[str, Any]:
    return {"local_ts": config.local_ts, "remote_ts": config.remote_ts}


def test_a_packet_has_two_selectors() -> None:
    with pytest.raises(LocalProtocolError, match="packet: 1 selectors"):
        ChildConfig(packet=ts("10.0.0.1"))


@pytest.mark.requirement("IKE-144")
def test_a_rekey_keeps_the_selectors_although_the_peer_has_moved() -> None:
    """Selectors that come from the hosts' addresses stay what they were when one of those changes."""
    rig = Rig()
    puppet = Puppet(rig)
    sa = puppet.establish()
    before = rig.one(ChildSaEstablished)
    puppet.address, puppet.local = ("10.0.0.77", 500), ("10.0.0.3", 500)
    rig.endpoint.local_added(Local(puppet.local), now=rig.now)
    puppet.request(Exchange.INFORMATIONAL)
    assert rig.endpoint.sa(sa).remote == puppet.address
    offered = (TrafficSelectorsInitiator(ts("10.0.0.1")), TrafficSelectorsResponder(ts("10.0.0.2")))
    fresh: list[Payload] = [SecurityAssociation(esp_proposals(b"\1\2\3\4")), Nonce(bytes(32)), *offered]
    rekey = Notification(Notify.REKEY_SA, b"", Protocol.ESP, before.spi_out)
    puppet.request(Exchange.CREATE_CHILD_SA, [rekey, *fresh])
    last = rig.last(ChildSaEstablished)
    assert last.replaces == before.child
    assert (last.local_ts, last.remote_ts) == (before.local_ts, before.remote_ts)
    assert notifications(puppet.request(Exchange.CREATE_CHILD_SA, fresh)) == [Notify.TS_UNACCEPTABLE]


@pytest.mark.requirement("IKE-137", "IKE-145")
def test_a_rekey_proposes_what_was_agreed_on_without_the_packet() -> None:
    net = ts("10.0.0.0/24")
    child = ChildConfig(local_ts=net, remote_ts=net, packet=ts("10.0.0.2[tcp/40000]", "10.0.0.1[tcp/443]"))
    rig = Rig()
    puppet = Puppet(rig, "responder")
    sa = rig.initiate(psk_connection("initiator", children=[child]))
    puppet.answer_init()
    assert selectors_in(puppet) == (["10.0.0.2[6/40000]", "10.0.0.0/24"], ["10.0.0.1[6/443]", "10.0.0.0/24"])
    puppet.answer_auth()
    up = rig.one(ChildSaEstablished)
    rig.endpoint.rekey(sa, child=up.child, now=rig.now)
    rig.drain()
    assert selectors_in(puppet) == (["10.0.0.2"], ["10.0.0.1"]) == (list(up.local_ts), list(up.remote_ts))


def selectors_in(puppet: Puppet) -> tuple[list[str], list[str]]:
    """TSi and TSr of the endpoint's latest request, in words."""
    request = puppet.requests()[-1][1]
    (ts_i,) = (each for each in request if isinstance(each, TrafficSelectorsInitiator))
    (ts_r,) = (each for each in request if isinstance(each, TrafficSelectorsResponder))
    return words(ts_i.selectors), words(ts_r.selectors)


# --- transport mode ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-218")
def test_transport_mode_is_offered_for_the_two_hosts() -> None:
    ours = Ends("10.0.0.1", "10.0.0.2", NO_NAT)
    config = ChildConfig(mode="transport", local_ts=ts("0.0.0.0/0[tcp/443]", "10.0.0.0/24[udp]", "::/0"))
    terms = offered_selectors(config, ours)
    assert terms is not None
    assert (words(terms[0]), words(terms[1]), terms[2]) == (
        ["10.0.0.1[6/443]", "10.0.0.1[17]"],
        ["10.0.0.2"],
        "transport",
    )


@pytest.mark.requirement("IKE-218")
def test_selectors_without_the_hosts_are_no_transport_mode() -> None:
    config = ChildConfig(mode="transport", local_ts=ts("192.0.2.0/24"))
    terms = offered_selectors(config, HOSTS)
    assert terms is not None
    assert (words(terms[0]), terms[2]) == (["192.0.2.0/24"], "tunnel")
    strict = ChildConfig(mode="transport", local_ts=ts("192.0.2.0/24"), tunnel_fallback=False)
    assert offered_selectors(strict, HOSTS) is None
    rig = Rig()
    puppet = Puppet(rig, "responder")
    sa = rig.initiate(psk_connection("initiator", children=[strict]))
    puppet.answer_init(extra=[Notification(Notify.CHILDLESS_IKEV2_SUPPORTED)])
    assert not any(isinstance(each, SecurityAssociation) for each in puppet.requests()[-1][1])
    puppet.answer_auth(puppet.auth(child=False))
    assert isinstance(rig.one(ChildSaFailed).error, LocalProtocolError)
    assert rig.endpoint.sa(sa).state == "established"
    rig.endpoint.create_child(sa, now=rig.now)
    rig.drain()
    assert len(rig.of(ChildSaFailed)) == 2


def test_a_child_that_cannot_be_offered_to_who_makes_no_childless_sa_ends_it() -> None:
    rig = Rig()
    strict = ChildConfig(mode="transport", local_ts=ts("192.0.2.0/24"), tunnel_fallback=False)
    rig.initiate(psk_connection("initiator", children=[strict]))
    puppet = Puppet(rig, "responder")
    puppet.answer_init()
    assert puppet.requests() == []
    assert isinstance(rig.one(IkeSaFailed).error, LocalProtocolError)
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-019")
def test_transport_mode_can_be_a_must_for_the_responder() -> None:
    strict = ChildConfig(mode="transport", tunnel_fallback=False)
    offered: dict[str, Any] = {"ts_i": ts("10.0.0.1"), "ts_r": ts("10.0.0.2")}
    assert chosen(strict, transport=True, **offered)[1].mode == "transport"
    with pytest.raises(TsUnacceptable, match="needs transport mode"):
        chosen(strict, **offered)
    loose = ChildConfig(mode="transport")
    assert chosen(loose, **offered)[1].mode == "tunnel"
    tunnel = ChildConfig(local_ts=ts("10.0.0.0/24"), remote_ts=ts("10.0.0.0/24"))
    assert chosen(tunnel, transport=True, **offered)[1].mode == "tunnel"


@pytest.mark.requirement("IKE-020")
@pytest.mark.parametrize("fallback", [True, False])
def test_a_peer_that_declines_transport_mode(fallback: bool) -> None:
    rig = Rig()
    puppet = Puppet(rig, "responder")
    child = ChildConfig(mode="transport", tunnel_fallback=fallback)
    sa = rig.initiate(psk_connection("initiator", children=[child]))
    puppet.answer_init()
    assert Notify.USE_TRANSPORT_MODE in notifications(puppet.requests()[-1][1])
    puppet.answer_auth()
    if fallback:
        assert rig.one(ChildSaEstablished).mode == "tunnel"
        return
    assert "transport mode" in str(rig.one(ChildSaFailed).error)
    assert [each for each in puppet.requests()[-1][1] if isinstance(each, Delete)]
    assert rig.endpoint.sa(sa).state == "established"


def test_transport_mode_that_nobody_offered_is_refused() -> None:
    rig = Rig()
    puppet = Puppet(rig, "responder")
    rig.initiate()
    puppet.answer_init()
    payloads = puppet.auth()
    puppet.answer_auth([*payloads[:2], Notification(Notify.USE_TRANSPORT_MODE), *payloads[2:]])
    assert isinstance(rig.one(ChildSaFailed).error, NoProposalChosen)


# --- through NATs: the addresses of the RFC's figure ------------------------------------------------------------------

IP1, IPN1, IPN2, IP2 = "10.0.0.1", "203.0.113.1", "198.51.100.1", "10.0.0.2"
BOTH = NatFacts(local_behind_nat=True, peer_behind_nat=True)


@pytest.mark.requirement("IKE-219")
def test_the_rfcs_example_end_to_end() -> None:
    """Both sides see their own addresses in the selectors, and know those that the other side wrote."""
    child = ChildConfig(mode="transport", tunnel_fallback=False)
    pair = Pair(
        psk_connection("initiator", children=[child]),
        psk_connection("responder", children=[child]),
        nat=Nat(IPN1),
        responder_nat=Nat(IPN2, open=True, forwards={("udp", 500): (IP2, 500), ("udp", 4500): (IP2, 4500)}),
        checked=False,
    )
    mine, _ = pair.establish()
    pair.run()
    for _ in range(2):
        (client, server) = (pair.initiator.of(ChildSaEstablished)[-1], pair.responder.of(ChildSaEstablished)[-1])
        assert client.mode == server.mode == "transport"
        assert (client.local_ts, client.remote_ts) == ((IP1,), (IPN2,))
        assert (server.local_ts, server.remote_ts) == ((IP2,), (IPN1,))
        assert (client.original_local, client.original_remote) == (IPN1, IP2)
        assert (server.original_local, server.original_remote) == (IPN2, IP1)
        assert client.udp_encapsulation
        pair.initiator.call(pair.initiator.endpoint.rekey, mine, child=client.child)
        pair.run()
    # The responder rekeys as well: what was substituted here is substituted back there.
    (server,) = pair.responder.endpoint.sa(pair.peer_of(mine)).children
    pair.responder.call(pair.responder.endpoint.rekey, pair.peer_of(mine), child=server.id)
    pair.run()
    last = pair.initiator.of(ChildSaEstablished)[-1]
    assert last.replaces is not None
    assert (last.local_ts, last.remote_ts, last.mode) == ((IP1,), (IPN2,), "transport")


@pytest.mark.requirement("IKE-219")
@pytest.mark.parametrize(
    ("nat", "ours", "theirs"),
    [
        (BOTH, IP2, IPN1),
        (NatFacts(local_behind_nat=True), IP2, IP1),
        (NatFacts(peer_behind_nat=True), IPN2, IPN1),
        (NO_NAT, IPN2, IP1),
    ],
)
def test_only_addresses_behind_a_nat_are_substituted(nat: NatFacts, ours: str, theirs: str) -> None:
    seen = through_nat(ts(f"{IPN2}[tcp/443]"), ts(f"{IP1}[tcp]"), Ends(IP2, IPN1, nat))
    assert (words(seen.ours), words(seen.peers)) == ([f"{ours}[6/443]"], [f"{theirs}[6]"])
    assert seen.originals == ((IPN2, IP1) if nat.any else None)


@pytest.mark.requirement("IKE-219")
def test_a_tunnel_is_made_of_the_original_addresses() -> None:
    """The second lookup undoes the substitution (RFC 7296 section 2.23.1)."""
    tunnel = ChildConfig(local_ts=ts(IPN2), remote_ts=ts("10.0.0.0/24"))
    ends = Ends(IP2, IPN1, BOTH)
    _, agreed = chosen(tunnel, ts_i=ts(IP1), ts_r=ts(IPN2), ends=ends, transport=True)
    assert (agreed.mode, words(agreed.ts_i), words(agreed.ts_r), agreed.originals) == ("tunnel", [IP1], [IPN2], None)
    other = ChildConfig(mode="transport", local_ts=ts(IPN2), remote_ts=ts("10.0.0.0/24"))
    assert chosen(other, ts_i=ts(IP1), ts_r=ts(IPN2), ends=ends, transport=True)[1].mode == "tunnel"


def test_what_is_no_single_address_is_not_substituted() -> None:
    six, unknown = parse_selector("2001:db8::1"), UnknownSelector(200, 0, b"")
    wide = parse_selector("10.0.0.0/24")
    seen = through_nat([wide, six, unknown], [wide], Ends(IP2, IPN1, BOTH))
    assert seen.ours == (wide, six, unknown)
    assert seen.originals == ("2001:db8::1", IPN1)


# --- facts ------------------------------------------------------------------------------------------------------------


def with_notifications(payloads: list[Payload], *kinds: int) -> list[Payload]:
    return [*payloads[:2], *(Notification(kind) for kind in kinds), *payloads[2:]]


@pytest.mark.requirement("IKE-021")
@pytest.mark.parametrize("theirs", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_each_side_says_whether_it_takes_tfc_padding(ours: bool, theirs: bool) -> None:
    rig = Rig(psk_connection("responder", children=[ChildConfig(tfc_padding=ours)]))
    puppet = Puppet(rig)
    puppet.begin()
    said = [] if theirs else [Notify.ESP_TFC_PADDING_NOT_SUPPORTED]
    answer = puppet.request(Exchange.IKE_AUTH, with_notifications(puppet.auth(), *said))
    assert rig.one(ChildSaEstablished).tfc_padding is theirs
    assert (Notify.ESP_TFC_PADDING_NOT_SUPPORTED in notifications(answer)) is not ours


@pytest.mark.requirement("IKE-022")
@pytest.mark.parametrize("theirs", [True, False])
@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_other_fragments_than_the_first_need_both_sides(role: str, ours: bool, theirs: bool) -> None:
    child = ChildConfig(non_first_fragments=ours)
    said = [Notify.NON_FIRST_FRAGMENTS_ALSO] if theirs else []
    if role == "responder":
        rig = Rig(psk_connection("responder", children=[child]))
        puppet = Puppet(rig)
        puppet.begin()
        answer = puppet.request(Exchange.IKE_AUTH, with_notifications(puppet.auth(), *said))
        assert (Notify.NON_FIRST_FRAGMENTS_ALSO in notifications(answer)) is (ours and theirs)
    else:
        rig = Rig()
        puppet = Puppet(rig, "responder")
        rig.initiate(psk_connection("initiator", children=[child]))
        puppet.answer_init()
        assert (Notify.NON_FIRST_FRAGMENTS_ALSO in notifications(puppet.requests()[-1][1])) is ours
        puppet.answer_auth(with_notifications(puppet.auth(), *said))
    assert rig.one(ChildSaEstablished).non_first_fragments is (ours and theirs)


def test_the_order_of_notifications_is_that_of_the_appendix() -> None:
    child = ChildConfig(mode="transport", tfc_padding=False, non_first_fragments=True)
    rig = Rig()
    puppet = Puppet(rig, "responder")
    rig.initiate(psk_connection("initiator", children=[child]))
    puppet.answer_init()
    request = puppet.requests()[-1][1]
    wanted = [Notify.USE_TRANSPORT_MODE, Notify.ESP_TFC_PADDING_NOT_SUPPORTED, Notify.NON_FIRST_FRAGMENTS_ALSO]
    assert [each for each in notifications(request) if each in wanted] == wanted
    kinds = [type(each) for each in request]
    assert kinds.index(Notification) < kinds.index(SecurityAssociation) < kinds.index(TrafficSelectorsInitiator)
    assert kinds[-1] is TrafficSelectorsResponder
