"""IKE_AUTH, both roles (RFC 7296 sections 1.2, 2.15, 2.21.2): who each side is, and the first Child SA.

The responder works in two halves. The first verifies; then the application may be asked whether this peer is welcome,
while the request stays in progress; the second makes the Child SA and the response. Authentication that fails is told
to the peer as AUTHENTICATION_FAILED and nothing more. A Child SA that fails leaves the IKE SA alive.
"""

from __future__ import annotations

from ..addressing import Lease
from ..config import ChildConfig, Connection
from ..crypto import Identity
from ..errors import (
    AuthenticationFailed,
    IkeError,
    InternalAddressFailure,
    LocalProtocolError,
    NoProposalChosen,
    RemoteProtocolError,
)
from ..events import AcceptanceNeeded, AuthorizationNeeded, ChildSaFailed, IkeSaEstablished, LeaseNeeded
from ..transport import Path
from ..wire import (
    Authentication,
    CertificateRequest,
    Configuration,
    Contents,
    IdentificationInitiator,
    IdentificationResponder,
    Notification,
    Payload,
    SecurityAssociation,
)
from ..wire.numbers import CertEncoding, Exchange, Notify
from .auth_context import AuthContext
from .child_negotiation import ChildOffer, add_child, agree, answer_payloads
from .child_terms import no_host, offered_selectors
from .configuration import Granting, configuration_request, read_reply, read_request, take_addresses
from .credentials import authority_hashes, can_check, check, expected_auth_octets, prove
from .exchange import OurExchange
from .ike_sa import IkeSa
from .incoming import Incoming
from .informational import DeleteSpi, Liveness, note_window, window_notification
from .init_facts import refusal_of, settle_facts, tell_facts, wanted_authorities
from .keys import SaKeys
from .refusals import CHILD_REFUSED
from .states import Input, State
from .timers import Timer

__all__ = ["OurIkeAuth", "Responder", "begin_auth"]


def begin_auth(sa: IkeSa, context: AuthContext, now: float) -> None:
    """Begin IKE_AUTH as the initiator."""
    sa.begin(OurIkeAuth(sa, context), now)


class OurIkeAuth(OurExchange):
    """The initiator's side: one request, one response."""

    exchange = int(Exchange.IKE_AUTH)

    def __init__(self, sa: IkeSa, context: AuthContext) -> None:
        self.sa = sa
        self.context = context
        self.child: ChildConfig | None = next(iter(sa.connection.children), None)
        self.offer: ChildOffer | None = None
        self.impossible: ChildConfig | None = None
        """The child that we cannot offer, as its selectors and the hosts have nothing in common."""

    def expected_octets(self) -> int:
        return expected_auth_octets(self.sa.connection)

    def build(self, now: float) -> list[Payload]:
        """Return IDi, [CERT], [CERTREQ], [IDr], AUTH, [SA, TSi, TSr] in the order of RFC 7296 section 1.2."""
        sa = self.sa
        connection, keys = sa.connection, self.keys
        identity = IdentificationInitiator(connection.local_identity.id_type, connection.local_identity.data)
        certificates, auth = prove(connection, keys, self.context, identity.body)
        payloads: list[Payload] = [identity, *certificates]
        authorities = authority_hashes(connection)
        if authorities is not None:
            payloads.append(CertificateRequest(CertEncoding.X509_SIGNATURE, b"".join(authorities)))
        wanted = connection.remote_identity
        if wanted is not None and not wanted.is_pattern:
            payloads.append(IdentificationResponder(wanted.id_type, wanted.data))
        payloads.append(auth)
        if self.child is not None and offered_selectors(self.child, sa.ends()) is None:
            self.impossible, self.child = self.child, None
        if self.child is not None:
            self.offer = ChildOffer(sa, self.child)
            payloads += self.offer.notifications
            payloads.append(SecurityAssociation(self.offer.proposals))
            payloads += self.offer.selectors
        else:
            request = configuration_request(connection) if sa.wants_addresses else None
            payloads += [] if request is None else [request]
            payloads.append(Notification(Notify.CHILDLESS_IKEV2_SUPPORTED))
        return [*payloads, *window_notification(sa, sa.current)]

    def process(self, contents: Contents, path: Path, now: float) -> None:
        """Verify the responder and take the Child SA. Raises AuthenticationFailed or the peer's refusal."""
        sa = self.sa
        if contents.shape == "refused":
            error = contents.error()
            number = 0 if error is None else error.notify_type
            if number == Notify.AUTHENTICATION_FAILED:
                raise AuthenticationFailed("the peer did not accept our authentication")
            if number == Notify.NO_PROPOSAL_CHOSEN:
                raise NoProposalChosen("the peer accepts none of our proposals")
            raise refusal_of(number)
        if contents.shape not in ("established", "established without child"):
            raise AuthenticationFailed(f"the peer goes on with EAP ({contents.shape}), which is not configured")
        try:
            self._verify(contents)
        except AuthenticationFailed:
            # The peer holds the SA for established: tell it (RFC 7296 section 2.21.2), without waiting.
            sa.last_words([Notification(Notify.AUTHENTICATION_FAILED)], now)
            raise
        sa.current.move(Input.AUTH_VERIFIED)
        sa.timers.clear(Timer.ESTABLISH)
        note_window(sa, sa.current, contents)
        announce(sa, path)
        self._take_addresses(contents, now)
        if path.transport == "tcp" and needs_udp_mapping(sa):
            sa.begin(Liveness(sa), now)

    def _verify(self, contents: Contents) -> None:
        sa = self.sa
        payload = contents.one(IdentificationResponder)
        identity = Identity(payload.id_type, payload.data)
        wanted = sa.connection.remote_identity
        if wanted is not None and not identity.matches(wanted):
            raise AuthenticationFailed(f"the peer says it is {identity}, {wanted} is configured")
        check(sa.connection, self.keys, self.context, identity, payload.body, contents, sa.services.utc)
        sa.peer_identity = identity

    def _take_addresses(self, contents: Contents, now: float) -> None:
        """Take what the response assigns to us, asking the application if it wants that, and the Child SA after it."""
        sa = self.sa
        if self.impossible is not None:
            sa.services.emit(ChildSaFailed(sa.id, self.impossible.name, LocalProtocolError(no_host(self.impossible))))
        if not (sa.wants_addresses and sa.connection.ask_acceptance and contents.maybe(Configuration) is not None):
            self._take_child(contents, now)
            return
        try:
            lease = read_reply(sa, contents)
        except InternalAddressFailure as failure:
            self._refuse_child(contents, failure, now)
            return

        def resume(accepted: bool, then: float) -> None:
            if accepted:
                self._take_child(contents, then)
            else:
                self._refuse_child(contents, InternalAddressFailure("the application refused the addresses"), then)

        sa.services.ask(
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
                offer.accept(contents, keys, keys.ni, keys.nr)
            elif sa.wants_addresses and contents.maybe(Configuration) is not None:
                take_addresses(sa, contents)
        except RemoteProtocolError as failure:
            self._refuse_child(contents, failure, now)

    def _refuse_child(self, contents: Contents, failure: RemoteProtocolError, now: float) -> None:
        sa, offer = self.sa, self.offer
        if offer is None:
            return
        sa.services.emit(ChildSaFailed(sa.id, offer.config.name, failure))
        if contents.maybe(SecurityAssociation) is None:
            offer.withdraw()
        else:
            sa.begin(DeleteSpi(sa, offer.spi_in), now)

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

    def answer(self, asked: Incoming, now: float) -> list[Payload] | None:
        """Verify the request; return the response's payloads, or None while the application decides."""
        sa, contents, path, keys = self.sa, asked.contents, asked.path, asked.generation.need_keys()
        if contents.shape not in ("authenticate", "authenticate childless"):
            raise AuthenticationFailed(f"the peer asks for EAP ({contents.shape}), which is not configured")
        payload = contents.one(IdentificationInitiator)
        identity = Identity(payload.id_type, payload.data)
        self.context.authorities = wanted_authorities(contents)
        sa.connection = self._connection(identity, contents)
        settle_facts(sa)
        check(sa.connection, keys, self.context, identity, payload.body, contents, sa.services.utc)
        sa.peer_identity = identity
        sa.timers.clear(Timer.HALF_OPEN)
        sa.services.authenticated(sa, path)
        if not sa.connection.authorize:
            return self._assign(asked, now)
        asked.generation.move(Input.QUESTION_ASKED)
        sa.services.ask(
            sa,
            lambda question, deadline: AuthorizationNeeded(
                question, sa.id, deadline, sa.connection.name, str(identity), path.remote
            ),
            bool,
            False,
            lambda welcome, then: self._resume(welcome, asked, then),
            now,
        )
        return None

    def _connection(self, identity: Identity, contents: Contents) -> Connection:
        """Find the connection by both identities; one that fits nowhere looks like a wrong key.

        Among several, those come first that are for the identity the initiator asked for (we may be someone else, and
        say so: RFC 7296 section 1.2), then those that can check the method it used at all.
        """
        fitting = [
            each for each in self.candidates if each.remote_identity is None or identity.matches(each.remote_identity)
        ]
        if not fitting:
            raise AuthenticationFailed(f"no connection is configured for {identity}")
        asked = contents.maybe(IdentificationResponder)
        wanted = None if asked is None else Identity(asked.id_type, asked.data)
        method = contents.one(Authentication).method
        return min(
            fitting,
            key=lambda each: (
                wanted is not None and each.local_identity != wanted,
                not can_check(each, method),
            ),
        )

    def _resume(self, welcome: bool, asked: Incoming, now: float) -> None:
        if not welcome:
            self._refuse(asked, AuthenticationFailed("the application refused the peer"), now)
            return
        try:
            answer = self._assign(asked, now)
        except AuthenticationFailed as error:
            self._refuse(asked, error, now)
            return
        if answer is not None:
            self.sa.respond(asked, answer, now)

    def _refuse(self, asked: Incoming, error: AuthenticationFailed, now: float) -> None:
        self.sa.respond(asked, [Notification(Notify.AUTHENTICATION_FAILED)], now)
        self.sa.fail(error, "us", now)

    def _assign(self, asked: Incoming, now: float) -> list[Payload] | None:
        """The peer may have the SA. Ask for its addresses, if the application chooses them, then make the response."""
        sa, request = self.sa, read_request(asked.contents)
        if request is None or not request.addresses or not sa.connection.ask_lease:
            return self._accept(asked, now)
        if asked.generation.state is State.HALF_OPEN:
            asked.generation.move(Input.QUESTION_ASKED)

        def resume(lease: Lease | None, then: float) -> None:
            try:
                answer = self._accept(asked, then, Lease() if lease is None else lease)
            except AuthenticationFailed as error:
                self._refuse(asked, error, then)
                return
            sa.respond(asked, answer, then)

        sa.services.ask(
            sa,
            lambda question, deadline: LeaseNeeded(
                question,
                sa.id,
                deadline,
                sa.connection.name,
                str(sa.peer_identity),
                asked.path.remote,
                request.addresses,
                request.attribute_names,
            ),
            (Lease, type(None)),
            None,
            resume,
            now,
        )
        return None

    def _accept(self, asked: Incoming, now: float, chosen: Lease | None = None) -> list[Payload]:
        """Make the response, and with it the SA. Events come first: inbound ESP is ready before the octets leave."""
        sa, path, keys = self.sa, asked.path, asked.generation.need_keys()
        connection = sa.connection
        identity = IdentificationResponder(connection.local_identity.id_type, connection.local_identity.data)
        certificates, auth = prove(connection, keys, self.context, identity.body)
        asked.generation.move(Input.AUTH_VERIFIED)
        sa.timers.set(Timer.FORGET_INIT, now + sa.services.limits.half_open_lifetime)
        sa.transport, sa.transport_reason = path.transport, "the initiator chose it"
        sa.responder = None
        note_window(sa, asked.generation, asked.contents)
        tell_facts(sa)
        announce(sa, path)
        window = window_notification(sa, asked.generation)
        return [identity, *certificates, auth, *self._child(asked, keys, chosen), *window]

    def _child(self, asked: Incoming, keys: SaKeys, chosen: Lease | None) -> list[Payload]:
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
            sa.services.new_child_spi(sa),
            contents,
            initiator=False,
        )
        return [*reply, *answer_payloads(child, agreed)]


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
