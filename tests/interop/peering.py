"""What we and a peer agree on, and our side of it. Each daemon makes its own side in `configure`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import ikecore
from ikecore.testing.pki import CertificateAuthority, Kind, Leaf
from tests.interop.peer import Peer

PEER, OURS = "127.0.0.1", "127.0.0.2"
PEER_ID, OUR_ID = "peer.example", "ikecore.example"
PEER_NET, OUR_NET = "10.1.0.0/16", "10.2.0.0/16"
PEER_NET_2, OUR_NET_2 = "10.3.0.0/16", "10.4.0.0/16"
"""Between these is the second Child SA of a peering with *more*."""
CHARON, CHARON_ID, CHARON_NET = PEER, PEER_ID, PEER_NET
"""The same, for a test about that daemon alone."""
SECRET = "a secret for tests, known to both"

Auth = Literal["psk", "rsa", "ecdsa"]


@dataclass(frozen=True)
class Authorities:
    """Whom both sides trust."""

    rsa: CertificateAuthority
    ecdsa: CertificateAuthority

    def of(self, kind: Literal["rsa", "ecdsa"]) -> CertificateAuthority:
        """Return the authority with keys of *kind*."""
        return self.rsa if kind == "rsa" else self.ecdsa

    def leaf(self, kind: Literal["rsa", "ecdsa"], name: str, names: Sequence[str] = ()) -> Leaf:
        """Make a certificate for *name* under the authority of *kind*, with further *names* that nobody asks for."""
        return self.of(kind).leaf([name, *names], kind=_KINDS[kind])


@dataclass(frozen=True)
class Peering:
    """What both sides agree on.

    *ike* and *esp* are proposals in swanctl.conf's words; a group in *esp* is for rekeying. *encap* forces UDP
    encapsulation; *dpd* is after how many quiet seconds the peer checks whether we live; *narrowing* lets it take less
    than its own selectors; *childless* leaves the Child SA out, *more* has another. *names* are put into the peer's
    certificate, to make it as large as one likes. *options* are lines for the peer's connection, in the words of its
    own configuration.
    *selectors* are our networks and the peer's, as we want them, *nets* the peer's and ours, as the peer does; None is
    the address of the host, or what it was assigned. *transport* is for the mode between two hosts. *roaming* lets us
    come from any address.
    """

    ike: str = "aes128gcm16-prfsha256-x25519"
    esp: str = "aes128gcm16"
    auth: Auth = "psk"
    encap: bool = False
    dpd: int = 0
    fragments: bool = True
    narrowing: bool = False
    roaming: bool = False
    transport: bool = False
    childless: bool = False
    more: bool = False
    names: tuple[str, ...] = ()
    options: str = ""
    secret: str = SECRET
    selectors: tuple[str | None, str | None] = (OUR_NET, PEER_NET)
    nets: tuple[str | None, str | None] = (PEER_NET, OUR_NET)

    def but(self, **changes: Any) -> Peering:
        """Return the same with some *changes*, for a side that sees it differently."""
        return replace(self, **changes)

    def load_into(self, peer: Peer, authorities: Authorities) -> None:
        """Make the peer's side."""
        peer.configure(self, authorities)

    def connection(self, authorities: Authorities) -> ikecore.Connection:
        """Return our side."""
        local: ikecore.LocalCredential = ikecore.PskCredential(self.secret.encode())
        remote: ikecore.RemoteCredential = ikecore.PskCredential(self.secret.encode())
        if self.auth != "psk":
            leaf = authorities.leaf(self.auth, OUR_ID)
            local = ikecore.CertificateCredential(leaf.chain, leaf.key)
            remote = ikecore.TrustedCertificates((authorities.of(self.auth).der,))
        children = [self._child("net", *self.selectors)]
        if self.more:
            children.append(self._child("more", OUR_NET_2, PEER_NET_2))
        return ikecore.Connection(
            name="lab",
            local_identity=ikecore.Identity.parse(OUR_ID),
            remote_identity=ikecore.Identity.parse(PEER_ID),
            local=local,
            remote=remote,
            proposals=ikecore.ike_proposals(*self.ike.split(",")),
            children=() if self.childless else children,
        )

    def _child(self, name: str, ours: str | None, theirs: str | None) -> ikecore.ChildConfig:
        return ikecore.ChildConfig(
            name=name,
            proposals=ikecore.esp_proposals(*self.esp.split(",")),
            local_ts=None if ours is None else (ikecore.parse_selector(ours),),
            remote_ts=None if theirs is None else (ikecore.parse_selector(theirs),),
            mode="transport" if self.transport else "tunnel",
            tunnel_fallback=not self.transport,
        )


_KINDS: dict[Literal["rsa", "ecdsa"], Kind] = {"rsa": "rsa-2048", "ecdsa": "ecdsa-p256"}
