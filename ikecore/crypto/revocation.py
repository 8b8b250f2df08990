"""Revocation lists: is a certificate of the chain revoked, is it known not to be, or does nothing here tell (RFC 5280).

Nothing is fetched. A list counts if the certificate's own issuer signed it and is allowed to, if it is for this kind of
certificate, and if it is not from the future. Delta lists, indirect ones, those for some reasons only and those with an
unknown critical extension are passed over, as if they were not there. Of several, the latest decides. A list that is
out of date still revokes, but vouches for nobody.

Only `certificates` and this module import `cryptography.x509`, and only who needs certificates imports them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, TypeVar

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID

from ..errors import AuthenticationFailed, LocalProtocolError
from .chain_reasons import BAD_INPUT, subject_of

__all__ = ["LARGEST_LIST", "RevocationList", "Unvouched", "check_revocation"]

LARGEST_LIST: Final = 16 * 1024 * 1024
"""Octets of a configured list: some 400,000 entries. What a peer sends is bounded by its message."""
E = TypeVar("E", bound=x509.ExtensionType)

_MOST_URLS: Final = 8
"""Addresses of one certificate that are told: more help nobody."""
_UNDERSTOOD: Final = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.AUTHORITY_KEY_IDENTIFIER})


@attrs.frozen
class Unvouched:
    """A certificate of a good chain of which no list here tells whether it is revoked: octets in DER.

    *distribution_points* and *ocsp* are the addresses in the certificate where an answer may be had; they come out of
    a certificate that an authority signed, but have not been looked at otherwise.
    """

    certificate: bytes = attrs.field(repr=False)
    issuer: bytes = attrs.field(repr=False)
    subject: str
    distribution_points: tuple[str, ...]
    ocsp: tuple[str, ...]

    @property
    def has_addresses(self) -> bool:
        return bool(self.distribution_points or self.ocsp)


class RevocationList:
    """One list, read. Whose it is and whether it is good is decided for each certificate anew."""

    def __init__(self, crl: x509.CertificateRevocationList) -> None:
        self._crl = crl
        self._vouched: tuple[bytes, bool] | None = None
        self.begins: datetime = crl.last_update_utc
        self.ends: datetime | None = crl.next_update_utc
        self.issuer: bytes = crl.issuer.public_bytes()
        self._scope = _scope(crl)

    @classmethod
    def load(cls, der: bytes) -> RevocationList:
        """Read a list in DER. Raises LocalProtocolError for what is none, or too large."""
        if len(der) > LARGEST_LIST:
            raise LocalProtocolError(f"a revocation list of {len(der)} octets; the most is {LARGEST_LIST}")
        try:
            return cls(x509.load_der_x509_crl(der))
        except BAD_INPUT as error:
            raise LocalProtocolError(f"not a certificate revocation list in DER: {error}") from None

    @classmethod
    def of_peer(cls, der: bytes) -> RevocationList | None:
        """Read what a peer sent; None where it makes no sense."""
        try:
            return cls.load(der)
        except LocalProtocolError:
            return None

    def covers(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        """Tell whether this list of *issuer*, correctly signed, is about *certificate*."""
        if self._scope is None or self.issuer != certificate.issuer.public_bytes():
            return False
        return _in_scope(certificate, self._scope) and self._signed_by(issuer)

    def lists(self, certificate: x509.Certificate) -> bool:
        """Tell whether *certificate*, which it `covers`, is revoked."""
        return self._crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

    def _signed_by(self, issuer: x509.Certificate) -> bool:
        """Verify the signature, once for each issuer in turn: a configured list is asked again and again."""
        key = issuer.public_key()
        known = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if self._vouched is None or self._vouched[0] != known:
            good = _may_sign_lists(issuer) and self._crl.is_signature_valid(key)  # type: ignore[arg-type]
            self._vouched = known, good
        return self._vouched[1]


@attrs.frozen
class _Scope:
    """Which certificates a list is for."""

    users: bool = True
    authorities: bool = True
    names: tuple[x509.GeneralName, ...] | None = None


def _scope(crl: x509.CertificateRevocationList) -> _Scope | None:
    """Return which certificates *crl* is for, None if it is of a kind that is passed over."""
    scope = _Scope()
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator) or (extension.critical and extension.oid not in _UNDERSTOOD):
            return None
        if isinstance(value, x509.IssuingDistributionPoint):
            if value.indirect_crl or value.only_some_reasons or value.only_contains_attribute_certs:
                return None
            if value.relative_name is not None:
                return None
            scope = _Scope(
                users=not value.only_contains_ca_certs,
                authorities=not value.only_contains_user_certs,
                names=None if value.full_name is None else tuple(value.full_name),
            )
    return scope


def _in_scope(certificate: x509.Certificate, scope: _Scope) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    authority = constraints is not None and constraints.ca
    if not (scope.authorities if authority else scope.users):
        return False
    if scope.names is None:
        return True
    points = _extension(certificate, x509.CRLDistributionPoints) or ()
    return any(name in scope.names for point in points for name in point.full_name or ())


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    usage = _extension(issuer, x509.KeyUsage)
    return usage is None or usage.crl_sign


def check_revocation(
    chain: Sequence[x509.Certificate], lists: Iterable[RevocationList], *, at: datetime
) -> tuple[Unvouched, ...]:
    """Look every certificate of a good *chain* up, from the leaf to the one below the anchor, at the time *at*.

    Returns those of which nothing is known. Raises AuthenticationFailed for one that is revoked.
    """
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    current = [each for each in lists if each.begins <= at]
    unvouched = []
    for certificate, issuer in pairwise(chain):
        try:
            if not _is_good(certificate, issuer, current, at):
                unvouched.append(_unvouched(certificate, issuer))
        except BAD_INPUT:
            raise AuthenticationFailed(f"{subject_of(certificate)} cannot be looked up in a revocation list") from None
    return tuple(unvouched)


def _is_good(
    certificate: x509.Certificate, issuer: x509.Certificate, lists: Iterable[RevocationList], at: datetime
) -> bool:
    """Tell whether a list vouches for *certificate*; raises AuthenticationFailed if it is revoked."""
    latest: RevocationList | None = None
    for each in lists:
        if (latest is None or each.begins > latest.begins) and each.covers(certificate, issuer):
            latest = each
    if latest is None:
        return False
    if latest.lists(certificate):
        raise AuthenticationFailed(f"{subject_of(certificate)} is revoked, says the list of {latest.begins:%Y-%m-%d}")
    return latest.ends is not None and at <= latest.ends


def _unvouched(certificate: x509.Certificate, issuer: x509.Certificate) -> Unvouched:
    points = [
        name.value
        for point in _extension(certificate, x509.CRLDistributionPoints) or ()
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    ocsp = [
        each.access_location.value
        for each in _extension(certificate, x509.AuthorityInformationAccess) or ()
        if each.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(each.access_location, x509.UniformResourceIdentifier)
    ]
    return Unvouched(
        certificate.public_bytes(Encoding.DER),
        issuer.public_bytes(Encoding.DER),
        subject_of(certificate),
        _usable(points),
        _usable(ocsp),
    )


def _usable(addresses: Iterable[str]) -> tuple[str, ...]:
    printable = [each for each in addresses if each.isascii() and each.isprintable()]
    return tuple(printable[:_MOST_URLS])


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
