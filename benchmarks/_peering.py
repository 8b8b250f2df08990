"""The one peering of the benchmarks that go through sockets: what each side is configured with."""

from __future__ import annotations

from ikecore import Config, Connection, Identity, Limits, PskCredential, Transports
from ikecore.crypto import ike_proposals
from ikecore.transport import Policy, UdpOnly

__all__ = ["NAMES", "SECRET", "SUITE", "UNLIMITED", "initiator", "responder_config"]

NAMES = "initiator.example", "responder.example"
SECRET = "a secret of the benchmark"
SUITE = "aes256gcm16-prfsha256-x25519"
UNLIMITED = Limits(
    half_open_udp=100_000,
    half_open_tcp=100_000,
    half_open_per_source=100_000,
    cookie_threshold=100_000,
    streams=10_000,
    streams_per_source=10_000,
)
"""All peers are at one address here, and no daemon is to protect itself against that."""


def initiator(ports: dict[str, int], policy: Policy | None = None) -> Connection:
    """Describe the peering as the initiator sees it: a childless SA, over UDP with the non-ESP marker from the start.

    No port of this is 500, and charon takes and sends the marker then.
    """
    transports = Transports(
        policy=policy or UdpOnly(),
        udp_start="nat",
        udp_nat_port=ports["udp"],
        tcp_port=ports.get("tcp"),
    )
    return _connection(0, transports)


def responder_config() -> Config:
    """Describe it as the responder sees it."""
    return Config(connections=(_connection(1, Transports()),), limits=UNLIMITED)


def _connection(role: int, transports: Transports) -> Connection:
    secret = PskCredential(SECRET.encode())
    return Connection(
        name="peer",
        local_identity=Identity.parse(NAMES[role]),
        local=secret,
        remote=secret,
        remote_identity=Identity.parse(NAMES[1 - role]),
        proposals=ike_proposals(SUITE),
        children=(),
        transports=transports,
        unique="never",
    )
