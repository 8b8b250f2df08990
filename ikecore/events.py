"""What the core tells the application: facts in past tense. What it asks is in `questions`.

The set is open: ignore what you do not know. Every value is small, has a readable repr and `to_dict()`, and shows no
secret; keys leave the core only through `export_keys()`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from .addressing import Lease
from .errors import forget_frames
from .outputs import Address, ChildId, Output, RequestId, SaId, StreamId
from .record import record

Role: TypeAlias = Literal["initiator", "responder"]
"""The original role of an endpoint in an IKE SA (it outlives the exchanges, RFC 7296 section 2.2)."""
Transport: TypeAlias = Literal["udp", "tcp"]


@record
class IkeKeyMaterial:
    """The keys of an IKE SA (RFC 7296 section 2.14), named as there, with what a dissector needs to use them.

    *encryption* and *integrity* are IANA names ("AES_GCM_16-256", "HMAC_SHA2_256_128" or "NONE").
    """

    spi_i: bytes
    spi_r: bytes
    encryption: str
    integrity: str
    sk_d: bytes = attrs.field(repr=False)
    sk_ai: bytes = attrs.field(repr=False)
    sk_ar: bytes = attrs.field(repr=False)
    sk_ei: bytes = attrs.field(repr=False)
    sk_er: bytes = attrs.field(repr=False)
    sk_pi: bytes = attrs.field(repr=False)
    sk_pr: bytes = attrs.field(repr=False)


@record
class ChildKeyMaterial:
    """KEYMAT of a Child SA (RFC 7296 section 2.17), by our direction: *in* protects what we receive."""

    encr_in: bytes = attrs.field(repr=False)
    integ_in: bytes = attrs.field(repr=False)
    encr_out: bytes = attrs.field(repr=False)
    integ_out: bytes = attrs.field(repr=False)


class Event(Output):
    """Base of all events."""

    __slots__ = ()


# --- the IKE SA and its Child SAs ---------------------------------------------------------------------------------


@record
class IkeSaEstablished(Event):
    """Both sides are authenticated. *suite* is in words; *transport* says what carried IKE_AUTH, *reason* why."""

    sa: SaId
    connection: str
    role: Role
    local_identity: str
    peer_identity: str
    spi_i: bytes
    spi_r: bytes
    suite: str
    transport: Transport
    reason: str
    remote: Address


@record
class IkeSaFailed(Event):
    """An IKE SA ended before it was established, in *step* (an exchange by name). *error* is the typed error.

    *claimed_identity* is who the peer said it is, if it came to that; it has not proved it.
    """

    sa: SaId
    connection: str
    role: Role
    step: str
    error: Exception
    remote: Address | None
    claimed_identity: str | None = None

    def __attrs_post_init__(self) -> None:
        forget_frames(self.error)


@record
class IkeSaClosed(Event):
    """An established IKE SA is gone, with all its Child SAs. *by* tells who ended it."""

    sa: SaId
    reason: str
    by: Literal["us", "peer", "silence", "error"]


@record
class ChildSaEstablished(Event):
    """A Child SA is ready: install the inbound half before you carry out the next output.

    *spi_in* is what the peer puts into packets to us, *spi_out* what we put into packets to it (4 octets each).
    *local_ts* and *remote_ts* are selectors in words ("10.0.0.0/24", "10.0.0.1-10.0.0.9 udp/53").
    *udp_encapsulation* is true where a NAT was found or forced, so that ESP has to travel in UDP (RFC 3948): between
    *local*, our socket with the marker, and *remote*. Without it the ports are 0, and ESP goes over IP between these
    hosts. Both are None while a NAT demands UDP and the peer has shown no path for it, as after a set-up over TCP
    alone. When they change, `PathChanged` says so for all Child SAs of the SA at once.

    *replaces* is the Child SA that this one was made to replace, None for a new one; accept packets by both until that
    one is closed. With *peer_ready* the peer can receive by this one already, since it has answered us: send by it from
    now on. Else the answer has yet to reach the peer: send by the replaced one until a packet comes by this one, or
    that one is closed (RFC 7296 section 2.8).

    *original_local* and *original_remote* are, in transport mode through a NAT, the addresses of both sides as the peer
    has them in its packets: checksums are about those (RFC 7296 section 2.23.1, RFC 3948 section 3.1.2). The peer
    takes packets with TFC padding (RFC 4303 section 2.7) if *tfc_padding*, and both sides agreed on other fragments
    than the first if *non_first_fragments* (RFC 4301 section 7). With *additional_ts_possible* the responder would have
    granted more selectors, in another Child SA.
    """

    sa: SaId
    child: ChildId
    name: str
    protocol: Literal["esp"]
    mode: Literal["tunnel", "transport"]
    spi_in: bytes
    spi_out: bytes
    suite: str
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    udp_encapsulation: bool
    local: Address | None
    remote: Address | None
    replaces: ChildId | None
    keys: ChildKeyMaterial = attrs.field(repr=False, eq=False, metadata={"secret": True})
    original_local: str | None = None
    original_remote: str | None = None
    tfc_padding: bool = True
    non_first_fragments: bool = False
    additional_ts_possible: bool = False
    peer_ready: bool = False

    def export_keys(self) -> ChildKeyMaterial:
        """Return the Child SA's keys."""
        return self.keys


@record
class AddressesAssigned(Event):
    """One side has addresses from the other, for the life of the IKE SA: the peer if *to_peer*, else we.

    Comes before the Child SA that uses them. An initiator should configure *lease* before it sends through that.
    """

    sa: SaId
    lease: Lease
    to_peer: bool


@record
class ChildSaFailed(Event):
    """A Child SA could not be made; the IKE SA lives (RFC 7296 section 1.2)."""

    sa: SaId
    name: str
    error: Exception

    def __attrs_post_init__(self) -> None:
        forget_frames(self.error)


@record
class ChildSaClosed(Event):
    """A Child SA is gone: remove both halves."""

    sa: SaId
    child: ChildId
    spi_in: bytes
    spi_out: bytes
    reason: str
    by: Literal["us", "peer", "silence", "error"]


@record
class LifetimeReached(Event):
    """The time has come to "rekey", "reauthenticate" or "delete" an SA: the Child SA *child*, or the IKE SA for None.

    One whose time has come to be deleted is not to be used any longer; its closing follows when the peer has answered.
    """

    sa: SaId
    child: ChildId | None
    action: Literal["rekey", "reauthenticate", "delete"]
    reason: str


@record
class SuccessorBegun(Event):
    """The engine sets up the IKE SA *successor* in place of *sa* by itself, because of *reason*.

    Either *sa* is to be replaced, its peers authenticating anew, or it ends in silence and is begun anew. This comes
    before the event that tells of the end of *sa*: what follows one SA from here to the next misses nothing.
    """

    sa: SaId
    successor: SaId
    reason: str


@record
class IkeSaReauthenticated(Event):
    """The IKE SA *successor* has taken over from *sa*, with all its Child SAs; *sa* is deleted now."""

    sa: SaId
    successor: SaId


@record
class RequestCompleted(Event):
    """The wish *request* was fulfilled. *child* is the Child SA that was wished for, or made by a rekey."""

    sa: SaId
    request: RequestId
    what: str
    child: ChildId | None = None


@record
class RequestFailed(Event):
    """The wish *request* came to nothing, because of *error*: `SaClosed` where the IKE SA was deleted before."""

    sa: SaId
    request: RequestId
    what: str
    error: Exception

    def __attrs_post_init__(self) -> None:
        forget_frames(self.error)


# --- decisions a user would ask about ------------------------------------------------------------------------------


@record
class TransportChosen(Event):
    """The request goes by *transport*, because of *reason*. *octets* is its size, *expected* that of the response.

    Both are what the choice was made on: IKE_SA_INIT has no octets before its path is known, and counts as 500.
    *fragments* is the number of IKE fragments (RFC 7383) that carry it, each of at most *fragment_octets* octets of
    IKE; 0 where it goes whole.
    """

    sa: SaId
    exchange: str
    message_id: int
    octets: int
    expected: int
    transport: Transport
    reason: str
    fragments: int = 0
    fragment_octets: int = 0


@record
class TransportSwitched(Event):
    """A request in flight moved to another transport; or, over UDP, to IKE fragments, smaller ones, or to none.

    *fragments* and *fragment_octets* are as in `TransportChosen`.
    """

    sa: SaId
    exchange: str
    message_id: int
    before: Transport
    after: Transport
    reason: str
    fragments: int = 0
    fragment_octets: int = 0


@record
class NatDetected(Event):
    """IKE_SA_INIT showed a NAT (RFC 7296 section 2.23): in front of us, of the peer, or both.

    *forced*: our configuration makes the peer believe in one (`Transports.force_encapsulation`).
    """

    sa: SaId
    local_behind_nat: bool
    peer_behind_nat: bool
    forced: bool = False


@record
class PathChanged(Event):
    """Datagrams of this SA go between other addresses from now on, because of *reason*.

    So does ESP of every Child SA that it has: in UDP between these ports with *udp_encapsulation*, else over IP between
    these hosts. A path without the marker (port 500) never carries ESP.
    """

    sa: SaId
    local: Address
    remote: Address
    reason: str
    udp_encapsulation: bool


@record
class UdpPathMissing(Event):
    """A request of ours has to wait: the SA came up over TCP, and the peer has shown no UDP path yet."""

    sa: SaId
    exchange: str
    message_id: int


@record
class SpisChanged(Event):
    """The SA is known by other SPIs, because its IKE_SA_INIT began anew or was answered, or it was *rekeyed*.

    After a rekey it has other keys too, and whoever began that is the initiator that *spi_i* belongs to.
    """

    sa: SaId
    spi_i: bytes
    spi_r: bytes
    reason: str
    rekeyed: bool = False


@record
class TcpAnnounced(Event):
    """The peer announced IKE over TCP at *port*. *usable* is false where our rules forbid that port; see *reason*."""

    sa: SaId
    port: int
    usable: bool
    reason: str


@record
class OwnCertificateOutOfDate(Event):
    """We prove ourselves with a certificate that the peer will not accept if its clock is right; *reason* says why."""

    sa: SaId
    connection: str
    reason: str


@record
class CookieReceived(Event):
    """The responder is under load and demanded a cookie; the request is repeated on the same transport."""

    sa: SaId
    transport: Transport


@record
class RefusalReceived(Event):
    """From *remote*, over UDP, came an answer to our IKE_SA_INIT with which there is no SA, for the reason *error*.

    It is not protected, so that the peer or anybody in its name has sent it (RFC 7296 section 2.21.1). It counts only
    if nothing better comes within *seconds* from the first one on.
    """

    sa: SaId
    remote: Address
    error: Exception
    seconds: float

    def __attrs_post_init__(self) -> None:
        forget_frames(self.error)


@record
class CookiesDemanded(Event):
    """So many half-open SAs wait that IKE_SA_INIT over UDP needs a cookie; or, *active* false, needs none any more."""

    active: bool
    half_open: int


@record
class KeyExchangeRetried(Event):
    """The responder wants key exchange method *wanted* instead of *offered* (INVALID_KE_PAYLOAD)."""

    sa: SaId
    offered: str
    wanted: str


@record
class Refused(Event):
    """Something from *source* was turned away for *reason*, *count* times since the last such event (rate-limited)."""

    what: str
    source: Address
    reason: str
    count: int


@record
class StreamChanged(Event):
    """A stream changed its state (see `ikecore.transport.StreamState`), because of *reason*."""

    stream: StreamId
    remote: Address
    state: str
    reason: str


@record
class InternalError(Event):
    """A bug of ours. The one SA concerned, if any, is gone; all others live. Please report *detail*."""

    sa: SaId | None
    detail: str


# --- messages, only with Config.trace --------------------------------------------------------------------------------


@record
class MessageSent(Event):
    """One message left: *octets* of IKE (without marker or prefix) by *transport*. *reason* says why that one.

    *fragments* is the number of IKE fragments that it was sent in, *octets* those of all; 0 where it was whole.
    """

    sa: SaId | None
    exchange: str
    message_id: int
    is_response: bool
    octets: int
    transport: Transport
    local: Address
    remote: Address
    repeat: bool
    reason: str
    payloads: tuple[str, ...]
    fragments: int = 0


@record
class MessageReceived(Event):
    """One message came in and was accepted; *payloads* by name, those inside SK included.

    *fragments* is the number of IKE fragments that it was put together from, *octets* those of all; 0 where it was
    whole.
    """

    sa: SaId | None
    exchange: str
    message_id: int
    is_response: bool
    octets: int
    transport: Transport
    local: Address
    remote: Address
    repeat: bool
    payloads: tuple[str, ...]
    fragments: int = 0


@record
class MessageDropped(Event):
    """Octets came in that have no effect, because of *reason*."""

    octets: int
    transport: Transport
    remote: Address
    reason: str


@record
class IkeKeysDerived(Event):
    """The SA has keys now (not yet authenticated): what a Wireshark key table needs."""

    sa: SaId
    keys: IkeKeyMaterial = attrs.field(repr=False, eq=False, metadata={"secret": True})

    def export_keys(self) -> IkeKeyMaterial:
        """Return the IKE SA's keys."""
        return self.keys
