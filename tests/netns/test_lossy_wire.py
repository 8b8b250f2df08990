"""What the draft was made for, on real sockets and through a real kernel: a wire that drops IP fragments, or UDP."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.conftest import SERVE, Connect, Run, connect_file, environment, started
from tests.netns.two_hosts import GATEWAYS, TwoHosts

FRAGMENTS = "ip frag-off & 0x3fff != 0 counter drop"
UDP = "meta l4proto udp counter drop"
TCP = "meta l4proto tcp counter drop"
IKECORE = [sys.executable, "-m", "ikecore_trio.cli"]
AUTH_BY = {
    "by-size": ["udp", "tcp"],
    "race": ["udp", "tcp"],
    "whole-mission": ["tcp", "tcp"],
    "tcp-only": ["tcp", "tcp"],
}


def setup_transports(sent: list[tuple[str, str]]) -> list[str]:
    return [transport for exchange, transport in sent if exchange in ("IKE_SA_INIT", "IKE_AUTH")]


def test_without_the_filter_fragments_arrive(connect: Connect, wire: TwoHosts) -> None:
    wire.filter("ip frag-off & 0x3fff != 0 counter")
    run = connect("udp-only")
    assert run.error is None
    assert setup_transports(run.sent) == ["udp", "udp"]
    assert wire.dropped("gateway") >= 6, "of the request of more than 9,000 octets"
    assert wire.dropped("client") >= 6


@pytest.mark.requirement("TCP-01")
@pytest.mark.parametrize("name", ["certified", "shared"])
def test_udp_alone_fails_where_fragments_are_dropped(connect: Connect, wire: TwoHosts, name: str) -> None:
    wire.filter(FRAGMENTS)
    run = connect("udp-only", name=name, role="attempt")
    assert run.error == "PeerUnreachable"
    assert "IKE_AUTH" in run.text
    assert "UDP" in run.text
    assert setup_transports(run.sent) == ["udp", "udp"]
    assert wire.dropped("client" if name == "shared" else "gateway") >= 6
    if name == "shared":
        assert wire.dropped("gateway") == 0, "only the response is large"
    assert run.of("IkeSaFailed")[-1]["step"] == "IKE_AUTH"


@pytest.mark.requirement("FRAG-07", "FRAG-10", "FRAG-21")
@pytest.mark.parametrize("adapter", ["trio", "asyncio"])
@pytest.mark.parametrize("name", ["certified", "shared"])
def test_ike_fragments_pass_where_ip_fragments_are_dropped(
    connect: Connect, wire: TwoHosts, name: str, adapter: str
) -> None:
    wire.filter(FRAGMENTS)
    run = connect("udp-only", name=name, adapter=adapter, fragmentation="yes")
    assert run.error is None
    assert setup_transports(run.sent) == ["udp", "udp"]
    assert wire.dropped("gateway") == wire.dropped("client") == 0, "IP made no fragments"
    [request] = {each["fragments"] for each in run.of("MessageSent") if each["exchange"] == "IKE_AUTH"}
    [response] = {each["fragments"] for each in run.of("MessageReceived") if each["exchange"] == "IKE_AUTH"}
    assert (request > 1) is (name == "certified")
    assert response > 1


@pytest.mark.requirement("FRAG-29", "FRAG-33", "FRAG-25")
def test_where_only_small_packets_pass_they_get_smaller(connect: Connect, wire: TwoHosts) -> None:
    wire.filter("ip length > 600 counter drop")
    run = connect("udp-only", fragmentation="yes", role="hurry")
    assert run.error is None
    sent = [each["fragments"] for each in run.of("MessageSent") if each["exchange"] == "IKE_AUTH"]
    assert sent[:3] == sent[:1] * 3
    assert sent[3] > 2 * sent[0]
    assert wire.dropped("gateway") == 3 * (sent[0] - 1), "all but the last fragment, which is small"
    assert wire.dropped("client") == 0, "the responder saw how large the request's were"


@pytest.mark.requirement("TCP-01", "TCP-58", "TCP-60", "TCP-61", "TCP-62", "TCP-64")
@pytest.mark.parametrize("name", ["certified", "shared"])
@pytest.mark.parametrize("policy", AUTH_BY)
def test_policies_with_tcp_succeed(connect: Connect, wire: TwoHosts, policy: str, name: str) -> None:
    wire.filter(FRAGMENTS)
    run = connect(policy, name=name)
    assert run.error is None
    if policy != "race":  # which may begin IKE_AUTH before its connection is up
        assert setup_transports(run.sent) == AUTH_BY[policy]
        assert wire.dropped("gateway") == wire.dropped("client") == 0, "nothing was sent that needs fragments"
    established = run.of("IkeSaEstablished")[0]
    assert established["transport"] == "tcp"
    assert established["reason"]


@pytest.mark.requirement("TCP-01", "TCP-60")
@pytest.mark.parametrize("policy", ["by-size", "race"])
def test_the_same_on_asyncio(connect: Connect, wire: TwoHosts, policy: str) -> None:
    wire.filter(FRAGMENTS)
    run = connect(policy, adapter="asyncio")
    assert run.error is None
    assert setup_transports(run.sent)[-1] == "tcp"


@pytest.mark.requirement("TCP-13", "TCP-14")
@pytest.mark.parametrize(("name", "adapter"), [("certified", "trio"), ("shared", "trio"), ("certified", "asyncio")])
def test_a_fallback_loses_patience_with_the_lost_datagrams(
    connect: Connect, wire: TwoHosts, name: str, adapter: str
) -> None:
    wire.filter(FRAGMENTS)
    run = connect("fallback", name=name, adapter=adapter)
    assert run.error is None
    assert setup_transports(run.sent) == ["udp", "udp", "tcp"]
    [switch] = run.of("TransportSwitched")
    assert (switch["exchange"], switch["before"], switch["after"]) == ("IKE_AUTH", "udp", "tcp")
    assert "UDP failed" in switch["reason"]


@pytest.mark.requirement("TCP-07", "TCP-62")
@pytest.mark.parametrize(
    ("policy", "adapter"),
    [("race", "trio"), ("race", "asyncio"), ("fallback", "trio"), ("whole-mission", "trio"), ("tcp-only", "trio")],
)
def test_without_udp_tcp_is_enough(connect: Connect, wire: TwoHosts, policy: str, adapter: str) -> None:
    wire.filter(UDP)
    run = connect(policy, adapter=adapter)
    assert run.error is None
    assert run.of("IkeSaEstablished")[0]["transport"] == "tcp"
    assert "tcp" in setup_transports(run.sent)


@pytest.mark.requirement("TCP-60")
def test_without_udp_by_size_never_learns_of_tcp(connect: Connect, wire: TwoHosts) -> None:
    wire.filter(UDP)
    run = connect("by-size", role="attempt")
    assert run.error == "PeerUnreachable"
    assert run.sent == [("IKE_SA_INIT", "udp")]
    assert run.of("IkeSaFailed")[-1]["step"] == "IKE_SA_INIT"


@pytest.mark.requirement("TCP-13", "TCP-67")
@pytest.mark.parametrize("policy", ["by-size", "race", "whole-mission"])
def test_without_tcp_udp_carries_what_its_fragments_can(connect: Connect, wire: TwoHosts, policy: str) -> None:
    wire.filter(TCP)
    run = connect(policy)
    assert run.error is None
    assert run.of("IkeSaEstablished")[0]["transport"] == "udp"
    if policy == "whole-mission":
        assert "TCP failed" in run.of("TransportChosen")[-2]["reason"], run.of("TransportChosen")
    elif policy == "by-size":
        assert "TCP failed" in run.of("TransportSwitched")[0]["reason"]


@pytest.mark.requirement("TCP-01")
def test_the_commands_themselves(wire: TwoHosts, folder: Path) -> None:
    """`serve` and `connect` as a user has them, with nothing but their files."""
    wire.filter(FRAGMENTS)
    gateway, client = folder / "gateway.toml", folder / "client.toml"
    gateway.write_text(SERVE.replace(GATEWAYS[0], GATEWAYS[2]))
    client.write_text(connect_file("by-size", GATEWAYS[2]))
    serve = wire.inside("gateway", [*IKECORE, "serve", str(gateway), "--json", "--once"])
    connect = wire.inside("client", [*IKECORE, "connect", str(client), "certified", "--json", "--once"])
    with started(serve):
        done = subprocess.run(connect, capture_output=True, text=True, timeout=90, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    run = Run([json.loads(line) for line in done.stdout.splitlines()])
    assert run.of("IkeSaEstablished")[0]["transport"] == "tcp"
    assert run.of("TcpAnnounced")[0]["port"] == 500
