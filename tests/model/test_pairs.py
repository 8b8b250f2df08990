"""Every pair of things that both sides do at once, in every order of arrival (RFC 7296 sections 2.8, 2.25 and 1.4.1).

The runs are generated: `lives` says what both sides do and what has to come of it, `explorer` finds every order. Lost,
doubled and late datagrams multiply the orders, so without `IKECORE_PAIRS` the worse ones are looked at only where both
sides change the same thing, and where there are very many orders, a part of them (docs/testing-depth.md has figures).
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from functools import partial

import pytest

from tests.model.audit import Outcome, check_redundant
from tests.model.explorer import Budget, explore
from tests.model.lives import ACTIONS, Action, Life, Variant, meet

FULL = bool(os.environ.get("IKECORE_PAIRS"))
VARIANTS: tuple[Variant, ...] = ("plain", "windows", "groups")
FIRST = tuple(each for each in ACTIONS if not each.endswith("two"))
"""What the first side does: it makes no difference which of the two Child SAs is called "one"."""
PAIRS = list(itertools.product(FIRST, ACTIONS))
SAME: list[tuple[Action, Action]] = [
    ("rekey one", "rekey one"),
    ("rekey one", "delete one"),
    ("delete one", "delete one"),
    ("rekey ike", "rekey ike"),
    ("rekey ike", "create"),
    ("delete one", "rekey ike"),
    ("rekey ike", "delete ike"),
    ("delete ike", "delete ike"),
]
"""Both sides change the same thing, or what it hangs on."""
WORSE = [Budget(losses=2), Budget(copies=1), Budget(waits=1)]
WORST = [Budget(losses=1, copies=1), Budget(losses=1, waits=1)]
FEW = None if FULL else 150
"""Runs of a test whose orders are too many to go through all of them every time."""


def every(
    first: tuple[Action, ...],
    second: tuple[Action, ...],
    variant: Variant,
    budget: Budget,
    seed: str = "",
    most: int | None = None,
) -> list[Life]:
    """Go through every order, or *most* of them, check each at its end, and return the runs."""
    found = []
    for run in explore(partial(meet, first, second, variant, budget, seed), most):
        assert isinstance(run, Life)
        try:
            run.check_end()
        except AssertionError as error:
            error.add_note(f"at the end of: {run.story}")
            raise
        found.append(run)
    assert found
    return found


@pytest.mark.requirement(
    "IKE-035", "IKE-126", "IKE-131", "IKE-221", "IKE-222", "IKE-225", "IKE-227", "IKE-228", "IKE-229", "IKE-231"
)
@pytest.mark.requirement("IKE-232", "IKE-233")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_pair_in_every_order(first: Action, second: Action, variant: Variant) -> None:
    every((first,), (second,), variant, Budget())


@pytest.mark.requirement("IKE-129", "IKE-132", "IKE-133", "IKE-223")
@pytest.mark.parametrize("variant", VARIANTS if FULL else VARIANTS[:1])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_pair_while_any_one_datagram_is_lost(first: Action, second: Action, variant: Variant) -> None:
    """A request or an answer is sent again, so that one side may never notice that both did something."""
    every((first,), (second,), variant, Budget(losses=1))


@pytest.mark.parametrize("budget", [*WORSE, *(WORST if FULL else [])], ids=str)
@pytest.mark.parametrize("variant", VARIANTS if FULL else VARIANTS[:1])
@pytest.mark.parametrize(("first", "second"), PAIRS if FULL else SAME)
def test_pairs_on_a_worse_network(first: Action, second: Action, variant: Variant, budget: Budget) -> None:
    """Two are lost, one comes twice, or all that is in flight comes after it was sent again."""
    every((first,), (second,), variant, budget, most=5000 if FULL else FEW)


THREE: list[tuple[Action, Action, Action]] = [
    ("rekey one", "rekey one", "rekey one"),
    ("rekey one", "delete one", "rekey one"),
    ("rekey one", "rekey ike", "rekey one"),
    ("rekey ike", "rekey one", "rekey ike"),
    ("rekey ike", "delete one", "rekey one"),
    ("rekey ike", "rekey ike", "rekey ike"),
    ("create", "rekey ike", "delete one"),
    ("delete one", "delete ike", "rekey one"),
    ("rekey ike", "delete ike", "rekey ike"),
]
EVERY_THREE = [each for each in itertools.product(FIRST, ACTIONS, ACTIONS) if each[0] != "delete ike"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("three", EVERY_THREE if FULL else THREE, ids=", ".join)
def test_a_second_one_waits_behind_the_first(three: tuple[Action, Action, Action], variant: Variant) -> None:
    """One side does two things, of which the second waits for the first where the window is one."""
    every(three[:2], three[2:], variant, Budget(), most=5000 if FULL else FEW)


@pytest.mark.requirement("IKE-127", "IKE-128", "IKE-130", "IKE-226", "IKE-230")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("what", ["child", "ike"])
def test_who_loses_deletes_what_it_made(what: str, variant: Variant) -> None:
    """The nonces decide, which the seeds draw: either side wins in some of the runs."""
    action: Action = "rekey ike" if what == "ike" else "rekey one"
    outcomes: Counter[Outcome] = Counter()
    noticed: set[int] = set()
    alone: set[int] = set()
    for seed in range(20):
        budget = Budget(losses=1) if seed == 0 and variant == "plain" else Budget()
        begin = partial(meet, (action,), (action,), variant, budget, str(seed))
        outcomes.update(check_redundant(run, what) for run in explore(begin, FEW))
        noticed |= {outcome.winner for outcome in outcomes if outcome.noticed}
        alone |= {outcome.winner for outcome in outcomes if outcome.granted == 1}
        if noticed == alone == {0, 1}:
            return
    raise AssertionError(f"only one side ever wins: {outcomes}")
