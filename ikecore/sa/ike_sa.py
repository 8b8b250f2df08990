"""One IKE SA: what is known of it, its life-time, its pairs of SPIs, and its end.

How a message comes in is in `receiving`, what we begin in `beginning`, what we say in `outgoing`, what is done when a
timer rings in `waking`. What each exchange means is in the modules named after the exchanges.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal

from ..addressing import Lease
from ..config import Connection
from ..crypto import Identity
from ..errors import IkeError, SaClosed
from ..events import (
    ChildSaClosed,
    IkeSaClosed,
    IkeSaFailed,
    RequestCompleted,
    RequestFailed,
    Role,
    SpisChanged,
    Transport,
)
from ..outputs import ChildId, SaId
from ..transport import NO_NAT, DatagramPath, EspRoute, esp_route, least_packet, nothing_known
from ..wire.numbers import Exchange, name_of
from .child_sa import ChildSa
from .exchange import OurExchange
from .generation import Generation, Rival
from .life import IkeLife
from .request import OutgoingRequest
from .services import Services
from .setup import Setup
from .states import Input, State
from .timers import Timer, Timers

__all__ = ["By", "IkeSa"]

By = Literal["us", "peer", "silence", "error"]
CLOSED: Final = State.CLOSED
"""Asked for so often that finding it in its enumeration would count."""


class IkeSa:
    """One IKE SA, in either role."""

    __slots__ = (
        "armed",
        "authenticated_at",
        "assigned",
        "awaiting",
        "children",
        "connection",
        "current",
        "doubted_at",
        "facts",
        "fragmentation",
        "granted",
        "hinted_at",
        "heard_at",
        "hosts",
        "id",
        "life",
        "lost_path",
        "nat",
        "number",
        "others",
        "packet",
        "path",
        "peer_identity",
        "postponed",
        "progress",
        "rival",
        "role",
        "services",
        "setup",
        "timers",
        "transport",
        "transport_reason",
        "udp_sent_at",
    )

    def __init__(self, id: SaId, role: Role, connection: Connection, services: Services[IkeSa], setup: Setup) -> None:
        self.id = id
        self.role = role
        self.connection = connection
        self.services = services
        self.setup: Setup | None = setup
        """Until both sides have proved who they are, or it ends."""
        initiates = role == "initiator"
        self.current = Generation(
            role,
            State.INITIATING if initiates else State.HALF_OPEN,
            None if initiates else services.fragments_of_strangers,
        )
        self.others: tuple[Generation, ...] = ()
        """Those that it replaced, until they are deleted, and while both sides rekey what may yet replace it."""
        self.rival: Rival | None = None
        """Among *others*: made by the peer's rekey, and it is not decided yet whether it or ours takes over."""
        self.postponed: tuple[tuple[float, OurExchange], ...] = ()
        """Exchanges that begin at a later moment, because the peer could not take them now."""
        self.children: dict[ChildId, ChildSa] = {}
        self.hosts = ("", "")
        """Our address and the peer's: as IKE_SA_INIT was carried, then wherever authenticated traffic comes from."""
        self.authenticated_at = ""
        """The peer's address when it was authenticated. It had to read our answers there; later ones prove nothing."""
        self.path: DatagramPath | None = None
        self.lost_path: DatagramPath | None = None
        """What *path* was when its socket went, until there is another."""
        self.udp_sent_at = 0.0
        """When anything was last sent by *path*, so that a NAT's mapping was fresh; only kept behind a NAT."""
        self.hinted_at: float | None = None
        """When somebody unauthenticated last made us look whether the peer is there."""
        self.facts = nothing_known(connection.transports.tcp_port)
        self.nat = NO_NAT
        self.fragmentation = False
        """Both sides said in IKE_SA_INIT that they know RFC 7383."""
        self.packet: int | None = None
        """Octets of the IP packets that carry fragments on *path*, if that is known; less than was configured."""
        self.timers = Timers()
        self.life = IkeLife()
        self.heard_at = 0.0
        """When the peer was last heard of, by anything that only it can have sent."""
        self.doubted_at: float | None = None
        """When it was asked whether it is there, if nothing has come since."""
        self.peer_identity: Identity | None = None
        self.assigned: Lease | None = None
        """What the peer assigned to us."""
        self.awaiting = b""
        """The outbound SPI of a Child SA that waits for the application to accept its addresses."""
        self.granted: Lease | None = None
        """What we assigned to the peer, until the SA ends."""
        self.transport: Transport = "udp"
        self.transport_reason = ""
        self.progress: tuple[str, ...] = ()
        """What was tried in vain since the peer was last there, in words."""
        self.armed: float | None = None
        self.number = 0
        """Its place in the endpoint's schedule."""

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where it is in its life: the state of its current pair of SPIs."""
        return self.current.state

    @property
    def alive(self) -> bool:
        return self.current.state is not CLOSED

    @property
    def setting_up(self) -> bool:
        return self.setup is not None

    @property
    def may_fragment(self) -> bool:
        """Whether we send IKE fragments: the peer knows them, and our configuration wants it."""
        return self.fragmentation and self.connection.transports.fragmentation == "yes"

    @property
    def packet_size(self) -> int:
        """Octets of the largest IP packet that a datagram of this SA may take before fragments are made."""
        return self.packet or self.connection.transports.fragment_size

    def smaller_packets(self, octets: int) -> None:
        """Packets of *octets* octets are what this path takes, so larger ones are not tried again."""
        if self.path is not None:
            self.packet = min(self.packet_size, max(octets, least_packet(self.path)))

    def may_follow_hint(self, now: float) -> bool:
        """Tell whether to act on what anyone may have sent: seldom, and only while nothing of ours is on its way."""
        interval = self.services.limits.hint_interval
        recent = self.hinted_at is not None and now - self.hinted_at < interval
        return self.state is State.ESTABLISHED and not recent and not self.in_flight

    @property
    def esp_route(self) -> EspRoute:
        """How ESP of its Child SAs travels now."""
        return esp_route(self.nat, self.path, self.hosts)

    @property
    def generations(self) -> tuple[Generation, ...]:
        """Every pair of SPIs that it has, the current one first."""
        return (self.current, *self.others)

    def generation(self, spi_i: bytes, spi_r: bytes) -> Generation | None:
        """Return that of a pair of SPIs, None if it has no such pair."""
        for generation in self.generations:
            if generation.spi_i == spi_i and generation.spi_r == spi_r:
                return generation
        return None

    @property
    def in_flight(self) -> list[OutgoingRequest]:
        """Every request that is not answered, IKE_SA_INIT attempts included."""
        found = list(self.current.ours.unanswered.values())
        for generation in self.others:
            found += generation.ours.unanswered.values()
        if self.setup is not None and self.setup.attempts:
            found += [each.request for each in self.setup.attempts.values() if each.request is not None]
        return found

    # --- its times --------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        return self.timers.next

    def watch_fragments(self) -> None:
        """Wake when the next incomplete message has waited long enough."""
        first = inf
        for generation in self.generations:
            if generation.fragments is not None:
                deadline = generation.fragments.deadline
                if deadline is None:
                    generation.fragments = None
                elif deadline < first:
                    first = deadline
        self.timers.move(Timer.FRAGMENTS, first)

    def established(self, now: float) -> None:
        """Both sides have proved who they are: the set-up is over, and its time begins."""
        self.current.move(Input.AUTH_VERIFIED)
        self.setup = None
        self.heard_at = now
        self.authenticated_at = self.hosts[1]
        self.life.authenticated(self.role, self.connection.lifetimes, self.services.random, now)
        self.renewed(now)
        if self.connection.dpd_delay:
            self.timers.set(Timer.DEAD_PEER, now + self.connection.dpd_delay)

    def renewed(self, now: float) -> None:
        """It has new keys, so its life-time begins anew."""
        self.life.renew(self.connection.lifetimes, self.services.random, now)
        self.watch_life()

    def watch_life(self) -> None:
        """Wake when the IKE SA is to be renewed or deleted."""
        self.timers.move(Timer.LIFETIME, self.life.next)

    def watch_children(self) -> None:
        """Wake when the first of the Child SAs is to be rekeyed or deleted."""
        moments = [child.life.next for child in self.children.values()]
        self.timers.move(Timer.CHILDREN, min(moments, default=inf))

    # --- its pairs of SPIs ------------------------------------------------------------------------------------------

    def replace(self, heir: Generation, reason: str, now: float) -> Generation:
        """Make *heir* the current pair of SPIs; what waited for the old one goes on with it. Returns the old one."""
        old, self.rival = self.current, None
        self.others = (*(each for each in self.others if each is not heir), old)
        self.current = heir
        heir.ours.queue += old.ours.queue
        old.ours.queue = ()
        self.services.emit(SpisChanged(self.id, heir.spi_i, heir.spi_r, reason, rekeyed=True))
        self.renewed(now)
        self.await_delete(old, now)
        return old

    def await_delete(self, generation: Generation, now: float) -> None:
        """*generation* has no more use. Whose task it is deletes it; if it is the peer's, we wait for a while."""
        generation.move(Input.REPLACED)
        generation.delete_by = now + self.services.limits.rekeyed_lifetime
        self._watch_replaced()

    def _watch_replaced(self) -> None:
        moments = [each.delete_by for each in self.others if each.delete_by is not None]
        self.timers.move(Timer.REKEYED, min(moments, default=inf))

    def overdue_generations(self, now: float) -> list[Generation]:
        """Return the replaced pairs of SPIs that the peer should have deleted by now; each is returned once."""
        found = [each for each in self.others if each.delete_by is not None and each.delete_by <= now]
        for generation in found:
            generation.delete_by = None
        self._watch_replaced()
        return [each for each in found if each.state is State.REKEYED]

    def drop_generation(self, generation: Generation, error: IkeError, now: float) -> None:
        """Forget a pair of SPIs that is not current, with what was unanswered on it."""
        if generation not in self.others:
            return
        self.others = tuple(each for each in self.others if each is not generation)
        if self.rival is not None and self.rival.generation is generation:
            self.rival.deleted = True
        self._watch_replaced()
        self.services.retire(self, generation, now)
        self._drop_requests(generation, error, now)
        generation.move(Input.GONE)
        generation.forget_keys()

    def _drop_requests(self, generation: Generation, error: IkeError, now: float) -> None:
        unanswered, generation.ours.unanswered = generation.ours.unanswered, {}
        waiting, generation.ours.queue = generation.ours.queue, ()
        for request in unanswered.values():
            self.services.delivery.request_done(self, request)
            request.handler.failed(error, now)
        for exchange in waiting:
            exchange.failed(error, now)

    # --- its end ----------------------------------------------------------------------------------------------------

    def fail(self, error: IkeError, by: By, now: float) -> None:
        """End the SA because of *error*."""
        setup = self.setup
        if setup is None or not self.alive:
            self.close(str(error), by, now, error)
            return
        step_name = {State.INITIATING: "IKE_SA_INIT"}.get(self.state, "IKE_AUTH")
        remote = self.path.remote if self.path is not None else None
        claimed = None if setup.claimed_identity is None else str(setup.claimed_identity)
        if setup.restarts is not None and by != "us":
            self.services.succession.restart(self, setup.restarts, now)
        self.services.emit(IkeSaFailed(self.id, self.connection.name, self.role, step_name, error, remote, claimed))
        self._end(error, now)

    def close(self, reason: str, by: By, now: float, error: IkeError | None = None) -> None:
        """End an SA that was up, its Child SAs and every open wish, with *error* or `SaClosed`; nothing is sent."""
        if not self.alive:
            return
        if self.role == "initiator":
            self.services.succession.ending(self)
        for child in list(self.children.values()):
            self.close_child(child, reason, by)
        wanted = self.role == "initiator" and self.connection.dpd_action == "restart"
        if wanted and by == "silence" and self.delete_under_way is None:
            self.services.succession.restart(self, 0, now)
        self.services.emit(IkeSaClosed(self.id, reason, by))
        self._end(error or SaClosed(reason), now)

    def close_child(self, child: ChildSa, reason: str, by: By) -> None:
        del self.children[child.id]
        self.services.child_spis.release(self.id, child.spi_in)
        self.services.emit(ChildSaClosed(self.id, child.id, child.spi_in, child.spi_out, reason, by))

    @property
    def delete_under_way(self) -> OurExchange | None:
        """Our Delete of this SA, waiting or sent."""
        return next((each for each in self.begun if each.ends_sa), None)

    @property
    def begun(self) -> list[OurExchange]:
        """Every exchange of ours that has not ended, sent or waiting."""
        found = [request.handler for one in self.generations for request in one.ours.unanswered.values()]
        waiting = [exchange for one in self.generations for exchange in one.ours.queue]
        return [*found, *waiting, *(exchange for _, exchange in self.postponed)]

    def _end(self, error: IkeError, now: float) -> None:
        generations = self.generations
        for generation in generations:
            generation.move(Input.GONE)
        self.timers.clear_all()
        postponed, self.postponed = self.postponed, ()
        for generation in generations:
            self._drop_requests(generation, error, now)
        for _, exchange in postponed:
            exchange.failed(error, now)
        if self.setup is not None:
            for attempt in list(self.setup.attempts.values()):
                attempt.drop(now)
        self.services.remove(self, now)
        self.setup = None
        for generation in generations:
            generation.forget_keys()

    # --- wishes of the application ----------------------------------------------------------------------------------

    def wish_done(self, exchange: OurExchange, child: ChildId | None = None) -> None:
        if exchange.wish is not None:
            wish, exchange.wish = exchange.wish, None
            self.services.wish_ended(self, RequestCompleted(self.id, wish, name_of(Exchange, exchange.exchange), child))

    def wish_failed(self, exchange: OurExchange, error: IkeError) -> None:
        if exchange.wish is not None:
            wish, exchange.wish = exchange.wish, None
            self.services.wish_ended(self, RequestFailed(self.id, wish, name_of(Exchange, exchange.exchange), error))
