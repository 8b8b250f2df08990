"""Setting up an SA with each daemon, in both roles: algorithms, credentials, groups, proposals, NAT traversal."""

from __future__ import annotations

import attrs
import pytest

import ikecore
from tests.interop.agreement import Role, begin, check_agreement, established, host_for, initiate
from tests.interop.host import UdpHost
from tests.interop.peer import Peer
from tests.interop.peering import OUR_NET, OURS, PEER, PEER_NET, Auth, Authorities, Peering

SECRETS = {
    "aes-gcm, x25519": Peering(),
    "aes-cbc, ecp256": Peering(ike="aes256-sha256-ecp256", esp="aes256-sha256"),
    "chacha20-poly1305, ecp384": Peering(ike="chacha20poly1305-prfsha512-ecp384", esp="chacha20poly1305"),
    "aes-cbc, sha-512, ecp521": Peering(ike="aes128-sha512-ecp521", esp="aes128-sha512"),
}
RSA = {
    "aes-gcm, ecp256": Peering(ike="aes256gcm16-prfsha384-ecp256", esp="aes256gcm16", auth="rsa"),
    "aes-cbc, x25519": Peering(ike="aes128-sha256-x25519", esp="aes128-sha256", auth="rsa"),
}
ECDSA = {
    "aes-gcm, x25519": Peering(auth="ecdsa"),
    "aes-cbc, ecp256": Peering(ike="aes128-sha384-ecp256", esp="aes256-sha512", auth="ecdsa"),
}


@pytest.mark.matrix("pre-shared keys")
@pytest.mark.requirement(
    "IKE-001", "IKE-109", "IKE-154", "IKE-157", "IKE-158", "IKE-159", "IKE-161", "IKE-175", "IKE-176"
)
@pytest.mark.parametrize("peering", SECRETS.values(), ids=SECRETS.keys())
def test_a_secret(peer: Peer, role: Role, authorities: Authorities, peering: Peering) -> None:
    with host_for(peering, authorities) as host:
        established(host, peer, role, peering, authorities)


@pytest.mark.matrix("certificates, RSA")
@pytest.mark.requirement("IKE-004", "IKE-107", "IKE-108")
@pytest.mark.parametrize("peering", RSA.values(), ids=RSA.keys())
def test_rsa_certificates(peer: Peer, role: Role, authorities: Authorities, peering: Peering) -> None:
    with host_for(peering, authorities) as host:
        established(host, peer, role, peering, authorities)


@pytest.mark.matrix("certificates, ECDSA")
@pytest.mark.requirement("IKE-004", "IKE-107", "IKE-108")
@pytest.mark.parametrize("peering", ECDSA.values(), ids=ECDSA.keys())
def test_ecdsa_certificates(peer: Peer, role: Role, authorities: Authorities, peering: Peering) -> None:
    with host_for(peering, authorities) as host:
        established(host, peer, role, peering, authorities)


# --- before the keys: groups, proposals, cookies --------------------------------------------------------------------


@pytest.mark.matrix("a group refused by the peer (INVALID_KE_PAYLOAD)", role="responds")
@pytest.mark.requirement("IKE-006", "IKE-007", "IKE-104")
def test_the_peer_wants_another_group(peer: Peer, authorities: Authorities) -> None:
    ike = "aes128gcm16-prfsha256-{}"
    peering = Peering(ike=ike.format("ecp256"))
    peering.load_into(peer, authorities)
    ours = peering.but(ike=ike.format("x25519-ecp256"))
    with host_for(ours, authorities) as host:
        initiate(host, ours, authorities)
        host.wait(ikecore.ChildSaEstablished)
        retried = host.of(ikecore.KeyExchangeRetried)
        assert [(event.offered, event.wanted) for event in retried] == [("CURVE25519", "ECP_256")]
        check_agreement(peer, host)


@pytest.mark.matrix("a group refused by us (INVALID_KE_PAYLOAD)", role="initiates")
@pytest.mark.requirement("IKE-015")
def test_we_want_another_group(peer: Peer, authorities: Authorities) -> None:
    ike = "aes128gcm16-prfsha256-{}"
    peering = Peering(ike=ike.format("x25519-ecp256"))
    peering.load_into(peer, authorities)
    with host_for(peering.but(ike=ike.format("ecp256")), authorities) as host:
        peer.connect()
        host.wait(ikecore.ChildSaEstablished)
        assert "ECP_256" in host.of(ikecore.IkeSaEstablished)[0].suite
        check_agreement(peer, host)


@pytest.mark.matrix("no proposal in common")
@pytest.mark.requirement("IKE-107")
def test_no_proposal_in_common(peer: Peer, role: Role, authorities: Authorities) -> None:
    Peering(ike="aes256gcm16-prfsha384-ecp384").load_into(peer, authorities)
    with host_for(Peering(), authorities, limits=ikecore.Limits(init_error_wait=0.2)) as host:
        begin(host, peer, role, Peering(), authorities)
        if role == "initiates":
            peer.until(lambda: peer.heard("NO_PROPOSAL_CHOSEN"), host)
        else:
            assert isinstance(host.wait(ikecore.IkeSaFailed).error, ikecore.NoProposalChosen)
        assert host.endpoint.sas == ()
        assert peer.sas() == ()


@pytest.mark.matrix("a cookie demanded by us", role="initiates")
@pytest.mark.requirement("IKE-097", "IKE-100", "IKE-104")
def test_we_demand_a_cookie(peer: Peer, authorities: Authorities) -> None:
    Peering().load_into(peer, authorities)
    with host_for(Peering(), authorities, limits=ikecore.Limits(cookie_threshold=0)) as host:
        peer.connect()
        host.wait(ikecore.ChildSaEstablished)
        assert host.of(ikecore.CookiesDemanded)
        check_agreement(peer, host)


# --- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.matrix("a wrong pre-shared key")
@pytest.mark.requirement("IKE-004", "IKE-010")
def test_another_secret(peer: Peer, role: Role, authorities: Authorities) -> None:
    Peering(secret="another one").load_into(peer, authorities)
    with host_for(Peering(), authorities) as host:
        begin(host, peer, role, Peering(), authorities)
        failed = host.wait(ikecore.IkeSaFailed)
        assert isinstance(failed.error, ikecore.AuthenticationFailed)
        assert failed.step == "IKE_AUTH"
        if role == "initiates":
            peer.until(lambda: peer.heard("AUTHENTICATION_FAILED"), host)
        assert not host.of(ikecore.IkeSaEstablished)
        peer.until(lambda: peer.sas() == (), host)


@pytest.mark.matrix("a certificate of an authority that the other side does not trust")
@pytest.mark.requirement("IKE-010")
@pytest.mark.parametrize("auth", ["rsa", "ecdsa"])
def test_a_strangers_certificate(
    peer: Peer, role: Role, authorities: Authorities, strangers: Authorities, auth: Auth
) -> None:
    Peering(auth=auth).load_into(peer, strangers)
    with host_for(Peering(auth=auth), authorities) as host:
        begin(host, peer, role, Peering(auth=auth), authorities)
        assert isinstance(host.wait(ikecore.IkeSaFailed).error, ikecore.AuthenticationFailed)
        if role == "initiates":
            peer.until(lambda: peer.heard("AUTHENTICATION_FAILED"), host)
        assert not host.of(ikecore.IkeSaEstablished)
        peer.until(lambda: peer.sas() == (), host)


# --- paths and selectors --------------------------------------------------------------------------------------------


@pytest.mark.matrix("NAT traversal forced: both move to port 4500")
@pytest.mark.requirement("IKE-206", "IKE-207", "IKE-209", "IKE-210", "IKE-044", "IKE-217")
def test_encapsulation_moves_both_to_the_other_port(peer: Peer, role: Role, authorities: Authorities) -> None:
    peering = Peering(encap=True)
    with host_for(peering, authorities) as host:
        sa = established(host, peer, role, peering, authorities)
        assert host.of(ikecore.ChildSaEstablished)[0].udp_encapsulation
        assert host.of(ikecore.NatDetected)
        view = host.endpoint.sa(sa)
        assert (view.local, view.remote) == (("127.0.0.2", 4500), (PEER, 4500))


@pytest.mark.matrix("selectors narrowed by the peer", role="responds")
@pytest.mark.requirement("IKE-135")
def test_the_peer_narrows_the_selectors(peer: Peer, authorities: Authorities) -> None:
    peer_narrows = Peering(narrowing=True)
    peer_narrows.load_into(peer, authorities)
    wide = Peering(selectors=("0.0.0.0/0", "0.0.0.0/0"))
    with host_for(wide, authorities) as host:
        initiate(host, wide, authorities)
        child = host.wait(ikecore.ChildSaEstablished)
        assert (child.local_ts, child.remote_ts) == ((OUR_NET,), (PEER_NET,))
        check_agreement(peer, host)


@pytest.mark.matrix("selectors narrowed by us", role="initiates")
@pytest.mark.requirement("IKE-135")
def test_we_narrow_the_selectors(peer: Peer, authorities: Authorities) -> None:
    Peering(narrowing=True).load_into(peer, authorities)
    narrow = Peering(selectors=("10.2.3.0/24", "10.1.4.0/24"))
    with host_for(narrow, authorities) as host:
        peer.connect()
        child = host.wait(ikecore.ChildSaEstablished)
        assert (child.local_ts, child.remote_ts) == (("10.2.3.0/24",), ("10.1.4.0/24",))
        check_agreement(peer, host)


@pytest.mark.matrix("transport mode")
def test_transport_mode(peer: Peer, role: Role, authorities: Authorities) -> None:
    peering = Peering(transport=True, selectors=(None, None), nets=(None, None))
    with host_for(peering, authorities) as host:
        established(host, peer, role, peering, authorities)
        child = host.of(ikecore.ChildSaEstablished)[0]
        assert (child.mode, child.local_ts, child.remote_ts) == ("transport", (OURS,), (PEER,))


# --- the shape of IKE_AUTH ------------------------------------------------------------------------------------------


@pytest.mark.matrix("an SA without a Child SA (RFC 6023)")
def test_childless(peer: Peer, role: Role, authorities: Authorities) -> None:
    peering = Peering(childless=True)
    peering.load_into(peer, authorities)
    with host_for(peering, authorities) as host:
        begin(host, peer, role, peering, authorities)
        host.wait(ikecore.IkeSaEstablished)
        check_agreement(peer, host)


@pytest.mark.matrix("IKE_AUTH in fragments of the peer (RFC 7383)")
@pytest.mark.requirement("IKE-107")
def test_the_peer_sends_fragments(peer: Peer, role: Role, authorities: Authorities) -> None:
    peering = Peering(auth="rsa", names=tuple(f"alias-{number:03}.peer.example" for number in range(150)))
    with host_for(peering, authorities) as host:
        established(host, peer, role, peering, authorities)
        peer.until(peer.fragmented, host)


@pytest.mark.matrix("IKE_AUTH in fragments of ours (RFC 7383)")
@pytest.mark.requirement("FRAG-12", "FRAG-18")
def test_we_send_fragments(peer: Peer, role: Role, authorities: Authorities) -> None:
    peering = Peering(auth="rsa")
    peering.load_into(peer, authorities)
    ours = attrs.evolve(peering.connection(authorities), transports=ikecore.Transports(fragment_size=576))
    with UdpHost(ikecore.Config(connections=(ours,), trace=True)) as host:
        if role == "initiates":
            peer.connect()
        else:
            host.endpoint.initiate(ours, [PEER], now=host.now)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(peer, host)
        sent = [each.fragments for each in host.of(ikecore.MessageSent) if each.exchange == "IKE_AUTH"]
        assert min(sent) >= 3
