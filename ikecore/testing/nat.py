"""A network address translator in front of one host or several."""

from __future__ import annotations

import attrs

from ..events import Transport
from ..outputs import Address

__all__ = ["Nat"]


@attrs.define
class _Mapping:
    inside: Address
    port: int
    used: float
    partners: set[Address | str] = attrs.Factory(set)


class Nat:
    """Rewrites addresses and ports of the hosts behind it (endpoint-independent mapping, RFC 4787).

    Two hosts behind the same one meet at its outside address (hairpinning).

    *outside* is its public address. A mapping for an inside address and port is made by the first packet out, lives for
    *lifetime* seconds after the last (None: for ever), and lets in only hosts that something was sent to, unless
    *open*. With *per_partner* each partner, an address with a port, has a mapping of its own (a "symmetric" NAT), and
    a partner's other ports never reach the inside. *preserve_ports* keeps the inside port where it is free. *forwards*
    are permanent: (transport, outside port) to an inside address.
    """

    def __init__(
        self,
        outside: str,
        *,
        lifetime: float | None = None,
        open: bool = False,
        per_partner: bool = False,
        preserve_ports: bool = False,
        first_port: int = 20_000,
        forwards: dict[tuple[Transport, int], Address] | None = None,
    ) -> None:
        self.outside = outside
        self.lifetime = lifetime
        self.open = open
        self.per_partner = per_partner
        self.preserve_ports = preserve_ports
        self.forwards = dict(forwards or {})
        self._next_port = first_port
        self._by_inside: dict[tuple[Transport, Address, Address | None], _Mapping] = {}
        self._by_port: dict[tuple[Transport, int], _Mapping] = {}

    def outbound(self, transport: Transport, inside: Address, partner: Address, now: float) -> Address:
        """Return what stands as source on a packet from *inside* to *partner*, making a mapping if there is none."""
        for (kind, port), target in self.forwards.items():
            if kind == transport and target == inside:
                return self.outside, port
        key = transport, inside, partner if self.per_partner else None
        mapping = self._by_inside.get(key)
        if mapping is None or self._stale(mapping, now):
            if mapping is not None:
                del self._by_port[transport, mapping.port]
            mapping = _Mapping(inside, self._port(transport, inside[1]), now)
            self._by_inside[key] = mapping
            self._by_port[transport, mapping.port] = mapping
        mapping.used = now
        mapping.partners.add(partner if self.per_partner else partner[0])
        return self.outside, mapping.port

    def inbound(self, transport: Transport, port: int, partner: Address, now: float) -> Address | None:
        """Return the inside address that a packet from *partner* to *port* goes to, None if it is dropped."""
        forward = self.forwards.get((transport, port))
        if forward is not None:
            return forward
        mapping = self._by_port.get((transport, port))
        if mapping is None or self._stale(mapping, now):
            return None
        if not self.open and not mapping.partners & {partner, partner[0]}:
            return None
        return mapping.inside

    def forget(self) -> None:
        """Drop all mappings, as a reboot does. The next packets out get other ports."""
        self._by_inside.clear()
        self._by_port.clear()

    def _stale(self, mapping: _Mapping, now: float) -> bool:
        return self.lifetime is not None and now - mapping.used > self.lifetime

    def _port(self, transport: Transport, wanted: int) -> int:
        if self.preserve_ports and (transport, wanted) not in self._by_port:
            return wanted
        while (transport, self._next_port) in self._by_port or (transport, self._next_port) in self.forwards:
            self._next_port += 1
        self._next_port += 1
        return self._next_port - 1
