"""Which way a request goes: a pure function of the request, what is known, and what the user prefers.

A way is a transport and, for UDP, a form: "udp" is the whole message in one datagram, "fragments" is UDP with IKE
fragments (RFC 7383). Over TCP messages are always whole.

Every choice comes with its reason in words. Nothing here sends, waits or remembers; `Situation` holds all there is to
know, so that a policy can be tested as a table (the draft, sections 2.2 and 3).

A policy names its options in order. The first one that is there and has not come to nothing for this request is taken;
what failed lately with this peer only moves behind the others, and adds nothing to them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import attrs

from ..checking import check_types, several
from ..errors import LocalProtocolError
from ..events import Transport
from ..record import record

__all__ = [
    "BySize",
    "Choice",
    "Fallback",
    "Policy",
    "Race",
    "Situation",
    "Step",
    "TcpOnly",
    "UdpOnly",
    "Way",
    "WholeMission",
]

Way: TypeAlias = Literal["udp", "fragments", "tcp"]
_WORDS: dict[Way, str] = {"udp": "UDP", "fragments": "UDP with IKE fragments", "tcp": "TCP"}

UDP_PATIENCE = 8.0
"""Seconds of silence on UDP, about four transmissions, after which a request tries another way if there is one."""


@record
class Situation:
    """What a choice is made from. Sizes are octets of the whole IKE message, estimated where not yet known.

    *initial* marks IKE_SA_INIT: nothing is known of the peer yet. *setup* is true until the SA and its first Child SA
    are up. *liveness* marks an empty INFORMATIONAL. *tcp* is true if the peer's TCP port is known by announcement or
    configuration, and *tcp_reason* says by which, or why not. *tcp_configured* is true if configuration says so.
    *tcp_open* is true if a connection of this SA that we opened is open. *udp* is true if a datagram path exists.
    *fragmentation* is true if both sides know IKE fragments and we may send them, and *packet* is the octets that one
    datagram holds without IP fragments. *tried* are the ways that came to nothing for this request, *failed_lately* the
    transports that failed with this peer.
    """

    exchange: str
    initial: bool
    setup: bool
    liveness: bool
    octets: int
    expected: int
    tcp: bool
    tcp_reason: str
    tcp_configured: bool
    tcp_open: bool
    udp: bool
    tried: frozenset[Way] = frozenset()
    failed_lately: frozenset[Transport] = frozenset()
    fragmentation: bool = False
    packet: int = 0

    @property
    def over_udp(self) -> Way:
        """How UDP carries it best: in IKE fragments where IP would have to make some. IKE_SA_INIT has to go whole."""
        may = self.fragmentation and self.udp and not self.initial
        return "fragments" if may and self.octets > self.packet else "udp"


@record
class Choice:
    """A transport, and why; with *fragments* UDP carries it in IKE fragments.

    After *patience* seconds without an answer the transport counts as tried, and the policy is asked again; None waits
    for as long as the request lives. *open_tcp* opens a connection in parallel, for what comes next.
    """

    transport: Transport
    reason: str
    patience: float | None = None
    open_tcp: bool = False
    fragments: bool = False

    @property
    def way(self) -> Way:
        """Transport and form in one word."""
        return "fragments" if self.fragments else self.transport

    def because(self, reason: str) -> Choice:
        """Return the same choice with another reason."""
        return Choice(self.transport, reason, self.patience, self.open_tcp, self.fragments)


@runtime_checkable
class Policy(Protocol):
    """What every policy offers."""

    def choose(self, situation: Situation) -> Choice:
        """Choose the transport of one request."""

    def __str__(self) -> str:
        """Name the policy as the command line does."""


Option = tuple[Way, str, float | None]
"""A way, the reason for it, and the patience with it."""


def first_of(situation: Situation, *options: Option) -> Choice:
    """Take the first option that is there and not tried; those that failed lately come last.

    Where all have been tried it is UDP, if that is there, since repeating a datagram costs least.
    """
    there = [option for option in options if option[0] == "tcp" or situation.udp]
    left = [option for option in there if option[0] not in situation.tried]
    if left:
        good = [option for option in left if _transport(option[0]) not in situation.failed_lately]
        way, reason, patience = (good or left)[0]
        if way != left[0][0]:
            reason = f"{_WORDS[left[0][0]]} failed with this peer lately"
        elif situation.tried:
            reason = f"{' and '.join(_WORDS[each] for each in sorted(situation.tried))} failed; {reason}"
        return _choice(situation, way, reason, patience if len(there) > 1 else None)
    if not there:
        return _choice(situation, options[0][0], options[0][1])
    over_udp = [option[0] for option in there if option[0] != "tcp"]
    return _choice(situation, over_udp[-1] if over_udp else "tcp", "nothing else is left to try")


def _choice(situation: Situation, way: Way, reason: str, patience: float | None = None) -> Choice:
    """Return the choice of *way*. Its reason also says why there are fragments."""
    if way == "fragments":
        reason += f"; in IKE fragments, since one packet holds {situation.packet} octets"
    return Choice(_transport(way), reason, patience, fragments=way == "fragments")


def _transport(way: Way) -> Transport:
    return "tcp" if way == "tcp" else "udp"


def _check_patience(patience: float) -> None:
    if not patience > 0:
        raise LocalProtocolError(f"patience: {patience!r} seconds; allowed is anything above 0")


def _over_udp(situation: Situation, reason: str) -> Choice:
    """UDP, and TCP where UDP is missing or silent and the peer is known to listen."""
    if situation.tcp:
        return first_of(situation, (situation.over_udp, reason, UDP_PATIENCE), ("tcp", situation.tcp_reason, None))
    if situation.udp and not situation.tried:
        return _choice(situation, situation.over_udp, reason)
    return first_of(situation, (situation.over_udp, reason, None))


@attrs.frozen
class UdpOnly:
    """Everything goes over UDP."""

    def choose(self, situation: Situation) -> Choice:
        return _choice(situation, situation.over_udp, "the policy allows UDP only")

    def __str__(self) -> str:
        return "udp-only"


@attrs.frozen
class TcpOnly:
    """Everything goes over TCP, liveness checks too."""

    def choose(self, situation: Situation) -> Choice:
        return Choice("tcp", "the policy allows TCP only")

    def __str__(self) -> str:
        return "tcp-only"


@attrs.frozen
class BySize:
    """UDP, but an exchange whose request or expected response is above *threshold* octets goes over TCP (section 3).

    The default keeps a message within 1,280 octets of IPv6 packet, the least that every path carries unfragmented. With
    *open_early* the connection is opened while IKE_SA_INIT runs over UDP, where configuration says that the peer
    listens: it hides the time of the handshake, and is wasted if all turns out small.
    """

    threshold: int = 1200
    open_early: bool = False

    def __attrs_post_init__(self) -> None:
        check_types(self)
        if self.threshold < 0:
            raise LocalProtocolError(f"threshold: {self.threshold} octets; allowed is anything from 0 on")

    def choose(self, situation: Situation) -> Choice:
        if situation.initial:
            choice = _over_udp(situation, "the first message goes over UDP, which needs no connection")
            if self.open_early and situation.tcp_configured and choice.transport == "udp":
                return Choice(choice.transport, choice.reason, choice.patience, open_tcp=True)
            return choice
        large = max(situation.octets, situation.expected)
        if large <= self.threshold:
            return _over_udp(situation, f"{large} octets at most, not above {self.threshold}")
        what = "the request has" if situation.octets > self.threshold else "the response may have"
        size = f"{what} {situation.octets if situation.octets > self.threshold else situation.expected} octets"
        if not situation.tcp:
            return _over_udp(situation, f"{size}, but {situation.tcp_reason}")
        return first_of(
            situation,
            ("tcp", f"{size}, above {self.threshold}, and {situation.tcp_reason}", None),
            (situation.over_udp, size, UDP_PATIENCE),
        )

    def __str__(self) -> str:
        return "by-size"


@attrs.frozen
class WholeMission:
    """One TCP connection for all requests that set up the SA and its first Child SA; then UDP (section 3)."""

    def choose(self, situation: Situation) -> Choice:
        if not situation.setup:
            return _over_udp(situation, "the SA is set up, the rest goes over UDP")
        if not (situation.initial or situation.tcp_open or situation.tcp):
            return _over_udp(situation, situation.tcp_reason)
        return first_of(
            situation,
            ("tcp", "the whole set-up goes over one TCP connection", None),
            (situation.over_udp, "the set-up goes over UDP", UDP_PATIENCE),
        )

    def __str__(self) -> str:
        return "whole-mission"


@attrs.frozen
class Race:
    """UDP at once and a TCP connection in parallel; once that is open, the requests that follow use it (section 3).

    An IKE_SA_INIT that UDP leaves unanswered for *patience* seconds is begun anew over TCP. Without *discover* a
    connection is only tried where configuration says that the peer listens; with it, to find out whether it does.
    """

    patience: float = 2.0
    discover: bool = False

    def __attrs_post_init__(self) -> None:
        check_types(self)
        _check_patience(self.patience)

    def choose(self, situation: Situation) -> Choice:
        may_open = situation.tcp_configured or self.discover
        if situation.initial:
            if not may_open:
                return first_of(situation, ("udp", "nothing says that the peer listens on TCP", None))
            choice = first_of(
                situation,
                ("udp", "the race begins on UDP, and TCP is opened beside it", self.patience),
                ("tcp", "the race goes on over TCP", None),
            )
            early = choice.transport == "udp" and not situation.tried
            return Choice(choice.transport, choice.reason, choice.patience, early)
        if situation.setup and situation.tcp_open and not situation.liveness:
            return first_of(
                situation,
                ("tcp", "the connection that was raced is open", None),
                (situation.over_udp, "the set-up goes over UDP", UDP_PATIENCE),
            )
        return _over_udp(situation, "no connection is open" if situation.setup else "the SA is set up")

    def __str__(self) -> str:
        return "race"


@attrs.frozen
class Step:
    """One step of a `Fallback`: a way, and the seconds without an answer after which the next step is tried.

    "udp" sends a large message in IKE fragments where both sides know them, unless the list has a step "fragments":
    then that one does, and "udp" sends it whole.
    """

    transport: Way
    patience: float = UDP_PATIENCE

    def __attrs_post_init__(self) -> None:
        check_types(self)
        _check_patience(self.patience)


def _steps(items: Iterable[Step]) -> tuple[Step, ...]:
    return several(items)


@attrs.frozen
class Fallback:
    """An ordered list: each request tries one step after the other, each for its patience.

    TCP as a step needs no announcement: the list is the configuration that says to try it. The step "fragments" is for
    messages that one packet cannot hold, where both sides know IKE fragments. Others skip it, or have it for their UDP
    if no step "udp" is listed.
    """

    steps: tuple[Step, ...] = attrs.field(default=(Step("udp"), Step("tcp", 20.0)), converter=_steps)

    def __attrs_post_init__(self) -> None:
        check_types(self)
        if not self.steps:
            raise LocalProtocolError("steps: at least one is needed")
        if len({step.transport for step in self.steps}) < len(self.steps):
            raise LocalProtocolError("steps: each way can be listed once")

    def choose(self, situation: Situation) -> Choice:
        listed = {step.transport for step in self.steps}
        options: list[Option] = []
        for number, step in enumerate(self.steps, 1):
            way = step.transport
            if way == "udp" and "fragments" not in listed:
                way = situation.over_udp
            elif way == "fragments" and situation.over_udp != "fragments":
                if "udp" in listed:
                    continue
                way = "udp"
            options.append((way, f"step {number} of {len(self.steps)}", step.patience))
        return first_of(situation, *options)

    def __str__(self) -> str:
        return "fallback"
