"""Keeps the SAs: their tables and handles, their wishes for transports and questions. The `Services` of every SA."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar, cast

from ..addressing import AddressRange, Pool
from ..config import Config, Connection
from ..errors import LocalProtocolError
from ..events import CookiesDemanded, PathChanged, RequestCompleted, RequestFailed, Role, SpisChanged
from ..framing import RawHeader, starts_like_prefix
from ..outputs import Address, ChildId, Output, QuestionId, SaId
from ..questions import Question, QuestionClosed
from ..sa import (
    MOST_DRAWS,
    Attempt,
    FragmentBudget,
    Generation,
    IkeSa,
    InitAttempt,
    Message,
    OutgoingRequest,
    OutgoingResponse,
    Setup,
    Timer,
    begin_auth,
    new_spi,
    payload_names,
)
from ..transport import Choice, DatagramPath, Local, Path, Stream, StreamPath, StreamState, Way, packed_address, room_in
from ..wire import Payload
from ..wire.numbers import INITIATOR, RESPONSE, Exchange
from .admission import Admission, Refusals
from .allowance import Allowance
from .choosing import Chooser
from .contacts import Contacts
from .cookie import CookieJar
from .delivery import Delivery
from .keepalives import Keepalives
from .leases import Leases
from .questions import Open, Questions
from .schedule import Schedule
from .sending import Sender
from .streams import Streams
from .succession import Succession
from .tombstones import Tombstones
from .wishes import Wishes

__all__ = ["Keeper"]

A = TypeVar("A")


class Keeper:
    """Everything that outlives one input of the endpoint."""

    def __init__(
        self,
        config: Config,
        random: Callable[[int], bytes],
        utc: Callable[[], datetime],
        new_spi: Callable[[], bytes] | None,
        emit: Callable[[Output], None],
        counters: Counter[str],
    ) -> None:
        self.config = config
        self.limits = config.limits
        self.random = random
        self.utc = utc
        self.emit = emit
        self.counters = counters
        self.fragments_of_strangers = FragmentBudget(config.limits.fragments_unproved)
        self.locals: dict[tuple[str, Address], Local] = {}
        self.sas: dict[SaId, IkeSa] = {}
        self.by_spi: dict[bytes, IkeSa] = {}
        self.by_init: dict[tuple[bytes, Path], IkeSa] = {}
        self.concerned: IkeSa | None = None
        """The SA on whose behalf we work, which ends if a bug shows."""
        self.closing = False
        """No new SAs any more."""
        self.schedule = Schedule()
        self.questions = Questions()
        self.wishes = Wishes()
        self.leases = Leases(config.limits.past_leases)
        self._early_questions = Allowance(config.limits.early_questions_per_second)
        self.admission = Admission(config.limits)
        self.cookies = CookieJar(random, config.limits.cookie_lifetime)
        self.tombstones = Tombstones()
        self.streams = Streams(config.limits, emit, self._message_bound, self.schedule.forget)
        self.chooser = Chooser(config.limits, self.streams, self.local_address)
        self.keepalives = Keepalives(emit, self.locals)
        self.sender = Sender(config.limits, self.streams, emit, self.locals, self.keepalives, config.trace)
        self.delivery = Delivery(
            config.limits, self.streams, emit, self.local_address, self.chooser, self.sender, self.another_attempt
        )
        self.contacts = Contacts(self.sas)
        self.succession = Succession(
            config.limits,
            random,
            self.sas,
            self._new_successor,
            lambda sa, setup, now: self.begin_attempt(sa, setup, sa.hosts[1], frozenset(), now),
            emit,
            lambda: self.closing,
        )
        self._refusals = Refusals(config.limits.refused_event_interval)
        self._notify_names = config.notify_names
        self._new_spi = new_spi
        self._source_of_spis = "random" if new_spi is None else "new_spi"
        self._init_keys: dict[SaId, tuple[bytes, Path]] = {}
        self._touched: dict[SaId, IkeSa] = {}
        self._cookies_on = False
        self._last_sa = 0
        self._last_child = 0
        self._child_spis: set[bytes] = set()
        self._child_spis_of: dict[SaId, tuple[bytes, ...]] = {}

    def names_of(self, payloads: Sequence[Payload]) -> tuple[str, ...]:
        return payload_names(payloads, self._notify_names) if self.config.trace else ()

    def wish_ended(self, sa: IkeSa, end: RequestCompleted | RequestFailed) -> None:
        if self.wishes.ended(sa.id, end.request):
            self.emit(end)

    # --- handles and tables -----------------------------------------------------------------------------------------

    def new_sa(self, role: Role, connection: Connection, setup: Setup) -> IkeSa:
        """Make an SA and give it a handle."""
        self._last_sa += 1
        sa = IkeSa(SaId(self._last_sa), role, connection, self, setup)
        self.sas[sa.id] = sa
        self.touched(sa)
        self.concerned = sa
        return sa

    def _new_successor(self, connection: Connection, setup: Setup) -> IkeSa:
        concerned = self.concerned
        sa = self.new_sa("initiator", connection, setup)
        self.concerned = concerned
        return sa

    def touched(self, sa: IkeSa) -> None:
        """Its deadline may have moved."""
        self._touched[sa.id] = sa

    def new_child_id(self) -> ChildId:
        self._last_child += 1
        return ChildId(self._last_child)

    def new_child_spi(self, sa: IkeSa) -> bytes:
        """Draw an inbound SPI. ESP finds its SA by it and our address, so no two SAs may have the same."""
        spi = new_spi(self.random, self._child_spis.__contains__)
        self._child_spis.add(spi)
        self._child_spis_of[sa.id] = (*self._child_spis_of.get(sa.id, ()), spi)
        return spi

    def release_child_spi(self, sa: IkeSa, spi: bytes) -> None:
        self._child_spis.discard(spi)
        left = tuple(each for each in self._child_spis_of.pop(sa.id, ()) if each != spi)
        if left:
            self._child_spis_of[sa.id] = left

    def lease_address(
        self, sa: IkeSa, pools: Sequence[Pool], version: int, wanted: str | None
    ) -> tuple[str, AddressRange] | None:
        return self.leases.take(sa.id, _whose(sa), pools, version, wanted)

    def hold_address(self, sa: IkeSa, address: str) -> bool:
        return self.leases.hold(sa.id, _whose(sa), address)

    def release_addresses(self, sa: IkeSa) -> None:
        self.leases.release(sa.id)

    def new_ike_spi(self) -> bytes:
        """Draw an SPI that is not zero, not in use, and that no listener can take for another framing (TCP-79).

        Raises LocalProtocolError where the host's source of them gives none.
        """
        for _ in range(MOST_DRAWS):
            spi = self._new_spi() if self._new_spi is not None else self.random(8)
            if len(spi) != 8:
                raise LocalProtocolError(f"{self._source_of_spis}: gave {len(spi)} octets, not the 8 of an SPI")
            if not starts_like_prefix(spi) and any(spi) and spi not in self.by_spi:
                return spi
        raise LocalProtocolError(f"{self._source_of_spis}: among {MOST_DRAWS} SPIs none could be used")

    def claim(self, spi: bytes, sa: IkeSa) -> None:
        self.by_spi[spi] = sa

    def release(self, spi: bytes) -> None:
        self.by_spi.pop(spi, None)

    def remember_init(self, sa: IkeSa, digest: bytes, path: Path) -> None:
        """Know a repeated IKE_SA_INIT request by its octets and its exact path (RFC 7296 section 2.1)."""
        self.by_init[digest, path] = sa
        self._init_keys[sa.id] = (digest, path)

    def forget_init(self, sa: IkeSa) -> None:
        key = self._init_keys.pop(sa.id, None)
        if key is not None:
            self.by_init.pop(key, None)

    def remove(self, sa: IkeSa, now: float) -> None:
        for generation in sa.generations:
            self.retire(sa, generation, now)
        self.uproot(sa)

    def retire(self, sa: IkeSa, generation: Generation, now: float) -> None:
        room = room_in(sa.path, sa.packet_size) if sa.path is not None and sa.may_fragment else None
        last = generation.theirs.latest()
        if last is not None and last[1].exchange != Exchange.IKE_SA_INIT:  # repeats of that are not known by an SPI
            self.tombstones.bury(sa.id, generation.spi_local, last, now, room)
        self.release(generation.spi_local)

    def uproot(self, sa: IkeSa) -> None:
        """Take an SA out of every table."""
        self.sas.pop(sa.id, None)
        self._touched.pop(sa.id, None)
        self.schedule.forget(sa)
        self.contacts.remove(sa)
        for generation in sa.generations:
            self.release(generation.spi_local)
        if sa.setup is not None:
            for spi in sa.setup.attempts:
                self.release(spi)
        self._child_spis.difference_update(self._child_spis_of.pop(sa.id, ()))
        self.leases.release(sa.id)
        self.forget_init(sa)
        self._settled_half_open(sa)
        for generation in sa.generations:
            generation.fragments_done()
        for handle in self.questions.of(sa.id):
            self.questions.close(handle)
            self.emit(QuestionClosed(handle, sa.id))
        self.streams.drop_sa(sa)

    def half_opened(self, sa: IkeSa, path: Path, *, proved: bool) -> None:
        self.admission.opened(sa.id, path.transport, path.remote[0], proved=proved)
        self._say_cookies()

    def authenticated(self, sa: IkeSa, path: Path) -> None:
        self._settled_half_open(sa)
        sa.current.proved()
        if isinstance(path, StreamPath):
            self._proved_stream(path)

    def _settled_half_open(self, sa: IkeSa) -> None:
        self.admission.settled(sa.id)
        self._say_cookies()

    def _say_cookies(self) -> None:
        if self.admission.crowded is not self._cookies_on:
            self._cookies_on = self.admission.crowded
            self.emit(CookiesDemanded(self._cookies_on, self.admission.half_open("udp")))

    def refused(self, what: str, source: Address, reason: str, now: float) -> None:
        """Count something turned away, and say so now and then."""
        self.counters[f"{what} refused: {reason}" if what == "connection" else what] += 1
        event = self._refusals.note(what, source, reason, now)
        if event is not None:
            self.emit(event)

    # --- SAs with the same peer -------------------------------------------------------------------------------------

    def first_contact(self, sa: IkeSa) -> bool:
        return self.contacts.first(sa)

    def too_many(self, sa: IkeSa) -> bool:
        return self.contacts.too_many(sa)

    def met(self, sa: IkeSa, initial: bool, now: float) -> None:
        self.contacts.met(sa, initial, lambda other, reason: self._retire(other, reason, now), now)

    def _retire(self, sa: IkeSa, reason: str, now: float) -> None:
        """Another SA has replaced *sa*. Its peer may carry over Child SAs yet, then it deletes it; else we do."""
        sa.life.reason = reason
        sa.life.replaced(self.limits, now)
        sa.watch_life()
        self.touched(sa)

    def ready(self, sa: IkeSa, predecessor: SaId, now: float) -> None:
        self.succession.established(sa, predecessor, now)

    def reauthenticate(self, sa: IkeSa, now: float) -> None:
        self.succession.reauthenticate(sa, now)

    def restart(self, sa: IkeSa, restarts: int, now: float) -> None:
        self.succession.restart(sa, restarts, now)

    # --- addresses --------------------------------------------------------------------------------------------------

    def local_address(self, remote_host: str, marker: bool, preferred: str | None) -> Address | None:
        octets = len(packed_address(remote_host))
        for (kind, (host, _)), local in self.locals.items():
            fits = kind == "udp" and local.marker is marker and len(packed_address(host)) == octets
            if fits and (preferred is None or preferred == host):
                return local.address
        return None

    def listener_port(self, host: str) -> int | None:
        return next((port for kind, (each, port) in self.locals if kind == "tcp" and each == host), None)

    def move_path(self, sa: IkeSa, path: DatagramPath, reason: str, now: float) -> None:
        had_none, sa.path, sa.lost_path = sa.path is None, path, None
        sa.packet = None
        self.emit(PathChanged(sa.id, path.local, path.remote, reason, sa.esp_route.udp_encapsulation))
        self.keepalives.arm(sa, now)
        if had_none:
            self.delivery.path_found(sa, now)

    def socket_gone(self, address: Address) -> None:
        """Our socket on *address* is gone: no SA sends from it, until it is back or the peer shows another path."""
        for sa in self.sas.values():
            if sa.path is not None and sa.path.local == address:
                sa.path, sa.lost_path = None, sa.path

    def waiting_for(self, local: Local) -> list[IkeSa]:
        """Return the SAs whose datagrams went by the socket *local*, and by nothing since that was lost."""
        found = []
        for sa in self.sas.values():
            lost = sa.lost_path
            if sa.path is None and lost is not None and (lost.local, lost.marker) == (local.address, local.marker):
                found.append(sa)
        return found

    def socket_back(self, sa: IkeSa, now: float) -> None:
        """There is a socket again where the one of *sa* was: interfaces come and go."""
        if sa.lost_path is not None:
            self.touched(sa)
            self.move_path(sa, sa.lost_path, "our socket is back", now)

    def proved(self, sa: IkeSa, path: Path) -> None:
        self.chooser.worked(sa, path.remote[0], path.transport)
        if isinstance(path, StreamPath) and not sa.setting_up:
            self._proved_stream(path)

    def _proved_stream(self, path: StreamPath) -> None:
        """Keys alone prove nothing, since any stranger gets some: only those of a peer that showed who it is."""
        stream = self.streams.get(path.stream)
        if stream is not None:
            stream.proved = True

    # --- IKE_SA_INIT attempts ---------------------------------------------------------------------------------------

    def begin_attempt(self, sa: IkeSa, setup: Setup, host: str, tried: frozenset[Way], now: float) -> None:
        """Begin IKE_SA_INIT with *host*, on the transport that the policy chooses after *tried* came to nothing."""
        self._attempt(sa, setup, host, self.chooser.for_attempt(sa, host, tried, now), tried, now)

    def another_attempt(self, sa: IkeSa, attempt: Attempt, tried: frozenset[Way], now: float) -> bool:
        """Begin anew on a transport not yet tried, while *attempt*, if it lives, goes on listening."""
        choice = self.chooser.for_attempt(sa, attempt.host, tried, now)
        if choice.transport in tried:
            return False
        self._attempt(sa, attempt.setup, attempt.host, choice, tried, now)
        return True

    def _attempt(self, sa: IkeSa, setup: Setup, host: str, choice: Choice, tried: frozenset[Way], now: float) -> None:
        attempt = InitAttempt(sa, setup, host, choice, tried, begin_auth)
        if setup.attempts or sa.progress:
            self.emit(SpisChanged(sa.id, attempt.spi_i, bytes(8), f"IKE_SA_INIT begins anew: {choice.reason}"))
        attempt.send(now)

    def attempt_failed(self, sa: IkeSa, attempt: Attempt, now: float) -> bool:
        """Nothing of IKE_SA_INIT with this host is left: another transport, or another host."""
        if attempt.refusal is None and self.another_attempt(sa, attempt, attempt.tried | {attempt.transport}, now):
            return True
        setup = attempt.setup
        if not setup.remotes:
            return False
        host, *rest = setup.remotes
        setup.remotes = tuple(rest)
        sa.hosts = (sa.hosts[0], host)
        self.begin_attempt(sa, setup, host, frozenset(), now)
        return True

    # --- sending ----------------------------------------------------------------------------------------------------

    def send_request(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        self.touched(sa)
        self.delivery.send_request(sa, request, now)

    def request_done(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        self.touched(sa)
        self.delivery.request_done(sa, request)

    def send_response(self, sa: IkeSa, response: OutgoingResponse, paths: Sequence[Path], now: float) -> None:
        self.sender.send_response(sa, response, paths, now)

    def send_once(self, sa: IkeSa, message: Message, now: float) -> None:
        self.sender.send_once(sa, message, now)

    # --- streams ----------------------------------------------------------------------------------------------------

    def _message_bound(self, header: RawHeader) -> int:
        """How large a message on an accepted stream may be that is larger than any IKE_SA_INIT, by its header.

        Nothing of it is kept for SPIs that we do not know.
        """
        flags = header[5]
        ours = header[1] if flags & INITIATOR else header[0]
        known = not flags & RESPONSE and (ours in self.by_spi or self.tombstones.has(ours))
        return self.limits.message_known if known else 0

    def stream_up(self, stream: Stream, now: float) -> None:
        sa = self.streams.owner(stream.id)
        self.streams.touched(stream)
        if sa is not None:
            self.concerned = sa
            self.touched(sa)
            self.delivery.stream_up(sa, stream, now)

    def stream_eof(self, stream: Stream, now: float) -> None:
        """The peer sent FIN. On a connection of ours that is a close that came too early: no answer can come by it."""
        stream.eof(now)
        self.streams.touched(stream)
        if stream.opened and (stream.awaited or stream.waiting or stream.state is StreamState.HALF_CLOSED_THERE):
            stream.close("the peer closed before it had answered")
            self.stream_gone(stream, now)

    def stream_gone(self, stream: Stream, now: float) -> None:
        """A stream is closed, for whatever reason: its requests go another way."""
        sa = self.streams.owner(stream.id)
        self.streams.forget(stream)
        for key in stream.owed:
            asker = self.by_spi.get(key[0]) if isinstance(key, tuple) else None
            if asker is not None and isinstance(key, tuple):
                for generation in asker.generations:
                    if generation.spi_local == key[0]:
                        generation.theirs.not_wanted_on(key[1], stream.path)
        if sa is not None and sa.alive:
            self.concerned = sa
            self.touched(sa)
            if stream.reserved and not stream.was_open:
                self.chooser.failed(sa, stream.remote[0], "tcp", now)
            self.delivery.stream_down(sa, stream, now)

    def stream_expired(self, stream: Stream, now: float) -> None:
        reason = stream.expire(now)
        self.streams.touched(stream)
        if reason is not None and not stream.alive:
            if not stream.opened and not stream.heard:
                self.refused("connection", stream.remote, "no message in time", now)
            self.stream_gone(stream, now)

    # --- questions --------------------------------------------------------------------------------------------------

    def may_ask_early(self, now: float) -> bool:
        if self._early_questions.take(now):
            return True
        self.refused("question", ("", 0), "too many questions about peers that have proved nothing", now)
        return False

    def ask(
        self,
        sa: IkeSa,
        make: Callable[[QuestionId, float], Question[A]],
        wants: type[A] | tuple[type[A], ...],
        refusal: A,
        resume: Callable[[A, float], None],
        now: float,
    ) -> None:
        if len(self.questions) >= self.limits.questions:
            self.refused("question", ("", 0), "too many questions are open", now)
            resume(refusal, now)
            return
        deadline = now + self.limits.question_timeout
        handle = self.questions.ask(
            Open(sa.id, wants, refusal, cast(Callable[[object, float], None], resume), deadline)
        )
        self._watch_questions(sa)
        self.emit(make(handle, deadline))

    def _watch_questions(self, sa: IkeSa) -> None:
        """Wake when the first open question of *sa* is overdue."""
        deadline = self.questions.deadline_of(sa.id)
        if deadline is None:
            sa.timers.clear(Timer.QUESTION)
        else:
            sa.timers.set(Timer.QUESTION, deadline)
        self.touched(sa)

    def question_closed(self, handle: QuestionId, question: Open, value: object, now: float) -> None:
        """Go on with the answer."""
        self.emit(QuestionClosed(handle, question.sa))
        sa = self.sas.get(question.sa)
        if sa is not None and sa.alive:
            self.concerned = sa
            self._watch_questions(sa)
            question.resume(value, now)

    def question_overdue(self, sa: IkeSa, now: float) -> None:
        """Nobody answered: that is a refusal."""
        for handle in self.questions.of(sa.id):
            question = self.questions.overdue(handle, now)
            if question is not None:
                self.question_closed(handle, question, question.refusal, now)

    # --- after each input -------------------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Close streams whose work is done, and arm the deadlines of all that was touched."""
        touched, streams, arm = self._touched, self.streams, self.schedule.arm
        streams.look_at_those_of(touched.values())
        while streams.dirty:
            _, stream = streams.dirty.popitem()
            streams.tidy(stream, now)
            arm(stream)
        while touched:
            arm(touched.popitem()[1])


def _whose(sa: IkeSa) -> str:
    """Return what stands for the peer's identity where it is remembered: short, and never the same for two."""
    identity = sa.peer_identity
    return "" if identity is None else hashlib.sha256(bytes([identity.id_type]) + identity.data).hexdigest()
