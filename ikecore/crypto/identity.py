"""Identities: who a peer says it is (RFC 7296 section 3.5), in octets, in words, and in patterns."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

import attrs

from ..checking import check_types
from ..errors import LocalProtocolError
from ..wire.numbers import IdType
from .names import decode_name, encode_name, has_wildcard, name_fits, printable, same_name

__all__ = ["Identity"]

_PREFIXES: Final = {
    "ipv4": IdType.ID_IPV4_ADDR,
    "ipv6": IdType.ID_IPV6_ADDR,
    "fqdn": IdType.ID_FQDN,
    "dns": IdType.ID_FQDN,
    "email": IdType.ID_RFC822_ADDR,
    "rfc822": IdType.ID_RFC822_ADDR,
    "keyid": IdType.ID_KEY_ID,
    "asn1dn": IdType.ID_DER_ASN1_DN,
}
_SHOWN: Final = 1024
"""Characters of an identity in words."""
_KEPT: Final = 256
"""Octets of an identity whose words are kept: those of real peers, and not what a stranger fills memory with."""
_WIDEST: Final = 0xFFFF
"""More octets than an identity can have: its payload ends there."""
_set: Final = object.__setattr__
_TEXTS: Final = (IdType.ID_FQDN, IdType.ID_RFC822_ADDR)


@attrs.frozen(repr=False, init=False)
class Identity:
    """An identity as the ID payload carries it: its type and its data. What a peer sends may be any octets.

    Raises LocalProtocolError for a type that is no number of one octet, and for data that are no octets.
    """

    id_type: int
    data: bytes = attrs.field(metadata={"hint": "ikecore.Identity.parse"})

    def __init__(self, id_type: int, data: bytes) -> None:
        _set(self, "id_type", id_type)
        _set(self, "data", data)
        if type(id_type) is not IdType or type(data) is not bytes:  # a peer's costs no more than this look
            check_types(self)
            if not 0 <= id_type <= 255:
                raise LocalProtocolError(f"id_type: {id_type} does not fit its octet; allowed are 0 to 255")

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read an identity in swanctl's words. Raises LocalProtocolError, saying what is wrong.

        A prefix names the type: "ipv4:", "ipv6:", "fqdn:", "email:", "keyid:", "asn1dn:". Without one, an IP literal is
        an address, "C=..., CN=..." a distinguished name, "@name" a domain name, "user@realm" a mail address, and
        anything else a domain name. "keyid:" and "asn1dn:" take hexadecimal digits after "0x".
        """
        if not isinstance(text, str):
            raise LocalProtocolError(f"identity: a {type(text).__name__}; allowed is a text")
        text = text.strip()
        prefix, colon, rest = text.partition(":")
        kind = _PREFIXES.get(prefix.lower())
        if colon and kind is not None:
            return _typed(kind, rest, text)
        try:
            address = ip_address(text)
        except ValueError:
            pass
        else:
            return cls(IdType.ID_IPV4_ADDR if address.version == 4 else IdType.ID_IPV6_ADDR, address.packed)
        if text.startswith("@"):
            return _typed(IdType.ID_FQDN, text[1:], text)
        if "=" in text:
            return cls(IdType.ID_DER_ASN1_DN, encode_name(text))
        return _typed(IdType.ID_RFC822_ADDR if "@" in text else IdType.ID_FQDN, text, text)

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for more identities than one (see `matches`)."""
        if self.id_type == IdType.ID_DER_ASN1_DN:
            return has_wildcard(self.data)
        return self.id_type in _TEXTS and self.data.startswith(b"*")

    @property
    def width(self) -> int:
        """How wide a pattern is, for choosing the most specific: 0 for one identity, more the fewer octets are given.

        Only the widths of patterns that fit the same identity compare.
        """
        return 1 + _WIDEST - len(self.data) if self.is_pattern else 0

    def matches(self, pattern: Identity) -> bool:
        """Tell whether this identity is *pattern*, or fits it.

        Of domain names "*.example.org" fits every name below example.org, of mail addresses "*@example.org" every one
        in that domain; a "*" alone fits all of its type. Case means nothing in either. In a distinguished name a value
        "*" fits any value of that attribute; the attributes have to be the same, in the same order.
        """
        if self.id_type != pattern.id_type:
            return False
        if self.data == pattern.data and not pattern.data.startswith(b"*"):
            return True
        if self.id_type == IdType.ID_DER_ASN1_DN:
            return same_name(self.data, pattern.data) or (pattern.is_pattern and name_fits(self.data, pattern.data))
        if self.id_type not in _TEXTS:
            return self.data == pattern.data
        name, wanted = self.data.lower(), pattern.data.lower()
        if not wanted.startswith(b"*"):
            return name == wanted
        rest = wanted[1:]
        mark = b"." if self.id_type == IdType.ID_FQDN else b"@"
        # Something has to stand for the star, and the rest has to begin at a boundary.
        return len(name) > len(rest) and name.endswith(rest) and rest[:1] in (b"", mark)

    def __str__(self) -> str:
        """Return one printable line, whatever the data; `parse` reads those of identities that make sense.

        A long one is cut off, since a stranger may send 64 kB: it ends in the number of octets that there are.
        """
        kind, data = self.id_type, self.data
        return _shown(kind, data) if len(data) <= _KEPT else _shown.__wrapped__(kind, data)

    def _in_words(self) -> str:
        kind, data = self.id_type, self.data
        try:
            if kind == IdType.ID_IPV4_ADDR:
                return str(IPv4Address(data))
            if kind == IdType.ID_IPV6_ADDR:
                return str(IPv6Address(data))
        except AddressValueError:
            return f"malformed-address:0x{data.hex()}"
        if kind == IdType.ID_FQDN:
            return f"fqdn:{printable(data)}"
        if kind == IdType.ID_RFC822_ADDR:
            return f"email:{printable(data)}"
        if kind == IdType.ID_DER_ASN1_DN:
            return decode_name(data) or f"asn1dn:0x{data.hex()}"
        if kind == IdType.ID_KEY_ID:
            readable = data.isascii() and data.decode("ascii").isprintable() and not data.startswith(b"0x")
            return f"keyid:{data.decode('ascii') if readable else '0x' + data.hex()}"
        if kind == IdType.ID_NULL and not data:
            return "null"
        return f"type-{int(kind)}:0x{data.hex()}"

    def __repr__(self) -> str:
        return f"Identity({str(self)!r})"


@lru_cache(maxsize=1024)
def _shown(kind: int, data: bytes) -> str:
    """Put an identity into words, as long as they may be. Kept, as an SA says several times who it is between."""
    text = Identity(kind, data)._in_words()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(data)} octets)"


def _typed(kind: int, value: str, text: str) -> Identity:
    value = value.strip()
    if not value:
        raise LocalProtocolError(f"identity {text!r}: there is nothing after the prefix")
    if kind == IdType.ID_DER_ASN1_DN:
        return Identity(kind, _hex(value, text) if value.startswith("0x") else encode_name(value))
    if kind == IdType.ID_KEY_ID:
        return Identity(kind, _hex(value, text) if value.startswith("0x") else value.encode())
    if kind in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
        try:
            address = IPv4Address(value) if kind == IdType.ID_IPV4_ADDR else IPv6Address(value)
        except ValueError:
            raise LocalProtocolError(f"identity {text!r}: {value!r} is no such address") from None
        return Identity(kind, address.packed)
    if not value.isprintable():
        raise LocalProtocolError(f"identity {text!r}: control characters are not allowed")
    return Identity(kind, value.encode())


def _hex(value: str, text: str) -> bytes:
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise LocalProtocolError(f"identity {text!r}: {value!r} is not hexadecimal") from None
