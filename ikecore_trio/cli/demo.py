"""`ikecore demo`: two endpoints in one process, on real sockets of the loopback interface."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import attrs
import trio

import ikecore_trio
from ikecore import Config, IkeError, Limits, Listen, PeerUnreachable, Transports
from ikecore.events import ChildSaEstablished, Event, IkeSaEstablished, MessageSent
from ikecore.outputs import Address, Output
from ikecore_trio import Session

from .demo_peers import Auth, Peers, make_peers
from .demo_report import Printer
from .demo_scenario import Network, Scenario
from .key_table import key_logger
from .ladder import Lost
from .problems import FAILED, OK, UsageProblem
from .relay import LOSSES, Loss, Relay, SilentPort
from .stopping import run_until_interrupted

__all__ = ["Demonstration", "Outcome", "run_demo"]

HOST: Final = "127.0.0.1"
LIMITS: Final = Limits(
    retransmit_first=0.3,
    retransmit_factor=1.5,
    retransmit_tries=4,
    stream_connect_timeout=1.5,
    establish_timeout=20.0,
)
"""A demonstration gives up sooner than a gateway would: after 4 transmissions in about 2.5 seconds."""


@attrs.define
class Outcome:
    """What came of a run. *events* are those of the initiator, with what the relay dropped between them, and *times*
    the seconds since the beginning at which they came.
    """

    events: list[Output] = attrs.field(factory=list)
    established: IkeSaEstablished | None = None
    children: list[ChildSaEstablished] = attrs.field(factory=list)
    error: IkeError | None = None
    seconds: float = 0.0

    @property
    def word(self) -> str:
        """Name the outcome as scenarios do."""
        if self.error is None:
            return "established"
        return "unreachable" if isinstance(self.error, PeerUnreachable) else "failed"


def run_demo(
    *,
    network: Network,
    policy: str | None,
    fragmentation: bool | None,
    auth: Auth,
    rekey: bool,
    show_keys: bool,
    as_json: bool,
) -> int:
    """Run what was asked for, print it, and return the exit code."""
    scenarios = Scenario.of(network, policy, fragmentation)
    keys = key_logger(os.environ)
    peers = make_peers(auth)
    printer = Printer(peers, show_keys=show_keys, as_json=as_json)
    as_expected = True
    for number, scenario in enumerate(scenarios, 1):
        demonstration = Demonstration(scenario, peers, keys, printer.event, rekey=rekey)
        printer.begin(number, len(scenarios), scenario, auth)
        outcome = run_until_interrupted(demonstration.run)
        printer.end(
            outcome.events,
            outcome.established,
            outcome.children,
            outcome.error,
            demonstration.addresses,
            demonstration.between,
            seconds=outcome.seconds,
            expected=scenario.expected,
            outcome=outcome.word,
        )
        as_expected = as_expected and outcome.word == scenario.expected
    return OK if as_expected else FAILED


class Demonstration:
    """One run of a scenario."""

    def __init__(
        self,
        scenario: Scenario,
        peers: Peers,
        keys: Callable[[Output], None] | None,
        tell: Callable[[str, float, Output], None],
        *,
        rekey: bool = False,
    ) -> None:
        self.addresses: tuple[str, str] = ("", "")
        self.between = ""
        self._scenario = scenario
        self._peers = peers
        self._keys = keys
        self._tell = tell
        self._rekey = rekey
        self._outcome = Outcome()
        self._start = 0.0
        self._sent: MessageSent | None = None
        self._ports: list[int] = []

    async def run(self) -> Outcome:
        """Run both endpoints until the SA has been up and is deleted again, or could not be set up."""
        self._start = trio.current_time()
        async with trio.open_nursery() as nursery:
            try:
                await self._both(nursery)
            except OSError as error:
                raise UsageProblem(f"loopback sockets: {error.strerror or error}") from None
            nursery.cancel_scope.cancel()
        return self._outcome

    async def _both(self, nursery: trio.Nursery) -> None:
        """Open the responder, what lies between, and connect."""
        loss = LOSSES[self._scenario.network]() if self._scenario.network in LOSSES else None
        with ExitStack() as stack:
            listening = self._scenario.network not in ("refuses-tcp", "silent-tcp")
            tcp = stack.enter_context(SilentPort()).port if self._scenario.network == "silent-tcp" else free_tcp_port()
            # Behind the relay the responder sees a NAT, and what its own port is called outside has to be configured;
            # so has a port that it does not listen on.
            transports = Transports(
                announce_tcp=None if listening and loss is None else tcp,
                fragmentation="yes" if self._scenario.fragmentation else "no",
            )
            config = Config(connections=(self._peers.responder(transports),), limits=LIMITS, trace=True)
            listen = Listen(hosts=(HOST,), udp=0, udp_nat=0, tcp=tcp if listening else None)
            # A client that gave up answers nothing: there is no use in waiting for it.
            async with ikecore_trio.open_endpoint(config, listen, grace=0.2, on_event=self._responder) as gateway:
                plain, marked = (each.address for each in gateway.locals if each.kind == "udp")
                nursery.start_soon(gateway.serve, until_closed)
                self._ports = [plain[1], marked[1], tcp]
                if loss is not None:
                    plain, marked = [await self._relay(nursery, address, loss) for address in (plain, marked)]
                    self.between = f"between them: the relay, at UDP {plain[1]} and {marked[1]}"
                await self._connect(plain[1], marked[1], tcp)

    async def _relay(self, nursery: trio.Nursery, server: Address, loss: Loss) -> Address:
        """Put a relay in front of *server*."""
        relay = Relay(server, loss, self._dropped)
        address = await relay.open()
        nursery.start_soon(relay.run)
        return address

    async def _connect(self, udp: int, udp_nat: int, tcp: int) -> None:
        """Set up the SA from the initiator's side, and delete it again."""
        scenario = self._scenario
        transports = Transports(
            policy=scenario.policy,
            udp_port=udp,
            udp_nat_port=udp_nat,
            tcp_port=tcp if scenario.knows_tcp else None,
            fragmentation="yes" if scenario.fragmentation else "no",
        )
        connection = self._peers.initiator(transports)
        config = Config(limits=LIMITS, trace=True)
        try:
            async with ikecore_trio.connect(HOST, connection, config=config, on_event=self._initiator) as session:
                self._outcome.seconds = trio.current_time() - self._start
                if self._rekey:
                    await rekeyed(session)
        except IkeError as error:
            self._outcome.error = error
            self._outcome.seconds = trio.current_time() - self._start
        sent = [each for each in self._outcome.events if isinstance(each, MessageSent)]
        ours = next((f"UDP {each.local[1]}" for each in sent if each.transport == "udp"), "no UDP")
        gateway = f"UDP {self._ports[0]} and {self._ports[1]}, TCP {self._ports[2]}"
        self.addresses = (f"{HOST} {ours}", f"{HOST} {gateway}")

    def _initiator(self, output: Output) -> None:
        """Watch the initiator."""
        if self._keys is not None:
            self._keys(output)
        if not isinstance(output, Event):
            return
        self._tell("initiator", trio.current_time() - self._start, output)
        self._outcome.events.append(output)
        if isinstance(output, IkeSaEstablished):
            self._outcome.established = output
        elif isinstance(output, ChildSaEstablished):
            self._outcome.children.append(output)

    def _responder(self, output: Output) -> None:
        """Watch the responder: what it sent last is what the relay may drop."""
        if isinstance(output, Event):
            self._tell("responder", trio.current_time() - self._start, output)
        if isinstance(output, MessageSent):
            self._sent = output

    def _dropped(self, outward: bool, octets: int, reason: str) -> None:
        """Take down that the relay dropped a datagram."""
        lost = Lost(outward, octets, reason, None if outward else self._sent)
        self._tell("relay", trio.current_time() - self._start, lost)
        self._outcome.events.append(lost)


async def rekeyed(session: Session) -> None:
    """Rekey the Child SA and the IKE SA, and wait until what they replaced is deleted."""
    events = session.events()
    await session.rekey(session.child_sas[0].id)
    await session.rekey()
    async for _ in events:
        if len(session.child_sas) == 1 and not session.view.replaced_spis:
            break


async def until_closed(session: Session) -> None:
    """Keep a session until its peer deletes it."""
    await session.wait_closed()


def free_tcp_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
