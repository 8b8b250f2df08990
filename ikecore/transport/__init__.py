"""Paths, TCP stream lifecycle, transport policies and NAT facts: no knowledge of what exchanges mean."""

from .facts import PeerFacts, port_allowed
from .nat import NatFacts, detect, nat_digest, source_key
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
    WholeMission,
)
from .stream import Stream, StreamState

__all__ = [
    "BySize",
    "Choice",
    "DatagramPath",
    "Fallback",
    "Local",
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
    "WholeMission",
    "detect",
    "nat_digest",
    "packed_address",
    "port_allowed",
    "source_key",
]
