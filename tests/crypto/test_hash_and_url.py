"""Certificates by hash and URL: what is taken for a URL, and what of it once it was fetched (RFC 7296 section 3.6)."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto import LARGEST_FETCHED, Reference, read_reference, reference_to, take_fetched
from ikecore.errors import AuthenticationFailed, LocalProtocolError
from ikecore.wire.numbers import CertEncoding

URL = "http://certs.example/a.der"
DIGEST = hashlib.sha1(b"der").digest()


def tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


@pytest.mark.requirement("IKE-271")
def test_a_reference_is_read_as_it_was_made() -> None:
    data = reference_to(b"der", URL)
    assert data == DIGEST + URL.encode()
    assert read_reference(CertEncoding.HASH_AND_URL_X509, data) == Reference(URL, DIGEST, False)
    assert read_reference(CertEncoding.HASH_AND_URL_BUNDLE, data).bundle


@pytest.mark.parametrize(
    "url",
    [
        "", "certs.example", "http:/certs.example", "http://", "http:///etc/passwd", "file:///etc/passwd",
        "ldap://certs.example", "ftp://certs.example/a", "http://a b", "http://a\r\nHost: b", "http://a\x00", "http://\xe4",
        "http://" + "a" * 1024,
    ],
)  # fmt: skip
def test_what_nobody_should_fetch_is_no_reference(url: str) -> None:
    data = DIGEST + url.encode("latin-1")
    with pytest.raises(AuthenticationFailed) as caught:
        read_reference(CertEncoding.HASH_AND_URL_X509, data)
    assert str(caught.value).isprintable()
    with pytest.raises(LocalProtocolError):
        reference_to(b"der", url)


@pytest.mark.parametrize("url", ["http://a", "HTTPS://certs.example:8443/%20?x=1#y"])
def test_urls_that_are_taken(url: str) -> None:
    assert read_reference(CertEncoding.HASH_AND_URL_X509, DIGEST + url.encode()).url == url


@given(data=st.binary(max_size=60))
def test_any_octets_are_a_reference_or_refused(data: bytes) -> None:
    with suppress(AuthenticationFailed):
        assert read_reference(CertEncoding.HASH_AND_URL_X509, data).digest == data[:20]


def fetched(octets: bytes, *, bundle: bool = False) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    return take_fetched(Reference(URL, hashlib.sha1(octets).digest(), bundle), octets)


@pytest.mark.requirement("IKE-271")
def test_what_was_fetched_is_taken_if_it_is_what_the_hash_stands_for() -> None:
    assert fetched(b"der") == ((b"der",), ())
    bundle = tlv(0x30, tlv(0xA0, b"one") + tlv(0xA1, b"list") + tlv(0xA0, b"two"))
    assert fetched(bundle, bundle=True) == ((b"one", b"two"), (b"list",))
    assert fetched(tlv(0x30, b""), bundle=True) == ((), ())


@pytest.mark.parametrize("octets", [b"dem", b"der ", b""])
def test_other_octets_are_not_taken(octets: bytes) -> None:
    with pytest.raises(AuthenticationFailed, match=r"another hash|not fetched"):
        take_fetched(Reference(URL, DIGEST, False), octets)


@pytest.mark.parametrize(
    "octets",
    [b"\1", tlv(0x31, b""), tlv(0x30, tlv(0xA2, b"")), tlv(0x30, b"\xa0\x05x"), tlv(0x30, b"") * 2, b"\x30\x80\0\0"],
)
def test_what_is_no_bundle(octets: bytes) -> None:
    with pytest.raises(AuthenticationFailed, match="bundle is none"):
        fetched(octets, bundle=True)


def test_too_much_is_not_even_hashed() -> None:
    fetched(bytes(LARGEST_FETCHED))
    with pytest.raises(AuthenticationFailed, match="the most is"):
        fetched(bytes(LARGEST_FETCHED + 1))
