"""What strongSwan's charon alone can be told: its protection against floods, its kinds of signatures, other ports."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import ikecore
from tests.interop.agreement import Role, check_agreement, established, host_for, initiate
from tests.interop.charon import PLAIN, Charon
from tests.interop.host import UdpHost
from tests.interop.peering import Auth, Authorities, Peering

FLOOD_PROTECTION = "dos_protection = yes\n  cookie_threshold = 1\n  cookie_threshold_ip = 1"


@pytest.mark.matrix("a cookie demanded by the peer", role="responds")
@pytest.mark.requirement("IKE-099", "IKE-104")
def test_charon_demands_a_cookie(start_charon: Callable[..., Charon], authorities: Authorities) -> None:
    charon, peering = start_charon(FLOOD_PROTECTION), Peering()
    peering.load_into(charon, authorities)
    with host_for(peering, authorities) as host:
        # charon asks for cookies once there is a half-open SA: that of an attempt which ends with its first request.
        half_open = initiate(host, peering, authorities)
        host.flush()
        host.endpoint.abandon(half_open, now=host.now)
        charon.until(lambda: "1 half-open" in charon.swanctl("--stats"), host)
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        assert host.of(ikecore.CookieReceived)
        charon.until_said("IKE_SA_INIT response 0 [ N(COOKIE) ]", host)


@pytest.mark.requirement("IKE-275")
@pytest.mark.parametrize(
    ("auth", "options", "said"),
    [
        pytest.param(
            "ecdsa",
            "signature_authentication = no",
            "with ECDSA-256 signature successful",
            marks=pytest.mark.matrix("signatures: ECDSA by RFC 4754"),
        ),
        pytest.param(
            "rsa",
            "rsa_pss = yes",
            "with RSA_EMSA_PSS_",
            marks=pytest.mark.matrix("signatures: RSA-PSS by RFC 7427"),
        ),
        pytest.param(
            "rsa",
            "rsa_pss = no",
            "with RSA_EMSA_PKCS1_SHA2_",
            marks=pytest.mark.matrix("signatures: RSA PKCS #1 v1.5 by RFC 7427"),
        ),
    ],
)
def test_signatures(
    start_charon: Callable[..., Charon], role: Role, authorities: Authorities, auth: Auth, options: str, said: str
) -> None:
    charon, peering = start_charon(f"{PLAIN}\n  {options}"), Peering(auth=auth)
    with host_for(peering, authorities) as host:
        established(host, charon, role, peering, authorities)
        charon.until_said(said, host)


@pytest.mark.matrix("from any free port, without NAT", role="responds")
@pytest.mark.requirement("IKE-207", "IKE-217")
def test_from_ephemeral_ports(charon: Charon, authorities: Authorities) -> None:
    peering = Peering()
    peering.load_into(charon, authorities)
    with UdpHost(ikecore.Config(), ports=(0, 0)) as host:
        initiate(host, peering, authorities)
        host.wait(ikecore.ChildSaEstablished)
        assert not host.of(ikecore.NatDetected)
        check_agreement(charon, host)
