"""Two hosts with a wire between them, credentials in files, and a gateway on each adapter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ikecore.testing.pki import CertificateAuthority
from tests.netns.two_hosts import GATEWAYS, Forbidden, TwoHosts, missing_tools

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = ("trio", "asyncio")
POLICIES = {
    "by-size": 'policy = "by-size"',
    "udp-only": 'policy = "udp-only"',
    "whole-mission": 'policy = "whole-mission", tcp_port = 500',
    "race": 'policy = "race", tcp_port = 500, patience = 0.5',
    "tcp-only": 'policy = "tcp-only", tcp_port = 500',
    "fallback": 'policy = "fallback", tcp_port = 500, steps = ["udp 0.5", "tcp"]',
}
SERVE = """
[listen]
hosts = ["192.0.2.2"]
tcp = 500

[connections.certified]
local = { auth = "pubkey", id = "gateway.example", certs = "gateway.pem" }
remote = { auth = "pubkey", id = "client.example", cacerts = "ca.pem" }

[connections.shared]
local = { auth = "pubkey", id = "gateway.example", certs = "gateway.pem" }
remote = { auth = "psk", id = "shared.example" }

[secrets.ike-1]
secret = "swordfish"

[secrets.private-1]
file = "gateway.key"
"""
CONNECT = """
[connections.certified]
remote_addrs = "{host}"
fragmentation = "{fragmentation}"
transports = {{ {transports} }}
local = {{ auth = "pubkey", id = "client.example", certs = "client.pem" }}
remote = {{ auth = "pubkey", id = "gateway.example", cacerts = "ca.pem" }}

[connections.shared]
remote_addrs = "{host}"
fragmentation = "{fragmentation}"
transports = {{ {transports} }}
local = {{ auth = "psk", id = "shared.example" }}
remote = {{ auth = "pubkey", id = "gateway.example", cacerts = "ca.pem" }}

[secrets.ike-1]
secret = "swordfish"

[secrets.private-1]
file = "client.key"
"""
Connect = Callable[..., "Run"]


@attrs.frozen
class Run:
    """What one client told: its events, and the outcome behind them."""

    events: list[dict[str, Any]]

    @property
    def error(self) -> str | None:
        """The class of the error, None if the SA came up."""
        error: str | None = self.events[-1]["error"]
        return error

    @property
    def text(self) -> str:
        """The error in words."""
        return str(self.events[-1].get("text", ""))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one class."""
        return [event for event in self.events if event["type"] == kind]

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Each request that went out, with its transport; repeats count once."""
        return list(dict.fromkeys((each["exchange"], each["transport"]) for each in self.of("MessageSent")))


def environment() -> dict[str, str]:
    values = {key: value for key, value in os.environ.items() if key != "IKEKEYLOGFILE"}
    return {**values, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def hosts() -> Iterator[TwoHosts]:
    """Both hosts; the wire passes everything."""
    require = os.environ.get("IKECORE_REQUIRE_PEERS") == "1"
    if lacking := missing_tools():
        reason = f"not installed: {', '.join(lacking)}"
        if require:
            pytest.fail(f"IKECORE_REQUIRE_PEERS is set, but {reason}", pytrace=False)
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            made = stack.enter_context(TwoHosts())
        except Forbidden as error:
            pytest.skip(f"this machine forbids network namespaces: {error}")
        yield made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the gateway's file, an authority, and for each side a large chain with its key."""
    path = tmp_path_factory.mktemp("netns")
    root = CertificateAuthority("Root", kind="ml-dsa-65", utc=datetime.now(UTC))
    below = root.intermediate("Below")
    (path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    for name in ("client", "gateway"):
        leaf = below.leaf([f"{name}.example"])
        chain = [x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in leaf.chain]
        (path / f"{name}.pem").write_bytes(b"".join(chain))
        (path / f"{name}.key").write_bytes(leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (path / "serve.toml").write_text(SERVE)
    return path


@pytest.fixture(scope="session")
def gateways(hosts: TwoHosts, folder: Path) -> Iterator[dict[str, str]]:
    """A gateway on each adapter: the address of each."""
    with ExitStack() as stack:
        for adapter, address in zip(ADAPTERS, GATEWAYS, strict=False):
            arguments = [adapter, "serve", str(folder / "serve.toml"), address]
            stack.enter_context(started(hosts.inside("gateway", peer(arguments))))
        yield dict(zip(ADAPTERS, GATEWAYS, strict=False))


class started:  # noqa: N801  (a context manager)
    """A process that says `Listening` first, until the block ends."""

    def __init__(self, command: list[str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment())

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "Listening" in line, line + self._process.stdout.read()

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.communicate()


def connect_file(policy: str, host: str, fragmentation: str = "no") -> str:
    """Return the client's configuration file. Without IKE fragments for one side there are none for both."""
    return CONNECT.format(host=host, transports=POLICIES[policy], fragmentation=fragmentation)


def peer(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "tests.netns.peer", *arguments]


@pytest.fixture
def wire(hosts: TwoHosts) -> Iterator[TwoHosts]:
    """The hosts, with a wire that passes everything again at the end."""
    hosts.filter("")
    yield hosts
    hosts.filter("")


@pytest.fixture
def connect(gateways: dict[str, str], wire: TwoHosts, folder: Path) -> Connect:
    """Set up one SA from the client's host with a policy. The role "attempt" gives up soon, "hurry" not."""

    def begin(
        policy: str,
        *,
        name: str = "certified",
        adapter: str = "trio",
        role: str = "connect",
        fragmentation: str = "no",
    ) -> Run:
        path = folder / f"{policy}-{adapter}.toml"
        path.write_text(connect_file(policy, gateways[adapter], fragmentation))
        command = wire.inside("client", peer([adapter, role, str(path), name]))
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=90, check=False, env=environment(), cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        return Run([json.loads(line) for line in done.stdout.splitlines()])

    return begin
