"""What libreswan's pluto alone can be told: its protection against floods, its kinds of signatures, other ports."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import ikecore
from tests.interop.agreement import Role, check_agreement, established, host_for, initiate
from tests.interop.host import UdpHost
from tests.interop.peering import Authorities, Peering
from tests.interop.pluto import Pluto


@pytest.mark.matrix("a cookie demanded by the peer", role="responds")
@pytest.mark.requirement("IKE-099", "IKE-104")
def test_pluto_demands_a_cookie(start_pluto: Callable[..., Pluto], authorities: Authorities) -> None:
    pluto = start_pluto("--force-busy")
    with host_for(Peering(), authorities) as host:
        established(host, pluto, "responds", Peering(), authorities)
        assert host.of(ikecore.CookieReceived)


@pytest.mark.matrix("signatures: RSA-PSS by RFC 7427")
@pytest.mark.requirement("IKE-275")
def test_rsa_pss(pluto: Pluto, role: Role, authorities: Authorities) -> None:
    peering = Peering(auth="rsa")
    with host_for(peering, authorities) as host:
        established(host, pluto, role, peering, authorities)
        assert "RSASSA-PSS with SHA2_" in pluto.log


@pytest.mark.matrix("from any free port, without NAT", role="responds")
@pytest.mark.requirement("IKE-207", "IKE-217")
def test_from_ephemeral_ports(pluto: Pluto, authorities: Authorities) -> None:
    peering = Peering()
    peering.load_into(pluto, authorities)
    with UdpHost(ikecore.Config(), ports=(0, 0)) as host:
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(pluto, host)
