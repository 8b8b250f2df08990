"""Bad inputs B11 and B16 over a long conversation: whatever was sent comes again at each later time, to no effect."""

from __future__ import annotations

import pytest

from tests.model.explorer import Budget
from tests.model.lives import Action, Life, Variant, meet

STORY: list[tuple[int, Action]] = [
    (0, "rekey ike"),
    (1, "rekey one"),
    (1, "rekey ike"),
    (0, "create"),
    (0, "rekey one"),
    (1, "delete two"),
    (0, "rekey ike"),
    (1, "liveness"),
]


def step(life: Life, number: int, action: Action) -> None:
    life.actions = (life.actions[0], (*life.actions[1], action))
    life.flat.append(action)
    life.act(number, action)


@pytest.mark.requirement("IKE-064")
@pytest.mark.parametrize("variant", ["plain", "windows", "groups"])
def test_each_message_of_a_long_conversation_replayed_at_each_later_time(variant: Variant) -> None:
    life = meet((), (), variant, Budget())
    for number, action in STORY:
        step(life, number, action)
        while life.bag or any(side.view and side.view.replaced_spis for side in life.sides):
            life.do(life.moves()[0])
            waiting = list(life.bag)
            life.bag.clear()
            life.replay(answered=[each for each in life.wire if each not in waiting])
            life.bag = waiting
    life.settle()
    life.check_end()


@pytest.mark.parametrize("variant", ["plain", "windows"])
@pytest.mark.parametrize("action", ["delete one", "delete ike"])
def test_deleted_many_times_by_both_sides_at_once(action: Action, variant: Variant) -> None:
    """Each wish ends once, and what is gone is released once."""
    life = meet((action,) * 3, (action,) * 3, variant, Budget())
    life.settle()
    life.check_end()
