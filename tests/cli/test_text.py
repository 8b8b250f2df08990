"""Words from strangers come out as one printable line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore_trio.cli.text import address_text, duration, printable, size


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("gateway.example", "gateway.example"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "\\xff\\x00"),
    ],
)
def test_printable(given: Any, shown: str) -> None:
    assert printable(given) == shown


@given(st.one_of(st.text(), st.binary()))
def test_printable_is_one_line_without_controls(data: Any) -> None:
    shown = printable(data)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1


def test_addresses_and_numbers() -> None:
    assert address_text(("192.0.2.1", 500)) == "192.0.2.1:500"
    assert address_text(("2001:db8::1", 4500)) == "[2001:db8::1]:4500"
    assert address_text(None) == "?"
    assert (size(1), size(9312)) == ("1 octet", "9,312 octets")
    assert (duration(0.0124), duration(2.5)) == ("12.4 ms", "2.50 s")
