"""Proving who we are: which of our credentials, CERT payloads, and AUTH (RFC 7296 sections 2.15, 3.6 to 3.8, RFC 7427).

X.509 is imported when there is something to choose or to look at: a PSK client never loads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from ..config import Connection
from ..credentials import CertificateCredential, PskCredential, PskTable, Secret, Signer, TrustedCertificates
from ..crypto import (
    Identity,
    Scheme,
    choose_scheme,
    pad_secret,
    psk_auth,
    reference_to,
    sign_with,
    signed_octets,
    subject_public_key_info,
    verify,
)
from ..errors import AuthenticationFailed, LocalProtocolError
from ..events import OwnCertificateOutOfDate
from ..outputs import Address
from ..questions import SecretNeeded, SignatureNeeded
from ..record import record
from ..wire import Authentication, Certificate, CertificateRequest, Notification, Payload
from ..wire.numbers import AuthMethod, CertEncoding, HashAlgorithm, Notify, name_of
from .asking import Ask, Steps
from .auth_context import AuthContext
from .ike_sa import IkeSa
from .keys import SaKeys

if TYPE_CHECKING:
    from ..crypto.certificates import OwnValidity

__all__ = [
    "MOST_ASKED_FOR",
    "Proof",
    "certificate_requests",
    "check_can_prove",
    "choose_signer",
    "prove",
    "padded_secret",
]

MOST_ASKED_FOR = 16
"""Authorities named to a stranger, 20 octets each: the answer to IKE_SA_INIT must not grow with the configuration."""
_HIGHEST = 8
"""Authorities above a chain that are looked for, as many as a chain may have."""


@record
class Proof:
    """What IKE_AUTH says of us beside our identity: CERT payloads, the leaf first, and AUTH."""

    certificates: tuple[Payload, ...]
    auth: Authentication


def prove(
    sa: IkeSa, keys: SaKeys, context: AuthContext, id_body: bytes, peer: Identity | None, remote: Address
) -> Steps[Proof]:
    """Prove our identity over our IKE_SA_INIT message and the peer's nonce. *peer* is whom we talk to, where we know.

    Raises LocalProtocolError where we cannot, AuthenticationFailed where the peer could not verify it.
    """
    initiator = keys.role == "initiator"
    octets = signed_octets(
        context.ours,
        keys.nr if initiator else keys.ni,
        keys.suite.prf,
        keys.sk_p(initiator=initiator),
        id_body,
    )
    credential = sa.connection.local
    if isinstance(credential, Secret):
        secret = yield from padded_secret(sa, keys, context, credential, peer, remote, claimed=False)
        if secret is None:
            raise LocalProtocolError(f"there is no pre-shared key for {peer or 'the peer'}")
        mac = psk_auth(keys.suite.prf, secret, octets)
        return Proof((), Authentication(AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE, mac))
    signer, scheme = choose_signer(sa.connection, context)
    _tell_dates(sa, signer)
    data = yield from _signed(sa, signer, scheme, octets)
    return Proof(_certificates(sa.connection, signer, context), Authentication(scheme.method, data))


# --- secrets ----------------------------------------------------------------------------------------------------------


def padded_secret(
    sa: IkeSa,
    keys: SaKeys,
    context: AuthContext,
    credential: Secret,
    peer: Identity | None,
    remote: Address,
    *,
    claimed: bool,
) -> Steps[bytes | None]:
    """Find the pre-shared key of *peer* and pad it (`pad_secret`), None if there is none.

    *claimed*: the peer has proved nothing yet.
    """
    if isinstance(credential, PskCredential):
        return credential.padded(keys.suite.prf)
    if isinstance(credential, PskTable):
        secret = credential.secret_for(peer)
    else:
        secret = yield from _secret_asked(sa, context, peer, remote, claimed=claimed)
    return None if secret is None else pad_secret(keys.suite.prf, secret)


def _secret_asked(
    sa: IkeSa, context: AuthContext, peer: Identity | None, remote: Address, *, claimed: bool
) -> Steps[bytes | None]:
    """Ask the application for the pre-shared key of *peer*, once in an exchange."""
    connection = sa.connection
    if context.secret is not None and context.secret[:2] == (connection.name, peer):
        return context.secret[2] or None
    ours, theirs = str(connection.local_identity), "" if peer is None else str(peer)
    secret: bytes = yield Ask(
        lambda question, deadline: SecretNeeded(
            question, sa.id, deadline, connection.name, ours, theirs, claimed, remote
        ),
        bytes,
        b"",
        early=claimed,
    )
    context.secret = (connection.name, peer, secret)
    return secret or None


# --- signatures -------------------------------------------------------------------------------------------------------


def check_can_prove(connection: Connection, peer_hashes: frozenset[int] | None) -> None:
    """Raise AuthenticationFailed if the peer, by its IKE_SA_INIT message, could verify no signature of ours."""
    if not isinstance(connection.local, Secret):
        _usable(connection, peer_hashes)


def choose_signer(connection: Connection, context: AuthContext) -> tuple[Signer, Scheme]:
    """Choose a key of ours that the peer can verify, if possible one whose chain answers its CERTREQ.

    CERTREQ is a hint (RFC 7296 section 3.7): where nothing fits, it is the first. Raises AuthenticationFailed.
    """
    usable = _usable(connection, context.peer_hashes)
    if len(usable) > 1 and context.authorities:
        wanted = frozenset(context.authorities)
        trusted = connection.remote
        known = (*trusted.anchors, *trusted.intermediates) if isinstance(trusted, TrustedCertificates) else ()
        for signer, scheme in usable:
            if not wanted.isdisjoint(_authorities(signer.chain, (*signer.authorities, *known))):
                return signer, scheme
    return usable[0]


def _usable(connection: Connection, peer_hashes: frozenset[int] | None) -> list[tuple[Signer, Scheme]]:
    found: list[tuple[Signer, Scheme]] = []
    problem: AuthenticationFailed | None = None
    for each in connection.local_credentials:
        if isinstance(each, Secret):
            continue
        try:
            found.append((each, choose_scheme(each.public_key, peer_hashes=peer_hashes)))
        except AuthenticationFailed as error:
            problem = problem or error
    if not found:
        raise problem or AuthenticationFailed("no key of ours signs")
    return found


@lru_cache(maxsize=256)
def _authorities(chain: tuple[bytes, ...], above: tuple[bytes, ...]) -> frozenset[bytes]:
    """Return the hashes of all authorities that *chain* goes back to: in it, and by name in *above*."""
    from ..crypto import certificates

    found = [*chain]
    by_name = {certificates.subject_name(der): der for der in above}
    while found and len(found) < len(chain) + _HIGHEST:
        issuer = by_name.pop(certificates.issuer_name(found[-1]), None)
        if issuer is None:
            break
        found.append(issuer)
    return frozenset(certificates.authority_hash(der) for der in found)


def _signed(sa: IkeSa, signer: Signer, scheme: Scheme, octets: bytes) -> Steps[bytes]:
    """Return the data of AUTH; a key that is elsewhere is asked for its signature, which is then verified here."""
    public_key = signer.public_key
    if isinstance(signer, CertificateCredential):
        return scheme.payload(sign_with(signer.key, scheme, octets), public_key)
    signature: bytes = yield Ask(
        lambda question, deadline: SignatureNeeded(
            question,
            sa.id,
            deadline,
            sa.connection.name,
            scheme.kind,
            name_of(HashAlgorithm, scheme.hash),
            subject_public_key_info(public_key),
            octets,
        ),
        bytes,
        b"",
    )
    if not signature:
        raise LocalProtocolError("the application did not sign")
    data = scheme.payload(signature, public_key)
    try:
        verify(public_key, scheme.method, data, octets)
    except AuthenticationFailed as error:
        raise LocalProtocolError(f"the application's signature is no good: {error}") from None
    return data


def _tell_dates(sa: IkeSa, signer: Signer) -> None:
    """Tell where our own certificate is out of date: the peer only says that authentication failed."""
    if not signer.chain:
        return
    problem = _validity(signer.chain[0]).problem(sa.services.utc())
    if problem is not None:
        sa.services.emit(OwnCertificateOutOfDate(sa.id, sa.connection.name, problem))


@lru_cache(maxsize=256)
def _validity(der: bytes) -> OwnValidity:
    """Read our own certificate once: its dates are looked at in every handshake."""
    from ..crypto import certificates

    return certificates.own_validity(der)


# --- certificates -----------------------------------------------------------------------------------------------------


def _certificates(connection: Connection, signer: Signer, context: AuthContext) -> tuple[Payload, ...]:
    """Return CERT payloads as configured and as asked for; by hash and URL where the peer can look them up."""
    send = connection.send_certificates
    if send == "never" or (send == "asked" and context.authorities is None):
        return ()
    urls = signer.urls if context.lookup else ()
    if not urls:
        return _payloads(signer.chain)
    referred = [
        Certificate(CertEncoding.HASH_AND_URL_X509, reference_to(der, url))
        for der, url in zip(signer.chain, urls, strict=False)
    ]
    return (*referred, *_payloads(signer.chain[len(urls) :]))


@lru_cache(maxsize=256)
def _payloads(chain: tuple[bytes, ...]) -> tuple[Certificate, ...]:
    return tuple([Certificate(CertEncoding.X509_SIGNATURE, der) for der in chain])


def certificate_requests(connections: Iterable[Connection], most: int | None = None) -> list[Payload]:
    """Ask for certificates that any of *connections* could check: CERTREQ with at most *most* authorities in order.

    Nothing where none of them checks certificates. The notification says that those by hash and URL are welcome.
    """
    hashes: dict[bytes, None] = {}
    asked = lookup = False
    for each in connections:
        if isinstance(each.remote, TrustedCertificates):
            asked, lookup = True, lookup or each.hash_and_url
            if most is None or len(hashes) < most:
                hashes.update(dict.fromkeys(each.remote.hashes))
    if not asked:
        return []
    data = b"".join(list(hashes)[:most])
    payloads: list[Payload] = [CertificateRequest(CertEncoding.X509_SIGNATURE, data)]
    return [*payloads, Notification(Notify.HTTP_CERT_LOOKUP_SUPPORTED)] if lookup else payloads
