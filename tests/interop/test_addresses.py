"""Addresses assigned by charon's pool to us and by ours to charon, and Child SAs in transport mode."""

from __future__ import annotations

import subprocess

import attrs
import pytest

import ikecore
from tests.interop.charon import Charon
from tests.interop.host import UdpHost
from tests.interop.peering import CHARON, CHARON_ID, CHARON_NET, OUR_ID, OURS, SECRET

SWANCTL_CONF = f"""
connections {{{{
  lab {{{{
    version = 2
    local_addrs = {CHARON}
    remote_addrs = {OURS}
    proposals = aes128gcm16-prfsha256-x25519
    mobike = no
    {{connection}}
    local {{{{
      auth = psk
      id = {CHARON_ID}
    }}}}
    remote {{{{
      auth = psk
      id = {OUR_ID}
    }}}}
    children {{{{
      net {{{{
        esp_proposals = aes128gcm16
        {{child}}
      }}}}
    }}}}
  }}}}
}}}}
pools {{{{
  office {{{{
    addrs = 10.3.0.0/24
    dns = 10.1.0.53, 10.1.0.54
  }}}}
  office6 {{{{
    addrs = 2001:db8:3::/120
  }}}}
}}}}
secrets {{{{
  ike-1 {{{{
    secret = "{SECRET}"
  }}}}
}}}}
"""


def load(charon: Charon, *, connection: str = "", child: str) -> None:
    charon.load(SWANCTL_CONF.format(connection=connection, child=child))


def ours(**more: object) -> ikecore.Connection:
    """Our side, with the defaults of a Child SA between the two hosts."""
    made = ikecore.Connection(
        name="lab",
        local_identity=ikecore.Identity.parse(OUR_ID),
        remote_identity=ikecore.Identity.parse(CHARON_ID),
        local=ikecore.PskCredential(SECRET.encode()),
        remote=ikecore.PskCredential(SECRET.encode()),
        proposals=ikecore.ike_proposals("aes128gcm16-prfsha256-x25519"),
    )
    return attrs.evolve(made, **more)  # type: ignore[arg-type]


def child(**more: object) -> ikecore.ChildConfig:
    made = ikecore.ChildConfig(name="net", proposals=ikecore.esp_proposals("aes128gcm16"))
    return attrs.evolve(made, **more)  # type: ignore[arg-type]


def finish(charon: Charon, host: UdpHost, job: subprocess.Popen[str]) -> None:
    charon.until(lambda: job.poll() is not None, host)


CHARONS_NET = (ikecore.parse_selector(CHARON_NET),)


@pytest.mark.matrix("addresses assigned by the peer", role="responds")
def test_charon_assigns_us_addresses(charon: Charon) -> None:
    load(charon, connection="pools = office, office6", child=f"local_ts = {CHARON_NET}")
    connection = ours(virtual_addresses=("0.0.0.0", "::"), children=(child(remote_ts=CHARONS_NET),))
    with UdpHost(ikecore.Config()) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        up = host.wait(ikecore.ChildSaEstablished)
        assigned = host.of(ikecore.AddressesAssigned)[0]
        assert not assigned.to_peer
        assert assigned.lease.addresses == ("10.3.0.1", "2001:db8:3::1")
        assert assigned.lease.dns == ("10.1.0.53", "10.1.0.54")
        assert (up.local_ts, up.remote_ts) == (("10.3.0.1", "2001:db8:3::1"), (CHARON_NET,))
        charon.until_said("assigning virtual IP 10.3.0.1 to peer", host)


@pytest.mark.matrix("addresses assigned by the peer", role="responds")
def test_charon_has_no_address_left(charon: Charon) -> None:
    load(charon, connection="pools = office6", child=f"local_ts = {CHARON_NET}")
    connection = ours(virtual_addresses=("0.0.0.0",), children=(child(remote_ts=CHARONS_NET),))
    with UdpHost(ikecore.Config()) as host:
        sa = host.endpoint.initiate(connection, [CHARON], now=host.now)
        failed = host.wait(ikecore.ChildSaFailed)
        assert isinstance(failed.error, ikecore.InternalAddressFailure)
        assert host.endpoint.sa(sa).state == "established"
        charon.until(lambda: [each.state for each in charon.list_sas()] == ["ESTABLISHED"], host)


@pytest.mark.matrix("addresses assigned by us", role="initiates")
def test_we_assign_charon_addresses(charon: Charon) -> None:
    load(charon, connection="vips = 0.0.0.0, ::", child=f"remote_ts = {CHARON_NET}")
    pool = ikecore.Pool(name="office", addresses=("10.3.0.0/24", "2001:db8:3::/64"), dns=("10.1.0.53",))
    connection = ours(pools=(pool,), children=(child(local_ts=CHARONS_NET),))
    with UdpHost(ikecore.Config(connections=(connection,))) as host:
        job = charon.initiate("net")
        finish(charon, host, job)
        assert job.returncode == 0, charon.log
        assigned, up = host.of(ikecore.AddressesAssigned)[0], host.of(ikecore.ChildSaEstablished)[0]
        assert assigned.to_peer
        assert assigned.lease.addresses == ("10.3.0.1", "2001:db8:3::1")
        assert (up.local_ts, up.remote_ts) == ((CHARON_NET,), ("10.3.0.1", "2001:db8:3::1"))
        charon.until(lambda: "10.3.0.1/32" in charon.swanctl("--list-sas"), host)


@pytest.mark.matrix("addresses assigned by us", role="initiates")
def test_charon_gets_its_address_again(charon: Charon) -> None:
    load(charon, connection="vips = 0.0.0.0", child=f"remote_ts = {CHARON_NET}")
    pool = ikecore.Pool(name="office", addresses=("10.3.0.0/24",))
    connection = ours(pools=(pool,), children=(child(local_ts=CHARONS_NET),))
    with UdpHost(ikecore.Config(connections=(connection,))) as host:
        for _ in range(2):
            finish(charon, host, charon.initiate("net"))
            finish(charon, host, charon.terminate("--ike", "lab"))
        assigned = [event.lease.addresses for event in host.of(ikecore.AddressesAssigned)]
        assert assigned == [("10.3.0.1",), ("10.3.0.1",)]


@pytest.mark.parametrize(
    "initiator",
    [
        pytest.param("we", marks=pytest.mark.matrix("transport mode", role="responds")),
        pytest.param("charon", marks=pytest.mark.matrix("transport mode", role="initiates")),
    ],
)
def test_transport_mode(charon: Charon, initiator: str) -> None:
    load(charon, child="mode = transport")
    connection = ours(children=(child(mode="transport", tunnel_fallback=False),))
    with UdpHost(ikecore.Config(connections=(connection,))) as host:
        if initiator == "we":
            host.endpoint.initiate(connection, [CHARON], now=host.now)
        else:
            charon.initiate("net")
        up = host.wait(ikecore.ChildSaEstablished)
        assert up.mode == "transport"
        assert (up.local_ts, up.remote_ts) == ((OURS,), (CHARON,))
        charon.until(lambda: "TRANSPORT" in charon.swanctl("--list-sas"), host)


@pytest.mark.matrix("transport mode", role="responds")
def test_charon_declines_transport_mode(charon: Charon) -> None:
    load(charon, child="mode = tunnel")
    connection = ours(children=(child(mode="transport", tunnel_fallback=False),))
    with UdpHost(ikecore.Config()) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        failed = host.wait(ikecore.ChildSaFailed)
        assert "transport mode" in str(failed.error)
        charon.until_said("received DELETE for ESP CHILD_SA", host)
