"""What is known of a peer's transports: facts of one SA and its rekeyed heirs, never of an address (TCP-32)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ..record import shared

__all__ = ["PeerFacts", "nothing_known", "port_allowed"]


@attrs.frozen(cache_hash=True)
class PeerFacts:
    """What this SA's peer can do over TCP.

    *announced_port* comes from IKE_TCP_SUPPORTED, once it was found believable and allowed; *configured_port* from the
    user, and beats it (TCP-53); *refused_port* was announced and is not allowed. *init_over_udp* is set once an
    IKE_SA_INIT response came over UDP: from then on silence about TCP means that there is none (TCP-60). *used_port* is
    where an IKE_SA_INIT over TCP was answered. With *on_its_word* nothing is used unless the peer announced something:
    an original responder connects to nobody who did not, and only the port is the user's to say (TCP-32).
    """

    configured_port: int | None = None
    announced_port: int | None = None
    refused_port: int | None = None
    used_port: int | None = None
    init_over_udp: bool = False
    on_its_word: bool = False
    tcp_port: int | None = attrs.field(init=False, eq=False, repr=False)
    """The port to connect to, None if TCP is not known to work."""
    reason: str = attrs.field(init=False, eq=False, repr=False)
    """Where the knowledge comes from, in words. Many SAs share these facts, and each request wants both."""

    def but(self, **changed: Any) -> PeerFacts:
        """Return the same with some facts *changed*: one object for all SAs of which the same is known."""
        return _changed(self, tuple(changed.items()))

    @tcp_port.default
    def _port(self) -> int | None:
        return None if self._silent else self.configured_port or self.announced_port or self.used_port

    @property
    def _silent(self) -> bool:
        """Whether the peer would have had to announce TCP, and did not."""
        return self.on_its_word and self.announced_port is None and self.refused_port is None

    @reason.default
    def _reason(self) -> str:
        if self._silent and self.configured_port is not None:
            return f"TCP port {self.configured_port} is configured, and the peer did not announce TCP for this SA"
        if self.configured_port is not None:
            return f"TCP port {self.configured_port} is configured"
        if self.announced_port is not None:
            return f"the peer announced TCP port {self.announced_port}"
        if self.used_port is not None:
            return f"IKE_SA_INIT went to TCP port {self.used_port}"
        return "the peer announced no TCP port" if self.init_over_udp else "no TCP port is known"


@shared
def nothing_known(configured_port: int | None) -> PeerFacts:
    """Return what is known of a peer that has said nothing yet."""
    return PeerFacts(configured_port)


@shared
def _changed(facts: PeerFacts, changed: tuple[tuple[str, Any], ...]) -> PeerFacts:
    return attrs.evolve(facts, **dict(changed))


def port_allowed(port: int, allowed: Sequence[range]) -> bool:
    """Tell whether we may connect to a port that a peer named: a stranger must not aim us at other services."""
    return any(port in ports for ports in allowed)
