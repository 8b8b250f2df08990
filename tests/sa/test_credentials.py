"""Which proof is accepted from whom: secrets, pinned keys and certificates in every combination."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from ikecore.config import (
    CertificateCredential,
    Connection,
    LocalCredential,
    PinnedKeys,
    PskCredential,
    RemoteCredential,
    TrustedCertificates,
)
from ikecore.crypto import Identity
from ikecore.errors import AuthenticationFailed
from ikecore.events import IkeSaEstablished, IkeSaFailed, MessageSent
from ikecore.sa.verifying import MOST_CERTIFICATES
from ikecore.testing import NOON, Pair, psk_connection
from ikecore.testing.pki import CertificateAuthority

ROOT = CertificateAuthority("Root", utc=NOON)
OTHER = CertificateAuthority("Other Root", utc=NOON)
MIDDLE = ROOT.intermediate("Middle")
LEAF = MIDDLE.leaf(["responder.example"])
STRANGER = OTHER.leaf(["responder.example"])
INITIATOR = ROOT.leaf(["initiator.example"], kind="ed25519")
PSK = PskCredential(b"secret")
RSA = ROOT.leaf(["responder.example"], kind="rsa-2048")


def connections(
    *,
    proof: LocalCredential,
    trust: RemoteCredential,
    back: LocalCredential = PSK,
    back_trust: RemoteCredential = PSK,
    **responder: Any,
) -> tuple[Connection, Connection]:
    """An initiator that wants *trust* of the responder, which has *proof*; and the other way round."""
    initiator = attrs.evolve(psk_connection("initiator"), local=back, remote=trust)
    return initiator, attrs.evolve(psk_connection("responder"), local=proof, remote=back_trust, **responder)


def outcome(initiator: Connection, responder: Connection) -> tuple[Pair, Exception | None]:
    pair = Pair(initiator, responder)
    pair.initiate()
    pair.run(until=lambda: pair.initiator.of(IkeSaEstablished, IkeSaFailed))
    pair.run_for(1.0)
    failed = pair.initiator.of(IkeSaFailed)
    return pair, failed[0].error if failed else None


CHAIN = CertificateCredential(LEAF.chain, LEAF.key)
ANCHORS = TrustedCertificates((ROOT.der,))


@pytest.mark.requirement("IKE-310", "IKE-002", "IKE-275", "IKE-004", "IKE-271")
@pytest.mark.parametrize(
    ("proof", "trust"),
    [
        (CHAIN, ANCHORS),
        (CertificateCredential(RSA.chain, RSA.key), ANCHORS),
        (CHAIN, TrustedCertificates((OTHER.der, ROOT.der))),
        (CertificateCredential(LEAF.chain[:1], LEAF.key), TrustedCertificates((ROOT.der,), (MIDDLE.der,))),
        (CHAIN, PinnedKeys((LEAF.public_key,))),
        (CHAIN, PinnedKeys((STRANGER.public_key, INITIATOR.public_key, LEAF.public_key))),
        (CertificateCredential((), LEAF.key), PinnedKeys((LEAF.public_key,))),
        (PSK, PSK),
    ],
)
def test_proofs_that_are_accepted(proof: LocalCredential, trust: RemoteCredential) -> None:
    """Responder certificate with initiator PSK: what RFC 7296 section 4 wants, among others."""
    pair, error = outcome(*connections(proof=proof, trust=trust))
    assert error is None
    assert len(pair.responder.of(IkeSaEstablished)) == 1


@pytest.mark.requirement("IKE-310", "IKE-002")
def test_certificates_on_both_sides() -> None:
    back = CertificateCredential(INITIATOR.chain, INITIATOR.key)
    _, error = outcome(*connections(proof=CHAIN, trust=ANCHORS, back=back, back_trust=ANCHORS))
    assert error is None


EXPIRED = ROOT.leaf(["responder.example"], valid=(NOON - timedelta(days=9), NOON - timedelta(days=1)))
ELSEWHERE = ROOT.leaf(["other.example"])


@pytest.mark.requirement("IKE-190", "IKE-004", "IKE-005", "IKE-010", "IKE-192")
@pytest.mark.parametrize(
    ("proof", "trust"),
    [
        (CertificateCredential(STRANGER.chain, STRANGER.key), ANCHORS),
        (CertificateCredential(LEAF.chain[:1], LEAF.key), ANCHORS),
        (CertificateCredential((), LEAF.key), ANCHORS),
        (CertificateCredential(LEAF.chain, STRANGER.key), ANCHORS),
        (CertificateCredential(EXPIRED.chain, EXPIRED.key), ANCHORS),
        (CertificateCredential(ELSEWHERE.chain, ELSEWHERE.key), ANCHORS),
        (CertificateCredential(LEAF.chain + OTHER.leaf(["x.example"]).chain * MOST_CERTIFICATES, LEAF.key), ANCHORS),
        (CHAIN, PinnedKeys((STRANGER.public_key,))),
        (CHAIN, PSK),
        (PSK, ANCHORS),
        (PSK, PinnedKeys((LEAF.public_key,))),
        (PSK, PskCredential(b"another")),
    ],
    ids=[
        "another root", "no intermediate", "no certificate", "another key", "expired", "another name", "too many",
        "key not pinned", "wants a secret", "wants certificates", "wants a key", "another secret",
    ],
)  # fmt: skip
def test_proofs_that_are_not(proof: LocalCredential, trust: RemoteCredential) -> None:
    pair, error = outcome(*connections(proof=proof, trust=trust))
    assert isinstance(error, AuthenticationFailed)
    assert pair.initiator.of(IkeSaEstablished) == []
    assert pair.initiator.endpoint.idle
    assert pair.responder.endpoint.sas == ()


def certificates_sent(pair: Pair) -> int:
    sent = [event for event in pair.responder.of(MessageSent) if event.exchange == "IKE_AUTH" and event.is_response]
    return sum(name == "CERT" for name in sent[0].payloads)


@pytest.mark.requirement("IKE-002", "IKE-272", "IKE-273")
@pytest.mark.parametrize(
    ("send", "trust", "expected"),
    [
        ("always", ANCHORS, 2),
        ("always", PinnedKeys((LEAF.public_key,)), 2),
        ("asked", ANCHORS, 2),
        ("asked", PinnedKeys((LEAF.public_key,)), 0),
        ("never", PinnedKeys((LEAF.public_key,)), 0),
    ],
)
def test_certificates_are_sent_as_configured(send: Any, trust: RemoteCredential, expected: int) -> None:
    pair, error = outcome(*connections(proof=CHAIN, trust=trust, send_certificates=send))
    assert error is None
    assert certificates_sent(pair) == expected


@pytest.mark.requirement("IKE-267", "IKE-310")
@pytest.mark.parametrize(
    "identity", ["responder.example", "me@responder.example", "keyid:0x0102", "192.0.2.1", "2001:db8::1", "CN=me"]
)
def test_any_kind_of_identity_with_a_secret(identity: str) -> None:
    mine = Identity.parse(identity)
    initiator, responder = connections(proof=PSK, trust=PSK)
    pair, error = outcome(attrs.evolve(initiator, remote_identity=mine), attrs.evolve(responder, local_identity=mine))
    assert error is None
    assert pair.initiator.one(IkeSaEstablished).peer_identity == str(mine)
