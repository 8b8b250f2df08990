"""What a handshake costs each side, beside the cryptography that it cannot do without.

    python -m benchmarks.handshake

Two endpoints in one process, without sockets: the outputs of one are the inputs of the other, over UDP. Handshakes go
in batches, in lock step, so that one reading of the clock pays for a whole batch: all IKE_SA_INIT requests of the
initiator, then all answers of the responder, and so on; as a host would, each call is followed by carrying out the
outputs and looking at the deadline. Both sides begin with nothing but their configuration and end with an IKE SA and a
Child SA whose keys are out. Tracing is off. The bare cryptography (`benchmarks.crypto_floor`) runs between the batches.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import attrs

from benchmarks import crypto_floor
from benchmarks._harness import ROUNDS, Table, Target, show
from ikecore.config import (
    CertificateCredential,
    ChildConfig,
    Config,
    Connection,
    LocalCredential,
    PskCredential,
    RemoteCredential,
    TrustedCertificates,
)
from ikecore.crypto import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    Identity,
    certificates,
    esp_proposals,
    ike_proposals,
)
from ikecore.endpoint import Endpoint
from ikecore.events import ChildSaEstablished
from ikecore.limits import Limits
from ikecore.outputs import Address, SendDatagram
from ikecore.sa.verifying import trust_store
from ikecore.testing.pki import CertificateAuthority, Kind
from ikecore.transport import Local
from ikecore.wire import Proposal

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
BATCH = 20
HOSTS: tuple[Address, Address] = ("10.0.0.1", 500), ("10.0.0.2", 500)
NAMES = "initiator.example", "responder.example"
COLD = "the same between handshakes"


Met = Literal["nobody", "authority", "peer"]
"""Who is remembered, of whom certificates were found good: nobody, so that each peer is as if none had come before; the
authority that issued them, as with a new peer among others of that authority; or the peer itself, which comes again."""
WHEN: Mapping[Met, str] = {"nobody": "for the first time", "authority": "of a known authority", "peer": "again"}


@attrs.frozen
class Scene:
    """How the sides prove themselves: credentials, what the other may present, and the bare cryptography of a side."""

    title: str
    credentials: tuple[LocalCredential, LocalCredential]
    trusted: RemoteCredential
    floor: crypto_floor.Work
    limit: float
    """At most so many times the bare cryptography is what we want to see."""
    proposals: tuple[tuple[Proposal, ...], tuple[Proposal, ...]] = (
        ike_proposals("aes256gcm16-prfsha256-x25519"),
        esp_proposals("aes256gcm16"),
    )
    met: Met = "peer"


def psk_scene() -> Scene:
    credential = PskCredential(os.urandom(32))
    return Scene("a pre-shared key", (credential, credential), credential, crypto_floor.psk(), 2.5)


def default_scene() -> Scene:
    scene = attrs.evolve(psk_scene(), title="a pre-shared key and the default proposals")
    return attrs.evolve(scene, proposals=(DEFAULT_IKE_PROPOSALS, DEFAULT_ESP_PROPOSALS))


def certificate_scene(kind: Kind, met: Met = "nobody") -> Scene:
    """Peers with certificates, and whom of those they have *met* before."""
    root = CertificateAuthority("Root", kind=kind, utc=NOON)
    intermediate = root.intermediate("Intermediate")
    leaves = [intermediate.leaf([name], kind=kind) for name in NAMES]
    ours, theirs = (CertificateCredential(leaf.chain, leaf.key) for leaf in leaves)
    floor = crypto_floor.certificates(leaves[0].chain, root.der, leaves[0].key, NOON)  # type: ignore[arg-type]
    title = f"certificates, {kind}, {WHEN[met]}"
    return Scene(title, (ours, theirs), TrustedCertificates((root.der,)), floor, 1.4, met=met)


class Side:
    """One endpoint, and the seconds that were spent in it."""

    batch = BATCH

    def __init__(self, scene: Scene, role: int) -> None:
        self.connection = Connection(
            name="peer",
            local_identity=Identity.parse(NAMES[role]),
            local=scene.credentials[role],
            remote=scene.trusted,
            remote_identity=Identity.parse(NAMES[1 - role]),
            proposals=scene.proposals[0],
            children=(ChildConfig(proposals=scene.proposals[1]),),
        )
        config = Config(connections=(self.connection,), limits=Limits(half_open_per_source=10 * BATCH))
        self.endpoint = Endpoint(config, random=os.urandom, utc=lambda: NOON, raise_bugs=True)
        self.endpoint.local_added(Local(HOSTS[role]), now=0.0)
        self.spent = 0.0
        self.established = 0

    def initiate(self, now: float) -> list[SendDatagram]:
        """Begin a batch of handshakes."""
        sent: list[SendDatagram] = []
        start = time.process_time()
        for _ in range(self.batch):
            self.endpoint.initiate(self.connection, [HOSTS[1][0]], now=now)
            self._carry_out(sent)
        self.spent += time.process_time() - start
        return sent

    def take(self, datagrams: list[SendDatagram], now: float) -> list[SendDatagram]:
        """Take what the other side sent."""
        sent: list[SendDatagram] = []
        start = time.process_time()
        for datagram in datagrams:
            self.endpoint.datagram_received(datagram.data, local=datagram.remote, remote=datagram.local, now=now)
            self._carry_out(sent)
        self.spent += time.process_time() - start
        return sent

    def _carry_out(self, sent: list[SendDatagram]) -> None:
        for output in self.endpoint.outputs():
            if isinstance(output, SendDatagram):
                sent.append(output)
            elif isinstance(output, ChildSaEstablished):
                output.export_keys()
                self.established += 1
        _ = self.endpoint.deadline

    def end(self, now: float) -> None:
        """Forget all SAs."""
        for sa in self.endpoint.sas:
            self.endpoint.abandon(sa, now=now)
        for _ in self.endpoint.outputs():
            pass
        self.spent, self.established = 0.0, 0


def batch(sides: tuple[Side, Side], now: float) -> tuple[float, float]:
    """Return the seconds that a handshake took the initiator and the responder, the mean of one batch."""
    initiator, responder = sides
    sent = initiator.initiate(now)
    while sent:
        sent = initiator.take(responder.take(sent, now), now)
    if (initiator.established, responder.established) != (initiator.batch, responder.batch):
        raise RuntimeError(f"{initiator.established} and {responder.established} handshakes of {initiator.batch}")
    spent = initiator.spent / initiator.batch, responder.spent / responder.batch
    initiator.end(now)
    responder.end(now)
    return spent


def bare(floor: Callable[[], None]) -> float:
    start = time.process_time()
    for _ in range(BATCH):
        floor()
    return (time.process_time() - start) / BATCH


def scattered(floor: Callable[[], None], others: tuple[Side, Side], now: float) -> float:
    """Return the seconds of the bare cryptography where a handshake of *others* lies between any two: caches are cold.

    Nothing is measured by it. It tells how much of what a handshake costs beside the bare cryptography is no work.
    """
    spent = 0.0
    for _ in range(BATCH):
        batch(others, now)
        start = time.process_time()
        floor()
        spent += time.process_time() - start
    return spent / BATCH


class Forgetful(dict[Any, Any]):
    """A table that keeps nothing."""

    def __setitem__(self, key: object, value: object) -> None:
        pass


@contextmanager
def undisturbed(scene: Scene) -> Iterator[None]:
    """Hold the collector back, and have certificates remembered, or not, as *scene* says."""
    kept = certificates.LARGEST_KEPT
    vars(certificates)["LARGEST_KEPT"] = 0 if scene.met == "nobody" else kept
    if scene.met == "authority" and isinstance(scene.trusted, TrustedCertificates):
        trust_store(scene.trusted.anchors)._good = Forgetful()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        vars(certificates)["LARGEST_KEPT"] = kept


def measure(scene: Scene, rounds: int) -> Table:
    """Return the seconds per handshake of each round: the bare cryptography of a side, and each side of ours."""
    sides = Side(scene, 0), Side(scene, 1)
    plain = psk_scene()
    others = Side(plain, 0), Side(plain, 1)
    for side in others:
        side.batch = 1
    timings: dict[str, list[float]] = {"bare cryptography": [], COLD: [], "initiator": [], "responder": []}
    bare(scene.floor)
    with undisturbed(scene):
        batch(sides, 0.0)
        for number in range(rounds):
            timings[COLD].append(scattered(scene.floor, others, 1.0 + number))
            timings["bare cryptography"].append(bare(scene.floor))
            for role, spent in zip(("initiator", "responder"), batch(sides, 1.0 + number), strict=True):
                timings[role].append(spent)
    targets = [Target(side, scene.limit) for side in ("initiator", "responder")]
    return Table(f"a handshake with {scene.title}, per side", timings, tuple(targets))


def tables(rounds: int = ROUNDS) -> Iterator[Table]:
    """Yield a table per scene. Rounds are short here, so there are five times as many."""
    yield measure(psk_scene(), 5 * rounds)
    yield measure(default_scene(), 5 * rounds)
    kinds: tuple[Kind, ...] = ("ecdsa-p256", "rsa-2048")
    for kind in kinds:
        for met in WHEN:
            yield measure(certificate_scene(kind, met), 5 * rounds)


def main() -> None:
    for table in show(tables()):
        rates = [f"{1 / table.median(side):.0f} ({side})" for side in ("initiator", "responder")]
        print(f"{table.title}: {' and '.join(rates)} per CPU second")


if __name__ == "__main__":
    main()
