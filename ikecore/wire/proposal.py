"""The Security Association payload: proposals, each with its transforms (RFC 7296 section 3.3).

Gateways see the same few transforms in every message, and mostly the same lists of them. So `Transform` is one shared,
frozen object per substructure, and `Transforms` those of a proposal, looked up by their octets: a hit has been checked
when it was stored. Everything else is read afresh.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import ClassVar, Final

import attrs

from ..errors import InvalidSyntax, LocalProtocolError
from ..record import record
from .numbers import AttributeType, Encr, Esn, Integ, Ke, Prf, Protocol, TransformType, members

__all__ = [
    "MAX_ATTRIBUTES",
    "MAX_TRANSFORMS",
    "TRANSFORM_IDS",
    "Attribute",
    "Proposal",
    "SecurityAssociation",
    "Transform",
    "Transforms",
    "decode_security_association",
    "numbered",
    "octets_of",
]

MAX_TRANSFORMS: Final = 1024
"""Transforms in one SA payload. Real peers send tens; matching offers against policy costs by this number."""
MAX_ATTRIBUTES: Final = 16
"""Attributes of one transform. There is one kind so far, of 4 octets; decoded, each takes many times as much."""

TRANSFORM_IDS: Final[Mapping[int, type[IntEnum]]] = {
    TransformType.ENCR: Encr,
    TransformType.PRF: Prf,
    TransformType.INTEG: Integ,
    TransformType.KE: Ke,
    TransformType.ESN: Esn,
    **dict.fromkeys(range(TransformType.ADDKE1, TransformType.ADDKE7 + 1), Ke),
}
"""The registry of a transform's ID by its type."""

_PROPOSAL = struct.Struct("!BxHBBBB")  # last or more, length, number, protocol, SPI size, number of transforms
_TRANSFORM = struct.Struct("!BxHBxH")  # last or more, length, type, ID
_TRANSFORM_REST = struct.Struct("!xHBxH")  # the same without the first octet
_ATTRIBUTE = struct.Struct("!HH")  # format bit and type, value or length
_LAST, _MORE_PROPOSALS, _MORE_TRANSFORMS = 0, 2, 3
_SPI_SIZES: Final[dict[int, tuple[int, ...]]] = {Protocol.IKE: (0, 8), Protocol.AH: (4,), Protocol.ESP: (4,)}


@attrs.frozen
class Attribute:
    """A transform attribute (RFC 7296 section 3.3.5): an int value is sent as TV, octets as TLV."""

    type: int
    value: int | bytes

    def encode(self) -> bytes:
        """Return the octets; raises LocalProtocolError where they do not fit."""
        try:
            if isinstance(self.value, int):
                return _ATTRIBUTE.pack(0x8000 | self.type, self.value)
            return _ATTRIBUTE.pack(self.type, len(self.value)) + self.value
        except struct.error as error:
            raise LocalProtocolError(f"{self}: {error}") from None


@attrs.frozen(cache_hash=True)
class Transform:
    """A transform substructure (RFC 7296 section 3.3.2)."""

    type: int
    id: int
    attributes: tuple[Attribute, ...] = ()
    key_length: int | None = attrs.field(init=False, eq=False, repr=False)
    """Key Length attribute in bits, None where there is none coded as TV."""
    octets: bytes = attrs.field(init=False, eq=False, repr=False)
    """The encoded substructure without its first octet, which says whether another one follows."""

    @key_length.default
    def _find_key_length(self) -> int | None:
        for attribute in self.attributes:
            if attribute.type == AttributeType.KEY_LENGTH and isinstance(attribute.value, int):
                return attribute.value
        return None

    @octets.default
    def _encode(self) -> bytes:
        attributes = b"".join([attribute.encode() for attribute in self.attributes])
        try:
            return _TRANSFORM_REST.pack(8 + len(attributes), self.type, self.id) + attributes
        except struct.error as error:
            raise LocalProtocolError(f"transform type {self.type}, ID {self.id}: {error}") from None


class Transforms(tuple[Transform, ...]):
    """Transforms of one proposal that many have, with their octets: what is compared, looked up and sent."""

    octets: bytes

    def __new__(cls, transforms: Iterable[Transform]) -> Transforms:
        made = super().__new__(cls, transforms)
        made.octets = _encode_transforms(made)
        return made


def octets_of(transforms: tuple[Transform, ...]) -> bytes:
    """Return the encoded substructures of all transforms of a proposal."""
    return transforms.octets if type(transforms) is Transforms else _encode_transforms(transforms)


def _encode_transforms(transforms: tuple[Transform, ...]) -> bytes:
    octets = [transform.octets for transform in transforms]
    return b"\3".join([b"", *octets[:-1]]) + b"\0" + octets[-1] if octets else b""


@record
class Proposal:
    """A proposal substructure (RFC 7296 section 3.3.1). `spi` is empty, or the sender's SPI: 4 octets, 8 for IKE."""

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]

    def encode(self, *, last: bool) -> bytes:
        """Return the octets, *last* telling that no other proposal follows.

        Raises LocalProtocolError for a proposal without a transform.
        """
        spi, transforms = self.spi, self.transforms
        if not transforms:
            raise LocalProtocolError(f"proposal {self.number} has no transform")
        body = spi + octets_of(transforms)
        more = _LAST if last else _MORE_PROPOSALS
        return _PROPOSAL.pack(more, 8 + len(body), self.number, self.protocol, len(spi), len(transforms)) + body


def numbered(proposals: Iterable[Proposal]) -> tuple[Proposal, ...]:
    """Number proposals 1, 2, 3 in order of preference (RFC 7296 section 3.3.1), without an SPI: what is configured."""
    return tuple(
        [Proposal(number, each.protocol, b"", Transforms(each.transforms)) for number, each in enumerate(proposals, 1)]
    )


@record
class SecurityAssociation:
    """Security Association payload (RFC 7296 section 3.3)."""

    TYPE: ClassVar[int] = 33
    proposals: tuple[Proposal, ...]

    def encode_body(self) -> bytes:
        """Return the payload without its generic header."""
        if len(self.proposals) == 1:
            return self.proposals[0].encode(last=True)
        final = len(self.proposals) - 1
        return b"".join([proposal.encode(last=index == final) for index, proposal in enumerate(self.proposals)])


def decode_security_association(data: bytes, pos: int, end: int) -> SecurityAssociation:
    """Read an SA payload body that fills *pos* to *end*.

    Raises InvalidSyntax for lengths and counts that contradict each other, proposals not numbered 1, 2, 3... (a single
    one may have any number above 0: it is the accepted one), an SPI of impossible size, or too many transforms.
    """
    proposals: list[Proposal] = []
    left = MAX_TRANSFORMS
    more = _MORE_PROPOSALS
    while more:
        if end - pos < 8:
            raise InvalidSyntax("proposal cut off", pos)
        more, length, number, protocol, spi_size, count = _PROPOSAL.unpack_from(data, pos)
        stop = pos + length
        if stop > end or length < 8 + spi_size:
            raise InvalidSyntax(f"proposal {number} says it is {length} octets long", pos + 2)
        if more and more != _MORE_PROPOSALS:
            raise InvalidSyntax(f"proposal {number} has Last Substruc {more}", pos)
        if number != len(proposals) + 1 and (proposals or more or not number):
            raise InvalidSyntax(f"proposal {len(proposals) + 1} has number {number}", pos + 4)
        protocol = _PROTOCOLS.get(protocol, protocol)
        if spi_size not in _SPI_SIZES.get(protocol, (spi_size,)):
            raise InvalidSyntax(f"proposal {number} has an SPI of {spi_size} octets", pos + 6)
        left -= count
        if not count or left < 0:
            raise InvalidSyntax(f"proposal {number} brings {count} transforms", pos + 7)
        body = pos + 8 + spi_size
        proposals.append(Proposal(number, protocol, data[pos + 8 : body], _transforms(data, body, stop, count)))
        pos = stop
    if pos != end:
        raise InvalidSyntax(f"{end - pos} octets after the last proposal", pos)
    return SecurityAssociation(tuple(proposals))


def _transforms(data: bytes, pos: int, end: int, count: int) -> Transforms:
    """Read *count* transforms that fill *pos* to *end*, or find them by their octets, which also tell the count."""
    octets = data[pos:end]
    known = _LISTS.get(octets)
    if known is None or len(known) != count:  # another number is a fault, and reading finds where
        known = Transforms(_read_transforms(octets, count, pos))
        if len(octets) <= _STORED_LIST_LENGTH:
            if len(_LISTS) >= _STORED:
                _LISTS.clear()
            _LISTS[octets] = known
    return known


def _read_transforms(octets: bytes, count: int, offset: int) -> list[Transform]:
    """Read *count* transforms that are all of *octets*; *offset* is where in the message these begin."""
    transforms: list[Transform] = []
    table, pos, end = _FOLLOWED, 0, len(octets)
    while count:
        if end - pos < 8:
            raise InvalidSyntax("transform cut off", offset + pos)
        count -= 1
        if not count:
            table = _FINAL
        length = octets[pos + 3]  # enough for all that are in the table; the others are read with care
        transform = table.get(octets[pos : pos + length])
        if transform is None:
            transform, length = _read_transform(octets, pos, offset, table)
        transforms.append(transform)
        pos += length
    if pos != end:
        raise InvalidSyntax("transforms and proposal disagree about the length", offset + pos)
    return transforms


def _read_transform(octets: bytes, pos: int, offset: int, table: dict[bytes, Transform]) -> tuple[Transform, int]:
    more, length, kind, number = _TRANSFORM.unpack_from(octets, pos)
    stop = pos + length
    if length < 8 or stop > len(octets):
        raise InvalidSyntax(f"transform says it is {length} octets long", offset + pos + 2)
    if more != (_LAST if table is _FINAL else _MORE_TRANSFORMS):
        raise InvalidSyntax(f"transform has Last Substruc {more}, which contradicts their number", offset + pos)
    attributes = _attributes(octets, pos + 8, stop, offset)
    ids = _IDS.get(kind)
    transform = Transform(_TYPES.get(kind, kind), ids.get(number, number) if ids else number, attributes)
    if length <= _STORED_LENGTH:
        if len(table) >= _STORED:
            table.clear()
        table[octets[pos:stop]] = transform
    return transform, length


def _attributes(octets: bytes, pos: int, end: int, offset: int) -> tuple[Attribute, ...]:
    attributes: dict[int, Attribute] = {}
    while pos < end:
        if end - pos < 4:
            raise InvalidSyntax("transform attribute cut off", offset + pos)
        kind, value = _ATTRIBUTE.unpack_from(octets, pos)
        start, pos = pos, pos + 4
        if kind & 0x8000:
            attribute = Attribute(kind & 0x7FFF, value)
        else:
            pos += value
            if pos > end:
                raise InvalidSyntax(f"transform attribute says its value is {value} octets long", offset + start + 2)
            attribute = Attribute(kind, octets[start + 4 : pos])
        if attribute.type in attributes:
            raise InvalidSyntax(f"transform has two attributes of type {attribute.type}", offset + start)
        if len(attributes) >= MAX_ATTRIBUTES:
            raise InvalidSyntax(f"transform has more than {MAX_ATTRIBUTES} attributes", offset + start)
        attributes[attribute.type] = attribute
    return tuple(attributes.values())


_PROTOCOLS = members(Protocol)
_TYPES = members(TransformType)
_IDS = {kind: members(registry) for kind, registry in TRANSFORM_IDS.items()}

_STORED: Final = 1024
_STORED_LENGTH: Final = 16
_FOLLOWED: dict[bytes, Transform] = {}
"""Transforms by the octets of a substructure with another one after it."""
_FINAL: dict[bytes, Transform] = {}
"""The same for the last one of a proposal."""
_STORED_LIST_LENGTH: Final = 512
_LISTS: dict[bytes, Transforms] = {}
"""All transforms of a proposal by their octets, as far as they are not too many."""
