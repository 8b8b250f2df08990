"""What a datagram carries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.framing import KEEPALIVE, MARKER, DatagramKind, add_marker, classify

MESSAGE = b"\1" * 28


@pytest.mark.requirement("IKE-044", "IKE-214")
@pytest.mark.parametrize(
    ("data", "kind", "offset"),
    [
        (MARKER + MESSAGE, DatagramKind.IKE, 4),
        (MARKER + MESSAGE[:27], DatagramKind.JUNK, 0),
        (MARKER, DatagramKind.JUNK, 0),
        (b"\0\0\0\1", DatagramKind.ESP, 0),
        (b"\1\0\0\0" + bytes(40), DatagramKind.ESP, 0),
        (b"\1\0\0", DatagramKind.JUNK, 0),
        (b"\0\0\0", DatagramKind.JUNK, 0),
        (KEEPALIVE, DatagramKind.KEEPALIVE, 0),
        (b"\xfe", DatagramKind.JUNK, 0),
        (b"\xff\xff", DatagramKind.JUNK, 0),
        (b"", DatagramKind.JUNK, 0),
    ],
)
def test_with_the_marker(data: bytes, kind: DatagramKind, offset: int) -> None:
    assert classify(data, marker=True) == (kind, offset)


@pytest.mark.requirement("IKE-211", "IKE-214")
@given(st.binary(max_size=80) | st.sampled_from([MARKER + MESSAGE, KEEPALIVE, MESSAGE, MESSAGE[:27]]))
def test_without_the_marker_there_is_only_ike(data: bytes) -> None:
    assert classify(data, marker=False) == (DatagramKind.IKE if len(data) >= 28 else DatagramKind.JUNK, 0)


@pytest.mark.requirement("IKE-044")
@given(st.binary(min_size=28, max_size=80))
def test_marker_added_and_found(message: bytes) -> None:
    datagram = add_marker(message)
    assert datagram == bytes(4) + message
    kind, offset = classify(datagram, marker=True)
    assert kind is DatagramKind.IKE
    assert datagram[offset:] == message
