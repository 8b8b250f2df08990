"""Putting fragments of a message together (RFC 7383 section 2.6).

Only fragments whose ICV is good come here, so nobody but the peer can put in, replace or throw away anything. Of each
message that may still come there is at most one set, bounded in octets, number and time; nothing of it is looked at
before it is whole. What all peers that are not authenticated yet may leave here has a bound of its own.
"""

from __future__ import annotations

import attrs

from ..errors import InvalidSyntax
from ..limits import Limits
from ..wire import EncryptedFragment, Envelope, Header, decode_envelope

__all__ = ["FragmentBudget", "Fragments"]


@attrs.define
class _Set:
    total: int
    until: float
    parts: dict[int, bytes] = attrs.Factory(dict)
    octets: int = 0
    wire_octets: int = 0
    header: Header | None = None
    """That of the first fragment."""
    inner_first: int = 0
    """The type of the first inner payload, which only the first fragment tells."""
    first: bytes = b""
    """The first fragment as it came. What stands in it unprotected takes many times its octets, once decoded."""


class FragmentBudget:
    """What fragments of peers that are not authenticated may take together.

    Beyond it whoever has kept some for longest loses them: an honest message is whole in a moment, a stranger's need
    not ever be. Its sender is none the worse, and sends it again.
    """

    __slots__ = ("_held", "_most", "_total")

    def __init__(self, most: int) -> None:
        self._most = most
        self._total = 0
        self._held: dict[Fragments, int] = {}

    @property
    def octets(self) -> int:
        """What is kept now."""
        return self._total

    def holds(self, owner: Fragments, octets: int) -> None:
        """*owner* keeps *octets* octets now. The oldest make room."""
        self._total += octets - self._held.get(owner, 0)
        if octets:
            self._held[owner] = octets
        else:
            self._held.pop(owner, None)
        while self._total > self._most:
            next(iter(self._held)).clear()


class Fragments:
    """The incomplete messages of one SA, by direction and Message ID. *budget* is for a peer not authenticated yet."""

    __slots__ = ("_budget", "_octets", "_sets")

    def __init__(self, budget: FragmentBudget | None = None) -> None:
        self._sets: dict[tuple[bool, int], _Set] = {}
        self._octets = 0
        """What the fragments that are kept had on the wire."""
        self._budget = budget

    def add(
        self, envelope: Envelope, fragment: EncryptedFragment, content: bytes, limits: Limits, now: float
    ) -> tuple[Envelope, bytes] | None:
        """Keep one verified fragment; return the whole message as if it had come in one, and its inner payloads.

        Raises InvalidSyntax, and forgets the set, where the message would be larger than the limits allow.
        """
        header = envelope.header
        key = (header.is_response, header.message_id)
        found = self._sets.get(key)
        if found is None or fragment.total > found.total:
            # More fragments than before: the sender tries smaller ones, and begins anew.
            if found is not None:
                self._octets -= found.wire_octets
            found = self._sets[key] = _Set(fragment.total, now + limits.fragments_wait)
        elif fragment.total < found.total or fragment.number in found.parts:
            return None
        if fragment.total > limits.fragments or found.octets + len(content) > limits.fragments_octets:
            self._drop(key)
            raise InvalidSyntax(f"a message of {fragment.total} fragments is more than is put together")
        found.parts[fragment.number] = content
        found.octets += len(content)
        found.wire_octets += header.length
        self._octets += header.length
        if fragment.number == 1:
            found.header, found.inner_first, found.first = header, fragment.inner_first, envelope.data
        if len(found.parts) < found.total:
            self._count()
            return None
        self._drop(key)
        return _whole(found), b"".join([part for _, part in sorted(found.parts.items())])

    def forget(self, is_response: bool, message_id: int) -> None:
        """The message came in another form, or is not wanted any more."""
        if self._sets:
            self._drop((is_response, message_id))

    def authenticated(self) -> None:
        """The peer is no stranger any more: only its own bounds are left."""
        if self._budget is not None:
            self._budget.holds(self, 0)
            self._budget = None

    def clear(self) -> None:
        """Forget everything."""
        self._sets.clear()
        self._octets = 0
        self._count()

    def _drop(self, key: tuple[bool, int]) -> None:
        gone = self._sets.pop(key, None)
        if gone is not None:
            self._octets -= gone.wire_octets
            self._count()

    def _count(self) -> None:
        if self._budget is not None:
            self._budget.holds(self, self._octets)

    def expire(self, now: float) -> None:
        """Drop the sets that waited long enough."""
        for key in [key for key, each in self._sets.items() if each.until <= now]:
            self._drop(key)

    @property
    def deadline(self) -> float | None:
        """When the next set is dropped; None if there is none."""
        return min([each.until for each in self._sets.values()]) if self._sets else None


def _whole(found: _Set) -> Envelope:
    """Return the envelope of a message that is complete: what its first fragment says, with the length of them all."""
    header = found.header
    if header is None:
        raise InvalidSyntax("no first fragment")
    # Nearly always the SKF payload stands alone, and there is nothing before it to be decoded.
    payloads = [] if header.next_payload == EncryptedFragment.TYPE else decode_envelope(found.first).payloads
    whole = Header(
        header.spi_i,
        header.spi_r,
        header.next_payload,
        header.version,
        header.exchange,
        header.flags,
        header.message_id,
        found.wire_octets,
    )
    return Envelope(
        whole, payloads, EncryptedFragment(found.inner_first, 1, found.total, b""), len(found.first), found.first
    )
