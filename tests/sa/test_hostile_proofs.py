"""Peers that have the keys and bend the proof: signatures (B9), certificates (B10), and no proof at all (B8).

Whatever they send, nothing is established, the answer tells nothing, nothing is left behind, and nothing is fetched.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ikecore.config import Connection, PinnedKeys, TrustedCertificates
from ikecore.crypto import SUPPORTED_HASHES, Identity, PrivateKey, signed_octets
from ikecore.crypto.signature_algorithms import BY_DER
from ikecore.errors import AuthenticationFailed, InvalidSyntax
from ikecore.events import ChildSaEstablished, IkeSaEstablished, IkeSaFailed
from ikecore.outputs import OpenStream
from ikecore.questions import Question
from ikecore.testing import NOON, psk_connection
from ikecore.testing.pki import DAY, CertificateAuthority, Kind, Leaf
from ikecore.wire import (
    Authentication,
    Certificate,
    IdentificationInitiator,
    IdentificationResponder,
    Notification,
    Payload,
)
from ikecore.wire.numbers import AuthMethod, CertEncoding, Exchange, IdType, Notify
from tests.crypto.signing import sign
from tests.rig import Puppet, Rig

AUTH = Exchange.IKE_AUTH
ROOT = CertificateAuthority("Root", utc=NOON)
MIDDLE = ROOT.intermediate("Middle")
KINDS: tuple[Kind, ...] = ("ecdsa-p256", "rsa-2048", "ed25519", "ml-dsa-44")
LEAVES = {
    (kind, role): MIDDLE.leaf([f"{role}.example"], kind=kind) for kind in KINDS for role in ("initiator", "responder")
}
TRUST = TrustedCertificates((ROOT.der,))
ROLES = ("initiator", "responder")
either_role = pytest.mark.parametrize("role", ROLES)


def judge(role: str, trust: Any = TRUST, **changes: Any) -> tuple[Rig, Puppet]:
    """An endpoint that judges the proof of a puppet in *role*."""
    if role == "initiator":
        rig = Rig(attrs.evolve(psk_connection("responder"), remote=trust, **changes))
        puppet = Puppet(rig)
        puppet.begin()
        return rig, puppet
    rig = Rig()
    rig.initiate(attrs.evolve(psk_connection("initiator"), remote=trust, **changes))
    puppet = Puppet(rig, "responder")
    puppet.answer_init()
    return rig, puppet


def identity_of(puppet: Puppet) -> IdentificationInitiator | IdentificationResponder:
    kind = IdentificationInitiator if puppet.role == "initiator" else IdentificationResponder
    return kind(IdType.ID_FQDN, f"{puppet.role}.example".encode())


def octets_of(puppet: Puppet) -> bytes:
    """What an honest puppet signs."""
    assert puppet.keys is not None
    sk_p = puppet.keys.ike.sk_pi if puppet.role == "initiator" else puppet.keys.ike.sk_pr
    return signed_octets(puppet.init_sent, puppet.peer_nonce, puppet.keys.suite.prf, sk_p, identity_of(puppet).body)


def chain_of(leaf: Leaf) -> list[Payload]:
    return [Certificate(CertEncoding.X509_SIGNATURE, der) for der in leaf.chain]


def message(puppet: Puppet, certificates: Sequence[Payload], *auth: Payload) -> list[Payload]:
    return [identity_of(puppet), *certificates, *auth, *puppet.child_payloads()]


def signature(puppet: Puppet, key: PrivateKey, *, classic: bool = False) -> Authentication:
    method, data = sign(key, octets_of(puppet), peer_hashes=None if classic else SUPPORTED_HASHES)
    return Authentication(method, data)


def deliver(puppet: Puppet, payloads: list[Payload]) -> list[list[Payload]]:
    """Send an IKE_AUTH message; return the payloads of each message that comes back."""
    if puppet.role == "initiator":
        answers = puppet.give(puppet.seal(AUTH, payloads))
    else:
        answers = puppet.answer_auth(payloads)
    return [puppet.open(each)[1] for each in answers]


def refused(rig: Rig, puppet: Puppet, payloads: list[Payload]) -> None:
    """The message is refused: the peer is told one word, and nothing is left of it."""
    answers = deliver(puppet, payloads)
    failed = rig.one(IkeSaFailed)
    assert isinstance(failed.error, AuthenticationFailed), failed.error
    assert str(failed.error).isprintable()
    assert answers == [[Notification(Notify.AUTHENTICATION_FAILED)]]
    assert rig.of(IkeSaEstablished, ChildSaEstablished, OpenStream) == []
    assert rig.of(Question) == []
    assert rig.endpoint.idle
    assert rig.endpoint.deadline is None


@either_role
@pytest.mark.parametrize(
    ("kind", "classic"), [*((kind, False) for kind in KINDS), ("ecdsa-p256", True), ("rsa-2048", True)]
)
def test_the_honest_proof_that_the_others_are_made_of(role: str, kind: Kind, classic: bool) -> None:
    rig, puppet = judge(role)
    leaf = LEAVES[kind, role]
    deliver(puppet, message(puppet, chain_of(leaf), signature(puppet, leaf.key, classic=classic)))
    rig.one(IkeSaEstablished)
    rig.one(ChildSaEstablished)


# --- B9: signatures ---------------------------------------------------------------------------------------------------


def split(data: bytes) -> tuple[bytes, bytes]:
    return data[1 : 1 + data[0]], data[1 + data[0] :]


def named(identifier: bytes, made: bytes) -> bytes:
    return bytes((len(identifier),)) + identifier + made


BENT: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "one octet": lambda data: data[:1],
    "the algorithm alone": lambda data: named(split(data)[0], b""),
    "cut at the end": lambda data: data[:-1],
    "one octet more": lambda data: data + b"\0",
    "zeros": lambda data: named(split(data)[0], bytes(len(split(data)[1]))),
    "ones": lambda data: named(split(data)[0], b"\xff" * len(split(data)[1])),
    "length of the algorithm too large": lambda data: b"\xff" + data[1:],
    "length of the algorithm zero": lambda data: b"\0" + data[1:],
    "an algorithm of rubbish": lambda data: named(b"\x30\x80\0\0", split(data)[1]),
    "a bit of the signature": lambda data: data[:-3] + bytes((data[-3] ^ 4,)) + data[-2:],
    "a bit of the algorithm": lambda data: data[:4] + bytes((data[4] ^ 1,)) + data[5:],
}


@pytest.mark.requirement("IKE-004", "IKE-190", "IKE-275")
@either_role
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", BENT)
def test_a_signature_that_was_bent(role: str, kind: Kind, case: str) -> None:
    rig, puppet = judge(role)
    leaf = LEAVES[kind, role]
    data = BENT[case](signature(puppet, leaf.key).data)
    refused(rig, puppet, message(puppet, chain_of(leaf), Authentication(AuthMethod.DIGITAL_SIGNATURE, data)))


OWN = {"ecdsa-p256": ("ecdsa", 2), "rsa-2048": ("rsa-pss", 2), "ed25519": ("ed25519", 5), "ml-dsa-44": ("ml-dsa-44", 5)}
"""What each kind of key signs with: kind of signature, hash."""
OTHERS = [(kind, der) for kind in KINDS for der, each in BY_DER.items() if (each.kind, each.hash) != OWN[kind]]


@pytest.mark.requirement("IKE-004", "IKE-275")
@pytest.mark.parametrize(("kind", "identifier"), OTHERS, ids=[f"{kind} {der.hex()}" for kind, der in OTHERS])
def test_a_signature_under_the_name_of_another_algorithm(kind: Kind, identifier: bytes) -> None:
    rig, puppet = judge("initiator")
    leaf = LEAVES[kind, "initiator"]
    own, made = split(signature(puppet, leaf.key).data)
    assert (BY_DER[own].kind, BY_DER[own].hash) == OWN[kind]
    proof = Authentication(AuthMethod.DIGITAL_SIGNATURE, named(identifier, made))
    refused(rig, puppet, message(puppet, chain_of(leaf), proof))


@pytest.mark.requirement("IKE-004", "IKE-274")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [0, 1, 2, 3, 9, 10, 11, 12, 13, 15, 200, 255])
def test_a_signature_under_another_method(kind: Kind, method: int) -> None:
    """A MAC with no secret behind it, NULL authentication, and methods that nobody knows among them."""
    rig, puppet = judge("initiator")
    leaf = LEAVES[kind, "initiator"]
    proof = Authentication(method, split(signature(puppet, leaf.key).data)[1])
    refused(rig, puppet, message(puppet, chain_of(leaf), proof))


@either_role
@pytest.mark.parametrize(("r", "s"), [(0, 0), (0, 1), (1, 0), (1, 1), (2**256, 1), (1, 2**256 - 1), (2**2000, 2**2000)])
def test_ecdsa_signatures_of_odd_numbers(role: str, r: int, s: int) -> None:
    rig, puppet = judge(role)
    leaf = LEAVES["ecdsa-p256", role]
    identifier, _ = split(signature(puppet, leaf.key).data)
    data = named(identifier, encode_dss_signature(r, s))
    refused(rig, puppet, message(puppet, chain_of(leaf), Authentication(AuthMethod.DIGITAL_SIGNATURE, data)))


def test_what_another_sa_signed_proves_nothing_here() -> None:
    _, first = judge("initiator")
    leaf = LEAVES["ecdsa-p256", "initiator"]
    proof = signature(first, leaf.key)
    rig = Rig(attrs.evolve(psk_connection("responder"), remote=TRUST), seed=9)
    second = Puppet(rig, seed=2)
    second.begin()
    refused(rig, second, message(second, chain_of(leaf), proof))


def test_the_reflected_proof_of_the_other_side() -> None:
    """Both sides sign in the same way but over other octets, so what one sent is no proof of the other."""
    rig, puppet = judge("initiator")
    leaf = LEAVES["ecdsa-p256", "initiator"]
    assert puppet.keys is not None
    theirs = signed_octets(
        puppet.init_received, puppet.nonce, puppet.keys.suite.prf, puppet.keys.ike.sk_pr, identity_of(puppet).body
    )
    method, data = sign(leaf.key, theirs, peer_hashes=SUPPORTED_HASHES)
    refused(rig, puppet, message(puppet, chain_of(leaf), Authentication(method, data)))


def low_exponent_forgery(octets: bytes, modulus_octets: int) -> bytes:
    """A PKCS #1 signature for e = 3 without the key: a cube whose beginning looks right (CVE-2018-16151)."""
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(octets).digest()
    wanted = b"\0\1\xff\0" + info
    target = int.from_bytes(wanted + b"\xff" * (modulus_octets - len(wanted)), "big")
    low, high = 0, 1 << (8 * modulus_octets // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= target else (low, middle - 1)
    assert (low**3).to_bytes(modulus_octets, "big").startswith(wanted)
    return low.to_bytes(modulus_octets, "big")


def test_a_forgery_for_a_low_exponent() -> None:
    key = rsa.generate_private_key(3, 2048)
    leaf = ROOT.leaf(["initiator.example"], key=key)
    rig, puppet = judge("initiator")
    forged = low_exponent_forgery(octets_of(puppet), 256)
    refused(rig, puppet, message(puppet, chain_of(leaf), Authentication(AuthMethod.RSA_SIGNATURE, forged)))


@given(data=st.binary(max_size=400))
@settings(max_examples=50)
def test_any_octets_are_no_proof(data: bytes) -> None:
    rig, puppet = judge("initiator", PinnedKeys(tuple(LEAVES[kind, "initiator"].public_key for kind in KINDS)))
    refused(rig, puppet, message(puppet, [], Authentication(AuthMethod.DIGITAL_SIGNATURE, data)))


# --- B10: certificates ------------------------------------------------------------------------------------------------

GOOD = {role: LEAVES["ecdsa-p256", role] for role in ROLES}


def certificate(der: bytes, encoding: int = CertEncoding.X509_SIGNATURE) -> Payload:
    return Certificate(encoding, der)


def loop() -> list[bytes]:
    """Two authorities that vouch for each other, and a leaf below one."""
    one, two = CertificateAuthority("One", utc=NOON), CertificateAuthority("Two", utc=NOON)
    crossed = [one.intermediate("Two"), two.intermediate("One")]
    leaf = one.leaf(["initiator.example"], key=GOOD["initiator"].key)
    return [leaf.chain[0], *(each.der for each in crossed)]


def deep(length: int) -> list[bytes]:
    authority = ROOT
    for number in range(length):
        authority = authority.intermediate(f"Depth {number}")
    return list(authority.leaf(["initiator.example"], key=GOOD["initiator"].key).chain)


def reissued(**changes: Any) -> list[bytes]:
    return list(MIDDLE.leaf(["initiator.example"], **({"key": GOOD["initiator"].key} | changes)).chain)


def own() -> list[bytes]:
    """A chain to a root of its own, which comes along."""
    root = CertificateAuthority("Root", utc=NOON)
    return [*root.leaf(["initiator.example"], key=GOOD["initiator"].key).chain, root.der]


CHAINS: dict[str, Callable[[], list[Payload]]] = {
    "none": lambda: [],
    "empty": lambda: [certificate(b"")],
    "no leaf": lambda: [certificate(MIDDLE.der)],
    "no intermediate": lambda: chain_of(GOOD["initiator"])[:1],
    "in the wrong order": lambda: chain_of(GOOD["initiator"])[::-1],
    "cut": lambda: [certificate(der[:-1]) for der in GOOD["initiator"].chain],
    "one octet more": lambda: [certificate(der + b"\0") for der in GOOD["initiator"].chain],
    "rubbish as large as a message": lambda: [certificate(b"\x30\x82\xff\xff" + bytes(40_000))],
    "a length of four octets": lambda: [certificate(b"\x30\x84\xff\xff\xff\xff")],
    "a hundred": lambda: [certificate(GOOD["initiator"].chain[0])] * 100,
    "a loop": lambda: [certificate(der) for der in loop()],
    "too deep": lambda: [certificate(der) for der in deep(9)],
    "a root of its own": lambda: [certificate(der) for der in own()],
    "expired": lambda: [certificate(der) for der in reissued(valid=(NOON - 9 * DAY, NOON - timedelta(seconds=1)))],
    "not yet valid": lambda: [certificate(der) for der in reissued(valid=(NOON + timedelta(seconds=1), NOON + DAY))],
    "another name": lambda: [
        certificate(der) for der in MIDDLE.leaf(["evil.example"], key=GOOD["initiator"].key).chain
    ],
    "no name": lambda: [certificate(der) for der in MIDDLE.leaf([], key=GOOD["initiator"].key).chain],
    "another usage": lambda: [certificate(der) for der in reissued(usages=[ExtendedKeyUsageOID.CODE_SIGNING])],
    "another key": lambda: chain_of(MIDDLE.leaf(["initiator.example"])),
    "the right name in the subject only": lambda: [
        certificate(der)
        for der in MIDDLE.leaf(["evil.example"], subject="initiator.example", key=GOOD["initiator"].key).chain
    ],
    "a leaf that issued it": lambda: [
        certificate(GOOD["initiator"].chain[0]),
        certificate(GOOD["responder"].chain[0]),
    ],
    "a list of revoked ones alone": lambda: [certificate(MIDDLE.crl(), CertEncoding.CRL)],
    "by hash and URL": lambda: [certificate(bytes(20) + b"http://a.example", CertEncoding.HASH_AND_URL_X509)],
    "by the URL of a file": lambda: [certificate(bytes(20) + b"file:///etc/passwd", CertEncoding.HASH_AND_URL_BUNDLE)],
}


@pytest.mark.requirement("IKE-190", "IKE-002")
@pytest.mark.parametrize("case", CHAINS)
def test_a_chain_that_is_no_good(case: str) -> None:
    """The signature is good in each: only the certificates are at fault."""
    rig, puppet = judge("initiator")
    refused(rig, puppet, message(puppet, CHAINS[case](), signature(puppet, GOOD["initiator"].key)))


@pytest.mark.parametrize("encoding", [*range(0, 4), 5, 6, *range(8, 12), *range(12, 16), 200, 255])
def test_certificates_in_every_other_encoding_are_none(encoding: int) -> None:
    rig, puppet = judge("initiator")
    payloads = [certificate(der, encoding) for der in GOOD["initiator"].chain]
    refused(rig, puppet, message(puppet, payloads, signature(puppet, GOOD["initiator"].key)))


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 4))
@settings(max_examples=50)
def test_flipped_bits_anywhere_in_the_chain(seed: int, flips: int) -> None:
    rng = random.Random(seed)
    bent = [bytearray(der) for der in GOOD["initiator"].chain]
    for _ in range(flips):
        der = rng.choice(bent)
        der[rng.randrange(len(der))] ^= 1 << rng.randrange(8)
    if [bytes(der) for der in bent] == list(GOOD["initiator"].chain):
        return
    rig, puppet = judge("initiator")
    payloads = [certificate(bytes(der)) for der in bent]
    refused(rig, puppet, message(puppet, payloads, signature(puppet, GOOD["initiator"].key)))


@pytest.mark.parametrize("revocation", ["if-known", "required", "ask"])
@pytest.mark.parametrize("count", [1, 200])
def test_rubbish_as_revocation_lists(revocation: Any, count: int) -> None:
    trust = TrustedCertificates((ROOT.der,), revocation=revocation)
    rig, puppet = judge("initiator", trust)
    leaf = GOOD["initiator"]
    rubbish = [certificate(bytes((number % 256,)) * 50, CertEncoding.CRL) for number in range(count)]
    deliver(puppet, message(puppet, [*chain_of(leaf), *rubbish], signature(puppet, leaf.key)))
    assert len(rig.of(IkeSaEstablished)) == (revocation == "if-known")
    assert len(rig.of(Question)) == (revocation == "ask")


def test_a_subject_with_escapes_reaches_no_log_as_it_is() -> None:
    """B15: whatever the certificate says, the reason is one printable line."""
    rig, puppet = judge("initiator")
    evil = CertificateAuthority("evil", utc=NOON).leaf(["a.example"], subject="\x1b[2J\r\nroot: ok %s")
    refused(rig, puppet, message(puppet, chain_of(evil), signature(puppet, evil.key)))


# --- B8: no proof at all ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-004", "IKE-010")
@pytest.mark.parametrize(
    ("role", "without"),
    [
        ("initiator", Authentication),
        ("responder", Authentication),
        ("initiator", IdentificationInitiator),
        ("responder", IdentificationResponder),
    ],
)
def test_a_message_without_a_part_of_the_proof(role: str, without: type) -> None:
    rig, puppet = judge(role)
    leaf = GOOD[role]
    whole = message(puppet, chain_of(leaf), signature(puppet, leaf.key))
    answers = deliver(puppet, [each for each in whole if not isinstance(each, without)])
    assert isinstance(rig.one(IkeSaFailed).error, AuthenticationFailed | InvalidSyntax)
    assert all(isinstance(each, Notification) for answer in answers for each in answer)
    assert rig.of(IkeSaEstablished, ChildSaEstablished) == []
    assert rig.endpoint.idle


@pytest.mark.requirement("IKE-004", "IKE-005")
@either_role
@pytest.mark.parametrize("id_type", [0, 1, 3, 5, 9, 10, 11, 12, 13, 200])
def test_a_proof_for_an_identity_of_another_type(role: str, id_type: int) -> None:
    """The certificate names the domain name; the same octets under another type are somebody else."""
    rig, puppet = judge(role, remote_identity=None)
    leaf = GOOD[role]
    named_so = identity_of(puppet)
    data = {1: bytes(4), 5: bytes(16), 13: b""}.get(id_type, named_so.data)
    other = type(named_so)(id_type, data)
    assert puppet.keys is not None
    sk_p = puppet.keys.ike.sk_pi if role == "initiator" else puppet.keys.ike.sk_pr
    octets = signed_octets(puppet.init_sent, puppet.peer_nonce, puppet.keys.suite.prf, sk_p, other.body)
    method, made = sign(leaf.key, octets, peer_hashes=SUPPORTED_HASHES)
    payloads: list[Payload] = [other, *chain_of(leaf), Authentication(method, made), *puppet.child_payloads()]
    refused(rig, puppet, payloads)


def test_a_wildcard_as_an_identity_is_nobody() -> None:
    """A peer that says it is "*.example" does not fit by being like the pattern: its certificate has to say so."""
    rig, puppet = judge("initiator", remote_identity=Identity.parse("*.example"))
    leaf = GOOD["initiator"]
    other = IdentificationInitiator(IdType.ID_FQDN, b"*.example")
    assert puppet.keys is not None
    octets = signed_octets(
        puppet.init_sent, puppet.peer_nonce, puppet.keys.suite.prf, puppet.keys.ike.sk_pi, other.body
    )
    method, made = sign(leaf.key, octets, peer_hashes=SUPPORTED_HASHES)
    refused(rig, puppet, [other, *chain_of(leaf), Authentication(method, made), *puppet.child_payloads()])


def test_certificates_are_read_by_nobody_who_wants_a_secret() -> None:
    rig = Rig(psk_connection("responder"))
    puppet = Puppet(rig)
    puppet.begin()
    leaf = GOOD["initiator"]
    refused(rig, puppet, message(puppet, chain_of(leaf), signature(puppet, leaf.key)))
    rig = Rig(psk_connection("responder"))
    puppet = Puppet(rig)
    puppet.begin()
    deliver(puppet, [puppet.auth()[0], certificate(b"rubbish"), *puppet.auth()[1:]])
    rig.one(IkeSaEstablished)


def test_the_same_rules_for_every_connection_that_is_tried() -> None:
    """Four connections admit anybody, by other authorities: none of them by none."""
    rows: list[Connection] = [
        attrs.evolve(
            psk_connection("responder", name=f"{number}"),
            remote=TrustedCertificates((CertificateAuthority(f"Root {number}", utc=NOON).der,)),
            remote_identity=None,
        )
        for number in range(4)
    ]
    rig = Rig(*rows)
    puppet = Puppet(rig)
    puppet.begin()
    leaf = GOOD["initiator"]
    refused(rig, puppet, message(puppet, chain_of(leaf), signature(puppet, leaf.key)))
