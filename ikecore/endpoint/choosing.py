"""Asking the policy: what is known is put together here, with what failed lately per configured peer.

That memory is short and bounded, and only moves a transport behind the others: a reset can be forged by anyone.
"""

from __future__ import annotations

from collections import OrderedDict

from ..events import Transport
from ..limits import Limits
from ..sa import IkeSa, OutgoingRequest
from ..transport import Choice, Situation, Way, room_in
from ..wire.numbers import Exchange, name_of
from .sockets import Sockets
from .streams import Streams

__all__ = ["Chooser"]


class Chooser:
    """Builds situations and asks the policies of connections."""

    MOST_REMEMBERED = 1024

    def __init__(self, limits: Limits, streams: Streams, sockets: Sockets) -> None:
        self._limits = limits
        self._streams = streams
        self._sockets = sockets
        self._failed: OrderedDict[tuple[str, str, Transport], float] = OrderedDict()

    def for_attempt(self, sa: IkeSa, host: str, tried: frozenset[Way], now: float) -> Choice:
        """Choose the transport of an IKE_SA_INIT with *host*, after *tried* came to nothing."""
        ours, address = sa.hosts[0] or None, self._sockets.udp_address
        udp = address(host, False, ours) is not None or address(host, True, ours) is not None
        return self._ask(sa, host, "IKE_SA_INIT", now, initial=True, udp=udp, tried=tried)

    def for_request(self, sa: IkeSa, request: OutgoingRequest, now: float) -> Choice:
        """Choose the way of a protected request."""
        path = sa.path
        return self._ask(
            sa,
            sa.hosts[1],
            name_of(Exchange, request.exchange),
            now,
            liveness=request.handler.liveness,
            octets=request.size,
            expected=request.expected,
            udp=path is not None,
            tried=request.tried,
            fragmentation=sa.may_fragment,
            packet=0 if path is None else room_in(path, request.packet or sa.packet_size),
        )

    def _ask(
        self,
        sa: IkeSa,
        host: str,
        exchange: str,
        now: float,
        *,
        udp: bool,
        tried: frozenset[Way],
        initial: bool = False,
        liveness: bool = False,
        octets: int = 0,
        expected: int = 0,
        fragmentation: bool = False,
        packet: int = 0,
    ) -> Choice:
        stream, facts = self._streams.of_sa(sa.id), sa.facts
        return sa.connection.transports.policy.choose(
            Situation(
                exchange=exchange,
                initial=initial,
                setup=sa.setting_up,
                liveness=liveness,
                octets=octets,
                expected=expected,
                tcp=facts.tcp_port is not None,
                tcp_reason=facts.reason,
                tcp_configured=facts.configured_port is not None,
                tcp_open=stream is not None and stream.writable,
                udp=udp,
                tried=tried,
                failed_lately=self._failed_with(sa, host, now),
                fragmentation=fragmentation,
                packet=packet,
            )
        )

    def failed(self, sa: IkeSa, host: str, transport: Transport, now: float) -> None:
        """Remember that *transport* failed with the peer at *host*."""
        key = (sa.connection.name, host, transport)
        self._failed[key] = now + self._limits.failed_memory
        self._failed.move_to_end(key)
        if len(self._failed) > self.MOST_REMEMBERED:
            self._failed.popitem(last=False)

    def worked(self, sa: IkeSa, host: str, transport: Transport) -> None:
        """An answer came by *transport*: no grudge is held."""
        if self._failed:
            self._failed.pop((sa.connection.name, host, transport), None)

    def _failed_with(self, sa: IkeSa, host: str, now: float) -> frozenset[Transport]:
        if not self._failed:
            return frozenset()
        name = sa.connection.name
        both: tuple[Transport, Transport] = ("udp", "tcp")
        return frozenset(each for each in both if self._failed.get((name, host, each), float("-inf")) > now)
