"""Two cores over the whole life of an IKE SA: wishes of both applications, any network, and sides that start afresh.

Hypothesis plays the applications, the network and time. In the end the network is good again and both sides ask whether
the other is there, as one does that looks for dead peers. When it has been quiet for longer than such a check and its
giving up take, both must agree on which SAs exist, with which keys, and every wish must have had one end.
"""

from __future__ import annotations

import os

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ikecore import IkeSaClosed, LocalProtocolError, RequestCompleted, RequestFailed
from tests.model.explorer import Move, Run, Side
from tests.model.lives import ACTIONS, Action, Variant, configs

SIDES = st.sampled_from([0, 1])
ACTION = st.sampled_from(["create", *["rekey one", "rekey two", "rekey ike"] * 2, *ACTIONS])
ONE_OR_TWO = st.lists(ACTION, min_size=1, max_size=2)
GIVEN_UP = 1000.0
"""Longer than all transmissions of a request, one after the other, with what waited behind it."""

HARMLESS = 6
"""Fewer than the transmissions of a request, or of a responder that waits for IKE_AUTH."""


class Lives(RuleBasedStateMachine):
    """One network, two cores; *wishes* has what was asked for of each core that still runs."""

    @initialize(
        variant=st.sampled_from(["plain", "windows", "groups"]),
        seed=st.integers(0, 5),
        up=st.sampled_from([True, True, True, False]),
    )
    def begin(self, variant: Variant, seed: int, up: bool) -> None:
        self.variant = variant
        self.run = Run(configs(variant), str(seed))
        self.wishes: list[list[int]] = [[], []]
        self.starts = 0
        self.harm = 0
        """How often the network lost something, or kept it for so long that it was sent again."""
        self.initiate(0)
        if up:
            self.run.settle()
            for sa in self.run.sides[0].endpoint.sas:
                self.wish(0, "create_child", sa, "two")
            self.run.settle()

    # --- the applications -------------------------------------------------------------------------------------------

    def initiate(self, number: int) -> None:
        connection = configs(self.variant)[number].connections[0]
        self.run.wish(number, "initiate", connection, [f"10.0.0.{2 - number}"])

    def wish(self, number: int, name: str, *args: object, **keywords: object) -> None:
        """A wish that the state forbids is refused at once, and changes nothing."""
        try:
            self.wishes[number].append(self.run.wish(number, name, *args, **keywords))
        except LocalProtocolError:
            return

    def act(self, number: int, action: Action) -> None:
        """Do something with the first IKE SA of a side; "one" and "two" are its first and second Child SA."""
        verb, _, what = action.partition(" ")
        endpoint = self.run.sides[number].endpoint
        for sa in endpoint.sas[:1]:
            if verb in ("create", "liveness"):
                self.wish(number, *(("create_child", sa, "three") if verb == "create" else ("check_liveness", sa)))
            elif what == "ike":
                if endpoint.sa(sa).state not in ("established", "deleting"):
                    self.harm += HARMLESS + 1  # it is dropped without a word, and the peer may have it
                self.wish(number, verb, sa)
            else:
                place = ("one", "two").index(what)
                for child in endpoint.sa(sa).children[place : place + 1]:
                    self.wish(number, verb, sa, child=child.id)

    @rule(first=ONE_OR_TWO, second=ONE_OR_TWO)
    def both_at_once(self, first: list[Action], second: list[Action]) -> None:
        for number, actions in enumerate((first, second)):
            for action in actions:
                self.act(number, action)

    @rule(number=SIDES, action=ACTION)
    def one_acts(self, number: int, action: Action) -> None:
        self.act(number, action)

    @rule(number=SIDES)
    def begin_another(self, number: int) -> None:
        if sum(len(side.endpoint.sas) for side in self.run.sides) < 4:
            self.initiate(number)

    @rule(number=SIDES, sure=st.sampled_from([False] * 7 + [True]))
    def start_afresh(self, number: int, sure: bool) -> None:
        """A side loses all that it knew: no Delete is sent, and the other finds out by asking."""
        if sure:
            self.starts += 1
            before = self.run.sides[number]
            self.run.sides[number] = Side(configs(self.variant)[number], number, f"again {self.starts}")
            self.run.sides[number].note(before.history)
            self.wishes[number].clear()

    # --- the network ------------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(["deliver", "deliver", "deliver", "lose", "copy"]), at=st.integers(0, 5))
    def network(self, kind: str, at: int) -> None:
        if self.run.bag:
            self.harm += kind == "lose"
            self.run.do(Move(kind, at % len(self.run.bag)))  # type: ignore[arg-type]

    @rule(places=st.lists(st.integers(0, 5), min_size=2, max_size=10))
    def in_any_order(self, places: list[int]) -> None:
        for at in places:
            if self.run.bag:
                self.run.do(Move("deliver", at % len(self.run.bag)))

    @rule(times=st.integers(1, 12))
    def in_order(self, times: int) -> None:
        for _ in range(times):
            if self.run.bag:
                self.run.do(Move("deliver", 0))

    @rule(times=st.sampled_from([1, 1, 2, 8, 20]))
    def time(self, times: int) -> None:
        for _ in range(times):
            if self.run.due is not None:
                self.harm += bool(self.run.bag)
                self.run.do(Move("wait"))

    @rule()
    def something_old_comes_again(self) -> None:
        for datagram in self.run.wire[-12:]:
            self.run.bag.append(attrs.evolve(datagram, copy=True))

    # --- the end ----------------------------------------------------------------------------------------------------

    def quiet(self, seconds: float) -> None:
        """Let everything arrive and so much time pass."""
        run, until = self.run, self.run.now + seconds
        while run.bag or ((due := run.due) is not None and due <= until):
            run.do(Move("deliver", 0) if run.bag else Move("wait"))
        run.now = until

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        self.quiet(GIVEN_UP)
        for number in (0, 1, 0):
            for sa in self.run.sides[number].endpoint.sas:
                self.wish(number, "check_liveness", sa)
            self.quiet(GIVEN_UP)
        self.check_agreement()
        self.check_wishes()
        self.check_nobody_fell_silent()

    def check_agreement(self) -> None:
        ours, theirs = (
            {(view.spi_i, view.spi_r): view for view in map(side.endpoint.sa, side.endpoint.sas)}
            for side in self.run.sides
        )
        assert ours.keys() == theirs.keys()
        for spis, view in ours.items():
            other = theirs[spis]
            assert (view.state, other.state) == ("established", "established")
            assert (view.replaced_spis, other.replaced_spis) == ((), ())
            assert view.export_keys() == other.export_keys()
            halves = {(each.spi_in, each.spi_out): each for each in view.children}
            assert halves.keys() == {(each.spi_out, each.spi_in) for each in other.children}
            for each in other.children:
                mine, peers = halves[each.spi_out, each.spi_in].export_keys(), each.export_keys()
                assert (mine.encr_in, mine.encr_out) == (peers.encr_out, peers.encr_in)
        for side in self.run.sides:
            views = [side.endpoint.sa(sa) for sa in side.endpoint.sas]
            assert {(each.spi_in, each.spi_out) for view in views for each in view.children} == set(side.installed)

    def check_nobody_fell_silent(self) -> None:
        """Where nobody started afresh, and less was lost than a request survives, no SA ends for want of an answer."""
        if self.starts or self.harm > HARMLESS:
            return
        for side in self.run.sides:
            for closed in [each for each in side.events if isinstance(each, IkeSaClosed)]:
                assert closed.by in ("us", "peer"), closed

    def check_wishes(self) -> None:
        for side, wishes in zip(self.run.sides, self.wishes, strict=True):
            ended = [each.request for each in side.events if isinstance(each, RequestCompleted | RequestFailed)]
            assert sorted(ended) == sorted(wishes)


EXAMPLES = int(os.environ.get("IKECORE_LIVES_EXAMPLES", "0")) or None
"""A deep run says how many examples; otherwise the Hypothesis profile does."""

Lives.TestCase.settings = settings(
    max_examples=EXAMPLES or settings().max_examples,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.requirement("IKE-050", "IKE-127", "IKE-128", "IKE-130", "IKE-131", "IKE-133")
class TestLives(Lives.TestCase):  # type: ignore[misc,valid-type]
    """The machine, as pytest runs it."""
