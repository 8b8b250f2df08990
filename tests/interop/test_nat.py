"""A NAT of the kernel between us and charon, and one that is only said to be there (RFC 7296 section 2.23)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import ikecore
from tests.interop.agreement import check_agreement
from tests.interop.charon import PLAIN, Charon
from tests.interop.conftest import absent
from tests.interop.host import UdpHost
from tests.interop.peering import CHARON, OURS, Authorities, Peering

COMMON_NETWORK = os.readlink("/proc/self/ns/net")
OUTSIDE = "127.0.0.77"
LIFETIME = 2.0
"""Seconds that a mapping lives without traffic."""
Translate = Callable[[str], None]


@pytest.fixture
def translate(network: None) -> Translate:
    """Put a NAT with short-lived mappings, each on another port, in front of an address of this network."""
    if os.readlink("/proc/self/ns/net") == COMMON_NETWORK:
        absent("no right to a network of its own, and a NAT has no business in the common one")
    nft = shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if nft is None:
        absent("nft not found")

    def install(inside: str) -> None:
        rule = f"ip saddr {inside} udp dport {{ 500, 4500 }} snat to {OUTSIDE}:20000-30000 random"
        script = f"table ip nat {{\nchain out {{\ntype nat hook postrouting priority 100\n{rule}\n}}\n}}\n"
        done = subprocess.run([nft, "-f", "-"], input=script, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            absent(f"this kernel makes no NAT: {done.stderr.strip()}")
        for name in ("udp_timeout", "udp_timeout_stream"):
            Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").write_text(str(round(LIFETIME)))

    return install


def host_for(peering: Peering, authorities: Authorities, **transports: object) -> UdpHost:
    return UdpHost(ikecore.Config(connections=(ours(peering, authorities, **transports),), trace=True))


def ours(peering: Peering, authorities: Authorities, **transports: object) -> ikecore.Connection:
    return attrs.evolve(
        peering.connection(authorities),
        transports=ikecore.Transports(policy=ikecore.UdpOnly(), **transports),  # type: ignore[arg-type]
    )


def serve_for(host: UdpHost, seconds: float) -> None:
    until = time.monotonic() + seconds
    host.run_until(lambda: time.monotonic() >= until, within=seconds + 5.0)


def ask(host: UdpHost) -> None:
    """Ask charon whether it is there, and wait for its answer."""
    before = len(host.of(ikecore.RequestCompleted))
    host.endpoint.check_liveness(host.endpoint.sas[0], now=host.now)
    host.run_until(lambda: len(host.of(ikecore.RequestCompleted)) > before)


def asked_by(charon: Charon, host: UdpHost) -> None:
    """Let charon delete the Child SA, which it can only if its request reaches us."""
    job = charon.terminate("--child", "net")
    host.run_until(lambda: job.poll() is not None)
    assert job.returncode == 0, charon.log
    assert host.of(ikecore.ChildSaClosed)[-1].by == "peer"


def port_known_to(charon: Charon) -> int:
    """Where charon thinks we are."""
    return int(charon.list_sas()[0].facts["remote-port"])


# --- said to be there -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-206", "IKE-209", "IKE-210", "IKE-212", "SEP-25")
@pytest.mark.parametrize("charon_too", [False, True], ids=["we force", "both force"])
@pytest.mark.parametrize("we_initiate", [True, False], ids=["we initiate", "charon initiates"])
def test_encapsulation_forced_by_us(
    charon: Charon, authorities: Authorities, we_initiate: bool, charon_too: bool
) -> None:
    peering = Peering(options="encap = yes" if charon_too else "")
    peering.load_into(charon, authorities)
    with host_for(peering, authorities, force_encapsulation=True) as host:
        if we_initiate:
            connection = ours(peering, authorities, force_encapsulation=True)
            host.endpoint.initiate(connection, [CHARON], now=host.now)
        else:
            charon.initiate("net")
        child = host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)
        assert (child.udp_encapsulation, child.local, child.remote) == (True, (OURS, 4500), (CHARON, 4500))
        found = host.of(ikecore.NatDetected)[-1]
        assert (found.local_behind_nat, found.peer_behind_nat, found.forced) == (False, charon_too, True)
        facts = charon.list_sas()[0].facts
        assert (facts["local-port"], facts["remote-port"]) == ("4500", "4500")
        assert "remote host is behind NAT" in charon.log
        ask(host)
        asked_by(charon, host)


# --- in front of us ---------------------------------------------------------------------------------------------------


def behind(host: UdpHost, peering: Peering, authorities: Authorities, **transports: object) -> None:
    """Set an SA up from behind the NAT."""
    host.endpoint.initiate(ours(peering, authorities, **transports), [CHARON], now=host.now)
    child = host.wait(ikecore.ChildSaEstablished)
    assert (child.udp_encapsulation, child.local, child.remote) == (True, (OURS, 4500), (CHARON, 4500))
    found = host.of(ikecore.NatDetected)[-1]
    assert (found.local_behind_nat, found.peer_behind_nat) == (True, False)


@pytest.mark.requirement("IKE-209", "IKE-210", "IKE-214", "SEP-26")
def test_our_keepalives_keep_the_mapping(translate: Translate, charon: Charon, authorities: Authorities) -> None:
    translate(OURS)
    peering = Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        behind(host, peering, authorities, keepalive=1)
        check_agreement(charon, host)
        before = port_known_to(charon)
        assert 20_000 <= before <= 30_000
        serve_for(host, 3 * LIFETIME)
        assert port_known_to(charon) == before
        asked_by(charon, host)
        assert port_known_to(charon) == before


@pytest.mark.requirement("IKE-215", "IKE-217")
def test_without_them_charon_follows_us_to_the_next_mapping(
    translate: Translate, charon: Charon, authorities: Authorities
) -> None:
    translate(OURS)
    peering = Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        behind(host, peering, authorities, keepalive=0)
        before = port_known_to(charon)
        serve_for(host, 2 * LIFETIME)
        ask(host)
        assert port_known_to(charon) != before
        asked_by(charon, host)


# --- in front of charon -----------------------------------------------------------------------------------------------


def charon_behind(charon: Charon, host: UdpHost) -> ikecore.Address:
    """Let charon set an SA up from behind the NAT; return where we see it."""
    charon.initiate("net")
    child = host.wait(ikecore.ChildSaEstablished)
    check_agreement(charon, host)
    assert child.udp_encapsulation
    assert child.local == (OURS, 4500)
    assert child.remote is not None
    assert child.remote[0] == OUTSIDE
    found = host.of(ikecore.NatDetected)[-1]
    assert (found.local_behind_nat, found.peer_behind_nat) == (False, True)
    return child.remote


@pytest.mark.requirement("IKE-209", "IKE-214")
def test_charon_s_keepalives_are_heard_and_ignored(
    translate: Translate, start_charon: Callable[..., Charon], authorities: Authorities
) -> None:
    translate(CHARON)
    charon, peering = start_charon(f"{PLAIN}\n  keep_alive = 1s"), Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        before = charon_behind(charon, host)
        serve_for(host, 3 * LIFETIME)
        assert host.endpoint.counters["datagram: keepalive"] >= 3
        ask(host)
        assert host.endpoint.sa(host.endpoint.sas[0]).remote == before


@pytest.mark.requirement("IKE-215", "IKE-216", "IKE-217", "IKE-148")
def test_we_follow_charon_to_the_next_mapping(
    translate: Translate, start_charon: Callable[..., Charon], authorities: Authorities
) -> None:
    translate(CHARON)
    charon, peering = start_charon(f"{PLAIN}\n  keep_alive = 0"), Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        before = charon_behind(charon, host)
        serve_for(host, 2 * LIFETIME)
        asked_by(charon, host)
        moved = host.of(ikecore.PathChanged)[-1]
        assert moved.udp_encapsulation
        assert moved.remote[0] == OUTSIDE
        assert moved.remote != before
        assert host.endpoint.sa(host.endpoint.sas[0]).remote == moved.remote
        ask(host)


# --- SAs that one side has lost ---------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-040", "IKE-201")
def test_charon_is_told_that_we_lost_its_sa(charon: Charon, authorities: Authorities) -> None:
    peering = Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        charon.initiate("net")
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)
    with host_for(peering, authorities) as rebooted:
        charon.terminate("--child", "net")
        rebooted.run_until(lambda: "received unencrypted informational" in charon.log)
        assert "payload type NOTIFY was not encrypted" in charon.log
        assert rebooted.endpoint.counters["unknown SPI"]
        assert charon.list_sas(), "it may be a forgery, so it changes nothing there either"
