"""The first octets of a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.framing import PREFIX, Framing, sniff, starts_like_prefix


@pytest.mark.requirement("TCP-78", "ENC-024")
@pytest.mark.parametrize(
    ("head", "framing"),
    [
        (b"", None),
        (b"I", None),
        (b"IKETC", None),
        (b"IKETCP", Framing.ENCAPSULATED),
        (b"IKETCP\0\x22", Framing.ENCAPSULATED),
        (b"i", Framing.IKE_TCP),
        (b"IKETCp", Framing.IKE_TCP),
        (b"\x16\x03", Framing.IKE_TCP),
        (bytes(8), Framing.IKE_TCP),
        (b"\0\x22\0\0\0\0", Framing.IKE_TCP),
    ],
)
def test_table(head: bytes, framing: Framing | None) -> None:
    assert sniff(head) is framing


@pytest.mark.requirement("TCP-78")
@given(st.binary(max_size=12) | st.binary(max_size=6).map(lambda end: PREFIX[: 6 - len(end)] + end))
def test_decided_once_and_by_six_octets(head: bytes) -> None:
    decided = {sniff(head[:size]) for size in range(len(head) + 1)} - {None}
    assert len(decided) <= 1
    if len(head) >= len(PREFIX):
        assert decided == {Framing.ENCAPSULATED if head[:6] == PREFIX else Framing.IKE_TCP}


@pytest.mark.requirement("TCP-79")
@pytest.mark.parametrize(
    ("spi", "forbidden"),
    [
        (b"IKETCP\x01\x02", True),
        (b"\0\0\0\0\1\2\3\4", True),
        (bytes(8), True),
        (b"IKETCQ\x01\x02", False),
        (b"\0\0\0\1\0\0\0\0", False),
        (b"\1\0\0\0\0\0\0\0", False),
    ],
)
def test_spis_that_are_never_generated(spi: bytes, forbidden: bool) -> None:
    assert starts_like_prefix(spi) is forbidden
