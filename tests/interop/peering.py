"""One peering in the words of both sides: charon's swanctl.conf and our `Connection`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import ikecore
from ikecore.testing.pki import CertificateAuthority, Kind
from tests.interop.charon import Charon

CHARON, OURS = "127.0.0.1", "127.0.0.2"
CHARON_ID, OUR_ID = "charon.example", "ikecore.example"
CHARON_NET, OUR_NET = "10.1.0.0/16", "10.2.0.0/16"
SECRET = "a secret for tests, known to both"

Auth = Literal["psk", "rsa", "ecdsa"]

_SWANCTL_CONF = """
connections {{
  lab {{
    version = 2
    local_addrs = {CHARON}
    remote_addrs = {OURS}, 127.0.0.0/8
    proposals = {ike}
    mobike = no
    {options}
    local {{
      auth = {auth}
      id = {CHARON_ID}
      {certificate}
    }}
    remote {{
      auth = {auth}
      id = {OUR_ID}
    }}
    children {{
      net {{
        local_ts = {CHARON_NET}
        remote_ts = {OUR_NET}
        esp_proposals = {esp}
      }}
    }}
  }}
}}
secrets {{
  ike-1 {{
    secret = "{secret}"
  }}
}}
"""


@dataclass(frozen=True)
class Authorities:
    """Whom both sides trust."""

    rsa: CertificateAuthority
    ecdsa: CertificateAuthority


@dataclass(frozen=True)
class Peering:
    """What both sides agree on.

    *options* are lines of swanctl.conf for charon's connection; *selectors* our networks and charon's, as we want them.
    """

    ike: str = "aes128gcm16-prfsha256-x25519"
    esp: str = "aes128gcm16"
    auth: Auth = "psk"
    options: str = ""
    secret: str = SECRET
    selectors: tuple[str, str] = (OUR_NET, CHARON_NET)

    def but(self, **changes: Any) -> Peering:
        """Return the same with some *changes*, for a side that sees it differently."""
        return replace(self, **changes)

    def load_into(self, charon: Charon, authorities: Authorities) -> None:
        """Make charon's side."""
        if self.auth != "psk":
            authority: CertificateAuthority = getattr(authorities, self.auth)
            leaf = authority.leaf([CHARON_ID], kind=_KINDS[self.auth])
            charon.store("x509ca", "root.der", authority.der)
            charon.store("x509", "leaf.der", leaf.chain[0])
            key = leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            charon.store("pkcs8", "leaf.der", key)
        charon.load(
            _SWANCTL_CONF.format(
                **{name: value for name, value in globals().items() if name.isupper()},
                ike=self.ike,
                esp=self.esp,
                options=self.options,
                auth="psk" if self.auth == "psk" else "pubkey",
                certificate="" if self.auth == "psk" else "certs = leaf.der",
                secret=self.secret,
            )
        )

    def connection(self, authorities: Authorities) -> ikecore.Connection:
        """Return our side."""
        local: ikecore.LocalCredential = ikecore.PskCredential(self.secret.encode())
        remote: ikecore.RemoteCredential = ikecore.PskCredential(self.secret.encode())
        if self.auth != "psk":
            authority: CertificateAuthority = getattr(authorities, self.auth)
            leaf = authority.leaf([OUR_ID], kind=_KINDS[self.auth])
            local = ikecore.CertificateCredential(leaf.chain, leaf.key)
            remote = ikecore.TrustedCertificates((authority.der,))
        child = ikecore.ChildConfig(
            name="net",
            proposals=ikecore.esp_proposals(*self.esp.split(",")),
            local_ts=(ikecore.parse_selector(self.selectors[0]),),
            remote_ts=(ikecore.parse_selector(self.selectors[1]),),
        )
        return ikecore.Connection(
            name="lab",
            local_identity=ikecore.Identity.parse(OUR_ID),
            remote_identity=ikecore.Identity.parse(CHARON_ID),
            local=local,
            remote=remote,
            proposals=ikecore.ike_proposals(*self.ike.split(",")),
            children=(child,),
        )


_KINDS: dict[str, Kind] = {"rsa": "rsa-2048", "ecdsa": "ecdsa-p256"}
