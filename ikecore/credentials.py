"""What proves an identity: ours to the peer, and the peer's to us. Frozen, and checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import attrs

from .checking import check_types, several
from .crypto import Identity, PrivateKey, PublicKey, load_public_key, pad_secret, reference_to
from .errors import LocalProtocolError
from .wire.numbers import IdType

__all__ = [
    "CertificateCredential",
    "ExternalKey",
    "LocalCredential",
    "PinnedKeys",
    "PskCredential",
    "PskTable",
    "PskWanted",
    "RemoteCredential",
    "Revocation",
    "Secret",
    "Signer",
    "TrustedCertificates",
]

LARGEST_CHAIN = 60_000
"""Octets: an Encrypted payload ends at 65,535, and other payloads stand beside the certificates."""
MOST_LISTS = 64
"""Revocation lists of one credential: each is looked at for each certificate."""
Revocation: TypeAlias = Literal["ignore", "if-known", "if-uri", "required", "ask"]
_TEXTS = (IdType.ID_FQDN, IdType.ID_RFC822_ADDR)


def _ders(items: Iterable[bytes]) -> tuple[bytes, ...]:
    return several(items)


def _texts(items: Iterable[str]) -> tuple[str, ...]:
    return several(items)


# --- secrets that both sides know -------------------------------------------------------------------------------------


@attrs.frozen
class PskCredential:
    """A pre-shared key: octets as they are, no terminator added (RFC 7296 section 2.15)."""

    secret: bytes = attrs.field(repr=False)
    _padded: dict[int, bytes] = attrs.field(init=False, repr=False, eq=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        check_types(self)
        if not self.secret:
            raise LocalProtocolError("secret: a pre-shared key has at least one octet")

    def padded(self, prf_alg: int) -> bytes:
        """Return what a PRF of ours makes of the key, the same for every peer: see `pad_secret`."""
        found = self._padded.get(prf_alg)
        if found is None:
            found = self._padded[prf_alg] = pad_secret(prf_alg, self.secret)
        return found


def _pairs(items: Mapping[Identity, bytes] | Iterable[tuple[Identity, bytes]]) -> tuple[tuple[Identity, bytes], ...]:
    return several(items.items() if isinstance(items, Mapping) else items)


@attrs.frozen
class PskTable:
    """A pre-shared key for each peer, by its identity or a pattern of identities: the narrowest that fits counts.

    *others* is the key of everybody else. Without it an identity that has none is refused exactly like a wrong key.
    """

    secrets: tuple[tuple[Identity, bytes], ...] = attrs.field(converter=_pairs, repr=False)
    others: bytes | None = attrs.field(default=None, repr=False)
    _exact: dict[tuple[int, bytes], bytes] = attrs.field(init=False, repr=False, eq=False, factory=dict)
    _patterns: list[tuple[Identity, bytes]] = attrs.field(init=False, repr=False, eq=False, factory=list)

    def __attrs_post_init__(self) -> None:
        check_types(self)
        if not self.secrets:
            raise LocalProtocolError("secrets: at least one pre-shared key is needed")
        if self.others == b"":
            raise LocalProtocolError("others: an empty key; allowed is at least one octet")
        for identity, secret in self.secrets:
            if not secret:
                raise LocalProtocolError(
                    f"secrets: that of {identity} is empty; a pre-shared key has at least one octet"
                )
            if identity.is_pattern or identity.id_type == IdType.ID_DER_ASN1_DN:
                self._patterns.append((identity, secret))
            else:
                self._exact.setdefault(_key(identity), secret)
        self._patterns.sort(key=lambda pair: pair[0].width)

    def secret_for(self, peer: Identity | None) -> bytes | None:
        """Return the key shared with *peer*, None if there is none. Names are looked up, only patterns are tried."""
        if peer is None:
            return self.others
        exact = self._exact.get(_key(peer))
        if exact is not None:
            return exact
        return next((secret for pattern, secret in self._patterns if peer.matches(pattern)), self.others)


def _key(identity: Identity) -> tuple[int, bytes]:
    return int(identity.id_type), identity.data.lower() if identity.id_type in _TEXTS else identity.data


@attrs.frozen
class PskWanted:
    """A pre-shared key that the application has: it is asked for it each time (`SecretNeeded`).

    It has to be asked before the peer has proved anything, so the questions are bounded by
    `Limits.early_questions_per_second`. Without an answer authentication fails like with a wrong key.
    """


Secret: TypeAlias = PskCredential | PskTable | PskWanted


# --- keys that sign ---------------------------------------------------------------------------------------------------


@attrs.frozen
class CertificateCredential:
    """Our private key and its certificate chain, in DER, the leaf first. Anchors need not be in it.

    An empty *chain* means a raw key: the peer has it pinned, and no CERT payload is sent. *urls* are where the
    certificates of the chain can be fetched, in the same order: a peer that says that it can look them up gets hash and
    URL in place of the certificate. *authorities* are certificates above the chain, which are not sent: they tell which
    CERTREQ the chain answers, where it does not show in the chain or in what we trust ourselves.
    """

    chain: tuple[bytes, ...] = attrs.field(converter=_ders)
    key: PrivateKey = attrs.field(repr=False)
    urls: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    authorities: tuple[bytes, ...] = attrs.field(default=(), converter=_ders)
    public_key: PublicKey = attrs.field(init=False, repr=False, eq=False)
    """The key that the peer verifies with."""

    def __attrs_post_init__(self) -> None:
        check_types(self)
        _check_chain(self.chain, self.urls, self.authorities)
        object.__setattr__(self, "public_key", self.key.public_key())


@attrs.frozen
class ExternalKey:
    """A key that signs elsewhere, in hardware or another process: the application is asked to (`SignatureNeeded`).

    *public* is its public half as SubjectPublicKeyInfo, DER or PEM. The rest is as in `CertificateCredential`.
    """

    chain: tuple[bytes, ...] = attrs.field(converter=_ders)
    public: bytes
    urls: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    authorities: tuple[bytes, ...] = attrs.field(default=(), converter=_ders)
    _public_key: PublicKey = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_types(self)
        _check_chain(self.chain, self.urls, self.authorities)
        try:
            object.__setattr__(self, "_public_key", load_public_key(self.public))
        except LocalProtocolError as error:
            raise LocalProtocolError(f"public: {error}") from None

    @property
    def public_key(self) -> PublicKey:
        """The key that the peer verifies with."""
        return self._public_key


def _check_chain(chain: tuple[bytes, ...], urls: tuple[str, ...], authorities: tuple[bytes, ...]) -> None:
    octets = sum(map(len, chain))
    if octets > LARGEST_CHAIN:
        raise LocalProtocolError(
            f"chain: {octets} octets of certificates do not fit one message; allowed are {LARGEST_CHAIN}"
        )
    if len(urls) > len(chain):
        raise LocalProtocolError(f"urls: {len(urls)} for a chain of {len(chain)}; allowed is one per certificate")
    for url in urls:
        reference_to(b"", url)
    _check_certificates("chain", chain)
    _check_certificates("authorities", authorities)


Signer: TypeAlias = CertificateCredential | ExternalKey
LocalCredential: TypeAlias = Secret | Signer


# --- what the peer proves itself with ---------------------------------------------------------------------------------


@attrs.frozen
class TrustedCertificates:
    """The peer proves itself with a chain to one of *anchors*; *intermediates* helps peers that send none. All DER.

    *crls* are revocation lists in DER, which count beside those that the peer sends; fresh ones need a fresh
    configuration. A certificate that a list revokes is never accepted, unless *revocation* is "ignore". It says what
    happens where no list tells anything about a certificate of the chain:

    - "if-known": it is accepted (the default)
    - "if-uri": it is accepted unless it says itself where its status could be had
    - "required": authentication fails
    - "ask": the application is asked (`RevocationNeeded`); without an answer authentication fails
    """

    anchors: tuple[bytes, ...] = attrs.field(converter=_ders)
    intermediates: tuple[bytes, ...] = attrs.field(default=(), converter=_ders)
    crls: tuple[bytes, ...] = attrs.field(default=(), converter=_ders, repr=False)
    revocation: Revocation = "if-known"
    hashes: tuple[bytes, ...] = attrs.field(init=False, repr=False, eq=False)
    """How CERTREQ names the anchors (RFC 7296 section 3.7)."""

    def __attrs_post_init__(self) -> None:
        check_types(self)
        if not self.anchors:
            raise LocalProtocolError("anchors: without a trusted certificate nobody can prove anything")
        object.__setattr__(self, "hashes", _check_certificates("anchors", self.anchors))
        if len(self.crls) > MOST_LISTS:
            raise LocalProtocolError(f"crls: {len(self.crls)} lists; the most is {MOST_LISTS}")
        if self.crls:
            from .crypto.revocation import RevocationList

            for number, der in enumerate(self.crls, 1):
                try:
                    RevocationList.load(der)
                except LocalProtocolError as error:
                    raise LocalProtocolError(f"crls: number {number} is {error}") from None


def _check_certificates(field: str, ders: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return how CERTREQ names each authority. Raises LocalProtocolError with the field and the number."""
    if not ders:
        return ()
    from .crypto.certificates import authority_hash

    hashes = []
    for number, der in enumerate(ders, 1):
        try:
            hashes.append(authority_hash(der))
        except LocalProtocolError as error:
            raise LocalProtocolError(f"{field}: number {number} is {error}") from None
    return tuple(dict.fromkeys(hashes))


@attrs.frozen
class PinnedKeys:
    """The peer proves itself with one of these keys: SubjectPublicKeyInfo in DER.

    No chain, dates or names are looked at.
    """

    keys: tuple[bytes, ...] = attrs.field(converter=_ders)

    def __attrs_post_init__(self) -> None:
        check_types(self)
        if not self.keys:
            raise LocalProtocolError("keys: without a pinned key nobody can prove anything")
        for number, key in enumerate(self.keys, 1):
            try:
                load_public_key(key)
            except LocalProtocolError as error:
                raise LocalProtocolError(f"keys: number {number} is {error}") from None


RemoteCredential: TypeAlias = Secret | TrustedCertificates | PinnedKeys
