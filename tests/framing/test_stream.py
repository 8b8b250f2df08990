"""Streams of both framings, cut into reads in every way."""

from __future__ import annotations

import importlib
import itertools
import struct
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import LocalProtocolError
from ikecore.framing import PREFIX, EspPacket, Frame, Framing, RawHeader, Receiver, frame_esp, frame_ike, receiver

RAW, ENCAPSULATED = Framing.IKE_TCP, Framing.ENCAPSULATED
BOTH = frozenset(Framing)
BOUND = 3000


def message(length: int = 28, *, spi: bytes = b"initiatr", version: int = 0x20, claimed: int | None = None) -> bytes:
    """Octets with an IKE header; *claimed* is its Length where that differs from the real one."""
    header = struct.pack("!8s8s4B2I", spi, b"responde", 33, version, 34, 8, 7, length if claimed is None else claimed)
    return (header + bytes(range(256)) * (length // 256 + 1))[:length]


def cut(stream: bytes, at: Sequence[int]) -> Iterator[bytes]:
    edges = [0, *sorted(min(point, len(stream)) for point in at), len(stream)]
    for start, end in itertools.pairwise(edges):
        yield stream[start:end]


def octets(stream: bytes) -> Iterator[bytes]:
    for i in range(len(stream)):
        yield stream[i : i + 1]


def always(_header: RawHeader) -> int:
    return BOUND


class Asking:
    """A bound that remembers what it was asked about."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.headers: list[RawHeader] = []

    def __call__(self, header: RawHeader) -> int:
        self.headers.append(header)
        return self.answer


def outcome(
    reads: Iterator[bytes],
    admitted: Framing | frozenset[Framing],
    *,
    prefix: bool,
    bound: Callable[[RawHeader], int] = always,
    unasked: int = 0,
) -> tuple[list[Frame], str, Framing | None, bool]:
    """What a stream gives; on the way, that what is kept stays within what may have to be kept."""
    stream = receiver(admitted, prefix=prefix, bound=bound, esp_bound=BOUND, unasked=unasked)
    frames: list[Frame] = []
    for read in reads:
        frames += stream.receive(read)
        assert stream.buffered < BOUND + 6
        assert stream.buffered == 0 or not stream.at_boundary
    return frames, str(stream.fault), stream.framing, stream.at_boundary


spis = st.binary(min_size=8, max_size=8).filter(lambda spi: any(spi) and not spi.startswith(PREFIX))
messages = st.builds(lambda length, spi: message(length, spi=spi), st.integers(28, 400), spis)
ike_units = messages.map(lambda m: (frame_ike(ENCAPSULATED, m), m))
esp_units = st.binary(min_size=4, max_size=200).filter(lambda p: any(p[:4])).map(lambda p: (frame_esp(p), EspPacket(p)))
silent_units = st.one_of(
    st.just(b"\0\2"),
    st.just(b"\0\3\xff"),
    st.binary(min_size=1, max_size=3).map(lambda body: bytes([0, len(body) + 2]) + body),
    st.integers(0, 27).map(lambda size: bytes([0, size + 6, 0, 0, 0, 0]) + bytes(size)),
).map(lambda octets: (octets, None))
encapsulated_units = st.lists(st.one_of(ike_units, esp_units, silent_units), max_size=12)
points = st.lists(st.integers(0, 3000), max_size=12)


@pytest.mark.requirement("TCP-40", "TCP-41", "TCP-02")
@given(st.lists(messages, max_size=8), points, st.booleans(), st.booleans())
def test_a_raw_stream_gives_its_messages_however_it_is_cut(
    sent: list[bytes], at: list[int], accepted: bool, singly: bool
) -> None:
    stream = b"".join(frame_ike(RAW, m) for m in sent)
    reads = octets(stream) if singly else cut(stream, at)
    framing = RAW if sent or not accepted else None
    assert outcome(reads, BOTH if accepted else RAW, prefix=accepted) == (sent, "None", framing, True)


@pytest.mark.requirement("ENC-011", "ENC-014", "ENC-016", "ENC-022", "ENC-024", "ENC-025", "ENC-077", "ENC-078")
@given(encapsulated_units, points, st.booleans(), st.booleans())
def test_an_encapsulated_stream_gives_its_frames_however_it_is_cut(
    units: list[tuple[bytes, Frame | None]], at: list[int], accepted: bool, singly: bool
) -> None:
    stream = PREFIX * accepted + b"".join(octets for octets, _ in units)
    frames = [frame for _, frame in units if frame is not None]
    reads = octets(stream) if singly else cut(stream, at)
    admitted = BOTH if accepted else ENCAPSULATED
    assert outcome(reads, admitted, prefix=accepted) == (frames, "None", ENCAPSULATED, True)


# Faults: what the peer opens its stream with, what the fault says, its octet, and the number of octets that show it.
GOOD_RAW = message(40)
GOOD_ENCAPSULATED = PREFIX + frame_ike(ENCAPSULATED, message(40))
HEADER_OF_ENCAPSULATED = len(GOOD_ENCAPSULATED) + 6 + 28
FAULTS: dict[str, tuple[Framing | frozenset[Framing], bytes, str, int, int]] = {
    "zero SPI": (BOTH, bytes(8) + message()[8:], "SPI is zero", 0, 8),
    "major version 1": (BOTH, message(version=0x10), "major version 1", 17, 18),
    "not IKE at all": (BOTH, b"GET / HTTP/1.1\r\nHost: vpn.example\r\n", "major version", 17, 18),
    "ESP on a raw stream": (BOTH, b"\x12\x34\x56\x78\0\0\0\x01" + bytes(100), "major version 0", 17, 18),
    "TLS": (BOTH, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\xaa" * 40, "major version 10", 17, 18),
    "marker of UDP on a raw stream": (BOTH, bytes(4) + message(60, version=0x20), "major version", 17, 18),
    "encapsulation without prefix": (BOTH, frame_ike(ENCAPSULATED, message(60)), "major version", 17, 18),
    "raw length 0": (BOTH, GOOD_RAW + message(claimed=0), "0 octets is shorter", 64, 68),
    "raw length 27": (BOTH, GOOD_RAW + message(claimed=27), "27 octets is shorter", 64, 68),
    "raw length above the bound": (BOTH, GOOD_RAW + message(40, claimed=BOUND + 1), "3001 octets is refused", 64, 68),
    "raw length of 4 GiB": (BOTH, GOOD_RAW + message(40, claimed=0xFFFFFFFF), "4294967295 octets", 64, 68),
    "keepalive on a raw stream": (BOTH, GOOD_RAW + b"\xff" + message(40), "refused", 64, 68),
    "encapsulated length 0": (BOTH, GOOD_ENCAPSULATED + bytes(40), "length of 0", 52, 54),
    "encapsulated length 1": (BOTH, GOOD_ENCAPSULATED + b"\0\1" + bytes(40), "length of 1", 52, 54),
    "encapsulated length 0 at once": (BOTH, PREFIX + bytes(2), "length of 0", 6, 8),
    "encapsulated message above the bound": (
        BOTH,
        GOOD_ENCAPSULATED + frame_ike(ENCAPSULATED, message(BOUND + 1)),
        "message of 3001 octets is refused",
        52,
        HEADER_OF_ENCAPSULATED,
    ),
    "ESP above the bound": (BOTH, GOOD_ENCAPSULATED + frame_esp(b"\1" * 3001), "3001 octets is refused", 52, 58),
    "prefix where raw is admitted": (RAW, GOOD_ENCAPSULATED, "encapsulated framing is not admitted", 0, 6),
    "raw where encapsulated is admitted": (ENCAPSULATED, GOOD_RAW, "ike-tcp framing is not admitted", 0, 1),
    "prefix wrong in its last octet": (ENCAPSULATED, b"IKETCQ" + bytes(9), "ike-tcp framing is not admitted", 0, 6),
}


@pytest.mark.requirement("TCP-05", "TCP-44", "TCP-45", "TCP-46", "TCP-78", "ENC-019")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_shows_at_its_octet_however_the_stream_is_cut(name: str) -> None:
    admitted, data, words, octet, shows = FAULTS[name]
    whole = outcome(iter([data]), admitted, prefix=True)
    assert words in whole[1]
    assert f"(octet {octet})" in whole[1]
    assert not whole[3]
    expected = [message(40)] if data.startswith((GOOD_RAW, GOOD_ENCAPSULATED)) and octet else []
    assert whole[0] == expected
    assert outcome(octets(data), admitted, prefix=True) == whole
    for point in range(len(data)):
        assert outcome(cut(data, [point]), admitted, prefix=True) == whole
    assert outcome(octets(data[: shows - 1]), admitted, prefix=True)[1] == "None"
    assert outcome(octets(data[:shows]), admitted, prefix=True) == whole


def test_after_a_fault_input_is_ignored() -> None:
    stream = receiver(BOTH, prefix=True, bound=always)
    assert stream.receive(message(40) + bytes(40)) == [message(40)]
    fault = stream.fault
    assert fault is not None
    assert fault.octet == 64
    for read in (message(40), b"", b"\0", message(2000)):
        assert stream.receive(read) == []
        assert stream.buffered == 0
    stream.eof()
    assert stream.fault is fault
    assert not stream.at_boundary


mutations = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), min_size=1, max_size=6)


@given(st.booleans(), st.lists(messages, min_size=1, max_size=4), encapsulated_units, mutations, points)
def test_a_mutated_stream_gives_frames_or_a_fault_the_same_for_every_cut(
    raw: bool,
    sent: list[bytes],
    units: list[tuple[bytes, Frame | None]],
    mutated: list[tuple[int, int]],
    at: list[int],
) -> None:
    data = bytearray(b"".join(sent) if raw else PREFIX + b"".join(octets for octets, _ in units))
    for place, change in mutated:
        data[place % len(data)] ^= change
    stream = bytes(data)
    whole = outcome(iter([stream]), BOTH, prefix=True)
    assert outcome(cut(stream, at), BOTH, prefix=True) == whole
    assert outcome(octets(stream), BOTH, prefix=True) == whole


@given(st.binary(max_size=300), points, st.sampled_from([BOTH, RAW, ENCAPSULATED]))
def test_any_octets_give_frames_or_a_fault(data: bytes, at: list[int], admitted: Framing | frozenset[Framing]) -> None:
    for prefix in (True, False):
        if prefix or admitted is not BOTH:
            whole = outcome(iter([data]), admitted, prefix=prefix)
            assert outcome(cut(data, at), admitted, prefix=prefix) == whole
            assert outcome(octets(data), admitted, prefix=prefix) == whole


@pytest.mark.requirement("TCP-39", "TCP-40")
@pytest.mark.parametrize("framing", Framing)
@given(st.lists(messages, min_size=1, max_size=4), points)
def test_the_bound_is_asked_once_per_message_with_its_header(
    framing: Framing, sent: list[bytes], at: list[int]
) -> None:
    data = b"".join(frame_ike(framing, m) for m in sent)
    expected = [struct.unpack_from("!8s8s4B2I", m) for m in sent]
    for reads in ([data], cut(data, at), octets(data)):
        asking = Asking(BOUND)
        frames, fault, _, _ = outcome(iter(reads), framing, prefix=False, bound=asking)
        assert (frames, fault) == (sent, "None")
        assert asking.headers == expected


@pytest.mark.requirement("TCP-40", "TCP-45")
@pytest.mark.parametrize(("framing", "overhead"), [(RAW, 0), (ENCAPSULATED, 6)])
def test_the_bound_is_asked_when_the_header_is_in_and_refuses_before_the_body(framing: Framing, overhead: int) -> None:
    asking = Asking(0)
    stream = receiver(framing, prefix=False, bound=asking)
    data = frame_ike(framing, message(1000))
    for octet in octets(data[: overhead + 27]):
        stream.receive(octet)
        assert not asking.headers
    assert stream.receive(data[overhead + 27 :]) == []
    assert len(asking.headers) == 1
    assert stream.fault is not None
    assert stream.buffered == 0


@pytest.mark.requirement("TCP-40", "TCP-45")
@pytest.mark.parametrize("framing", Framing)
@given(st.lists(messages, min_size=1, max_size=6), st.integers(0, 500), points)
def test_messages_up_to_the_size_taken_unasked_are_taken_and_the_others_asked_about(
    framing: Framing, sent: list[bytes], unasked: int, at: list[int]
) -> None:
    data = b"".join(frame_ike(framing, m) for m in sent)
    expected = [struct.unpack_from("!8s8s4B2I", m) for m in sent if len(m) > unasked]
    for reads in ([data], cut(data, at), octets(data)):
        asking = Asking(BOUND)
        frames, fault, _, _ = outcome(iter(reads), framing, prefix=False, bound=asking, unasked=unasked)
        assert (frames, fault) == (sent, "None")
        assert asking.headers == expected


@pytest.mark.requirement("TCP-45")
@pytest.mark.parametrize("framing", Framing)
def test_one_octet_more_than_is_taken_unasked_is_refused_with_its_header(framing: Framing) -> None:
    data = frame_ike(framing, message(100)) + frame_ike(framing, message(101))
    for reads in ([data], list(octets(data))):
        frames, fault, _, _ = outcome(iter(reads), framing, prefix=False, bound=lambda _: 0, unasked=100)
        assert frames == [message(100)]
        assert "a message of 101 octets is refused" in fault


@pytest.mark.requirement("TCP-44")
@pytest.mark.parametrize("length", [0, 27])
def test_a_length_below_the_header_is_never_taken_unasked(length: int) -> None:
    data = message(40) + message(claimed=length)
    frames, fault, _, _ = outcome(iter([data]), RAW, prefix=False, unasked=1000)
    assert frames == [message(40)]
    assert "shorter than its header" in fault


@pytest.mark.requirement("TCP-41")
@pytest.mark.parametrize("framing", Framing)
@pytest.mark.parametrize("length", [28, 29, BOUND])
def test_a_message_of_the_bound_is_taken(framing: Framing, length: int) -> None:
    data = frame_ike(framing, message(length)) * 2
    for reads in ([data], list(octets(data))):
        frames, fault, _, _ = outcome(iter(reads), framing, prefix=False, bound=lambda _: length)
        assert (frames, fault) == ([message(length)] * 2, "None")


@pytest.mark.requirement("TCP-47")
@pytest.mark.parametrize("start", [b"", PREFIX], ids=["raw", "encapsulated"])
def test_the_end_of_a_stream_is_clean_between_messages_only(start: bytes) -> None:
    framing = ENCAPSULATED if start else RAW
    data = start + frame_ike(framing, message(40)) + frame_ike(framing, message(50))
    first = len(start) + len(frame_ike(framing, message(40)))
    for end in range(len(data) + 1):
        stream = receiver(BOTH, prefix=True, bound=always)
        stream.receive(data[:end])
        clean = end in (0, len(start), first, len(data))
        assert stream.at_boundary is clean
        stream.eof()
        assert stream.buffered == 0
        if clean:
            assert stream.fault is None
        else:
            assert stream.fault is not None
            assert stream.fault.octet == end


@pytest.mark.requirement("ENC-025")
def test_a_second_prefix_is_no_prefix() -> None:
    stream = receiver(BOTH, prefix=True, bound=always)
    assert stream.receive(PREFIX + PREFIX + frame_ike(ENCAPSULATED, message(40))) == []
    assert not stream.at_boundary  # an ESP packet of 0x494B octets has begun


@pytest.mark.requirement("ENC-025")
def test_who_opens_an_encapsulated_stream_expects_no_prefix_back() -> None:
    stream = receiver(ENCAPSULATED, prefix=False, bound=always)
    assert stream.framing is ENCAPSULATED
    assert stream.receive(frame_ike(ENCAPSULATED, message(40))) == [message(40)]


def test_a_later_message_may_have_any_version() -> None:
    later = message(40, version=0x30)
    assert outcome(iter([GOOD_RAW + later]), BOTH, prefix=True)[0] == [GOOD_RAW, later]


def test_the_framing_is_known_as_soon_as_it_can_be() -> None:
    stream = receiver(BOTH, prefix=True, bound=always)
    seen = []
    for octet in octets(PREFIX):
        stream.receive(octet)
        seen.append(stream.framing)
    assert seen == [None] * 5 + [ENCAPSULATED]
    stream = receiver(BOTH, prefix=True, bound=always)
    stream.receive(b"IKE")
    assert (stream.framing, stream.buffered, stream.at_boundary) == (None, 3, False)
    stream.receive(b"V")
    assert (stream.framing, stream.buffered) == (RAW, 4)


@pytest.mark.requirement("TCP-78")
def test_an_spi_that_begins_almost_like_the_prefix_is_an_spi() -> None:
    for shared in range(6):
        sent = message(40, spi=(PREFIX[:shared] + b"\x01" + bytes(8))[:8])
        for reads in ([sent], list(octets(sent))):
            assert outcome(iter(reads), BOTH, prefix=True) == ([sent], "None", RAW, True)


@pytest.mark.parametrize(("admitted", "prefix"), [(frozenset(), True), (BOTH, False)])
def test_a_receiver_needs_a_framing_it_can_know(admitted: frozenset[Framing], prefix: bool) -> None:
    with pytest.raises(LocalProtocolError, match="framing"):
        receiver(admitted, prefix=prefix, bound=always)


@pytest.mark.requirement("TCP-40", "TCP-45")
@pytest.mark.parametrize("read", [1, 100, 1448, 65536])
@pytest.mark.parametrize(
    ("framing", "length", "count"),
    [
        *[(framing, *sent) for framing in Framing for sent in ((80, 400), (4000, 20), (60_000, 2))],
        (RAW, 262_144, 1),
    ],
)
def test_octets_are_copied_a_constant_number_of_times(
    framing: Framing, read: int, length: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = 0

    class Held(bytearray):
        """Counts what goes in, and what comes out or is looked through."""

        def __iadd__(self, other: bytes) -> Held:  # type: ignore[override,misc]
            nonlocal copied
            copied += len(other)
            super().__iadd__(other)
            return self

        def __getitem__(self, key: slice) -> bytearray:  # type: ignore[override]
            nonlocal copied
            found = super().__getitem__(key)
            copied += len(found)
            return found

        def __bytes__(self) -> bytes:
            nonlocal copied
            copied += len(self)
            return b"".join((self,))

        def clear(self) -> None:
            nonlocal copied
            copied += len(self)  # they have been joined to what follows them
            super().clear()

    monkeypatch.setattr(importlib.import_module("ikecore.framing.stream"), "bytearray", Held, raising=False)
    stream: Receiver = receiver(framing, prefix=False, bound=lambda _: length)
    data = frame_ike(framing, message(length)) * count
    frames: list[Frame] = []
    for start in range(0, len(data), read):
        frames += stream.receive(data[start : start + read])
    assert frames == [message(length)] * count
    assert 0 < copied + read <= 3 * len(data) + 2 * read


@pytest.mark.requirement("TCP-45", "ENC-016")
def test_a_stream_that_never_completes_a_message_keeps_no_more_than_its_bound() -> None:
    stream = receiver(BOTH, prefix=True, bound=always)
    stream.receive(message(28, claimed=BOUND))
    largest = 0
    for _ in range(BOUND):
        stream.receive(b"x")
        largest = max(largest, stream.buffered)
    assert largest == BOUND - 1
