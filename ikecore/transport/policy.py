"""Which transport carries a request: a pure function of the request, what is known, and what the user prefers.

Every choice comes with its reason in words. Nothing here sends, waits or remembers; `Situation` holds all there is to
know, so that a policy can be tested as a table (the draft, sections 2.2 and 3).

A policy names its options in order. The first one that is there and has not come to nothing for this request is taken;
what failed lately with this peer only moves behind the others, and adds nothing to them.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from ..errors import LocalProtocolError
from ..events import Transport
from ..record import record

__all__ = ["BySize", "Choice", "Fallback", "Policy", "Race", "Situation", "Step", "TcpOnly", "UdpOnly", "WholeMission"]

UDP_PATIENCE = 8.0
"""Seconds of silence on UDP, about four transmissions, after which a request tries another way if there is one."""


@record
class Situation:
    """What a choice is made from. Sizes are octets of the whole IKE message, estimated where not yet known.

    *initial* marks IKE_SA_INIT: nothing is known of the peer yet. *setup* is true until the SA and its first Child SA
    are up. *liveness* marks an empty INFORMATIONAL. *tcp* is true if the peer's TCP port is known by announcement or
    configuration, and *tcp_reason* says by which, or why not. *tcp_configured* is true if configuration says so.
    *tcp_open* is true if a connection of this SA that we opened is open. *udp* is true if a datagram path exists.
    *tried* are the transports that came to nothing for this request, *failed_lately* those that failed with this peer.
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
    tried: frozenset[Transport] = frozenset()
    failed_lately: frozenset[Transport] = frozenset()


@record
class Choice:
    """A transport, and why.

    After *patience* seconds without an answer the transport counts as tried, and the policy is asked again; None waits
    for as long as the request lives. *open_tcp* opens a connection in parallel, for what comes next.
    """

    transport: Transport
    reason: str
    patience: float | None = None
    open_tcp: bool = False


class Policy(Protocol):
    """What every policy offers."""

    def choose(self, situation: Situation) -> Choice:
        """Choose the transport of one request."""

    def __str__(self) -> str:
        """Name the policy as the command line does."""


Option = tuple[Transport, str, float | None]
"""A transport, the reason for it, and the patience with it."""


def first_of(situation: Situation, *options: Option) -> Choice:
    """Take the first option that is there and not tried; those that failed lately come last.

    Where all have been tried it is UDP, if that is there, since repeating a datagram costs least.
    """
    there = [option for option in options if option[0] == "tcp" or situation.udp]
    left = [option for option in there if option[0] not in situation.tried]
    if left:
        good = [option for option in left if option[0] not in situation.failed_lately]
        transport, reason, patience = (good or left)[0]
        if transport != left[0][0]:
            reason = f"{left[0][0].upper()} failed with this peer lately"
        elif situation.tried:
            reason = f"{' and '.join(sorted(situation.tried)).upper()} failed; {reason}"
        return Choice(transport, reason, patience if len(there) > 1 else None)
    if not there:
        transport, reason, _ = options[0]
        return Choice(transport, reason)
    return Choice("udp" if any(option[0] == "udp" for option in there) else "tcp", "nothing else is left to try")


def _check_patience(patience: float) -> None:
    if not patience > 0:
        raise LocalProtocolError(f"patience: {patience!r} seconds; allowed is anything above 0")


def _over_udp(situation: Situation, reason: str) -> Choice:
    """UDP, and TCP where UDP is missing or silent and the peer is known to listen."""
    if situation.tcp:
        return first_of(situation, ("udp", reason, UDP_PATIENCE), ("tcp", situation.tcp_reason, None))
    return first_of(situation, ("udp", reason, None))


@attrs.frozen
class UdpOnly:
    """Everything goes over UDP."""

    def choose(self, situation: Situation) -> Choice:
        return Choice("udp", "the policy allows UDP only")

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
        if self.threshold < 0:
            raise LocalProtocolError(f"threshold: {self.threshold} octets; allowed is anything from 0 on")

    def choose(self, situation: Situation) -> Choice:
        if situation.initial:
            choice = _over_udp(situation, "the first message goes over UDP, which needs no connection")
            early = self.open_early and situation.tcp_configured and choice.transport == "udp"
            return Choice(choice.transport, choice.reason, choice.patience, early)
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
            ("udp", f"{size}", UDP_PATIENCE),
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
            ("udp", "the set-up goes over UDP", UDP_PATIENCE),
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
                ("udp", "the set-up goes over UDP", UDP_PATIENCE),
            )
        return _over_udp(situation, "no connection is open" if situation.setup else "the SA is set up")

    def __str__(self) -> str:
        return "race"


@attrs.frozen
class Step:
    """One step of a `Fallback`: a transport, and the seconds without an answer after which the next step is tried."""

    transport: Transport
    patience: float = UDP_PATIENCE

    def __attrs_post_init__(self) -> None:
        if self.transport not in ("udp", "tcp"):
            raise LocalProtocolError(f"transport: {self.transport!r} is unknown; allowed are udp, tcp")
        _check_patience(self.patience)


@attrs.frozen
class Fallback:
    """An ordered list: each request tries one step after the other, each for its patience.

    TCP as a step needs no announcement: the list is the configuration that says to try it.
    """

    steps: tuple[Step, ...] = (Step("udp"), Step("tcp", 20.0))

    def __attrs_post_init__(self) -> None:
        if not self.steps:
            raise LocalProtocolError("steps: at least one is needed")
        if len({step.transport for step in self.steps}) < len(self.steps):
            raise LocalProtocolError("steps: each transport can be listed once")

    def choose(self, situation: Situation) -> Choice:
        options: list[Option] = [
            (step.transport, f"step {number} of {len(self.steps)}", step.patience)
            for number, step in enumerate(self.steps, 1)
        ]
        return first_of(situation, *options)

    def __str__(self) -> str:
        return "fallback"
