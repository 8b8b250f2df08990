"""Getting requests to the peer: which path carries one, when it goes again, and what happens when a path fails.

A request over UDP is repeated with growing intervals until it is answered or given up. Over TCP it is sent once per
connection and never repeated there; a connection that ends too early, or does not answer, sends it another way: over a
new connection or UDP, as the policy says, without losing or doubling it (the draft, sections 2.1 and 2.3).

Over UDP a message that is too large for one packet goes in IKE fragments if both sides know them. While those of a
request stay unanswered they get smaller, step by step (RFC 7383 section 2.5.2).
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import PeerUnreachable
from ..events import Transport, TransportChosen, TransportSwitched, UdpPathMissing
from ..limits import Limits
from ..outputs import Address, Output
from ..sa import IkeSa, InitAttempt, OutgoingRequest, Timer, request_expired
from ..transport import Choice, DatagramPath, Stream, room_in, smaller_packet
from ..wire.numbers import Exchange, name_of
from .attempts import Attempts
from .choosing import Chooser
from .sending import Sender
from .sockets import Sockets
from .streams import Streams
from .turn import Turn

__all__ = ["Delivery"]

DEFAULT_TCP_PORT = 500
"""Where IKE over TCP is spoken, unless announced or configured otherwise (the draft, section 2.1)."""


class Delivery:
    """Sees to the requests of all SAs of an endpoint until they are answered or given up."""

    def __init__(
        self,
        limits: Limits,
        streams: Streams,
        emit: Callable[[Output], None],
        sockets: Sockets,
        chooser: Chooser,
        sender: Sender,
        attempts: Attempts,
        turn: Turn,
    ) -> None:
        self._limits = limits
        self._streams = streams
        self._emit = emit
        self._sockets = sockets
        self._chooser = chooser
        self._sender = sender
        self._attempts = attempts
        self._turn = turn

    # --- requests ---------------------------------------------------------------------------------------------------

    def send_request(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        """Choose a transport and send."""
        self._turn.touched(sa)
        self._go(sa, request, request.handler.choice or self._chooser.for_request(sa, request, now), now)

    def _go(self, sa: IkeSa, request: OutgoingRequest, choice: Choice, now: float) -> None:
        before, before_way = request.transport, request.way
        request.waits_for_path = False
        request.transport, request.in_fragments = choice.transport, choice.fragments
        request.reason = choice.reason
        request.patience_until = None if choice.patience is None else now + choice.patience
        if choice.open_tcp:
            self._open_early(sa, request, now)
        if choice.transport == "udp":
            path = self._datagram_path(sa, request)
            if path is not None:
                if before == "udp" and choice.way not in request.forms:
                    request.begin_anew()
                self._say(sa, request, choice, before, moved=before_way != choice.way)
                self._by_udp(sa, request, path, now)
            elif request.handler.host is not None:
                self._give_up(sa, request, "there is no UDP socket for this address", now)
            else:
                self._wait_for_path(sa, request, now)
            return
        port = self._tcp_port(sa)
        if port is None:
            request.streams = self._limits.stream_attempts
            self._tcp_failed(sa, request, "the peer announced no TCP port", now)
            return
        self._say(sa, request, choice, before, moved=before != "tcp")
        self._by_tcp(sa, request, port, now)

    def _say(
        self, sa: IkeSa, request: OutgoingRequest, choice: Choice, before: Transport | None, *, moved: bool
    ) -> None:
        """Tell the choice before the octets that follow from it."""
        name, after, number = name_of(Exchange, request.exchange), choice.transport, request.message_id
        pieces = self._sender.form(sa, request, sa.path) if choice.fragments and sa.path is not None else ()
        form = (len(pieces), len(pieces[0])) if pieces else (0, 0)
        if before is None:
            self._emit(
                TransportChosen(sa.id, name, number, request.size, request.expected, after, choice.reason, *form)
            )
        elif moved:
            self._emit(TransportSwitched(sa.id, name, number, before, after, choice.reason, *form))

    def _by_udp(self, sa: IkeSa, request: OutgoingRequest, path: DatagramPath, now: float) -> None:
        request.tries += 1
        request.forms.add("fragments" if request.in_fragments else "udp")
        request.sent(path)
        request.repeat_at = now + self._interval(request.tries)
        self._sender.datagram(sa, request, path, request.reason, now, repeat=request.tries > 1)
        self._rearm(sa)

    def _wait_for_path(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        """An SA that came up over TCP may have no UDP path yet (TCP-73), and sockets go: wait until there is one."""
        request.waits_for_path = True
        request.repeat_at = now + self._limits.path_wait
        self._emit(UdpPathMissing(sa.id, name_of(Exchange, request.exchange), request.message_id))
        self._rearm(sa)

    def path_found(self, sa: IkeSa, now: float) -> None:
        """Datagrams have somewhere to go: send what waited for that."""
        for request in sa.in_flight:
            if request.waits_for_path:
                request.waits_for_path = False
                request.transport = None  # it was never sent: this is its first choice
                self._go(sa, request, self._chooser.for_request(sa, request, now), now)

    def _datagram_path(self, sa: IkeSa, request: OutgoingRequest) -> DatagramPath | None:
        """Return where datagrams of this request go; IKE_SA_INIT stays where its attempt began."""
        attempt = request.handler
        if attempt.host is None or not isinstance(attempt, InitAttempt):  # the second alone is dear: ABC looks deep
            return sa.path
        if isinstance(attempt.path, DatagramPath):
            return attempt.path
        transports = sa.connection.transports
        marker = transports.udp_start == "nat"
        local = self._sockets.udp_address(attempt.host, marker, sa.hosts[0] or None)
        if local is None:
            return None
        path = DatagramPath(local, (attempt.host, transports.udp_nat_port if marker else transports.udp_port), marker)
        attempt.bind(path)
        return path

    def _interval(self, tries: int) -> float:
        limits = self._limits
        return min(limits.retransmit_cap, limits.retransmit_first * limits.retransmit_factor ** (tries - 1))

    def _tcp_port(self, sa: IkeSa) -> int | None:
        """Where the peer listens. A responder never connects without an announcement (TCP-32)."""
        if sa.facts.tcp_port is None and sa.role == "initiator":
            return DEFAULT_TCP_PORT
        return sa.facts.tcp_port

    def _open_early(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        """Open a connection for what comes next, while this request goes over UDP (the draft, section 3)."""
        port, host = self._tcp_port(sa), request.handler.host
        if port is not None and host is not None and self._streams.of_sa(sa.id) is None:
            self._streams.open(sa, (host, port), sa.hosts[0] or None, now).reserved = True

    def _by_tcp(self, sa: IkeSa, request: OutgoingRequest, port: int, now: float) -> None:
        """Send on the SA's connection, or open it: one at a time, to the host we are talking to."""
        stream, host = self._streams.of_sa(sa.id), request.handler.host or sa.hosts[1]
        if stream is not None and stream.remote[0] != host:
            self._leave(sa, stream, request, now)
            if not sa.alive:
                return
            stream = self._streams.of_sa(sa.id)
        carrier = self._streams.carrier(sa.id, request)
        if carrier is not None and request in carrier.awaited:
            # TCP repeats what was lost; nothing goes twice on one connection (the draft, section 2.3).
            request.repeat_at = now + self._limits.stream_answer_timeout
            self._rearm(sa)
            return
        if stream is not None and stream.writable:
            self._write_request(sa, stream, request, now)
            return
        if stream is None or not stream.connecting:
            stream = self._streams.open(sa, (host, port), sa.hosts[0] or None, now)
        if request not in stream.waiting:
            stream.waiting.append(request)
        request.repeat_at = None
        self._rearm(sa)

    def _leave(self, sa: IkeSa, stream: Stream, request: OutgoingRequest, now: float) -> None:
        """The connection leads to an address that we talk to no longer: *request* is not for who is there."""
        self._streams.let_go(sa, request)
        stream.close("the peer is at another address")
        self._streams.forget(stream)
        self.stream_down(sa, stream, now)

    def _write_request(self, sa: IkeSa, stream: Stream, request: OutgoingRequest, now: float) -> None:
        path = stream.path
        request.handler.bind(path)
        request.sent(path)
        stream.awaited.add(request)
        self._streams.touched(stream)
        if request.transport != "udp":  # one that lost patience while this was connecting is repeated there as well
            request.repeat_at = now + self._limits.stream_answer_timeout
        if not stream.write(request.whole, now):
            self.stream_down(sa, stream, now)
            return
        self._sender.trace_sent(sa, request, path, request.reason, is_response=False, repeat=False)
        if sa.connection.transports.half_close and request.last and not (sa.current.ours.queue or stream.waiting):
            stream.half_close("the last request for now is sent")
        self._rearm(sa)

    def request_done(self, sa: IkeSa, request: OutgoingRequest) -> None:
        """It is answered or given up: nothing of it goes out any more."""
        self._turn.touched(sa)
        request.repeat_at = request.patience_until = None
        self._streams.let_go(sa, request)
        self._rearm(sa)

    def retransmit(self, sa: IkeSa, now: float) -> None:
        """Some request's time has come."""
        for request in sa.in_flight:
            if request.patience_until is not None and request.patience_until <= now:
                self._lose_patience(sa, request, now)
            elif request.repeat_at is not None and request.repeat_at <= now:
                self._repeat(sa, request, now)
            if not sa.alive:
                return
        self._rearm(sa)

    def _repeat(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        if request.transport == "tcp":
            self._unanswered_by_tcp(sa, request, now)
        elif self._made_smaller(sa, request, now) or self._moved(sa, request, now):
            return
        elif request.tries >= self._limits.retransmit_tries:
            self._give_up(sa, request, f"{request.tries} transmissions over UDP", now)
        elif (path := self._datagram_path(sa, request)) is None:
            if not request.waits_for_path:
                self._wait_for_path(sa, request, now)
            elif sa.heard_at > now - self._limits.path_wait:  # the peer is there, and over TCP alone
                request.repeat_at = now + self._limits.path_wait
            else:
                self._give_up(sa, request, "there is no UDP path", now)
        else:
            self._by_udp(sa, request, path, now)

    def _moved(self, sa: IkeSa, request: OutgoingRequest, now: float) -> bool:
        """Unanswered over UDP: it moves to a connection that came up meanwhile, or when UDP has had all its tries."""
        if request.handler.choice is not None:
            return False
        if request.tries >= self._limits.retransmit_tries:
            request.tried |= {request.way or "udp"}
        choice = self._chooser.for_request(sa, request, now)
        if choice.way == request.way:
            return False
        self._go(sa, request, choice, now)
        return True

    def _made_smaller(self, sa: IkeSa, request: OutgoingRequest, now: float) -> bool:
        """Unanswered several times in packets of one size: it goes in fragments for smaller ones, if by UDP at all.

        The intervals begin anew then, and its patience with UDP does not (RFC 7383 section 2.5.2).
        """
        path, tries = sa.path, request.tries
        if path is None or tries < self._limits.fragment_tries or request.handler.choice is not None:
            return False
        before = request.packet
        smaller = smaller_packet(path, before or sa.packet_size)
        if smaller is None or not sa.may_fragment or request.size <= room_in(path, smaller):
            return False
        request.packet = smaller
        choice = self._chooser.for_request(sa, request, now)
        if not choice.fragments:
            request.packet = before
            return False
        request.in_fragments = True
        request.reason = f"{tries} transmissions unanswered: IKE fragments for packets of {smaller} octets"
        request.begin_anew()
        self._say(sa, request, choice.because(request.reason), "udp", moved=True)
        self._by_udp(sa, request, path, now)
        return True

    def _lose_patience(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        """Its transport counts as tried: ask the policy again. What is under way there still counts if it arrives."""
        request.patience_until = None
        attempt, transport, way = request.handler, request.transport, request.way
        if transport is None or way is None:
            return
        request.tried |= {way}
        if isinstance(attempt, InitAttempt):
            self._chooser.failed(sa, attempt.host, transport, now)
            self._attempts.another(sa, attempt, attempt.tried | request.tried, now)
            return
        choice = self._chooser.for_request(sa, request, now)
        if choice.way == way:
            # Everything has been tried. What failed first may work again by now, so the others are due once more.
            request.tried, request.streams = frozenset({way}), 0
            choice = self._chooser.for_request(sa, request, now)
        if choice.way != way:
            self._go(sa, request, choice, now)
        elif choice.patience is not None:
            request.patience_until = now + choice.patience

    def _unanswered_by_tcp(self, sa: IkeSa, request: OutgoingRequest, now: float) -> None:
        stream = self._streams.carrier(sa.id, request)
        if stream is not None:
            stream.reset(f"no answer within {self._limits.stream_answer_timeout:g} s")
            self.stream_down(sa, stream, now, "the connection did not answer")
        else:
            self._go(sa, request, self._chooser.for_request(sa, request, now), now)

    def _give_up(self, sa: IkeSa, request: OutgoingRequest, reason: str, now: float) -> None:
        request.repeat_at = None
        attempt = request.handler
        if isinstance(attempt, InitAttempt):
            attempt.failed(attempt.refusal or PeerUnreachable(reason), now)
            return
        sa.progress += (request.in_words(),)
        request_expired(sa, request, now)

    def _rearm(self, sa: IkeSa) -> None:
        due: float | None = None
        for request in sa.in_flight:
            for moment in (request.repeat_at, request.patience_until):
                if moment is not None and (due is None or moment < due):
                    due = moment
        if due is None:
            sa.timers.clear(Timer.RETRANSMIT)
        else:
            sa.timers.set(Timer.RETRANSMIT, due)

    # --- streams of ours --------------------------------------------------------------------------------------------

    def stream_up(self, sa: IkeSa, stream: Stream, now: float) -> None:
        """A connection of ours is open: what waits for it goes out at once (the draft, section 2.1)."""
        # A stream that is not writable any more is down, with all that waits for it.
        while stream.waiting and stream.writable:
            request = stream.waiting.pop(0)
            if isinstance(request, OutgoingRequest):
                self._write_request(sa, stream, request, now)

    def stream_down(self, sa: IkeSa, stream: Stream, now: float, reason: str = "the connection failed") -> None:
        """A connection of ours is gone. Its unanswered requests go another way; the SA is none the worse (TCP-67)."""
        requests = [each for each in (*stream.waiting, *stream.awaited) if isinstance(each, OutgoingRequest)]
        never_opened = not stream.was_open
        self._streams.touched(stream)
        stream.waiting.clear()
        stream.awaited.clear()
        for request in sorted(requests, key=lambda each: each.message_id):
            if request.transport == "udp":
                continue  # it lost patience with TCP before, and goes on by UDP as it is
            request.streams = self._limits.stream_attempts if never_opened else request.streams + 1
            self._tcp_failed(sa, request, stream.end_reason or reason, now, stream.remote)
            if not sa.alive:
                return

    def _tcp_failed(
        self, sa: IkeSa, request: OutgoingRequest, reason: str, now: float, remote: Address | None = None
    ) -> None:
        attempt = request.handler
        if isinstance(attempt, InitAttempt):
            self._chooser.failed(sa, attempt.host, "tcp", now)
            attempt.failed(PeerUnreachable(reason), now, None if remote is None else remote[1])
            return
        where = "" if remote is None else " to {} port {}".format(*remote)
        sa.progress += (f"{name_of(Exchange, request.exchange)} by TCP{where}: {reason}",)
        request.tries += 1
        if request.tries >= self._limits.retransmit_tries:
            self._give_up(sa, request, f"{request.tries} tries", now)
            return
        if request.streams >= self._limits.stream_attempts:
            self._chooser.failed(sa, sa.hosts[1], "tcp", now)
            request.tried |= {"tcp"}
        choice = self._chooser.for_request(sa, request, now)
        if choice.transport == "udp":
            self._go(sa, request, choice.because(f"{choice.reason} ({reason})"), now)
        elif "tcp" not in request.tried:
            self._go(sa, request, choice, now)
        else:
            # No other way: try again later, since the loss of a connection says nothing about the peer.
            request.repeat_at = now + self._interval(request.tries)
            self._rearm(sa)
