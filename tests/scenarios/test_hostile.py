"""Peers, strangers and paths that mean harm: nothing half-done stays behind, nobody else notices, nothing grows."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import attrs
import pytest

from ikecore import (
    AuthenticationFailed,
    ChildSaEstablished,
    Config,
    CookiesDemanded,
    Endpoint,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    Limits,
    Local,
    MessageReceived,
    MessageSent,
    Refused,
    RequestCompleted,
    SaId,
    Transports,
    UdpOnly,
)
from ikecore.testing import NOON, BareEndpoint, BareStream, Host, Insider, Mangler, Pair, Tcp, psk_connection
from ikecore.wire import (
    Authentication,
    Delete,
    Header,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    Transform,
    UnknownPayload,
    VendorId,
    decode_message,
    encode_message,
)
from ikecore.wire.numbers import INITIATOR, RESPONSE, Exchange, Protocol
from tests.scenarios.agreement import assert_agreement, assert_nothing_left, datagrams, outcome

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.9"
VICTIM = (B, 500)
BARE = Config(connections=[psk_connection("responder")])
"""A responder without trace: its events are those that an operator sees."""

# --- payloads missing, doubled, unknown, in any order (B2), and then all anew (B6) ------------------------------------

Mutation = Callable[[list[Payload]], list[Payload]]


def without(index: int) -> Mutation:
    return lambda payloads: [each for place, each in enumerate(payloads) if place != index]


def doubled(index: int) -> Mutation:
    return lambda payloads: payloads[: index + 1] + payloads[index:]


def reverse(payloads: list[Payload]) -> list[Payload]:
    return payloads[::-1]


def plus(*more: Payload) -> Mutation:
    return lambda payloads: [*payloads, *more]


def instead(*others: Payload) -> Mutation:
    return lambda payloads: list(others)


MUTATIONS: dict[str, Mutation] = {
    **{f"without {index}": without(index) for index in range(7)},
    **{f"{index} doubled": doubled(index) for index in range(7)},
    "reversed": reverse,
    "empty": instead(),
    "an unknown payload": plus(UnknownPayload(200, False, b"what?")),
    "a critical unknown payload": plus(UnknownPayload(200, True, b"what?")),
    "an IKEv1 payload": plus(UnknownPayload(1, False, b"old")),
    "many vendors": plus(*[VendorId(b"vendor")] * 200),
    "too many payloads": plus(*[VendorId(b"")] * 1000),
    "no proposals": plus(SecurityAssociation(())),
    "many proposals": plus(SecurityAssociation(tuple([Proposal(1, 3, b"1234", (Transform(1, 12),))] * 200))),
    "an error": plus(Notification(14)),
    "an error alone": instead(Notification(24)),
    "an unknown error": instead(Notification(8191)),
    "an unknown status": plus(Notification(65000, b"\xff" * 300)),
    "a Delete": plus(Delete(Protocol.IKE)),
    "a Delete alone": instead(Delete(Protocol.IKE)),
    "a second nonce": plus(Nonce(b"n" * 32)),
    "control characters": plus(VendorId(b"\x1b[2J\r\n%s\x00")),
}


def mutate(pair: Pair, message: int, mutation: Mutation) -> None:
    """Apply *mutation* to one message of the handshake: 0 and 1 are IKE_SA_INIT, 2 and 3 IKE_AUTH."""

    def unprotected(data: bytes) -> bytes:
        header, payloads = decode_message(data)
        return encode_message(
            spi_i=header.spi_i,
            spi_r=header.spi_r,
            exchange=header.exchange,
            flags=header.flags,
            message_id=header.message_id,
            payloads=mutation(payloads),
        )

    if message < 2:
        Mangler(pair.network, source=(A, B)[message], every=unprotected_only(unprotected))
        return

    def protected(header: Header, payloads: list[Payload]) -> Sequence[Payload]:
        return mutation(payloads) if header.exchange == Exchange.IKE_AUTH else payloads

    Insider(pair.initiator).rewrite(protected, source=(A, B)[message - 2])


def unprotected_only(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: change(data) if data[18] == Exchange.IKE_SA_INIT else data


@pytest.mark.requirement("IKE-160", "IKE-189")
@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("message", range(4))
def test_mutated_messages_fail_clearly_or_do_no_harm_and_the_next_attempt_works(message: int, name: str) -> None:
    pair = Pair()
    mutate(pair, message, MUTATIONS[name])
    first = pair.initiate()
    pair.run_for(400.0)
    [result] = outcome(pair.initiator)
    if isinstance(result, IkeSaEstablished):
        # The last word, if it was refused, may have reached the responder only.
        for host in (pair.initiator, pair.responder):
            for sa in host.endpoint.sas:
                assert host.endpoint.sa(sa).state == "established"
        if message < 2:
            pytest.fail("IKE_SA_INIT is signed: nobody may change it")
    for host in (pair.initiator, pair.responder):
        assert host.of(InternalError) == []
    pair.network.manglers.clear()
    second = pair.initiate()
    pair.run()
    assert_agreement(pair, second)
    for sa in pair.initiator.endpoint.sas:
        pair.initiator.call(pair.initiator.endpoint.delete, sa)
    for sa in pair.responder.endpoint.sas:
        if pair.responder.endpoint.sa(sa).state == "established":
            pair.responder.call(pair.responder.endpoint.delete, sa)
    pair.run_for(200.0)
    assert_nothing_left(pair)
    assert first != second


@pytest.mark.requirement("IKE-087", "IKE-092")
@pytest.mark.parametrize("name", ["reversed", "an unknown payload", "many vendors", "control characters"])
@pytest.mark.parametrize("message", [2, 3])
def test_order_and_unknown_payloads_do_not_matter(message: int, name: str) -> None:
    pair = Pair()
    mutate(pair, message, MUTATIONS[name])
    sa = pair.initiate()
    pair.run()
    assert_agreement(pair, sa)


@pytest.mark.requirement("IKE-088", "IKE-193", "IKE-195", "IKE-196", "IKE-198")
@pytest.mark.parametrize(
    ("mutation", "notify"),
    [(MUTATIONS["a critical unknown payload"], 1), (MUTATIONS["0 doubled"], 7)],
)
def test_an_ike_auth_that_is_no_message_ends_the_half_open_sa_with_its_error(mutation: Mutation, notify: int) -> None:
    pair = Pair()
    mutate(pair, 2, mutation)
    pair.initiate()
    pair.run_for(5.0)
    insider = Insider(pair.initiator)
    _, payloads = insider.open(datagrams(pair, B)[1].data)
    assert [getattr(each, "notify_type", None) for each in payloads] == [notify]
    assert isinstance(pair.initiator.one(IkeSaFailed), IkeSaFailed)
    assert pair.responder.endpoint.sas == ()


# --- authentication cannot be skipped (B8) ----------------------------------------------------------------------------


def with_data(auth: Authentication, data: bytes) -> Authentication:
    return Authentication(auth.method, data)


FORGERIES: dict[str, Mutation] = {
    "no AUTH": lambda payloads: [each for each in payloads if not isinstance(each, Authentication)],
    "AUTH of zeros": lambda payloads: replaced(payloads, lambda auth: with_data(auth, bytes(len(auth.data)))),
    "AUTH of no octets": lambda payloads: replaced(payloads, lambda auth: with_data(auth, b"")),
    "AUTH cut off": lambda payloads: replaced(payloads, lambda auth: with_data(auth, auth.data[:-1])),
    "AUTH and more": lambda payloads: replaced(payloads, lambda auth: with_data(auth, auth.data + b"\0")),
    **{
        f"AUTH by method {method}": lambda payloads, method=method: replaced(  # type: ignore[misc]
            payloads, lambda auth: Authentication(method, auth.data)
        )
        for method in (0, 1, 3, 9, 10, 11, 12, 13, 14, 201, 255)
    },
    "another identity": lambda payloads: [
        type(each)(each.id_type, b"admin.example")
        if isinstance(each, IdentificationInitiator | IdentificationResponder)
        else each
        for each in payloads
    ],
}


def replaced(payloads: list[Payload], change: Callable[[Authentication], Authentication]) -> list[Payload]:
    return [change(each) if isinstance(each, Authentication) else each for each in payloads]


@pytest.mark.requirement("IKE-004", "IKE-005", "IKE-158", "IKE-190")
@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("message", [2, 3])
def test_without_a_verified_auth_nobody_is_up(message: int, name: str) -> None:
    pair = Pair()
    mutate(pair, message, FORGERIES[name])
    pair.initiate()
    pair.run_for(400.0)
    failed = pair.initiator.one(IkeSaFailed)
    assert pair.initiator.of(IkeSaEstablished) == []
    assert pair.initiator.of(ChildSaEstablished) == []
    if message == 2:
        assert pair.responder.of(IkeSaEstablished) == []
        assert pair.responder.of(ChildSaEstablished) == []
    if name != "no AUTH":
        assert isinstance(failed.error, AuthenticationFailed)
    assert pair.initiator.endpoint.idle


EXCHANGES = (Exchange.IKE_SA_INIT, Exchange.IKE_AUTH, Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL, 43, 44, 240)
CONTENTS: tuple[tuple[Payload, ...], ...] = (
    (),
    (Delete(Protocol.IKE),),
    (Delete(Protocol.ESP, (b"1234",)),),
    (Notification(24),),
    (Notification(16384),),
    (Nonce(b"n" * 32), KeyExchange(31, bytes(range(32)))),
)
SUITABLE = SecurityAssociation((Proposal(1, 3, b"abcd", (Transform(1, 20),)),))


def everything(insider: Insider, role: str) -> list[bytes]:
    """Return every kind of message that the original *role* could seal."""
    return [
        insider.seal(role, exchange, message_id, contents, is_response=is_response)  # type: ignore[arg-type]
        for exchange, message_id, contents, is_response in product(
            EXCHANGES, (0, 1, 2, 7, 2**32 - 1), (*CONTENTS, (SUITABLE,)), (False, True)
        )
    ]


def shoot(pair: Pair, messages: Sequence[bytes], *, to: str) -> None:
    source, destination = ((A, 500), (B, 500)) if to == B else ((B, 500), (A, 500))
    for message in messages:
        pair.network.send(message, source=source, destination=destination)
    pair.run_for(0.05)


@pytest.mark.requirement("IKE-001", "IKE-004", "IKE-029")
def test_no_message_makes_a_half_open_sa_established() -> None:
    """The attacker has run IKE_SA_INIT, so it has keys; AUTH it cannot make."""
    for chosen in range(len(everything(Insider(half_open().initiator), "initiator"))):
        if chosen % 7:  # a seventh of them alone, all of them together below
            continue
        pair = half_open()
        shoot(pair, [everything(Insider(pair.initiator), "initiator")[chosen]], to=B)
        assert_never_up(pair.responder)
    pair = half_open()
    shoot(pair, everything(Insider(pair.initiator), "initiator"), to=B)
    assert_never_up(pair.responder)
    pair.run_for(100.0)
    assert pair.responder.endpoint.idle


def half_open() -> Pair:
    """A pair whose responder waits for an IKE_AUTH that never comes."""
    pair = Pair()
    Mangler(pair.network, source=A, every=lambda data: data if data[18] == Exchange.IKE_SA_INIT else None)
    pair.initiate()
    pair.run_for(0.1)
    assert [pair.responder.endpoint.sa(sa).state for sa in pair.responder.endpoint.sas] == ["half-open"]
    return pair


def assert_never_up(host: Host) -> None:
    assert host.of(IkeSaEstablished) == []
    assert host.of(ChildSaEstablished) == []
    assert host.of(InternalError) == []
    assert all(host.endpoint.sa(sa).state == "half-open" for sa in host.endpoint.sas)


@pytest.mark.requirement("IKE-001", "IKE-004", "IKE-029")
def test_no_message_but_the_right_one_brings_an_initiator_up() -> None:
    """The responder is hostile: it has keys, and answers with everything but a good IKE_AUTH."""
    count = len(everything(Insider(half_open().initiator), "responder"))
    for chosen in [*range(0, count, 11), None]:
        pair = half_open()
        messages = everything(Insider(pair.initiator), "responder")
        shoot(pair, messages if chosen is None else [messages[chosen]], to=A)
        assert pair.initiator.of(IkeSaEstablished) == []
        assert pair.initiator.of(ChildSaEstablished) == []
        pair.run_for(400.0)
        assert len(pair.initiator.of(IkeSaFailed)) == 1
        assert pair.initiator.endpoint.idle


@pytest.mark.requirement("IKE-031", "IKE-056", "IKE-068", "IKE-196", "IKE-198")
@pytest.mark.parametrize("state", ["established", "deleting"])
def test_every_message_in_an_established_sa_is_answered_or_dropped(state: str) -> None:
    """Of an authenticated peer nothing raises; a request in turn is answered, and what is out of turn is not."""
    count = len(everything(Insider(half_open().initiator), "initiator"))
    for chosen in range(0, count, 5):
        pair = Pair()
        _, theirs = pair.establish()
        if state == "deleting":
            pair.network.block("udp", source=B)
            pair.responder.call(pair.responder.endpoint.delete, theirs)
        message = everything(Insider(pair.initiator), "initiator")[chosen]
        before = len(pair.responder.of(MessageSent))
        shoot(pair, [message], to=B)
        in_turn = message[20:24] == b"\0\0\0\2" and not message[19] & RESPONSE
        answers = [event for event in pair.responder.of(MessageSent)[before:] if event.is_response]
        assert len(answers) <= 1
        if in_turn and state == "established":
            assert len(answers) == 1
        if int.from_bytes(message[20:24], "big") > 2:
            assert answers == [], "ahead of the window"
            assert pair.responder.of(IkeSaClosed) == []
        assert len(pair.responder.of(IkeSaEstablished)) == 1
        assert len(pair.responder.of(IkeSaClosed)) <= 1


# --- replay (B11) -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-045", "IKE-046", "IKE-048", "IKE-049", "IKE-052", "IKE-216")
def test_every_message_replayed_at_every_later_time_changes_nothing() -> None:
    quiet = conversation()
    messages = [(packet.time, packet.source, packet.destination, packet.data) for packet in quiet.network.wire]
    for index, (time, source, destination, data) in enumerate(messages):
        for later in sorted({moment for moment, _, _, _ in messages[index:]} | {200.0}):
            pair = conversation(partial(replay, moment=later, data=data, source=source, destination=destination))
            assert later >= time
            assert told(pair.initiator) == told(quiet.initiator)
            assert told(pair.responder) == told(quiet.responder)


def replay(pair: Pair, moment: float, data: bytes, source: tuple[str, int], destination: tuple[str, int]) -> None:
    """From another address too, which must not become the peer's."""
    for origin in (source, (C, 4500)):
        pair.network.at(
            moment + 0.003,
            lambda origin=origin: pair.network.send(data, source=origin, destination=destination),  # type: ignore[misc]
        )


def conversation(interfere: Callable[[Pair], object] | None = None) -> Pair:
    """Set up, liveness of both sides, a Child SA deleted, the IKE SA deleted; then a long silence."""
    pair = Pair()
    if interfere is not None:
        interfere(pair)
    mine = pair.initiate()
    pair.run(until=1.0)
    theirs = pair.peer_of(mine)
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run(until=2.0)
    pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    pair.run(until=3.0)
    child = pair.initiator.endpoint.sa(mine).children[0].id
    pair.initiator.call(pair.initiator.endpoint.delete, mine, child=child)
    pair.run(until=4.0)
    pair.initiator.call(pair.initiator.endpoint.delete, mine)
    pair.run(until=400.0)
    return pair


def told(host: Host) -> list[tuple[str, object, object]]:
    """Return the events that an application acts on.

    A replayed IKE_SA_INIT from another address makes a half-open SA, of which nothing comes.
    """
    ignored = ("Message", "IkeKeysDerived", "IkeSaFailed", "NatDetected")
    return [
        (type(event).__name__, getattr(event, "reason", None), getattr(event, "by", None))
        for event in host.events
        if not type(event).__name__.startswith(ignored)
    ]


@pytest.mark.requirement("IKE-045", "IKE-046", "IKE-051")
def test_a_repeated_request_draws_the_very_octets_of_its_answer_at_a_bounded_rate() -> None:
    pair = Pair()
    pair.establish()
    pair.run()
    request, answer = datagrams(pair, A)[1].data, datagrams(pair, B)[1].data
    before = len(datagrams(pair, B))
    for index in range(1000):
        pair.network.at(
            pair.now + index * 0.01, lambda: pair.network.send(request, source=(A, 500), destination=VICTIM)
        )
    pair.run_for(11.0)
    answers = datagrams(pair, B)[before:]
    assert {packet.data for packet in answers} == {answer}
    assert 10 <= len(answers) <= 25, "two a second"
    assert len(pair.responder.of(RequestCompleted)) == 0


# --- one bad peer among many good ones (B7) ---------------------------------------------------------------------------


def test_one_hostile_peer_among_many_good_ones() -> None:
    pair = Pair(tcp=True)
    pair.establish()
    recorded = [packet.data for packet in pair.network.wire if packet.data]
    dice = random.Random(5)
    stranger = BareEndpoint()
    pair.network.attach(stranger, Local((C, 500)))
    for index in range(600):
        octets = bytearray(dice.choice(recorded))
        for _ in range(dice.randrange(4)):
            octets[dice.randrange(len(octets))] = dice.randrange(256)
        del octets[dice.randrange(1, len(octets)) if dice.random() < 0.3 else len(octets) :]
        moment = pair.now + index * 0.001
        pair.network.at(moment, lambda data=bytes(octets): pair.network.send(data, source=(C, 500), destination=VICTIM))  # type: ignore[misc]
    good = []
    for index in range(200):
        pair.network.at(pair.now + index * 0.003, lambda: good.append(pair.initiate()))
    pair.run_for(30.0)
    assert len(good) == 200
    for sa in good:
        assert_agreement(pair, sa)


# --- floods (B13) -----------------------------------------------------------------------------------------------------


class Flood:
    """IKE_SA_INIT from spoofed sources, each with an SPI and a nonce of its own."""

    def __init__(self, pair: Pair, *, announce: bool = False) -> None:
        self.pair = pair
        template = Pair(
            psk_connection("initiator", transports=Transports(policy=UdpOnly(), announce_tcp=500 if announce else None))
        )
        template.initiate()
        self.header, self.payloads = decode_message(datagrams(template, A)[0].data)
        self.dice = random.Random(7)
        self.sent = 0

    def go(self, count: int) -> None:
        for _ in range(count):
            message, source = self.request()
            self.pair.network.send(message, source=source, destination=VICTIM)
        self.pair.run_for(0.2)

    def request(self) -> tuple[bytes, tuple[str, int]]:
        """Return another request, and the address that it claims to come from."""
        self.sent += 1
        nonce = Nonce(self.dice.randbytes(32))
        message = encode_message(
            spi_i=self.dice.randbytes(8),
            spi_r=bytes(8),
            exchange=self.header.exchange,
            flags=INITIATOR,
            message_id=0,
            payloads=[nonce if isinstance(each, Nonce) else each for each in self.payloads],
        )
        return message, (f"198.{18 + self.sent % 2}.{self.sent // 256 % 256}.{self.sent % 256}", 500)


def octets_between(pair: Pair) -> tuple[int, int]:
    """Return the octets that reached the responder and that left it."""
    inward = sum(len(packet.data) for packet in pair.network.wire if packet.destination[0] == B)
    outward = sum(len(packet.data) for packet in pair.network.wire if packet.source[0] == B)
    return inward, outward


@pytest.mark.requirement("IKE-052", "IKE-097", "IKE-100")
def test_a_flood_of_ike_sa_init_is_bounded_and_honest_peers_are_served() -> None:
    pair = Pair(None, BARE)
    flood = Flood(pair)
    flood.go(2000)
    limits = Limits()
    assert len(pair.responder.endpoint.sas) <= limits.cookie_threshold
    inward, outward = octets_between(pair)
    assert outward < inward, "no amplification"
    assert len(pair.responder.events) <= 2 * limits.cookie_threshold + 10
    assert pair.responder.one(CookiesDemanded).active
    sa = pair.initiate()
    pair.run(until=lambda: outcome(pair.initiator))
    assert_agreement(pair, sa)
    pair.run_for(100.0)
    assert len(pair.responder.endpoint.sas) == 1, "half-open SAs are forgotten"


@pytest.mark.requirement("IKE-100")
def test_memory_stays_flat_under_a_flood() -> None:
    endpoint = Endpoint(BARE, random=random.Random(1).randbytes, utc=lambda: NOON)
    endpoint.local_added(Local(VICTIM), now=0.0)
    flood = Flood(Pair(None, BARE))

    def pour(count: int) -> int:
        """Return the octets of memory held after so many requests."""
        for _ in range(count):
            data, source = flood.request()
            endpoint.datagram_received(data, local=VICTIM, remote=source, now=1.0)
            for _ in endpoint.outputs():
                pass
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = pour(2500)
        after = pour(2500)
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


@pytest.mark.requirement("TCP-31")
def test_spoofed_announcements_open_no_connection() -> None:
    pair = Pair(None, BARE, tcp=True)
    Flood(pair, announce=True).go(2000)
    pair.run_for(100.0)
    assert pair.network.connections == []


@pytest.mark.requirement("IKE-097")
def test_one_source_cannot_take_all_places() -> None:
    """From one address, cookies and all, at most its share of half-open SAs."""
    pair = Pair(None, attrs.evolve(BARE, limits=Limits(half_open_per_source=5)))
    pair.network.block("udp", source=B)
    for _ in range(30):
        pair.initiate()
    pair.run_for(1.0)
    assert len(pair.responder.endpoint.sas) <= 5


@pytest.mark.requirement("IKE-200")
@pytest.mark.parametrize("exchange", [34, 35, 36, 37, 43])
def test_a_response_outside_of_any_sa_is_never_answered(exchange: int) -> None:
    pair = Pair(None, BARE, tcp=True)
    for spi_r, flags in product((bytes(8), b"responde"), (RESPONSE, RESPONSE | INITIATOR)):
        message = encode_message(
            spi_i=b"initiatr", spi_r=spi_r, exchange=exchange, flags=flags, message_id=1, payloads=[Notification(4)]
        )
        pair.network.send(message, source=(C, 500), destination=VICTIM)
    pair.run()
    assert datagrams(pair, B) == []


@pytest.mark.requirement("IKE-189")
def test_junk_is_counted_and_draws_nothing() -> None:
    pair = Pair(None, BARE)
    dice = random.Random(3)
    for size in (0, 1, 3, 4, 27, 28, 29, 100, 1400):
        for _ in range(20):
            pair.network.send(dice.randbytes(size), source=(C, 500), destination=VICTIM)
            pair.network.send(dice.randbytes(size), source=(C, 500), destination=(B, 4500))
    pair.run()
    # Some of it claims a later version of IKE; that draws a notification, without any memory of it.
    answers = [decode_message(packet.data.removeprefix(bytes(4))) for packet in datagrams(pair, B)]
    assert all([getattr(each, "notify_type", None) for each in payloads] == [5] for _, payloads in answers)
    assert len(answers) < 100
    assert sum(pair.responder.endpoint.counters.values()) >= 300
    assert pair.responder.endpoint.sas == ()
    assert len(pair.responder.events) <= 5


@pytest.mark.requirement("IKE-041", "IKE-084", "IKE-085", "IKE-053")
@pytest.mark.parametrize(("version", "answered"), [(0x30, True), (0xF0, True), (0x10, False), (0x00, False)])
def test_other_versions_draw_one_answer_at_most(version: int, answered: bool) -> None:
    pair = Pair(None, BARE)
    flood = Flood(pair)
    data = bytearray(
        encode_message(
            spi_i=b"initiatr", spi_r=bytes(8), exchange=34, flags=INITIATOR, message_id=0, payloads=flood.payloads
        )
    )
    data[17] = version
    for _ in range(2000):
        pair.network.send(bytes(data), source=(C, 500), destination=VICTIM)
    pair.run()
    answers = datagrams(pair, B)
    assert bool(answers) is answered
    assert len(answers) <= 500
    for packet in answers[:1]:
        header, [notify] = decode_message(packet.data)
        assert header.is_response
        assert getattr(notify, "notify_type", None) == 5


# --- streams (B17) ----------------------------------------------------------------------------------------------------


class Streams:
    """A responder with an established SA, and a stranger with the keys, who opens connections."""

    def __init__(self, tcp: Tcp | None = None, limits: Limits | None = None) -> None:
        self.pair = Pair(tcp=tcp or Tcp(), limits=limits)
        self.mine, self.theirs = self.pair.establish()
        self.pair.run()
        self.stranger = BareEndpoint()
        self.pair.network.attach(self.stranger, Local((C, 500)))
        self.insider = Insider(self.pair.initiator)

    def connect(self) -> BareStream:
        stream = self.stranger.open(VICTIM)
        self.pair.run_for(0.05)
        return stream

    def write(self, stream: BareStream, data: bytes) -> None:
        self.stranger.write(stream, data)
        self.pair.run_for(0.05)

    def liveness(self, message_id: int) -> bytes:
        return self.insider.seal("initiator", Exchange.INFORMATIONAL, message_id, [])

    def untouched(self) -> bool:
        return self.pair.responder.endpoint.sas == (self.theirs,)


@pytest.mark.requirement("TCP-40", "TCP-41")
def test_many_messages_in_one_read_are_answered_in_order() -> None:
    world = Streams()
    stream = world.connect()
    world.write(stream, b"".join(world.liveness(message_id) for message_id in range(2, 22)))
    assert len(stream.received) == 20 * len(world.liveness(2))
    ids = [stream.received[pos + 20 : pos + 24] for pos in range(0, len(stream.received), len(world.liveness(2)))]
    assert [int.from_bytes(each, "big") for each in ids] == list(range(2, 22))


@pytest.mark.requirement("TCP-44", "TCP-45", "TCP-46")
@pytest.mark.parametrize("length", [*range(28), 0x7FFFFFFF, 0xFFFFFFFF, 28 + 65_536])
def test_an_impossible_length_ends_the_stream_and_no_sa(length: int) -> None:
    world = Streams()
    stream = world.connect()
    header = bytearray(world.liveness(2)[:28])
    header[24:28] = length.to_bytes(4, "big")
    world.write(stream, bytes(header))
    assert stream.error == "connection reset by peer"
    assert world.untouched()


@pytest.mark.requirement("TCP-05", "TCP-46", "TCP-78")
@pytest.mark.parametrize("start", [b"IKETCP", bytes(4), b"\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", bytes(28)])
def test_what_is_not_ike_ends_the_stream(start: bytes) -> None:
    world = Streams()
    stream = world.connect()
    world.write(stream, start + world.liveness(2))
    world.pair.run_for(10.0)
    assert stream.error == "connection reset by peer"
    assert not stream.received
    assert world.untouched()


@pytest.mark.requirement("TCP-47")
def test_a_fin_inside_a_message_ends_the_stream() -> None:
    world = Streams()
    stream = world.connect()
    world.write(stream, world.liveness(2)[:30])
    world.stranger.half_close(stream)
    world.pair.run_for(10.0)
    assert stream.eof or stream.error is not None
    assert world.untouched()
    assert not stream.received


@pytest.mark.requirement("TCP-83", "TCP-82")
def test_a_connection_that_never_speaks_is_reset() -> None:
    world = Streams()
    stream = world.connect()
    opened = world.pair.now
    world.pair.run(until=lambda: stream.state == "lost")
    assert world.pair.now - opened == pytest.approx(Limits().stream_first_message, abs=0.1)


@pytest.mark.requirement("TCP-82")
def test_a_connection_that_never_reads_is_bounded() -> None:
    limits = Limits(stream_unsent=5_000)
    world = Streams(Tcp(window=300), limits)
    world.pair.network.between(B, C, tcp=Tcp(read_rate=0.0, window=300))
    stream = world.connect()
    for message_id in range(2, 200):
        world.stranger.write(stream, world.liveness(message_id))
        world.pair.run_for(0.01)
        if stream.state == "lost":
            break
    assert stream.error == "connection reset by peer"
    assert message_id < 150
    assert world.untouched()


@pytest.mark.requirement("TCP-82")
def test_connections_of_one_source_are_bounded() -> None:
    world = Streams(limits=Limits(streams_per_source=8))
    streams = [world.stranger.open(VICTIM) for _ in range(20)]
    world.pair.run_for(0.1)
    assert [stream.error for stream in streams].count(None) == 8
    assert world.pair.responder.of(Refused)


@pytest.mark.requirement("TCP-82")
def test_at_the_limit_the_oldest_unproven_connection_makes_room() -> None:
    world = Streams(limits=Limits(streams=4))
    first = world.connect()
    world.write(first, world.liveness(2))
    others = [world.connect() for _ in range(6)]
    assert first.error is None, "it has authenticated"
    assert [stream.error is None for stream in others] == [False, False, False, True, True, True]
    sa = world.pair.initiate()
    world.pair.run(until=lambda: len(outcome(world.pair.initiator)) == 2)
    assert_agreement(world.pair, sa)


def test_a_stream_of_ike_sa_init_and_garbage_after_it() -> None:
    world = Streams()
    stream = world.connect()
    init = datagrams(Flood(world.pair).pair, A)
    assert init == [], "the pair used TCP"
    request = next(packet.data for packet in world.pair.network.wire if packet.kind == "data")
    world.write(stream, request + b"\0" * 40)
    assert stream.error == "connection reset by peer"
    assert bytes(stream.received[:8]) in (request[:8], b"")
    assert world.theirs in world.pair.responder.endpoint.sas


@pytest.mark.requirement("TCP-80", "IKE-046")
def test_a_replay_over_tcp_has_no_effect_but_the_stored_answer() -> None:
    world = Streams()
    recorded = [packet.data for packet in world.pair.network.wire if packet.kind == "data" and packet.source[0] == A]
    before: list[SaId] = [event.sa for event in world.pair.responder.of(IkeSaEstablished)]
    for data in recorded:
        stream = world.connect()
        world.write(stream, data)
    world.pair.run_for(100.0)
    assert [event.sa for event in world.pair.responder.of(IkeSaEstablished)] == before
    fresh = [event for event in world.pair.responder.of(MessageReceived) if event.exchange == "IKE_AUTH"]
    assert len(fresh) == 1
    assert world.untouched()
