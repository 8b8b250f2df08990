"""How often something may be done for strangers."""

from __future__ import annotations

from ikecore.endpoint.allowance import Allowance
from ikecore.limits import Limits
from tests.rig import Puppet, Rig


def taken(allowance: Allowance, moments: list[float]) -> list[bool]:
    return [allowance.take(moment) for moment in moments]


def test_so_many_at_once_and_then_as_time_goes_by() -> None:
    allowance = Allowance(3)
    assert taken(allowance, [0.0] * 4) == [True, True, True, False]
    assert taken(allowance, [0.4, 0.4]) == [True, False]
    assert taken(allowance, [1000.0] * 4) == [True, True, True, False]


def test_less_than_one_per_second_is_seldom_and_not_never() -> None:
    allowance = Allowance(0.125)
    assert taken(allowance, [0.0, 0.0, 7.0, 8.0, 15.0, 16.0]) == [True, False, False, True, False, True]
    assert taken(allowance, [1000.0, 1000.0]) == [True, False]


def test_nothing_per_second_is_never() -> None:
    assert taken(Allowance(0), [0.0, 1.0, 1e6]) == [False] * 3


def test_strangers_are_answered_at_a_slow_rate_too() -> None:
    rig = Rig(limits=Limits(stateless_per_second=0.5))
    stranger = Puppet(rig)
    old = bytearray(stranger.init_message())
    old[17] = 0x30  # major version 3
    answers = []
    for _ in range(5):
        answers.append(len(stranger.give(bytes(old))))
        rig.run_for(1.0)
    assert answers == [1, 0, 1, 0, 1]
