"""Every bound of the engine, with its default and the reason for it (design: nothing grows without one)."""

from __future__ import annotations

from typing import Any, Final

import attrs

from .checking import is_number
from .errors import LocalProtocolError

ALLOWED: Final = "allowed"
"""Under this the metadata of each field of `Limits` say in words what it may be."""


def _count(default: int) -> int:
    return attrs.field(default=default, validator=_is_count, metadata={ALLOWED: "whole numbers from 0 on"})


def _window(default: int) -> int:
    return attrs.field(default=default, validator=_is_window, metadata={ALLOWED: "whole numbers from 1 to 256"})


def _seconds(default: float) -> float:
    return attrs.field(default=default, validator=_is_positive, metadata={ALLOWED: "numbers above 0"})


def _factor(default: float) -> float:
    return attrs.field(default=default, validator=_is_factor, metadata={ALLOWED: "numbers from 1 on"})


def _is_count(limits: object, field: attrs.Attribute[Any], value: object) -> None:
    if not is_number(value, int) or value < 0:
        raise LocalProtocolError(f"{field.name}: {value!r} is no count; allowed are {field.metadata[ALLOWED]}")


def _is_window(limits: object, field: attrs.Attribute[Any], value: object) -> None:
    if not is_number(value, int) or not 1 <= value <= 256:
        raise LocalProtocolError(f"{field.name}: {value!r} is no window; allowed are {field.metadata[ALLOWED]}")


def _is_positive(limits: object, field: attrs.Attribute[Any], value: object) -> None:
    if not is_number(value, float) or not value > 0:
        raise LocalProtocolError(f"{field.name}: {value!r} is too little; allowed are {field.metadata[ALLOWED]}")


def _is_factor(limits: object, field: attrs.Attribute[Any], value: object) -> None:
    if not is_number(value, float) or not value >= 1:
        words = field.metadata[ALLOWED]
        raise LocalProtocolError(f"{field.name}: {value!r} would make waits shorter; allowed are {words}")


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds of one endpoint. Counts are of things, sizes of octets, times of seconds.

    A *source* is an IPv4 address or an IPv6 /64: whoever has one address there has them all.
    """

    # Half-open SAs: a responder's memory for strangers.
    half_open_udp: int = _count(1000)
    """IKE_SA_INIT answered over UDP and waiting for IKE_AUTH. Beyond it, even a good cookie is refused."""
    half_open_tcp: int = _count(1000)
    """The same over TCP, counted apart: TCP skips the cookie but costs a handshake, so neither may starve the other."""
    half_open_per_source: int = _count(50)
    """A carrier-grade NAT has many users behind one address; a flood has more."""
    cookie_threshold: int = _count(100)
    """From so many half-open SAs over UDP on, requests need a cookie (RFC 7296 section 2.6)."""
    cookie_lifetime: float = _seconds(30.0)
    """A cookie's secret is changed this often; the one before is accepted as long again."""
    half_open_lifetime: float = _seconds(75.0)
    """A responder waits so long for IKE_AUTH: longer than two of the initiator's longest intervals."""
    establish_timeout: float = _seconds(165.0)
    """An initiator tries so long in all to establish an SA."""
    sas: int = _count(1_000_000)
    """IKE SAs of the endpoint in total."""

    # Addresses for peers.
    addresses_per_sa: int = _count(4)
    """Addresses that one peer may lease: one or two of each family are normal, and a pool is for many peers."""
    addresses_per_identity: int = _count(64)
    """Addresses that one identity may lease at once out of the pools of a connection, with all its IKE SAs: enough for
    the machines of one user, while a pool like a /24 has some left for the others. More where many share an identity.
    """
    past_leases: int = _count(10_000)
    """Addresses of a pool's range kept for identities that may come back, before the oldest is anybody's again."""

    # Messages.
    message_init: int = _count(16_384)
    """Largest IKE_SA_INIT: room for a large key exchange, no more for someone unknown. It is kept until IKE_AUTH."""
    message_known: int = _count(65_535 + 28)
    """Largest message on a stream for SPIs we know: one SK payload and the header."""
    queued_requests: int = _count(64)
    """Requests of one SA that wait for its window."""
    window: int = _window(1)
    """Requests that the peer of an SA may have open at a time: each answer is kept until they cannot be repeated."""
    requests_in_flight: int = _window(8)
    """Requests that we have open at a time, however large a window the peer announces."""
    children: int = _count(64)
    """Child SAs of one IKE SA; the peer is told NO_ADDITIONAL_SAS beyond it."""

    # Rekeying.
    generations: int = _count(4)
    """Pairs of SPIs of one IKE SA: the current one and those that wait for their Delete."""
    rekeyed_lifetime: float = _seconds(240.0)
    """A pair of IKE SPIs, or a Child SA, that the peer replaced and does not delete, we delete after this: later than
    the peer repeats its rekey, since one whose answer is lost knows nothing of the new one yet.
    """
    rekey_wait: float = _seconds(10.0)
    """A rekey whose time has come and that fails is begun again after this; it doubles, to some ten minutes."""
    temporary_failure_wait: float = _seconds(5.0)
    """The least time before a request is repeated that met TEMPORARY_FAILURE (RFC 7296 section 2.25); it doubles."""
    temporary_failure_limit: float = _seconds(300.0)
    """A peer that answers TEMPORARY_FAILURE for so long has lost track, and the IKE SA is closed."""

    # Fragments (RFC 7383 section 5).
    fragments: int = _count(256)
    """Fragments of one message: 64 KiB in the smallest pieces that make sense."""
    fragments_octets: int = _count(65_536)
    """Octets of one message in fragments, decrypted."""
    fragments_wait: float = _seconds(30.0)
    """An incomplete message is forgotten after this."""
    fragments_unproved: int = _count(4_194_304)
    """Octets of fragments kept for all peers that are not authenticated: thousands may be half-open at once, and each
    might leave a message unfinished. Beyond it the peer whose fragments wait for longest loses them, and sends again.
    """
    fragment_tries: int = _count(3)
    """Transmissions in one size of fragments, before smaller ones are tried (RFC 7383 section 2.5.2)."""

    # Retransmission over UDP (RFC 7296 section 2.4: a dozen over several minutes).
    retransmit_first: float = _seconds(1.0)
    retransmit_factor: float = _factor(1.8)
    retransmit_cap: float = _seconds(30.0)
    retransmit_tries: int = _count(12)
    """Transmissions of one request before the SA is given up."""
    response_resends_per_second: float = _seconds(2.0)
    """A stored response is sent again at most this often per path: a repeat proves no address."""
    response_lifetime: float = _seconds(300.0)
    """A stored response is forgotten after this: later than the peer repeats its request (RFC 7296 section 2.1)."""
    stateless_per_second: float = _seconds(200.0)
    """Answers to strangers, without state, in all: INVALID_KE_PAYLOAD, NO_PROPOSAL_CHOSEN, INVALID_MAJOR_VERSION.
    Beyond it whoever could be told one of the first two shows its address by a cookie first; and if so many bring
    public values that are none, for each of which we made a key pair, so does everybody for `cookie_lifetime`.
    """
    unknown_spi_per_second: int = _count(10)
    """Requests for SAs that we do not know, answered with INVALID_IKE_SPI, in all: a peer learns that we forgot it.
    With 0 none is answered (RFC 7296 section 2.21.4 leaves that open)."""
    hint_interval: float = _seconds(30.0)
    """An unauthenticated error makes us look after the peer at most this often per SA: anyone can forge one."""
    hints_per_second: int = _count(20)
    """The same for all SAs together."""
    path_wait: float = _seconds(120.0)
    """So long a request waits for a UDP path of an SA that came up over TCP alone, before the SA is given up."""
    init_error_wait: float = _seconds(10.0)
    """An unprotected error in IKE_SA_INIT over UDP may be forged: so long we wait for a better answer."""
    cookie_rounds: int = _count(4)
    """Cookies and corrected groups followed in one IKE_SA_INIT."""

    # Streams.
    streams: int = _count(4096)
    streams_per_source: int = _count(64)
    stream_connect_timeout: float = _seconds(5.0)
    """A connection attempt is given up after this, and the request falls back."""
    stream_first_message: float = _seconds(5.0)
    """An accepted stream has to bring a first whole message in this time."""
    stream_message: float = _seconds(10.0)
    """A begun message has to be whole in this time."""
    streams_unproved: int = _count(16_777_216)
    """Octets of messages that are not whole yet, on the connections of all peers that are not authenticated: thousands
    may each leave a large one unfinished. Beyond it the connection that has kept some for longest is reset; an honest
    message is whole in a moment, and its sender tries again.
    """
    stream_idle: float = _seconds(5.0)
    """A stream with nothing owed on it is closed after this: "a few seconds" (the draft, section 2.2)."""
    stream_answer_timeout: float = _seconds(20.0)
    """A request on a stream unanswered for so long is tried another way; the stream is reset."""
    stream_linger: float = _seconds(2.0)
    """After our FIN, input is read and dropped until EOF or this; closing with unread input would lose our last words.
    """
    stream_unsent: int = _count(262_144)
    """Octets queued to a peer that does not read, before its stream is reset."""
    failed_memory: float = _seconds(60.0)
    """A transport that failed with a configured peer comes after the others for so long: anyone can forge a reset."""
    stream_attempts: int = _count(2)
    """Connections opened for one request before it goes by UDP."""

    # Questions and refusals.
    question_timeout: float = _seconds(30.0)
    questions: int = _count(10_000)
    early_questions_per_second: float = _seconds(20.0)
    """Questions about peers that have proved nothing yet: which secret, what is behind a URL. Beyond it they are
    refused unasked."""
    refused_event_interval: float = _seconds(1.0)
    """`Refused` is said at most so often per reason."""
    delete_timeout: float = _seconds(20.0)
    """An SA whose Delete is not answered is gone after this anyway."""
