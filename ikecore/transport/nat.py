"""NAT detection (RFC 7296 section 2.23): digests of addresses, and what their agreement tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..outputs import Address
from ..record import record
from .path import packed_address

__all__ = ["NatFacts", "detect", "nat_digest", "source_key"]


@record
class NatFacts:
    """Who stands behind a NAT."""

    local_behind_nat: bool = False
    peer_behind_nat: bool = False

    @property
    def any(self) -> bool:
        return self.local_behind_nat or self.peer_behind_nat


def nat_digest(spi_i: bytes, spi_r: bytes, address: Address) -> bytes:
    """Return SHA-1(SPIi | SPIr | IP | port), the data of NAT_DETECTION_*_IP; the SPIs as in the message's header."""
    packed = packed_address(address[0])
    return hashlib.sha1(spi_i + spi_r + packed + address[1].to_bytes(2, "big"), usedforsecurity=False).digest()


def detect(
    spi_i: bytes,
    spi_r: bytes,
    *,
    sources: Iterable[bytes],
    destinations: Iterable[bytes],
    remote: Address,
    local: Address,
) -> NatFacts:
    """Compare a peer's NAT_DETECTION notifications with the addresses that we see.

    A peer may send several sources (RFC 7296 section 2.23): one match means that nothing changed its address. A peer
    that sends no notification of a kind tells nothing, which counts as no NAT.
    """
    sources, destinations = list(sources), list(destinations)
    return NatFacts(
        local_behind_nat=bool(destinations) and nat_digest(spi_i, spi_r, local) not in destinations,
        peer_behind_nat=bool(sources) and nat_digest(spi_i, spi_r, remote) not in sources,
    )


def source_key(host: str) -> str:
    """Name the source that limits count: the IPv4 address, or the /64 of an IPv6 address, which one user has whole."""
    if ":" not in host:
        return host
    return f"{packed_address(host)[:8].hex()}::/64"
