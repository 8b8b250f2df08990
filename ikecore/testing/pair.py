"""Two endpoints on one network: the shortest way from a configuration to what happens with it.

pair = Pair(tcp=True)
sa = pair.initiate()
pair.run()
for event in pair.initiator.events:
    print(event)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import attrs

from ..config import ChildConfig, Config, Connection, Lifetimes, PskCredential, Transports
from ..crypto import Identity
from ..endpoint import Endpoint
from ..events import IkeSaEstablished, IkeSaFailed, MessageReceived, MessageSent, Transport
from ..framing import MARKER
from ..limits import Limits
from ..outputs import SaId
from ..transport import BySize, Local, Policy, WholeMission
from ..wire import EncryptedFragment
from .checked import CheckedEndpoint
from .links import Packet, Tcp, Udp
from .nat import Nat
from .network import Happening, Host, Network

__all__ = ["NOON", "Pair", "Rung", "psk_connection"]

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""What the calendar of a test shows unless it is told otherwise."""
INITIATOR, RESPONDER = "10.0.0.1", "10.0.0.2"
_SKF = bytes([EncryptedFragment.TYPE])
NEVER = Lifetimes()
"""Nothing is rekeyed by itself."""
SECRET = b"a secret for tests, known to both"


def psk_connection(
    role: Literal["initiator", "responder"],
    *,
    transports: Transports | None = None,
    secret: bytes = SECRET,
    children: Sequence[ChildConfig] = (ChildConfig(lifetimes=NEVER),),
    name: str | None = None,
    **more: Any,
) -> Connection:
    """Return a connection with a pre-shared key, in which the sides are initiator.example and responder.example.

    *more* are further fields of `Connection`. Nothing is rekeyed by itself, unless *lifetimes* or *children* say so.
    """
    peer = "responder" if role == "initiator" else "initiator"
    return Connection(
        name=name or f"to-{peer}",
        local_identity=Identity.parse(f"{role}.example"),
        local=PskCredential(secret),
        remote=PskCredential(secret),
        remote_identity=Identity.parse(f"{peer}.example"),
        children=tuple(children),
        transports=transports or Transports(),
        **{"lifetimes": NEVER, **more},
    )


@attrs.frozen(kw_only=True)
class Rung:
    """One message of a ladder. *sender* is the name of the host; *arrived* is None if it got lost.

    *fragments* is the number of IKE fragments that it went in, 0 where it was whole. It has arrived with the last one.
    """

    time: float
    sender: str
    outward: bool
    exchange: str
    message_id: int
    is_response: bool
    octets: int
    transport: Transport
    repeat: bool
    reason: str
    payloads: tuple[str, ...]
    arrived: float | None
    fragments: int = 0

    def __str__(self) -> str:
        arrow = f"--{self.transport}-->" if self.outward else f"<--{self.transport}--"
        if self.arrived is None:
            arrow = arrow.replace("--", "-x", 1) if self.outward else arrow[:-2] + "x-"
        what = f"{self.exchange} {'response' if self.is_response else 'request'} {self.message_id}"
        again = f" in {self.fragments} fragments" if self.fragments else ""
        again += " again" if self.repeat else ""
        return f"{self.time:8.3f} s  {arrow:9} {what:26} {self.octets:6} octets{again}  {self.reason}".rstrip()


class Pair:
    """An initiator at 10.0.0.1 and a responder at 10.0.0.2, with UDP sockets 500 and 4500 each.

    Each side is a `Config`, a `Connection` (traced), or None for a pre-shared key that both know. *tcp* gives the
    responder a TCP listener at port 500; as a `Tcp` it also says what happens to connections. *policy* is that of the
    initiator's default connection: with *tcp* the whole mission, else by size. *nat* stands before the initiator,
    *responder_nat* before the responder; it should forward ports 500 and 4500. *random* is seeded with *seed*, *utc*
    is what both calendars show. With *checked* the network itself is held to the host contract.
    """

    def __init__(
        self,
        initiator: Config | Connection | None = None,
        responder: Config | Connection | None = None,
        *,
        tcp: bool | Tcp = False,
        udp: Udp | None = None,
        policy: Policy | None = None,
        limits: Limits | None = None,
        nat: Nat | None = None,
        responder_nat: Nat | None = None,
        seed: int = 0,
        utc: datetime = NOON,
        checked: bool = True,
    ) -> None:
        self.utc = utc
        self.network = Network(seed, udp=udp, tcp=tcp if isinstance(tcp, Tcp) else None)
        if initiator is None:
            chosen = policy or (WholeMission() if tcp else BySize())
            initiator = psk_connection("initiator", transports=Transports(policy=chosen))
        self._configs = (
            _config(initiator, limits),
            _config(psk_connection("responder") if responder is None else responder, limits),
        )
        self._seed, self._checked = seed, checked
        listeners = [Local((RESPONDER, 500), "tcp")] if tcp else []
        self.initiator = self._attach("initiator", INITIATOR, self._configs[0], [], nat)
        self.responder = self._attach("responder", RESPONDER, self._configs[1], listeners, responder_nat)

    def _attach(self, name: str, address: str, config: Config, listeners: list[Local], nat: Nat | None) -> Host:
        endpoint = Endpoint(
            config, random=random.Random(f"{name} {self._seed}").randbytes, utc=lambda: self.utc, raise_bugs=True
        )
        locals = [Local((address, 500)), Local((address, 4500), marker=True), *listeners]
        face = CheckedEndpoint(endpoint) if self._checked else endpoint
        return self.network.attach(face, *locals, nat=nat, name=name)

    @property
    def now(self) -> float:
        """The virtual time in seconds, which every input and wish takes."""
        return self.network.now

    def initiate(self, connection: Connection | None = None, remotes: Sequence[str] | None = None) -> SaId:
        """Begin to set up an IKE SA with the responder; by default with the initiator's first connection."""
        if connection is None:
            connection = self._configs[0].connections[0]
        if remotes is None:
            nat = self.responder.nat
            remotes = [RESPONDER if nat is None else nat.outside]
        sa: SaId = self.initiator.call(self.initiator.endpoint.initiate, connection, list(remotes))
        return sa

    def run(self, until: float | Callable[[], object] | None = None) -> None:
        """Let time pass until all is quiet, or as `Network.run` reads *until*."""
        self.network.run(until)

    def run_for(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.network.run_for(seconds)

    def establish(self) -> tuple[SaId, SaId]:
        """Set up an IKE SA and return its handle on either side. Raises the error if it fails."""
        before = len(self.initiator.events)
        mine = self.initiate()

        def decided() -> IkeSaEstablished | IkeSaFailed | None:
            for event in self.initiator.events[before:]:
                if isinstance(event, IkeSaEstablished | IkeSaFailed) and event.sa == mine:
                    return event
            return None

        self.run(until=decided)
        outcome = decided()
        if isinstance(outcome, IkeSaFailed):
            raise outcome.error
        return mine, self.peer_of(mine)

    def peer_of(self, sa: SaId) -> SaId:
        """Return the responder's handle of the initiator's established *sa*."""
        spis = {event.sa: (event.spi_i, event.spi_r) for event in self.initiator.of(IkeSaEstablished)}
        for event in self.responder.of(IkeSaEstablished):
            if (event.spi_i, event.spi_r) == spis[sa]:
                return event.sa
        raise LookupError(f"the responder never established SA {sa}")

    def ladder(self) -> list[str]:
        """Return one line of text per message, in the order of sending."""
        return [str(rung) for rung in self.rungs()]

    def rungs(self) -> list[Rung]:
        """Return the messages that either side sent, with when they arrived. Needs `Config.trace`."""
        arrivals = _Arrivals(self.network)
        rungs = []
        for happening in self.network.timeline:
            sent = happening.event
            if not isinstance(sent, MessageSent):
                continue
            rungs.append(
                Rung(
                    time=happening.time,
                    sender=happening.host.name,
                    outward=happening.host is self.initiator,
                    exchange=sent.exchange,
                    message_id=sent.message_id,
                    is_response=sent.is_response,
                    octets=sent.octets,
                    transport=sent.transport,
                    repeat=sent.repeat,
                    reason=sent.reason,
                    payloads=sent.payloads,
                    arrived=arrivals.of(happening, sent),
                    fragments=sent.fragments,
                )
            )
        return rungs


class _Arrivals:
    """When messages arrived: datagrams as the wire says, those in streams once the other side had them whole."""

    def __init__(self, network: Network) -> None:
        self._datagrams: dict[tuple[float, str | None, int], list[Packet]] = {}
        self._fragments: dict[tuple[float, str | None], list[Packet]] = {}
        for packet in network.wire:
            if packet.transport == "udp" and not packet.copy:
                self._datagrams.setdefault((packet.time, packet.sender, len(packet.data)), []).append(packet)
                if packet.data.removeprefix(MARKER)[16:17] == _SKF:
                    self._fragments.setdefault((packet.time, packet.sender), []).append(packet)
        self._received = [each for each in network.timeline if isinstance(each.event, MessageReceived)]

    def of(self, happening: Happening, sent: MessageSent) -> float | None:
        """Return when *sent* arrived, None if it got lost. Each arrival is given once."""
        if sent.fragments:
            pieces = self._fragments.get((happening.time, happening.host.name), [])
            taken, pieces[: sent.fragments] = pieces[: sent.fragments], []
            moments = [each.arrived for each in taken if each.fate == "delivered" and each.arrived is not None]
            return max(moments) if len(moments) == sent.fragments else None
        if sent.transport == "udp":
            for marker in (0, len(MARKER)):
                found = self._datagrams.get((happening.time, happening.host.name, sent.octets + marker))
                if found:
                    packet = found.pop(0)
                    return packet.arrived if packet.fate == "delivered" else None
            return None
        for index, other in enumerate(self._received):
            received = other.event
            if (
                isinstance(received, MessageReceived)
                and other.host is not happening.host
                and other.time >= happening.time
                and _kind(received) == _kind(sent)
            ):
                del self._received[index]
                return other.time
        return None


def _kind(message: MessageSent | MessageReceived) -> tuple[object, ...]:
    return message.exchange, message.message_id, message.is_response, message.octets, message.transport


def _config(side: Config | Connection, limits: Limits | None) -> Config:
    if isinstance(side, Connection):
        return Config(connections=(side,), limits=limits or Limits(), trace=True)
    return side if limits is None else attrs.evolve(side, limits=limits)
