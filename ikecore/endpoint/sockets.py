"""Our sockets: which there are, and from which of them a host can be reached."""

from __future__ import annotations

from ..outputs import Address
from ..transport import Local, packed_address

__all__ = ["Sockets"]


class Sockets:
    """UDP sockets and TCP listeners, by kind and exact address."""

    def __init__(self) -> None:
        self.locals: dict[tuple[str, Address], Local] = {}

    def udp_address(self, remote_host: str, marker: bool, preferred: str | None) -> Address | None:
        """Return the UDP socket with or without the non-ESP *marker* to reach *remote_host* from, None without one."""
        octets = len(packed_address(remote_host))
        for (kind, (host, _)), local in self.locals.items():
            fits = kind == "udp" and local.marker is marker and len(packed_address(host)) == octets
            if fits and (preferred is None or preferred == host):
                return local.address
        return None

    def listener_port(self, host: str) -> int | None:
        """Return the port of our TCP listener on the address *host*, None without one."""
        return next((port for kind, (each, port) in self.locals if kind == "tcp" and each == host), None)
