"""Layouts: which payloads a chain has, how long each of them is, and what in it says how the rest is to be read.

Peers send chains of a few layouts over and over, in which only contents differ: nonces, key exchange data, digests,
SPIs. The first chains of a layout are read payload by payload; from then on one `unpack` takes such a chain apart. It
is of that layout if the octets between the contents are the same: then whatever was checked in them holds, and what
remains is to make a payload of each content.

A stranger can have layouts learnt that nobody else uses, never a wrong one. So a chain has to come twice before its
layout is kept, and a full table begins anew: at worst every chain is read payload by payload. A layout keeps nothing of
the contents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import call
from struct import Struct
from typing import Final, TypeAlias

import attrs

from .identity import (
    Authentication,
    Certificate,
    CertificateRequest,
    IdentificationInitiator,
    IdentificationResponder,
    identification,
)
from .notify import Notification
from .payloads import DECODERS, KeyExchange, Nonce, Payload, VendorId
from .proposal import Proposal, SecurityAssociation, Transform
from .selectors import (
    KEPT_OCTETS,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    known_initiator,
    known_responder,
)

__all__ = ["LAYOUTS", "Layout", "note_layout"]

Key: TypeAlias = tuple[int, int, bytes]
"""What a layout is looked up by: type of the first payload, length of the chain, first generic header."""
Maker: TypeAlias = Callable[[bytes], Payload]
"""Makes a payload of its content, or raises InvalidSyntax, whose offset means nothing."""


@attrs.frozen
class Layout:
    """*fields* splits a chain into what is *fixed* and contents, by turns; each of *makers* takes one content."""

    fields: Struct
    fixed: tuple[bytes, ...]
    makers: tuple[Maker, ...]

    def read(self, data: bytes, pos: int) -> list[Payload] | None:
        """Read the chain at *pos*, which is as long as the layout; None if it is of another one.

        Raises InvalidSyntax for a content that cannot be.
        """
        pieces = self.fields.unpack_from(data, pos)
        if pieces[::2] != self.fixed:
            return None
        return list(map(call, self.makers, pieces[1::2]))


_MOST: Final = 512
_MOST_PAYLOADS: Final = 24
_MOST_FIXED: Final = 1024
"""Octets that a layout keeps: several proposals with many transforms have room."""
LAYOUTS: Final[dict[Key, Layout]] = {}
"""Layouts of chains that came at least twice."""
_MET: Final[set[Key]] = set()
"""Chains that came once."""


def note_layout(key: Key, payloads: Sequence[Payload], data: bytes, pos: int) -> None:
    """Note that the chain at *pos* was read as *payloads*, without a layout that fits it."""
    if key not in _MET:
        if len(_MET) >= _MOST:
            _MET.clear()
        _MET.add(key)
        return
    _MET.discard(key)
    layout = _layout_of(payloads, data, pos)
    if layout is not None:
        if len(LAYOUTS) >= _MOST:
            LAYOUTS.clear()
        LAYOUTS[key] = layout


def _layout_of(payloads: Sequence[Payload], data: bytes, pos: int) -> Layout | None:
    """Return the layout of the chain at *pos*; None where there is nothing to be gained, or too much to be kept."""
    if not 0 < len(payloads) <= _MOST_PAYLOADS:
        return None
    fixed: list[bytes] = []
    contents: list[int] = []
    makers: list[Maker] = []
    begin = pos  # of the fixed octets that come next
    for payload in payloads:
        if payload.TYPE not in DECODERS:
            return None
        body, stop = pos + 4, pos + int.from_bytes(data[pos + 2 : pos + 4], "big")
        before, after, maker = _taken_apart(payload, stop - body)
        fixed.append(data[begin : body + before])
        contents.append(stop - after - body - before)
        makers.append(maker)
        begin, pos = stop - after, stop
    fixed.append(data[begin:pos])
    if sum(map(len, fixed)) > _MOST_FIXED:
        return None
    by_turns = [f"{len(octets)}s{content}s" for octets, content in zip(fixed, [*contents, 0], strict=True)]
    return Layout(Struct("".join(by_turns)), tuple(fixed), tuple(makers))


def _taken_apart(payload: Payload, length: int) -> tuple[int, int, Maker]:
    """Say how many octets of a body are fixed before and after its content, and what makes *payload* of that."""
    match payload:
        case SecurityAssociation(proposals) if not any(proposal.spi for proposal in proposals):
            return length, 0, partial(_always, payload)
        case SecurityAssociation((Proposal(number, protocol, spi, transforms),)):
            return 8, length - 8 - len(spi), partial(_one_proposal, number, protocol, transforms)
        case KeyExchange(group):
            return 4, 0, partial(KeyExchange, group)
        case Nonce() | VendorId():  # the only check of a nonce is its length
            return 0, 0, type(payload)
        case Notification(data=b"", spi=b""):
            return 4, 0, partial(_always, payload)
        case Notification(kind, spi=b""):
            return 4, 0, partial(Notification, kind)
        case IdentificationInitiator(kind, _, reserved):
            return 4, 0, partial(identification, IdentificationInitiator, kind, reserved)
        case IdentificationResponder(kind, _, reserved):
            return 4, 0, partial(identification, IdentificationResponder, kind, reserved)
        case TrafficSelectorsInitiator() if length <= KEPT_OCTETS:
            return 0, 0, known_initiator
        case TrafficSelectorsResponder() if length <= KEPT_OCTETS:
            return 0, 0, known_responder
        case Authentication(method):
            return 4, 0, partial(Authentication, method)
        case Certificate(encoding) | CertificateRequest(encoding):
            return 1, 0, partial(type(payload), encoding)
    return 0, 0, partial(_whole, DECODERS[payload.TYPE])


def _always(payload: Payload, _: bytes) -> Payload:
    """Give the one payload that there can be."""
    return payload


def _one_proposal(number: int, protocol: int, transforms: tuple[Transform, ...], spi: bytes) -> SecurityAssociation:
    return SecurityAssociation((Proposal(number, protocol, spi, transforms),))


def _whole(decode: Callable[[bytes, int, int], Payload], body: bytes) -> Payload:
    return decode(body, 0, len(body))
