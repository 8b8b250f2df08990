"""What an SA knows of its peer's transports (TCP-32, TCP-53, TCP-60)."""

from __future__ import annotations

import pytest

from ikecore.config import Transports
from ikecore.transport import PeerFacts, port_allowed


@pytest.mark.requirement("TCP-32", "TCP-53", "TCP-60")
@pytest.mark.parametrize(
    ("facts", "port", "reason"),
    [
        (PeerFacts(), None, "no TCP port is known"),
        (PeerFacts(init_over_udp=True), None, "the peer announced no TCP port"),
        (PeerFacts(announced_port=4500, init_over_udp=True), 4500, "the peer announced TCP port 4500"),
        (PeerFacts(used_port=500), 500, "IKE_SA_INIT went to TCP port 500"),
        (PeerFacts(announced_port=4500, used_port=500), 4500, "the peer announced TCP port 4500"),
        (PeerFacts(configured_port=600, announced_port=4500, used_port=500), 600, "TCP port 600 is configured"),
        (PeerFacts(init_over_udp=True, on_its_word=True), None, "the peer announced no TCP port"),
        (PeerFacts(announced_port=4500, on_its_word=True), 4500, "the peer announced TCP port 4500"),
        (PeerFacts(configured_port=600, announced_port=4500, on_its_word=True), 600, "TCP port 600 is configured"),
        (PeerFacts(configured_port=600, refused_port=25, on_its_word=True), 600, "TCP port 600 is configured"),
        (
            PeerFacts(configured_port=600, on_its_word=True),
            None,
            "TCP port 600 is configured, and the peer did not announce TCP for this SA",
        ),
    ],
)
def test_the_port_and_where_it_is_known_from(facts: PeerFacts, port: int | None, reason: str) -> None:
    assert (facts.tcp_port, facts.reason) == (port, reason)


@pytest.mark.requirement("TCP-53")
@pytest.mark.parametrize(
    ("port", "allowed"),
    [(500, True), (4500, True), (1024, True), (65535, True), (1023, False), (22, False), (80, False), (499, False)],
)
def test_the_ports_that_a_peer_may_name_by_default(port: int, allowed: bool) -> None:
    assert port_allowed(port, Transports().allowed_ports) is allowed
    assert not port_allowed(port, ())
