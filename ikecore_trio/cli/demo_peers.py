"""Who meets in the demonstration: credentials that are made on the spot, and the two connections."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

import attrs

from ikecore import (
    CertificateCredential,
    ChildConfig,
    Connection,
    Identity,
    LocalCredential,
    PskCredential,
    RemoteCredential,
    Transports,
    TrustedCertificates,
)
from ikecore.sa import parse_selector
from ikecore.testing.pki import CertificateAuthority

__all__ = ["Auth", "Peers", "make_peers"]

Auth = Literal["certificates", "psk-client"]

CLIENT: Final = "client.example"
GATEWAY: Final = "gateway.example"
CLIENT_NET: Final = "10.1.0.0/24"
GATEWAY_NET: Final = "10.2.0.0/24"


@attrs.frozen
class Peers:
    """Credentials of both sides, and in words what each proves itself with."""

    client: LocalCredential
    gateway: LocalCredential
    trusts_client: RemoteCredential
    trusts_gateway: RemoteCredential
    client_words: str
    gateway_words: str

    def initiator(self, transports: Transports) -> Connection:
        """Describe the peering as the client sees it."""
        child = ChildConfig(
            name="net", local_ts=(parse_selector(CLIENT_NET),), remote_ts=(parse_selector(GATEWAY_NET),)
        )
        return Connection(
            name="to-gateway",
            local_identity=Identity.parse(CLIENT),
            local=self.client,
            remote=self.trusts_gateway,
            remote_identity=Identity.parse(GATEWAY),
            children=(child,),
            transports=transports,
        )

    def responder(self, transports: Transports) -> Connection:
        """Describe the peering as the gateway sees it."""
        child = ChildConfig(
            name="net", local_ts=(parse_selector(GATEWAY_NET),), remote_ts=(parse_selector(CLIENT_NET),)
        )
        return Connection(
            name="clients",
            local_identity=Identity.parse(GATEWAY),
            local=self.gateway,
            remote=self.trusts_client,
            children=(child,),
            transports=transports,
        )


def make_peers(auth: Auth) -> Peers:
    """Make an authority, an authority below it, and a certificate with its key for each side that has one."""
    root = CertificateAuthority("ikecore demo root", kind="ml-dsa-65", utc=datetime.now(UTC), days=1)
    below = root.intermediate("ikecore demo intermediate")
    trusted = TrustedCertificates(anchors=(root.der,))
    leaf = below.leaf([GATEWAY], kind="ecdsa-p256")
    gateway, gateway_words = CertificateCredential(chain=leaf.chain, key=leaf.key), chain_words(leaf.chain)
    if auth == "psk-client":
        shared = PskCredential(b"the shared secret of the demonstration")
        return Peers(shared, gateway, shared, trusted, "a pre-shared key", gateway_words)
    leaf = below.leaf([CLIENT], kind="ecdsa-p256")
    client = CertificateCredential(chain=leaf.chain, key=leaf.key)
    return Peers(client, gateway, trusted, trusted, chain_words(leaf.chain), gateway_words)


def chain_words(chain: tuple[bytes, ...]) -> str:
    """Tell what a chain is made of, and its size."""
    octets = sum(map(len, chain))
    return f"{len(chain)} certificates of {octets:,} octets: an ECDSA leaf under an ML-DSA-65 authority and root"
