"""Putting fragments of a message together (RFC 7383 section 2.6).

Only fragments whose ICV is good come here, so nobody but the peer can put in, replace or throw away anything. Of each
message that may still come there is at most one set, bounded in octets, number and time; nothing of it is looked at
before it is whole.
"""

from __future__ import annotations

import attrs

from ..errors import InvalidSyntax
from ..limits import Limits
from ..wire import Encrypted, EncryptedFragment, Envelope, Header

__all__ = ["Fragments"]


@attrs.define
class _Set:
    total: int
    until: float
    parts: dict[int, bytes] = attrs.Factory(dict)
    octets: int = 0
    wire_octets: int = 0
    first: Envelope | None = None


class Fragments:
    """The incomplete messages of one SA, by direction and Message ID."""

    __slots__ = ("_sets",)

    def __init__(self) -> None:
        self._sets: dict[tuple[bool, int], _Set] = {}

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
            found = self._sets[key] = _Set(fragment.total, now + limits.fragments_wait)
        elif fragment.total < found.total or fragment.number in found.parts:
            return None
        if fragment.total > limits.fragments or found.octets + len(content) > limits.fragments_octets:
            del self._sets[key]
            raise InvalidSyntax(f"a message of {fragment.total} fragments is more than is put together")
        found.parts[fragment.number] = content
        found.octets += len(content)
        found.wire_octets += header.length
        if fragment.number == 1:
            found.first = envelope
        if len(found.parts) < found.total or found.first is None:
            return None
        del self._sets[key]
        return _whole(found.first, found.wire_octets), b"".join(found.parts[each] for each in sorted(found.parts))

    def forget(self, is_response: bool, message_id: int) -> None:
        """The message came in another form, or is not wanted any more."""
        self._sets.pop((is_response, message_id), None)

    def expire(self, now: float) -> None:
        """Drop the sets that waited long enough."""
        for key in [key for key, each in self._sets.items() if each.until <= now]:
            del self._sets[key]

    @property
    def deadline(self) -> float | None:
        """When the next set is dropped."""
        return min((each.until for each in self._sets.values()), default=None)


def _whole(first: Envelope, octets: int) -> Envelope:
    """Return the envelope of the message: that of its first fragment, which names the first inner payload."""
    header, encrypted = first.header, first.encrypted
    whole = Header(
        header.spi_i,
        header.spi_r,
        header.next_payload,
        header.version,
        header.exchange,
        header.flags,
        header.message_id,
        octets,
    )
    inner_first = 0 if encrypted is None else encrypted.inner_first
    return Envelope(whole, first.payloads, Encrypted(inner_first, b""), first.body, first.data)
