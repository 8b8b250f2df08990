"""Two hosts with all that an engine may meet at once: large messages, certificates, NATs, hosts that move, strangers.

What is checked here is what both applications are told and can see, and that nothing is left in memory; nothing here
knows how the engine does it.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from functools import cache
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Literal, TypeAlias

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ikecore import (
    AcceptanceNeeded,
    AuthorizationNeeded,
    CertificateCredential,
    ChildConfig,
    Config,
    Connection,
    Endpoint,
    ExternalKey,
    Fallback,
    IkeSaClosed,
    IkeSaView,
    Lease,
    LeaseNeeded,
    Lifetimes,
    Limits,
    Local,
    LocalCredential,
    Policy,
    Pool,
    PskCredential,
    PskWanted,
    Question,
    RemoteCredential,
    SaId,
    SecretNeeded,
    SignatureNeeded,
    TcpOnly,
    Transports,
    TrustedCertificates,
    esp_proposals,
    ike_proposals,
    parse_selector,
)
from ikecore.sa import ChildSa, IkeSa, OutgoingRequest
from ikecore.testing import NOON, BareEndpoint, Host, Nat, Network, Packet, psk_connection
from ikecore.testing.pki import CertificateAuthority, Leaf
from ikecore.transport import Step, Stream
from tests.model.ledger import Ledger, Watched
from tests.model.lives import GROUPS
from tests.model.world import POLICIES, Hosts, Role

__all__ = ["WIDE_POLICIES", "Family", "Flips", "Proof", "Setting", "Wide"]

Family = Literal["4", "6", "both"]
Proof = Literal["psk", "asked psk", "ecdsa", "ml-dsa", "external"]
Translation = Literal["none", "kept", "short", "per partner"]
Sides: TypeAlias = tuple[Role, Role]
SIDES: Sides = ("initiator", "responder")
SECRET = b"a secret for tests, known to both"

HOMES = {"4": ("10.0.0.1", "10.0.0.2"), "6": ("2001:db8::1", "2001:db8:0:1::2")}
AWAY = {"4": ("10.0.1.1", "10.0.1.2"), "6": ("2001:db8:1::1", "2001:db8:1:1::2")}
"""Where a host goes when it moves."""
OUTSIDES = {"4": ("203.0.113.1", "203.0.113.2"), "6": ("2001:db8:ffff::1", "2001:db8:fffe::2")}
STRANGER = {"4": "198.51.100.9", "6": "2001:db8:9::9"}

WIDE_POLICIES: tuple[Policy, ...] = (
    *POLICIES,
    Fallback((Step("fragments", 3.0), Step("tcp", 5.0))),
    Fallback((Step("udp", 2.0), Step("fragments", 4.0), Step("tcp", 5.0))),
    Fallback((Step("tcp", 2.0), Step("fragments", 4.0))),
)


@attrs.frozen(kw_only=True)
class Setting:
    """What is fixed for one run. Pairs are of the initiator and the responder."""

    family: Family = "4"
    nat: Translation = "none"
    """What stands before the initiator."""
    forwards: bool = False
    """Whether the responder is behind a NAT too, which forwards the ports of its home."""
    proof: Proof = "psk"
    policies: tuple[Policy, Policy] = attrs.field(factory=lambda: (WIDE_POLICIES[1], WIDE_POLICIES[1]))
    fragmentation: tuple[Literal["yes", "accept", "no"], Literal["yes", "accept", "no"]] = ("yes", "yes")
    fragment_size: int = 1280
    selectors: int = 1
    """How many each Child SA has on each side: some dozens make every CREATE_CHILD_SA larger than a packet."""
    windows: tuple[int, int] = (1, 1)
    groups: bool = False
    """Whether the first key exchange method of each side is one that the other does not know."""
    lifetimes: bool = False
    dpd: Literal["never", "clear", "restart"] = "never"
    unique: Literal["never", "no", "replace", "keep"] = "no"
    authorize: bool = False
    lease: Literal["none", "pool", "ask"] = "none"
    half_close: bool = False
    both_listen: bool = False
    ports: tuple[int | None, int | None] = (None, None)
    """`Transports.tcp_port` of both."""
    cookies: bool = False
    tight: bool = False
    """Limits so small that they are met."""
    keepalive: float = 20.0
    start_on_nat_port: bool = False
    trace: bool = False
    seed: int = 0


# --- configurations ---------------------------------------------------------------------------------------------------


@cache
def authorities(kind: Literal["ecdsa-p256", "ml-dsa-44"]) -> tuple[CertificateAuthority, CertificateAuthority]:
    """Return a root and what is below it; made once, since keys take time."""
    root = CertificateAuthority("Root", kind=kind, utc=NOON)
    return root, root.intermediate("Intermediate")


@cache
def leaf(role: Role, kind: Literal["ecdsa-p256", "ml-dsa-44"]) -> Leaf:
    """Return the certificate of one side. An ECDSA authority signs a key that is Ed25519: its signatures repeat."""
    return authorities(kind)[1].leaf([f"{role}.example"], kind="ed25519" if kind == "ecdsa-p256" else kind)


def credentials(role: Role, proof: Proof) -> tuple[LocalCredential, RemoteCredential]:
    """Return what *role* proves itself with, and what its peer has to."""
    if proof == "psk":
        return PskCredential(SECRET), PskCredential(SECRET)
    if proof == "asked psk":
        return PskWanted(), PskWanted()
    kind: Literal["ecdsa-p256", "ml-dsa-44"] = "ml-dsa-44" if proof == "ml-dsa" else "ecdsa-p256"
    mine, anchors = leaf(role, kind), TrustedCertificates((authorities(kind)[0].der,))
    if proof == "external":
        return ExternalKey(mine.chain, mine.public_key), anchors
    return CertificateCredential(mine.chain, mine.key), anchors


def children(setting: Setting, number: int) -> list[ChildConfig]:
    """Return three, of different selectors; with leases, the initiator's side of each is what it leases."""
    lifetimes = Lifetimes(rekey_time=300.0, rand_time=100.0, over_time=400.0) if setting.lifetimes else Lifetimes()
    groups = GROUPS["groups" if setting.groups else "plain"][number].split(",")
    found = []
    for place, name in enumerate(("one", "two", "three")):
        nets = [
            tuple(parse_selector(f"10.{place + 1}{each}.{net}.0/24") for net in range(setting.selectors))
            for each in (0, 1)
        ]
        leased = setting.lease != "none"
        mine, theirs = nets[number], nets[1 - number]
        found.append(
            ChildConfig(
                name=name,
                proposals=esp_proposals(*(f"aes128gcm16-{group}" for group in groups)),
                local_ts=None if leased and number == 0 else mine,
                remote_ts=None if leased and number == 1 else theirs,
                lifetimes=lifetimes,
            )
        )
    return found


def connection(setting: Setting, number: int) -> Connection:
    """Return the connection of one side."""
    role = SIDES[number]
    local, remote = credentials(role, setting.proof)
    groups = GROUPS["groups" if setting.groups else "plain"][number].split(",")
    lifetimes = Lifetimes()
    if setting.lifetimes:
        lifetimes = Lifetimes(rekey_time=500.0, rand_time=200.0, over_time=400.0, reauth_time=1300.0)
    more: dict[str, Any] = {}
    if setting.lease != "none" and number == 0:
        more = {"virtual_addresses": ("0.0.0.0",), "ask_acceptance": setting.authorize}
    elif setting.lease == "pool":
        more = {"pools": (Pool(name="pool", addresses=("10.99.0.0/29",)),)}
    elif setting.lease == "ask":
        more = {"ask_lease": True}
    # Behind a NAT a peer that uses TCP alone cannot be asked: whoever asks it gives up the SA, again and again.
    asks = setting.dpd != "never" and (number == 0 or setting.nat == "none")
    found = psk_connection(
        role,
        children=children(setting, number),
        lifetimes=lifetimes,
        authorize=setting.authorize and number == 1,
        dpd_delay=40.0 if asks else 0.0,
        dpd_timeout=60.0 if asks else 0.0,
        dpd_action="restart" if setting.dpd == "restart" and number == 0 else "clear",
        unique=setting.unique,
        **more,
    )
    proposals = ike_proposals(*(f"aes128gcm16-prfsha256-{group}" for group in groups))
    return attrs.evolve(found, local=local, remote=remote, proposals=proposals, transports=transports(setting, number))


def transports(setting: Setting, number: int, policy: Policy | None = None) -> Transports:
    """Return how one side's messages travel, by *policy* or by that of the setting."""
    return Transports(
        policy=policy or setting.policies[number],
        tcp_port=setting.ports[number],
        announce_tcp=500 if number == 0 and setting.both_listen and setting.nat == "none" else None,
        half_close=setting.half_close,
        fragmentation=setting.fragmentation[number],
        fragment_size=setting.fragment_size,
        keepalive=setting.keepalive,
        udp_start="nat" if setting.start_on_nat_port and number == 0 else "ike",
    )


def limits(setting: Setting, number: int) -> Limits:
    """Return the bounds of one side."""
    found = Limits(cookie_threshold=0 if setting.cookies else 100, window=setting.windows[number])
    if setting.tight:
        found = attrs.evolve(
            found,
            half_open_udp=2,
            half_open_tcp=2,
            streams=3,
            streams_per_source=2,
            children=3,
            queued_requests=3,
            fragments_unproved=3000,
            addresses_per_identity=1,
        )
    return found


def translator(setting: Setting, outside: str) -> Nat | None:
    """Return what stands before the initiator."""
    if setting.nat == "none":
        return None
    lifetime = {"kept": None, "short": 30.0, "per partner": 60.0}[setting.nat]
    return Nat(outside, lifetime=lifetime, per_partner=setting.nat == "per partner")


class Flips:
    """Flips a bit in a *share* of the datagrams, or of the pieces of streams, that it sees."""

    def __init__(self, transport: Literal["udp", "tcp"], share: float, seed: int) -> None:
        self.transport, self.share = transport, share
        self.random = random.Random(seed)

    def __call__(self, packet: Packet, data: bytes) -> bytes:
        if packet.transport != self.transport or not data or self.random.random() >= self.share:
            return data
        at = self.random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1 :]


# --- the world --------------------------------------------------------------------------------------------------------


class Wide(Hosts):
    """The hosts "initiator" and "responder", which both may do either, and a stranger."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.network = Network(setting.seed)
        self.limits = limits(setting, 0)
        self.connections = {role: connection(setting, number) for number, role in enumerate(SIDES)}
        self.hosts: dict[str, Host] = {}
        self.locals: dict[str, tuple[Local, ...]] = {}
        self.books: dict[str, Ledger] = {}
        self.starts = 0
        self.named = 0
        self.leases = 0
        self.obliging = False
        """Whether each question is answered at once, and well."""
        self.families = ("6", "4") if setting.family == "both" else (setting.family,)
        first, second = OUTSIDES[self.families[0]]
        self.nat = translator(setting, first)
        self.forwarding: Nat | None = None
        if setting.forwards:
            home = HOMES[self.families[0]][1]
            self.forwarding = Nat(
                second, forwards={("udp", 500): (home, 500), ("udp", 4500): (home, 4500), ("tcp", 500): (home, 500)}
            )
        for number, role in enumerate(SIDES):
            self._attach(number, role)
        addresses = [Local((STRANGER[family], 500)) for family in self.families]
        self.stranger = self.network.attach(BareEndpoint(), *addresses, name="stranger")

    def _attach(self, number: int, role: Role) -> None:
        listens = number == 1 or self.setting.both_listen
        home = [local for family in self.families for local in _sockets(HOMES[family][number], listens)]
        away = [local for family in self.families for local in _sockets(AWAY[family][number], listens)]
        nat = (self.nat, self.forwarding)[number]
        host = self.network.attach(self.endpoint(number), *home, *away, nat=nat, name=role)
        for local in away:
            host.remove(local)
        self.hosts[role], self.locals[role] = host, (*home, *away)
        self.books[role] = Ledger(host, successors=self.setting.lifetimes or self.setting.dpd == "restart")

    def endpoint(self, number: int) -> Watched:
        """Return an endpoint that knows nothing yet."""
        role = SIDES[number]
        config = Config(
            connections=(self.connections[role],), limits=limits(self.setting, number), trace=self.setting.trace
        )
        draw = random.Random(f"{role} {self.setting.seed} {self.starts}").randbytes
        return Watched(Endpoint(config, random=draw, utc=lambda: NOON, raise_bugs=True))

    # --- wishes -----------------------------------------------------------------------------------------------------

    def initiate(self, role: Role, policy: Policy | None = None) -> SaId:
        """Have one side begin an SA with the other."""
        number, host = SIDES.index(role), self.hosts[role]
        self.named += 1
        mine = attrs.evolve(
            self.connections[role], name=f"wish {self.named}", transports=transports(self.setting, number, policy)
        )
        nat = (self.forwarding, self.nat)[number]
        remotes = [nat.outside] if nat is not None else [HOMES[family][1 - number] for family in self.families]
        sa: SaId = host.call(host.endpoint.initiate, mine, remotes)
        self.books[role].begun.add(sa)
        return sa

    def answer(self, role: Role, welcome: bool) -> None:
        """Answer all questions of one side, late or not."""
        for question in list(self.books[role].questions.values()):
            self.answer_one(role, question, welcome)

    def answer_one(self, role: Role, question: Question[Any], welcome: bool) -> None:
        """Answer a question, unless an answer to another one has closed it."""
        host, book = self.hosts[role], self.books[role]
        if question.question in book.questions:
            del book.questions[question.question]
            book.answered.add(question.question)
            assert host.call(host.endpoint.answer, question.question, self.word(question, welcome))

    def word(self, question: Question[Any], welcome: bool) -> object:
        """Return an answer, or a refusal."""
        if isinstance(question, AuthorizationNeeded | AcceptanceNeeded):
            return welcome
        if isinstance(question, SecretNeeded):
            return SECRET if welcome else b""
        if isinstance(question, SignatureNeeded):
            return _signed(self.setting.proof, question) if welcome else b""
        assert isinstance(question, LeaseNeeded)
        self.leases += 1
        return Lease(addresses=(f"10.99.{self.leases // 200}.{self.leases % 200 + 1}",)) if welcome else None

    def start_afresh(self, role: Role) -> None:
        """One side loses all that it knew, and says nothing of it."""
        self.starts += 1
        host = self.hosts[role]
        host.restart(self.endpoint(SIDES.index(role)))
        self.books[role] = Ledger(host, successors=self.setting.lifetimes or self.setting.dpd == "restart")

    # --- hosts that move --------------------------------------------------------------------------------------------

    def move(self, role: Role, away: bool) -> None:
        """Give up the sockets of one address, and have those of the other."""
        host, number = self.hosts[role], SIDES.index(role)
        there = {family: (HOMES, AWAY)[away][family][number] for family in self.families}
        for local in self.locals[role]:
            if local.address[0] in there.values() and (local.kind, local.address) not in host.locals:
                host.add(local)
        for local in list(host.locals.values()):
            if local.address[0] not in there.values():
                host.remove(local)

    # --- strangers --------------------------------------------------------------------------------------------------

    def replay(self, back: int, source: int) -> None:
        """What was sent lately comes once more, from where it came from or from elsewhere."""
        for packet in [each for each in self.network.wire[-back:] if each.kind == "datagram"]:
            elsewhere = (STRANGER["6" if ":" in packet.destination[0] else "4"], 1024 + source)
            self.network.send(
                packet.data, source=elsewhere if source else packet.source, destination=packet.destination
            )

    def connect(self, back: int, spoil: bool) -> None:
        """The stranger connects to the responder, writes what it saw there, and leaves it at that."""
        bare: BareEndpoint = self.stranger.endpoint
        family = self.families[0]
        host = HOMES[family][1] if self.forwarding is None else self.forwarding.outside
        stream = bare.open((host, 500), STRANGER[family])
        for packet in self.network.wire[-back:]:
            data = packet.data.removeprefix(bytes(4))
            if data and len(data) >= 28:
                bare.write(stream, data[:-1] + b"?" if spoil else data)
        self.stranger.flush()

    # --- what holds at any time -------------------------------------------------------------------------------------

    def run_for(self, seconds: float) -> None:
        self.network.run_for(seconds)
        self.check()

    def check(self) -> None:
        """What each side shows is what it told, and within its limits."""
        for number, role in enumerate(SIDES):
            book, bound = self.books[role], limits(self.setting, number)
            book.check()
            endpoint = self.hosts[role].endpoint
            views = [endpoint.sa(sa) for sa in endpoint.sas]
            assert all(len(view.children) <= 2 * bound.children for view in views), "each may be rekeyed just now"
            half_open = sum(view.role == "responder" and view.state in ("half-open", "deciding") for view in views)
            assert half_open <= bound.half_open_udp + bound.half_open_tcp
            assert all(len(view.replaced_spis) < 2 * bound.generations for view in views)
            sockets = [end for end in self.hosts[role].ends.values() if end is end.connection.server and not end.closed]
            assert len(sockets) <= bound.streams

    # --- the end ----------------------------------------------------------------------------------------------------

    def be_obliging(self) -> None:
        """From now on every question is answered at once."""
        for role in SIDES:
            book = self.books[role]

            def told(event: Any, role: Role = role, tell: Callable[[Any], None] = book.told) -> None:
                tell(event)
                if isinstance(event, Question):
                    self.answer_one(role, event, True)

            self.hosts[role].on_event = told
            self.answer(role, True)

    def settle(self) -> None:
        """After healing: everything under way comes to its end, and each side learns which SAs the other still has."""
        longest = self.longest_request() + self.limits.temporary_failure_limit
        self.run_for(self.limits.establish_timeout + longest)
        for asker in SIDES * 2:
            for sa in self.established(asker):
                self.books[asker].wish("check_liveness", sa)
            self.run_for(longest)

    def finish(self) -> None:
        """Heal, agree, delete everything, and find nothing left."""
        self.heal()
        self.be_obliging()
        if any(book.closing for book in self.books.values()):  # a peer that has shut down would be asked for ever
            self.shutdown()
        self.settle()
        self.agree_sooner_or_later()
        for role in SIDES:
            self.books[role].check_all_ended()
        self.shutdown()
        self.run_for(self.limits.delete_timeout + self.longest_request())
        for role in SIDES:
            self.books[role].check_all_ended()
            self.nothing_left(self.hosts[role])

    def shutdown(self) -> None:
        for book in self.books.values():
            book.shutdown()

    def agree_sooner_or_later(self) -> None:
        """With life-times something may be under way at any moment, but not at each of many."""
        for _ in range(60 if self.setting.lifetimes or self.setting.dpd == "restart" else 0):
            try:
                self.assert_agreement()
            except AssertionError:
                self.run_for(2.3)
            else:
                return
        self.assert_agreement()

    def assert_agreement(self) -> None:
        """As `Hosts` has it; and of each Child SA the keys and selectors, and what was leased."""
        super().assert_agreement()
        mine, theirs = (self.views(role) for role in SIDES)
        for spis, view in mine.items():
            other: IkeSaView = theirs[spis]
            assert (view.replaced_spis, other.replaced_spis) == ((), ())
            assert view.role != other.role
            assert (view.assigned, view.granted) == (other.granted, other.assigned)
            ends = {child.spi_in: child for child in view.children}
            for child in other.children:
                half = ends[child.spi_out]
                keys, peers = half.export_keys(), child.export_keys()
                assert (keys.encr_in, keys.encr_out) == (peers.encr_out, peers.encr_in)
                assert (half.local_ts, half.remote_ts) == (child.remote_ts, child.local_ts)
                assert (half.name, half.suite, half.mode) == (child.name, child.suite, child.mode)

    def nothing_left(self, host: Host) -> None:
        """No SA, no stream, no deadline, and nothing of them in memory."""
        endpoint = host.endpoint
        assert endpoint.sas == ()
        assert endpoint.idle
        assert endpoint.deadline is None
        left = [each for each in _within(endpoint.endpoint) if isinstance(each, ENDED)]
        assert left == []

    def silences(self) -> Sequence[IkeSaClosed]:
        """Return the ends of SAs that nobody wished."""
        ends = [end for book in self.books.values() for end in book.over.values()]
        return [end for end in ends if isinstance(end, IkeSaClosed) and end.by not in ("us", "peer")]

    @property
    def one_sided(self) -> bool:
        """Whether by the setting itself a side may be unable to reach its peer."""
        setting = self.setting
        needs_tcp = any(isinstance(policy, TcpOnly) or not _uses_udp(policy) for policy in setting.policies)
        return setting.nat != "none" or setting.forwards or (needs_tcp and not setting.both_listen)


ENDED = (IkeSa, ChildSa, OutgoingRequest, Stream)
SKIPPED = (type, ModuleType, str, bytes, int, float)


def _within(root: object) -> list[object]:
    """Return all objects that *root* holds on to, directly or not."""
    seen: dict[int, object] = {}
    todo = [root]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, SKIPPED):
            continue
        seen[id(each)] = each
        if isinstance(each, FunctionType):
            todo += each.__closure__ or ()
        elif isinstance(each, MethodType | CellType) or not isinstance(each, Config | Connection):
            todo += gc.get_referents(each)
    return list(seen.values())


def _uses_udp(policy: Policy) -> bool:
    return not isinstance(policy, Fallback) or any(step.transport != "tcp" for step in policy.steps)


def _sockets(address: str, listens: bool) -> list[Local]:
    found = [Local((address, 500)), Local((address, 4500), marker=True)]
    return [*found, Local((address, 500), "tcp")] if listens else found


def _signed(proof: Proof, question: SignatureNeeded) -> bytes:
    """Sign with the key of whichever side is asked."""
    for role in SIDES:
        found = leaf(role, "ecdsa-p256")
        if found.public_key == question.public_key:
            assert isinstance(found.key, Ed25519PrivateKey)
            return found.key.sign(question.octets)
    raise AssertionError(f"nobody has the key of {question}, where the proof is {proof}")
