"""Files and secrets to credentials: which pre-shared key is meant, which private key belongs to a certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs

from ikecore import (
    CertificateCredential,
    IkeError,
    LocalCredential,
    PinnedKeys,
    PskCredential,
    PskTable,
    RemoteCredential,
    TrustedCertificates,
)
from ikecore.credentials import Revocation
from ikecore.crypto import Identity, PrivateKey, load_private_key, load_public_key
from ikecore.crypto import subject_public_key_info as public_octets
from ikecore.crypto.certificates import own_validity
from ikecore.crypto.pem import load_certificates, load_crls

from .config_table import Table

__all__ = ["OurSide", "Secrets", "local_credential", "private_keys", "remote_credential"]

AUTH: Final = {"psk": "psk", "pubkey": "pubkey"}
CERTIFICATES: Final = "files with certificates, PEM or DER, relative to this file"
CRLS: Final = "files with certificate revocation lists, PEM or DER, relative to this file"
REVOCATION: Final[Mapping[str, Revocation]] = {"relaxed": "if-known", "ifuri": "if-uri", "strict": "required"}
URI_BASE: Final = 'the URL below which our certificates are found by their SHA-1 hash, as "http://pki.example/"'
PUBLIC_KEYS: Final = "files with public keys (SubjectPublicKeyInfo), PEM or DER, relative to this file"


@attrs.frozen
class Secrets:
    """What the secrets section holds: pre-shared keys with the identities that they are for, and private keys."""

    shared: tuple[tuple[tuple[Identity, ...], bytes], ...] = attrs.field(default=(), repr=False)
    private: tuple[PrivateKey, ...] = attrs.field(default=(), repr=False)
    incomplete: bool = False
    """An entry has a mistake, which is told already. What is missed elsewhere may be just that, and is not told."""

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

    def table(self, local: Identity, remote: Identity | None) -> PskTable | None:
        """Return the keys of all peers that *remote* admits, if there are entries for some of them by name."""
        found: dict[Identity, bytes] = {}
        for owners, secret in self.shared:
            for owner in owners:
                if owner != local and (remote is None or owner.matches(remote)):
                    found.setdefault(owner, secret)
        everybody = sorted((each for each in self.shared if set(each[0]) <= {local}), key=lambda each: not each[0])
        return PskTable(found, others=everybody[0][1] if everybody else None) if found else None

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
    credential: LocalCredential | tuple[CertificateCredential, ...]


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
    base = table.text("cert_uri_base", URI_BASE)
    if auth == "pubkey":
        return certificate_side(table, files, base, identity, secrets, folder)
    if auth != "psk":
        return None
    if files:
        table.problem("certs", list(files), 'nothing here; certificates belong to auth = "pubkey"')
    if base is not None:
        table.problem("cert_uri_base", base, 'nothing here; certificates belong to auth = "pubkey"')
    if identity is None and address is not None:
        identity = Identity.parse(address)
    if identity is None:
        table.missing("id", "who we are: an address, a name, an e-mail address or a distinguished name")
        return None
    credential = shared(secrets, identity, remote_identity)
    if credential is None:
        if not secrets.incomplete:
            table.problem("auth", "psk", f"this only with a key for {identity} in a table [secrets.ike-<name>]")
        return None
    return OurSide(identity, credential)


def shared(secrets: Secrets, local: Identity, remote: Identity | None) -> PskCredential | PskTable | None:
    """Return the key shared with the one peer that *remote* is, or those with all that it admits."""
    several = secrets.table(local, remote) if remote is None or remote.is_pattern else None
    if several is not None:
        return several
    secret = secrets.shared_key(local, remote)
    return None if secret is None else PskCredential(secret)


def certificate_side(
    table: Table, files: tuple[str, ...], base: str | None, identity: Identity | None, secrets: Secrets, folder: Path
) -> OurSide | None:
    """Read certificates: each whose private key is known begins a chain, and those behind it belong to the chain."""
    if not files:
        table.missing("certs", CERTIFICATES)
        return None
    found = certificates(table, "certs", files, folder)
    if not found:
        return None
    chains: list[tuple[PrivateKey, list[bytes]]] = []
    for der in found:
        try:
            key = secrets.private_key(public_octets(load_public_key(spki_of_der(der))))
        except (ValueError, IkeError) as error:
            key = None
            if not chains:
                table.problem("certs", files[0], f"a certificate with a key that can sign ({error})")
                return None
        if key is not None:
            chains.append((key, [der]))
        elif chains:
            chains[-1][1].append(der)
        else:
            if not secrets.incomplete:
                table.problem(
                    "certs", files[0], "a certificate whose private key is in a table [secrets.private-<name>]"
                )
            return None
    for _, chain in chains:
        problem = own_validity(chain[0]).problem(datetime.now(UTC))
        if problem is not None:
            table.problem("certs", list(files), f"certificates that are valid now ({problem})")
    if identity is None:
        identity = subject_of(found[0])
    if identity is None:
        table.missing("id", "who we are, as the certificate says: a name, an address or an e-mail address")
        return None
    try:
        credentials = tuple(CertificateCredential(chain, key, urls_of(chain, base)) for key, chain in chains)
    except IkeError as error:
        table.problem("cert_uri_base", base, f"{URI_BASE} ({error})")
        return None
    return OurSide(identity, credentials if len(credentials) > 1 else credentials[0])


def urls_of(chain: list[bytes], base: str | None) -> tuple[str, ...]:
    """Return where the certificates of a chain can be fetched: each by its hash below *base*."""
    if base is None:
        return ()
    return tuple(f"{base}{hashlib.sha1(each, usedforsecurity=False).hexdigest()}" for each in chain)


def subject_of(certificate: bytes) -> Identity | None:
    """Return the subject of a certificate in DER as an identity, None if it is empty."""
    from cryptography import x509

    subject = x509.load_der_x509_certificate(certificate).subject
    return Identity.parse(f"asn1dn:0x{subject.public_bytes().hex()}") if subject.rdns else None


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
    lists = table.texts("crls", CRLS)
    revocation = table.choice("revocation", REVOCATION, "if-known")
    if auth == "psk":
        return shared_with(table, ours, remote_identity, secrets)
    if auth != "pubkey":
        return None
    if bool(authorities) == bool(pinned or keys):
        table.missing("cacerts", f"{CERTIFICATES} for authorities, or else certs or pubkeys to pin the peer's key")
        return None
    if authorities:
        anchors = certificates(table, "cacerts", authorities, folder)
        crls = [der for name in lists for der in read(table, "crls", name, folder, load_crls, CRLS) or ()]
        try:
            return TrustedCertificates(anchors, crls=crls, revocation=revocation) if anchors else None
        except IkeError as error:
            table.note(str(error))
            return None
    if lists:
        table.problem("crls", list(lists), "nothing here; lists belong to cacerts")
    found = [spki_of_der(each) for each in certificates(table, "certs", pinned, folder)]
    for name in keys:
        key = read(table, "pubkeys", name, folder, lambda data: public_octets(load_public_key(data)), PUBLIC_KEYS)
        if key is not None:
            found.append(key)
    return PinnedKeys(keys=found) if found else None


def shared_with(
    table: Table, ours: OurSide | None, remote_identity: Identity | None, secrets: Secrets
) -> PskCredential | PskTable | None:
    """Find the key that the peer proves itself with."""
    if ours is None:
        return None
    credential = shared(secrets, ours.identity, remote_identity)
    if credential is None and not secrets.incomplete:
        table.problem("auth", "psk", "this only with a key for either side in a table [secrets.ike-<name>]")
    return credential


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


def spki_of_der(certificate: bytes) -> bytes:
    """Return the key of a certificate in DER as SubjectPublicKeyInfo in DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
