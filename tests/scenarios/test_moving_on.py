"""Requests that UDP leaves unanswered, and where they go then: within one SA, with nothing lost or doubled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ikecore.config import CertificateCredential, Connection, Transports, TrustedCertificates
from ikecore.crypto import Identity
from ikecore.events import IkeSaEstablished, MessageReceived, MessageSent, TransportSwitched
from ikecore.limits import Limits
from ikecore.testing import NOON, Pair, Tcp, Udp
from ikecore.testing.pki import CertificateAuthority
from ikecore.transport import BySize, Fallback, Policy, Race

ROOT = CertificateAuthority("Root", utc=NOON)
BELOW = ROOT.intermediate("Below")
LEAVES = {name: BELOW.leaf([f"{name}.example"]) for name in ("initiator", "responder")}


def certified(name: str, transports: Transports | None = None) -> Connection:
    return Connection(
        name=name,
        local_identity=Identity.parse(f"{name}.example"),
        local=CertificateCredential(LEAVES[name].chain, LEAVES[name].key),
        remote=TrustedCertificates((ROOT.der,)),
        transports=transports or Transports(),
    )


def pair_that_drops_fragments(policy: Policy, tcp: Tcp, limits: Limits | None = None) -> Pair:
    return Pair(
        certified("initiator", Transports(policy=policy, tcp_port=500, fragmentation="accept")),
        certified("responder"),
        tcp=tcp,
        udp=Udp(delay=0.025, max_datagram=1200),
        limits=limits,
    )


def auths(pair: Pair, kind: Callable[..., object]) -> list[str]:
    events = pair.initiator.of(MessageSent) if kind is MessageSent else pair.responder.of(MessageReceived)
    return [each.transport for each in events if each.exchange == "IKE_AUTH" and not each.is_response]


@pytest.mark.requirement("TCP-62", "TCP-14")
def test_a_raced_connection_that_comes_up_late_carries_the_request_at_its_first_repeat() -> None:
    pair = pair_that_drops_fragments(Race(), Tcp(delay=0.2))
    pair.establish()
    assert auths(pair, MessageSent) == ["udp", "tcp"]
    assert auths(pair, MessageReceived) == ["tcp"]
    [switch] = pair.initiator.of(TransportSwitched)
    assert switch.reason == "the connection that was raced is open"
    assert pair.now < 2.0, "one interval, not the patience of the whole exchange"
    assert len(pair.network.connections) == 1


@pytest.mark.requirement("TCP-62", "TCP-63")
def test_an_answer_over_udp_leaves_the_late_connection_unused() -> None:
    pair = Pair(
        certified("initiator", Transports(policy=Race(), tcp_port=500)), certified("responder"), tcp=Tcp(delay=0.2)
    )
    pair.establish()
    pair.run()
    assert auths(pair, MessageSent) == ["udp"]
    assert [packet.kind for packet in pair.network.wire if packet.transport == "tcp"] == ["syn"]


@pytest.mark.requirement("TCP-13")
@pytest.mark.parametrize("policy", [Race(), Fallback(), BySize(threshold=60_000)], ids=str)
def test_few_transmissions_end_before_the_patience_and_tcp_is_tried_all_the_same(policy: Policy) -> None:
    limits = Limits(retransmit_first=0.3, retransmit_tries=3)
    pair = pair_that_drops_fragments(policy, Tcp(delay=0.2), limits)
    pair.establish()
    assert pair.initiator.one(IkeSaEstablished).transport == "tcp"
    assert len(pair.initiator.of(TransportSwitched)) == 1
    assert pair.now < 3.0


@pytest.mark.requirement("TCP-13", "TCP-67")
def test_when_both_have_been_tried_it_ends_in_one_error() -> None:
    pair = pair_that_drops_fragments(Fallback(), Tcp(connect="silent"), Limits(retransmit_tries=3))
    with pytest.raises(Exception, match="no answer to IKE_AUTH"):
        pair.establish()
    pair.run()
    assert pair.initiator.endpoint.idle
