"""X.509: is this chain good, and does the certificate belong to this identity (RFC 4945, RFC 7296 sections 3.6, 3.7).

The chain is built and checked by `cryptography`, with the rules of RFC 5280 for authorities and those of RFC 4945 for
the leaf, at a time that the caller names. Nothing is fetched: no revocation list, no certificate by URL. `cryptography`
bounds its own work (signatures checked per chain) and refuses authorities with Ed25519, Ed448 or small RSA keys.

Only this module imports `cryptography.x509`, and only those import this module who need certificates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeVar

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from ..errors import AuthenticationFailed, LocalProtocolError
from ..wire.numbers import IdType
from .chain_reasons import BAD_INPUT, OWN_WORDS, is_authority, name_of, out_of_date, reason, subject_of
from .identity import Identity
from .names import elements, parse_name, same_name
from .public_keys import PublicKey, check_public_key

__all__ = [
    "MAX_CERTIFICATES",
    "MAX_DEPTH",
    "OwnValidity",
    "TrustStore",
    "ValidatedPeer",
    "authority_hash",
    "issuer_name",
    "own_validity",
    "subject_name",
    "validate_chain",
]

MAX_DEPTH: Final = 8
"""Certificates between the leaf and the anchor."""
MAX_CERTIFICATES: Final = 64
"""Certificates, beside the leaf, that a chain is looked for in."""
MOST_KEPT: Final = 256
"""Chains found good that a `TrustStore` remembers, and issuers: none that came with more than LARGEST_KEPT octets."""
LARGEST_KEPT = 16_384
MOST_ISSUERS: Final = 4
"""Issuers that are known among the same certificates: one after the other is tried."""
_LARGEST: Final = 32_768
"""Octets of one certificate: four times one with ML-DSA-87."""

_USABLE: Final = frozenset(
    {
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.17"),  # ipsecIKE
        x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2"),  # iKEIntermediate, of old implementations
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
)
_NAME_TAGS: Final = {0x81: IdType.ID_RFC822_ADDR, 0x82: IdType.ID_FQDN, 0xA4: IdType.ID_DER_ASN1_DN}
_ADDRESS_TAG: Final = 0x87
"""Tags of GeneralName (RFC 5280 section 4.2.1.6) whose contents are the data of an identity."""
V = TypeVar("V")
_BAD_INPUT: Final = (*BAD_INPUT, VerificationError)


@attrs.frozen
class ValidatedPeer:
    """A certificate whose chain is good: the key that has to verify AUTH, and the chain, leaf and anchor included.

    *names* are those of its subjectAltName. *given* is what the chain was found in, in DER, the leaf first.
    """

    public_key: PublicKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    names: tuple[x509.GeneralName, ...] = ()
    given: tuple[bytes, ...] = attrs.field(default=(), eq=False, repr=False)

    def is_named(self, identity: Identity) -> bool:
        """Tell whether the certificate names *identity* (RFC 4945 section 3.1).

        Names and addresses are looked for in subjectAltName only, distinguished names in the subject only, a general
        name where the kind of name in it belongs. A wildcard in a certificate stands for itself. A key ID has to be the
        certificate's subjectKeyIdentifier: RFC 7296 section 4 wants key IDs with certificates, no RFC says how.
        """
        return _names_match(identity, self.certificate, self.names)


@attrs.frozen
class _Issuer:
    """An authority that issued a peer's leaf: *chain* is its own, up to the anchor, all in date from *begin* to *end*.

    *policy* has it for the anchor; None where a search might find another chain for another leaf.
    """

    chain: tuple[x509.Certificate, ...]
    begin: datetime
    end: datetime
    policy: PolicyBuilder | None

    def validate(self, leaf: x509.Certificate, at: datetime) -> ValidatedPeer | None:
        """Verify a *leaf* of this issuer as the verifier does at the lower end of any chain. None where that fails."""
        if self.policy is None or leaf == self.chain[0]:  # which would be an anchor here
            return None
        key = _key_of(leaf)
        try:
            verified = self.policy.time(at).build_client_verifier().verify(leaf, [])
        except _BAD_INPUT:
            return None
        return ValidatedPeer(key, leaf, (leaf, *self.chain), tuple(verified.subjects or ()))


class TrustStore:
    """The certificates that a chain may end in. Raises LocalProtocolError without any."""

    def __init__(self, anchors: Sequence[x509.Certificate]) -> None:
        if not anchors:
            raise LocalProtocolError("anchors: at least one certificate has to be trusted")
        self.anchors = tuple(anchors)
        self._policy = _policy(anchors)
        self._good: dict[tuple[bytes, ...], tuple[ValidatedPeer, datetime, datetime]] = {}
        """What was found good, by the certificates in DER, and from when until when it stays so."""
        self._issuers: dict[tuple[bytes, ...], tuple[_Issuer, ...]] = {}
        """Who issued leaves of good chains, by the other certificates that were at hand, in DER."""

    @classmethod
    def load(cls, ders: Iterable[bytes]) -> TrustStore:
        """Make a store of certificates in DER. Raises LocalProtocolError for what is none."""
        return cls([_own(der) for der in ders])

    def verifier(self, at: datetime) -> ClientVerifier:
        """Return what verifies chains as they were good at the time *at*."""
        return self._policy.time(at).build_client_verifier()

    def validate(self, leaf_der: bytes, intermediates_der: Iterable[bytes], *, at: datetime) -> ValidatedPeer:
        """Find a chain to one of these anchors; see `validate_chain`.

        A peer that comes again with the same certificates is spared it while every one of its chain is in date: nothing
        else of what is checked changes with time. A new peer with the authorities of another, which most peers have, is
        spared what does not depend on its own certificate. Both have to be known by `remember`. Whether one was revoked
        is for whoever has the lists.
        """
        given = (leaf_der, *intermediates_der)
        moment = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        known = self._good.get(given)
        if known is not None and known[1] <= moment <= known[2]:
            return known[0]
        return attrs.evolve(self._search(leaf_der, given[1:], moment), given=given)

    def remember(self, peer: ValidatedPeer, *, at: datetime) -> None:
        """Know *peer*, and who issued its certificate, from now on.

        Only for one that has proved to have its key: certificates are public, and whoever sends those of others with
        ever other ones beside them must not make us forget.
        """
        given, others = peer.given, peer.given[1:]
        known = self._good.get(given)
        if (known is not None and known[0] is peer) or not 0 < sum(map(len, given)) <= LARGEST_KEPT:
            return
        _keep(self._good, given, (peer, *_in_date(peer.chain)))
        moment = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        issuers = self._issuers_of(others, moment)
        new = len(peer.chain) > 2 and peer.chain[1] not in [each.chain[0] for each in issuers]
        if new and len(issuers) < MOST_ISSUERS:
            _keep(self._issuers, others, (*issuers, self._issuer_of(peer, others)))

    def _search(self, leaf_der: bytes, others: tuple[bytes, ...], at: datetime) -> ValidatedPeer:
        """Find a chain: by a known issuer, else, or where that comes to nothing, by a search."""
        leaf = _of_peer(leaf_der)
        if leaf not in self.anchors:
            for each in self._issuers_of(others, at):
                peer = each.validate(leaf, at)
                if peer is not None:
                    return peer
        return _find_chain(leaf, others, self, at)

    def _issuers_of(self, others: tuple[bytes, ...], at: datetime) -> list[_Issuer]:
        """Return who is known to have issued leaves among *others*, and is in date."""
        return [each for each in self._issuers.get(others, ()) if each.begin <= at <= each.end]

    def _issuer_of(self, peer: ValidatedPeer, others: Iterable[bytes]) -> _Issuer:
        """Return who issued a leaf, for leaves to come.

        A search finds the same chain for all of them where no other certificate at hand has the issuer's name and no
        authority of the chain constrains names: no other rule for authorities looks at the leaf, and how deep in the
        chain they are is the same for all leaves.
        """
        chain = peer.chain[1:]
        name = name_of(chain[0], "subject")
        at_hand = [each for der in dict.fromkeys(others) if (each := _maybe(der)) is not None]
        names = [*self._names, *(name_of(each, "subject") for each in at_hand)]
        steady = name is not None and names.count(name) == 1 and not any(map(_constrains_names, chain))
        return _Issuer(chain, *_in_date(chain), _policy(chain[:1]) if steady else None)

    @cached_property
    def _names(self) -> tuple[bytes | None, ...]:
        """The anchors' names."""
        return tuple([name_of(each, "subject") for each in self.anchors])


def _policy(anchors: Sequence[x509.Certificate]) -> PolicyBuilder:
    policy = PolicyBuilder().store(Store(list(anchors))).max_chain_depth(MAX_DEPTH)
    return policy.extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)


def _in_date(chain: Sequence[x509.Certificate]) -> tuple[datetime, datetime]:
    """Return from when until when all of *chain* is in date."""
    return max(each.not_valid_before_utc for each in chain), min(each.not_valid_after_utc for each in chain)


def _keep(table: dict[tuple[bytes, ...], V], key: tuple[bytes, ...], value: V) -> None:
    if len(table) >= MOST_KEPT:
        table.clear()
    table[key] = value


def _constrains_names(authority: x509.Certificate) -> bool:
    """Tell whether it does, or may: extensions that cannot be read may say anything."""
    try:
        authority.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    except _BAD_INPUT:
        pass
    return True


def validate_chain(
    leaf_der: bytes, intermediates_der: Iterable[bytes], anchors: TrustStore, *, at: datetime
) -> ValidatedPeer:
    """Find a chain from a peer's certificate to one of *anchors* that is good at the time *at* (UTC where it is naive).

    *intermediates_der* may hold anything, in any order: what is no certificate is passed over. A self-signed leaf is
    good if it is an anchor itself. Raises AuthenticationFailed with the reason.
    """
    return _find_chain(_of_peer(leaf_der), intermediates_der, anchors, at)


def _find_chain(
    leaf: x509.Certificate, intermediates_der: Iterable[bytes], anchors: TrustStore, at: datetime
) -> ValidatedPeer:
    others = list(dict.fromkeys(intermediates_der))
    if len(others) > MAX_CERTIFICATES:
        raise AuthenticationFailed(f"{len(others)} certificates to make a chain of; the most is {MAX_CERTIFICATES}")
    usable = [certificate for der in others if (certificate := _maybe(der)) is not None]
    key = _key_of(leaf)
    try:
        verified = anchors.verifier(at).verify(leaf, _vouched_for(usable, anchors.anchors))
    except _BAD_INPUT as error:
        raise AuthenticationFailed(reason(str(error), leaf, usable, anchors.anchors, at)) from None
    return ValidatedPeer(key, leaf, tuple(verified.chain), tuple(verified.subjects or ()))


def _vouched_for(
    certificates: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """Return the authorities among *certificates* that one of *anchors* issued, or one that was found like that.

    The verifier goes upwards from the leaf, through whatever bears the right name, up to a hundred signatures. A
    stranger can make authorities that issue one another in every way and lead nowhere, with the slowest of keys. From
    the anchors downwards each signature is by a key that is trusted, and what is not found is no way to them.
    """
    left = [(name_of(each, "issuer"), each) for each in certificates if is_authority(each)]
    above, found = [*anchors], set()
    while left and above:
        issuer = above.pop()
        name = name_of(issuer, "subject")
        for entry in [each for each in left if each[0] == name]:
            if _has_issued(issuer, entry[1]):
                left.remove(entry)
                above.append(entry[1])
                found.add(entry[1])
    return [each for each in certificates if each in found]


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_BAD_INPUT):
        return False
    return True


def _names_match(identity: Identity, certificate: x509.Certificate, names: Iterable[x509.GeneralName]) -> bool:
    identity = _plain(identity)
    kind, data = identity.id_type, identity.data
    if kind == IdType.ID_KEY_ID:
        return data == _key_identifier(certificate)
    if kind == IdType.ID_DER_ASN1_DN:
        try:
            return bool(parse_name(data)) and same_name(data, certificate.subject.public_bytes())
        except _BAD_INPUT:
            return False
    if kind == IdType.ID_FQDN:
        return data.lower() in [each.value.lower().encode() for each in names if isinstance(each, x509.DNSName)]
    if kind == IdType.ID_RFC822_ADDR:
        return _mail(data) in [_mail(each.value.encode()) for each in names if isinstance(each, x509.RFC822Name)]
    if kind in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
        found = [each.value for each in names if isinstance(each, x509.IPAddress)]
        return data in [each.packed for each in found if isinstance(each, IPv4Address | IPv6Address)]
    return False


def _plain(identity: Identity) -> Identity:
    """Return what a GeneralName of X.509 names, as an identity of its own kind; any other identity as it is."""
    if identity.id_type != IdType.ID_DER_ASN1_GN:
        return identity
    try:
        ((tag, begin, end),) = elements(identity.data, 0, len(identity.data))
    except ValueError:
        return identity
    if tag == _ADDRESS_TAG:
        kind: int | None = {4: IdType.ID_IPV4_ADDR, 16: IdType.ID_IPV6_ADDR}.get(end - begin)
    else:
        kind = _NAME_TAGS.get(tag)
    return identity if kind is None else Identity(kind, identity.data[begin:end])


def _key_identifier(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, *_BAD_INPUT):
        return None


@attrs.frozen
class OwnValidity:
    """When a certificate of ours is good, from *begin* to *end*."""

    subject: str
    begin: datetime
    end: datetime

    def problem(self, at: datetime) -> str | None:
        """Say what a peer will hold against it at the time *at*: that it is out of date. None if nothing."""
        dates = out_of_date(self.begin, self.end, at)
        return None if dates is None else f"our certificate {self.subject} {dates}"


def own_validity(der: bytes) -> OwnValidity:
    """Read the dates of a certificate of ours. Raises LocalProtocolError for *der* that is none."""
    certificate = _own(der)
    return OwnValidity(subject_of(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def issuer_name(der: bytes) -> bytes:
    """Return the name of the issuer of a certificate of ours, as DER. Raises LocalProtocolError for what is none."""
    return _name_of(_own(der), "issuer")


def subject_name(der: bytes) -> bytes:
    """Return the subject of a certificate of ours, as DER. Raises LocalProtocolError for what is none."""
    return _name_of(_own(der), "subject")


def authority_hash(der: bytes) -> bytes:
    """Return the 20 octets that stand for an authority in CERTREQ: SHA-1 of its key (RFC 7296 section 3.7).

    Raises LocalProtocolError for *der* that is no certificate.
    """
    try:
        key = _own(der).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _BAD_INPUT as error:
        raise LocalProtocolError(f"an authority with an unusable key: {error}") from None
    return hashlib.sha1(key, usedforsecurity=False).digest()


# --- the rules --------------------------------------------------------------------------------------------------------


def _check_leaf_usage(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    """If there is a key usage, it has to allow signatures (RFC 4945 section 5.1.3.2)."""
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise ValueError(OWN_WORDS[0])


def _check_authority_usage(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(OWN_WORDS[1])


def _check_extended_usage(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    """If there is an extended key usage, one that fits IKE has to be in it (RFC 4945 section 5.1.3.12)."""
    if usage is not None and _USABLE.isdisjoint(usage):
        raise ValueError(OWN_WORDS[2])


def _check_constraints(policy: Policy, certificate: x509.Certificate, names: x509.NameConstraints | None) -> None:
    """Refuse constraints on subjects: `cryptography` checks those on alternative names, and only those."""
    if names is not None:
        for subtree in (*(names.permitted_subtrees or ()), *(names.excluded_subtrees or ())):
            if isinstance(subtree, x509.DirectoryName):
                raise ValueError(OWN_WORDS[3])


_CA_POLICY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_authority_usage)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_extended_usage)
    .may_be_present(x509.NameConstraints, Criticality.AGNOSTIC, _check_constraints)
)
_LEAF_POLICY: Final = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_leaf_usage)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_extended_usage)
)


# --- one certificate --------------------------------------------------------------------------------------------------


def _own(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except _BAD_INPUT as error:
        raise LocalProtocolError(f"not a certificate in DER: {error}") from None


def _name_of(certificate: x509.Certificate, which: str) -> bytes:
    try:
        name: x509.Name = getattr(certificate, which)
        return name.public_bytes()
    except _BAD_INPUT as error:
        raise LocalProtocolError(f"a certificate whose {which} cannot be read: {error}") from None


def _key_of(certificate: x509.Certificate) -> PublicKey:
    try:
        return check_public_key(certificate.public_key())
    except _BAD_INPUT:
        raise AuthenticationFailed(f"the key of {subject_of(certificate)} is of no kind that is known") from None


def _of_peer(der: bytes) -> x509.Certificate:
    certificate = _maybe(der)
    if certificate is None:
        raise AuthenticationFailed("the peer's first certificate is none, or too large")
    return certificate


def _maybe(der: bytes) -> x509.Certificate | None:
    if len(der) > _LARGEST:
        return None
    try:
        return x509.load_der_x509_certificate(der)
    except _BAD_INPUT:
        return None


def _mail(address: bytes) -> tuple[bytes, bytes]:
    """Split an address: case means something before the "@" and nothing after it (RFC 5280 section 7.5)."""
    local, _, host = address.rpartition(b"@")
    return local, host.lower()
