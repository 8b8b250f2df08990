"""A NAT of the kernel before the client, whose mappings live three seconds: what the adapters' keepalives are for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import ADAPTERS, ROOT, Run, environment, peer, started
from tests.netns.two_hosts import GATEWAYS, Forbidden, TwoHosts

KEEPALIVE = "udp length 9 udp dport 4500 counter"
"""One octet behind the header of UDP."""
SERVE = """
[connections.shared]
local = { auth = "psk", id = "gateway.example" }
remote = { auth = "psk", id = "client.example" }
children = {}

[secrets.ike-1]
secret = "swordfish"
"""
CONNECT = """
[connections.shared]
remote_addrs = "HOST"
transports = { policy = "udp-only", keepalive = KEEPALIVE }
local = { auth = "psk", id = "client.example" }
remote = { auth = "psk", id = "gateway.example" }
children = {}

[secrets.ike-1]
secret = "swordfish"
"""


@pytest.fixture
def asking(wire: TwoHosts, tmp_path: Path) -> Iterator[str]:
    """The address of a gateway that asks each client, four seconds after the set-up, whether it is there."""
    try:
        wire.masquerade(3)
    except Forbidden as error:
        pytest.skip(f"this machine makes no NAT: {error}")
    wire.filter(KEEPALIVE)
    (tmp_path / "serve.toml").write_text(SERVE)
    address = GATEWAYS[2]
    try:
        with started(wire.inside("gateway", peer(["trio", "ask", str(tmp_path / "serve.toml"), address]))):
            yield address
    finally:
        wire.masquerade(0)


def stay(wire: TwoHosts, folder: Path, gateway: str, *, adapter: str, role: str, keepalive: int) -> Run:
    file = folder / "connect.toml"
    file.write_text(CONNECT.replace("HOST", gateway).replace("KEEPALIVE", str(keepalive)))
    command = wire.inside("client", peer([adapter, role, str(file), "shared"]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=environment(), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    run = Run([json.loads(line) for line in done.stdout.splitlines()])
    assert run.error is None
    (nat,) = run.of("NatDetected")
    assert (nat["local_behind_nat"], nat["peer_behind_nat"]) == (True, False)
    return run


def asked(run: Run) -> bool:
    """Tell whether the gateway's question came through."""
    return any(each["exchange"] == "INFORMATIONAL" and not each["is_response"] for each in run.of("MessageReceived"))


@pytest.mark.requirement("IKE-209", "IKE-214", "SEP-26")
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_keepalives_keep_the_way_in_open(wire: TwoHosts, asking: str, tmp_path: Path, adapter: str) -> None:
    run = stay(wire, tmp_path, asking, adapter=adapter, role="linger", keepalive=1)
    assert asked(run)
    assert 3 <= wire.dropped("gateway") <= 6
    assert wire.dropped("client") == 0, "only who is behind the NAT sends any"


@pytest.mark.requirement("IKE-209")
def test_without_them_it_closes(wire: TwoHosts, asking: str, tmp_path: Path) -> None:
    assert not asked(stay(wire, tmp_path, asking, adapter="trio", role="linger", keepalive=0))
    assert wire.dropped("gateway") == 0


@pytest.mark.requirement("IKE-215", "IKE-217")
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_and_opens_again_once_the_client_speaks(wire: TwoHosts, asking: str, tmp_path: Path, adapter: str) -> None:
    """Through another mapping, to which the gateway follows."""
    assert asked(stay(wire, tmp_path, asking, adapter=adapter, role="speak", keepalive=0))
