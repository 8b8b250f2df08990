"""Which of several connections a peer's IKE_AUTH is for: the rule as a table, then in an endpoint."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from ikecore.config import CertificateCredential, Config, Connection, PinnedKeys, PskCredential, TrustedCertificates
from ikecore.crypto import Identity
from ikecore.errors import AuthenticationFailed
from ikecore.events import IkeSaEstablished
from ikecore.sa.connection_choice import MOST_TRIED, choose_connections
from ikecore.testing import NOON, psk_connection
from ikecore.testing.pki import CertificateAuthority
from ikecore.wire import Authentication, IdentificationInitiator, IdentificationResponder, Payload, match
from ikecore.wire.numbers import AuthMethod, Exchange
from tests.rig import Puppet, Rig
from tests.sa.asked import settle

ROOTS = [CertificateAuthority(f"Root {number}", utc=NOON) for number in range(6)]
LEAF = ROOTS[1].leaf(["a.example"])
HOST = "192.0.2.7"
PSK, KEY = PskCredential(b"secret"), PinnedKeys((LEAF.public_key,))


def row(name: str, peer: str | None = None, *, us: str = "gw.example", **changes: Any) -> Connection:
    return attrs.evolve(
        psk_connection("responder", name=name),
        local_identity=Identity.parse(us),
        remote_identity=None if peer is None else Identity.parse(peer),
        **changes,
    )


def chosen(
    *connections: Connection,
    peer: str = "a.example",
    wanted: str | None = None,
    method: int = AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE,
    address: str = HOST,
) -> list[str]:
    identity = Identity.parse(peer)
    payloads: list[Payload] = [IdentificationInitiator(identity.id_type, identity.data), Authentication(method, b"x")]
    if wanted is not None:
        named = Identity.parse(wanted)
        payloads.append(IdentificationResponder(named.id_type, named.data))
    contents = match(Exchange.IKE_AUTH, False, payloads)
    return [each.name for each in choose_connections(connections, identity, contents, address)]


@pytest.mark.requirement("IKE-003", "IKE-005", "IKE-173", "IKE-314")
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("narrow", "wide", "changes"),
    [
        (row("narrow", us="other.example"), row("wide", "a.example"), {"wanted": "other.example"}),
        (row("narrow", us="other.example"), row("wide", "a.example"), {"wanted": "OTHER.example"}),
        (row("narrow", "a.example"), row("wide", "*.example"), {}),
        (row("narrow", "*.b.example"), row("wide", "*.example"), {"peer": "x.b.example"}),
        (row("narrow", "*.example"), row("wide"), {}),
        (row("narrow", "C=CH, CN=*"), row("wide", "C=*, CN=*"), {"peer": "C=CH, CN=a"}),
        (row("narrow", "a.example", remote=KEY), row("wide"), {}),
        (row("narrow"), row("wide", remote=KEY), {}),
        (row("narrow", remote=KEY), row("wide"), {"method": AuthMethod.DIGITAL_SIGNATURE}),
        (row("narrow", remote_addresses=("192.0.2.0/24",)), row("wide", remote_addresses=("192.0.0.0/16",)), {}),
        (row("narrow", remote_addresses=("10.0.0.0/8", HOST)), row("wide", remote_addresses=("192.0.2.0/24",)), {}),
        (row("narrow", remote_addresses=("192.0.0.0/8",)), row("wide"), {}),
        (row("narrow"), row("wide", remote=KEY, remote_addresses=(HOST,)), {}),
    ],
    ids=[
        "who we are before who they are", "in any case", "one identity", "a longer pattern", "a pattern", "attributes",
        "identity before method", "secrets", "signatures", "network", "host", "any network", "method before address",
    ],
)  # fmt: skip
def test_the_narrower_of_two(narrow: Connection, wide: Connection, changes: Any, backwards: bool) -> None:
    pair = (wide, narrow) if backwards else (narrow, wide)
    assert chosen(*pair, **changes) == ["narrow"]


def test_equals_are_all_tried_in_order_up_to_a_bound() -> None:
    rows = [row(f"{number}") for number in range(MOST_TRIED + 2)]
    assert chosen(*rows) == [f"{number}" for number in range(MOST_TRIED)]
    assert chosen(*rows, row("narrow", "a.example")) == ["narrow"]


def test_a_wish_that_nobody_fulfils_counts_for_nothing() -> None:
    assert chosen(row("wide"), row("narrow", "a.example"), wanted="nobody.example") == ["narrow"]


@pytest.mark.requirement("IKE-005")
def test_who_fits_nowhere() -> None:
    with pytest.raises(AuthenticationFailed, match="no connection is configured for fqdn:a"):
        chosen(row("b", "b.example"), row("key", "keyid:a.example"))


# --- in an endpoint ---------------------------------------------------------------------------------------------------


def answer(connections: list[Connection], *, secret: bytes, identity: str = "a.example") -> str | None:
    """The name of the connection that an initiator with *secret* gets."""
    rig = Rig(*connections)
    puppet = Puppet(rig, secret=secret)
    puppet.begin()
    puppet.request(Exchange.IKE_AUTH, puppet.auth(identity=identity))
    found = rig.of(IkeSaEstablished)
    return found[0].connection if found else None


def secret_row(name: str, secret: bytes, peer: str | None = None, **changes: Any) -> Connection:
    return row(name, peer, local=PskCredential(secret), remote=PskCredential(secret), **changes)


@pytest.mark.requirement("IKE-005", "IKE-190")
def test_equals_with_different_secrets() -> None:
    rows = [secret_row("one", b"1"), secret_row("two", b"2")]
    assert [answer(rows, secret=secret) for secret in (b"1", b"2", b"3")] == ["one", "two", None]


@pytest.mark.requirement("IKE-005", "IKE-190")
def test_a_wider_secret_does_not_open_a_narrower_connection() -> None:
    rows = [secret_row("all", b"all"), secret_row("narrow", b"narrow", "a.example")]
    assert [answer(rows, secret=secret) for secret in (b"narrow", b"all")] == ["narrow", None]
    assert answer(rows, secret=b"all", identity="b.example") == "all"


def test_the_address_narrows_before_the_keys_are_made() -> None:
    rows = [
        secret_row("all", b"1"),
        secret_row("elsewhere", b"1", remote_addresses=("10.9.0.0/16",)),
        secret_row("here", b"1", remote_addresses=("10.0.0.0/24",)),
    ]
    assert answer(rows, secret=b"1") == "here"
    assert Config(connections=tuple(rows)).connections_for("10.0.0.1") == (rows[2], rows[0])
    assert Config(connections=tuple(rows)).connections_for("2001:db8::1") == (rows[0],)


@pytest.mark.requirement("IKE-310", "IKE-314")
@pytest.mark.parametrize("number", [0, 1, 5])
def test_customers_with_authorities_of_their_own(number: int) -> None:
    """Each of several connections admits anybody, by another authority: the chain decides, within the bound."""
    rows = [row(f"{each}", remote=TrustedCertificates((ROOTS[each].der,))) for each in range(6)]
    leaf = ROOTS[number].leaf(["a.example"])
    initiator = attrs.evolve(
        psk_connection("initiator"),
        local=CertificateCredential(leaf.chain, leaf.key),
        local_identity=Identity.parse("a.example"),
        remote_identity=None,
    )
    settled = settle(initiator, Config(connections=tuple(rows)))
    if number < MOST_TRIED:
        assert settled.up
        assert settled.pair.responder.one(IkeSaEstablished).connection == f"{number}"
    else:
        assert isinstance(settled.refusal, AuthenticationFailed)
