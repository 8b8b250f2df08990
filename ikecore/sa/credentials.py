"""Proving who we are and checking who they are, whatever the method (RFC 7296 section 2.15, RFC 7427).

Certificates are imported when the first one is used: a PSK client never loads X.509.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from ..config import CertificateCredential, Connection, PinnedKeys, PskCredential, TrustedCertificates
from ..crypto import (
    SUPPORTED_HASHES,
    Identity,
    check_psk,
    choose_scheme,
    load_public_key,
    psk_auth,
    sign,
    signed_octets,
    verify,
)
from ..errors import AuthenticationFailed
from ..wire import Authentication, Certificate, Contents, Payload
from ..wire.numbers import AuthMethod, CertEncoding
from .auth_context import AuthContext
from .keys import SaKeys

if TYPE_CHECKING:
    from ..crypto.certificates import TrustStore

__all__ = ["authority_hashes", "can_check", "check", "check_can_prove", "expected_auth_octets", "prove"]

MOST_CERTIFICATES = 16
"""Certificates of one message that are looked at: leaf, eight of a chain, and some to spare."""


def prove(
    connection: Connection, keys: SaKeys, context: AuthContext, id_body: bytes
) -> tuple[list[Payload], Authentication]:
    """Return CERT payloads, leaf first, and AUTH over our IKE_SA_INIT message, the peer's nonce and our identity."""
    initiator = keys.role == "initiator"
    octets = signed_octets(
        context.ours,
        keys.nr if initiator else keys.ni,
        keys.suite.prf,
        keys.ike.sk_pi if initiator else keys.ike.sk_pr,
        id_body,
    )
    credential = connection.local
    if isinstance(credential, PskCredential):
        mac = psk_auth(keys.suite.prf, credential.secret, octets)
        return [], Authentication(AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE, mac)
    method, data = sign(credential.key, octets, peer_hashes=context.peer_hashes)
    return _certificates(connection, credential, context), Authentication(method, data)


def _certificates(connection: Connection, credential: CertificateCredential, context: AuthContext) -> list[Payload]:
    send = connection.send_certificates
    if send == "never" or (send == "asked" and context.authorities is None):
        return []
    return [Certificate(CertEncoding.X509_SIGNATURE, der) for der in credential.chain]


def check_can_prove(connection: Connection, peer_hashes: frozenset[int] | None) -> None:
    """Raise AuthenticationFailed if the peer, by its IKE_SA_INIT message, could verify no signature of ours."""
    if isinstance(connection.local, CertificateCredential):
        choose_scheme(connection.local.key.public_key(), peer_hashes=peer_hashes)


def can_check(connection: Connection, method: int) -> bool:
    """Tell whether the connection expects this kind of AUTH: a MAC with a pre-shared key, or a signature."""
    return isinstance(connection.remote, PskCredential) is (method == AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE)


def check(
    connection: Connection,
    keys: SaKeys,
    context: AuthContext,
    identity: Identity,
    id_body: bytes,
    contents: Contents,
    utc: Callable[[], datetime],
) -> None:
    """Verify the peer's AUTH, and that its proof belongs to *identity*. Raises AuthenticationFailed, saying why.

    The reason is for us only: the peer learns that authentication failed, and nothing more (RFC 7296 section 2.21.2).
    """
    peer_initiated = keys.role == "responder"
    octets = signed_octets(
        context.theirs,
        keys.nr if peer_initiated else keys.ni,
        keys.suite.prf,
        keys.ike.sk_pi if peer_initiated else keys.ike.sk_pr,
        id_body,
    )
    auth = contents.one(Authentication)
    remote = connection.remote
    if isinstance(remote, PskCredential):
        _check_psk(keys, remote, auth, octets)
    elif isinstance(remote, PinnedKeys):
        _check_pinned(remote, auth, octets)
    else:
        _check_certificate(remote, identity, auth, octets, contents, utc)


def _check_psk(keys: SaKeys, remote: PskCredential, auth: Authentication, octets: bytes) -> None:
    if auth.method != AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE:
        raise AuthenticationFailed(f"the peer authenticates by method {auth.method}, a pre-shared key is configured")
    check_psk(keys.suite.prf, remote.secret, octets, auth.data)


def _check_pinned(remote: PinnedKeys, auth: Authentication, octets: bytes) -> None:
    for key in remote.keys:
        try:
            verify(_pinned(key), auth.method, auth.data, octets, hashes=SUPPORTED_HASHES)
        except AuthenticationFailed:
            continue
        return
    raise AuthenticationFailed("the signature is of none of the pinned keys")


def _check_certificate(
    remote: TrustedCertificates,
    identity: Identity,
    auth: Authentication,
    octets: bytes,
    contents: Contents,
    utc: Callable[[], datetime],
) -> None:
    sent = [each.data for each in contents.all(Certificate) if each.encoding == CertEncoding.X509_SIGNATURE]
    if not sent:
        raise AuthenticationFailed("the peer sent no certificate")
    if len(sent) > MOST_CERTIFICATES:
        raise AuthenticationFailed(f"the peer sent {len(sent)} certificates, at most {MOST_CERTIFICATES} are looked at")
    peer = _anchors(remote.anchors).validate(sent[0], (*sent[1:], *remote.intermediates), at=utc())
    if not peer.is_named(identity):
        raise AuthenticationFailed(f"the certificate is not for {identity}")
    verify(peer.public_key, auth.method, auth.data, octets, hashes=SUPPORTED_HASHES)


_pinned = lru_cache(maxsize=256)(load_public_key)


@lru_cache(maxsize=64)
def _anchors(ders: tuple[bytes, ...]) -> TrustStore:
    from ..crypto import certificates

    return certificates.TrustStore.load(ders)


def authority_hashes(connection: Connection) -> Sequence[bytes] | None:
    """Return the hashes for CERTREQ (RFC 7296 section 3.7), None where the peer needs no certificate."""
    if not isinstance(connection.remote, TrustedCertificates):
        return None
    return _hashes(connection.remote.anchors)


@lru_cache(maxsize=64)
def _hashes(ders: tuple[bytes, ...]) -> tuple[bytes, ...]:
    from ..crypto import certificates

    return tuple(certificates.authority_hash(der) for der in ders)


def expected_auth_octets(connection: Connection) -> int:
    """Estimate the size of the peer's IKE_AUTH message: small with a PSK, a whole chain with certificates."""
    return connection.transports.certificate_response if isinstance(connection.remote, TrustedCertificates) else 400
