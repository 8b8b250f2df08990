"""What the core asks the application: decisions, secrets and signatures that are the application's own.

Each is an event whose name ends in `Needed`, answered with `Endpoint.answer`. Unanswered, it is a refusal.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from .addressing import Lease
from .events import Event
from .outputs import Address, QuestionId, SaId
from .record import record

A = TypeVar("A")


class Question(Event, Generic[A]):
    """Something the application owns and the core needs: answer with `Endpoint.answer(question, value)`.

    Unanswered by *deadline* (monotonic seconds), the answer is a refusal.
    """

    __slots__ = ()
    question: QuestionId
    sa: SaId
    deadline: float


@record
class AuthorizationNeeded(Question[bool]):
    """The peer proved *peer_identity*; may it have this SA? Asked only where the connection says so."""

    question: QuestionId
    sa: SaId
    deadline: float
    connection: str
    peer_identity: str
    remote: Address


@record
class LeaseNeeded(Question["Lease | None"]):
    """The peer, which proved *peer_identity*, asks for *addresses*: answer with a `Lease`, or None to refuse.

    "0.0.0.0" and "::" stand for any of the family; *attributes* names what else it wants to know. More than it asked
    for, and addresses that another SA has, are left out of the answer. Asked only where the connection says so.
    """

    question: QuestionId
    sa: SaId
    deadline: float
    connection: str
    peer_identity: str
    remote: Address
    addresses: tuple[str, ...]
    attributes: tuple[str, ...]


@record
class AcceptanceNeeded(Question[bool]):
    """The peer assigned *lease* to us; do we take it? If not, there is no Child SA.

    Asked only where the connection says so.
    """

    question: QuestionId
    sa: SaId
    deadline: float
    connection: str
    peer_identity: str
    lease: Lease


@record
class SecretNeeded(Question[bytes]):
    """Which pre-shared key do we share with *peer_identity*? Asked where the connection has `PskWanted`.

    *claimed* is true where the peer has proved nothing yet: anybody can say that. Answer with the key, or with no
    octets where there is none: the peer cannot tell that from a wrong key.
    """

    question: QuestionId
    sa: SaId
    deadline: float
    connection: str
    local_identity: str
    peer_identity: str
    claimed: bool
    remote: Address


@record
class SignatureNeeded(Question[bytes]):
    """Sign *octets* with the private key of *public_key* (SubjectPublicKeyInfo in DER); see `ExternalKey`.

    *kind* is "rsa-pss" (MGF1 with the same hash, a salt as long as the hash), "rsa-pkcs1", "ecdsa", "ed25519", "ed448"
    or "ml-dsa-44" to "ml-dsa-87". *hash* is "SHA2_256", "SHA2_384", "SHA2_512", or "IDENTITY" where the kind hashes
    itself; the octets are not hashed yet. Answer with the signature (of ECDSA in DER), or with no octets to refuse,
    which ends the SA.
    """

    question: QuestionId
    sa: SaId
    deadline: float
    connection: str
    kind: str
    hash: str
    public_key: bytes = attrs.field(repr=False)
    octets: bytes = attrs.field(repr=False)


@record
class RevocationNeeded(Question[bool]):
    """No list says whether a certificate of a peer's chain is revoked: True if you know that it is not.

    The peer has proved that it has the key of the leaf. *certificate* and *issuer* are in DER; *distribution_points*
    and *ocsp* are the addresses in the certificate where its status may be had. Asked where
    `TrustedCertificates.revocation` is "ask", for each such certificate of the chain, the leaf first.
    """

    question: QuestionId
    sa: SaId
    deadline: float
    connection: str
    peer_identity: str
    subject: str
    distribution_points: tuple[str, ...]
    ocsp: tuple[str, ...]
    certificate: bytes = attrs.field(repr=False)
    issuer: bytes = attrs.field(repr=False)


@record
class CertificateFetchNeeded(Question[bytes]):
    """Fetch what is at *url*, at most *most* octets: the peer sent a certificate (or *bundle*) by hash and URL.

    It has proved nothing yet, and the URL is its choice: do not fetch from where it should not reach. Answer with the
    octets as they are, whose SHA-1 hash has to be *digest*, or with none. Asked where `Connection.hash_and_url` is set.
    """

    question: QuestionId
    sa: SaId
    deadline: float
    connection: str
    claimed_identity: str
    remote: Address
    url: str
    digest: bytes
    bundle: bool
    most: int


@record
class QuestionClosed(Event):
    """The question is no longer open: answered, out of time, or its SA died."""

    question: QuestionId
    sa: SaId
