"""One endpoint with its outputs on a table, and a peer that does as it is told.

`Rig` holds an endpoint and a clock that only a test moves. `Puppet` speaks IKE with the pieces of ikecore but keeps no
rules: it has the keys, so what it sends gets past the ICV, however wrong it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from ikecore.config import ChildConfig, Config, Connection
from ikecore.crypto import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    Identity,
    KeyAgreement,
    choose_proposal,
    derive_ike_keys,
    generate,
    ike_suite,
    pad_secret,
    psk_auth,
    signed_octets,
)
from ikecore.endpoint import Endpoint
from ikecore.events import Event
from ikecore.framing import MARKER
from ikecore.limits import Limits
from ikecore.outputs import Address, Output, QuestionId, SaId, SendDatagram, StreamId, WriteStream
from ikecore.questions import Question
from ikecore.sa.keys import SaKeys
from ikecore.sa.selectors import host_selector
from ikecore.testing import NOON, psk_connection
from ikecore.transport import Local, nat_digest
from ikecore.wire import (
    Authentication,
    Header,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Transform,
    decode_envelope,
    decode_header,
    decode_payloads,
    encode_message,
    encode_payloads,
)
from ikecore.wire.numbers import INITIATOR, RESPONSE, AuthMethod, Exchange, IdType, Notify, Protocol, TransformType
from ikecore.wire.proposal import numbered

__all__ = ["HERE", "NAT_HERE", "NAT_THERE", "SECRET", "THERE", "Puppet", "Rig", "notifications"]

E = TypeVar("E", bound=Output)

THERE: Address = ("10.0.0.1", 500)
"""Where the puppet is."""
NAT_THERE: Address = ("10.0.0.1", 4500)
HERE: Address = ("10.0.0.2", 500)
"""Where the endpoint under test is."""
NAT_HERE: Address = ("10.0.0.2", 4500)
QUIET = Limits(unknown_spi_per_second=0)
"""Whoever names an SA that is none gets no word: most tests look for answers of SAs."""
SECRET = b"a secret for tests, known to both"


class Rig:
    """An endpoint on its own. Outputs are drained after every call that goes through the rig."""

    def __init__(
        self,
        *connections: Connection,
        limits: Limits | None = None,
        trace: bool = False,
        tcp: bool = True,
        udp: bool = True,
        raise_bugs: bool = True,
        seed: int = 0,
        config: Config | None = None,
        new_spi: Callable[[], bytes] | None = None,
        random_octets: Callable[[int], bytes] | None = None,
    ) -> None:
        self.connections = connections or (psk_connection("responder"),)
        self.endpoint = Endpoint(
            config or Config(connections=self.connections, limits=limits or QUIET, trace=trace),
            random=random_octets or random.Random(seed).randbytes,
            utc=lambda: NOON,
            raise_bugs=raise_bugs,
            new_spi=new_spi,
        )
        self.now = 100.0
        self.outputs: list[Output] = []
        """Everything that came out, in order."""
        if udp:
            self.endpoint.local_added(Local(HERE), now=self.now)
            self.endpoint.local_added(Local(NAT_HERE, marker=True), now=self.now)
        if tcp:
            self.endpoint.local_added(Local(HERE, "tcp"), now=self.now)

    def drain(self) -> list[Output]:
        """Take what has come out since the last time."""
        new = list(self.endpoint.outputs())
        self.outputs += new
        return new

    def datagram(self, data: bytes, *, remote: Address = THERE, local: Address = HERE) -> list[Output]:
        """Feed one datagram, marker included where the socket wants one; return what comes out."""
        self.endpoint.datagram_received(data, local=local, remote=remote, now=self.now)
        return self.drain()

    def run_for(self, seconds: float) -> list[Output]:
        """Let time pass, with the timer expiring at every deadline; return what comes out."""
        until, new = self.now + seconds, self.drain()
        while (deadline := self.endpoint.deadline) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.endpoint.timer_expired(now=self.now)
            new += self.drain()
        self.now = until
        return new

    def initiate(self, connection: Connection | None = None, remotes: Sequence[str] = (THERE[0],)) -> SaId:
        """Wish for an SA with the puppet."""
        chosen = connection or psk_connection("initiator")
        sa = self.endpoint.initiate(chosen, list(remotes), now=self.now)
        self.drain()
        return sa

    def of(self, *kinds: type[E]) -> list[E]:
        """Return all outputs of these classes so far."""
        return [output for output in self.outputs if isinstance(output, kinds)]

    def one(self, kind: type[E]) -> E:
        """Return the only output of this class."""
        found = self.of(kind)
        assert len(found) == 1, f"{len(found)} of {kind.__name__}: {found}"
        return found[0]

    def last(self, kind: type[E]) -> E:
        """Return the latest output of this class."""
        return self.of(kind)[-1]

    def last_question(self) -> QuestionId:
        """Return the handle of the latest question."""
        return self.of(Question)[-1].question

    @property
    def events(self) -> list[Event]:
        return self.of(Event)

    def picture(self) -> dict[str, Any]:
        """Return what an application can see, to show that something changed nothing."""
        endpoint = self.endpoint
        return {
            "sas": [endpoint.sa(sa) for sa in endpoint.sas],
            "deadline": endpoint.deadline,
            "idle": endpoint.idle,
        }


class Puppet:
    """A peer with keys and without principles, by default an initiator at `THERE` that uses UDP port 500.

    With *stream* it sends by that accepted connection instead. `give` returns the IKE messages that came back the way
    they were sent.
    """

    def __init__(
        self,
        rig: Rig,
        role: Literal["initiator", "responder"] = "initiator",
        *,
        address: Address = THERE,
        local: Address = HERE,
        stream: StreamId | None = None,
        proposals: tuple[Proposal, ...] = DEFAULT_IKE_PROPOSALS,
        secret: bytes = SECRET,
        seed: int = 1,
    ) -> None:
        self.rig = rig
        self.role: Literal["initiator", "responder"] = role
        self.address, self.local, self.stream = address, local, stream
        self.proposals = numbered(proposals)
        self.secret = secret
        self.random = random.Random(seed)
        self.spi = self.random.randbytes(8)
        self.peer_spi = bytes(8)
        self.nonce = self.random.randbytes(32)
        self.peer_nonce = b""
        group = next(each.id for each in self.proposals[0].transforms if each.type == TransformType.KE)
        self.agreement: KeyAgreement = generate(group, self.random.randbytes)
        self.keys: SaKeys | None = None
        self.init_sent = self.init_received = b""
        self.next_id = 1 if role == "initiator" else 0
        """Message ID of the next request."""
        self.spi_in = self.random.randbytes(4)
        self.peer_spi_in = b""

    # --- sending ------------------------------------------------------------------------------------------------------

    def give(self, data: bytes) -> list[bytes]:
        """Send one message as it is; return the messages that come back by the same path."""
        rig = self.rig
        if self.stream is not None:
            rig.endpoint.stream_received(self.stream, data, now=rig.now)
            new = rig.drain()
            return [each.data for each in new if isinstance(each, WriteStream) and each.stream == self.stream]
        marked = self.local[1] == 4500
        return self.taken(rig.datagram(MARKER + data if marked else data, remote=self.address, local=self.local))

    def taken(self, outputs: Sequence[Output]) -> list[bytes]:
        """Return the messages among *outputs* that are for this puppet, by UDP."""
        return [
            each.data.removeprefix(MARKER)
            for each in outputs
            if isinstance(each, SendDatagram) and (each.local, each.remote) == (self.local, self.address)
        ]

    def connect(self, port: int = 40_000) -> StreamId:
        """Open a connection to the endpoint's listener and use it from now on."""
        rig = self.rig
        self.address, self.local = (self.address[0], port), HERE
        self.stream = rig.endpoint.stream_accepted(local=HERE, remote=self.address, now=rig.now)
        rig.drain()
        return self.stream

    # --- IKE_SA_INIT --------------------------------------------------------------------------------------------------

    @property
    def spis(self) -> tuple[bytes, bytes]:
        return (self.spi, self.peer_spi) if self.role == "initiator" else (self.peer_spi, self.spi)

    @property
    def nonces(self) -> tuple[bytes, bytes]:
        return (self.nonce, self.peer_nonce) if self.role == "initiator" else (self.peer_nonce, self.nonce)

    def nat_detection(self) -> list[Payload]:
        """The notifications of a peer without a NAT in between."""
        return [
            Notification(Notify.NAT_DETECTION_SOURCE_IP, nat_digest(*self.spis, self.address)),
            Notification(Notify.NAT_DETECTION_DESTINATION_IP, nat_digest(*self.spis, self.local)),
        ]

    def init_payloads(self) -> list[Payload]:
        """The payloads of an honest IKE_SA_INIT request."""
        return [
            SecurityAssociation(self.proposals),
            KeyExchange(self.agreement.group, self.agreement.public),
            Nonce(self.nonce),
            *self.nat_detection(),
        ]

    def init_message(
        self, payloads: Sequence[Payload] | None = None, *, flags: int | None = None, message_id: int = 0
    ) -> bytes:
        """An IKE_SA_INIT message of this puppet's role."""
        return encode_message(
            spi_i=self.spis[0],
            spi_r=self.spis[1],
            exchange=Exchange.IKE_SA_INIT,
            flags=(INITIATOR if self.role == "initiator" else RESPONSE) if flags is None else flags,
            message_id=message_id,
            payloads=self.init_payloads() if payloads is None else payloads,
        )

    def begin(self, payloads: Sequence[Payload] | None = None) -> None:
        """As initiator: have IKE_SA_INIT answered, and derive the keys."""
        self.init_sent = self.init_message(payloads)
        (response,) = self.give(self.init_sent)
        self.take_init(response)

    def take_init(self, data: bytes) -> None:
        """Derive the keys from the other's IKE_SA_INIT message, a response (we initiate) or a request."""
        self.init_received = data
        envelope = decode_envelope(data)
        self.peer_spi = envelope.header.spi_r if self.role == "initiator" else envelope.header.spi_i
        by_type = {type(payload): payload for payload in envelope.payloads}
        offer, exchange, nonce = (by_type[kind] for kind in (SecurityAssociation, KeyExchange, Nonce))
        assert isinstance(offer, SecurityAssociation)
        assert isinstance(exchange, KeyExchange)
        assert isinstance(nonce, Nonce)
        self.peer_nonce = nonce.data
        chosen: Proposal | None = offer.proposals[0]
        if self.role == "responder":
            chosen = choose_proposal(
                offer.proposals,
                self.proposals,
                protocol=Protocol.IKE,
                spi_size=0,
                with_group=True,
                group=exchange.group,
            )
        assert chosen is not None
        self.chosen = chosen
        suite = ike_suite(chosen)
        derived = derive_ike_keys(suite, self.agreement.shared(exchange.data), *self.nonces, *self.spis)
        self.keys = SaKeys.make(self.role, self.spis, suite, self.nonces, derived, self.random.randbytes)

    def answer_init(self, request: bytes | None = None, extra: Sequence[Payload] = ()) -> list[bytes]:
        """As responder: answer the IKE_SA_INIT *request*, by default the last datagram; return what comes back."""
        if request is None:
            request = self.taken(self.rig.outputs)[-1]
        self.take_init(request)
        self.init_sent = self.init_message(self.init_answer(extra))
        return self.give(self.init_sent)

    def init_answer(self, extra: Sequence[Payload] = ()) -> list[Payload]:
        """The payloads of an honest IKE_SA_INIT response, once `take_init` has seen the request."""
        return [
            SecurityAssociation((self.chosen,)),
            KeyExchange(self.agreement.group, self.agreement.public),
            Nonce(self.nonce),
            *self.nat_detection(),
            *extra,
        ]

    # --- protected messages -------------------------------------------------------------------------------------------

    def seal(
        self,
        exchange: int,
        payloads: Sequence[Payload] = (),
        *,
        message_id: int | None = None,
        response: bool = False,
        flags: int = 0,
    ) -> bytes:
        """Return a protected message; its Message ID is the next one of our requests unless it is given."""
        first, octets = encode_payloads(payloads)
        return self.seal_octets(exchange, first, octets, message_id=message_id, response=response, flags=flags)

    def seal_octets(
        self,
        exchange: int,
        first: int,
        octets: bytes,
        *,
        message_id: int | None = None,
        response: bool = False,
        flags: int = 0,
    ) -> bytes:
        """Protect any octets as the chain of inner payloads."""
        assert self.keys is not None
        flags |= RESPONSE if response else 0
        number = self.next_id if message_id is None else message_id
        return self.keys.seal(exchange, flags, number, first, octets)

    def open(self, data: bytes) -> tuple[Header, list[Payload]]:
        """Open a protected message of the endpoint."""
        assert self.keys is not None
        envelope = decode_envelope(data)
        assert envelope.encrypted is not None
        plaintext = self.keys.open(envelope)
        inner = decode_payloads(envelope.encrypted.inner_first, plaintext, 0, len(plaintext))
        return envelope.header, [*envelope.payloads, *inner]

    def request(self, exchange: int, payloads: Sequence[Payload] = ()) -> list[Payload]:
        """Send a request and return the payloads of its response, which has to come."""
        (answer,) = self.give(self.seal(exchange, payloads))
        header, contents = self.open(answer)
        assert header.is_response
        assert header.message_id == self.next_id
        self.next_id += 1
        return contents

    def requests(self, outputs: Sequence[Output] | None = None) -> list[tuple[Header, list[Payload]]]:
        """Open the endpoint's own protected requests among *outputs* (by default all so far)."""
        found = []
        for data in self.taken(self.rig.outputs if outputs is None else outputs):
            header = decode_header(data)
            if header.is_request and header.exchange != Exchange.IKE_SA_INIT:
                found.append(self.open(data))
        return found

    # --- IKE_AUTH -----------------------------------------------------------------------------------------------------

    def auth(
        self,
        child: bool | ChildConfig = True,
        *,
        identity: str | None = None,
        secret: bytes | None = None,
        method: int = AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE,
    ) -> list[Payload]:
        """The payloads of an honest IKE_AUTH message of this puppet's role, with a pre-shared key."""
        assert self.keys is not None
        initiator = self.role == "initiator"
        us = Identity.parse(identity or f"{self.role}.example")
        kind = IdentificationInitiator if initiator else IdentificationResponder
        payload: IdentificationInitiator | IdentificationResponder = kind(IdType(us.id_type), us.data)
        prf = self.keys.suite.prf
        sk_p = self.keys.ike.sk_pi if initiator else self.keys.ike.sk_pr
        octets = signed_octets(self.init_sent, self.peer_nonce, prf, sk_p, payload.body)
        mac = psk_auth(prf, pad_secret(prf, self.secret if secret is None else secret), octets)
        return [payload, Authentication(method, mac), *(self.child_payloads() if child else [])]

    def child_payloads(self) -> list[Payload]:
        """Payloads that offer (as initiator) or grant (as responder) a Child SA between the two hosts."""
        initiator = self.role == "initiator"
        ours, theirs = host_selector(self.address[0]), host_selector(self.local[0])
        return [
            SecurityAssociation(esp_proposals(self.spi_in, only_first=not initiator)),
            TrafficSelectorsInitiator((ours if initiator else theirs,)),
            TrafficSelectorsResponder((theirs if initiator else ours,)),
        ]

    def authenticate(self, child: bool = True) -> list[Payload]:
        """As initiator: go through IKE_AUTH and return the payloads of the response."""
        answer = self.request(Exchange.IKE_AUTH, self.auth(child))
        for payload in answer:
            if isinstance(payload, SecurityAssociation):
                self.peer_spi_in = payload.proposals[0].spi
        return answer

    def answer_auth(self, payloads: Sequence[Payload] | None = None) -> list[bytes]:
        """As responder: answer IKE_AUTH."""
        for _, contents in self.requests():
            for payload in contents:
                if isinstance(payload, SecurityAssociation):
                    self.peer_spi_in = payload.proposals[0].spi
        return self.give(
            self.seal(Exchange.IKE_AUTH, self.auth() if payloads is None else payloads, message_id=1, response=True)
        )

    def establish(self) -> SaId:
        """Set up an SA in this puppet's role; return the endpoint's handle of it."""
        if self.role == "initiator":
            self.begin()
            self.authenticate()
        else:
            self.rig.initiate()
            self.answer_init()
            self.answer_auth()
        return self.rig.endpoint.sas[-1]


def esp_proposals(spi: bytes, *, only_first: bool = False) -> tuple[Proposal, ...]:
    """Our default ESP proposals as IKE_AUTH offers them; *only_first* as it grants the first."""
    offered = tuple(
        Proposal(
            number,
            proposal.protocol,
            spi,
            tuple(each for each in proposal.transforms if each.type != TransformType.KE),
        )
        for number, proposal in enumerate(DEFAULT_ESP_PROPOSALS, 1)
    )
    if not only_first:
        return offered
    kept: dict[int, Transform] = {}
    for transform in offered[0].transforms:
        kept.setdefault(transform.type, transform)
    return (Proposal(1, offered[0].protocol, spi, tuple(kept.values())),)


def notifications(payloads: Sequence[Payload]) -> list[int]:
    """Return the types of the notifications among *payloads*."""
    return [payload.notify_type for payload in payloads if isinstance(payload, Notification)]
