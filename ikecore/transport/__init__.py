"""Paths, TCP stream lifecycle, transport policies and NAT facts: no knowledge of what exchanges mean."""

from .facts import PeerFacts, nothing_known, port_allowed
from .nat import NO_NAT, EspRoute, NatFacts, detect, esp_route, nat_digest, source_key
from .packets import LEAST_PACKET, least_packet, packet_of, room_in, smaller_packet
from .path import DatagramPath, Local, Path, StreamPath, packed_address
from .policy import (
    BySize,
    Choice,
    Fallback,
    Policy,
    Race,
    Situation,
    Step,
    TcpOnly,
    UdpOnly,
    Way,
    WholeMission,
)
from .stream import Stream, StreamState

__all__ = [
    "LEAST_PACKET",
    "NO_NAT",
    "BySize",
    "Choice",
    "DatagramPath",
    "Fallback",
    "Local",
    "EspRoute",
    "NatFacts",
    "Path",
    "PeerFacts",
    "Policy",
    "Race",
    "Situation",
    "Step",
    "Stream",
    "StreamPath",
    "StreamState",
    "TcpOnly",
    "UdpOnly",
    "Way",
    "WholeMission",
    "detect",
    "esp_route",
    "least_packet",
    "nat_digest",
    "nothing_known",
    "packed_address",
    "packet_of",
    "port_allowed",
    "room_in",
    "smaller_packet",
    "source_key",
]
