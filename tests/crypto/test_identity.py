"""Identities in words, in octets and in patterns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto import Identity
from ikecore.errors import LocalProtocolError
from ikecore.wire.numbers import IdType

DN = bytes.fromhex("3020310b3009060355040613024445311130 0f06035504030c08".replace(" ", "")) + b"gate way"


@pytest.mark.requirement("IKE-267", "IKE-269", "IKE-270", "IKE-310")
@pytest.mark.parametrize(
    ("text", "kind", "data", "again"),
    [
        ("192.0.2.1", IdType.ID_IPV4_ADDR, b"\xc0\0\2\1", "192.0.2.1"),
        ("ipv4:192.0.2.1", IdType.ID_IPV4_ADDR, b"\xc0\0\2\1", "192.0.2.1"),
        ("2001:db8::1", IdType.ID_IPV6_ADDR, bytes.fromhex("20010db8") + bytes(11) + b"\1", "2001:db8::1"),
        ("ipv6:::1", IdType.ID_IPV6_ADDR, bytes(15) + b"\1", "::1"),
        ("gw.example.org", IdType.ID_FQDN, b"gw.example.org", "fqdn:gw.example.org"),
        ("@gw.example.org", IdType.ID_FQDN, b"gw.example.org", "fqdn:gw.example.org"),
        ("fqdn:10.0.0.1", IdType.ID_FQDN, b"10.0.0.1", "fqdn:10.0.0.1"),
        ("DNS: gw ", IdType.ID_FQDN, b"gw", "fqdn:gw"),
        ("user@example.org", IdType.ID_RFC822_ADDR, b"user@example.org", "email:user@example.org"),
        ("email:odd", IdType.ID_RFC822_ADDR, b"odd", "email:odd"),
        ("keyid:office", IdType.ID_KEY_ID, b"office", "keyid:office"),
        ("keyid:0x00ff", IdType.ID_KEY_ID, b"\0\xff", "keyid:0x00ff"),
        ("keyid:0x3078", IdType.ID_KEY_ID, b"0x", "keyid:0x3078"),
        ("C=DE, CN=gate way", IdType.ID_DER_ASN1_DN, DN, "C=DE, CN=gate way"),
        ("asn1dn:c=DE,cn=gate way", IdType.ID_DER_ASN1_DN, DN, "C=DE, CN=gate way"),
        (f"asn1dn:0x{DN.hex()}", IdType.ID_DER_ASN1_DN, DN, "C=DE, CN=gate way"),
    ],
)
def test_words_to_octets_and_back(text: str, kind: int, data: bytes, again: str) -> None:
    identity = Identity.parse(text)
    assert (identity.id_type, identity.data) == (kind, data)
    assert str(identity) == again
    assert Identity.parse(again) == identity


@pytest.mark.requirement("IKE-268")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "fqdn:",
        "fqdn:a\nb",
        "user@exa\0mple",
        "ipv4:::1",
        "ipv6:10.0.0.1",
        "ipv4:x",
        "keyid:0xzz",
        "XY=1",
        "C=, CN=x",
    ],
)
def test_mistakes_are_named(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        Identity.parse(text)


@pytest.mark.parametrize(
    ("text", "pattern", "fits"),
    [
        ("gw.example.org", "gw.example.org", True),
        ("GW.Example.ORG", "gw.example.org", True),
        ("gw.example.org", "*.example.org", True),
        ("a.b.example.org", "*.example.org", True),
        ("example.org", "*.example.org", False),
        (".example.org", "*.example.org", False),
        ("badexample.org", "*.example.org", False),
        ("badexample.org", "fqdn:*example.org", False),
        ("gw.example.org.evil", "*.example.org", False),
        ("anything", "fqdn:*", True),
        ("user@example.org", "fqdn:*", False),
        ("user@example.org", "*@example.org", True),
        ("user@example.org", "email:*", True),
        ("user@sub.example.org", "*@example.org", False),
        ("@gw.example.org", "email:*.example.org", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("fqdn:10.0.0.1", "10.0.0.1", False),
        ("keyid:one", "keyid:one", True),
        ("keyid:ONE", "keyid:one", False),
        ("keyid:one", "keyid:*", False),
        ("C=DE, CN=Gate Way", "C=de, CN=gate  way", True),
        ("C=DE, CN=gate way", "CN=gate way, C=DE", False),
        ("C=DE, CN=gate way", "C=DE", False),
        ("C=DE, CN=gate way", "C=de, CN=*", True),
        ("C=DE, CN=gate way", "C=*, CN=*", True),
        ("C=DE, CN=gate way", "CN=*, C=*", False),
        ("C=DE, CN=gate way", "CN=*", False),
        ("C=DE, O=x, CN=gate way", "C=DE, CN=*", False),
        ("C=DE, CN=gate way", "C=FR, CN=*", False),
        ("C=DE, CN=gate way", "C=DE, CN=g*", False),
        ("fqdn:gw", "CN=*", False),
        ("asn1dn:0x3080", "CN=*", False),
    ],
)
def test_patterns(text: str, pattern: str, fits: bool) -> None:
    assert Identity.parse(text).matches(Identity.parse(pattern)) is fits


@pytest.mark.parametrize(
    ("text", "is_pattern"),
    [
        ("*.example.org", True),
        ("*@x", True),
        ("a.*", False),
        ("keyid:*", False),
        ("::", False),
        ("C=DE, CN=*", True),
        ("C=DE, CN=a*", False),
    ],
)
def test_what_is_a_pattern(text: str, is_pattern: bool) -> None:
    assert Identity.parse(text).is_pattern is is_pattern


@pytest.mark.parametrize(
    "narrowing",
    [
        ["fqdn:*", "*.org", "*.example.org", "gw.example.org"],
        ["email:*", "*@example.org", "user@example.org"],
        ["C=*, CN=*", "C=DE, CN=*", "C=DE, CN=gate"],
    ],
)
def test_the_narrower_of_two_patterns(narrowing: list[str]) -> None:
    widths = [Identity.parse(text).width for text in narrowing]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == len(widths)
    assert widths[-1] == 0


@given(kind=st.integers(0, 255) | st.sampled_from(list(IdType)), data=st.binary(max_size=400))
def test_what_a_stranger_sends_is_one_printable_line(kind: int, data: bytes) -> None:
    """Log injection (B15): control characters, terminal escapes and broken UTF-8 stay harmless."""
    identity = Identity(kind, data)
    assert str(identity).isprintable()
    assert repr(identity).isprintable()
    assert len(str(identity)) < 5000
    assert identity.matches(identity) or identity.is_pattern


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (IdType.ID_FQDN, b"a\r\nb\x1b[2J%s\xff", "fqdn:a\\x0d\\x0ab\\x1b[2J%s\\xff"),
        (IdType.ID_FQDN, "münchen\\\u202e".encode(), "fqdn:münchen\\\\\\xe2\\x80\\xae"),
        (IdType.ID_FQDN, b"x" * 65000, "fqdn:" + "x" * 256 + "... (65000 octets)"),
        (IdType.ID_IPV4_ADDR, b"123", "malformed-address:0x313233"),
        (IdType.ID_IPV6_ADDR, b"", "malformed-address:0x"),
        (IdType.ID_DER_ASN1_DN, b"\x30\x80", "asn1dn:0x3080"),
        (IdType.ID_KEY_ID, b"\x1b[0m", "keyid:0x1b5b306d"),
        (IdType.ID_NULL, b"", "null"),
        (IdType.ID_NULL, b"x", "type-13:0x78"),
        (200, b"\1", "type-200:0x01"),
    ],
)
def test_how_odd_identities_look(kind: int, data: bytes, text: str) -> None:
    assert str(Identity(kind, data)) == text


@pytest.mark.parametrize("wrong", [None, b"gw.example", 7, Identity(IdType.ID_FQDN, b"gw.example")])
def test_what_is_no_text_is_no_identity_in_words(wrong: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"^identity: a [A-Za-z]+; allowed is a text"):
        Identity.parse(wrong)
