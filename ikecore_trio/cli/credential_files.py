"""Files and secrets to credentials: which pre-shared key is meant, which private key belongs to a certificate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from ikecore import (
    CertificateCredential,
    IkeError,
    LocalCredential,
    PinnedKeys,
    PskCredential,
    RemoteCredential,
    TrustedCertificates,
)
from ikecore.crypto import Identity, PrivateKey, load_private_key, load_public_key
from ikecore.crypto import subject_public_key_info as public_octets
from ikecore.crypto.pem import load_certificates

from .config_table import Table

__all__ = ["OurSide", "Secrets", "local_credential", "private_keys", "remote_credential"]

AUTH: Final = {"psk": "psk", "pubkey": "pubkey"}
CERTIFICATES: Final = "files with certificates, PEM or DER, relative to this file"
PUBLIC_KEYS: Final = "files with public keys (SubjectPublicKeyInfo), PEM or DER, relative to this file"


@attrs.frozen
class Secrets:
    """What the secrets section holds: pre-shared keys with the identities that they are for, and private keys."""

    shared: tuple[tuple[tuple[Identity, ...], bytes], ...] = attrs.field(default=(), repr=False)
    private: tuple[PrivateKey, ...] = attrs.field(default=(), repr=False)

    def shared_key(self, local: Identity, remote: Identity | None) -> bytes | None:
        """Return the key that fits both identities, else one of them, else one for everybody; of equals, the first."""
        best: tuple[int, bytes] | None = None
        for owners, secret in self.shared:
            fits = [each for each in (local, remote) if each is not None and each in owners]
            if owners and not fits:
                continue
            if best is None or len(fits) > best[0]:
                best = (len(fits), secret)
        return None if best is None else best[1]

    def private_key(self, public: bytes) -> PrivateKey | None:
        """Return the private key of a public key (SubjectPublicKeyInfo in DER)."""
        for key in self.private:
            if public_octets(key.public_key()) == public:
                return key
        return None


@attrs.frozen
class OurSide:
    """Who we are, and how we prove it."""

    identity: Identity
    credential: LocalCredential


def local_credential(
    table: Table,
    identity: Identity | None,
    address: str | None,
    remote_identity: Identity | None,
    secrets: Secrets,
    folder: Path,
) -> OurSide | None:
    """Read `local`. Without an id, it is *address* with a pre-shared key, and a certificate's subject otherwise."""
    if "auth" not in table:
        table.missing("auth", '"psk", "pubkey"')
    auth = table.choice("auth", AUTH, "")
    files = table.texts("certs", CERTIFICATES)
    if auth == "pubkey":
        return certificate_side(table, files, identity, secrets, folder)
    if auth != "psk":
        return None
    if files:
        table.problem("certs", list(files), 'nothing here; certificates belong to auth = "pubkey"')
    if identity is None and address is not None:
        identity = Identity.parse(address)
    if identity is None:
        table.missing("id", "who we are: an address, a name, an e-mail address or a distinguished name")
        return None
    secret = secrets.shared_key(identity, remote_identity)
    if secret is None:
        table.problem("auth", "psk", f"this only with a key for {identity} in a table [secrets.ike-<name>]")
        return None
    return OurSide(identity, PskCredential(secret))


def certificate_side(
    table: Table, files: tuple[str, ...], identity: Identity | None, secrets: Secrets, folder: Path
) -> OurSide | None:
    """Read certificates, the leaf first, and find the private key of the leaf."""
    if not files:
        table.missing("certs", CERTIFICATES)
        return None
    chain = certificates(table, "certs", files, folder)
    if not chain:
        return None
    from cryptography import x509

    try:
        leaf = x509.load_der_x509_certificate(chain[0])
        public = public_octets(load_public_key(spki_of(leaf)))
    except (ValueError, IkeError) as error:
        table.problem("certs", files[0], f"a certificate with a key that can sign ({error})")
        return None
    key = secrets.private_key(public)
    if key is None:
        table.problem("certs", files[0], "a certificate whose private key is in a table [secrets.private-<name>]")
        return None
    if identity is None:
        identity = Identity.parse(f"asn1dn:0x{leaf.subject.public_bytes().hex()}") if leaf.subject.rdns else None
    if identity is None:
        table.missing("id", "who we are, as the certificate says: a name, an address or an e-mail address")
        return None
    return OurSide(identity, CertificateCredential(chain=chain, key=key))


def remote_credential(
    table: Table, ours: OurSide | None, remote_identity: Identity | None, secrets: Secrets, folder: Path
) -> RemoteCredential | None:
    """Read `remote`: a pre-shared key, authorities, or pinned certificates and keys."""
    if "auth" not in table:
        table.missing("auth", '"psk", "pubkey"')
    auth = table.choice("auth", AUTH, "")
    authorities = table.texts("cacerts", CERTIFICATES)
    pinned = table.texts("certs", CERTIFICATES)
    keys = table.texts("pubkeys", PUBLIC_KEYS)
    if auth == "psk":
        return shared_with(table, ours, remote_identity, secrets)
    if auth != "pubkey":
        return None
    if bool(authorities) == bool(pinned or keys):
        table.missing("cacerts", f"{CERTIFICATES} for authorities, or else certs or pubkeys to pin the peer's key")
        return None
    if authorities:
        anchors = certificates(table, "cacerts", authorities, folder)
        return TrustedCertificates(anchors=anchors) if anchors else None
    found = [spki_of_der(each) for each in certificates(table, "certs", pinned, folder)]
    for name in keys:
        key = read(table, "pubkeys", name, folder, lambda data: public_octets(load_public_key(data)), PUBLIC_KEYS)
        if key is not None:
            found.append(key)
    return PinnedKeys(keys=found) if found else None


def shared_with(
    table: Table, ours: OurSide | None, remote_identity: Identity | None, secrets: Secrets
) -> PskCredential | None:
    """Find the key that the peer proves itself with."""
    if ours is None:
        return None
    secret = secrets.shared_key(ours.identity, remote_identity)
    if secret is None:
        table.problem("auth", "psk", "this only with a key for either side in a table [secrets.ike-<name>]")
        return None
    return PskCredential(secret)


def private_keys(table: Table, folder: Path) -> list[PrivateKey]:
    """Read one entry with a private key: its file, and the passphrase if it has one."""
    allowed = "a file with a private key, PEM or DER, relative to this file, and its passphrase as secret if it has one"
    name = table.text("file", allowed)
    passphrase = table.text("secret", "the passphrase of the file")
    if name is None:
        if "file" not in table:
            table.missing("file", allowed)
        return []
    password = None if passphrase is None else passphrase.encode("utf-8")
    key = read(table, "file", name, folder, lambda data: load_private_key(data, password), allowed)
    return [] if key is None else [key]


def certificates(table: Table, key: str, names: tuple[str, ...], folder: Path) -> tuple[bytes, ...]:
    """Read the certificates of all files, in order, in DER."""
    found: list[bytes] = []
    for name in names:
        found += read(table, key, name, folder, load_certificates, CERTIFICATES) or ()
    return tuple(found)


def read(table: Table, key: str, name: str, folder: Path, parse: Callable[[bytes], Any], allowed: str) -> Any:
    """Read a file and parse it; None and a problem if it cannot be done, with the reason."""
    try:
        return parse((folder / name).expanduser().read_bytes())
    except OSError as error:
        table.problem(key, name, f"{allowed} ({error.strerror})")
    except (ValueError, IkeError) as error:
        table.problem(key, name, f"{allowed} ({error})")
    return None


def spki_of(certificate: Any) -> bytes:
    """Return a certificate's key as SubjectPublicKeyInfo in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    octets: bytes = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets


def spki_of_der(certificate: bytes) -> bytes:
    """Return the key of a certificate in DER."""
    from cryptography import x509

    return spki_of(x509.load_der_x509_certificate(certificate))
