"""NAT detection (RFC 7296 section 2.23): digests of addresses, and what their agreement tells."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import lru_cache

import attrs

from ..outputs import Address
from ..record import record, shared
from .path import DatagramPath, packed_address

__all__ = ["NO_NAT", "EspRoute", "NatFacts", "detect", "esp_route", "nat_digest", "source_key"]


@attrs.frozen
class NatFacts:
    """Who stands behind a NAT. *forced*: nobody has to, but we made the peer believe that we do."""

    local_behind_nat: bool = False
    peer_behind_nat: bool = False
    forced: bool = False
    any: bool = attrs.field(init=False, eq=False, repr=False)
    """Everything of the SA goes by the ports with the marker."""

    @any.default
    def _any(self) -> bool:
        return self.local_behind_nat or self.peer_behind_nat or self.forced


_facts = shared(NatFacts)
NO_NAT = _facts(False, False, False)


@record
class EspRoute:
    """The outer addresses of ESP: in UDP between these ports, or, with ports 0, straight over IP.

    None where a NAT demands UDP and no path with the marker is known yet: ESP never goes over one without it.
    """

    udp_encapsulation: bool
    local: Address | None
    remote: Address | None


def esp_route(nat: NatFacts, path: DatagramPath | None, hosts: tuple[str, str]) -> EspRoute:
    """Say how ESP travels beside IKE on *path*; *hosts* (ours, the peer's) count where there is none."""
    if not nat.any:
        local, remote = hosts if path is None else (path.local[0], path.remote[0])
        return EspRoute(False, (local, 0), (remote, 0))
    if path is None or not path.marker:
        return EspRoute(True, None, None)
    return EspRoute(True, path.local, path.remote)


def nat_digest(spi_i: bytes, spi_r: bytes, address: Address) -> bytes:
    """Return SHA-1(SPIi | SPIr | IP | port), the data of NAT_DETECTION_*_IP; the SPIs as in the message's header."""
    return hashlib.sha1(spi_i + spi_r + _packed(address), usedforsecurity=False).digest()


@lru_cache(maxsize=1024)
def _packed(address: Address) -> bytes:
    """Return IP and port in octets. Kept, because a handshake asks twice for each of the same two."""
    return packed_address(address[0]) + address[1].to_bytes(2, "big")


def detect(
    spi_i: bytes,
    spi_r: bytes,
    *,
    sources: Collection[bytes],
    destinations: Collection[bytes],
    remote: Address,
    local: Address,
    forced: bool = False,
) -> NatFacts:
    """Compare a peer's NAT_DETECTION notifications with the addresses that we see.

    A peer may send several sources (RFC 7296 section 2.23): one match means that nothing changed its address. A peer
    that sends no notification of a kind tells nothing, which counts as no NAT; one that sends none at all knows no NAT
    traversal, so nothing can be *forced* upon it.
    """
    return _facts(
        bool(destinations) and nat_digest(spi_i, spi_r, local) not in destinations,
        bool(sources) and nat_digest(spi_i, spi_r, remote) not in sources,
        forced and bool(sources or destinations),
    )


def source_key(host: str) -> str:
    """Name the source that limits count: the IPv4 address, or the /64 of an IPv6 address, which one user has whole."""
    if ":" not in host:
        return host
    return f"{packed_address(host)[:8].hex()}::/64"
