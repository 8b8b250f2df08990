"""Which transport carries a request: a pure function of the request, what is known, and what the user prefers.

Every choice comes with its reason in words. Nothing here sends, waits or remembers; `Situation` holds all there is to
know, so that a policy can be tested as a table (the draft, sections 2.2 and 3).
"""

from __future__ import annotations

from typing import Literal, Protocol

import attrs

from ..record import record

__all__ = ["BySize", "Choice", "Policy", "Situation", "UdpOnly", "WholeMission"]


@record
class Situation:
    """What a choice is made from. Sizes are octets of the whole IKE message, estimated where not yet known.

    *initial* marks IKE_SA_INIT: nothing is known of the peer yet. *setup* is true until the SA and its first Child SA
    are up. *liveness* marks an empty INFORMATIONAL. *tcp* is true if the peer's TCP port is known by announcement or
    configuration, and *tcp_reason* says by which, or why not. *tcp_open* is true if a connection of this SA that we
    opened is open. *tcp_failed* is true if TCP failed lately for this request. *udp* is true if a datagram path exists.
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
    tcp_failed: bool
    udp: bool


@record
class Choice:
    """A transport, and why."""

    transport: Literal["udp", "tcp"]
    reason: str


class Policy(Protocol):
    """What every policy offers."""

    @property
    def may_use_tcp(self) -> bool:
        """Whether TCP is ever chosen."""

    @property
    def may_use_udp(self) -> bool:
        """Whether UDP is ever chosen."""

    def choose(self, situation: Situation) -> Choice:
        """Choose the transport of one request."""

    def __str__(self) -> str:
        """Name the policy as the command line does."""


@attrs.frozen
class UdpOnly:
    """Everything goes over UDP."""

    @property
    def may_use_tcp(self) -> bool:
        return False

    @property
    def may_use_udp(self) -> bool:
        return True

    def choose(self, situation: Situation) -> Choice:
        return Choice("udp", "the policy allows UDP only")

    def __str__(self) -> str:
        return "udp-only"


@attrs.frozen
class BySize:
    """UDP, but an exchange whose request or expected response is above *threshold* octets goes over TCP (section 3).

    The default keeps a message within 1,280 octets of IPv6 packet, the least that every path carries unfragmented.
    """

    threshold: int = attrs.field(default=1200, validator=attrs.validators.ge(0))

    @property
    def may_use_tcp(self) -> bool:
        return True

    @property
    def may_use_udp(self) -> bool:
        return True

    def choose(self, situation: Situation) -> Choice:
        if situation.initial:
            return Choice("udp", "the first message goes over UDP, which needs no connection")
        if not situation.udp and situation.tcp:
            return Choice("tcp", f"there is no UDP path, and {situation.tcp_reason}")
        large = max(situation.octets, situation.expected)
        if large <= self.threshold:
            return Choice("udp", f"{large} octets at most, not above {self.threshold}")
        what = "the request has" if situation.octets > self.threshold else "the response may have"
        size = f"{what} {situation.octets if situation.octets > self.threshold else situation.expected} octets"
        if not situation.tcp:
            return Choice("udp", f"{size}, but {situation.tcp_reason}")
        if situation.tcp_failed and situation.udp:
            return Choice("udp", f"{size}, but TCP failed")
        return Choice("tcp", f"{size}, above {self.threshold}, and {situation.tcp_reason}")

    def __str__(self) -> str:
        return "by-size"


@attrs.frozen
class WholeMission:
    """One TCP connection for all requests that set up the SA and its first Child SA; then UDP (section 3)."""

    @property
    def may_use_tcp(self) -> bool:
        return True

    @property
    def may_use_udp(self) -> bool:
        return True

    def choose(self, situation: Situation) -> Choice:
        if situation.tcp_failed and situation.udp:
            return Choice("udp", "TCP failed")
        if not situation.setup and situation.udp:
            return Choice("udp", "the SA is set up, the rest goes over UDP")
        if situation.initial or situation.tcp_open or situation.tcp:
            return Choice("tcp", "the whole set-up goes over one TCP connection")
        return Choice("udp", situation.tcp_reason)

    def __str__(self) -> str:
        return "whole-mission"
