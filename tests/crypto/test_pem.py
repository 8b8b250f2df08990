"""Certificates out of files."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto.pem import load_certificates, load_crls
from ikecore.errors import LocalProtocolError

PKI = Path(__file__).parents[1] / "vectors" / "pki"
ROOT, LEAF = (PKI / "root.pem").read_bytes(), (PKI / "a.lab.pem").read_bytes()


def pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{b64encode(der).decode()}\n-----END {label}-----\n".encode()


def test_pem_and_der_are_read_in_order() -> None:
    root, leaf = load_certificates(b"a comment\n" + ROOT + LEAF.replace(b"\n", b"\r\n"))
    assert x509.load_der_x509_certificate(root) == x509.load_pem_x509_certificate(ROOT)
    assert x509.load_der_x509_certificate(leaf) == x509.load_pem_x509_certificate(LEAF)
    assert load_certificates(leaf) == (leaf,)


def test_other_blocks_are_passed_over() -> None:
    (root,) = load_certificates(ROOT)
    assert load_certificates(pem("PRIVATE KEY", b"\x30\0") + ROOT + pem("EC PARAMETERS", b"x")) == (root,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        pem("PRIVATE KEY", b"\x30\0"),
        pem("CERTIFICATE", b"x"),
        ROOT[:200],
        ROOT.replace(b"M", b"!"),
        b"\x30\1",
    ],
)
def test_what_holds_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="certificate"):
        load_certificates(data)


@given(data=st.binary(max_size=200) | st.binary(max_size=100).map(lambda part: ROOT[:50] + part + ROOT[60:]))
def test_any_octets_are_certificates_or_an_error_of_the_caller(data: bytes) -> None:
    with suppress(LocalProtocolError):
        assert load_certificates(data)


def test_revocation_lists_likewise() -> None:
    one, two = b"\x30\1x", b"\x30\1y"
    assert load_crls(one) == (one,)
    assert load_crls(pem("X509 CRL", one) + ROOT + pem("X509 CRL", two)) == (one, two)
    for data in (b"", ROOT, pem("X509 CRL", b"x"), pem("X509 CRL", one).replace(b"M", b"!")):
        with pytest.raises(LocalProtocolError, match="revocation list"):
            load_crls(data)
