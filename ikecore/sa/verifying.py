"""Checking who the peer is: AUTH, certificates and their revocation (RFC 7296 sections 2.15, 3.6, RFC 4945).

The reasons of a failure are for us only: the peer learns that authentication failed, and nothing more (RFC 7296 section
2.21.2). X.509 is imported when the first certificate is checked.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ..config import Connection
from ..credentials import PinnedKeys, Secret, TrustedCertificates
from ..crypto import (
    LARGEST_FETCHED,
    SUPPORTED_HASHES,
    Identity,
    check_psk,
    load_public_key,
    pad_secret,
    read_reference,
    signed_octets,
    take_fetched,
    verify,
)
from ..errors import AuthenticationFailed
from ..outputs import Address
from ..questions import AuthorizationNeeded, CertificateFetchNeeded, RevocationNeeded
from ..wire import Authentication, Certificate, Contents
from ..wire.numbers import AuthMethod, CertEncoding
from .asking import Ask, Steps
from .auth_context import AuthContext
from .ike_sa import IkeSa
from .keys import SaKeys
from .proving import padded_secret

if TYPE_CHECKING:
    from ..crypto.certificates import TrustStore, ValidatedPeer
    from ..crypto.revocation import RevocationList

__all__ = ["authorize", "can_check", "expected_auth_octets", "trust_store", "verify_peer"]

MOST_CERTIFICATES = 16
"""Certificates of one message that are looked at: leaf, eight of a chain, and some to spare."""
MOST_LISTS = 8
"""Revocation lists of one message that are looked at: one for each certificate below the anchor."""
MOST_FETCHED = 4
"""URLs of one message that the application is asked to fetch (RFC 7296 section 3.6 wants four certificates)."""
_BY_REFERENCE = (CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE)
_NOBODY = bytes(32)
"""Stands for the secret of who has none, so that looking one up and not finding it takes no less work."""


def can_check(connection: Connection, method: int) -> bool:
    """Tell whether the connection expects this kind of AUTH: a MAC with a pre-shared key, or a signature."""
    return isinstance(connection.remote, Secret) is (method == AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE)


def expected_auth_octets(connection: Connection) -> int:
    """Estimate the size of the peer's IKE_AUTH message: small with a PSK, a whole chain with certificates."""
    return connection.transports.certificate_response if isinstance(connection.remote, TrustedCertificates) else 400


def verify_peer(
    sa: IkeSa,
    keys: SaKeys,
    context: AuthContext,
    identity: Identity,
    id_body: bytes,
    contents: Contents,
    remote: Address,
) -> Steps[None]:
    """Verify the peer's AUTH, and that its proof belongs to *identity*. Raises AuthenticationFailed, saying why."""
    peer_initiated = keys.role == "responder"
    octets = signed_octets(
        context.theirs,
        keys.nr if peer_initiated else keys.ni,
        keys.suite.prf,
        keys.sk_p(initiator=peer_initiated),
        id_body,
    )
    auth, trusted = contents.one(Authentication), sa.connection.remote
    if isinstance(trusted, Secret):
        if auth.method != AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE:
            raise AuthenticationFailed(f"the peer authenticates by method {auth.method}, a secret is configured")
        secret = yield from padded_secret(sa, keys, context, trusted, identity, remote, claimed=True)
        _check_secret(keys, secret, auth, octets, identity)
    elif isinstance(trusted, PinnedKeys):
        _check_pinned(trusted, auth, octets)
    else:
        certificates, lists = yield from _sent(sa, contents, identity, remote)
        store, at = trust_store(trusted.anchors), sa.services.utc()
        peer = store.validate(certificates[0], (*certificates[1:], *trusted.intermediates), at=at)
        if not peer.is_named(identity):
            raise AuthenticationFailed(f"the certificate is not for {identity}")
        verify(peer.public_key, auth.method, auth.data, octets, hashes=SUPPORTED_HASHES)
        store.remember(peer, at=at)
        yield from _check_revocation(sa, trusted, peer, lists, identity)


def authorize(sa: IkeSa, identity: Identity, remote: Address) -> Steps[None]:
    """Ask the application whether a peer that has proved its identity is welcome, if the connection says so."""
    if not sa.connection.authorize:
        return
    welcome: bool = yield Ask(
        lambda question, deadline: AuthorizationNeeded(
            question, sa.id, deadline, sa.connection.name, str(identity), remote
        ),
        bool,
        False,
    )
    if not welcome:
        raise AuthenticationFailed("the application refused the peer")


# --- secrets and pinned keys ------------------------------------------------------------------------------------------


def _check_secret(keys: SaKeys, secret: bytes | None, auth: Authentication, octets: bytes, identity: Identity) -> None:
    try:
        padded = pad_secret(keys.suite.prf, _NOBODY) if secret is None else secret
        check_psk(keys.suite.prf, padded, octets, auth.data)
    except AuthenticationFailed:
        if secret is not None:
            raise
    if secret is None:
        raise AuthenticationFailed(f"there is no pre-shared key for {identity}")


def _check_pinned(remote: PinnedKeys, auth: Authentication, octets: bytes) -> None:
    for key in remote.keys:
        try:
            verify(_pinned(key), auth.method, auth.data, octets, hashes=SUPPORTED_HASHES)
        except AuthenticationFailed:
            continue
        return
    raise AuthenticationFailed("the signature is of none of the pinned keys")


_pinned = lru_cache(maxsize=256)(load_public_key)


# --- certificates -----------------------------------------------------------------------------------------------------


def _sent(
    sa: IkeSa, contents: Contents, identity: Identity, remote: Address
) -> Steps[tuple[tuple[bytes, ...], list[bytes]]]:
    """Return the certificates that the peer sent, the leaf first, and its revocation lists, all in DER.

    What it sent by hash and URL the application is asked for, if the connection says so, and passed over otherwise.
    """
    certificates: list[bytes] = []
    lists: list[bytes] = []
    fetched = 0
    for each in contents.all(Certificate):
        if each.encoding == CertEncoding.X509_SIGNATURE:
            certificates.append(each.data)
        elif each.encoding == CertEncoding.CRL:
            lists.append(each.data)
        elif each.encoding in _BY_REFERENCE and sa.connection.hash_and_url:
            fetched += 1
            if fetched > MOST_FETCHED:
                raise AuthenticationFailed(f"the peer wants more than {MOST_FETCHED} URLs to be fetched")
            found = yield from _fetched(sa, each, identity, remote)
            certificates += found[0]
            lists += found[1]
        if len(certificates) > MOST_CERTIFICATES:
            raise AuthenticationFailed(f"the peer sent more than {MOST_CERTIFICATES} certificates")
    if not certificates:
        raise AuthenticationFailed("the peer sent no certificate")
    return tuple(certificates), lists[:MOST_LISTS]


def _fetched(
    sa: IkeSa, payload: Certificate, identity: Identity, remote: Address
) -> Steps[tuple[tuple[bytes, ...], tuple[bytes, ...]]]:
    reference = read_reference(payload.encoding, payload.data)
    octets: bytes = yield Ask(
        lambda question, deadline: CertificateFetchNeeded(
            question,
            sa.id,
            deadline,
            sa.connection.name,
            str(identity),
            remote,
            reference.url,
            reference.digest,
            reference.bundle,
            LARGEST_FETCHED,
        ),
        bytes,
        b"",
        early=True,
    )
    return take_fetched(reference, octets)


def _check_revocation(
    sa: IkeSa, trusted: TrustedCertificates, peer: ValidatedPeer, sent: list[bytes], identity: Identity
) -> Steps[None]:
    """Look the chain up in every list at hand; what no list tells is decided as configured."""
    policy = trusted.revocation
    if policy == "ignore" or (policy == "if-known" and not sent and not trusted.crls):
        return
    from ..crypto.revocation import RevocationList, check_revocation

    lists = [*_lists(trusted.crls), *(found for der in sent if (found := RevocationList.of_peer(der)) is not None)]
    for each in check_revocation(peer.chain, lists, at=sa.services.utc()):
        if policy == "required" or (policy == "if-uri" and each.has_addresses):
            raise AuthenticationFailed(f"no revocation list at hand tells whether {each.subject} is revoked")
        if policy != "ask":
            continue
        good: bool = yield Ask(
            lambda question, deadline, each=each: RevocationNeeded(  # type: ignore[misc]
                question,
                sa.id,
                deadline,
                sa.connection.name,
                str(identity),
                each.subject,
                each.distribution_points,
                each.ocsp,
                each.certificate,
                each.issuer,
            ),
            bool,
            False,
        )
        if not good:
            raise AuthenticationFailed(f"the application does not vouch for {each.subject}")


@lru_cache(maxsize=1024)
def trust_store(ders: tuple[bytes, ...]) -> TrustStore:
    """Return the store of these anchors, one for all connections that have them."""
    from ..crypto import certificates

    return certificates.TrustStore.load(ders)


@lru_cache(maxsize=64)
def _lists(ders: tuple[bytes, ...]) -> tuple[RevocationList, ...]:
    from ..crypto.revocation import RevocationList

    return tuple(RevocationList.load(der) for der in ders)
