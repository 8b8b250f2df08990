"""Authentication with strongSwan's charon: methods that differ, chains, choices, questions, and SAs without a child."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import ikecore
from ikecore.crypto import Scheme, sign_with
from ikecore.testing.pki import CertificateAuthority, Leaf
from ikecore.wire.numbers import AuthMethod, HashAlgorithm
from tests.interop.charon import PLAIN, Charon
from tests.interop.host import UdpHost
from tests.interop.peering import CHARON, CHARON_ID, OUR_ID, OURS

NOW = datetime.now(UTC)
ROOT, OTHER_ROOT = (CertificateAuthority(name, utc=NOW) for name in ("Interop Root", "Another Interop Root"))
MIDDLE, OTHER_MIDDLE = ROOT.intermediate("Interop Middle"), OTHER_ROOT.intermediate("Another Interop Middle")
THEIRS, MINE = MIDDLE.leaf([CHARON_ID]), MIDDLE.leaf([OUR_ID])
MINE_ELSEWHERE = OTHER_MIDDLE.leaf([OUR_ID])
SECRET = b"a secret for tests, known to both"
PSK, TRUST = ikecore.PskCredential(SECRET), ikecore.TrustedCertificates((ROOT.der,))
CERTIFICATE = ikecore.CertificateCredential(MINE.chain, MINE.key)

CONNECTION = """
  {name} {{
    version = 2
    local_addrs = {CHARON}
    remote_addrs = {OURS}, 127.0.0.0/8
    proposals = aes128gcm16-prfsha256-x25519
    mobike = no
    {options}
    local {{
      auth = {local}
      id = {local_id}
      {certs}
    }}
    remote {{
      auth = {remote}
      id = {remote_id}
    }}
    children {{
      {name} {{
        esp_proposals = aes128gcm16
      }}
    }}
  }}
"""


def peering(name: str = "lab", *, local: str = "psk", remote: str = "psk", options: str = "", **ids: str) -> str:
    """One connection of charon: how it proves itself and how we have to, each "psk" or "pubkey"."""
    ids = {"local_id": CHARON_ID, "remote_id": OUR_ID} | ids
    certs = "certs = leaf.der" if local == "pubkey" else ""
    return CONNECTION.format(
        name=name, local=local, remote=remote, certs=certs, options=options, CHARON=CHARON, OURS=OURS, **ids
    )


def load(charon: Charon, *connections: str, secrets: str = "", more: str = "") -> None:
    default = f'ike-1 {{\n secret = "{SECRET.decode()}"\n }}'
    connections_text = "".join(connections)
    charon.load(f"connections {{{connections_text}}}\nsecrets {{\n {secrets or default}\n}}\n{more}")


def equip(charon: Charon, leaf: Leaf = THEIRS, anchors: Sequence[CertificateAuthority] = (ROOT,)) -> None:
    """Give charon a certificate with its key, and whom it trusts: everybody in that folder, intermediates too."""
    charon.store("x509", "leaf.der", leaf.chain[0])
    for number, anchor in enumerate(anchors):
        charon.store("x509ca", f"{number}.der", anchor.der)
    charon.store("pkcs8", "leaf.der", leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def ours(**changes: Any) -> ikecore.Connection:
    connection = ikecore.Connection(
        name="ours",
        local_identity=ikecore.Identity.parse(OUR_ID),
        remote_identity=ikecore.Identity.parse(CHARON_ID),
        local=PSK,
        remote=PSK,
        proposals=ikecore.ike_proposals("aes128gcm16-prfsha256-x25519"),
        children=(ikecore.ChildConfig(proposals=ikecore.esp_proposals("aes128gcm16")),),
    )
    return attrs.evolve(connection, **changes)


def host_of(*connections: ikecore.Connection) -> UdpHost:
    return UdpHost(ikecore.Config(connections=connections))


def we_initiate(charon: Charon, connection: ikecore.Connection) -> UdpHost:
    """Set up an SA from our side, as far as it goes without an answer of the application."""
    host = host_of(connection)
    with host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        host.run_until(lambda: settled(host))
        if host.of(ikecore.IkeSaEstablished):
            charon.until(lambda: [sa.state for sa in charon.list_sas()] == ["ESTABLISHED"], host)
    return host


def settled(host: UdpHost) -> bool:
    return bool(host.of(ikecore.IkeSaEstablished) or host.of(ikecore.IkeSaFailed))


def charon_initiates(charon: Charon, host: UdpHost, child: str = "lab") -> bool:
    """Let charon set up *child*; tell whether it is up."""
    job = charon.initiate(child)
    charon.until(lambda: job.poll() is not None, host)
    return job.returncode == 0


# --- two sides, two methods -------------------------------------------------------------------------------------------

MIXED = {
    "we know a secret, charon has a certificate": (
        peering(local="pubkey", remote="psk"),
        ours(remote=TRUST),
    ),
    "we have a certificate, charon knows a secret": (
        peering(local="psk", remote="pubkey"),
        ours(local=CERTIFICATE),
    ),
    "both have certificates": (
        peering(local="pubkey", remote="pubkey"),
        ours(local=CERTIFICATE, remote=TRUST),
    ),
}
each_mixture = pytest.mark.parametrize(("theirs", "mine"), MIXED.values(), ids=MIXED.keys())


@pytest.mark.requirement("IKE-163", "IKE-310", "IKE-002")
@each_mixture
def test_charon_answers_with_another_method(charon: Charon, theirs: str, mine: ikecore.Connection) -> None:
    """The intermediate is on either side only known to who has a certificate below it: it comes in a CERT payload."""
    equip(charon, anchors=(ROOT, MIDDLE) if "pubkey" in theirs.partition("remote {")[0] else (ROOT,))
    load(charon, theirs)
    host = we_initiate(charon, mine)
    assert host.of(ikecore.IkeSaEstablished), charon.log
    assert host.of(ikecore.ChildSaEstablished)


@pytest.mark.requirement("IKE-163", "IKE-310", "IKE-002")
@each_mixture
def test_charon_asks_with_another_method(charon: Charon, theirs: str, mine: ikecore.Connection) -> None:
    equip(charon, anchors=(ROOT, MIDDLE) if "pubkey" in theirs.partition("remote {")[0] else (ROOT,))
    load(charon, theirs)
    with host_of(mine) as host:
        assert charon_initiates(charon, host), charon.log
        assert host.of(ikecore.ChildSaEstablished)


# --- which certificate, which connection ------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-272", "IKE-273", "IKE-002")
@pytest.mark.parametrize(("root", "leaf"), [(ROOT, MINE), (OTHER_ROOT, MINE_ELSEWHERE)])
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_charon_gets_the_certificate_that_it_asks_for(
    charon: Charon, root: CertificateAuthority, leaf: Leaf, role: str
) -> None:
    """It knows one root, whose hash is in its CERTREQ, and needs the chain below it."""
    equip(charon, anchors=(root,))
    load(charon, peering(local="psk", remote="pubkey"))
    chains = [
        ikecore.CertificateCredential(MINE_ELSEWHERE.chain, MINE_ELSEWHERE.key, authorities=(OTHER_ROOT.der,)),
        ikecore.CertificateCredential(MINE.chain, MINE.key, authorities=(ROOT.der,)),
    ]
    connection = ours(local=tuple(chains))
    if role == "initiator":
        host = we_initiate(charon, connection)
        assert host.of(ikecore.IkeSaEstablished), charon.log
    else:
        with host_of(connection) as host:
            assert charon_initiates(charon, host), charon.log
    issuer = "Interop Middle" if leaf is MINE else "Another Interop Middle"
    charon.until_said(f'received end entity cert "CN={OUR_ID}"')
    charon.until_said(f'using untrusted intermediate certificate "CN={issuer}"')


@pytest.mark.requirement("IKE-005", "IKE-163", "IKE-314")
def test_charon_is_three_peers_of_ours(charon: Charon) -> None:
    """Several connections on one responder, with secrets of their own and a certificate, by charon's identities."""
    equip(charon, anchors=(ROOT, MIDDLE))
    secrets = "".join(
        f'ike-{name} {{\n id-1 = {name}.example\n id-2 = {OUR_ID}\n secret = "{name}"\n }}\n' for name in ("one", "two")
    )
    load(
        charon,
        peering("one", local_id="one.example"),
        peering("two", local_id="two.example"),
        peering("three", local="pubkey"),
        secrets=secrets + f'ike-three {{\n id-1 = {CHARON_ID}\n id-2 = {OUR_ID}\n secret = "{SECRET.decode()}"\n }}',
    )
    table = ikecore.PskTable({ikecore.Identity.parse(f"{name}.example"): name.encode() for name in ("one", "two")})
    rows = [
        ours(
            name="anybody", remote_identity=None, local=ikecore.PskCredential(b"x"), remote=ikecore.PskCredential(b"x")
        ),
        ours(name="secrets", remote_identity=ikecore.Identity.parse("*.example"), local=table, remote=table),
        ours(name="certificate", remote=TRUST),
    ]
    with host_of(*rows) as host:
        for child in ("one", "two", "three"):
            assert charon_initiates(charon, host, child), charon.log
        chosen = [(each.connection, each.peer_identity) for each in host.of(ikecore.IkeSaEstablished)]
    assert chosen == [
        ("secrets", "fqdn:one.example"),
        ("secrets", "fqdn:two.example"),
        ("certificate", f"fqdn:{CHARON_ID}"),
    ]


@pytest.mark.requirement("IKE-267", "IKE-310")
@pytest.mark.parametrize("theirs", ["keyid:gateway 7", "10.9.8.7", "2001:db8::7", "user@charon.example", "C=CH, CN=x"])
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_identities_of_all_types(charon: Charon, theirs: str, role: str) -> None:
    load(charon, peering(local_id=f'"{theirs}"'))
    connection = ours(remote_identity=ikecore.Identity.parse(theirs))
    if role == "initiator":
        host = we_initiate(charon, connection)
    else:
        with host_of(connection) as host:
            charon_initiates(charon, host)
    assert host.of(ikecore.IkeSaEstablished)[0].peer_identity == str(ikecore.Identity.parse(theirs)), charon.log


# --- revocation and questions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("revoked", "up"), [((), True), ((THEIRS,), False)])
def test_a_list_revokes_charon(charon: Charon, revoked: Sequence[Leaf], up: bool) -> None:
    equip(charon, anchors=(ROOT, MIDDLE))
    load(charon, peering(local="pubkey"))
    lists = (ROOT.crl(), MIDDLE.crl(*revoked))
    trust = ikecore.TrustedCertificates((ROOT.der,), crls=lists, revocation="required")
    host = we_initiate(charon, ours(remote=trust))
    assert bool(host.of(ikecore.IkeSaEstablished)) is up
    if not up:
        assert f"CN={CHARON_ID} is revoked" in str(host.of(ikecore.IkeSaFailed)[0].error)


def answered(host: UdpHost, answers: dict[type[Any], Callable[[Any], object]]) -> None:
    """Serve until the SA is decided, answering for the application."""
    done: set[int] = set()

    def pending() -> list[Any]:
        return [each for kind in answers for each in host.of(kind) if each.question not in done]

    while True:
        host.run_until(lambda: pending() or settled(host))
        for question in pending():
            done.add(question.question)
            host.endpoint.answer(question.question, answers[type(question)](question), now=host.now)
            host.flush()
        if settled(host):
            return


@pytest.mark.requirement("IKE-275")
def test_charon_believes_a_signature_made_elsewhere(charon: Charon) -> None:
    equip(charon)
    load(charon, peering(local="psk", remote="pubkey"))

    def sign(question: ikecore.SignatureNeeded) -> bytes:
        scheme = Scheme(AuthMethod.DIGITAL_SIGNATURE, question.kind, HashAlgorithm[question.hash])
        return sign_with(MINE.key, scheme, question.octets)

    connection = ours(local=ikecore.ExternalKey(MINE.chain, MINE.public_key), authorize=True)
    with host_of(connection) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        answered(host, {ikecore.SignatureNeeded: sign, ikecore.AuthorizationNeeded: lambda question: True})
        assert host.of(ikecore.IkeSaEstablished), charon.log


@pytest.mark.requirement("IKE-271")
def test_charon_sends_hash_and_url(start_charon: Callable[..., Charon]) -> None:
    charon = start_charon(f"{PLAIN}\n  hash_and_url = yes")
    leaf = ROOT.leaf([CHARON_ID])
    equip(charon, leaf)
    more = "authorities {\n root {\n cacert = 0.der\n cert_uri_base = http://certs.example/\n }\n}"
    load(charon, peering(local="pubkey"), more=more)
    connection = ours(remote=TRUST, hash_and_url=True)
    with host_of(connection) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        answered(host, {ikecore.CertificateFetchNeeded: lambda question: leaf.chain[0]})
        (question,) = host.of(ikecore.CertificateFetchNeeded)
        digest = hashlib.sha1(leaf.chain[0]).digest()
        assert (question.url, question.digest) == (f"http://certs.example/{digest.hex()}", digest)
        assert host.of(ikecore.IkeSaEstablished), charon.log


# --- without a child --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("childless", ["allow", "force", "never"])
def test_we_want_no_child(charon: Charon, childless: str) -> None:
    load(charon, peering(options=f"childless = {childless}"))
    connection = ours(children=())
    limits = ikecore.Limits(init_error_wait=0.2)
    with UdpHost(ikecore.Config(connections=(connection,), limits=limits)) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        host.run_until(lambda: settled(host))
        if childless == "never":
            assert "without a Child SA" in str(host.of(ikecore.IkeSaFailed)[0].error)
        else:
            assert host.of(ikecore.IkeSaEstablished), charon.log
            charon.until(
                lambda: [(each.state, each.children) for each in charon.list_sas()] == [("ESTABLISHED", [])], host
            )


def test_charon_wants_no_child(charon: Charon) -> None:
    load(charon, peering(options="childless = force"))
    with host_of(ours()) as host:
        job = charon.initiate_ike("lab")
        charon.until(lambda: job.poll() is not None, host)
        assert job.returncode == 0, charon.log
        assert host.of(ikecore.IkeSaEstablished)
        assert not host.of(ikecore.ChildSaEstablished)
        charon.until_said("N(CHDLESS_SUP)", host)
