"""IKE_AUTH, both roles (RFC 7296 sections 1.2, 2.15, 2.21.2): who each side is, and the first Child SA.

What has to be proved and verified is in `proving` and `verifying`, as steps that may wait for the application: the
initiator goes through them before its request and after the response, the responder between request and response, which
stays in progress meanwhile. Authentication that fails is told to the peer as AUTHENTICATION_FAILED and nothing more. A
Child SA that fails leaves the IKE SA alive.
"""

from __future__ import annotations

from ..addressing import Lease
from ..config import ChildConfig, Connection
from ..crypto import Identity
from ..errors import (
    AuthenticationFailed,
    ChildSaNotFound,
    IkeError,
    InternalAddressFailure,
    LocalProtocolError,
    RemoteProtocolError,
)
from ..events import ChildSaFailed, IkeSaEstablished
from ..questions import AcceptanceNeeded
from ..transport import Path
from ..wire import (
    Configuration,
    Contents,
    IdentificationInitiator,
    IdentificationResponder,
    Notification,
    Payload,
    SecurityAssociation,
)
from ..wire.numbers import Exchange, Notify
from .asking import Steps, run
from .auth_context import AuthContext
from .beginning import begin, go_on
from .child_ends import ends_of, wants_addresses
from .child_negotiation import ChildOffer, add_child, agree, answer_payloads
from .child_terms import cannot_offer, no_host
from .configuration import configuration_request, read_reply, take_addresses
from .connection_choice import choose_connections
from .exchange import OurExchange
from .granting import Granting, wanted_lease
from .ike_sa import IkeSa
from .incoming import Incoming
from .informational import (
    DeleteSpi,
    Liveness,
    auth_lifetime,
    note_auth_lifetime,
    note_window,
    window_notification,
)
from .init_facts import can_look_up, settle_facts, tell_facts, wanted_authorities
from .keys import SaKeys
from .outgoing import last_words, respond
from .proving import Proof, certificate_requests, prove
from .refusals import CHILD_REFUSED, refusal
from .setup import Setup
from .timers import Timer
from .verifying import authorize, expected_auth_octets, verify_peer

__all__ = ["OurIkeAuth", "Responder", "begin_auth"]


LONGEST_IDENTITY = 16_384
"""Octets of a peer's identity: it is kept for as long as the SA lives. A distinguished name has some hundreds."""


def begin_auth(sa: IkeSa, setup: Setup, context: AuthContext, now: float) -> None:
    """Begin IKE_AUTH as the initiator, as soon as we have our proof."""
    connection = sa.connection
    child = next(iter(connection.children), None)
    if child is not None and not context.childless and cannot_offer(child, ends_of(sa)):
        sa.fail(LocalProtocolError(no_host(child)), "error", now)
        return
    identity = IdentificationInitiator(connection.local_identity.id_type, connection.local_identity.data)
    remote = (sa.hosts[1], connection.transports.udp_port) if sa.path is None else sa.path.remote
    run(
        sa,
        prove(sa, sa.current.need_keys(), context, identity.body, wanted_of(connection), remote),
        now,
        done=lambda proof, then: begin(sa, OurIkeAuth(sa, setup, context, identity, proof), then),
        failed=lambda error, then: sa.fail(error, "error", then),
    )


def wanted_of(connection: Connection) -> Identity | None:
    """Return the one identity that the peer has to have; None if several would do."""
    wanted = connection.remote_identity
    return None if wanted is None or wanted.is_pattern else wanted


class OurIkeAuth(OurExchange):
    """The initiator's side: one request, one response."""

    exchange = int(Exchange.IKE_AUTH)

    def __init__(
        self, sa: IkeSa, setup: Setup, context: AuthContext, identity: IdentificationInitiator, proof: Proof
    ) -> None:
        self.sa = sa
        self.setup = setup
        self.context = context
        self.identity = identity
        self.proof = proof
        self.child: ChildConfig | None = next(iter(sa.connection.children), None)
        self.offer: ChildOffer | None = None
        self.asks = False
        """The request asks for addresses."""
        self.impossible: ChildConfig | None = None
        """The child that we cannot offer, as its selectors and the hosts have nothing in common."""

    def expected_octets(self) -> int:
        return expected_auth_octets(self.sa.connection)

    def build(self, now: float) -> list[Payload]:
        """Return IDi, [CERT], [CERTREQ], [IDr], AUTH, [SA, TSi, TSr] in the order of RFC 7296 section 1.2."""
        sa, wanted = self.sa, wanted_of(self.sa.connection)
        payloads: list[Payload] = [self.identity, *self.proof.certificates, *certificate_requests([sa.connection])]
        if wanted is not None:
            payloads.append(IdentificationResponder(wanted.id_type, wanted.data))
        payloads.append(self.proof.auth)
        if self.child is not None and cannot_offer(self.child, ends_of(sa)):
            self.impossible, self.child = self.child, None
        if self.child is not None:
            self.offer = ChildOffer(sa, self.child)
            self.asks = self.offer.asks
            payloads += self.offer.notifications
            payloads.append(SecurityAssociation(self.offer.proposals))
            payloads += self.offer.selectors
        else:
            request = configuration_request(sa) if wants_addresses(sa) else None
            payloads += [] if request is None else [request]
            self.asks = request is not None
        if self.setup.predecessor is None and sa.services.contacts.first(sa):
            payloads.append(Notification(Notify.INITIAL_CONTACT))
        return [*payloads, *window_notification(sa, sa.current)]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        """Verify the responder and take the Child SA. Raises the peer's refusal."""
        if contents.shape == "refused":
            raise refusal(contents)
        if contents.shape not in ("established", "established without child"):
            raise AuthenticationFailed(f"the peer goes on with EAP ({contents.shape}), which is not configured")
        run(
            self.sa,
            self._verify(contents, path),
            now,
            done=lambda _, then: self._verified(contents, path, then),
            failed=self._not_verified,
        )

    def _verify(self, contents: Contents, path: Path) -> Steps[None]:
        sa = self.sa
        payload = contents.one(IdentificationResponder)
        identity = self.setup.claimed_identity = _claimed(payload)
        wanted = sa.connection.remote_identity
        if wanted is not None and not identity.matches(wanted):
            raise AuthenticationFailed(f"the peer says it is {identity}, {wanted} is configured")
        yield from verify_peer(sa, self.keys, self.context, identity, payload.body, contents, path.remote)
        sa.peer_identity = identity
        yield from authorize(sa, identity, path.remote)

    def _not_verified(self, error: IkeError, now: float) -> None:
        """End the SA. The peer holds it for established: tell it (RFC 7296 section 2.21.2), without waiting."""
        last_words(self.sa, [Notification(Notify.AUTHENTICATION_FAILED)], now)
        self.failed(error, now)

    def _verified(self, contents: Contents, path: Path, now: float) -> None:
        sa = self.sa
        sa.timers.clear(Timer.ESTABLISH)
        note_window(sa, sa.current, contents)
        sa.established(now)
        note_auth_lifetime(sa, contents, now)
        sa.services.contacts.met(sa, contents.notify(Notify.INITIAL_CONTACT) is not None, now)
        announce(sa, path)
        self._take_addresses(contents, now)
        if path.transport == "tcp" and needs_udp_mapping(sa):
            go_on(sa, Liveness(sa), now)

    def _take_addresses(self, contents: Contents, now: float) -> None:
        """Take what the response assigns to us, asking the application if it wants that, and the Child SA after it."""
        sa = self.sa
        if self.impossible is not None:
            sa.services.emit(ChildSaFailed(sa.id, self.impossible.name, LocalProtocolError(no_host(self.impossible))))
        if not (self.asks and sa.connection.ask_acceptance and contents.maybe(Configuration) is not None):
            self._take_child(contents, now)
            return
        try:
            lease = read_reply(sa, contents)
        except InternalAddressFailure as failure:
            self._refuse_child(contents, failure, now)
            return

        made = contents.maybe(SecurityAssociation)
        sa.awaiting = b"" if made is None else made.proposals[0].spi

        def resume(accepted: bool, then: float) -> None:
            if accepted and made is not None and not sa.awaiting:
                self._refuse_child(contents, ChildSaNotFound("the peer deleted it before it was accepted"), then)
            elif accepted:
                self._take_child(contents, then)
            else:
                self._refuse_child(contents, InternalAddressFailure("the application refused the addresses"), then)

        sa.services.asker.ask(
            sa,
            lambda question, deadline: AcceptanceNeeded(
                question, sa.id, deadline, sa.connection.name, str(sa.peer_identity), lease
            ),
            bool,
            False,
            resume,
            now,
        )

    def _take_child(self, contents: Contents, now: float) -> None:
        """Take or refuse the Child SA of the response. The IKE SA lives either way (RFC 7296 section 1.2)."""
        sa, offer, keys = self.sa, self.offer, self.keys
        try:
            if offer is not None:
                offer.accept(contents, keys, (keys.ni, keys.nr), now)
            elif self.asks and contents.maybe(Configuration) is not None:
                take_addresses(sa, contents)
        except RemoteProtocolError as failure:
            self._refuse_child(contents, failure, now)
        else:
            self._ready(now)

    def _refuse_child(self, contents: Contents, failure: RemoteProtocolError, now: float) -> None:
        sa, offer = self.sa, self.offer
        if offer is not None:
            sa.services.emit(ChildSaFailed(sa.id, offer.config.name, failure))
            if contents.maybe(SecurityAssociation) is None:
                offer.withdraw()
            else:
                go_on(sa, DeleteSpi(sa, offer.spi_in), now)
        self._ready(now)

    def _ready(self, now: float) -> None:
        """Its Child SA is there or refused: it takes over, where it is in the place of another SA."""
        if self.setup.predecessor is not None or self.setup.restarts is not None:
            self.sa.services.succession.ready(self.sa, now)

    def failed(self, error: IkeError, now: float) -> None:
        """IKE_AUTH failed, and with it the SA."""
        sa = self.sa
        if sa.alive and sa.setting_up:
            sa.fail(error, "error", now)


class Responder:
    """The responder's side: verifies the one IKE_AUTH request that an SA may have, then makes the response."""

    def __init__(self, sa: IkeSa, context: AuthContext, candidates: tuple[Connection, ...]) -> None:
        self.sa = sa
        self.context = context
        self.candidates = candidates

    def answer(self, setup: Setup, asked: Incoming, now: float) -> list[Payload] | None:
        """Verify the request and answer it, at once or when the application has said what it is asked."""
        sa, shape = self.sa, asked.contents.shape
        if shape not in ("authenticate", "authenticate childless"):
            raise AuthenticationFailed(f"the peer asks for EAP ({shape}), which is not configured")
        run(
            sa,
            self._authenticate(setup, asked),
            now,
            done=lambda result, then: respond(sa, asked, self._accept(asked, *result, then), then),
            failed=lambda error, then: self._refuse(asked, error, then),
        )
        return None

    def _authenticate(self, setup: Setup, asked: Incoming) -> Steps[tuple[Proof, Lease | None]]:
        """Verify the peer, ask whether it is welcome and which addresses it gets, and prove who we are."""
        sa, contents, remote, keys = self.sa, asked.contents, asked.path.remote, asked.generation.need_keys()
        payload = contents.one(IdentificationInitiator)
        identity = setup.claimed_identity = _claimed(payload)
        self.context.authorities, self.context.lookup = wanted_authorities(contents), can_look_up(contents)
        yield from self._verify(identity, payload.body, asked, keys)
        settle_facts(sa)
        sa.peer_identity = identity
        sa.timers.clear(Timer.HALF_OPEN)
        sa.services.authenticated(sa, asked.path)
        yield from authorize(sa, identity, remote)
        if sa.services.contacts.too_many(sa) and contents.notify(Notify.INITIAL_CONTACT) is None:
            raise AuthenticationFailed(f"there is an SA with {identity} already")
        lease = yield from wanted_lease(sa, contents, remote)
        proof = yield from prove(sa, keys, self.context, self._identity.body, identity, remote)
        return proof, lease

    def _verify(self, identity: Identity, body: bytes, asked: Incoming, keys: SaKeys) -> Steps[None]:
        """Verify the peer by the connection that is meant, or by each of those that are equally meant."""
        sa, contents, remote = self.sa, asked.contents, asked.path.remote
        first: AuthenticationFailed | None = None
        for connection in choose_connections(self.candidates, identity, contents, remote[0]):
            sa.connection = connection
            try:
                yield from verify_peer(sa, keys, self.context, identity, body, contents, remote)
            except AuthenticationFailed as error:
                first = first or error
            else:
                return
        raise first or AuthenticationFailed(f"no connection is configured for {identity}")

    @property
    def _identity(self) -> IdentificationResponder:
        ours = self.sa.connection.local_identity
        return IdentificationResponder(ours.id_type, ours.data)

    def _refuse(self, asked: Incoming, error: IkeError, now: float) -> None:
        """End the SA. What was wrong, even if it was on our side, is nothing that the peer is told."""
        respond(self.sa, asked, [Notification(Notify.AUTHENTICATION_FAILED)], now)
        self.sa.fail(error, "error", now)

    def _accept(self, asked: Incoming, proof: Proof, chosen: Lease | None, now: float) -> list[Payload]:
        """Make the response, and with it the SA. Events come first: inbound ESP is ready before the octets leave."""
        sa, path = self.sa, asked.path
        sa.timers.set(Timer.FORGET_INIT, now + sa.services.limits.half_open_lifetime)
        sa.transport, sa.transport_reason = path.transport, "the initiator chose it"
        note_window(sa, asked.generation, asked.contents)
        tell_facts(sa)
        sa.established(now)
        sa.services.contacts.met(sa, asked.contents.notify(Notify.INITIAL_CONTACT) is not None, now)
        announce(sa, path)
        keys = asked.generation.need_keys()
        window = window_notification(sa, asked.generation)
        child = self._child(asked, keys, chosen, now)
        return [self._identity, *proof.certificates, proof.auth, *child, *auth_lifetime(sa), *window]

    def _child(self, asked: Incoming, keys: SaKeys, chosen: Lease | None, now: float) -> list[Payload]:
        """Grant addresses and the Child SA, or say why not. Addresses are only for a Child SA that comes with them."""
        sa, contents = self.sa, asked.contents
        granting: Granting | None = None
        try:
            granting = Granting(sa, contents, chosen, rekey=contents.maybe(SecurityAssociation) is None)
            if contents.maybe(SecurityAssociation) is None:
                return [*granting.done()]
            config, agreed = agree(sa, sa.connection.children, contents, with_group=False)
        except CHILD_REFUSED as error:
            if granting is not None:
                granting.undo()
            sa.services.emit(ChildSaFailed(sa.id, "", error))
            return [Notification(error.notify or Notify.NO_PROPOSAL_CHOSEN)]
        reply = granting.done()
        child = add_child(
            sa,
            config,
            agreed,
            keys,
            (keys.ni, keys.nr, b""),
            sa.services.child_spis.new(sa.id),
            contents,
            now,
            initiator=False,
        )
        return [*reply, *answer_payloads(child, agreed)]


def _claimed(payload: IdentificationInitiator | IdentificationResponder) -> Identity:
    """Return who the peer says it is. Raises AuthenticationFailed for more than anybody is called."""
    if len(payload.data) > LONGEST_IDENTITY:
        raise AuthenticationFailed(f"an identity of {len(payload.data)} octets; the most is {LONGEST_IDENTITY}")
    return Identity(payload.id_type, payload.data)


def needs_udp_mapping(sa: IkeSa) -> bool:
    """Tell whether UDP has to be tried at once, after IKE_AUTH over TCP (the draft, section 3.2; TCP-71).

    With a NAT in between nothing has opened its mapping for port 4500 yet. Without one the peer still takes port 500
    for granted where it never saw a datagram of ours (TCP-73); from any other port we have to show ourselves.
    """
    if sa.path is None:
        return False
    return sa.nat.any or (not sa.facts.init_over_udp and sa.path.local[1] not in (500, 4500))


def announce(sa: IkeSa, path: Path) -> None:
    """Say that the SA is up."""
    sa.services.emit(
        IkeSaEstablished(
            sa.id,
            sa.connection.name,
            sa.role,
            str(sa.connection.local_identity),
            str(sa.peer_identity),
            sa.current.spi_i,
            sa.current.spi_r,
            str(sa.current.need_keys().suite),
            sa.transport,
            sa.transport_reason,
            path.remote,
        )
    )
