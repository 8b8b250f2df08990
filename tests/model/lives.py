"""What two applications do to one IKE SA at the same time, and what has to come of it.

The SA has two Child SAs, "one" and "two", of different selectors, so that it can be told what each of them became; a
third, "three", is there to be created.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Literal

import attrs

from ikecore import (
    ChildConfig,
    ChildSaClosed,
    ChildSaFailed,
    Config,
    IkeSaClosed,
    Limits,
    RequestCompleted,
    RequestFailed,
    parse_selector,
)
from ikecore.crypto import esp_proposals, ike_proposals
from ikecore.events import Role
from ikecore.testing import psk_connection
from tests.model.explorer import Budget, Run

__all__ = ["ACTIONS", "Action", "Life", "Variant", "meet"]

Action = Literal["create", "rekey one", "rekey two", "delete one", "delete two", "rekey ike", "delete ike", "liveness"]
ACTIONS: tuple[Action, ...] = (
    "create",
    "rekey one",
    "rekey two",
    "delete one",
    "delete two",
    "rekey ike",
    "delete ike",
    "liveness",
)
Variant = Literal["plain", "windows", "groups"]
"""Windows of one; windows of four; or first key exchange methods that the other side does not know."""

GROUPS = {"plain": ("x25519", "x25519"), "windows": ("x25519", "x25519"), "groups": ("x25519,ecp256", "ecp384,ecp256")}


@cache
def configs(variant: Variant) -> tuple[Config, Config]:
    """Return the configurations of both sides."""
    limits = Limits(window=4 if variant == "windows" else 1, response_resends_per_second=1000.0, rekeyed_lifetime=30.0)
    found = []
    roles: tuple[Role, ...] = ("initiator", "responder")
    for number, role in enumerate(roles):
        groups = GROUPS[variant][number].split(",")
        children = []
        for place, name in enumerate(("one", "two", "three")):
            ours, theirs = (parse_selector(f"10.{place + 1}{each}.0.0/16") for each in (number, 1 - number))
            children.append(
                ChildConfig(
                    name=name,
                    proposals=esp_proposals(*(f"aes128gcm16-{group}" for group in groups)),
                    local_ts=(ours,),
                    remote_ts=(theirs,),
                )
            )
        proposals = ike_proposals(*(f"aes128gcm16-prfsha256-{group}" for group in groups))
        connection = attrs.evolve(psk_connection(role, children=children), proposals=proposals)
        found.append(Config(connections=(connection,), limits=limits, trace=True))
    return found[0], found[1]


class Life(Run):
    """A run that begins with an SA that is up, on which both sides do *actions* before anything arrives."""

    def __init__(
        self, actions: tuple[tuple[Action, ...], tuple[Action, ...]], variant: Variant, budget: Budget, seed: str
    ) -> None:
        super().__init__(configs(variant), seed)
        self.actions = actions
        self.flat = [each for side in actions for each in side]
        self.wish(0, "initiate", configs(variant)[0].connections[0], ["10.0.0.2"])
        self.settle()
        self.act(0, "create", "two")
        self.settle()
        assert [len(side.installed) for side in self.sides] == [2, 2]
        self.began = [len(side.events) for side in self.sides]
        self.wire.clear()
        self.done.clear()
        self.wishes: list[tuple[int, Action, int]] = []
        for number, wished in enumerate(actions):
            for action in wished:
                self.wishes.append((number, action, self.act(number, action)))
        self.budget = budget
        self.check = self.check_traffic

    def act(self, number: int, action: Action, name: str = "three") -> int:
        """Let one side do one thing."""
        sa = self.sides[number].sa
        verb, _, what = action.partition(" ")
        if verb == "create":
            return self.wish(number, "create_child", sa, name)
        if verb == "liveness":
            return self.wish(number, "check_liveness", sa)
        if what == "ike":
            return self.wish(number, verb, sa)
        view = self.sides[number].view
        assert view is not None
        child = next(each.id for each in view.children if each.name == what)
        return self.wish(number, verb, sa, child=child)

    # --- at every moment ---------------------------------------------------------------------------------------------

    def wanted(self, name: str) -> bool:
        """Tell whether nobody wished the end of a Child SA."""
        return f"delete {name}" not in self.flat and "delete ike" not in self.flat

    def check_traffic(self) -> None:
        """What nobody wished away can be sent at every moment: both sides have installed a pair with the same keys."""
        for name in ("one", "two"):
            if self.wanted(name):
                assert self.common(name), f"no Child SA of {name} that both sides have"

    def common(self, name: str) -> list[tuple[bytes, bytes]]:
        """Return the pairs (SPIs as the first side sees them) that both sides have installed."""
        ours, theirs = (side.installed for side in self.sides)
        found = []
        for (spi_in, spi_out), mine in ours.items():
            other = theirs.get((spi_out, spi_in))
            if mine.name == name and other is not None:
                assert other.name == name
                assert (mine.local_ts, mine.remote_ts) == (other.remote_ts, other.local_ts)
                assert mine.suite == other.suite
                sent, got = mine.export_keys(), other.export_keys()
                assert (sent.encr_in, sent.encr_out) == (got.encr_out, got.encr_in)
                found.append((spi_in, spi_out))
        return found

    # --- at the end --------------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """Both sides agree, all wishes have ended, and nothing is left over."""
        assert self.bag == []
        self.check_wishes()
        self.check_spis()
        self.check_children()
        self.replay()
        self.check_alive()

    def check_wishes(self) -> None:
        for number, action, wish in self.wishes:
            side = self.sides[number]
            ends = [
                each
                for each in side.events
                if isinstance(each, RequestCompleted | RequestFailed) and each.request == wish
            ]
            assert len(ends) == 1, f"{action} of side {number} ended {len(ends)} times"
            if not self.may_fail(action):
                assert isinstance(ends[0], RequestCompleted), f"{action} of side {number}: {ends[0]}"
        for side, began in zip(self.sides, self.began, strict=True):
            failed = [each for each in side.events[began:] if isinstance(each, ChildSaFailed)]
            assert len(failed) <= sum(self.may_fail(each) for each in self.flat), failed

    def may_fail(self, action: Action) -> bool:
        """Only what another wish takes the ground from may come to nothing."""
        if action.startswith("delete"):
            return False
        if "delete ike" in self.flat:
            return True
        return action in ("rekey one", "rekey two") and f"delete {action[-3:]}" in self.flat

    def check_spis(self) -> None:
        for side in self.sides:
            closed = [each for each in side.events if isinstance(each, IkeSaClosed)]
            assert len(closed) == ("delete ike" in self.flat), closed
            assert all(each.by in ("us", "peer") for each in closed), closed
        ours, theirs = (side.view for side in self.sides)
        for side, view in zip(self.sides, (ours, theirs), strict=True):
            keeper = side.endpoint._keeper
            spis = set() if view is None else {view.spi_i, view.spi_r}
            assert set(keeper.by_spi) == ({keeper.sas[view.id].current.spi_local} if view else set())
            assert keeper.child_spis.taken == {spi_in for spi_in, _ in side.installed}
            assert set(keeper.by_spi) <= spis
        if "delete ike" in self.flat:
            assert (ours, theirs) == (None, None)
            return
        assert ours is not None
        assert theirs is not None
        assert (ours.spi_i, ours.spi_r) == (theirs.spi_i, theirs.spi_r)
        assert ours.export_keys() == theirs.export_keys()
        assert ours.role != theirs.role
        for view in (ours, theirs):
            assert (view.state, view.replaced_spis) == ("established", ())
        rekeys = [self.flat.count("rekey ike")]
        changed = (ours.spi_i, ours.spi_r) != self.first_spis
        assert changed == any(rekeys)

    @property
    def first_spis(self) -> tuple[bytes, bytes]:
        event = next(each for each in self.sides[0].events if type(each).__name__ == "IkeSaEstablished")
        return event.spi_i, event.spi_r  # type: ignore[attr-defined]

    def check_children(self) -> None:
        """Each Child SA that is wanted is there exactly once, and both sides have the same ones."""
        expected: Counter[str] = Counter()
        if "delete ike" not in self.flat:
            expected.update(name for name in ("one", "two") if self.wanted(name))
            expected["three"] = self.flat.count("create")
        for side in self.sides:
            view = side.view
            assert Counter(each.name for each in side.installed.values()) == +expected
            children = [] if view is None else view.children
            assert {(each.spi_in, each.spi_out) for each in children} == set(side.installed)
        for name, number in expected.items():
            assert len(self.common(name)) == number
        for side in self.sides:
            closed = [each.child for each in side.events if isinstance(each, ChildSaClosed)]
            assert len(closed) == len(set(closed))

    def check_alive(self) -> None:
        """Both sides can still ask each other."""
        self.budget = Budget()
        for number in (0, 1):
            if self.sides[number].sa is not None:
                wish = self.wish(number, "check_liveness", self.sides[number].sa)
                self.settle()
                last = self.sides[number].events[-1]
                assert [each for each in self.sides[number].events if getattr(each, "request", None) == wish], last


def meet(
    first: tuple[Action, ...], second: tuple[Action, ...], variant: Variant, budget: Budget, seed: str = ""
) -> Life:
    """Return a run in which the first side does *first* and the second *second*, at once."""
    return Life((first, second), variant, budget, seed)
