"""A NAT of the kernel between us and a peer, and one that is only said to be there (RFC 7296 section 2.23)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import ikecore
from tests.interop.agreement import check_agreement, up
from tests.interop.charon import PLAIN, Charon
from tests.interop.conftest import absent
from tests.interop.host import UdpHost
from tests.interop.peer import Peer
from tests.interop.peering import CHARON, OURS, PEER, Authorities, Peering
from tests.interop.pluto import Pluto

COMMON_NETWORK = os.readlink("/proc/self/ns/net")
OUTSIDE = "127.0.0.77"
FIRST, OTHERS = range(20_000, 21_000), range(30_000, 31_000)
"""Ports outside for the mappings of a test, and for those that it wants to tell from them."""
LIFETIME = 2.0
"""Seconds that a mapping lives without traffic."""
KEPT = 4.0
"""The same where keepalives each second are to keep it: a slow machine may be late with some."""
Translate = Callable[..., None]


@pytest.fixture
def translate(network: None) -> Translate:
    """Put a NAT with short-lived mappings in front of an address of this network, or give it others for new ones."""
    if os.readlink("/proc/self/ns/net") == COMMON_NETWORK:
        absent("no right to a network of its own, and a NAT has no business in the common one")
    nft = shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if nft is None:
        absent("nft not found")

    def install(inside: str, *, lifetime: float = LIFETIME, ports: range = FIRST) -> None:
        rule = f"ip saddr {inside} udp dport {{ 500, 4500 }} snat to {OUTSIDE}:{ports[0]}-{ports[-1]} random"
        chain = "table ip nat {\nchain out {\ntype nat hook postrouting priority 100\n}\n}\n"
        script = f"{chain}flush chain ip nat out\nadd rule ip nat out {rule}\n"
        done = subprocess.run([nft, "-f", "-"], input=script, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            absent(f"this kernel makes no NAT: {done.stderr.strip()}")
        for name in ("udp_timeout", "udp_timeout_stream"):
            Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").write_text(str(round(lifetime)))

    return install


def host_for(peering: Peering, authorities: Authorities, **transports: object) -> UdpHost:
    return UdpHost(ikecore.Config(connections=(ours(peering, authorities, **transports),), trace=True))


def ours(peering: Peering, authorities: Authorities, **transports: object) -> ikecore.Connection:
    return attrs.evolve(
        peering.connection(authorities),
        transports=ikecore.Transports(policy=ikecore.UdpOnly(), **transports),  # type: ignore[arg-type]
    )


def ask(host: UdpHost) -> None:
    """Ask the peer whether it is there, and wait for its answer."""
    before = len(host.of(ikecore.RequestCompleted))
    host.endpoint.check_liveness(up(host)[0].id, now=host.now)
    host.run_until(lambda: len(host.of(ikecore.RequestCompleted)) > before)


def asked_by(peer: Peer, host: UdpHost) -> None:
    """Let the peer delete the Child SA, which it can only if its request reaches us and our answer reaches it."""
    peer.delete_child()
    assert host.wait(ikecore.ChildSaClosed).by == "peer"
    check_agreement(peer, host)


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
        charon.until_said("remote host is behind NAT", host)
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


@pytest.mark.matrix("a NAT in front of us: our keepalives keep its mapping", role="responds")
@pytest.mark.requirement("IKE-209", "IKE-210", "IKE-214", "SEP-26")
def test_our_keepalives_keep_the_mapping(translate: Translate, peer: Peer, authorities: Authorities) -> None:
    translate(OURS, lifetime=KEPT)
    peering = Peering(roaming=True)
    peering.load_into(peer, authorities)
    with host_for(peering, authorities) as host:
        behind(host, peering, authorities, keepalive=1)
        check_agreement(peer, host)
        before = peer.remote_port()
        assert before in FIRST
        host.serve_for(1.5 * KEPT)
        assert peer.remote_port() == before
        asked_by(peer, host)
        assert peer.remote_port() == before


@pytest.mark.matrix("a NAT in front of us that forgets: the peer follows us", role="responds")
@pytest.mark.requirement("IKE-215", "IKE-217")
def test_without_them_the_peer_follows_us_to_the_next_mapping(
    translate: Translate, peer: Peer, authorities: Authorities
) -> None:
    translate(OURS)
    peering = Peering(roaming=True)
    peering.load_into(peer, authorities)
    with host_for(peering, authorities) as host:
        behind(host, peering, authorities, keepalive=0)
        check_agreement(peer, host)
        assert peer.remote_port() in FIRST
        translate(OURS, ports=OTHERS)
        host.serve_for(2 * LIFETIME)
        ask(host)
        peer.until(lambda: peer.remote_port() in OTHERS, host)
        asked_by(peer, host)


# --- in front of the peer ---------------------------------------------------------------------------------------------


def peer_behind(peer: Peer, host: UdpHost) -> ikecore.Address:
    """Let the peer set an SA up from behind the NAT; return where we see it."""
    peer.connect()
    child = host.wait(ikecore.ChildSaEstablished)
    check_agreement(peer, host)
    assert child.udp_encapsulation
    assert child.local == (OURS, 4500)
    assert child.remote is not None
    assert child.remote[0] == OUTSIDE
    found = host.of(ikecore.NatDetected)[-1]
    assert (found.local_behind_nat, found.peer_behind_nat) == (False, True)
    return child.remote


@pytest.mark.matrix("a NAT in front of the peer: its keepalives are heard and ignored", role="initiates")
@pytest.mark.requirement("IKE-209", "IKE-214")
def test_charons_keepalives_are_heard_and_ignored(
    translate: Translate, start_charon: Callable[..., Charon], authorities: Authorities
) -> None:
    translate(PEER, lifetime=KEPT)
    charon = start_charon(f"{PLAIN}\n  keep_alive = 1s")
    Peering().load_into(charon, authorities)
    with host_for(Peering(), authorities) as host:
        before = peer_behind(charon, host)
        host.serve_for(1.5 * KEPT)
        assert host.endpoint.counters["datagram: keepalive"] >= 3
        ask(host)
        assert up(host)[0].remote == before


@pytest.mark.matrix("a NAT in front of the peer: its keepalives are heard and ignored", role="initiates")
@pytest.mark.requirement("IKE-209", "IKE-214")
def test_plutos_keepalives_are_heard_and_ignored(translate: Translate, pluto: Pluto, authorities: Authorities) -> None:
    # By itself pluto begins with them late, at its next look; so it is told to send each.
    translate(PEER, lifetime=KEPT)
    Peering().load_into(pluto, authorities)
    with host_for(Peering(), authorities) as host:
        before = peer_behind(pluto, host)
        for count in range(1, 5):
            pluto.whack("--impair", "send-keepalive:1")
            host.serve_for(0.4 * KEPT)
            assert host.endpoint.counters["datagram: keepalive"] == count
        ask(host)
        assert up(host)[0].remote == before


@pytest.mark.matrix("a NAT in front of the peer that forgets: we follow the peer", role="initiates")
@pytest.mark.requirement("IKE-215", "IKE-216", "IKE-217", "IKE-148")
def test_we_follow_the_peer_to_the_next_mapping(translate: Translate, peer: Peer, authorities: Authorities) -> None:
    # Both daemons send keepalives every 20 seconds unless told otherwise, long after the NAT has forgotten.
    translate(PEER)
    Peering().load_into(peer, authorities)
    with host_for(Peering(), authorities) as host:
        before = peer_behind(peer, host)
        translate(PEER, ports=OTHERS)
        host.serve_for(2 * LIFETIME)
        asked_by(peer, host)
        moved = host.of(ikecore.PathChanged)[-1]
        assert moved.udp_encapsulation
        assert moved.remote[0] == OUTSIDE
        assert (before[1] in FIRST, moved.remote[1] in OTHERS) == (True, True)
        assert up(host)[0].remote == moved.remote
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
        # Its last words about the message: "received unencrypted informational" comes before them.
        charon.until_said("payload type NOTIFY was not encrypted", rebooted)
        assert rebooted.endpoint.counters["unknown SPI"]
        assert charon.list_sas(), "it may be a forgery, so it changes nothing there either"
