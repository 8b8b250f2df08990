"""Certificates are made once for all scenarios."""

from __future__ import annotations

import pytest

from ikecore import CertificateCredential, ChildConfig, Connection, Identity, Transports, TrustedCertificates
from ikecore.testing import NOON
from ikecore.testing.pki import CertificateAuthority, Leaf


class Certified:
    """Both sides with ECDSA leaves under ML-DSA-65 authorities: some 9,100 octets each, too much for a datagram."""

    def __init__(self) -> None:
        self.root = CertificateAuthority("Root", kind="ml-dsa-65", utc=NOON)
        below = self.root.intermediate("Intermediate")
        self.leaves = {role: below.leaf([f"{role}.example"]) for role in ("initiator", "responder")}

    def connection(self, role: str, transports: Transports | None = None) -> Connection:
        """Return the connection of one side."""
        peer = "responder" if role == "initiator" else "initiator"
        leaf: Leaf = self.leaves[role]
        return Connection(
            name=f"to-{peer}",
            local_identity=Identity.parse(f"{role}.example"),
            local=CertificateCredential(leaf.chain, leaf.key),
            remote=TrustedCertificates((self.root.der,)),
            remote_identity=Identity.parse(f"{peer}.example"),
            children=(ChildConfig(),),
            transports=transports or Transports(),
        )


@pytest.fixture(scope="session")
def certified() -> Certified:
    return Certified()
