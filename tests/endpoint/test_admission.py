"""Who gets in, as a table; and the words for those turned away."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.endpoint.admission import Admission, Refusals, Verdict
from ikecore.events import Refused, Transport
from ikecore.limits import Limits
from ikecore.outputs import Output, SaId

LIMITS = Limits(half_open_udp=8, half_open_tcp=6, half_open_per_source=3, cookie_threshold=5, sas=20)
US, THEM = "192.0.2.1", "198.51.100.7"
ADMIT, COOKIE, REFUSE = Verdict.ADMIT, Verdict.COOKIE, Verdict.REFUSE


def waiting(udp: int = 0, proved: int = 0, tcp: int = 0, *, mine: int = 0, mine_proved: int = 0) -> Admission:
    """So many half-open SAs of strangers each, and of US."""
    admission = Admission(LIMITS)
    number = 0
    for count, transport, host, good in (
        (udp, "udp", "10.{}.0.1", False),
        (proved, "udp", "10.{}.0.2", True),
        (tcp, "tcp", "10.{}.0.3", False),
        (mine, "udp", US, False),
        (mine_proved, "udp", US, True),
    ):
        for _ in range(count):
            number += 1
            way: Transport = "tcp" if transport == "tcp" else "udp"
            admission.opened(SaId(number), way, host.format(number), proved=good)
    return admission


@pytest.mark.requirement("IKE-097", "IKE-102", "TCP-36", "TCP-82")
@pytest.mark.parametrize(
    ("admission", "transport", "proved", "sas", "verdict", "reason"),
    [
        (waiting(), "udp", False, 0, ADMIT, ""),
        (waiting(udp=4), "udp", False, 4, ADMIT, ""),
        (waiting(udp=5), "udp", False, 5, COOKIE, "5 half-open SAs"),
        (waiting(udp=5), "udp", True, 5, ADMIT, ""),
        (waiting(udp=5, proved=3), "udp", True, 8, REFUSE, "8 half-open SAs over UDP"),
        (waiting(udp=5, proved=3), "udp", False, 8, COOKIE, "8 half-open SAs"),
        (waiting(udp=5, proved=3), "tcp", False, 8, ADMIT, ""),
        (waiting(tcp=6), "tcp", False, 6, REFUSE, "6 half-open SAs over TCP"),
        (waiting(tcp=6), "udp", False, 6, ADMIT, ""),
        (waiting(mine=3), "udp", False, 3, COOKIE, "3 half-open SAs from this source"),
        (waiting(mine=3), "udp", True, 3, ADMIT, ""),
        (waiting(mine_proved=3), "udp", True, 3, REFUSE, "3 half-open SAs from this source"),
        (waiting(mine_proved=3), "udp", False, 3, ADMIT, ""),
        (waiting(mine_proved=3), "tcp", False, 3, REFUSE, "3 half-open SAs from this source"),
        (waiting(mine=3), "tcp", False, 3, ADMIT, ""),
        (waiting(), "udp", True, 20, REFUSE, "20 SAs exist"),
        (waiting(), "tcp", False, 20, REFUSE, "20 SAs exist"),
    ],
)
def test_verdicts(
    admission: Admission, transport: Transport, proved: bool, sas: int, verdict: Verdict, reason: str
) -> None:
    assert admission.judge(transport, US, sas, proved=proved) == (verdict, reason)
    assert admission.judge(transport, US, sas, proved=proved) == (verdict, reason)


def test_a_source_in_ipv6_is_a_slash_64() -> None:
    admission = Admission(LIMITS)
    for number in range(3):
        admission.opened(SaId(number), "udp", f"2001:db8::{number + 1}", proved=True)
    assert admission.judge("udp", "2001:db8::ffff", 3, proved=True)[0] is REFUSE
    assert admission.judge("udp", "2001:db8:0:1::1", 3, proved=True)[0] is ADMIT


def test_who_is_settled_counts_no_more() -> None:
    admission = waiting(udp=5)
    assert admission.crowded
    assert admission.half_open("udp") == 5
    admission.settled(SaId(1))
    admission.settled(SaId(1))
    admission.settled(SaId(99))
    assert not admission.crowded
    assert admission.half_open("udp") == 4


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=50))
def test_counts_never_drift(steps: list[tuple[bool, int]]) -> None:
    admission, inside = Admission(LIMITS), set()
    for enters, number in steps:
        sa = SaId(number)
        if enters and sa not in inside:
            admission.opened(sa, "tcp" if number % 2 else "udp", THEM, proved=bool(number % 3))
            inside.add(sa)
        elif not enters:
            admission.settled(sa)
            inside.discard(sa)
    for transport, odd in (("udp", 0), ("tcp", 1)):
        way: Transport = "tcp" if transport == "tcp" else "udp"
        assert admission.half_open(way) == sum(1 for sa in inside if sa % 2 == odd)
    for number in range(10):
        admission.settled(SaId(number))
    assert admission.judge("udp", THEM, 0, proved=False) == (ADMIT, "")
    assert admission.judge("udp", THEM, 0, proved=True) == (ADMIT, "")


# --- words ------------------------------------------------------------------------------------------------------------


def test_refusals_are_told_now_and_then_with_their_number() -> None:
    told: list[Output] = []
    counters: Counter[str] = Counter()
    refusals = Refusals(1.0, counters, told.append)
    source = ("192.0.2.1", 500)
    refusals.add("x", source, "why", 10.0)
    assert told == [Refused("x", source, "why", 1)]
    for step in range(1, 10):
        refusals.add("x", source, "why", 10.0 + step / 10)
    assert len(told) == 1
    refusals.add("x", source, "another reason", 10.5)
    refusals.add("x", source, "why", 11.0)
    refusals.add("x", source, "why", 100.0)
    assert told[1:] == [
        Refused("x", source, "another reason", 1),
        Refused("x", source, "why", 10),
        Refused("x", source, "why", 1),
    ]
    assert counters == {"x": 13}


def test_the_reasons_remembered_are_bounded() -> None:
    told: list[Output] = []
    refusals = Refusals(1000.0, Counter(), told.append)
    source, most = ("192.0.2.1", 500), Refusals.MOST_REASONS
    for number in (*range(most + 1), 0, most):
        refusals.add("x", source, str(number), 1.0)
    assert [event.reason for event in told if isinstance(event, Refused)] == [*map(str, range(most + 1)), "0"]
