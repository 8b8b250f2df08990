"""Everything at once: a state machine plays both applications, the hosts and the network of `Wide`.

`test_model.py` and `test_lives.py` look closer at fewer things. Here messages are larger than packets, peers have
certificates, hosts have several addresses and move, octets change on the way, and all of that meets rekeys, Child SAs
and connections. In the end both must agree and nothing may be left.
"""

from __future__ import annotations

import os
from typing import Literal

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ikecore import Policy
from ikecore.testing import Tcp, Udp
from tests.model.lives import ACTIONS, Action
from tests.model.weather import DATAGRAMS, SECONDS, SOON, STREAMS
from tests.model.wide import SIDES, WIDE_POLICIES, Flips, Setting, Wide
from tests.model.world import Role

ROLE = st.sampled_from(SIDES)
POLICY = st.sampled_from(WIDE_POLICIES)
SELDOM = st.sampled_from([False] * 7 + [True])
ACTION = st.sampled_from(["create", *["rekey one", "rekey two", "rekey ike"] * 2, *ACTIONS])
FRAGMENTATION = st.sampled_from(["yes", "yes", "yes", "accept", "no"])
SETTINGS = st.builds(
    Setting,
    family=st.sampled_from(["4", "4", "6", "both"]),
    nat=st.sampled_from(["none", "none", "kept", "short", "per partner"]),
    forwards=st.sampled_from([False, False, False, True]),
    proof=st.sampled_from(["psk", "asked psk", "ecdsa", "ecdsa", "ml-dsa", "external"]),
    policies=st.tuples(POLICY, POLICY),
    fragmentation=st.tuples(FRAGMENTATION, FRAGMENTATION),
    fragment_size=st.sampled_from([576, 1280, 1500]),
    selectors=st.sampled_from([1, 20, 60]),
    windows=st.tuples(st.sampled_from([1, 4]), st.sampled_from([1, 4])),
    groups=st.booleans(),
    lifetimes=st.sampled_from([False, False, True]),
    dpd=st.sampled_from(["never", "never", "clear", "restart"]),
    unique=st.sampled_from(["no", "no", "replace", "keep", "never"]),
    authorize=st.sampled_from([False, False, True]),
    lease=st.sampled_from(["none", "none", "pool", "ask"]),
    half_close=st.booleans(),
    both_listen=st.booleans(),
    ports=st.tuples(st.sampled_from([None, 500]), st.sampled_from([None, None, 500])),
    cookies=st.sampled_from([False, False, True]),
    tight=st.sampled_from([False, False, False, True]),
    keepalive=st.sampled_from([20.0, 20.0, 0.0]),
    start_on_nat_port=st.sampled_from([False, False, True]),
    trace=st.booleans(),
    seed=st.integers(0, 1000),
)
MOST_SAS = 4


class Everything(RuleBasedStateMachine):
    """Two applications, two hosts, a stranger and the network."""

    def __init__(self) -> None:
        super().__init__()
        self.world: Wide | None = None
        self.begun = 0
        self.closing: set[str] = set()
        self.harm = False
        """Whether anything was done after which an SA may end in silence."""

    @property
    def it(self) -> Wide:
        assert self.world is not None
        return self.world

    @initialize(setting=SETTINGS, start=st.sampled_from(["up", "up", "up", "begun", "idle"]))
    def begin(self, setting: Setting, start: Literal["up", "begun", "idle"]) -> None:
        """Most runs start with an SA that is up and has two Child SAs."""
        self.world = Wide(setting)
        self.harm = self.it.one_sided
        if start == "idle":
            return
        self.begun += 1
        self.it.initiate("initiator")
        if start == "up":
            for _ in range(5):
                self.it.run_for(1.0)
                for role in SIDES:
                    self.it.answer(role, True)
            for sa in self.it.established("initiator"):
                self.it.books["initiator"].wish("create_child", sa, "two")
            self.it.run_for(5.0)

    # --- the applications -------------------------------------------------------------------------------------------

    @rule(role=ROLE, policy=POLICY, after=SOON)
    def initiate(self, role: Role, policy: Policy, after: float) -> None:
        if role not in self.closing and self.begun < MOST_SAS:
            self.begun += 1
            self.it.initiate(role, policy)
        self.it.run_for(after)

    @rule(role=ROLE, which=st.integers(0, 1), actions=st.lists(ACTION, min_size=1, max_size=2), after=SOON)
    def one_acts(self, role: Role, which: int, actions: list[Action], after: float) -> None:
        for action in actions:
            self.act(role, which, action)
        self.it.run_for(after)

    @rule(first=st.lists(ACTION, min_size=1, max_size=2), second=st.lists(ACTION, min_size=1, max_size=2), after=SOON)
    def both_at_once(self, first: list[Action], second: list[Action], after: float) -> None:
        for role, actions in zip(SIDES, (first, second), strict=True):
            for action in actions:
                self.act(role, 0, action)
        self.it.run_for(after)

    def act(self, role: Role, which: int, action: Action) -> None:
        verb, _, what = action.partition(" ")
        endpoint, wish = self.it.hosts[role].endpoint, self.it.books[role].wish
        for sa in endpoint.sas[which : which + 1]:
            if verb == "create":
                wish("create_child", sa, "three")
            elif verb == "liveness":
                wish("check_liveness", sa)
            elif what == "ike":
                self.harm = self.harm or endpoint.sa(sa).state not in ("established", "deleting")
                wish(verb, sa)
            else:
                place = ("one", "two").index(what)
                for child in endpoint.sa(sa).children[place : place + 1]:
                    wish(verb, sa, child=child.id)

    @rule(role=ROLE, which=st.integers(0, 1), hard=st.booleans(), after=SOON)
    def packets_were_counted(self, role: Role, which: int, hard: bool, after: float) -> None:
        host = self.it.hosts[role]
        for sa in host.endpoint.sas[which : which + 1]:
            host.call(host.endpoint.traffic_seen, sa)
            for child in host.endpoint.sa(sa).children[:1]:
                host.call(host.endpoint.child_expiring, sa, child.id, hard=hard)
        self.it.run_for(after)

    @rule(role=ROLE, which=st.integers(0, 1), sure=SELDOM)
    def abandon(self, role: Role, which: int, sure: bool) -> None:
        host = self.it.hosts[role]
        for sa in host.endpoint.sas[which : which + 1] if sure else ():
            self.harm = True
            host.call(host.endpoint.abandon, sa)

    @rule(role=ROLE, sure=SELDOM)
    def shutdown(self, role: Role, sure: bool) -> None:
        if sure:
            self.closing.add(role)
            self.harm = True
            self.it.books[role].shutdown()

    @rule(role=ROLE, sure=SELDOM)
    def start_afresh(self, role: Role, sure: bool) -> None:
        if sure:
            self.harm = True
            self.closing.discard(role)
            self.it.start_afresh(role)

    @rule(role=ROLE, welcome=st.sampled_from([True, True, True, False]))
    def answer(self, role: Role, welcome: bool) -> None:
        self.it.answer(role, welcome)

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.it.run_for(seconds)

    @rule(times=st.integers(1, 6))
    def some_more_things_happen(self, times: int) -> None:
        network = self.it.network
        wanted, until = len(network.wire) + times, network.now + 10.0
        while len(network.wire) < wanted and network.now < until:
            self.it.run_for(0.01)

    # --- the network ------------------------------------------------------------------------------------------------

    @rule(weather=DATAGRAMS, mild=st.booleans())
    def udp_changes(self, weather: Udp, mild: bool) -> None:
        if mild:
            weather = attrs.evolve(weather, loss=0.0, max_datagram=None, delay=min(weather.delay, 0.3), jitter=0.05)
        self.harm = self.harm or not mild
        self.it.network.udp = weather

    @rule(size=st.sampled_from([1460, 1252, 1232, 560, 548]))
    def large_datagrams_are_dropped(self, size: int) -> None:
        """Those of one of the sizes that are tried for fragments pass, or just not."""
        setting = self.it.setting
        least = 548 if setting.family == "4" else 1232
        self.harm = self.harm or size < least or setting.fragmentation != ("yes", "yes")
        self.it.network.udp = Udp(max_datagram=size)

    @rule(weather=STREAMS, loss=st.sampled_from([0.0, 0.0, 0.2]), mild=st.booleans())
    def tcp_changes(self, weather: Tcp, loss: float, mild: bool) -> None:
        if mild:
            weather = Tcp(delay=min(weather.delay, 0.3), jitter=weather.jitter, split=weather.split)
        self.harm = self.harm or not mild
        self.it.network.tcp = attrs.evolve(weather, loss=0.0 if mild else loss)

    @rule(transport=st.sampled_from(["udp", "tcp"]), share=st.sampled_from([0.02, 0.2, 0.6]), seed=st.integers(0, 9))
    def octets_change_on_the_way(self, transport: Literal["udp", "tcp"], share: float, seed: int) -> None:
        self.harm = True
        self.it.network.manglers.append(Flips(transport, share, seed))

    @rule()
    def octets_change_no_more(self) -> None:
        self.it.network.manglers.clear()

    @rule()
    def all_is_well(self) -> None:
        self.it.heal()

    @rule(transport=st.sampled_from(["udp", "tcp", None]), role=ROLE, refuse=st.booleans())
    def one_way_is_blocked(self, transport: Literal["udp", "tcp"] | None, role: Role, refuse: bool) -> None:
        self.harm = True
        nat = self.it.hosts[role].nat
        addresses = {local.address[0] for local in self.it.locals[role]} if nat is None else {nat.outside}
        for address in sorted(addresses):
            self.it.network.block(transport, source=address, refuse=refuse)

    @rule()
    def the_way_is_free(self) -> None:
        self.it.network.blocks.clear()

    @rule()
    def the_nat_forgets(self) -> None:
        if self.it.nat is not None:
            self.it.nat.forget()

    @rule(by_server=st.sampled_from([True, False, None]))
    def connections_end(self, by_server: bool | None) -> None:
        """They are reset, or one side closes its half early."""
        self.harm = True
        for connection in self.it.network.connections:
            if connection.state == "open" and not connection.dead:
                end = connection.server if by_server else connection.client
                if by_server is None:
                    connection.reset()
                elif end.host is not None and not end.closed and not end.fin_wanted:
                    end.half_close()

    @rule(role=ROLE, which=st.integers(0, 2))
    def a_socket_goes_or_comes(self, role: Role, which: int) -> None:
        self.harm = True
        host = self.it.hosts[role]
        for local in self.it.locals[role][which : which + 1]:
            if (local.kind, local.address) not in host.locals:
                host.add(local)
            elif len(host.locals) > 1:
                host.remove(local)

    @rule(role=ROLE, away=st.booleans(), after=SOON)
    def a_host_moves(self, role: Role, away: bool, after: float) -> None:
        self.harm = True
        self.it.move(role, away)
        self.it.run_for(after)

    # --- strangers --------------------------------------------------------------------------------------------------

    @rule(back=st.integers(1, 12), source=st.sampled_from([0, 0, 1, 2]))
    def something_old_comes_again(self, back: int, source: int) -> None:
        self.it.replay(back, source)

    @rule(back=st.integers(0, 4), times=st.integers(1, 4), spoil=st.booleans())
    def a_stranger_connects(self, back: int, times: int, spoil: bool) -> None:
        for _ in range(times):
            self.it.connect(back, spoil)

    # --- what holds -------------------------------------------------------------------------------------------------

    @invariant()
    def all_is_as_told(self) -> None:
        if self.world is not None:
            self.world.check()

    def teardown(self) -> None:
        if self.world is not None:
            self.world.finish()
            assert self.harm or not self.world.silences(), "an SA ended for want of an answer, and nothing was lost"


EXAMPLES = int(os.environ.get("IKECORE_WIDE_EXAMPLES", "0")) or None
"""A deep run says how many examples; otherwise it is half of what the Hypothesis profile says, since each is long."""

Everything.TestCase.settings = settings(
    max_examples=EXAMPLES or settings().max_examples // 2,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.requirement("FRAG-08", "FRAG-29", "FRAG-38", "FRAG-39", "IKE-050", "IKE-134", "TCP-67")
class TestEverything(Everything.TestCase):  # type: ignore[misc,valid-type]
    """The machine, as pytest runs it."""
