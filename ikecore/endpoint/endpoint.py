"""The face of the core: facts and wishes go in, outputs and a deadline come out.

The host's contract, in short: after every call carry out `outputs()` in order, then arm one timer for `deadline` and
call `timer_expired` when it rings (earlier and more often is harmless). One thread; no method waits.
docs/host-contract.md has the whole of it, and `ikecore.testing.CheckedEndpoint` enforces it.

This file is the list of inputs. What becomes of a message is in `reception`, who is let in in `admission`, how things
are sent in `delivery`, and what an SA is in `ikecore.sa`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TypeVarTuple

from ..checking import are, is_number, several
from ..config import ChildConfig, Config, Connection
from ..errors import InternalFailure, LocalProtocolError, SaClosed
from ..events import InternalError, RequestFailed
from ..framing import DatagramKind, Framing, classify
from ..outputs import Address, ChildId, Output, QuestionId, RequestId, SaId, StreamId
from ..sa import (
    ChildSa,
    CreateChild,
    DeleteChild,
    DeleteIke,
    IkeSa,
    IkeSaView,
    Liveness,
    RekeyIke,
    Setup,
    State,
    Timer,
    UnknownSpi,
    begin,
    begin_if_possible,
    child_expiring,
    esp_came_by,
    last_words,
    timer_rang,
    view_of,
)
from ..transport import DatagramPath, Local, Stream, packed_address
from ..wire import Delete, is_whole
from ..wire.numbers import Exchange, Protocol, name_of
from .keeper import Keeper
from .reception import Reception

__all__ = ["Endpoint"]

Ts = TypeVarTuple("Ts")


class Endpoint:
    """An IKEv2 engine for many SAs in both roles, without I/O.

    *random* returns that many random octets, *utc* the calendar time that certificates are checked against (aware
    datetimes), *new_spi* draws candidates for IKE SPIs (8 octets; default: from *random*). All calls take *now*,
    seconds of any monotonic clock; going backwards is clamped. Where *random* or *new_spi* gives no SPI that can be
    used, whatever wants one fails with LocalProtocolError. A call that raises LocalProtocolError has had no effect.
    With *raise_bugs* an unexpected exception leaves the input method instead of ending one SA with the event
    `InternalError`: for tests.
    """

    def __init__(
        self,
        config: Config,
        *,
        random: Callable[[int], bytes],
        utc: Callable[[], datetime],
        new_spi: Callable[[], bytes] | None = None,
        raise_bugs: bool = False,
    ) -> None:
        self._outputs: deque[Output] = deque()
        self._counters: Counter[str] = Counter()
        self._keeper = Keeper(config, random, utc, new_spi, self._outputs.append, self._counters)
        self._reception = Reception(self._keeper)
        self._raise_bugs = raise_bugs
        self._now = float("-inf")

    # --- facts, from the host ---------------------------------------------------------------------------------------

    def local_added(self, local: Local, *, now: float) -> None:
        """There is a socket: a UDP socket or a TCP listener on an exact address.

        Raises LocalProtocolError for what is no `Local` of an IP literal with a port, and for a framing that is not
        served.
        """
        if not isinstance(local, Local):
            raise LocalProtocolError(f"local: a {type(local).__name__}; allowed is a Local")
        _check_address(local.address, "local")
        if local.kind == "tcp" and local.framings != frozenset({Framing.IKE_TCP}):
            raise LocalProtocolError(f"framings: {_framings(local)} is not served; allowed is ike-tcp")
        now = self._clamp(now)
        self._keeper.sockets.locals[local.kind, local.address] = local
        if local.kind == "udp":
            for sa in self._keeper.paths.waiting_for(local):
                self._guard(sa, now, self._keeper.paths.socket_back, sa)

    def local_removed(self, address: Address, kind: str = "udp", *, now: float) -> None:
        """A socket is gone. Raises LocalProtocolError if there was none."""
        if self._keeper.sockets.locals.pop((kind, address), None) is None:
            raise LocalProtocolError(f"address: there is no {kind} socket {address}")
        if kind == "udp":
            self._keeper.paths.socket_gone(address)

    def datagram_received(self, data: bytes, *, local: Address, remote: Address, now: float) -> None:
        """A UDP datagram came to the socket *local* from *remote*.

        Any bytes-like object will do; what is no bytes is copied. Raises LocalProtocolError if there is no such socket.
        """
        now = self._clamp(now)
        socket = self._keeper.sockets.locals.get(("udp", local))
        if socket is None:
            raise LocalProtocolError(f"local: there is no udp socket {local}")
        if type(data) is not bytes:  # a view of a buffer changes under us, and stands for no bytes in tables
            data = bytes(data)
        kind, offset = classify(data, socket.marker)
        if kind is DatagramKind.IKE:
            message = data[offset:] if offset else data
            if is_whole(message) or self._keeper.config.trace:
                path = DatagramPath(local, remote, socket.marker)
                self._guard(None, now, self._reception.message, message, path, None)
            else:  # what `message` would find out as well: floods of junk end here
                self._counters["header"] += 1
        else:
            self._counters[f"datagram: {kind.value}"] += 1

    def datagram_failed(self, *, local: Address, remote: Address, error: str, now: float) -> None:
        """Sending failed, or ICMP came. It proves nothing (RFC 7296 section 2.4): repeats and timeouts go on."""
        self._clamp(now)
        self._counters["datagram: failed"] += 1

    def esp_sent(self, sa: SaId, *, now: float) -> None:
        """ESP of a Child SA of *sa* left in UDP: that spares the keepalive. Once in some seconds is often enough.

        Raises LocalProtocolError if there is no such SA.
        """
        self._sa(sa).udp_sent_at = self._clamp(now)

    def esp_received(self, sa: SaId, *, local: Address, remote: Address, now: float) -> None:
        """ESP of a Child SA of *sa* came in UDP to the socket *local* from *remote*.

        Only tell what was authenticated and no replay, and only where *remote* is another address than before: the
        peer's address follows (RFC 7296 section 2.23), and `PathChanged` says so. Raises LocalProtocolError if there is
        no such SA, or none with a Child SA, or no such socket with the non-ESP marker.
        """
        now, found = self._clamp(now), self._sa(sa)
        socket = self._keeper.sockets.locals.get(("udp", local))
        if socket is None or not socket.marker:
            raise LocalProtocolError(f"local: there is no udp socket {local} with the non-ESP marker")
        if found.setting_up:
            raise LocalProtocolError(f"sa: SA {sa} has no Child SA yet")
        _check_address(remote, "remote")
        self._keeper.turn.touched(found)
        found.heard_at = now
        self._guard(found, now, esp_came_by, found, DatagramPath(local, remote, True))

    def esp_unknown(self, sa: SaId, spi: bytes, *, now: float) -> None:
        """ESP came from the peer of *sa* with an SPI (4 octets) that no Child SA has: the peer is told, now and then.

        It may be a forgery, so it is told at most once per `Limits.hint_interval`, and nothing else happens. Raises
        LocalProtocolError if there is no such SA, or for an SPI of another size.
        """
        now, found = self._clamp(now), self._sa(sa)
        if len(spi) != 4:
            raise LocalProtocolError(f"spi: {len(spi)} octets; an SPI of ESP has 4")
        if found.may_follow_hint(now):
            found.hinted_at = now
            self._guard(found, now, begin_if_possible, found, UnknownSpi(found, spi))

    def stream_accepted(self, *, local: Address, remote: Address, now: float) -> StreamId:
        """A peer connected to the listener *local*. A refusal is a `ResetStream` among the outputs.

        Raises LocalProtocolError if there is no such listener.
        """
        now = self._clamp(now)
        listener = self._keeper.sockets.locals.get(("tcp", local))
        if listener is None:
            raise LocalProtocolError(f"local: there is no tcp listener {local}")
        _check_address(remote, "remote", lowest=0)  # a peer can put any port into its packets
        stream, refusal = self._keeper.streams.accept(local, remote, listener.framings, now)
        if refusal:
            self._keeper.refusals.add("connection", remote, refusal, now)
        self._settle(now)
        return stream.id

    def stream_connected(self, stream: StreamId, *, local: Address, now: float) -> None:
        """The connection that `OpenStream` asked for is up, from the address *local*.

        Raises LocalProtocolError for a stream that there never was, or that was connected already.
        """
        now = self._clamp(now)
        found = self._stream(stream)
        if found is None:
            return
        if not found.connecting:
            raise LocalProtocolError(f"stream {stream} is connected already")
        _check_address(local, "local")
        found.connected(local, now)
        self._guard(None, now, self._keeper.stream_events.up, found)

    def stream_received(self, stream: StreamId, data: bytes, *, now: float) -> None:
        """Octets came by a stream, in any portion and any bytes-like object; what is no bytes is copied.

        Raises LocalProtocolError for a stream that there never was.
        """
        now = self._clamp(now)
        found = self._stream(stream)
        if found is not None:
            if type(data) is not bytes:
                data = bytes(data)
            self._guard(None, now, self._reception.octets, found, data)

    def stream_sent(self, stream: StreamId, octets: int, *, now: float) -> None:
        """The kernel took *octets* of what was to be written, in any portion.

        Raises LocalProtocolError for a stream that there never was, and for more octets than were to be written.
        """
        now = self._clamp(now)
        found = self._stream(stream)
        if found is None:
            return
        if not 0 <= octets <= found.unsent:
            raise LocalProtocolError(f"octets: {octets} sent on stream {stream}, where {found.unsent} are unsent")
        found.sent(octets)
        self._keeper.streams.touched(found)
        self._settle(now)

    def stream_eof(self, stream: StreamId, *, now: float) -> None:
        """The peer sent FIN. Raises LocalProtocolError for a stream that there never was."""
        now = self._clamp(now)
        found = self._stream(stream)
        if found is not None:
            self._guard(None, now, self._keeper.stream_events.eof, found)

    def stream_lost(self, stream: StreamId, error: str, *, now: float) -> None:
        """The connection is gone, or could not be made. *error* says why, in words.

        Raises LocalProtocolError for a stream that there never was.
        """
        now = self._clamp(now)
        found = self._stream(stream)
        if found is None:
            return
        found.lost(error)
        self._guard(None, now, self._keeper.stream_events.gone, found)

    def timer_expired(self, *, now: float) -> None:
        """Time has passed: do what is due."""
        now = self._clamp(now)
        for sleeper in self._keeper.schedule.take_due(now):
            if isinstance(sleeper, Stream):
                self._guard(None, now, self._keeper.stream_events.expired, sleeper)
            elif isinstance(sleeper, IkeSa):
                self._guard(sleeper, now, self._expired, sleeper)
        self._settle(now)

    def traffic_seen(self, sa: SaId, *, now: float) -> None:
        """ESP that was authenticated and no replay came from the peer of *sa*, so it is there (RFC 7296 section 2.4).

        Once in some seconds is often enough. An SA that is not there any more is passed over.
        """
        now = self._clamp(now)
        found = self._keeper.sas.get(sa)
        if found is not None:
            found.heard_at = now

    def child_expiring(self, sa: SaId, child: ChildId, *, hard: bool = False, now: float) -> None:
        """So many octets or packets went by a Child SA that it has to be rekeyed soon, or *hard*, may not be used more.

        A Child SA that is not there any more, or rekeyed already, is passed over: whoever counts may not know yet.
        """
        now = self._clamp(now)
        found = self._keeper.sas.get(sa)
        concerned = None if found is None else found.children.get(child)
        if found is not None and concerned is not None:
            self._keeper.turn.touched(found)
            self._guard(found, now, child_expiring, found, concerned, hard)

    # --- wishes, from the application -------------------------------------------------------------------------------

    def initiate(self, connection: Connection, remotes: Sequence[str], *, now: float, local: str | None = None) -> SaId:
        """Set up an IKE SA with the peer at one of *remotes* (IP literals, tried in order), from the host *local*.

        Ends in `IkeSaEstablished` or `IkeSaFailed`. Raises LocalProtocolError without any address, for one that is no
        IP literal, for a lone one that is in no sequence, and after `shutdown`.
        """
        now = self._clamp(now)
        if self._keeper.closing:
            raise LocalProtocolError("initiate: the endpoint is shutting down")
        if not isinstance(connection, Connection):
            raise LocalProtocolError(f"connection: a {type(connection).__name__}; allowed is a Connection")
        remotes = several(remotes)
        if not are(remotes, str):
            raise LocalProtocolError(f"remotes: {remotes!r} does not fit; allowed are several IP literals")
        if not remotes:
            raise LocalProtocolError("remotes: at least one address is needed")
        for host in remotes:
            _check_host(host, "remotes")
        if local is not None:
            _check_host(local, "local")
        setup = Setup(remotes[1:])
        sa = self._keeper.new_sa("initiator", connection, setup)
        sa.hosts = (local or "", remotes[0])
        self._keeper.succession.wished(sa.id, remotes, local or "")
        sa.timers.set(Timer.ESTABLISH, now + self._keeper.limits.establish_timeout)
        self._guard(sa, now, self._keeper.attempts.begin, sa, setup, remotes[0])
        return sa.id

    def check_liveness(self, sa: SaId, *, now: float) -> RequestId:
        """Ask the peer whether it is there; `RequestCompleted` says that it is. Without any answer the SA ends.

        Raises LocalProtocolError if there is no such SA, while it is being set up, and where
        `Limits.queued_requests` of it wait already.
        """
        now = self._clamp(now)
        found = self._sa(sa)
        wish = self._wish(found, Exchange.INFORMATIONAL)
        self._fulfil(found, wish, now, begin, found, Liveness(found, wish))
        return wish

    def create_child(self, sa: SaId, child: ChildConfig | str | None = None, *, now: float) -> RequestId:
        """Set up one more Child SA: of a configuration, or of a child of the connection by its name (None: the first).

        Ends in `RequestCompleted`, which names the Child SA, or `RequestFailed`. While the peer cannot take it, it is
        asked again for some minutes. Raises LocalProtocolError if there is no such SA, while it is being set up or
        deleted, for a name that the connection does not have, and where `Limits.queued_requests` wait already.
        """
        now = self._clamp(now)
        found = self._sa(sa)
        config = child if isinstance(child, ChildConfig) else found.connection.child(child)
        wish = self._wish(found, Exchange.CREATE_CHILD_SA)
        self._fulfil(found, wish, now, begin, found, CreateChild(found, config, wish))
        return wish

    def rekey(self, sa: SaId, *, child: ChildId | None = None, now: float) -> RequestId:
        """Rekey an IKE SA, or one of its Child SAs: new keys, the same peer (RFC 7296 section 2.8).

        Ends in `RequestCompleted`, also where the peer rekeys at the same time and its rekey remains. The IKE SA keeps
        its handle; a Child SA gets a new one, named by the event `ChildSaEstablished` that says which it replaces.
        Raises LocalProtocolError if there is no such SA or Child SA, while the IKE SA is being set up or deleted, and
        where `Limits.queued_requests` of it wait already.
        """
        now = self._clamp(now)
        found = self._sa(sa)
        old = None if child is None else _child(found, child)
        wish = self._wish(found, Exchange.CREATE_CHILD_SA)
        if old is None:
            self._fulfil(found, wish, now, begin, found, RekeyIke(found, wish))
        else:
            self._fulfil(found, wish, now, begin, found, CreateChild(found, old.config, wish, replaces=old))
        return wish

    def delete(self, sa: SaId, *, child: ChildId | None = None, now: float) -> RequestId:
        """Delete an IKE SA, or one of its Child SAs, in order: `RequestCompleted` once the peer has answered.

        An SA that is still being set up is dropped at once. Raises LocalProtocolError if there is no such SA or
        Child SA, and for a Child SA where `Limits.queued_requests` wait already.
        """
        now = self._clamp(now)
        found = self._sa(sa)
        wish = self._wish(found, Exchange.INFORMATIONAL)
        self._fulfil(found, wish, now, self._delete, found, child, wish)
        return wish

    def _delete(self, sa: IkeSa, child: ChildId | None, wish: RequestId, now: float) -> None:
        if child is not None:
            doomed = _child(sa, child)
            begin(sa, DeleteChild(sa, doomed, wish), now)
            self._keeper.succession.unwanted(sa.id, doomed.config)
        elif sa.setting_up:
            exchange = DeleteIke(sa, wish)
            sa.fail(SaClosed("given up by the application"), "us", now)
            sa.wish_done(exchange)
        elif isinstance(under_way := sa.delete_under_way, DeleteIke):
            under_way.more_wishes.append(wish)
        else:
            begin(sa, DeleteIke(sa, wish), now)
            self._keeper.succession.unwanted(sa.id)
            sa.timers.set(Timer.DELETE, now + self._keeper.limits.delete_timeout)

    def abandon(self, sa: SaId, *, now: float) -> None:
        """Drop an SA at once: one Delete is sent if it is established, and nobody waits for the answer.

        Raises LocalProtocolError if there is no such SA.
        """
        now = self._clamp(now)
        found = self._sa(sa)
        self._guard(found, now, self._abandon, found)

    def _abandon(self, sa: IkeSa, now: float) -> None:
        if sa.setting_up:
            sa.fail(SaClosed("given up by the application"), "us", now)
        else:
            if sa.state is State.ESTABLISHED:
                last_words(sa, [Delete(Protocol.IKE, ())], now)
            self._keeper.succession.unwanted(sa.id)
            sa.close("given up by the application", "us", now)

    def answer(self, question: QuestionId, value: object, *, now: float) -> bool:
        """Answer a question. False if it is no longer open; LocalProtocolError for an unknown one or a wrong type."""
        now = self._clamp(now)
        found = self._keeper.asker.questions.answer(question, value)
        if found is None:
            return False
        self._guard(None, now, self._keeper.asker.closed, question, found, value)
        return True

    def shutdown(self, *, now: float) -> None:
        """Delete every SA and take no new ones. `idle` is true once all is done.

        What is not answered is gone after the limit `delete_timeout`.
        """
        now = self._clamp(now)
        self._keeper.closing = True
        self._keeper.streams.shut_down()
        for sa in list(self._keeper.sas.values()):
            if sa.alive and sa.delete_under_way is None:
                self._guard(sa, now, self._delete, sa, None, self._wish(sa, Exchange.INFORMATIONAL))
        self._settle(now)

    # --- pulled -----------------------------------------------------------------------------------------------------

    def outputs(self) -> Iterator[Output]:
        """Take actions and events out of the queue, one at a time. Inputs made meanwhile add to the same queue."""
        queue = self._outputs
        while queue:
            yield queue.popleft()

    @property
    def deadline(self) -> float | None:
        """When to call `timer_expired`, None if nothing waits for time."""
        return self._keeper.schedule.deadline

    @property
    def idle(self) -> bool:
        """Whether nothing is left: no SA, no stream, no output."""
        return not self._keeper.sas and not len(self._keeper.streams) and not self._outputs

    def sa(self, sa: SaId) -> IkeSaView:
        """Return a view of an SA; LocalProtocolError if there is none of that handle."""
        return view_of(self._sa(sa))

    @property
    def sas(self) -> tuple[SaId, ...]:
        """The SAs that exist, half-open ones included."""
        return tuple(self._keeper.sas)

    @property
    def counters(self) -> Mapping[str, int]:
        """How often octets were dropped, by reason."""
        return MappingProxyType(self._counters)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _expired(self, sa: IkeSa, now: float) -> None:
        for timer in sa.timers.take_due(now):
            if not sa.alive:
                return
            if timer is Timer.RETRANSMIT:
                self._keeper.delivery.retransmit(sa, now)
            elif timer is Timer.QUESTION:
                self._keeper.asker.overdue(sa, now)
            elif timer is Timer.KEEPALIVE:
                self._keeper.keepalives.due(sa, now)
            elif timer is Timer.FORGET_INIT:
                self._keeper.half_open.forget(sa)
            elif timer is Timer.START:
                self._keeper.succession.start(sa, now)
            else:
                timer_rang(sa, timer, now)
        self._keeper.schedule.arm(sa)

    def _guard(self, sa: IkeSa | None, now: float, work: Callable[[*Ts, float], object], *arguments: *Ts) -> None:
        """Do *work* that nobody here waits for: a bug of ours ends at most the SA concerned, and all others live on."""
        try:
            work(*arguments, now)
        except Exception as bug:
            if self._raise_bugs:
                raise
            self._bug(bug, sa or self._keeper.turn.concerned, now)
        finally:
            self._keeper.turn.concerned = None
        self._settle(now)

    def _fulfil(
        self, sa: IkeSa, wish: RequestId, now: float, work: Callable[[*Ts, float], object], *arguments: *Ts
    ) -> None:
        """Do *work* that fulfils a *wish*. Misuse is raised and has had no effect; a bug ends at most *sa*."""
        try:
            work(*arguments, now)
        except LocalProtocolError:
            self._keeper.wishes.ended(sa.id, wish)
            raise
        except Exception as bug:
            if self._raise_bugs:
                raise
            self._bug(bug, sa, now)
        self._settle(now)

    def _bug(self, bug: Exception, sa: IkeSa | None, now: float) -> None:
        self._outputs.append(InternalError(None if sa is None else sa.id, f"{type(bug).__name__}: {bug}"))
        if sa is None:
            return
        error = bug if isinstance(bug, LocalProtocolError) else InternalFailure("a bug of ikecore ended the SA")
        if sa.alive:
            try:
                sa.fail(error, "error", now)
            except Exception as second:
                self._outputs.append(InternalError(sa.id, f"while closing: {type(second).__name__}: {second}"))
                sa.current.state = State.CLOSED
                self._keeper.uproot(sa)
        for wish, exchange in self._keeper.wishes.left(sa.id):  # those whose exchange the bug took with it
            self._keeper.wish_ended(sa, RequestFailed(sa.id, wish, name_of(Exchange, exchange), error))

    def _settle(self, now: float) -> None:
        """After an input: close streams whose work is done, and arm every deadline that may have moved."""
        self._keeper.turn.settle(now)

    def _clamp(self, now: float) -> float:
        if now > self._now:
            self._now = now
        return self._now

    def _wish(self, sa: IkeSa, exchange: Exchange) -> RequestId:
        return self._keeper.wishes.begin(sa.id, exchange)

    def _sa(self, sa: SaId) -> IkeSa:
        found = self._keeper.sas.get(sa)
        if found is None:
            raise LocalProtocolError(f"sa: there is no SA {sa}")
        return found

    def _stream(self, stream: StreamId) -> Stream | None:
        """Return a live stream; inputs for closed ones were in flight and are ignored."""
        if not self._keeper.streams.was_issued(stream):
            raise LocalProtocolError(f"stream: there never was a stream {stream}")
        return self._keeper.streams.get(stream)


def _child(sa: IkeSa, child: ChildId) -> ChildSa:
    found = sa.children.get(child)
    if found is None:
        raise LocalProtocolError(f"child: SA {sa.id} has no Child SA {child}")
    return found


def _check_address(address: Address, field: str, lowest: int = 1) -> None:
    if not isinstance(address, tuple) or len(address) != 2:
        raise LocalProtocolError(f"{field}: {address!r} does not fit; allowed are an IP literal and a port")
    _check_host(address[0], field)
    if not is_number(address[1], int) or not lowest <= address[1] <= 65535:
        raise LocalProtocolError(f"{field}: {address[1]!r} is no port")


def _check_host(host: str, field: str) -> None:
    try:
        if not isinstance(host, str):  # a number would be an address as well
            raise ValueError
        packed_address(host)
    except ValueError:
        raise LocalProtocolError(f"{field}: {host!r} is no IP literal") from None


def _framings(local: Local) -> str:
    return ", ".join(sorted(framing.value for framing in local.framings)) or "nothing"
