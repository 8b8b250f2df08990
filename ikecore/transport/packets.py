"""How large a message may be to fit one IP packet, and the steps down where a path takes less (RFC 7383 section 2.5).

Sizes of packets count everything: IP header, UDP header, non-ESP marker and message. Nothing on the way to a peer says
what a path takes, so the first size is configuration, and the others are what every path of the address family takes.
"""

from __future__ import annotations

from .path import DatagramPath

__all__ = ["LEAST_PACKET", "least_packet", "packet_of", "room_in", "smaller_packet"]

LEAST_PACKET = 576
"""The smallest of all: what every IPv4 host has to take (RFC 791)."""
_LEAST_IPV6 = 1280
"""With the one above what RFC 7383 section 2.5.1 recommends where nothing is known of a path."""
_STEPS = (_LEAST_IPV6, LEAST_PACKET)
_IPV4_HEADER, _IPV6_HEADER = 20, 40
_UDP_HEADER = 8
_MARKER = 4


def _is_ipv6(path: DatagramPath) -> bool:
    return ":" in path.remote[0]  # only IP literals become paths, and to parse one again costs more than all the rest


def _overhead(path: DatagramPath) -> int:
    header = _IPV6_HEADER if _is_ipv6(path) else _IPV4_HEADER
    return header + _UDP_HEADER + (_MARKER if path.marker else 0)


def least_packet(path: DatagramPath) -> int:
    """Return the packet that is never made smaller on *path*."""
    return _LEAST_IPV6 if _is_ipv6(path) else LEAST_PACKET


def room_in(path: DatagramPath, packet: int) -> int:
    """Return how many octets of IKE an IP packet of *packet* octets holds on *path*."""
    return packet - _overhead(path)


def packet_of(path: DatagramPath, octets: int) -> int:
    """Return the octets of the IP packet that carries *octets* of IKE on *path*."""
    return octets + _overhead(path)


def smaller_packet(path: DatagramPath, packet: int) -> int | None:
    """Return the next step below *packet*, None where it is the last."""
    least = least_packet(path)
    return next((step for step in _STEPS if least <= step < packet), None)
