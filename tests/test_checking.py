"""A field of a wrong type is a mistake that shows at once, in every class that users configure with."""

from __future__ import annotations

from typing import Any, cast, get_type_hints

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ikecore import config
from ikecore.addressing import Lease, Pool
from ikecore.checking import several
from ikecore.config import (
    CertificateCredential,
    ChildConfig,
    Config,
    Connection,
    ExternalKey,
    Lifetimes,
    Listen,
    PinnedKeys,
    PskCredential,
    PskTable,
    PskWanted,
    Transports,
    TrustedCertificates,
)
from ikecore.crypto import Identity
from ikecore.errors import LocalProtocolError
from ikecore.framing import Framing
from ikecore.limits import Limits
from ikecore.transport import BySize, Fallback, Local, Race, Step

SECRET = PskCredential(b"swordfish")
GOOD: dict[type, dict[str, Any]] = {
    BySize: {},
    CertificateCredential: {"chain": (), "key": Ed25519PrivateKey.generate()},
    ChildConfig: {},
    Config: {},
    Connection: {"name": "n", "local_identity": Identity.parse("a.example"), "local": SECRET, "remote": SECRET},
    ExternalKey: {"chain": (), "public": b""},
    Fallback: {},
    Identity: {"id_type": 2, "data": b"a.example"},
    Lease: {},
    Lifetimes: {},
    Limits: {},
    Listen: {},
    Local: {"address": ("10.0.0.1", 500)},
    PinnedKeys: {"keys": (b"",)},
    Pool: {"name": "p", "addresses": ("10.3.0.0/24",)},
    PskCredential: {"secret": b"swordfish"},
    PskTable: {"secrets": ((Identity.parse("a.example"), b"swordfish"),)},
    PskWanted: {},
    Race: {},
    Step: {"transport": "udp"},
    Transports: {},
    TrustedCertificates: {"anchors": (b"",)},
}
"""What each of them needs at least."""
FIELDS = [(kind, field) for kind in GOOD for field in attrs.fields(kind) if field.init]
BY_NAME = [pytest.param(kind, field, id=f"{kind.__name__}.{field.name}") for kind, field in FIELDS]
SEVERAL = [
    pytest.param(kind, field, id=f"{kind.__name__}.{field.name}")
    for kind, field in FIELDS
    if kind is not Limits and "tuple[" in str(field.type)
]


def test_every_class_of_the_configuration_is_among_them() -> None:
    made = {getattr(config, name) for name in config.__all__}
    assert {each for each in made if isinstance(each, type)} <= set(GOOD)


@pytest.mark.requirement("IKE-257")
@pytest.mark.parametrize(
    "wrong", [object(), 1j, ["x", None], b"\0", "\0"], ids=["object", "1j", "list", "octets", "text"]
)
@pytest.mark.parametrize(("kind", "field"), BY_NAME)
def test_a_value_of_a_wrong_type_is_refused_by_the_name_of_its_field(
    kind: type, field: attrs.Attribute[Any], wrong: object
) -> None:
    hints = get_type_hints(kind)[field.name]
    if wrong in (b"\0", "\0") and type(wrong) in (hints, *getattr(hints, "__args__", ())):
        return
    with pytest.raises(LocalProtocolError, match=f"^{field.name}: "):
        kind(**GOOD[kind] | {field.name: wrong})


@pytest.mark.parametrize(("kind", "field"), SEVERAL)
def test_a_sequence_of_something_else_is_refused(kind: type, field: attrs.Attribute[Any]) -> None:
    for wrong in ([object()], (object(),), iter([object()]), {object(): object()}):
        with pytest.raises(LocalProtocolError, match=f"^{field.name}: .*; allowed is .*tuple"):
            kind(**GOOD[kind] | {field.name: wrong})


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (ChildConfig, {"local_ts": "10.0.0.0/24"}, "local_ts: '10.0.0.0/24' does not fit; .*, see ikecore.parse_sel"),
        (ChildConfig, {"remote_ts": ["10.0.0.0/24"]}, "remote_ts: .*, see ikecore.parse_selector"),
        (Transports, {"policy": "by-size"}, "policy: 'by-size' does not fit; allowed is Policy"),
        (Transports, {"tcp_port": "500"}, r"tcp_port: '500' does not fit; allowed is int \| None"),
        (Transports, {"tcp_port": True}, r"tcp_port: True does not fit; allowed is int \| None"),
        (Limits, {"question_timeout": "30"}, "question_timeout: '30' .*; allowed are numbers above 0"),
        (Limits, {"question_timeout": True}, "question_timeout: True .*; allowed are numbers above 0"),
        (Limits, {"sas": True}, "sas: True is no count"),
        (Listen, {"hosts": "127.0.0.1"}, r"hosts: '127.0.0.1' does not fit; allowed is tuple\[str, ...\]"),
        (Listen, {"udp": 65536}, "udp: 65536 is not a port; allowed are 0 to 65535"),
        (Lifetimes, {"rekey_time": "1h"}, "rekey_time: '1h' does not fit; allowed is float"),
        (Local, {"address": "10.0.0.1"}, r"address: '10.0.0.1' does not fit; allowed is tuple\[str, int\]"),
        (Local, {"address": ("10.0.0.1", "500")}, r"address: \('10.0.0.1', '500'\) does not fit"),
        (Local, {"address": ("::1", 500, 0, 0)}, r"address: \('::1', 500, 0, 0\) does not fit"),
        (Local, {"address": ("10.0.0.1", 500), "kind": "sctp"}, "kind: 'sctp' is unknown; allowed are udp, tcp"),
        (Local, {"address": ("10.0.0.1", 500), "marker": 1}, "marker: 1 does not fit; allowed is bool"),
        (Local, {"address": ("10.0.0.1", 500), "framings": {"ike-tcp"}}, r"framings: frozenset\(.* does not fit"),
        (Identity, {"id_type": 2, "data": "a.example"}, "data: 'a.example' does not .* bytes, see ikecore.Identity.pa"),
        (Identity, {"id_type": "fqdn", "data": b"a.example"}, "id_type: 'fqdn' does not fit; allowed is int"),
        (Identity, {"id_type": 256, "data": b""}, "id_type: 256 does not fit its octet; allowed are 0 to 255"),
        (PinnedKeys, {"keys": "k" * 200}, "keys: 'k{59}[.]{3} does not fit"),
    ],
)
def test_what_is_wrong_is_shown_beside_what_is_allowed(kind: type, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{message}"):
        kind(**fields)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (PskCredential, {"secret": "swordfish"}),
        (PskTable, {"secrets": {Identity.parse("a.example"): "swordfish"}}),
        (PskTable, {"others": "swordfish"}),
        (CertificateCredential, {"key": "swordfish"}),
        (Connection, {"local": "swordfish"}),
        (Connection, {"remote": "swordfish"}),
        (Connection, {"local": ["swordfish"]}),
    ],
)
def test_what_may_be_a_secret_is_not_shown(kind: type, fields: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match=r": a [a-z]+ does not fit") as caught:
        kind(**GOOD[kind] | fields)
    assert "swordfish" not in str(caught.value)


def test_whole_numbers_are_times_and_any_sequence_is_one() -> None:
    assert Lifetimes(rekey_time=10).over == 1.0
    assert Limits(question_timeout=30).question_timeout == 30
    assert several(each for each in "ab") == ("a", "b")
    for alone in ("ab", b"ab", 7):
        left: Any = several(cast(Any, alone))
        assert left is alone
    assert isinstance(Transports(allowed_ports=[range(1, 5)]).allowed_ports, tuple)
    assert isinstance(Fallback([Step("udp")]).steps, tuple)
    framings: Any = {Framing.IKE_TCP}
    assert isinstance(Local(("10.0.0.1", 500), "tcp", framings=framings).framings, frozenset)


def test_a_policy_of_the_applications_own_is_one() -> None:
    class Mine:
        def choose(self, situation: Any) -> Any:
            return BySize().choose(situation)

        def __str__(self) -> str:
            return "mine"

    assert str(Transports(policy=Mine()).policy) == "mine"
