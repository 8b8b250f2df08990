"""A state machine plays both applications and the network against the reference model, and finds nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ikecore import Policy, SaId
from ikecore.testing import Connection, Tcp, Udp
from tests.model.weather import DATAGRAMS, SECONDS, SOON, STREAMS
from tests.model.world import OUTSIDE, POLICIES, A, Setting, World
from tests.model.world import B as RESPONDER_ADDRESS

ROLES = st.sampled_from(["initiator", "responder"])
PORT = st.sampled_from([None, 500])
POLICY = st.sampled_from(POLICIES)
SELDOM = st.sampled_from([False, False, False, True])
SETTINGS = st.builds(
    Setting,
    responder_policy=POLICY,
    half_close=st.booleans(),
    nat=st.sampled_from([False, False, True]),
    peer_listens=st.booleans(),
    announce=st.booleans(),
    authorize=st.booleans(),
    cookies=st.sampled_from([False, False, True]),
    selectors=st.booleans(),
    seed=st.integers(0, 1000),
)
MOST_SAS = 4


class Draft(RuleBasedStateMachine):
    """Applications and network at once; `Side` and `Wire` hold everything against the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.begun = 0
        self.closing: set[str] = set()

    @property
    def it(self) -> World:
        assert self.world is not None
        return self.world

    @initialize(setting=SETTINGS, policy=POLICY, tcp_port=PORT, start=st.sampled_from(["up", "up", "begun", "idle"]))
    def begin(self, setting: Setting, policy: Policy, tcp_port: int | None, start: str) -> None:
        """Most runs start with an SA that is up, since most of what can go wrong needs one."""
        self.world = World(setting)
        if start == "idle":
            return
        self.begun += 1
        self.it.initiate("initiator", policy, tcp_port)
        if start == "up":
            self.it.run_for(1.5)
            self.answer("responder", True)
            self.it.run_for(8.5)

    # --- the applications -------------------------------------------------------------------------------------------

    @rule(role=st.sampled_from(["initiator", "initiator", "responder"]), policy=POLICY, port=PORT, after=SOON)
    def initiate(self, role: str, policy: Policy, port: int | None, after: float) -> None:
        if role not in self.closing and self.begun < MOST_SAS:
            self.begun += 1
            self.it.initiate(role, policy, port)
        self.it.run_for(after)

    @rule(role=ROLES, which=st.integers(0, 1), times=st.integers(1, 3), after=SOON)
    def check_liveness(self, role: str, which: int, times: int, after: float) -> None:
        host = self.it.hosts[role]
        for sa in self.it.established(role)[which : which + 1]:
            for _ in range(times):
                host.call(host.endpoint.check_liveness, sa)
        self.it.run_for(after)

    @rule(first=ROLES, gap=SOON, after=SOON)
    def both_check_liveness(self, first: str, gap: float, after: float) -> None:
        self.check_liveness(first, 0, 1, gap)
        self.check_liveness("responder" if first == "initiator" else "initiator", 0, 1, after)

    @rule(role=ROLES, which=st.integers(0, 1), early=SELDOM, after=SOON)
    def delete(self, role: str, which: int, early: bool, after: float) -> None:
        host = self.it.hosts[role]
        for sa in self.some(role, early)[which : which + 1]:
            host.call(host.endpoint.delete, sa)
        self.it.run_for(after)

    @rule(role=ROLES, which=st.integers(0, 1), after=SOON)
    def delete_child(self, role: str, which: int, after: float) -> None:
        host = self.it.hosts[role]
        for sa in self.it.established(role)[which : which + 1]:
            for child in host.endpoint.sa(sa).children:
                host.call(host.endpoint.delete, sa, child=child.id)
        self.it.run_for(after)

    @rule(role=ROLES, which=st.integers(0, 1), early=SELDOM, sure=SELDOM)
    def abandon(self, role: str, which: int, early: bool, sure: bool) -> None:
        host = self.it.hosts[role]
        for sa in self.some(role, early)[which : which + 1] if sure else []:
            host.call(host.endpoint.abandon, sa)

    def some(self, role: str, early: bool) -> list[SaId]:
        """Return the SAs that are up; with *early* also those that are being set up or deleted."""
        return list(self.it.hosts[role].endpoint.sas) if early else self.it.established(role)

    @rule(role=ROLES, sure=SELDOM)
    def shutdown(self, role: str, sure: bool) -> None:
        if sure:
            self.closing.add(role)
            host = self.it.hosts[role]
            host.call(host.endpoint.shutdown)

    @rule(role=ROLES, welcome=st.sampled_from([True, True, False]))
    def answer(self, role: str, welcome: bool) -> None:
        host = self.it.hosts[role]
        for question in list(self.it.sides[role].questions):
            assert host.call(host.endpoint.answer, question, welcome)

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.it.run_for(seconds)

    @rule()
    def one_more_thing_happens(self) -> None:
        log = self.it.network.timeline
        before = len(log)
        now = self.it.network.now
        self.it.network.run(until=lambda: len(log) > before or self.it.network.now > now + 10.0 or self._nothing_due())
        self.it.wire.check()

    def _nothing_due(self) -> bool:
        deadlines = [host.endpoint.deadline for host in self.it.hosts.values()]
        return not any(deadline is not None and deadline < self.it.network.now + 50.0 for deadline in deadlines)

    # --- the network ------------------------------------------------------------------------------------------------

    @rule(weather=DATAGRAMS)
    def udp_changes(self, weather: Udp) -> None:
        self.it.network.udp = weather

    @rule(weather=STREAMS)
    def tcp_changes(self, weather: Tcp) -> None:
        self.it.network.tcp = weather

    @rule()
    def all_is_well(self) -> None:
        self.it.heal()

    @rule(transport=st.sampled_from(["udp", "tcp"]), inward=st.booleans(), refuse=st.booleans())
    def one_way_is_blocked(self, transport: str, inward: bool, refuse: bool) -> None:
        near = OUTSIDE if self.it.nat else A
        source, destination = (RESPONDER_ADDRESS, near) if inward else (near, RESPONDER_ADDRESS)
        self.it.network.block(transport, source=source, destination=destination, refuse=refuse)  # type: ignore[arg-type]

    @precondition(lambda self: self.world is not None and self.world.network.blocks)
    @rule()
    def the_way_is_free(self) -> None:
        self.it.network.blocks.clear()

    @precondition(lambda self: self.world is not None and self.world.nat is not None)
    @rule()
    def the_nat_forgets(self) -> None:
        assert self.it.nat is not None
        self.it.nat.forget()

    def open_connections(self) -> list[Connection]:
        return [each for each in self.it.network.connections if each.state == "open" and not each.dead]

    @rule()
    def connections_are_reset(self) -> None:
        for connection in self.open_connections():
            connection.reset()

    @rule(by_server=st.booleans())
    def a_fin_comes_early(self, by_server: bool) -> None:
        for connection in self.open_connections():
            end = connection.server if by_server else connection.client
            if end.host is not None and not end.closed and not end.fin_wanted:
                end.half_close()

    @rule(role=ROLES, which=st.integers(0, 2))
    def a_socket_goes(self, role: str, which: int) -> None:
        host = self.it.hosts[role]
        for local in self.it.locals[role][which : which + 1]:
            if (local.kind, local.address) in host.locals and len(host.locals) > 1:
                host.remove(local)

    @rule(role=ROLES, which=st.integers(0, 2))
    def a_socket_comes(self, role: str, which: int) -> None:
        host = self.it.hosts[role]
        for local in self.it.locals[role][which : which + 1]:
            if (local.kind, local.address) not in host.locals:
                host.add(local)

    # --- what holds -------------------------------------------------------------------------------------------------

    @invariant()
    def the_wire_is_in_order(self) -> None:
        if self.world is not None:
            self.world.wire.check()

    def teardown(self) -> None:
        if self.world is not None:
            self.world.finish()


EXAMPLES = int(os.environ.get("IKECORE_MODEL_EXAMPLES", "0")) or None
"""A deep run says how many examples; otherwise the Hypothesis profile does."""

Draft.TestCase.settings = settings(
    max_examples=EXAMPLES or settings().max_examples,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.requirement(
    "TCP-09", "TCP-10", "TCP-12", "TCP-13", "TCP-14", "TCP-15", "TCP-16", "TCP-17", "TCP-19", "TCP-22", "TCP-23",
    "TCP-24", "TCP-25", "TCP-26", "TCP-30", "TCP-31", "TCP-32", "TCP-33", "TCP-34", "TCP-36", "TCP-37", "TCP-38",
    "TCP-42", "TCP-43", "TCP-65", "TCP-66", "TCP-67", "TCP-73", "TCP-76", "TCP-77", "TCP-80", "IKE-045", "IKE-046",
    "IKE-047", "IKE-050", "IKE-051", "IKE-289",
)  # fmt: skip
class TestDraft(Draft.TestCase):  # type: ignore[misc,valid-type]
    """The machine, as pytest runs it."""
