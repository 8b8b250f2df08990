"""Policies as tables: from what is known to a transport and a reason (the draft, section 3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.events import Transport
from ikecore.transport import (
    BySize,
    Choice,
    Fallback,
    Policy,
    Race,
    Situation,
    Step,
    TcpOnly,
    UdpOnly,
    Way,
    WholeMission,
)
from ikecore.transport.policy import UDP_PATIENCE

UDP, TCP, BOTH = frozenset({"udp"}), frozenset({"tcp"}), frozenset({"udp", "tcp"})


def situation(**known: Any) -> Situation:
    """An IKE_AUTH of middling size over UDP, nothing known of TCP."""
    values: dict[str, Any] = {
        "exchange": "IKE_AUTH",
        "initial": False,
        "setup": True,
        "liveness": False,
        "octets": 400,
        "expected": 400,
        "tcp": False,
        "tcp_reason": "the peer announced no TCP port",
        "tcp_configured": False,
        "tcp_open": False,
        "udp": True,
    }
    return Situation(**{**values, **known})


INIT: dict[str, Any] = {"exchange": "IKE_SA_INIT", "initial": True, "octets": 0, "expected": 0}
KNOWN: dict[str, Any] = {"tcp": True, "tcp_reason": "the peer announced TCP port 500"}
CONFIGURED: dict[str, Any] = {"tcp": True, "tcp_reason": "TCP port 500 is configured", "tcp_configured": True}
LARGE: dict[str, Any] = {"octets": 5000}
LARGE_ANSWER: dict[str, Any] = {"expected": 5000}
FRAGMENTS: dict[str, Any] = {"fragmentation": True, "packet": 1252}
PIECES = frozenset({"fragments"})
THREE = Fallback((Step("udp", 2.0), Step("fragments", 4.0), Step("tcp")))
UP: dict[str, Any] = {"setup": False, "exchange": "INFORMATIONAL"}

CASES: list[tuple[Policy, dict[str, Any], Transport, str, float | None]] = [
    # UDP only, TCP only
    (UdpOnly(), {**LARGE, **CONFIGURED}, "udp", "UDP only", None),
    (UdpOnly(), {"tried": UDP}, "udp", "UDP only", None),
    (TcpOnly(), {**INIT}, "tcp", "TCP only", None),
    (TcpOnly(), {**UP, "liveness": True}, "tcp", "TCP only", None),
    # by size
    (BySize(), {**INIT, **CONFIGURED}, "udp", "needs no connection", UDP_PATIENCE),
    (BySize(), {**INIT}, "udp", "needs no connection", None),
    (BySize(), {**INIT, **CONFIGURED, "tried": UDP}, "tcp", "UDP failed; TCP port 500 is configured", None),
    (BySize(), {**KNOWN}, "udp", "400 octets at most, not above 1200", UDP_PATIENCE),
    (BySize(), {**KNOWN, "octets": 1200}, "udp", "not above 1200", UDP_PATIENCE),
    (BySize(), {**KNOWN, "octets": 1201}, "tcp", "the request has 1201 octets, above 1200", None),
    (BySize(), {**KNOWN, **LARGE_ANSWER}, "tcp", "the response may have 5000 octets", None),
    (BySize(), {**LARGE}, "udp", "but the peer announced no TCP port", None),
    (BySize(), {**LARGE, **KNOWN, "tried": TCP}, "udp", "TCP failed; the request has 5000 octets", UDP_PATIENCE),
    (BySize(), {**LARGE, **KNOWN, "tried": BOTH}, "udp", "nothing else is left", None),
    (BySize(), {**LARGE, **KNOWN, "udp": False}, "tcp", "above 1200", None),
    (BySize(), {**KNOWN, "udp": False}, "tcp", "announced TCP port", None),
    (BySize(), {**KNOWN, "udp": False, "tried": TCP}, "tcp", "nothing else is left", None),
    (BySize(), {"udp": False}, "udp", "400 octets", None),
    (BySize(), {**LARGE, **KNOWN, "failed_lately": TCP}, "udp", "TCP failed with this peer lately", UDP_PATIENCE),
    (BySize(), {**KNOWN, "tried": UDP}, "tcp", "UDP failed; the peer announced TCP port 500", None),
    (BySize(), {**UP, **KNOWN, "liveness": True}, "udp", "400 octets", UDP_PATIENCE),
    (BySize(threshold=0), {**KNOWN, "octets": 1}, "tcp", "above 0", None),
    # the whole mission
    (WholeMission(), {**INIT}, "tcp", "one TCP connection", None),
    (WholeMission(), {**INIT, "tried": TCP}, "udp", "TCP failed", UDP_PATIENCE),
    (WholeMission(), {**INIT, "failed_lately": TCP}, "udp", "lately", UDP_PATIENCE),
    (WholeMission(), {**KNOWN}, "tcp", "one TCP connection", None),
    (WholeMission(), {"tcp_open": True}, "tcp", "one TCP connection", None),
    (WholeMission(), {}, "udp", "announced no TCP port", None),
    (WholeMission(), {**UP, **KNOWN, "tcp_open": True}, "udp", "the rest goes over UDP", UDP_PATIENCE),
    (WholeMission(), {**UP, **KNOWN, "udp": False}, "tcp", "announced TCP port", None),
    # the race
    (Race(), {**INIT}, "udp", "nothing says", None),
    (Race(), {**INIT, **CONFIGURED}, "udp", "the race begins on UDP", 2.0),
    (Race(patience=0.5, discover=True), {**INIT}, "udp", "the race begins on UDP", 0.5),
    (Race(), {**INIT, **CONFIGURED, "tried": UDP}, "tcp", "UDP failed; the race goes on over TCP", None),
    (Race(), {**KNOWN, "tcp_open": True}, "tcp", "raced is open", None),
    (Race(), {**KNOWN}, "udp", "no connection is open", UDP_PATIENCE),
    (Race(), {**KNOWN, "tcp_open": True, "liveness": True}, "udp", "no connection", UDP_PATIENCE),
    (Race(), {**UP, **KNOWN, "tcp_open": True}, "udp", "the SA is set up", UDP_PATIENCE),
    # an ordered list
    (Fallback(), {**INIT}, "udp", "step 1 of 2", UDP_PATIENCE),
    (Fallback(), {**INIT, "tried": UDP}, "tcp", "UDP failed; step 2 of 2", 20.0),
    (Fallback(), {**INIT, "tried": BOTH}, "udp", "nothing else is left", None),
    (Fallback((Step("tcp", 3.0), Step("udp", 5.0))), {**INIT}, "tcp", "step 1 of 2", 3.0),
    (Fallback((Step("tcp", 3.0), Step("udp", 5.0))), {**INIT, "tried": TCP}, "udp", "step 2 of 2", 5.0),
    (Fallback((Step("tcp", 3.0), Step("udp", 5.0))), {**INIT, "failed_lately": TCP}, "udp", "TCP failed", 5.0),
    (Fallback((Step("udp"),)), {**INIT, **CONFIGURED, "tried": UDP}, "udp", "nothing else is left", None),
]
WAYS: list[tuple[Policy, dict[str, Any], Way, str]] = [
    (UdpOnly(), {**LARGE, **FRAGMENTS}, "fragments", "UDP only; in IKE fragments, since one packet holds 1252 octets"),
    (UdpOnly(), {**LARGE}, "udp", "UDP only"),
    (UdpOnly(), {**FRAGMENTS, "octets": 1252}, "udp", "UDP only"),
    (TcpOnly(), {**LARGE, **FRAGMENTS}, "tcp", "TCP only"),
    (BySize(), {**LARGE, **FRAGMENTS}, "fragments", "but the peer announced no TCP port; in IKE fragments"),
    (BySize(), {**LARGE, **FRAGMENTS, **KNOWN}, "tcp", "above 1200"),
    (BySize(), {**LARGE, **FRAGMENTS, **KNOWN, "tried": TCP}, "fragments", "TCP failed; the request has 5000 octets"),
    (BySize(60_000), {**LARGE, **FRAGMENTS, **KNOWN, "tried": PIECES}, "tcp", "UDP with IKE fragments failed"),
    (BySize(), {**LARGE, **FRAGMENTS, **KNOWN, "failed_lately": TCP}, "fragments", "TCP failed with this peer lately"),
    (BySize(60_000), {**LARGE, **FRAGMENTS, **KNOWN, "failed_lately": UDP}, "tcp", "IKE fragments failed with this"),
    (BySize(), {**LARGE, **FRAGMENTS, **KNOWN, "tried": PIECES | TCP}, "fragments", "nothing else is left"),
    (BySize(), {**LARGE, **FRAGMENTS, "udp": False}, "udp", "but the peer"),
    (BySize(), {**FRAGMENTS, **LARGE_ANSWER}, "udp", "the response may have"),
    (WholeMission(), {**LARGE, **FRAGMENTS, **KNOWN, "tried": TCP}, "fragments", "the set-up goes over UDP"),
    (Race(), {**LARGE, **FRAGMENTS, **KNOWN}, "fragments", "no connection is open"),
    (Fallback(), {**LARGE, **FRAGMENTS}, "fragments", "step 1 of 2"),
    (Fallback(), {**LARGE, **FRAGMENTS, "tried": PIECES}, "tcp", "step 2 of 2"),
    (THREE, {**LARGE, **FRAGMENTS}, "udp", "step 1 of 3"),
    (THREE, {**LARGE, **FRAGMENTS, "tried": UDP}, "fragments", "UDP failed; step 2 of 3"),
    (THREE, {**LARGE, "tried": UDP}, "tcp", "UDP failed; step 3 of 3"),
    (THREE, {**FRAGMENTS, "tried": UDP}, "tcp", "UDP failed; step 3 of 3"),
    (THREE, {**LARGE, **FRAGMENTS, "tried": UDP | PIECES | TCP}, "fragments", "nothing else is left"),
    (Fallback((Step("fragments"), Step("tcp"))), {**FRAGMENTS}, "udp", "step 1 of 2"),
]


@pytest.mark.requirement("FRAG-06", "FRAG-07", "FRAG-09", "FRAG-11", "TCP-07")
@pytest.mark.parametrize(("policy", "known", "way", "reason"), WAYS)
def test_the_form_is_a_part_of_the_choice(policy: Policy, known: dict[str, Any], way: Way, reason: str) -> None:
    choice = policy.choose(situation(**known))
    assert choice.way == way
    assert reason in choice.reason
    assert ("in IKE fragments" in choice.reason) is (way == "fragments")


@pytest.mark.requirement(
    "TCP-07", "TCP-56", "TCP-57", "TCP-58", "TCP-60", "TCP-61", "TCP-62", "TCP-66", "TCP-59", "TCP-63"
)
@pytest.mark.parametrize(("policy", "known", "transport", "reason", "patience"), CASES)
def test_the_choice_and_its_reason(
    policy: Policy, known: dict[str, Any], transport: Transport, reason: str, patience: float | None
) -> None:
    choice = policy.choose(situation(**known))
    assert (choice.transport, choice.patience) == (transport, patience)
    assert reason in choice.reason


@pytest.mark.requirement("TCP-58", "TCP-62")
@pytest.mark.parametrize(
    ("policy", "known", "early"),
    [
        (BySize(open_early=True), {**INIT, **CONFIGURED}, True),
        (BySize(open_early=True), {**INIT}, False),
        (BySize(), {**INIT, **CONFIGURED}, False),
        (BySize(open_early=True), {**CONFIGURED, **LARGE}, False),
        (BySize(open_early=True), {**INIT, **CONFIGURED, "tried": UDP}, False),
        (Race(), {**INIT, **CONFIGURED}, True),
        (Race(discover=True), {**INIT}, True),
        (Race(), {**INIT}, False),
        (Race(), {**INIT, **CONFIGURED, "tried": UDP}, False),
        (Race(), {**CONFIGURED, "tcp_open": True}, False),
        (WholeMission(), {**INIT, **CONFIGURED}, False),
    ],
)
def test_when_a_connection_is_opened_beside_udp(policy: Policy, known: dict[str, Any], early: bool) -> None:
    assert policy.choose(situation(**known)).open_tcp is early


POLICIES: list[Policy] = [
    UdpOnly(),
    TcpOnly(),
    BySize(),
    BySize(open_early=True),
    WholeMission(),
    Race(),
    Race(discover=True),
    Fallback(),
    Fallback((Step("tcp"), Step("udp"))),
    THREE,
]
SETS = st.frozensets(st.sampled_from(("udp", "tcp")))
WAY_SETS = st.frozensets(st.sampled_from(("udp", "fragments", "tcp")))
SITUATIONS = st.builds(
    situation,
    initial=st.booleans(),
    setup=st.booleans(),
    liveness=st.booleans(),
    octets=st.integers(0, 70_000),
    expected=st.integers(0, 70_000),
    tcp=st.booleans(),
    tcp_configured=st.booleans(),
    tcp_open=st.booleans(),
    udp=st.booleans(),
    tried=WAY_SETS,
    fragmentation=st.booleans(),
    packet=st.sampled_from((548, 1252)),
    failed_lately=SETS,
)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@given(known=SITUATIONS)
def test_ike_sa_init_goes_whole(policy: Policy, known: Situation) -> None:
    """It is what both sides agree on IKE fragments by."""
    assert not (known.initial and policy.choose(known).fragments)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@given(known=SITUATIONS)
def test_every_situation_has_a_choice_and_a_reason(policy: Policy, known: Situation) -> None:
    choice = policy.choose(known)
    assert isinstance(choice, Choice)
    assert choice.reason
    assert policy.choose(known) == choice
    assert choice.patience is None or choice.patience > 0


@pytest.mark.requirement("TCP-60", "TCP-32")
@pytest.mark.parametrize("policy", [BySize(), BySize(open_early=True), WholeMission(), Race()], ids=str)
@given(known=SITUATIONS)
def test_tcp_is_not_chosen_where_the_peer_is_not_known_to_listen(policy: Policy, known: Situation) -> None:
    """Policy A after IKE_SA_INIT; what fails lately or was tried never widens it."""
    if known.initial or known.tcp or known.tcp_open:
        return
    assert policy.choose(known).transport == "udp"


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@given(known=SITUATIONS)
def test_failures_only_reorder(policy: Policy, known: Situation) -> None:
    """What failed lately brings in no transport that the policy would not come to anyway."""
    without = situation(
        **{
            name: getattr(known, name)
            for name in (
                "initial",
                "setup",
                "liveness",
                "octets",
                "expected",
                "tcp",
                "tcp_configured",
                "tcp_open",
                "udp",
                "fragmentation",
                "packet",
            )
        }
    )
    reachable = set()
    tried: frozenset[Way] = frozenset()
    for _ in range(4):
        choice = policy.choose(Situation(**{**as_dict(without), "tried": tried}))
        reachable.add(choice.way)
        tried |= {choice.way}
    lately = policy.choose(Situation(**{**as_dict(without), "failed_lately": known.failed_lately}))
    assert lately.way in reachable


def as_dict(known: Situation) -> dict[str, Any]:
    return {name: getattr(known, name) for name in Situation.__annotations__}


def test_names_are_those_of_the_command_line() -> None:
    assert [str(policy) for policy in POLICIES] == [
        "udp-only", "tcp-only", "by-size", "by-size", "whole-mission", "race", "race",
        "fallback", "fallback", "fallback",
    ]  # fmt: skip
