"""IKE SAs with strongSwan's charon over UDP, in both roles: what both sides say about them has to agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import ikecore
from tests.interop.charon import PLAIN, Charon
from tests.interop.host import UdpHost
from tests.interop.peering import CHARON, CHARON_NET, OUR_NET, Auth, Authorities, Peering

FLOOD_PROTECTION = "dos_protection = yes\n  cookie_threshold = 1\n  cookie_threshold_ip = 1"

PEERINGS = {
    "psk, aes-gcm, x25519": Peering(),
    "psk, aes-cbc, ecp256": Peering(ike="aes256-sha256-ecp256", esp="aes256-sha256"),
    "psk, chacha20-poly1305, ecp384": Peering(ike="chacha20poly1305-prfsha512-ecp384", esp="chacha20poly1305"),
    "rsa, aes-gcm, ecp256": Peering(ike="aes256gcm16-prfsha384-ecp256", esp="aes256gcm16", auth="rsa"),
    "rsa, aes-cbc, x25519": Peering(ike="aes128-sha256-x25519", esp="aes128-sha256", auth="rsa"),
    "ecdsa, aes-gcm, x25519": Peering(auth="ecdsa"),
    "ecdsa, aes-cbc, ecp256": Peering(ike="aes128-sha384-ecp256", esp="aes256-sha512", auth="ecdsa"),
}
each_peering = pytest.mark.parametrize("peering", PEERINGS.values(), ids=PEERINGS.keys())


def host_for(peering: Peering, authorities: Authorities, *, limits: ikecore.Limits | None = None) -> UdpHost:
    config = ikecore.Config(connections=(peering.connection(authorities),), limits=limits or ikecore.Limits())
    return UdpHost(config)


def initiate(host: UdpHost, peering: Peering, authorities: Authorities) -> ikecore.SaId:
    return host.endpoint.initiate(peering.connection(authorities), [CHARON], now=host.now)


def check_agreement(charon: Charon, host: UdpHost) -> None:
    """Both sides have one IKE SA with one Child SA, of the same SPIs, with the same keys."""
    up, child = host.of(ikecore.IkeSaEstablished)[-1], host.of(ikecore.ChildSaEstablished)[-1]
    host.run_until(lambda: [sa.state for sa in charon.list_sas()] == ["ESTABLISHED"])
    theirs = charon.list_sas()[0]
    assert (theirs.spi_i, theirs.spi_r) == (up.spi_i, up.spi_r)
    assert [(each.state, each.spi_in, each.spi_out) for each in theirs.children] == [
        ("INSTALLED", child.spi_out, child.spi_in)
    ]
    logged = charon.keys()
    ours = host.endpoint.sa(up.sa).export_keys()
    assert {name: value for name, value in logged.ike[-1].items() if name.startswith("sk_")} == {
        name: getattr(ours, name)
        for name in ("sk_d", "sk_ai", "sk_ar", "sk_ei", "sk_er", "sk_pi", "sk_pr")
        if getattr(ours, name)
    }
    keys, of = child.export_keys(), logged.children[-1]
    sent, received = ((of.encr_i, of.integ_i), (of.encr_r, of.integ_r))
    if up.role == "responder":
        sent, received = received, sent
    assert (keys.encr_out, keys.integ_out, keys.encr_in, keys.integ_in) == (*sent, *received)
    assert keys.encr_out
    assert keys.encr_in
    assert (of.spi_in, of.spi_out) == (child.spi_out, child.spi_in)


@pytest.mark.requirement(
    "IKE-001", "IKE-109", "IKE-154", "IKE-157", "IKE-158", "IKE-159", "IKE-161", "IKE-175", "IKE-176"
)
@each_peering
def test_charon_answers_us(charon: Charon, authorities: Authorities, peering: Peering) -> None:
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)


@pytest.mark.requirement(
    "IKE-001",
    "IKE-004",
    "IKE-107",
    "IKE-108",
    "IKE-154",
    "IKE-157",
    "IKE-158",
    "IKE-159",
    "IKE-161",
    "IKE-175",
    "IKE-176",
)
@each_peering
def test_we_answer_charon(charon: Charon, authorities: Authorities, peering: Peering) -> None:
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        job = charon.initiate("net")
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode == 0, charon.log
        check_agreement(charon, host)


# --- before the keys: cookies, groups, proposals --------------------------------------------------------------------


@pytest.mark.requirement("IKE-099", "IKE-104")
def test_charon_demands_a_cookie(start_charon: Callable[..., Charon], authorities: Authorities) -> None:
    charon, peering = start_charon(FLOOD_PROTECTION), Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        # charon asks for cookies once there is a half-open SA: that of an attempt which ends with its first request.
        half_open = initiate(host, peering, authorities)
        host.flush()
        host.endpoint.abandon(half_open, now=host.now)
        host.run_until(lambda: "generating IKE_SA_INIT response" in charon.log)
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        assert host.of(ikecore.CookieReceived)
        assert "IKE_SA_INIT response 0 [ N(COOKIE) ]" in charon.log


@pytest.mark.requirement("IKE-097", "IKE-100", "IKE-104")
def test_we_demand_a_cookie(charon: Charon, authorities: Authorities) -> None:
    peering = Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities, limits=ikecore.Limits(cookie_threshold=0)) as host:
        job = charon.initiate("net")
        host.wait(ikecore.ChildSaEstablished)
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode == 0
        assert host.of(ikecore.CookiesDemanded)
        assert "parsed IKE_SA_INIT response 0 [ N(COOKIE) ]" in charon.log
        check_agreement(charon, host)


@pytest.mark.requirement("IKE-006", "IKE-007", "IKE-104")
def test_charon_wants_another_group(charon: Charon, authorities: Authorities) -> None:
    ike = "aes128gcm16-prfsha256-{}"
    peering = Peering(ike=ike.format("ecp256"))
    peering.load_into(charon, authorities)
    ours = peering.but(ike=ike.format("x25519-ecp256"))
    with host_for(ours, authorities) as host:
        initiate(host, ours, authorities)
        host.wait(ikecore.ChildSaEstablished)
        retried = host.of(ikecore.KeyExchangeRetried)
        assert [(event.offered, event.wanted) for event in retried] == [("CURVE25519", "ECP_256")]
        check_agreement(charon, host)


@pytest.mark.requirement("IKE-015")
def test_we_want_another_group(charon: Charon, authorities: Authorities) -> None:
    ike = "aes128gcm16-prfsha256-{}"
    peering = Peering(ike=ike.format("x25519-ecp256"))
    peering.load_into(charon, authorities)
    with host_for(peering.but(ike=ike.format("ecp256")), authorities) as host:
        job = charon.initiate("net")
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode == 0
        assert "peer didn't accept DH group CURVE_25519, it requested ECP_256" in charon.log
        check_agreement(charon, host)


def test_charon_likes_no_proposal(charon: Charon, authorities: Authorities) -> None:
    peering = Peering(ike="aes256gcm16-prfsha384-ecp384")
    peering.load_into(charon, authorities)
    ours = Peering()
    with host_for(ours, authorities, limits=ikecore.Limits(init_error_wait=0.2)) as host:
        initiate(host, ours, authorities)
        assert isinstance(host.wait(ikecore.IkeSaFailed).error, ikecore.NoProposalChosen)
        assert charon.list_sas() == []


@pytest.mark.requirement("IKE-107")
def test_we_like_no_proposal(charon: Charon, authorities: Authorities) -> None:
    Peering(ike="aes256gcm16-prfsha384-ecp384").load_into(charon, authorities)
    with host_for(Peering(), authorities) as host:
        job = charon.initiate("net")
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode != 0
        assert "received NO_PROPOSAL_CHOSEN notify error" in charon.log
        assert host.endpoint.sas == ()


# --- authentication -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-010")
def test_charon_knows_another_secret(charon: Charon, authorities: Authorities) -> None:
    Peering(secret="another one").load_into(charon, authorities)
    with host_for(Peering(), authorities) as host:
        initiate(host, Peering(), authorities)
        failed = host.wait(ikecore.IkeSaFailed)
        assert isinstance(failed.error, ikecore.AuthenticationFailed)
        assert failed.step == "IKE_AUTH"
        assert not host.of(ikecore.IkeSaEstablished)
        host.run_until(lambda: charon.list_sas() == [])


@pytest.mark.requirement("IKE-004", "IKE-010")
def test_we_know_another_secret(charon: Charon, authorities: Authorities) -> None:
    Peering(secret="another one").load_into(charon, authorities)
    with host_for(Peering(), authorities) as host:
        job = charon.initiate("net")
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode != 0
        assert "received AUTHENTICATION_FAILED notify error" in charon.log
        assert isinstance(host.wait(ikecore.IkeSaFailed).error, ikecore.AuthenticationFailed)
        assert not host.of(ikecore.IkeSaEstablished)


@pytest.mark.requirement("IKE-275")
@pytest.mark.parametrize("ours_first", [True, False], ids=["we initiate", "charon initiates"])
@pytest.mark.parametrize(
    ("auth", "options", "said"),
    [
        ("ecdsa", "signature_authentication = no", "with ECDSA-256 signature successful"),
        ("rsa", "rsa_pss = yes", "with RSA_EMSA_PSS_"),
    ],
    ids=["the method of RFC 4754", "pss"],
)
def test_other_signatures(
    start_charon: Callable[..., Charon], authorities: Authorities, auth: Auth, options: str, said: str, ours_first: bool
) -> None:
    charon, peering = start_charon(f"{PLAIN}\n  {options}"), Peering(auth=auth)
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        if ours_first:
            initiate(host, peering, authorities)
        else:
            charon.initiate("net")
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)
        assert said in charon.log


# --- paths and selectors --------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-206", "IKE-207", "IKE-209", "IKE-210", "IKE-044")
def test_charon_wants_encapsulation_so_both_move_to_the_other_port(charon: Charon, authorities: Authorities) -> None:
    peering = Peering(options="encap = yes")
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        initiate(host, peering, authorities)
        assert host.wait(ikecore.ChildSaEstablished).udp_encapsulation
        assert host.of(ikecore.NatDetected)
        check_agreement(charon, host)
        facts = charon.list_sas()[0].facts
        assert (facts["local-port"], facts["remote-port"]) == ("4500", "4500")


@pytest.mark.requirement("IKE-206", "IKE-207", "IKE-209", "IKE-217")
def test_charon_initiates_and_moves_to_the_other_port(charon: Charon, authorities: Authorities) -> None:
    peering = Peering(options="encap = yes")
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        charon.initiate("net")
        assert host.wait(ikecore.ChildSaEstablished).udp_encapsulation
        check_agreement(charon, host)
        assert host.endpoint.sa(host.of(ikecore.IkeSaEstablished)[0].sa).remote == (CHARON, 4500)


@pytest.mark.requirement("IKE-207", "IKE-217")
def test_from_ephemeral_ports(charon: Charon, authorities: Authorities) -> None:
    peering = Peering()
    peering.load_into(charon, authorities)
    with UdpHost(ikecore.Config(), ports=(0, 0)) as host:
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        assert not host.of(ikecore.NatDetected)
        check_agreement(charon, host)


@pytest.mark.requirement("IKE-135")
def test_charon_narrows_the_selectors(charon: Charon, authorities: Authorities) -> None:
    Peering(options="").load_into(charon, authorities)
    wide = Peering(selectors=("0.0.0.0/0", "0.0.0.0/0"))
    with host_for(wide, authorities) as host:
        initiate(host, wide, authorities)
        child = host.wait(ikecore.ChildSaEstablished)
        assert (child.local_ts, child.remote_ts) == ((OUR_NET,), (CHARON_NET,))
        check_agreement(charon, host)


# --- life and end ---------------------------------------------------------------------------------------------------


def established(charon: Charon, host: UdpHost, authorities: Authorities, peering: Peering) -> ikecore.SaId:
    """Set up the SA from our side."""
    peering.load_into(charon, authorities)
    initiate(host, peering, authorities)
    host.wait(ikecore.ChildSaEstablished)
    return host.of(ikecore.IkeSaEstablished)[0].sa


def test_we_ask_whether_charon_lives(charon: Charon, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(charon, host, authorities, Peering())
        request = host.endpoint.check_liveness(sa, now=host.now)
        assert host.wait(ikecore.RequestCompleted).request == request
        assert "parsed INFORMATIONAL request 2 [ ]" in charon.log


@pytest.mark.requirement("IKE-031")
def test_charon_asks_whether_we_live(charon: Charon, authorities: Authorities) -> None:
    peering = Peering(options="dpd_delay = 1s")
    with host_for(peering, authorities) as host:
        sa = established(charon, host, authorities, peering)
        host.run_until(lambda: "parsed INFORMATIONAL response 0 [ ]" in charon.log)
        assert host.endpoint.sas == (sa,)
        check_agreement(charon, host)


@pytest.mark.requirement("IKE-036")
def test_we_delete_the_sa(charon: Charon, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(charon, host, authorities, Peering())
        request = host.endpoint.delete(sa, now=host.now)
        assert host.wait(ikecore.RequestCompleted).request == request
        assert host.of(ikecore.IkeSaClosed)[0].by == "us"
        host.run_until(lambda: charon.list_sas() == [])
        assert host.endpoint.sas == ()


@pytest.mark.requirement("IKE-031", "IKE-036")
def test_charon_deletes_the_sa(charon: Charon, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        established(charon, host, authorities, Peering())
        job = charon.terminate("--ike", "lab")
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode == 0
        assert host.of(ikecore.IkeSaClosed)[0].by == "peer"
        assert host.of(ikecore.ChildSaClosed)
        assert host.endpoint.sas == ()


@pytest.mark.requirement("IKE-032", "IKE-033")
def test_we_delete_the_child_sa(charon: Charon, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(charon, host, authorities, Peering())
        child = host.of(ikecore.ChildSaEstablished)[0]
        host.endpoint.delete(sa, child=child.child, now=host.now)
        host.wait(ikecore.RequestCompleted)
        assert host.of(ikecore.ChildSaClosed)[0].by == "us"
        host.run_until(lambda: [each.children for each in charon.list_sas()] == [[]])
        assert host.endpoint.sa(sa).children == ()


@pytest.mark.requirement("IKE-032", "IKE-034")
def test_charon_deletes_the_child_sa(charon: Charon, authorities: Authorities) -> None:
    with host_for(Peering(), authorities) as host:
        sa = established(charon, host, authorities, Peering())
        job = charon.terminate("--child", "net")
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode == 0
        assert host.of(ikecore.ChildSaClosed)[0].by == "peer"
        assert host.endpoint.sas == (sa,)
        assert [each.children for each in charon.list_sas()] == [[]]
