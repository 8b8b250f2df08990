"""The heap of deadlines: always the earliest, and no larger than what it serves."""

from __future__ import annotations

import gc
import math
import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ikecore.endpoint.schedule import LEAST_STALE, Schedule


class Owner:
    def __init__(self) -> None:
        self.armed: float | None = None
        self.number = 0
        self.deadline: float | None = None
        self.alive = True


def test_nothing_waits_at_first() -> None:
    schedule = Schedule()
    assert schedule.deadline is None
    assert schedule.take_due(math.inf) == []


def test_an_owner_without_a_deadline_is_not_entered() -> None:
    schedule, owner = Schedule(), Owner()
    schedule.arm(owner)
    assert schedule.deadline is None


def test_a_later_deadline_is_found_when_the_old_entry_comes_up() -> None:
    schedule, owner = Schedule(), Owner()
    owner.deadline = 5.0
    schedule.arm(owner)
    owner.deadline = 9.0
    schedule.arm(owner)
    assert schedule.deadline == 9.0
    assert schedule.take_due(8.9) == []
    assert schedule.take_due(9.0) == [owner]
    assert owner.armed is None


def test_an_owner_with_two_entries_for_one_moment_comes_once() -> None:
    schedule, owner = Schedule(), Owner()
    for moment in (5.0, 3.0, 5.0):
        owner.deadline = moment
        schedule.arm(owner)
    assert schedule.deadline == 5.0
    assert len(schedule) == 2
    assert schedule.take_due(5.0) == [owner]


def test_those_of_one_moment_come_in_the_order_they_were_armed() -> None:
    schedule, owners = Schedule(), [Owner() for _ in range(5)]
    for owner in owners:
        owner.deadline = 1.0
        schedule.arm(owner)
    assert schedule.take_due(1.0) == owners


def test_the_heap_does_not_grow_however_often_a_deadline_moves_later() -> None:
    """An idle timer is moved with every message."""
    schedule, owner = Schedule(), Owner()
    for moment in range(10_000):
        owner.deadline = float(moment)
        schedule.arm(owner)
    assert len(schedule) == 1
    assert schedule.deadline == 9999.0


def test_the_heap_does_not_grow_however_often_a_deadline_moves_earlier() -> None:
    """Each such move makes an entry, and leaves one of no use."""
    schedule, owners = Schedule(), [Owner() for _ in range(10)]
    for moment in range(10_000, 0, -1):
        for owner in owners:
            owner.deadline = float(moment)
            schedule.arm(owner)
        assert len(schedule) <= 2 * len(owners) + LEAST_STALE
    assert schedule.take_due(1.0) == owners


def test_an_entry_holds_on_to_nothing_of_its_owner() -> None:
    """What is dead is gone at once, though its entry stays in the heap until there are enough of its kind."""
    gc.disable()
    try:
        schedule, owner = Schedule(), Owner()
        owner.deadline, gone = 5.0, weakref.ref(owner)
        schedule.arm(owner)
        owner.alive = False
        schedule.forget(owner)
        del owner
        assert len(schedule) == 1
        assert gone() is None
    finally:
        gc.enable()


def test_the_dead_do_not_stay_in_the_heap() -> None:
    schedule, owners = Schedule(), [Owner() for _ in range(1000)]
    for owner in owners:
        owner.deadline = 100.0
        schedule.arm(owner)
    for owner in owners[:990]:
        owner.alive = False
        schedule.forget(owner)
    assert len(schedule) <= 10 + LEAST_STALE
    assert schedule.take_due(100.0) == owners[990:]
    schedule.forget(owners[0])
    assert schedule.deadline is None


@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.floats(0, 100)), max_size=60))
def test_entries_are_at_most_the_moves_to_an_earlier_moment(moves: list[tuple[int, float | None]]) -> None:
    schedule, owners = Schedule(), [Owner() for _ in range(5)]
    earlier = 0
    for number, moment in moves:
        owner = owners[number]
        if moment is not None and (owner.armed is None or moment < owner.armed):
            earlier += 1
        owner.deadline = moment
        schedule.arm(owner)
        assert len(schedule) <= earlier
    assert schedule.deadline == min((owner.deadline for owner in owners if owner.deadline is not None), default=None)
    assert len(schedule) <= earlier


class Alarms(RuleBasedStateMachine):
    """Whatever is armed, moved and dropped, the deadline is the earliest of all that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule()
        self.owners: list[Owner] = []
        self.now = 0.0

    @rule(moment=st.floats(0, 50))
    def appear(self, moment: float) -> None:
        owner = Owner()
        owner.deadline = self.now + moment
        self.owners.append(owner)
        self.schedule.arm(owner)

    @precondition(lambda self: self.owners)
    @rule(which=st.integers(0, 100), moment=st.none() | st.floats(0, 50))
    def move(self, which: int, moment: float | None) -> None:
        owner = self.owners[which % len(self.owners)]
        owner.deadline = None if moment is None else self.now + moment
        self.schedule.arm(owner)

    @precondition(lambda self: self.owners)
    @rule(which=st.integers(0, 100))
    def die(self, which: int) -> None:
        owner = self.owners.pop(which % len(self.owners))
        owner.alive = False
        self.schedule.forget(owner)

    @rule(passed=st.floats(0, 30))
    def ring(self, passed: float) -> None:
        self.now += passed
        expected = sorted(
            (owner.deadline, index)
            for index, owner in enumerate(self.owners)
            if owner.deadline is not None and owner.deadline <= self.now
        )
        due = self.schedule.take_due(self.now)
        assert {id(owner) for owner in due} == {id(self.owners[index]) for _, index in expected}
        moments = [owner.deadline for owner in due if isinstance(owner, Owner) and owner.deadline is not None]
        assert moments == sorted(moments)
        for owner in due:
            assert isinstance(owner, Owner)
            owner.deadline = None
            self.schedule.arm(owner)

    @invariant()
    def the_deadline_is_the_earliest(self) -> None:
        alive = [owner.deadline for owner in self.owners if owner.deadline is not None]
        assert self.schedule.deadline == min(alive, default=None)


TestAlarms = Alarms.TestCase
TestAlarms.settings = settings(max_examples=50, deadline=None)
