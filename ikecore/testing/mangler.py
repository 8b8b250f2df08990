"""A peer, or a path, that misbehaves: octets changed on the wire.

mangler = Mangler(network, transport="udp", source="10.0.0.1")
mangler.drop(0, 2)                            # the first and the third datagram vanish
mangler.change(1, lambda data: data[:-1])     # the second loses its last octet
"""

from __future__ import annotations

from collections.abc import Callable

from ..events import Transport
from .links import Packet
from .network import Network

__all__ = ["Change", "Mangler", "flip", "truncate"]

Change = Callable[[bytes], bytes | None]
"""Takes the octets of a datagram, or of one piece of a stream, and returns what arrives; None lets them vanish."""


class Mangler:
    """Sees the octets that match its filter, counted from 0 in `seen`, and changes some of them.

    The filter looks at the addresses outside of any NAT. *every* changes all that match; `change` and `drop` are for
    single ones, and go before it.
    """

    def __init__(
        self,
        network: Network,
        *,
        transport: Transport | None = None,
        source: str | None = None,
        destination: str | None = None,
        every: Change | None = None,
    ) -> None:
        self.seen: list[bytes] = []
        self._filter = (transport, source, destination)
        self._every = every
        self._changes: dict[int, Change] = {}
        self._network = network
        network.manglers.append(self._mangle)

    def change(self, index: int, change: Change) -> None:
        """Apply *change* to the match with this index."""
        self._changes[index] = change

    def drop(self, *indices: int) -> None:
        """Let the matches with these indices vanish."""
        for index in indices:
            self._changes[index] = _nothing

    def remove(self) -> None:
        """Let everything pass from now on."""
        self._network.manglers.remove(self._mangle)

    def _mangle(self, packet: Packet, data: bytes) -> bytes | None:
        transport, source, destination = self._filter
        if (
            transport not in (None, packet.transport)
            or source not in (None, packet.source[0])
            or destination not in (None, packet.destination[0])
        ):
            return data
        self.seen.append(data)
        change = self._changes.get(len(self.seen) - 1, self._every)
        return data if change is None else change(data)


def flip(octet: int, bits: int = 1) -> Change:
    """Return a change that flips *bits* in one octet, where there is one at that place."""

    def change(data: bytes) -> bytes:
        place = octet if octet >= 0 else len(data) + octet
        if not 0 <= place < len(data):
            return data
        return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]

    return change


def truncate(octets: int) -> Change:
    """Return a change that keeps the first *octets*."""
    return lambda data: data[:octets]


def _nothing(data: bytes) -> None:
    return None
