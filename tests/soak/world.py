"""A gateway and its clients for as many days as one likes: rekeys, liveness checks, losses, NATs, crashes, UDP and TCP.

The engine's own timers do the work (keepalives every quarter of an hour, or they would be most of it). The world does
to it what the world does: loses datagrams, cuts clients off for minutes, gives NATs other mappings, lets machines
crash. Each client initiates anew, as an operator's script would, when it hears that its SA is gone. `Books` writes down
what each side was told, and at the end, after some quiet hours, the books have to agree with the endpoints and both
sides with one another.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs

from ikecore.config import ChildConfig, Config, Lifetimes, Transports
from ikecore.crypto import Identity
from ikecore.endpoint import Endpoint
from ikecore.events import (
    ChildSaClosed,
    ChildSaEstablished,
    Event,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    SpisChanged,
    SuccessorBegun,
)
from ikecore.limits import Limits
from ikecore.outputs import SaId
from ikecore.sa import parse_selector
from ikecore.testing import Host, Nat, Network, psk_connection
from ikecore.testing.links import Tcp, Udp
from ikecore.transport import BySize, Local, Policy, WholeMission

__all__ = ["Books", "Plan", "Report", "World"]

HOUR, DAY = 3600.0, 86_400.0
ANYTHING = (parse_selector("0.0.0.0/0"),)
BEGINNING = datetime(2026, 6, 1, tzinfo=UTC)
GATEWAY = "198.18.0.1"
IKE_LIFETIMES, CHILD_LIFETIMES = Lifetimes(rekey_time=8 * HOUR), Lifetimes(rekey_time=HOUR)
QUIET = 6 * HOUR
"""At the end nothing is done to anybody for so long: longer than a liveness check and giving up."""


@attrs.frozen(kw_only=True)
class Plan:
    """How large, how long, and how rough. What happens to clients is given as times per client and day, on average."""

    sas: int = 1000
    days: float = 30.0
    seed: int = 1
    per_client: int = 10
    liveness: float = HOUR
    lifetimes: Lifetimes = IKE_LIFETIMES
    child_lifetimes: Lifetimes = CHILD_LIFETIMES
    loss: float = 0.01
    outages: float = 0.5
    outage_seconds: tuple[float, float] = (5.0, 1800.0)
    mappings_lost: float = 0.5
    crashes: float = 0.05
    wishes: float = 4.0
    gateway_crashes: int = 2

    @property
    def clients(self) -> int:
        """How many machines share the SAs."""
        return -(-self.sas // self.per_client)


@attrs.define
class Books:
    """What one side was told. An SA that was established is in `up` until it was told to be gone."""

    name: str
    up: dict[SaId, set[int]] = attrs.Factory(dict)
    """The SAs that are up, each with its Child SAs."""
    counts: Counter[str] = attrs.Factory(Counter)
    reasons: Counter[str] = attrs.Factory(Counter)
    faults: list[str] = attrs.Factory(list)

    def note(self, event: Event) -> None:
        """Write *event* down."""
        self.counts[type(event).__name__] += 1
        if isinstance(event, IkeSaEstablished):
            self._expect(event.sa not in self.up, f"SA {event.sa} is established twice")
            self.up[event.sa] = set()
        elif isinstance(event, IkeSaClosed):
            self.reasons[f"{event.by}: {event.reason.partition(':')[0]}"] += 1
            children = self.up.pop(event.sa, None)
            self._expect(children is not None, f"SA {event.sa} is gone, and never was there")
            self._expect(not children, f"SA {event.sa} is gone before its Child SAs {children}")
        elif isinstance(event, ChildSaEstablished):
            self._expect(event.child not in self.up[event.sa], f"Child SA {event.child} is established twice")
            self.counts["child rekeys"] += event.replaces is not None
            self.up[event.sa].add(event.child)
        elif isinstance(event, ChildSaClosed):
            self._expect(event.child in self.up[event.sa], f"Child SA {event.child} is gone, and never was there")
            self.up[event.sa].discard(event.child)
        elif isinstance(event, SpisChanged):
            self.counts["IKE rekeys"] += "rekeyed" in event.reason
        elif isinstance(event, InternalError):
            self.faults.append(event.detail)

    def crashed(self) -> None:
        """The machine that kept them is back, and knows of nothing."""
        self.up.clear()

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(f"{self.name}: {otherwise}")


@attrs.define
class Client:
    """One machine with some SAs."""

    host: Host
    books: Books
    config: Config
    nat: Nat | None
    slots: dict[SaId, int] = attrs.Factory(dict)
    """Which of its connections an SA is of, from the first attempt to its end."""


@attrs.frozen
class Report:
    """What a run came to."""

    simulated_days: float
    established: int
    closed: int
    child_rekeys: int
    ike_rekeys: int
    reauthentications: int
    attempts_failed: int
    reasons: dict[str, int]
    happenings: dict[str, int]
    faults: tuple[str, ...]
    """Empty, or the run has shown something wrong."""


class World:
    """The gateway, its clients, and what happens to them. *say* is told of each simulated day that is over."""

    def __init__(self, plan: Plan, say: Callable[[int], None] = lambda day: None) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.say = say
        self.network = Network(
            plan.seed,
            udp=Udp(delay=0.02, jitter=0.01, loss=plan.loss, duplication=plan.loss / 2, reordering=plan.loss),
            tcp=Tcp(delay=0.02, jitter=0.01),
            steps=1 << 62,
            record=False,
            remember=False,
        )
        self.end = plan.days * DAY
        self.happenings: Counter[str] = Counter()
        self._endpoints = 0
        children = (ChildConfig(local_ts=ANYTHING, remote_ts=ANYTHING, lifetimes=plan.child_lifetimes),)
        self._gateway_config = Config(
            connections=(
                attrs.evolve(
                    psk_connection("responder", children=children),
                    remote_identity=Identity.parse("*.client.example"),
                    lifetimes=plan.lifetimes,
                    dpd_delay=plan.liveness,
                ),
            ),
            limits=Limits(half_open_per_source=4 * plan.per_client),
        )
        self._client_children = children
        self.gateway_books = Books("gateway")
        sockets = [Local((GATEWAY, 500)), Local((GATEWAY, 4500), marker=True), Local((GATEWAY, 500), "tcp")]
        self.gateway = self.network.attach(self._endpoint(self._gateway_config), *sockets, name="gateway")
        self.gateway.on_event = self.gateway_books.note
        self.clients = [self._client(number) for number in range(plan.clients)]

    def _endpoint(self, config: Config) -> Endpoint:
        self._endpoints += 1
        return Endpoint(
            config,
            random=random.Random(f"{self.plan.seed} {self._endpoints}").randbytes,
            utc=lambda: BEGINNING + timedelta(seconds=self.network.now),
            raise_bugs=True,
        )

    def _client(self, number: int) -> Client:
        """Every second client is behind a NAT; of each three, one sets up by TCP and one uses it for all that is large.

        Large is what a Child rekey takes, so that those go over TCP as well. Of each five, one authenticates anew every
        other day, and one leaves it to the engine to set up again what fell silent.
        """
        plan, high, low = self.plan, number // 250, number % 250 + 1
        policy: Policy = (BySize(), WholeMission(), BySize(threshold=200))[number % 3]
        nat = Nat(f"203.{high}.{low}.1") if number % 2 else None
        connections = [
            attrs.evolve(
                psk_connection("initiator", name=f"slot-{slot}", children=self._client_children),
                local_identity=Identity.parse(f"s{slot}.c{number}.client.example"),
                transports=Transports(policy=policy, keepalive=900.0 if nat else 0.0),
                lifetimes=attrs.evolve(plan.lifetimes, reauth_time=2 * DAY) if number % 5 == 3 else plan.lifetimes,
                dpd_delay=plan.liveness,
                dpd_action="restart" if number % 5 == 4 else "clear",
            )
            for slot in range(min(plan.per_client, plan.sas - number * plan.per_client))
        ]
        address = f"10.{high}.{low}.2" if nat else f"192.{high}.{low}.2"
        config = Config(connections=connections)
        sockets = [Local((address, 500)), Local((address, 4500), marker=True)]
        host = self.network.attach(self._endpoint(config), *sockets, nat=nat, name=f"client {number}")
        client = Client(host, Books(host.name), config, nat)
        host.on_event = lambda event: self._heard(client, event)
        for slot in range(len(connections)):
            self._initiate_within(client, slot, 600.0)
        return client

    # --- what happens -----------------------------------------------------------------------------------------------

    def _initiate(self, client: Client, slot: int) -> None:
        if slot not in client.slots.values():
            sa = client.host.call(client.host.endpoint.initiate, client.config.connections[slot], [GATEWAY])
            client.slots[sa] = slot

    def _initiate_within(self, client: Client, slot: int, seconds: float) -> None:
        moment = self.network.now + self.random.uniform(1.0, seconds)
        self.network.at(moment, lambda: self._initiate(client, slot))

    def _heard(self, client: Client, event: Event) -> None:
        """What a client's operator does: write it down, and set up again what is gone."""
        client.books.note(event)
        if isinstance(event, SuccessorBegun):
            client.slots[event.successor] = client.slots[event.sa]
        elif isinstance(event, IkeSaClosed | IkeSaFailed):
            slot = client.slots.pop(event.sa, None)
            if slot is not None and slot not in client.slots.values():
                self._initiate_within(client, slot, 120.0)

    def _often(self, times: float, what: Callable[[], None]) -> None:
        """Let *what* happen so many *times* per client and day on average, until the quiet end."""
        moment = self.network.now + self.random.expovariate(times * self.plan.clients / DAY)
        if moment < self.end - QUIET:

            def happen() -> None:
                self.happenings[what.__name__.strip("_")] += 1
                what()
                self._often(times, what)

            self.network.at(moment, happen)

    def _outage(self) -> None:
        """The way between a client and the gateway is gone for a while."""
        client = self.random.choice(self.clients)
        address = client.nat.outside if client.nat else next(iter(client.host.locals))[1][0]
        rules = [self.network.block(source=address), self.network.block(destination=address)]

        def end() -> None:
            for rule in rules:
                self.network.unblock(rule)

        over = self.network.now + self.random.uniform(*self.plan.outage_seconds)
        self.network.at(min(over, self.end - QUIET), end)

    def _mapping_lost(self) -> None:
        client = self.random.choice([each for each in self.clients if each.nat] or self.clients)
        if client.nat:
            client.nat.forget()

    def _client_crash(self) -> None:
        client = self.random.choice(self.clients)
        client.books.crashed()
        client.slots.clear()
        client.host.restart(self._endpoint(client.config))
        for slot in range(len(client.config.connections)):
            self._initiate_within(client, slot, 60.0)

    def _gateway_crash(self) -> None:
        self.happenings["gateway_crash"] += 1
        self.gateway_books.crashed()
        self.gateway.restart(self._endpoint(self._gateway_config))

    def _wish(self) -> None:
        """Somebody on either side wants something: a check, a rekey, one more Child SA, or one or all gone."""
        host = self.random.choice([self.gateway, self.random.choice(self.clients).host])
        endpoint = host.endpoint
        if not endpoint.sas:
            return
        sa = self.random.choice(endpoint.sas)
        if endpoint.sa(sa).state != "established":
            return
        children = endpoint.sa(sa).children
        what = self.random.choice(["check", "rekey", "rekey child", "create", "delete child", "delete"])
        if what == "check":
            host.call(endpoint.check_liveness, sa)
        elif what == "rekey":
            host.call(endpoint.rekey, sa)
        elif what == "rekey child" and children:
            host.call(endpoint.rekey, sa, child=self.random.choice(children).id)
        elif what == "create" and len(children) < 3:
            host.call(endpoint.create_child, sa)
        elif what == "delete child" and len(children) > 1:
            host.call(endpoint.delete, sa, child=self.random.choice(children).id)
        elif what == "delete" and self.random.random() < 0.1:
            host.call(endpoint.delete, sa)

    # --- running it -------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Let the days pass, then compare."""
        plan = self.plan
        self._often(plan.outages, self._outage)
        self._often(plan.mappings_lost, self._mapping_lost)
        self._often(plan.crashes, self._client_crash)
        self._often(plan.wishes, self._wish)
        for number in range(plan.gateway_crashes):
            self.network.at((self.end - QUIET) * (number + 0.5) / plan.gateway_crashes, self._gateway_crash)
        day = 0
        while self.network.now < self.end:
            self.network.run(until=min(self.end, (day + 1) * DAY))
            day += 1
            self.say(day)
        faults = self._compare()
        if faults:
            # The end may be the very moment of a rekey, when one side is ahead of the other: that is over in a minute.
            self.network.run(until=self.network.now + 60.0)
            later = self._compare()
            faults = [fault for fault in faults if fault in later]
        told = [fault for books in self._all_books() for fault in books.faults]
        return self._report([*faults, *told])

    def _all_books(self) -> list[Books]:
        return [self.gateway_books, *(client.books for client in self.clients)]

    def _compare(self) -> list[str]:
        """Return where the books differ from the endpoints, or one side from the other."""
        faults = self._against_books(self.gateway, self.gateway_books)
        views = [self.gateway.endpoint.sa(sa) for sa in self.gateway.endpoint.sas]
        theirs = {(view.spi_i, view.spi_r): view for view in views if view.state == "established"}
        for client in self.clients:
            faults += self._against_books(client.host, client.books)
            if len(client.books.up) != len(client.config.connections):
                faults.append(f"{client.host.name}: {len(client.books.up)} SAs of {len(client.config.connections)}")
            for sa in client.books.up:
                view = client.host.endpoint.sa(sa)
                other = theirs.pop((view.spi_i, view.spi_r), None)
                if other is None:
                    faults.append(f"{client.host.name}: the gateway does not know SA {sa}")
                    continue
                mine = {(each.spi_in, each.spi_out, each.export_keys().encr_in) for each in view.children}
                its = {(each.spi_out, each.spi_in, each.export_keys().encr_out) for each in other.children}
                if mine != its or not mine:
                    faults.append(f"{client.host.name}: SA {sa} has other Child SAs than at the gateway")
                if view.replaced_spis or other.replaced_spis:
                    faults.append(f"{client.host.name}: SA {sa} has SPIs that were replaced and never deleted")
        faults += [f"gateway: SA {view.id} of {view.peer_identity} has no other side" for view in theirs.values()]
        return faults

    def _against_books(self, host: Host, books: Books) -> list[str]:
        endpoint = host.endpoint
        up = {sa for sa in endpoint.sas if endpoint.sa(sa).state in ("established", "deleting")}
        if up != set(books.up):
            return [f"{books.name}: lost or kept without an event: {sorted(up ^ set(books.up))}"]
        return [
            f"{books.name}: the Child SAs of SA {sa} are not those that were told"
            for sa in up
            if {child.id for child in endpoint.sa(sa).children} != books.up[sa]
        ]

    def _report(self, faults: list[str]) -> Report:
        books = self._all_books()
        count = sum((each.counts for each in books), Counter[str]())
        return Report(
            simulated_days=self.network.now / DAY,
            established=count["IkeSaEstablished"],
            closed=count["IkeSaClosed"],
            child_rekeys=count["child rekeys"],
            ike_rekeys=count["IKE rekeys"],
            reauthentications=count["IkeSaReauthenticated"],
            attempts_failed=count["IkeSaFailed"],
            reasons=dict(sum((each.reasons for each in books), Counter[str]()).most_common()),
            happenings=dict(self.happenings),
            faults=tuple(faults),
        )
