"""The life and end of an SA with each daemon: liveness, deletion, a crash of the peer."""

from __future__ import annotations

import pytest

import ikecore
from tests.interop.agreement import Role, check_agreement, established, host_for
from tests.interop.peer import Peer
from tests.interop.peering import Authorities, Peering


@pytest.mark.matrix("liveness checked by us")
def test_we_ask_whether_the_peer_lives(peer: Peer, role: Role, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(host, peer, role, Peering(), authorities)
        request = host.endpoint.check_liveness(sa, now=host.now)
        assert host.wait(ikecore.RequestCompleted).request == request
        check_agreement(peer, host)


@pytest.mark.matrix("liveness checked by the peer")
@pytest.mark.requirement("IKE-031")
def test_the_peer_asks_whether_we_live(peer: Peer, role: Role, authorities: Authorities) -> None:
    peering = Peering(dpd=1)
    with host_for(peering, authorities) as host:
        established(host, peer, role, peering, authorities)
        peer.until(peer.was_answered, host)
        check_agreement(peer, host)


@pytest.mark.matrix("IKE SA deleted by us")
@pytest.mark.requirement("IKE-036")
def test_we_delete_the_sa(peer: Peer, role: Role, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(host, peer, role, Peering(), authorities)
        request = host.endpoint.delete(sa, now=host.now)
        assert host.wait(ikecore.RequestCompleted).request == request
        assert host.of(ikecore.IkeSaClosed)[0].by == "us"
        peer.until(lambda: peer.sas() == (), host)
        assert host.endpoint.sas == ()


@pytest.mark.matrix("IKE SA deleted by the peer")
@pytest.mark.requirement("IKE-031", "IKE-036")
def test_the_peer_deletes_the_sa(peer: Peer, role: Role, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        established(host, peer, role, Peering(), authorities)
        peer.delete_ike()
        assert host.wait(ikecore.IkeSaClosed).by == "peer"
        assert host.of(ikecore.ChildSaClosed)
        assert host.endpoint.sas == ()
        peer.until(lambda: peer.sas() == (), host)


@pytest.mark.matrix("Child SA deleted by us")
@pytest.mark.requirement("IKE-032", "IKE-033")
def test_we_delete_the_child_sa(peer: Peer, role: Role, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(host, peer, role, Peering(), authorities)
        child = host.of(ikecore.ChildSaEstablished)[0]
        host.endpoint.delete(sa, child=child.child, now=host.now)
        host.wait(ikecore.RequestCompleted)
        assert host.of(ikecore.ChildSaClosed)[0].by == "us"
        check_agreement(peer, host)
        assert host.endpoint.sa(sa).children == ()


@pytest.mark.matrix("Child SA deleted by the peer")
@pytest.mark.requirement("IKE-032", "IKE-034")
def test_the_peer_deletes_the_child_sa(peer: Peer, role: Role, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(host, peer, role, Peering(), authorities)
        peer.delete_child()
        assert host.wait(ikecore.ChildSaClosed).by == "peer"
        check_agreement(peer, host)
        assert host.endpoint.sa(sa).children == ()


@pytest.mark.matrix("a reboot of the peer noticed, and the SA set up again")
def test_the_peer_reboots(peer: Peer, role: Role, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(host, peer, role, Peering(), authorities)
        peer.crash()
        peer.start()
        host.endpoint.check_liveness(sa, now=host.now)
        closed = host.outwait(ikecore.IkeSaClosed)
        assert (closed.sa, closed.by) == (sa, "silence")
        assert [event.by for event in host.of(ikecore.ChildSaClosed)] == ["silence"]
        host.events.clear()
        assert established(host, peer, role, Peering(), authorities) != sa


@pytest.mark.matrix("a reboot of the peer told by its INITIAL_CONTACT", role="initiates")
@pytest.mark.requirement("IKE-069", "IKE-073")
def test_the_peer_reboots_and_comes_back(peer: Peer, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        lost = established(host, peer, "initiates", Peering(), authorities)
        peer.crash()
        peer.start()
        Peering().load_into(peer, authorities)
        peer.connect()
        assert host.wait(ikecore.IkeSaClosed).sa == lost
        check_agreement(peer, host)
        assert host.endpoint.sas != (lost,)
