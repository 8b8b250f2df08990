"""docs/transports.md tells an operator what is so: its figures are those of the code, its sentences hold in a run.

Rows of the catalogue that a document has to fulfil are shown here: by the sentence, and by the fact behind it.
"""

from __future__ import annotations

import csv
import re
import socket
from math import inf
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks import lossy
from ikecore.config import Transports
from ikecore.crypto import Identity
from ikecore.endpoint.delivery import DEFAULT_TCP_PORT
from ikecore.events import IkeSaEstablished, MessageSent, UdpPathMissing
from ikecore.limits import Limits
from ikecore.testing import Nat, Pair, Tcp, psk_connection
from ikecore.testing.tcp_model import INITIAL_WINDOW, SEGMENT
from ikecore.transport import BySize, Fallback, Policy, Race, TcpOnly, UdpOnly, WholeMission
from ikecore.transport.policy import UDP_PATIENCE
from ikecore_trio.cli.policy_words import POLICY_WORDS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "transports.md").read_text("utf-8")
WORDS = " ".join(TEXT.split())


def says(sentence: str) -> bool:
    """Tell whether the page has *sentence*, however its lines are broken."""
    return " ".join(sentence.split()) in WORDS


def cells(between: str) -> list[list[str]]:
    """Return the rows of a table between two marks, without its head."""
    part = TEXT.partition(f"<!-- {between} -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.strip().splitlines()]
    return rows[2:]


# --- sentences that are requirements ----------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-06")
def test_requirement_words() -> None:
    assert says("In the draft and here, MUST, SHOULD and MAY have the meaning of RFC 2119.")
    with (ROOT / "tests" / "requirements.csv").open(newline="", encoding="utf-8") as file:
        levels = {row["level"] for row in csv.DictReader(file) if row["id"].startswith("TCP-")}
    assert {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"} <= levels


@pytest.mark.requirement("TCP-05")
def test_no_way_through_firewalls() -> None:
    assert says("no ESP on the connection: this is no way through firewalls that want to keep IKE out")
    allowed = Transports().allowed_ports
    assert not any(443 in each for each in allowed)


@pytest.mark.requirement("TCP-59")
def test_the_initial_window() -> None:
    assert says("ten segments of 1,460 octets, 14,600 octets in all, may be under way before the first acknowledgement")
    assert INITIAL_WINDOW * SEGMENT == 14_600
    assert says("A first message above the initial congestion window costs TCP one more round trip")
    times = []
    for padding in (13_000, 15_000):
        ours = attrs.evolve(
            lossy.connection(0, BySize(), "yes"), local_identity=Identity.parse(f"keyid:{'i' * padding}")
        )
        theirs = attrs.evolve(lossy.connection(1, UdpOnly(), "yes"), remote_identity=None)
        # Losses are too rare to happen, but the model of TCP is at work.
        times.append(lossy.handshake(ours, theirs, 1e-12, 0))
    assert times[1] - times[0] == pytest.approx(2 * lossy.DELAY)


@pytest.mark.requirement("TCP-64")
@pytest.mark.parametrize("policy", [UdpOnly(), BySize(), WholeMission(), Race(), TcpOnly(), Fallback()], ids=str)
@pytest.mark.parametrize("theirs", [UdpOnly(), TcpOnly()], ids=lambda policy: f"responder-{policy}")
def test_the_responder_needs_no_knowledge_of_the_policy(policy: Policy, theirs: Policy) -> None:
    assert says("The responder needs no knowledge of the policy: any policy of an initiator works with any responder")
    responder = psk_connection("responder", transports=Transports(policy=theirs))
    pair = Pair(psk_connection("initiator", transports=Transports(policy=policy, tcp_port=500)), responder, tcp=True)
    pair.establish()
    assert pair.initiator.of(IkeSaEstablished)


@pytest.mark.requirement("TCP-70", "TCP-71")
def test_the_mapping_that_ike_auth_over_tcp_does_not_make() -> None:
    assert says("it has no mapping for UDP 4500")
    assert says("traffic would flow only from the initiator to the responder")
    assert says("sends a liveness check over UDP 4500 at once when a NAT was found")
    pair = Pair(tcp=True, nat=Nat("203.0.113.1"))
    pair.establish()
    assert [each for each in pair.network.wire if each.transport == "udp" and each.fate == "delivered"] == []
    pair.run()
    first = next(each for each in pair.initiator.of(MessageSent) if each.transport == "udp")
    assert (first.exchange, first.remote[1], first.local[1]) == ("INFORMATIONAL", 4500, 4500)


@pytest.mark.requirement("TCP-70", "TCP-73")
def test_until_then_the_responder_waits() -> None:
    assert says("the responder's own requests wait, and the event `UdpPathMissing` says so")
    pair = Pair(tcp=True, nat=Nat("203.0.113.1"))
    pair.network.block("udp")
    _, theirs = pair.establish()
    pair.run_for(0.1)
    pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    assert pair.responder.of(UdpPathMissing)


@pytest.mark.requirement("TCP-81")
def test_security_considerations() -> None:
    assert says("The security considerations of IKEv2 (RFC 7296 section 5) apply unchanged.")


@pytest.mark.requirement("TCP-82")
def test_precautions_of_a_tcp_server() -> None:
    assert says("Turn on SYN cookies (RFC 4987): on Linux `net.ipv4.tcp_syncookies=1`")
    contract = (ROOT / "docs" / "host-contract.md").read_text("utf-8")
    assert "SYN cookies (RFC 4987)" in contract


@pytest.mark.requirement("TCP-85")
def test_the_port_is_isakmp() -> None:
    assert says('TCP port 500 needs no registration: IANA lists it as "isakmp", as it does UDP port 500.')
    assert DEFAULT_TCP_PORT == Transports().udp_port == 500
    try:
        names = {socket.getservbyport(500, kind) for kind in ("tcp", "udp")}
    except OSError:  # no list of services on this machine
        return
    assert names == {"isakmp"}


@pytest.mark.requirement("TCP-63")
def test_what_a_race_wastes() -> None:
    assert says("Every SA costs the peer a connection, many of them for nothing.")
    pair = Pair(
        psk_connection("initiator", transports=Transports(policy=Race(), tcp_port=500)),
        tcp=Tcp(delay=0.019),
    )
    pair.establish()
    pair.run()
    assert len(pair.network.connections) == 1
    assert [each for each in pair.network.wire if each.kind == "data"] == []


# --- figures ----------------------------------------------------------------------------------------------------------


def test_every_policy_has_its_row() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| [A-Z]", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted(POLICY_WORDS)


def test_defaults_that_are_named() -> None:
    assert BySize().threshold == 1200
    assert says("above 1,200 octets goes over TCP")
    assert Race().patience == 2.0
    assert says("unanswered for 2 seconds begins anew over TCP")
    assert [(step.transport, step.patience) for step in Fallback().steps] == [("udp", 8.0), ("tcp", 20.0)]
    assert says("by default UDP for 8 seconds, then TCP for 20")
    assert UDP_PATIENCE == 8.0
    assert says("that UDP leaves unanswered for 8 seconds, or for all of its transmissions")
    assert Limits().failed_memory == 60.0
    assert Limits().stream_attempts == 2
    assert says("goes over a second connection or UDP")
    assert says("used only if it is 500, 4500 or above 1023")
    assert Transports().allowed_ports == (range(500, 501), range(4500, 4501), range(1024, 65536))


def test_limits_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+)( s)? \|", TEXT, re.MULTILINE)
    assert len(rows) == 10
    for name, value, _ in rows:
        assert getattr(Limits(), name) == float(value), name


def test_the_measured_table_is_about_these_policies_and_losses() -> None:
    rows = cells("measured")
    assert [row[0] for row in rows] == list(lossy.POLICIES)
    assert all(len(row) == 1 + len(lossy.LOSSES) for row in rows)


@pytest.mark.parametrize("policy", lossy.POLICIES)
def test_without_loss_the_measured_time_is_what_a_run_takes(policy: str) -> None:
    row = next(row for row in cells("measured") if row[0] == policy)
    chosen, fragmentation = lossy.POLICIES[policy]
    ours, theirs = (lossy.connection(role, chosen, fragmentation) for role in (0, 1))
    took = lossy.handshake(ours, theirs, 0.0, 0)
    assert row[1] == " / ".join([f"{took:.2f}"] * 3)


# --- the benchmark behind it ------------------------------------------------------------------------------------------


def test_a_cell_counts_what_never_came_up() -> None:
    cell = lossy.Cell("race", 0.1, (0.1, 0.2, 0.3, inf))
    assert cell.established == 0.75
    assert (cell.quantile(0.5), cell.quantile(0.99)) == (0.3, inf)
    assert lossy.in_a_cell(cell) == "0.30 / > 60 / > 60 (75.0% up)"
    assert lossy.as_json(cell)["seconds"] == [0.1, 0.2, 0.3, None]
    assert list(lossy.as_markdown([cell])) == [
        "| policy | 10% loss |",
        "|---|---|",
        "| race | 0.30 / > 60 / > 60 (75.0% up) |",
    ]


def test_equal_seeds_take_equal_times() -> None:
    first, second = ([cell.seconds for cell in lossy.measure([0.1], 3)] for _ in range(2))
    assert first == second
    assert len(first) == len(lossy.POLICIES)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file: Any = tmp_path / "curves.svg"
    lossy.plot([lossy.Cell("race", 0.1, (0.1, 0.2, inf)), lossy.Cell("udp-only", 0.1, (inf, inf, inf))], str(file))
    assert "<svg" in file.read_text()
