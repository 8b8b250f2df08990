"""Two watched hosts on one network, each in both roles: what the state machine and the bounded losses play with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

from ikecore import (
    BySize,
    ChildConfig,
    Config,
    Connection,
    Fallback,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    Lifetimes,
    Limits,
    Local,
    Policy,
    Race,
    SaId,
    TcpOnly,
    Transports,
    UdpOnly,
    WholeMission,
    parse_selector,
)
from ikecore.testing import Host, Nat, Network, Pair, Tcp, Udp, psk_connection
from ikecore.transport import Step
from tests.model.reference import Side, Wire, watch

A, B, OUTSIDE = "10.0.0.1", "10.0.0.2", "203.0.113.1"
Role = Literal["initiator", "responder"]

POLICIES: tuple[Policy, ...] = (
    UdpOnly(),
    BySize(),
    BySize(threshold=200),
    BySize(threshold=200, open_early=True),
    WholeMission(),
    Race(patience=2.0),
    Race(patience=0.5, discover=True),
    TcpOnly(),
    Fallback((Step("udp", 2.0), Step("tcp", 5.0))),
    Fallback((Step("tcp", 3.0), Step("udp", 8.0))),
)


@attrs.frozen(kw_only=True)
class Setting:
    """What is fixed for one run. *nat* stands before the initiator; *peer_listens* gives that one a TCP listener."""

    responder_policy: Policy = attrs.field(factory=BySize)
    half_close: bool = False
    nat: bool = False
    peer_listens: bool = False
    announce: bool = True
    """Whether the initiator announces its listener."""
    authorize: bool = False
    cookies: bool = False
    selectors: bool = False
    """Whether the Child SA is for networks, so that it does not depend on the hosts' own addresses, as a NAT's."""
    seed: int = 0


class Hosts:
    """Hosts on one network, which knows what a network without faults is, and what agreement of both sides is."""

    limits: Limits
    network: Network
    hosts: dict[str, Host]
    locals: dict[str, tuple[Local, ...]]
    """The sockets that each host has where all is well."""

    def established(self, role: str) -> list[SaId]:
        endpoint = self.hosts[role].endpoint
        return [sa for sa in endpoint.sas if endpoint.sa(sa).state == "established"]

    def heal(self) -> None:
        """Let the network be as it should, with every socket there."""
        network = self.network
        network.udp, network.tcp = Udp(), Tcp()
        network.blocks.clear()
        network.manglers.clear()
        for name, host in self.hosts.items():
            for local in self.locals[name]:
                if (local.kind, local.address) not in host.locals:
                    host.add(local)

    def longest_request(self) -> float:
        """Seconds after which a request is answered or given up, whatever happens: the stated bound.

        Over UDP the sum of the intervals of `retransmit_tries` transmissions. Over TCP each connection may take its
        time to come up and its time to answer; it counts as a transmission, and there are `stream_attempts` before TCP
        counts as tried. Before all that a request may wait for a UDP path.
        """
        limits = self.limits
        intervals = sum(
            min(limits.retransmit_cap, limits.retransmit_first * limits.retransmit_factor**number)
            for number in range(limits.retransmit_tries)
        )
        connection = limits.stream_connect_timeout + limits.stream_answer_timeout
        return intervals + limits.retransmit_tries * connection + limits.path_wait

    def assert_agreement(self) -> None:
        """The same SAs on both sides, with the same keys and Child SAs."""
        mine, theirs = (self.views(name) for name in ("initiator", "responder"))
        assert mine.keys() == theirs.keys()
        for spis, view in mine.items():
            other = theirs[spis]
            assert view.export_keys() == other.export_keys()
            assert (view.local_identity, view.peer_identity) == (other.peer_identity, other.local_identity)
            halves = sorted((child.spi_in, child.spi_out) for child in view.children)
            assert halves == sorted((child.spi_out, child.spi_in) for child in other.children)

    def views(self, role: str) -> dict:
        endpoint = self.hosts[role].endpoint
        views = [endpoint.sa(sa) for sa in endpoint.sas]
        assert {view.state for view in views} <= {"established"}, "all that was under way has ended"
        return {(view.spi_i, view.spi_r): view for view in views}


class World(Hosts):
    """The hosts "initiator" and "responder", which both may do either."""

    def __init__(self, setting: Setting) -> None:
        self.limits = Limits(cookie_threshold=0 if setting.cookies else 100)
        self.nat = Nat(OUTSIDE) if setting.nat else None
        everything = (parse_selector("0.0.0.0/0"),)
        selectors = everything if setting.selectors else None
        child = ChildConfig(local_ts=selectors, remote_ts=selectors, lifetimes=Lifetimes())
        policies: dict[Role, Policy] = {"initiator": BySize(), "responder": setting.responder_policy}
        mine, theirs = (
            psk_connection(role, transports=Transports(policy=policy, half_close=setting.half_close), children=[child])
            for role, policy in policies.items()
        )
        theirs = attrs.evolve(theirs, authorize=setting.authorize)
        self.setting = setting
        self.connections: dict[str, Connection] = {"initiator": mine, "responder": theirs}
        configs = [Config(connections=(each,), limits=self.limits, trace=True) for each in (mine, theirs)]
        self.pair = Pair(configs[0], configs[1], tcp=True, nat=self.nat, seed=setting.seed)
        self.network = self.pair.network
        self.hosts: dict[str, Host] = {"initiator": self.pair.initiator, "responder": self.pair.responder}
        if setting.peer_listens and not setting.nat:
            self.hosts["initiator"].add(Local((A, 500), "tcp"))
        self.sides: dict[str, Side] = {
            name: watch(host, self.connections[name], self.limits, natted=setting.nat)
            for name, host in self.hosts.items()
        }
        self.wire = Wire(self.network)
        self.locals = {name: tuple(host.locals.values()) for name, host in self.hosts.items()}

    # --- wishes -----------------------------------------------------------------------------------------------------

    def connection(self, role: str, policy: Policy, tcp_port: int | None) -> Connection:
        """Return a connection of its own for one SA."""
        setting = self.setting
        announced = 500 if role == "initiator" and setting.peer_listens and setting.announce else None
        transports = Transports(policy=policy, tcp_port=tcp_port, announce_tcp=announced, half_close=setting.half_close)
        return attrs.evolve(self.connections[role], transports=transports, authorize=False, name=f"{policy} {tcp_port}")

    def initiate(self, role: str, policy: Policy, tcp_port: int | None = None) -> SaId:
        """Have one side begin an SA with the other."""
        host = self.hosts[role]
        remote = {"initiator": B, "responder": OUTSIDE if self.nat else A}[role]
        sa: SaId = host.call(host.endpoint.initiate, self.connection(role, policy, tcp_port), [remote])
        return sa

    def run_for(self, seconds: float) -> None:
        self.pair.run_for(seconds)
        self.wire.check()

    # --- the end ----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """After healing: everything under way comes to its end, and each side learns which SAs the other still has."""
        self.run_for(max(self.limits.establish_timeout, self.limits.question_timeout) + self.longest_request())
        for asker in ("initiator", "responder", "initiator", "responder"):
            host = self.hosts[asker]
            for sa in self.established(asker):
                host.call(host.endpoint.check_liveness, sa)
            self.run_for(self.longest_request())

    def assert_each_ended_once(self) -> None:
        """Every SA has one outcome, every wish its end, and no question is open."""
        for name, side in self.sides.items():
            events = self.hosts[name].events
            results = _ids(events, IkeSaEstablished, IkeSaFailed)
            assert len(results) == len(set(results))
            assert set(results) >= {sa for sa, known in side.known.items() if known.role == "initiator"}
            assert set(_ids(events, IkeSaClosed)) | set(_ids(events, IkeSaFailed)) | set(side.endpoint.sas) == set(
                side.known
            )
            assert side.wishes == {}
            assert side.questions == {}
            assert self.hosts[name].of(InternalError) == []

    def assert_nothing_left(self) -> None:
        for host in self.hosts.values():
            assert host.endpoint.sas == ()
            assert host.endpoint.idle, host
            assert host.endpoint.deadline is None, host
        for side in self.sides.values():
            assert [number for number, line in side.lines.items() if not line.ended] == []

    def finish(self) -> None:
        """Heal, agree, delete everything, and find nothing left."""
        self.heal()
        self.settle()
        self.assert_each_ended_once()
        self.assert_agreement()
        for host in self.hosts.values():
            host.call(host.endpoint.shutdown)
        self.run_for(self.limits.delete_timeout + self.longest_request())
        self.assert_each_ended_once()
        self.assert_nothing_left()


def _ids(events: Iterable[object], *kinds: type) -> list[int]:
    return [event.sa for event in events if isinstance(event, kinds)]  # type: ignore[attr-defined]
