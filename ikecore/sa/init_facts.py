"""What the payloads of IKE_SA_INIT tell, the same in both roles: NATs, TCP, hash algorithms."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..config import Connection
from ..crypto import SUPPORTED_HASHES
from ..errors import NoProposalChosen
from ..events import NatDetected, TcpAnnounced
from ..transport import NatFacts, Path, detect, nat_digest, port_allowed
from ..wire import (
    CertificateRequest,
    Contents,
    Notification,
    VendorId,
)
from ..wire.notify_data import decode_hash_algorithms, decode_tcp_port, encode_hash_algorithms, encode_tcp_port
from ..wire.numbers import VENDOR_ID, CertEncoding, HashAlgorithm, Notify
from .ike_sa import IkeSa

__all__ = [
    "can_look_up",
    "check_childless",
    "false_source",
    "hash_notification",
    "nat_facts",
    "nat_notifications",
    "note_fragmentation",
    "note_tcp",
    "peer_hashes",
    "settle_facts",
    "tcp_notification",
    "tell_facts",
    "wanted_authorities",
]

DIGEST_OCTETS = 20
"""Of SHA-1."""
_SOURCE, _DESTINATION = Notify.NAT_DETECTION_SOURCE_IP, Notify.NAT_DETECTION_DESTINATION_IP


def false_source(connection: Connection, random: Callable[[int], bytes]) -> bytes | None:
    """Return a digest of no address for NAT_DETECTION_SOURCE_IP, where configuration forces UDP encapsulation."""
    return random(DIGEST_OCTETS) if connection.transports.force_encapsulation else None


def nat_notifications(
    spi_i: bytes, spi_r: bytes, path: Path, source: bytes | None = None
) -> tuple[Notification, Notification]:
    """Hash the addresses of *path*: for TCP those of the connection (TCP-72). *source* stands in place of our own."""
    return (
        Notification(_SOURCE, source or nat_digest(spi_i, spi_r, path.local)),
        Notification(_DESTINATION, nat_digest(spi_i, spi_r, path.remote)),
    )


def nat_facts(sa: IkeSa, contents: Contents, spi_i: bytes, spi_r: bytes, path: Path) -> NatFacts:
    """Compare the peer's view of the addresses with ours; *spi_r* as in the header of that message."""
    return detect(
        spi_i,
        spi_r,
        sources=[each.data for each in contents.notifies(_SOURCE)],
        destinations=[each.data for each in contents.notifies(_DESTINATION)],
        remote=path.remote,
        local=path.local,
        forced=sa.connection.transports.force_encapsulation,
    )


def tcp_notification(number: int, port: int) -> Notification:
    """Announce IKE over TCP at *port* (the draft, section 2.5)."""
    return Notification(number, encode_tcp_port(port))


def note_tcp(sa: IkeSa, contents: Contents, path: Path) -> None:
    """Take down whether the peer announced IKE over TCP.

    The number was never assigned. Unless configuration says that both sides agreed on it, it is only believed from a
    peer that sends our Vendor ID, since to anyone else the number may mean something different (TCP-52).
    """
    config = sa.services.config
    sa.facts = sa.facts.but(init_over_udp=path.transport == "udp")
    found = contents.notify(config.tcp_notify)
    if found is None:
        return
    if not config.notify_numbers_agreed and not any(each.data == VENDOR_ID for each in contents.all(VendorId)):
        return
    port = decode_tcp_port(found.data)
    if port is None:
        return
    if port_allowed(port, sa.connection.transports.allowed_ports):
        sa.facts = sa.facts.but(announced_port=port)
    else:
        sa.facts = sa.facts.but(refused_port=port)


def settle_facts(sa: IkeSa) -> None:
    """See what IKE_SA_INIT showed the responder through the rules of the connection that IKE_AUTH chose."""
    facts, transports = sa.facts, sa.connection.transports
    port = facts.announced_port if facts.refused_port is None else facts.refused_port
    usable = port is not None and port_allowed(port, transports.allowed_ports)
    announced, refused = (port, None) if usable else (None, port)
    sa.facts = facts.but(
        configured_port=transports.tcp_port, announced_port=announced, refused_port=refused, on_its_word=True
    )


def note_fragmentation(sa: IkeSa, contents: Contents) -> None:
    """Take down whether both sides know RFC 7383: fragments may be sent then, by either."""
    told = contents.notify(Notify.IKEV2_FRAGMENTATION_SUPPORTED) is not None
    sa.fragmentation = told and sa.connection.transports.fragmentation != "no"


def tell_facts(sa: IkeSa) -> None:
    """Say what IKE_SA_INIT showed. A responder says it once the peer is authenticated: strangers make no events."""
    services, facts = sa.services, sa.facts
    if sa.nat.any:
        services.emit(NatDetected(sa.id, sa.nat.local_behind_nat, sa.nat.peer_behind_nat, sa.nat.forced))
    if facts.announced_port is not None:
        services.emit(TcpAnnounced(sa.id, facts.announced_port, True, "may be used"))
    if facts.refused_port is not None:
        services.emit(TcpAnnounced(sa.id, facts.refused_port, False, "is not among the allowed ports"))


def hash_notification() -> Notification:
    """Say which hash algorithms we verify signatures with (RFC 7427 section 4)."""
    return _HASHES


_HASHES = Notification(Notify.SIGNATURE_HASH_ALGORITHMS, encode_hash_algorithms(sorted(SUPPORTED_HASHES)))


def peer_hashes(contents: Contents) -> frozenset[int] | None:
    """Return the hash algorithms that the peer verifies signatures with, None if it does not know RFC 7427.

    Of those that we know of: whatever numbers a stranger sends would take many times its message while we wait.
    """
    found = contents.notify(_HASHES.notify_type)
    if found is None:
        return None
    return _hashes(found.data) if len(found.data) <= _KEPT_OCTETS else _hashes.__wrapped__(found.data)


_KEPT_OCTETS = 64
_REGISTERED = frozenset(HashAlgorithm)


@lru_cache(maxsize=256)
def _hashes(data: bytes) -> frozenset[int] | None:
    """Read SIGNATURE_HASH_ALGORITHMS, which most peers send alike."""
    hashes = decode_hash_algorithms(data)
    return None if hashes is None else _REGISTERED.intersection(hashes)


def wanted_authorities(contents: Contents) -> tuple[bytes, ...] | None:
    """Return the hashes of the certification authorities that the peer named, None if it asked for no certificate."""
    requests = [each for each in contents.all(CertificateRequest) if each.encoding in _X509]
    return tuple(digest for each in requests for digest in each.authorities) if requests else None


def can_look_up(contents: Contents) -> bool:
    """Tell whether the peer fetches certificates by hash and URL (RFC 7296 section 3.6)."""
    return contents.notify(Notify.HTTP_CERT_LOOKUP_SUPPORTED) is not None


_X509 = (CertEncoding.X509_SIGNATURE, CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE)


def check_childless(connection: Connection, contents: Contents) -> None:
    """Raise NoProposalChosen if we want no Child SA and the responder sets up none without (RFC 6023 section 3)."""
    if not connection.children and contents.notify(Notify.CHILDLESS_IKEV2_SUPPORTED) is None:
        raise NoProposalChosen("the peer sets up no IKE SA without a Child SA, and none is configured")
