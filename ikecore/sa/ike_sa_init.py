"""IKE_SA_INIT, both roles (RFC 7296 sections 1.2, 2.6, 2.7, 2.23).

The exchange is not protected, so every effect is bounded: the initiator believes a response only on the exact path of
its request and keeps listening after an error that anyone could have forged; the responder makes an SA only for a
request that fits in every way, and answers the rest with one stateless notification or not at all.

AUTH signs the octets of both messages and NAT detection hashes the addresses, so an IKE_SA_INIT cannot change its
transport. Moving it is a new attempt with a new SPI, while the old one goes on listening. A cookie or another group
stays on its attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..config import Connection
from ..crypto import accepted_proposal, choose_proposal, derive_ike_keys, ike_suite
from ..errors import IkeError, InvalidSyntax, NoProposalChosen, PeerUnreachable, RemoteProtocolError
from ..events import CookieReceived, IkeKeysDerived, KeyExchangeRetried, RefusalReceived, SpisChanged, Transport
from ..transport import Choice, DatagramPath, NatFacts, Path, Way
from ..wire import (
    Contents,
    Envelope,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    VendorId,
    encode_message,
)
from ..wire.numbers import INITIATOR, RESPONSE, VENDOR_ID, Exchange, Ke, Notify, Protocol, name_of
from .auth_context import AuthContext
from .exchange import OurExchange
from .ike_sa import IkeSa
from .init_facts import (
    can_look_up,
    check_childless,
    false_source,
    hash_notification,
    nat_facts,
    nat_notifications,
    note_fragmentation,
    note_tcp,
    peer_hashes,
    tcp_notification,
    tell_facts,
    wanted_authorities,
)
from .key_exchange import (
    NONCE_OCTETS,
    OurKeyExchange,
    answer_key_exchange,
    first_method,
    method_to_retry,
    peer_nonce,
)
from .keys import SaKeys
from .proving import MOST_ASKED_FOR, certificate_requests, check_can_prove
from .refusals import refusal
from .request import OutgoingRequest, OutgoingResponse
from .services import Services
from .setup import Setup
from .states import Input
from .timers import Timer

__all__ = ["AfterInit", "InitAttempt", "answer_init"]

AfterInit = Callable[[IkeSa, Setup, AuthContext, float], None]
"""What the initiator does once IKE_SA_INIT is answered."""


class InitAttempt(OurExchange):
    """One attempt of the initiator: an SPI, a nonce, a key exchange, and one transport."""

    exchange = int(Exchange.IKE_SA_INIT)
    host: str
    choice: Choice

    def __init__(
        self, sa: IkeSa, setup: Setup, host: str, choice: Choice, tried: frozenset[Way], then: AfterInit
    ) -> None:
        self.sa = sa
        self.setup = setup
        self.host = host
        self.choice = choice
        self.transport: Transport = choice.transport
        self.tried = tried
        """Transports that came to nothing with this host before."""
        self.then = then
        self.spi_i = sa.services.ike_spis.new()
        self.nonce = sa.services.random(NONCE_OCTETS)
        self.false_source = false_source(sa.connection, sa.services.random)
        self.key_exchange = OurKeyExchange(first_method(sa.connection.proposals), sa.services.random)
        self.cookie: bytes | None = None
        self.rounds = 0
        self.path: Path | None = None
        self.refusal: IkeError | None = None
        """An unprotected error that came over UDP, kept until something better comes or the wait is over."""
        self.request: OutgoingRequest | None = None

    # --- sending ----------------------------------------------------------------------------------------------------

    def send(self, now: float) -> None:
        """Send the request of this attempt, as it is now."""
        sa = self.sa
        self.setup.attempts[self.spi_i] = self
        sa.services.ike_spis.claim(self.spi_i, sa)
        self.request = OutgoingRequest(
            self.exchange, 0, self._octets, (), handler=self, expected=self.expected_octets(), started=now, size=500
        )
        sa.services.delivery.send_request(sa, self.request, now)

    def bind(self, path: Path) -> None:
        """The path is known now, and with it the addresses that NAT detection hashes."""
        self.path = path
        if self.request is not None:
            self.request.built()

    def expected_octets(self) -> int:
        return 600

    def build(self, now: float) -> list[Payload]:
        """Return the payloads; only valid once `bind` has told the path."""
        sa, services = self.sa, self.sa.services
        path = self.path
        if path is None:
            raise RuntimeError("IKE_SA_INIT is built before its path is known")
        payloads: list[Payload] = []
        if self.cookie is not None:
            payloads.append(Notification(Notify.COOKIE, self.cookie))
        payloads += [
            SecurityAssociation(sa.connection.proposals),
            self.key_exchange.payload,
            Nonce(self.nonce),
            *nat_notifications(self.spi_i, bytes(8), path, self.false_source),
            hash_notification(),
        ]
        if sa.connection.transports.fragmentation != "no":
            payloads.append(Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED))
        announced = sa.connection.transports.announce_tcp
        if announced:
            payloads.append(tcp_notification(services.config.tcp_notify, announced))
        payloads.append(VendorId(VENDOR_ID))
        return payloads

    def _octets(self) -> bytes:
        payloads = self.build(0.0)
        if self.request is not None:
            self.request.names = self.sa.services.names_of(payloads)
        return encode_message(
            spi_i=self.spi_i,
            spi_r=bytes(8),
            exchange=self.exchange,
            flags=INITIATOR,
            message_id=0,
            payloads=payloads,
        )

    # --- the response -----------------------------------------------------------------------------------------------

    def received(self, envelope: Envelope, contents: Contents, path: Path, now: float) -> None:
        """Take an unprotected response on the path of the request. Raises what is wrong with it, for the counters."""
        try:
            if contents.shape == "accepted":
                self._accepted(envelope, contents, path, now)
            elif contents.shape == "cookie wanted":
                self._cookie_wanted(contents, now)
            elif contents.shape == "another group wanted":
                self._method_wanted(contents, now)
            else:
                raise refusal(contents)
        except RemoteProtocolError as error:
            # Anyone can forge this. The true response may still come, so nothing changes; the error is what we
            # report if it never does.
            if self.transport == "tcp":
                if contents.shape == "refused":
                    # Only the peer can write into the connection, and it would refuse the same over UDP.
                    self.refusal = error
                self.failed(error, now)
            elif self.refusal is None:
                self._remember(error, path, now)
            raise

    def _again(self, now: float) -> None:
        self.rounds += 1
        if self.rounds > self.sa.services.limits.cookie_rounds:
            raise InvalidSyntax(f"more than {self.rounds - 1} cookies and groups were demanded")
        self._retire(now)
        self.send(now)

    def _cookie_wanted(self, contents: Contents, now: float) -> None:
        cookie = contents.notifies(Notify.COOKIE)[0].data
        if not 1 <= len(cookie) <= 64:
            raise InvalidSyntax(f"a cookie of {len(cookie)} octets")
        if cookie == self.cookie:
            raise InvalidSyntax("the cookie that we sent is demanded again")
        self.cookie = cookie
        self.sa.services.emit(CookieReceived(self.sa.id, self.transport))
        self._again(now)

    def _method_wanted(self, contents: Contents, now: float) -> None:
        sa, refused = self.sa, self.key_exchange.method
        wanted = method_to_retry(contents.notify(Notify.INVALID_KE_PAYLOAD), refused, sa.connection.proposals)
        if wanted is None:
            raise InvalidSyntax("INVALID_KE_PAYLOAD names no other key exchange method that was proposed")
        self.key_exchange = OurKeyExchange(wanted, sa.services.random)
        sa.services.emit(KeyExchangeRetried(sa.id, name_of(Ke, refused), name_of(Ke, wanted)))
        self._again(now)

    def _remember(self, error: IkeError, path: Path, now: float) -> None:
        self.refusal = error
        wait = self.sa.services.limits.init_error_wait
        self.sa.services.emit(RefusalReceived(self.sa.id, path.remote, error, wait))
        if not self.sa.timers.is_set(Timer.INIT_ERROR):
            self.sa.timers.set(Timer.INIT_ERROR, now + wait)

    def _accepted(self, envelope: Envelope, contents: Contents, path: Path, now: float) -> None:
        sa, services = self.sa, self.sa.services
        spi_r = envelope.header.spi_r
        if spi_r == bytes(8):
            raise InvalidSyntax("the responder's SPI is zero", 8)
        suite = ike_suite(accepted_proposal(sa.connection.proposals, contents.one(SecurityAssociation).proposals))
        nonce = peer_nonce(contents, suite.prf_key_length)
        hashes = peer_hashes(contents)
        check_can_prove(sa.connection, hashes)
        check_childless(sa.connection, contents)
        shared = self.key_exchange.finish(suite.group, contents.one(KeyExchange))
        keys = derive_ike_keys(suite, shared, self.nonce, nonce, self.spi_i, spi_r)

        # From here on nothing can fail.
        request = self.request
        if request is None:
            raise RuntimeError("a response before the request")
        for other in list(self.setup.attempts.values()):
            if other is not self:
                other.drop(now)
        self._retire(now)
        sa.timers.clear(Timer.INIT_ERROR)
        generation = sa.current
        generation.spi_i, generation.spi_r = self.spi_i, spi_r
        generation.keys = SaKeys.make(
            "initiator", (self.spi_i, spi_r), suite, (self.nonce, nonce), keys, services.random
        )
        generation.ours.next_id = 1
        sa.nat = nat_facts(sa, contents, self.spi_i, spi_r, path)
        sa.hosts = (path.local[0], path.remote[0])
        note_fragmentation(sa, contents)
        note_tcp(sa, contents, path)
        if path.transport == "tcp":
            sa.facts = sa.facts.but(used_port=path.remote[1])
        if services.config.trace:
            services.emit(IkeKeysDerived(sa.id, generation.keys.export()))
        services.emit(SpisChanged(sa.id, self.spi_i, spi_r, "IKE_SA_INIT was answered"))
        tell_facts(sa)
        self._settle_path(path, now)
        self.setup.attempts.clear()
        generation.move(Input.INIT_ANSWERED)
        context = AuthContext(
            ours=request.whole,
            theirs=envelope.data,
            peer_hashes=hashes,
            authorities=wanted_authorities(contents),
            lookup=can_look_up(contents),
            childless=contents.notify(Notify.CHILDLESS_IKEV2_SUPPORTED) is not None,
        )
        self.then(sa, self.setup, context, now)

    def _settle_path(self, path: Path, now: float) -> None:
        """Decide where datagrams go from now on (RFC 7296 section 2.23; TCP-73)."""
        sa, services = self.sa, self.sa.services
        transports = sa.connection.transports
        if isinstance(path, DatagramPath):
            sa.path = path
            if not sa.nat.any or path.marker:
                return
        marker = sa.nat.any or transports.udp_start == "nat"
        local = services.sockets.udp_address(self.host, marker, path.local[0])
        if local is None:
            return
        settled = DatagramPath(local, (self.host, transports.udp_nat_port if marker else transports.udp_port), marker)
        if sa.nat.any:
            why = "UDP encapsulation is forced" if sa.nat == NatFacts(forced=True) else "a NAT was found"
            services.paths.move(sa, settled, f"{why}: port {settled.remote[1]}", now)
        else:
            sa.path = settled

    # --- the end of it ----------------------------------------------------------------------------------------------

    def process(self, contents: Contents, path: Path, now: float) -> None:
        """Not used: responses of IKE_SA_INIT need their envelope and come by `received`."""
        raise RuntimeError("IKE_SA_INIT is not protected")

    def _retire(self, now: float) -> None:
        """Stop sending the present request, and let go of it: it holds on to this attempt, and so to the SA."""
        request, self.request = self.request, None
        if request is not None:
            self.sa.services.delivery.request_done(self.sa, request)

    def drop(self, now: float) -> None:
        """Forget this attempt."""
        self._retire(now)
        self.setup.attempts.pop(self.spi_i, None)
        if self.spi_i != self.sa.current.spi_i:
            self.sa.services.ike_spis.release(self.spi_i)

    def failed(self, error: IkeError, now: float, port: int | None = None) -> None:
        """This attempt came to nothing; so has the SA if it was the last one. *port* is the peer's, if known."""
        sa = self.sa
        where = self.host if port is None else f"{self.host} port {port}"
        sa.progress += (f"IKE_SA_INIT by {self.transport.upper()} to {where}: {error}",)
        self.drop(now)
        if self.setup.attempts or not sa.alive or sa.services.attempts.failed(sa, self, now):
            return
        if isinstance(error, PeerUnreachable):
            error = PeerUnreachable("no answer to IKE_SA_INIT", sa.progress)
        sa.fail(error, "silence", now)


# --- the responder --------------------------------------------------------------------------------------------------


def answer_init(
    services: Services[IkeSa],
    make_sa: Callable[[Connection], IkeSa],
    connections: Sequence[Connection],
    envelope: Envelope,
    contents: Contents,
    path: Path,
    digest: bytes,
    now: float,
) -> tuple[IkeSa, AuthContext, tuple[Connection, ...]]:
    """Answer a new, admitted IKE_SA_INIT request with an SA; also return which connections may still be meant.

    Raises NoProposalChosen or InvalidKePayload, which the caller answers without keeping anything, or InvalidSyntax,
    which nobody answers. *connections* are those that the peer's address admits, in order.
    """
    theirs = contents.one(KeyExchange)
    connection, chosen = _choose(connections, contents.one(SecurityAssociation).proposals, theirs.group)
    suite = ike_suite(chosen)
    ni = peer_nonce(contents, suite.prf_key_length)
    ours, shared = answer_key_exchange(suite.group, theirs, services.random)
    spi_i, spi_r, nr = envelope.header.spi_i, services.ike_spis.new(), services.random(NONCE_OCTETS)
    keys = derive_ike_keys(suite, shared, ni, nr, spi_i, spi_r)

    sa = make_sa(connection)
    generation = sa.current
    generation.spi_i, generation.spi_r = spi_i, spi_r
    generation.keys = SaKeys.make("responder", (spi_i, spi_r), suite, (ni, nr), keys, services.random)
    sa.nat = nat_facts(sa, contents, spi_i, bytes(8), path)
    sa.hosts = (path.local[0], path.remote[0])
    if isinstance(path, DatagramPath):
        sa.path = path
    elif not sa.nat.any:
        # Until a datagram of the peer says otherwise it is where every IKE peer is (TCP-73).
        local = services.sockets.udp_address(path.remote[0], False, path.local[0])
        remote = (path.remote[0], connection.transports.udp_port)
        sa.path = None if local is None else DatagramPath(local, remote, False)
    note_fragmentation(sa, contents)
    note_tcp(sa, contents, path)
    services.ike_spis.claim(spi_r, sa)
    if services.config.trace:
        services.emit(IkeKeysDerived(sa.id, generation.keys.export()))

    fitting = _fitting(connections, connection, chosen)
    payloads = _answer_payloads(sa, fitting, chosen, ours, nr, path)
    octets = encode_message(
        spi_i=spi_i,
        spi_r=spi_r,
        exchange=Exchange.IKE_SA_INIT,
        flags=RESPONSE,
        message_id=0,
        payloads=payloads,
    )
    response = OutgoingResponse(Exchange.IKE_SA_INIT, 0, lambda: octets, services.names_of(payloads), spi=spi_r)
    generation.theirs.begin(0, digest, path)
    services.sender.send_response(sa, response, generation.theirs.answer(0, response), now)
    sa.timers.set(Timer.HALF_OPEN, now + services.limits.half_open_lifetime)
    return (
        sa,
        AuthContext(octets, envelope.data, peer_hashes(contents), None),
        fitting,
    )


def _choose(connections: Sequence[Connection], offered: Sequence[Proposal], group: int) -> tuple[Connection, Proposal]:
    refused: list[tuple[Proposal, ...]] = []
    for connection in connections:
        # A thousand connections mostly want the same, and a stranger may offer a hundred proposals in one datagram.
        if connection.proposals in refused:
            continue
        chosen = _accepts(connection.proposals, offered, group)
        if chosen is not None:
            return connection, chosen
        refused.append(connection.proposals)
    raise NoProposalChosen("no connection's proposals meet the offered ones")


def _fitting(connections: Sequence[Connection], first: Connection, chosen: Proposal) -> tuple[Connection, ...]:
    """Return which connections may still be meant: all that accept what was *chosen* for the *first*."""
    if len(connections) == 1:
        return (first,)
    accepts = {first.proposals: True}
    for each in connections:
        if each.proposals not in accepts:
            accepts[each.proposals] = _accepts(each.proposals, (chosen,), None) is not None
    return tuple(each for each in connections if accepts[each.proposals])


def _accepts(ours: Sequence[Proposal], offered: Sequence[Proposal], group: int | None) -> Proposal | None:
    return choose_proposal(offered, ours, protocol=Protocol.IKE, spi_size=0, with_group=True, group=group)


def _answer_payloads(
    sa: IkeSa,
    connections: Sequence[Connection],
    chosen: Proposal,
    key_exchange: KeyExchange,
    nr: bytes,
    path: Path,
) -> list[Payload]:
    services = sa.services
    payloads: list[Payload] = [
        SecurityAssociation((chosen,)),
        key_exchange,
        Nonce(nr),
        *nat_notifications(sa.current.spi_i, sa.current.spi_r, path, false_source(sa.connection, services.random)),
    ]
    payloads += certificate_requests(connections, MOST_ASKED_FOR)
    payloads.append(hash_notification())
    payloads.append(Notification(Notify.CHILDLESS_IKEV2_SUPPORTED))
    if sa.fragmentation:
        payloads.append(Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED))
    port = _announced_port(sa, path)
    if port:
        payloads.append(tcp_notification(services.config.tcp_notify, port))
    payloads.append(VendorId(VENDOR_ID))
    return payloads


def _announced_port(sa: IkeSa, path: Path) -> int | None:
    """Return the TCP port to announce: the configured one, else that of our listener where the peer can reach it.

    Behind a NAT our own port number means nothing outside, so without configuration nothing is said (TCP-68, TCP-69).
    """
    configured = sa.connection.transports.announce_tcp
    if configured is not None:
        return configured
    return None if sa.nat.local_behind_nat else sa.services.sockets.listener_port(path.local[0])
