"""Message IDs: what may be sent, what may be taken, what is kept (RFC 7296 sections 2.1 to 2.3)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.outputs import StreamId
from ikecore.sa import OutgoingRequest, OutgoingResponse
from ikecore.sa.window import LAST_ID, Glance, RequestWindow, ResponseWindow
from ikecore.transport import DatagramPath, Path, StreamPath

PATH = DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 500), False)
STREAM = StreamPath(StreamId(1), ("10.0.0.2", 500), ("10.0.0.1", 40000))
NOBODY: Any = None


def request(message_id: int) -> OutgoingRequest:
    return OutgoingRequest(37, message_id, lambda: b"octets", (), handler=NOBODY, expected=0, started=0.0)


def response(message_id: int) -> OutgoingResponse:
    return OutgoingResponse(37, message_id, lambda: b"octets", ())


def answered(window: ResponseWindow, message_id: int, digest: bytes = b"a") -> OutgoingResponse:
    window.begin(message_id, digest, PATH)
    made = response(message_id)
    assert window.answer(message_id, made) == [PATH]
    return made


# --- our requests -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-055", "IKE-056", "IKE-058")
def test_ids_count_up_and_end_with_32_bits() -> None:
    window = RequestWindow(1)
    assert [window.take_id(), window.take_id()] == [1, 2]
    window.next_id = LAST_ID
    assert not window.used_up
    assert window.take_id() == 0xFFFF_FFFF
    assert window.used_up


@pytest.mark.requirement("IKE-060", "IKE-061", "IKE-063")
def test_a_request_waits_until_the_one_before_is_answered() -> None:
    window = RequestWindow()
    assert window.has_room
    window.unanswered[window.take_id()] = request(0)
    assert not window.has_room
    del window.unanswered[0]
    assert window.has_room


@pytest.mark.requirement("IKE-063", "IKE-065")
@given(size=st.integers(1, 6), steps=st.lists(st.integers(0, 9), max_size=40))
def test_holes_count_in_a_larger_window(size: int, steps: list[int]) -> None:
    """Request X waits until all up to X - size are answered, in whatever order answers come."""
    window = RequestWindow()
    window.size = size
    for step in steps:
        if step < 6 and window.has_room:
            new = window.take_id()
            assert all(number > new - size for number in window.unanswered)
            window.unanswered[new] = request(new)
        elif window.unanswered:
            del window.unanswered[sorted(window.unanswered)[step % len(window.unanswered)]]
    oldest = min(window.unanswered, default=window.next_id)
    assert window.has_room == (window.next_id - oldest < size)


# --- the peer's requests ------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-046", "IKE-048", "IKE-049", "IKE-064")
def test_the_last_answer_is_kept_and_those_before_forgotten() -> None:
    window = ResponseWindow()
    first = answered(window, 0)
    assert window.stored(0) is first
    assert window.glance(0, b"a") is Glance.REPEAT
    second = answered(window, 1, b"b")
    assert window.stored(0) is None
    assert window.glance(0, b"a") is Glance.FORGOTTEN
    assert window.glance(1, b"b") is Glance.REPEAT
    assert window.stored(1) is second
    assert window.latest() == (b"b", second)


@pytest.mark.requirement("IKE-046", "IKE-052")
def test_other_octets_with_a_known_id_are_only_perhaps_a_repeat() -> None:
    window = ResponseWindow()
    answered(window, 0)
    assert window.glance(0, b"other") is Glance.PERHAPS_REPEAT


@pytest.mark.requirement("IKE-063", "IKE-068")
@pytest.mark.parametrize("size", [1, 3])
def test_what_is_new_and_what_is_ahead(size: int) -> None:
    window = ResponseWindow(5)
    window.size = size
    assert window.glance(4, b"") is Glance.FORGOTTEN
    for number in range(5, 5 + size):
        assert window.glance(number, b"") is Glance.NEW
    assert window.glance(5 + size, b"") is Glance.AHEAD
    assert window.glance(LAST_ID, b"") is Glance.AHEAD


def test_a_glance_changes_nothing() -> None:
    window = ResponseWindow()
    for _ in range(3):
        assert window.glance(0, b"a") is Glance.NEW
    assert window.expected == 0
    assert window.latest() is None
    assert window.stored(0) is None


@pytest.mark.requirement("IKE-058")
def test_the_last_id_of_all_is_taken_and_nothing_after_it() -> None:
    window = ResponseWindow(LAST_ID)
    answered(window, LAST_ID)
    assert window.glance(LAST_ID, b"a") is Glance.REPEAT
    assert window.glance(0, b"x") is Glance.FORGOTTEN
    assert window.expected == LAST_ID + 1


@pytest.mark.requirement("TCP-80", "IKE-046")
def test_a_request_in_progress_gathers_the_paths_that_wait() -> None:
    window = ResponseWindow()
    window.begin(0, b"a", PATH)
    assert (window.is_wanted_on(0, PATH), window.is_wanted_on(0, STREAM)) == (True, False)
    assert window.glance(0, b"a") is Glance.IN_PROGRESS
    assert window.also_wanted_on(0, STREAM)
    assert window.also_wanted_on(0, PATH)
    assert window.glance(0, b"other octets") is Glance.IN_PROGRESS_OTHERWISE
    assert window.undecided() == [(0, PATH), (0, STREAM)]
    assert window.answer(0, response(0)) == [PATH, STREAM]
    assert window.undecided() == []
    assert not window.is_wanted_on(0, PATH)


def test_paths_that_wait_are_bounded_and_a_refused_one_is_told() -> None:
    window = ResponseWindow()
    window.begin(0, b"a", PATH)
    paths: list[Path] = [StreamPath(StreamId(n), ("10.0.0.2", 500), ("10.0.0.1", n)) for n in range(1, 10)]
    taken = [window.also_wanted_on(0, path) for path in paths]
    most = ResponseWindow.MOST_PATHS
    assert taken == [True] * (most - 1) + [False] * (10 - most)
    assert window.also_wanted_on(0, paths[0])
    assert len(window.answer(0, response(0))) == most


@given(size=st.integers(1, 4), order=st.lists(st.integers(0, 12), max_size=60))
def test_each_id_is_begun_at_most_once(size: int, order: list[int]) -> None:
    window = ResponseWindow()
    window.size = size
    begun: list[int] = []
    for number in order:
        if window.glance(number, b"") is Glance.NEW:
            window.begin(number, b"", PATH)
            begun.append(number)
            window.answer(number, response(number))
    assert len(begun) == len(set(begun))
    kept = [number for number in range(20) if window.stored(number) is not None]
    assert len(kept) <= size


@pytest.mark.requirement("IKE-048", "IKE-049")
def test_answers_are_forgotten_after_their_time_and_their_requests_ignored() -> None:
    window = ResponseWindow()
    window.size = 3
    for message_id, moment in enumerate((100.0, 200.0, 250.0)):
        answered(window, message_id).answered_at = moment
    window.begin(3, b"a", PATH)
    assert window.forget(350.0, 300.0) == 400.0
    assert window.stored(0) is not None
    assert window.forget(500.0, 300.0) == 550.0
    assert [window.glance(number, b"a") for number in range(4)] == [
        Glance.FORGOTTEN,
        Glance.FORGOTTEN,
        Glance.REPEAT,
        Glance.IN_PROGRESS,
    ]
    assert window.forget(550.0, 300.0) == math.inf
    assert window.latest() is None
