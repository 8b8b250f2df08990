"""Keeps the SAs of an endpoint, and puts together all that works on them. The `Services` of every SA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from ..config import Config, Connection
from ..events import RequestCompleted, RequestFailed, Role
from ..outputs import ChildId, Output, SaId
from ..sa import (
    FragmentBudget,
    Generation,
    IkeSa,
    Setup,
    payload_names,
)
from ..transport import Path, StreamPath, room_in
from ..wire import Payload
from ..wire.numbers import Exchange
from .admission import Admission, Refusals
from .asker import Asker
from .attempts import Attempts
from .choosing import Chooser
from .contacts import Contacts
from .cookie import CookieJar
from .delivery import Delivery
from .half_open import HalfOpen
from .keepalives import Keepalives
from .leases import Leases
from .paths import Paths
from .schedule import Schedule
from .sending import Sender
from .sockets import Sockets
from .spis import ChildSpis, IkeSpis
from .stream_events import StreamEvents
from .streams import Streams
from .succession import Succession
from .tombstones import Tombstones
from .turn import Turn
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
        limits = config.limits
        self.config = config
        self.limits = limits
        self.random = random
        self.utc = utc
        self.emit = emit
        self.counters = counters
        self.closing = False
        """No new SAs any more."""
        self._notify_names = config.notify_names
        self._last_sa = 0
        self._last_child = 0

        # What is known.
        self.sas: dict[SaId, IkeSa] = {}
        self.ike_spis = IkeSpis(random, new_spi)
        self.by_spi = self.ike_spis.owners
        """The SAs by our SPIs."""
        self.child_spis = ChildSpis(random)
        self.sockets = Sockets()
        self.leases = Leases(limits.past_leases, limits.addresses_per_identity)
        self.tombstones = Tombstones()
        self.wishes = Wishes()
        self.schedule = Schedule()
        self.streams = Streams(
            limits, emit, lambda spi: spi in self.by_spi or self.tombstones.has(spi), self.schedule.forget
        )
        self.turn = Turn(self.schedule, self.streams)

        # Who is let in.
        self.fragments_of_strangers = FragmentBudget(limits.fragments_unproved)
        self.cookies = CookieJar(random, limits.cookie_lifetime)
        self.admission = Admission(limits)
        self.half_open = HalfOpen(self.admission, emit)
        self.refusals = Refusals(limits.refused_event_interval, counters, emit)

        # What is done.
        self.chooser = Chooser(limits, self.streams, self.sockets)
        self.attempts = Attempts(self.chooser, emit)
        self.keepalives = Keepalives(emit, self.sockets)
        self.sender = Sender(limits, self.streams, emit, self.sockets, self.keepalives, config.trace)
        self.delivery = Delivery(
            limits, self.streams, emit, self.sockets, self.chooser, self.sender, self.attempts, self.turn
        )
        self.paths = Paths(self.sas, emit, self.keepalives, self.delivery, self.turn)
        self.stream_events = StreamEvents(
            self.streams, self.by_spi, self.chooser, self.delivery, self.refusals, self.turn
        )
        self.asker = Asker(limits, self.sas, emit, self.refusals, self.turn)
        self.contacts = Contacts(self.sas, limits, self.turn)
        self.succession = Succession(
            limits, random, self.sas, self._new_successor, self.attempts, emit, lambda: self.closing
        )

    def names_of(self, payloads: Sequence[Payload]) -> tuple[str, ...]:
        return payload_names(payloads, self._notify_names) if self.config.trace else ()

    def new_child_id(self) -> ChildId:
        self._last_child += 1
        return ChildId(self._last_child)

    def wish_ended(self, sa: IkeSa, end: RequestCompleted | RequestFailed) -> None:
        if self.wishes.ended(sa.id, end.request):
            self.emit(end)

    # --- the life of an SA ------------------------------------------------------------------------------------------

    def new_sa(self, role: Role, connection: Connection, setup: Setup) -> IkeSa:
        """Make an SA and give it a handle."""
        self._last_sa += 1
        sa = IkeSa(SaId(self._last_sa), role, connection, self, setup)
        self.sas[sa.id] = sa
        self.turn.is_for(sa)
        return sa

    def _new_successor(self, connection: Connection, setup: Setup) -> IkeSa:
        concerned = self.turn.concerned
        sa = self.new_sa("initiator", connection, setup)
        self.turn.concerned = concerned
        return sa

    def authenticated(self, sa: IkeSa, path: Path) -> None:
        self.half_open.settled(sa)
        sa.current.proved()
        if isinstance(path, StreamPath):
            self.streams.proved(path)

    def proved(self, sa: IkeSa, path: Path) -> None:
        self.chooser.worked(sa, path.remote[0], path.transport)
        if isinstance(path, StreamPath) and not sa.setting_up:
            self.streams.proved(path)

    def retire(self, sa: IkeSa, generation: Generation, now: float) -> None:
        room = room_in(sa.path, sa.packet_size) if sa.path is not None and sa.may_fragment else None
        last = generation.theirs.latest()
        if last is not None and last[1].exchange != Exchange.IKE_SA_INIT:  # repeats of that are not known by an SPI
            self.tombstones.bury(sa.id, generation.spi_local, last, now, room)
        self.ike_spis.release(generation.spi_local)

    def remove(self, sa: IkeSa, now: float) -> None:
        for generation in sa.generations:
            self.retire(sa, generation, now)
        self.uproot(sa)

    def uproot(self, sa: IkeSa) -> None:
        """Take an SA out of every table."""
        self.sas.pop(sa.id, None)
        self.turn.forget(sa)
        self.schedule.forget(sa)
        self.contacts.remove(sa)
        self.succession.forget(sa.id)
        for generation in sa.generations:
            self.ike_spis.release(generation.spi_local)
        if sa.setup is not None:
            for spi in sa.setup.attempts:
                self.ike_spis.release(spi)
        self.child_spis.release_all(sa.id)
        self.leases.release(sa.id)
        self.half_open.forget(sa)
        self.half_open.settled(sa)
        for generation in sa.generations:
            generation.fragments_done()
        self.asker.forget(sa)
        self.streams.drop_sa(sa)
