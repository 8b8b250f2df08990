"""The named moments of one SA."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.sa import Timer
from ikecore.sa.timers import Timers

MOMENTS = st.dictionaries(st.sampled_from(list(Timer)), st.floats(0, 1000), max_size=len(Timer))


def test_nothing_is_due_where_nothing_is_set() -> None:
    timers = Timers()
    assert timers.next is None
    assert timers.take_due(1e9) == []


def test_setting_again_moves_and_clearing_removes() -> None:
    timers = Timers()
    timers.set(Timer.DELETE, 5.0)
    timers.set(Timer.DELETE, 7.0)
    assert timers.is_set(Timer.DELETE)
    assert timers.next == 7.0
    assert timers.take_due(6.0) == []
    timers.clear(Timer.DELETE)
    timers.clear(Timer.DELETE)
    assert not timers.is_set(Timer.DELETE)
    timers.set(Timer.QUESTION, 1.0)
    timers.clear_all()
    assert timers.next is None


@pytest.mark.requirement("IKE-050")
@given(MOMENTS, st.floats(0, 1000))
def test_what_is_due_comes_once_in_order_of_time(moments: dict[Timer, float], now: float) -> None:
    timers = Timers()
    for timer, when in moments.items():
        timers.set(timer, when)
    assert timers.next == min(moments.values(), default=None)
    due = timers.take_due(now)
    assert set(due) == {timer for timer, when in moments.items() if when <= now}
    assert [moments[timer] for timer in due] == sorted(moments[timer] for timer in due)
    assert timers.take_due(now) == []
    later = [when for when in moments.values() if when > now]
    assert timers.next == min(later, default=None)
