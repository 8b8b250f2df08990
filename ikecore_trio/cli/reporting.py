"""Telling what happens, as it happens: as JSON, in readable lines, or in ladders."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

from ikecore import events
from ikecore.addressing import Lease
from ikecore.errors import SaClosed
from ikecore.events import ChildSaEstablished, Event, IkeKeysDerived, IkeSaClosed, IkeSaEstablished, IkeSaFailed
from ikecore.outputs import Address, Output, SaId

from .drawing import Line, put, show, takes_unicode, terminal_width
from .ladder import draw, steps_of
from .text import address_text, printable

__all__ = ["Reporter", "event_dict", "event_line", "key_fields", "sa_fields", "short_transport", "spis"]

KEPT: Final = 2000
"""Events kept for the ladder of one SA; of a longer life, the end is drawn."""
IKE_KEYS: Final = ("sk_d", "sk_ai", "sk_ar", "sk_ei", "sk_er", "sk_pi", "sk_pr")
CHILD_KEYS: Final = ("encr_in", "integ_in", "encr_out", "integ_out")
WAITING: Final = 1000
"""SAs whose events are kept for a ladder, and requests that no SA has claimed yet, at most."""


def event_dict(event: Output, *, show_keys: bool = False) -> dict[str, Any]:
    """Return an event as JSON values; with its keys only if they are asked for."""
    values = event.to_dict()
    if show_keys and isinstance(event, IkeKeysDerived | ChildSaEstablished):
        values["keys"] = key_fields(event.export_keys())
    return values


def key_fields(keys: events.IkeKeyMaterial | events.ChildKeyMaterial) -> dict[str, str]:
    """Return every key that has octets, in hexadecimal, by name."""
    names = IKE_KEYS if isinstance(keys, events.IkeKeyMaterial) else CHILD_KEYS
    values: dict[str, bytes] = {name: getattr(keys, name) for name in names}
    return {name: value.hex() for name, value in values.items() if value}


def short_transport(transport: str, reason: str) -> str:
    """Name a transport with its reason."""
    return f"{transport.upper()} ({printable(reason)})"


def sa_fields(event: IkeSaEstablished) -> list[tuple[str, str]]:
    """Tell of an IKE SA in pairs of a name and a value."""
    return [
        ("algorithms", event.suite),
        ("SPIs", spis(event)),
        ("identities", f"{printable(event.local_identity)} (ours), {printable(event.peer_identity)} (peer's)"),
        ("IKE_AUTH over", short_transport(event.transport, event.reason)),
    ]


def spis(event: IkeSaEstablished | events.SpisChanged) -> str:
    """Return the SPIs of an IKE SA, with whose they are."""
    return f"{event.spi_i.hex()} initiator, {event.spi_r.hex()} responder"


def event_line(event: Output) -> str | None:
    """Put an event into one readable line, None for what a user would not miss."""
    match event:
        case IkeSaEstablished():
            return (
                f"IKE SA {event.sa} up: {printable(event.connection)}, {printable(event.peer_identity)} at "
                f"{address_text(event.remote)}, we are the {event.role}, {event.suite}, "
                f"IKE_AUTH over {short_transport(event.transport, event.reason)}"
            )
        case ChildSaEstablished():
            selectors = f"{' '.join(event.local_ts)} to {' '.join(event.remote_ts)}"
            encapsulated = ""
            if event.udp_encapsulation:
                encapsulated = ", ESP in UDP"
                if event.remote is not None:
                    encapsulated += f" to {address_text(event.remote)}"
            instead = "" if event.replaces is None else f" in place of {event.replaces}"
            return (
                f"Child SA {event.child} of IKE SA {event.sa} up{instead}: {printable(event.name)}, {selectors}, "
                f"{event.suite}, {event.mode} mode{encapsulated}, "
                f"SPIs {event.spi_in.hex()} in, {event.spi_out.hex()} out"
            )
        case events.AddressesAssigned():
            addresses, beside = " ".join(event.lease.addresses), lease_words(event.lease)
            if not event.to_peer:
                return f"IKE SA {event.sa}: we have {', '.join((addresses, *beside))}"
            told = f"; of these, what it asked for: {', '.join(beside)}" if beside else ""
            return f"IKE SA {event.sa}: the peer has {addresses}{told}"
        case IkeSaFailed():
            where = "" if event.remote is None else f" with {address_text(event.remote)}"
            if event.claimed_identity is not None:
                where += f", who claims to be {printable(event.claimed_identity)}"
            if isinstance(event.error, SaClosed):  # we gave it up: nothing has gone wrong
                return f"IKE SA {event.sa} ended in {event.step}: {printable(event.connection)}{where}, {event.error}"
            error = f"{type(event.error).__name__}: {printable(str(event.error))}"
            return f"IKE SA {event.sa} failed: {printable(event.connection)}{where}, in {event.step}, {error}"
        case events.OwnCertificateOutOfDate():
            return f"IKE SA {event.sa}: {printable(event.connection)}: {printable(event.reason)}"
        case events.SpisChanged() if event.rekeyed:
            return f"IKE SA {event.sa} has new keys: {printable(event.reason)}, SPIs {spis(event)}"
        case events.LifetimeReached():
            which = f"Child SA {event.child} of " if event.child is not None else ""
            return f"{which}IKE SA {event.sa}: {printable(event.reason)}"
        case events.SuccessorBegun():
            return f"IKE SA {event.successor} is being set up in place of IKE SA {event.sa}: {printable(event.reason)}"
        case events.IkeSaReauthenticated():
            return f"IKE SA {event.successor} has taken over from IKE SA {event.sa}"
        case IkeSaClosed():
            return f"IKE SA {event.sa} down: {printable(event.reason)}"
        case events.ChildSaFailed():
            name = f" {printable(event.name)}" if event.name else ""
            error = f"{type(event.error).__name__}: {printable(str(event.error))}"
            return f"Child SA{name} of IKE SA {event.sa} failed: {error}"
        case events.ChildSaClosed():
            return f"Child SA {event.child} of IKE SA {event.sa} down: {printable(event.reason)}"
        case events.TransportChosen():
            # The first message has its size from the path, which over TCP is not known yet.
            octets = "" if event.exchange == "IKE_SA_INIT" else f" of {event.octets} octets"
            return (
                f"IKE SA {event.sa}: {event.exchange} {event.message_id}{octets} goes over "
                f"{short_transport(event.transport, event.reason)}"
            )
        case events.TransportSwitched():
            move = f"moves from {event.before} to {event.after}"
            if event.before == event.after:
                move = f"goes in {event.fragments} IKE fragments" if event.fragments else "goes whole"
            return f"IKE SA {event.sa}: {event.exchange} {event.message_id} {move}: {printable(event.reason)}"
        case events.NatDetected():
            return (
                f"IKE SA {event.sa}: NAT in front of us: {yes(event.local_behind_nat)}, "
                f"of the peer: {yes(event.peer_behind_nat)}{', UDP encapsulation is forced' if event.forced else ''}"
            )
        case events.TcpAnnounced():
            return f"IKE SA {event.sa}: the peer announces TCP port {event.port}, which {printable(event.reason)}"
        case events.CookieReceived():
            return f"IKE SA {event.sa}: the responder demands a cookie"
        case events.RefusalReceived():
            return f"IKE SA {event.sa}: {refusal_words(event)}; a better answer has {event.seconds:g} s"
        case events.CookiesDemanded():
            words = "demanded from now on" if event.active else "not demanded any more"
            return f"cookies are {words}, {event.half_open} half-open SAs"
        case events.KeyExchangeRetried():
            return f"IKE SA {event.sa}: key exchange again with {event.wanted}, {event.offered} was not wanted"
        case events.PathChanged():
            return f"IKE SA {event.sa}: now with {address_text(event.remote)}: {printable(event.reason)}"
        case events.Refused():
            where = address_text(event.source)
            often = "" if event.count == 1 else f", {event.count} times"
            return f"refused {event.what} from {where}{often}: {printable(event.reason)}"
        case events.InternalError():
            return f"internal error, please report it: {printable(event.detail)}"
        case _:
            return None


def lease_words(lease: Lease) -> list[str]:
    """Tell what came with assigned addresses; the domains are the peer's own words."""
    named = (
        ("DNS", lease.dns),
        ("networks", lease.subnets),
        ("domains", tuple(map(printable, lease.domains))),
    )
    return [f"{name} {' '.join(values)}" for name, values in named if values]


def refusal_words(event: events.RefusalReceived) -> str:
    """Tell who has refused, as far as that is known."""
    error = f"{type(event.error).__name__}: {printable(str(event.error))}"
    return f"{address_text(event.remote)}, or somebody in its name, has refused IKE_SA_INIT ({error}), unproved"


def yes(value: bool) -> str:
    return "yes" if value else "no"


class Reporter:
    """An observer of an endpoint that tells what happens. Exactly one of *as_json* and *ladder* may be true.

    *keys* sees every output first (see `key_logger`). Nothing here waits or fails for what a peer sent.
    """

    def __init__(
        self,
        *,
        as_json: bool,
        ladder: bool,
        keys: Callable[[Output], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self.trace = as_json or ladder or keys is not None
        """Whether the endpoint has to tell of each message and key."""
        self.ended: IkeSaClosed | None = None
        """What told of the end of the SA that ended last."""
        self.children: dict[str, Exception | None] = {}
        """Child SAs by name: None for one that came up at any time, else why it did not, when last tried."""
        self._as_json = as_json
        self._ladder = ladder
        self._keys = keys
        self._clock = clock
        self._start = clock()
        self._events: dict[SaId, deque[Output]] = {}
        self._roles: dict[SaId, str] = {}
        self._unclaimed: dict[Address, list[Output]] = {}

    def __call__(self, output: Output) -> None:
        """Take one output of the endpoint."""
        if self._keys is not None:
            self._keys(output)
        if not isinstance(output, Event):
            return
        self._keep(output)
        if self._as_json:
            self.tell(event_dict(output), "")
            return
        if self._ladder:
            self._record(output)
        line = event_line(output)
        if line is not None:
            self.tell({}, line)

    def _keep(self, event: Event) -> None:
        """Keep what the exit code depends on."""
        if isinstance(event, IkeSaClosed):
            self.ended = event
        elif isinstance(event, ChildSaEstablished):
            self.children[event.name] = None
        elif isinstance(event, events.ChildSaFailed) and self.children.get(event.name, event.error) is not None:
            self.children[event.name] = event.error

    def tell(self, values: dict[str, Any], line: str) -> None:
        """Print one object, or one line."""
        if self._as_json:
            put(json.dumps({"time": round(self._clock() - self._start, 6), **values}))
        else:
            put(line)

    def _record(self, event: Event) -> None:
        """Keep what belongs to one SA; draw it when that has ended."""
        sa: SaId | None = getattr(event, "sa", None)
        remote: Address | None = getattr(event, "remote", None)
        if sa is None:
            if isinstance(event, events.MessageReceived):
                make_room(self._unclaimed, WAITING)
                self._unclaimed[event.remote] = [event]
            return
        if sa not in self._events:
            make_room(self._events, WAITING)
        kept = self._events.setdefault(sa, deque(maxlen=KEPT))
        if remote is not None and isinstance(event, events.MessageSent | events.MessageReceived):
            kept += self._unclaimed.pop(remote, [])
        kept.append(event)
        if isinstance(event, IkeSaEstablished | IkeSaFailed):
            self._roles[sa] = event.role
        if isinstance(event, IkeSaClosed | IkeSaFailed):
            self._draw(sa)

    def _draw(self, sa: SaId) -> None:
        """Draw one SA, the initiator on the left."""
        kept = self._events.pop(sa, deque())
        role = self._roles.pop(sa, "initiator")
        ours, theirs = ends_of(kept)
        ladder_left: Literal["us", "peer"] = "us" if role == "initiator" else "peer"
        ends = (ours, theirs) if role == "initiator" else (theirs, ours)
        lines: list[Line] = [(("", "note"),)]
        lines += draw(
            steps_of(kept, left=ladder_left),
            ("initiator", ends[0]),
            ("responder", ends[1]),
            width=terminal_width(),
            ascii_only=not takes_unicode(),
        )
        show(lines)


def make_room(table: dict[Any, Any], most: int) -> None:
    """Drop the oldest entry of *table* if it has *most* of them: strangers can make any number of SAs begin."""
    if len(table) >= most:
        del table[next(iter(table))]


def ends_of(kept: deque[Output]) -> tuple[str, str]:
    """Return our address and the peer's, as the first message has them."""
    for event in kept:
        if isinstance(event, events.MessageSent | events.MessageReceived):
            return address_text(event.local), address_text(event.remote)
    return "", ""
