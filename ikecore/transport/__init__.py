"""Paths, TCP stream lifecycle, transport policies and NAT facts: no knowledge of what exchanges mean."""

from .path import DatagramPath, Local, Path, StreamPath
from .policy import BySize, Choice, Policy, Situation, UdpOnly, WholeMission

__all__ = [
    "BySize",
    "Choice",
    "DatagramPath",
    "Local",
    "Path",
    "Policy",
    "Situation",
    "StreamPath",
    "UdpOnly",
    "WholeMission",
]
