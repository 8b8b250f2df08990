"""IKE SAs with strongSwan's charon over UDP, in both roles: what both sides say about them has to agree."""

from __future__ import annotations

import pytest

import ikecore
from tests.interop.charon import Charon
from tests.interop.host import UdpHost
from tests.interop.peering import CHARON, Authorities, Peering

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


@each_peering
def test_charon_answers_us(charon: Charon, authorities: Authorities, peering: Peering) -> None:
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)


@each_peering
def test_we_answer_charon(charon: Charon, authorities: Authorities, peering: Peering) -> None:
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        job = charon.initiate("net")
        host.run_until(lambda: job.poll() is not None)
        assert job.returncode == 0, charon.log
        check_agreement(charon, host)
