"""Distinguished names as octets and as text, and octets of strangers as text that is safe to show.

Enough of DER for a Name (RFC 5280 section 4.1.2.4), so that a peer without certificates needs no X.509. Reading is
total: octets that are no name give None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, TypeAlias

from ..errors import LocalProtocolError

__all__ = [
    "Name",
    "decode_name",
    "elements",
    "encode_name",
    "has_wildcard",
    "is_one_sequence",
    "name_fits",
    "parse_name",
    "printable",
    "same_name",
]

Name: TypeAlias = tuple[tuple[bytes, int, bytes], ...]
"""Attributes in order: object identifier (as in DER), tag of the string, its octets."""

_SEQUENCE, _SET, _OID, _UTF8, _PRINTABLE, _IA5 = 0x30, 0x31, 0x06, 0x0C, 0x13, 0x16
_T61, _UNIVERSAL, _BMP = 0x14, 0x1C, 0x1E
_ENCODINGS: Final = {
    _UTF8: "utf-8",
    _PRINTABLE: "ascii",
    _IA5: "ascii",
    _T61: "latin-1",
    _UNIVERSAL: "utf-32-be",
    _BMP: "utf-16-be",
}
_ATTRIBUTES: Final[Mapping[str, tuple[bytes, int]]] = {
    "CN": (bytes.fromhex("550403"), _UTF8),
    "SN": (bytes.fromhex("550404"), _UTF8),
    "serialNumber": (bytes.fromhex("550405"), _PRINTABLE),
    "C": (bytes.fromhex("550406"), _PRINTABLE),
    "L": (bytes.fromhex("550407"), _UTF8),
    "ST": (bytes.fromhex("550408"), _UTF8),
    "street": (bytes.fromhex("550409"), _UTF8),
    "O": (bytes.fromhex("55040a"), _UTF8),
    "OU": (bytes.fromhex("55040b"), _UTF8),
    "title": (bytes.fromhex("55040c"), _UTF8),
    "GN": (bytes.fromhex("55042a"), _UTF8),
    "UID": (bytes.fromhex("0992268993f22c640101"), _UTF8),
    "DC": (bytes.fromhex("0992268993f22c640119"), _IA5),
    "emailAddress": (bytes.fromhex("2a864886f70d010901"), _IA5),
}
_BY_WORD: Final = {word.lower(): value for word, value in _ATTRIBUTES.items()} | {
    "s": _ATTRIBUTES["ST"],
    "e": _ATTRIBUTES["emailAddress"],
    "email": _ATTRIBUTES["emailAddress"],
}
_BY_OID: Final = {oid: word for word, (oid, _) in _ATTRIBUTES.items()}
_SHOWN: Final = 256
"""Octets of a stranger's text that are shown."""


def printable(data: bytes) -> str:
    """Return *data* as one line of printable text: UTF-8 where it is, the rest escaped, a long end cut off."""
    text = data[:_SHOWN].decode("utf-8", "surrogateescape")
    if not text.isprintable() or "\\" in text:
        text = "".join([each if each.isprintable() and each != "\\" else _escaped(each) for each in text])
    return text if len(data) <= _SHOWN else f"{text}... ({len(data)} octets)"


def _escaped(character: str) -> str:
    octets = character.encode("utf-8", "surrogateescape")
    return "\\\\" if character == "\\" else "".join([f"\\x{octet:02x}" for octet in octets])


# --- text to DER ------------------------------------------------------------------------------------------------------


def encode_name(text: str) -> bytes:
    r"""Encode "C=XX, O=Example, CN=gateway" in that order. A comma in a value is written "\,".

    Raises LocalProtocolError, naming the attributes that are known.
    """
    attributes = []
    for part in re.split(r"(?<!\\),", text):
        word, equals, value = part.partition("=")
        known = _BY_WORD.get(word.strip().lower())
        value = value.strip().replace("\\,", ",")
        if not equals or known is None or not value or not value.isprintable():
            raise LocalProtocolError(
                f"name {text!r}: {part.strip()!r} is no attribute; known are {', '.join(_ATTRIBUTES)}"
            )
        oid, tag = known
        octets = value.encode()
        if not value.isascii():
            tag = _UTF8
        attributes.append(_tlv(_SET, _tlv(_SEQUENCE, _tlv(_OID, oid) + _tlv(tag, octets))))
    return _tlv(_SEQUENCE, b"".join(attributes))


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


# --- DER to text ------------------------------------------------------------------------------------------------------


def parse_name(data: bytes) -> Name | None:
    """Return the attributes of a DER Name, None if *data* is none. Linear in its length."""
    try:
        return tuple(_attributes(data))
    except ValueError:
        return None


def _attributes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield the attributes of a DER Name. ValueError where it is none, as soon as that shows."""
    ((tag, start, end),) = elements(data, 0, len(data))
    if tag != _SEQUENCE:
        raise ValueError("not a sequence")
    for relative in elements(data, start, end):
        for attribute in elements(data, *_within(relative, _SET)):
            yield _attribute(data, attribute)


def _as_long_as(name: Name, data: bytes) -> Name | None:
    """Return the attributes of *data* if it is a DER Name with as many as *name*.

    A stranger's may have thousands, and is compared with that of every connection: one too many is enough.
    """
    try:
        found = tuple(islice(_attributes(data), len(name) + 1))
    except ValueError:
        return None
    return found if len(found) == len(name) else None


def is_one_sequence(data: bytes) -> bool:
    """Tell whether *data* is one DER SEQUENCE from beginning to end, whatever is in it."""
    try:
        return [tag for tag, _, _ in elements(data, 0, len(data))] == [_SEQUENCE]
    except ValueError:
        return False


def _attribute(data: bytes, element: tuple[int, int, int]) -> tuple[bytes, int, bytes]:
    (oid_tag, oid, oid_end), (tag, value, value_end) = elements(data, *_within(element, _SEQUENCE))
    if oid_tag != _OID:
        raise ValueError("an attribute without a type")
    return data[oid:oid_end], tag, data[value:value_end]


def _within(element: tuple[int, int, int], tag: int) -> tuple[int, int]:
    if element[0] != tag:
        raise ValueError("another element than expected")
    return element[1], element[2]


def elements(data: bytes, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield tag, begin and end of the contents of each DER element. ValueError for lengths that do not fit."""
    while pos < end:
        if end - pos < 2:
            raise ValueError("an element is cut off")
        tag, length = data[pos], data[pos + 1]
        pos += 2
        if length & 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 3 or end - pos < octets:
                raise ValueError("a length that is indefinite, too large or cut off")
            length = int.from_bytes(data[pos : pos + octets], "big")
            pos += octets
        if length > end - pos:
            raise ValueError("an element beyond its container")
        yield tag, pos, pos + length
        pos += length


def decode_name(data: bytes) -> str | None:
    """Return a DER Name as "C=XX, O=Example, CN=gateway", printable; None if *data* is none."""
    name = parse_name(data)
    if name is None:
        return None
    parts = []
    for oid, tag, value in name:
        word = _BY_OID.get(oid, f"oid-{oid.hex()}")
        parts.append(f"{word}={printable(_text(tag, value).encode('utf-8', 'surrogateescape'))}".replace(",", "\\,"))
    return ", ".join(parts)


def _text(tag: int, value: bytes) -> str:
    try:
        return value.decode(_ENCODINGS.get(tag, "utf-8"))
    except UnicodeDecodeError:
        return value.decode("utf-8", "surrogateescape")


def same_name(one: bytes, other: bytes) -> bool:
    """Tell whether two DER Names are the same: attributes in order, whatever the kind of string and the case.

    *one* may be a stranger's, of any length.
    This is the comparison of RFC 5280 section 7.1 without the normalization of characters beyond ASCII.
    """
    if one == other:
        return True
    second = parse_name(other)
    first = None if second is None else _as_long_as(second, one)
    return first is not None and second is not None and _comparable(first) == _comparable(second)


def _comparable(name: Name) -> list[tuple[bytes, str]]:
    return [(oid, " ".join(_text(tag, value).casefold().split())) for oid, tag, value in name]


def has_wildcard(data: bytes) -> bool:
    """Tell whether a DER Name has an attribute whose value is "*"."""
    return any(_text(tag, value) == "*" for _, tag, value in parse_name(data) or ())


def name_fits(name: bytes, pattern: bytes) -> bool:
    """Tell whether a DER Name fits *pattern*: the same attributes in order, where a value "*" stands for any."""
    other = parse_name(pattern)
    one = None if other is None else _as_long_as(other, name)
    if one is None or other is None:
        return False
    pairs = zip(_comparable(one), _comparable(other), strict=True)
    return all(ours[0] == wanted[0] and wanted[1] in ("*", ours[1]) for ours, wanted in pairs)
