"""What libreswan's pluto alone can be told: its protection against floods, its kinds of signatures, other ports."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import ikecore
from tests.interop.agreement import Role, check_agreement, established, host_for, initiate
from tests.interop.host import UdpHost
from tests.interop.peering import OUR_NET, PEER, PEER_NET, Authorities, Peering
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
        pluto.until_said("RSASSA-PSS with SHA2_", host)


@pytest.mark.matrix("addresses assigned by the peer", role="responds")
def test_pluto_assigns_us_an_address(pluto: Pluto, authorities: Authorities) -> None:
    pool = "rightaddresspool=10.3.0.1-10.3.0.9\nleftmodecfgserver=yes\nrightmodecfgclient=yes\nmodecfgdns=10.1.0.53"
    peering = Peering(nets=(PEER_NET, None), selectors=(None, PEER_NET), options=pool)
    peering.load_into(pluto, authorities)
    connection = attrs.evolve(peering.connection(authorities), virtual_addresses=("0.0.0.0",))
    with UdpHost(ikecore.Config()) as host:
        host.endpoint.initiate(connection, [PEER], now=host.now)
        child = host.wait(ikecore.ChildSaEstablished)
        (assigned,) = host.of(ikecore.AddressesAssigned)
        assert (assigned.lease.addresses, assigned.lease.dns) == (("10.3.0.1",), ("10.1.0.53",))
        assert (child.local_ts, child.remote_ts) == (("10.3.0.1",), (PEER_NET,))
        check_agreement(pluto, host)


@pytest.mark.matrix("addresses assigned by us", role="initiates")
def test_we_assign_pluto_an_address(pluto: Pluto, authorities: Authorities) -> None:
    client = "leftmodecfgclient=yes\nrightmodecfgserver=yes\nmodecfgpull=yes"
    peering = Peering(nets=("0.0.0.0/0", OUR_NET), selectors=(OUR_NET, None), narrowing=True, options=client)
    peering.load_into(pluto, authorities)
    pool = ikecore.Pool(name="office", addresses=("10.3.0.0/24",), dns=("10.2.0.53",))
    connection = attrs.evolve(peering.connection(authorities), pools=(pool,))
    with UdpHost(ikecore.Config(connections=(connection,))) as host:
        pluto.connect()
        child = host.wait(ikecore.ChildSaEstablished)
        (assigned,) = host.of(ikecore.AddressesAssigned)
        assert assigned.lease.addresses == ("10.3.0.1",)
        assert (child.local_ts, child.remote_ts) == ((OUR_NET,), ("10.3.0.1",))
        check_agreement(pluto, host)


@pytest.mark.matrix("from any free port, without NAT", role="responds")
@pytest.mark.requirement("IKE-207", "IKE-217")
def test_from_ephemeral_ports(pluto: Pluto, authorities: Authorities) -> None:
    peering = Peering()
    peering.load_into(pluto, authorities)
    with UdpHost(ikecore.Config(), ports=(0, 0)) as host:
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(pluto, host)
