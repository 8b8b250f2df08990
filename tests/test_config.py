"""Mistakes in a configuration show when it is made, with the field, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ikecore.config import (
    CertificateCredential,
    ChildConfig,
    Config,
    Connection,
    Listen,
    PinnedKeys,
    PskCredential,
    Transports,
    TrustedCertificates,
)
from ikecore.credentials import LARGEST_CHAIN
from ikecore.crypto import DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS, Identity
from ikecore.errors import LocalProtocolError
from ikecore.limits import Limits
from ikecore.sa import parse_selector
from ikecore.testing import psk_connection
from ikecore.transport import BySize, Fallback, Local, Race, Step
from ikecore.wire import Proposal, Transform
from ikecore.wire.numbers import IKE_TCP_SUPPORTED_DEFAULT, TransformType

KEY = Ed25519PrivateKey.generate()
"""Stands for a private key, which the configuration does not look at."""


def without(proposal: Proposal, kind: int) -> Proposal:
    kept = tuple(each for each in proposal.transforms if each.type != kind)
    return Proposal(1, proposal.protocol, b"", kept)


def connection(**changes: Any) -> Connection:
    return attrs.evolve(psk_connection("responder"), **changes)


IKE, ESP = DEFAULT_IKE_PROPOSALS[0], DEFAULT_ESP_PROPOSALS[0]
ODD = Transform(TransformType.KE, 1024)

MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no secret": (lambda: PskCredential(b""), "secret: .* at least one octet"),
    "chain": (lambda: CertificateCredential((bytes(LARGEST_CHAIN + 1),), KEY), "chain: 60001 octets.*60000"),
    "no anchors": (lambda: TrustedCertificates(()), "anchors: "),
    "anchor": (lambda: TrustedCertificates((b"nonsense",)), "anchors: number 1 is not a certificate in DER"),
    "key": (lambda: PinnedKeys((b"nonsense",)), "keys: number 1 is not a usable public key"),
    "no keys": (lambda: PinnedKeys(()), "keys: "),
    "no IKE proposal": (lambda: connection(proposals=()), "proposals: at least one IKE"),
    "no ESP proposal": (lambda: ChildConfig(proposals=()), "proposals: at least one ESP"),
    "ESP for IKE": (lambda: connection(proposals=(IKE, ESP)), "proposals: number 2 is for protocol 3; .* IKE"),
    "IKE for ESP": (lambda: ChildConfig(proposals=(IKE,)), "proposals: number 1 is for protocol 1; .* ESP"),
    "no cipher": (lambda: connection(proposals=(without(IKE, TransformType.ENCR),)), "number 1 lacks .* ENCR"),
    "no PRF": (lambda: connection(proposals=(without(IKE, TransformType.PRF),)), "number 1 lacks .* PRF"),
    "no group": (lambda: connection(proposals=(without(IKE, TransformType.KE),)), "number 1 lacks .* KE"),
    "no ESN": (lambda: ChildConfig(proposals=(without(ESP, TransformType.ESN),)), "number 1 lacks .* ESN"),
    "group unknown": (
        lambda: connection(proposals=(Proposal(1, IKE.protocol, b"", (*IKE.transforms, ODD)),)),
        "number 1 has KE 1024, which is not supported",
    ),
    "no selectors": (lambda: ChildConfig(local_ts=()), "local_ts: 0 traffic selectors; allowed are 1 to 255"),
    "many selectors": (
        lambda: ChildConfig(remote_ts=(parse_selector("10.0.0.0/8"),) * 256),
        "remote_ts: 256 traffic selectors; allowed are 1 to 255",
    ),
    "mode": (lambda: ChildConfig(mode="beet"), "mode: 'beet' .* tunnel, transport"),  # type: ignore[arg-type]
    "certificates": (
        lambda: connection(send_certificates="often"),
        "send_certificates: 'often' .* always, asked, never",
    ),
    "start": (lambda: Transports(udp_start="tcp"), "udp_start: 'tcp' .* ike, nat"),  # type: ignore[arg-type]
    "UDP port 0": (lambda: Transports(udp_port=0), "udp_port: 0 is not a port; allowed are 1 to 65535"),
    "NAT port": (lambda: Transports(udp_nat_port=65536), "udp_nat_port: 65536 .* 1 to 65535"),
    "TCP port": (lambda: Transports(tcp_port=-1), "tcp_port: -1 is not a port; allowed are 1 to 65535"),
    "announcement": (lambda: Transports(announce_tcp=70000), "announce_tcp: 70000 .* 0 to 65535"),
    "fragmentation": (
        lambda: Transports(fragmentation=True),  # type: ignore[arg-type]
        "fragmentation: True is unknown; allowed are yes, accept, no",
    ),
    "fragment size": (lambda: Transports(fragment_size=575), "fragment_size: packets of 575 octets; .* 576 to 65535"),
    "threshold": (lambda: BySize(-1), "threshold: -1 octets; allowed is anything from 0"),
    "race": (lambda: Race(patience=0.0), "patience: 0.0 seconds; allowed is anything above 0"),
    "step": (lambda: Step("udp", -1.0), "patience: -1.0 seconds"),
    "transport": (lambda: Step("sctp"), "transport: 'sctp' .* udp, fragments, tcp"),  # type: ignore[arg-type]
    "no steps": (lambda: Fallback(()), "steps: at least one"),
    "step twice": (lambda: Fallback((Step("udp"), Step("udp"))), "steps: each way can be listed once"),
    "address": (
        lambda: connection(remote_addresses=("vpn.example",)),
        "remote_addresses: 'vpn.example' is no address or network",
    ),
    "names": (
        lambda: Config(connections=(connection(name="a"), connection(name="a"))),
        "connections: the name 'a' is used twice",
    ),
    "notify number": (lambda: Config(tcp_notify=16383), "tcp_notify: 16383 .* 16384 to 65535"),
    "other number": (lambda: Config(tcp_notify=65536), "tcp_notify: 65536 .* 16384 to 65535"),
    "negative count": (lambda: Limits(half_open_udp=-1), "half_open_udp: -1 .* whole numbers from 0"),
    "half a stream": (lambda: Limits(streams=0.5), "streams: 0.5 is no count"),  # type: ignore[arg-type]
    "no time": (lambda: Limits(stream_idle=0.0), "stream_idle: 0.0 .* above 0"),
    "no number": (lambda: Limits(stream_idle=float("nan")), "stream_idle: nan .* above 0"),
    "shorter waits": (lambda: Limits(retransmit_factor=0.9), "retransmit_factor: 0.9 .* from 1"),
}


@pytest.mark.requirement("IKE-257")
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_says_field_value_and_what_is_allowed(case: str) -> None:
    make, message = MISTAKES[case]
    with pytest.raises(LocalProtocolError, match=message):
        make()


@pytest.mark.parametrize("field", attrs.fields(Limits), ids=lambda field: field.name)
def test_every_limit_has_a_bound_of_its_own(field: attrs.Attribute[Any]) -> None:
    with pytest.raises(LocalProtocolError, match=field.name):
        Limits(**{field.name: -1})


def test_the_defaults_are_a_configuration() -> None:
    assert Config().connections == ()
    assert Config().notify_names == {IKE_TCP_SUPPORTED_DEFAULT: "IKE_TCP_SUPPORTED"}
    assert len(ChildConfig().proposals) >= 1
    announced = Transports(announce_tcp=0)
    assert (announced.udp_port, announced.udp_nat_port, announced.announce_tcp) == (500, 4500, 0)


def test_lists_become_tuples_so_that_what_was_checked_stays() -> None:
    names = ["192.0.2.0/24"]
    made = connection(remote_addresses=names)
    names.append("nonsense")
    assert made.remote_addresses == ("192.0.2.0/24",)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.name = "other"  # type: ignore[misc]


@pytest.mark.requirement("IKE-314")
@pytest.mark.parametrize(
    ("allowed", "address", "expected"),
    [
        ((), "192.0.2.1", True),
        (("192.0.2.1",), "192.0.2.1", True),
        (("192.0.2.1",), "192.0.2.2", False),
        (("192.0.2.0/24",), "192.0.2.200", True),
        (("192.0.2.77/24",), "192.0.2.200", True),
        (("198.51.100.0/24", "2001:db8::/32"), "2001:db8::1", True),
        (("198.51.100.0/24", "2001:db8::/32"), "2001:db9::1", False),
        (("0.0.0.0/0",), "2001:db8::1", False),
    ],
)
def test_addresses_that_may_use_a_connection(allowed: tuple[str, ...], address: str, expected: bool) -> None:
    assert (connection(remote_addresses=allowed).nearness(address) is not None) is expected


def test_no_secret_shows() -> None:
    credential = PskCredential(b"hush, hush")
    assert "hush" not in repr(connection(local=credential, remote=credential))
    assert "object" not in repr(CertificateCredential((), KEY))


def test_listen_names_the_sockets_of_each_host() -> None:
    assert list(Listen(hosts=("192.0.2.1", "2001:db8::1"), udp=0, udp_nat=4500, tcp=500).locals()) == [
        Local(("192.0.2.1", 0)),
        Local(("192.0.2.1", 4500), marker=True),
        Local(("192.0.2.1", 500), "tcp"),
        Local(("2001:db8::1", 0)),
        Local(("2001:db8::1", 4500), marker=True),
        Local(("2001:db8::1", 500), "tcp"),
    ]
    assert list(Listen(udp=None, udp_nat=None, tcp=None).locals()) == []


@pytest.mark.requirement("IKE-250")
def test_proposals_are_numbered_in_order_of_preference() -> None:
    odd = Proposal(5, IKE.protocol, b"12345678", IKE.transforms)
    made = connection(proposals=[odd, odd], children=[ChildConfig(proposals=[ESP, ESP])])
    for proposals in (made.proposals, made.children[0].proposals):
        assert [(each.number, each.spi) for each in proposals] == [(1, b""), (2, b"")]


def test_patterns_and_identities_are_taken_as_they_are() -> None:
    made = connection(remote_identity=Identity.parse("*.example"))
    assert made.remote_identity is not None
    assert made.remote_identity.is_pattern
