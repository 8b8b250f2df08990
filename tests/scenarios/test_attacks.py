"""Attacks on what outlives one message: shares of strangers, resends, the heap of deadlines, connections, shutdown."""

from __future__ import annotations

import gc
import random
import struct
import tracemalloc

import attrs
import pytest

from ikecore import (
    AuthenticationFailed,
    AuthorizationNeeded,
    CertificateCredential,
    ChildSaEstablished,
    ChildSaFailed,
    Config,
    Connection,
    Endpoint,
    Fallback,
    Identity,
    IkeSaEstablished,
    IkeSaFailed,
    InternalError,
    Limits,
    Local,
    NoProposalChosen,
    PeerUnreachable,
    Race,
    RequestFailed,
    Step,
    TcpOnly,
    Transports,
    WholeMission,
)
from ikecore.crypto import Protection, choose_proposal, ike_proposals
from ikecore.errors import TsUnacceptable
from ikecore.framing import Receiver
from ikecore.outputs import OpenStream, ResetStream, SendDatagram, WriteStream
from ikecore.sa import IkeSa
from ikecore.sa.selectors import host_selector
from ikecore.testing import NOON, CheckedEndpoint, Pair, psk_connection
from ikecore.testing.pki import Kind, new_key
from ikecore.wire import (
    Delete,
    IdentificationInitiator,
    Notification,
    Payload,
    Proposal,
    TrafficSelectorsInitiator,
    VendorId,
    decode_envelope,
)
from ikecore.wire.notify_data import encode_hash_algorithms
from ikecore.wire.numbers import INITIATOR, VENDOR_ID, Exchange, HashAlgorithm, Notify
from tests.rig import HERE, THERE, Puppet, Rig, notifications

AUTH, CHILD, INFO = Exchange.IKE_AUTH, Exchange.CREATE_CHILD_SA, Exchange.INFORMATIONAL
SHARE = Limits().half_open_per_source


# --- shares of strangers ----------------------------------------------------------------------------------------------


def spoofed(rig: Rig, host: str, count: int) -> None:
    """Half-open SAs in the name of *host*, by someone who never sees an answer."""
    for number in range(count):
        Puppet(rig, seed=1000 + number, address=(host, 2000 + number)).begin()


@pytest.mark.requirement("IKE-097")
def test_a_forged_source_does_not_use_up_the_share_of_its_owner() -> None:
    rig = Rig()
    spoofed(rig, THERE[0], SHARE)
    owner = Puppet(rig)
    (answer,) = owner.give(owner.init_message())
    cookie = decode_envelope(answer).payloads[0]
    assert isinstance(cookie, Notification)
    assert cookie.notify_type == Notify.COOKIE
    owner.begin([cookie, *owner.init_payloads()])
    owner.authenticate()
    assert rig.one(IkeSaEstablished)


@pytest.mark.requirement("TCP-36")
def test_a_forged_source_over_udp_does_not_use_up_the_share_of_its_owner_over_tcp() -> None:
    rig = Rig()
    spoofed(rig, THERE[0], SHARE)
    owner = Puppet(rig)
    owner.connect()
    owner.begin()
    owner.authenticate()
    assert rig.one(IkeSaEstablished)


@pytest.mark.requirement("TCP-82")
def test_keys_without_a_proved_identity_do_not_protect_a_connection_from_making_room() -> None:
    rig = Rig(limits=Limits(streams=2))
    stranger = Puppet(rig)
    first = stranger.connect()
    stranger.begin()
    stranger.give(stranger.seal(AUTH, stranger.auth(secret=b"a guess")))
    good = Puppet(rig, seed=2, address=("10.0.0.3", 500))
    kept = good.connect()
    good.begin()
    good.authenticate()
    for number in range(3):
        rig.endpoint.stream_accepted(local=HERE, remote=("10.0.0.9", 3000 + number), now=rig.now)
        rig.drain()
    resets = [each.stream for each in rig.of(ResetStream)]
    assert resets[0] == first
    assert kept not in resets


@pytest.mark.requirement("IKE-097")
def test_udp_does_not_use_up_what_a_stranger_over_tcp_is_told() -> None:
    rig = Rig(responder_with("aes256-sha256-x25519"), limits=Limits(stateless_per_second=1.0))
    wrong = ike_proposals("aes256-sha512-ecp521")
    for number in range(5):
        flood = Puppet(rig, seed=number, address=("10.0.1.1", 2000 + number), proposals=wrong)
        flood.give(flood.init_message())
    caller = Puppet(rig, proposals=wrong)
    caller.connect()
    (answer,) = caller.give(caller.init_message())
    assert notifications(decode_envelope(answer).payloads) == [Notify.NO_PROPOSAL_CHOSEN]


def test_a_peer_may_come_from_port_0() -> None:
    """No operating system gives such a port, but whoever writes packets can send it."""
    rig = Rig()
    puppet = Puppet(rig)
    puppet.connect(port=0)
    puppet.begin()
    puppet.authenticate()
    assert rig.one(IkeSaEstablished)


@pytest.mark.requirement("IKE-199")
def test_the_work_for_a_stranger_does_not_grow_with_the_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no connection accepts makes no half-open SA, so that no cookie would ever be asked for."""
    asked: list[object] = []

    def counted(*args: object, **more: object) -> Proposal | None:
        asked.append(args)
        return choose_proposal(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("ikecore.sa.ike_sa_init.choose_proposal", counted)
    words = [ike_proposals("aes256-sha256-x25519"), ike_proposals("aes256-sha256-x448")]
    connections = [
        attrs.evolve(psk_connection("responder", name=str(number)), proposals=words[number % 2])
        for number in range(100)
    ]
    for proposals, answered in (("aes256-sha512-ecp521", False), ("aes256-sha256-x448", True)):
        asked.clear()
        rig = Rig(*connections)
        puppet = Puppet(rig, proposals=ike_proposals(proposals))
        (answer,) = puppet.give(puppet.init_message())
        assert (notifications(decode_envelope(answer).payloads) != [Notify.NO_PROPOSAL_CHOSEN]) is answered
        assert len(asked) <= 4


# --- resends ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("IKE-048")
def test_a_captured_request_sent_from_a_thousand_ports_draws_one_answer() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.begin()
    captured = puppet.seal(AUTH, puppet.auth())
    puppet.give(captured)
    rig.run_for(60.0)
    before = len(rig.of(SendDatagram))
    for port in range(1000, 2000):
        rig.datagram(captured, remote=("10.9.9.9", port))
    assert len(rig.of(SendDatagram)) - before == 1


@pytest.mark.requirement("IKE-048")
def test_a_captured_request_sent_from_a_thousand_addresses_draws_few_answers_and_the_peer_still_gets_its_own() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.begin()
    captured = puppet.seal(AUTH, puppet.auth())
    (answer,) = puppet.give(captured)
    rig.run_for(60.0)
    before = len(rig.of(SendDatagram))
    for number in range(1000):
        rig.datagram(captured, remote=(f"10.9.{number // 200}.{number % 200}", 500))
    assert len(rig.of(SendDatagram)) - before <= 16
    assert puppet.give(captured) == [answer]


@pytest.mark.requirement("IKE-190")
@pytest.mark.parametrize("kind", [1, 2, 3, 5, 9, 11, 13, 200])
@pytest.mark.parametrize("data", [b"\x1b[2J\r\n%s", b"\xc2\x9b31m", b"\xe2\x80\xaeabc", b"a" * 60_000, b"\0" * 60_000])
def test_an_identity_is_one_short_printable_line_wherever_it_is_told(kind: int, data: bytes) -> None:
    rig = Rig(trace=True)
    puppet = Puppet(rig)
    puppet.begin()
    rest = [each for each in puppet.auth() if not isinstance(each, IdentificationInitiator)]
    puppet.give(puppet.seal(AUTH, [IdentificationInitiator(kind, data), *rest]))
    error = rig.one(IkeSaFailed).error
    for text in (str(error), repr(error), *map(repr, rig.outputs), *(str(each.to_dict()) for each in rig.events)):
        assert text.isprintable()
        assert len(text) < 4000


@pytest.mark.requirement("IKE-247")
@pytest.mark.parametrize(("octets", "up"), [(16_384, True), (16_385, False)])
def test_an_identity_that_is_kept_with_the_sa_is_not_of_any_length(octets: int, up: bool) -> None:
    identity = "keyid:" + "a" * octets
    rig = Rig(attrs.evolve(psk_connection("responder"), remote_identity=None))
    puppet = Puppet(rig)
    puppet.begin()
    puppet.give(puppet.seal(AUTH, puppet.auth(identity=identity)))
    assert len(rig.of(IkeSaEstablished)) == up
    if not up:
        assert "16385 octets" in str(rig.one(IkeSaFailed).error)


# --- what the dead leave behind ---------------------------------------------------------------------------------------


def alive(kind: type) -> int:
    gc.collect()
    return sum(1 for each in gc.get_objects() if type(each) is kind)


@pytest.mark.requirement("IKE-247")
@pytest.mark.parametrize("what", ["vendor", "hash algorithms", "NAT detection"])
def test_what_is_kept_of_a_stranger_is_its_message_and_little_more(what: str) -> None:
    rig = Rig()
    puppet = Puppet(rig)
    numbers = b"".join(number.to_bytes(2, "big") for number in range(7000))
    kinds: dict[str, list[Payload]] = {
        "vendor": [VendorId(numbers)],
        "hash algorithms": [Notification(Notify.SIGNATURE_HASH_ALGORITHMS, numbers)],
        "NAT detection": [
            Notification(Notify.NAT_DETECTION_SOURCE_IP, numbers[start : start + 20]) for start in range(0, 4000, 20)
        ],
    }
    message = puppet.init_message([*puppet.init_payloads(), *kinds[what]])
    rig.datagram(Puppet(rig, address=("10.0.0.9", 500), seed=2).init_message(), remote=("10.0.0.9", 500))
    gc.collect()
    tracemalloc.start()
    try:
        assert len(puppet.give(message)) == 1
        rig.outputs.clear()
    finally:
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert kept < len(message) + 15_000


def test_no_number_of_a_peer_is_the_name_of_a_counter() -> None:
    rig = Rig()
    for number in range(256):
        puppet = Puppet(rig, seed=number, address=("10.5.0.1", number + 1))
        puppet.begin()
        puppet.give(puppet.seal(number))
        for sa in rig.endpoint.sas:
            rig.endpoint.abandon(sa, now=rig.now)
    assert rig.endpoint.counters["an unknown exchange while half-open"] > 200
    assert len(rig.endpoint.counters) < 20


@pytest.mark.requirement("IKE-097")
def test_failed_handshakes_leave_nothing_until_their_time_would_have_come() -> None:
    rig = Rig()
    before = alive(IkeSa)
    for number in range(400):
        puppet = Puppet(rig, seed=number, address=(f"10.1.{number // 200}.{number % 200 + 1}", 500))
        puppet.begin([*puppet.init_payloads(), VendorId(bytes(10_000))])
        puppet.give(puppet.seal(AUTH, puppet.auth(secret=b"a guess")))
        rig.outputs.clear()
    assert rig.endpoint.sas == ()
    assert alive(IkeSa) - before <= 200


@pytest.mark.requirement("TCP-47", "TCP-82")
def test_a_lost_connection_keeps_no_octets() -> None:
    rig = Rig()
    begun = Puppet(rig).init_message()[:24] + (16_000).to_bytes(4, "big") + bytes(15_000)
    for number in range(60):
        stream = rig.endpoint.stream_accepted(local=HERE, remote=(THERE[0], 2000 + number), now=rig.now)
        rig.endpoint.stream_received(stream, begun, now=rig.now)
        rig.endpoint.stream_lost(stream, "reset", now=rig.now)
        rig.drain()
    gc.collect()
    receivers = [each for each in gc.get_objects() if type(each) is Receiver]
    assert sum(each.buffered for each in receivers) == 0


def attempts_told(rounds: int) -> int:
    """How many things are said to have been tried when an SA ends that had trouble so often before."""
    pair = Pair(tcp=True, policy=TcpOnly())
    mine, _ = pair.establish()
    for _ in range(rounds):
        rule = pair.network.block("tcp", refuse=True)
        pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
        pair.run_for(2.0)
        pair.network.unblock(rule)
        pair.run_for(30.0)
    pair.network.block("tcp", refuse=True)
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.run()
    (failed,) = pair.initiator.of(RequestFailed)
    assert isinstance(failed.error, PeerUnreachable)
    return len(failed.error.attempts)


@pytest.mark.requirement("TCP-67")
def test_failures_that_the_peer_got_over_are_not_kept_for_the_life_of_the_sa() -> None:
    assert attempts_told(5) == attempts_told(0)


# --- IKE_SA_INIT and what it leads to ---------------------------------------------------------------------------------


def certificate_connection(kind: Kind, role: str = "initiator", **more: object) -> Connection:
    """We sign with a raw key of *kind*; the peer has a pre-shared key, so that a puppet can be it."""
    connection = psk_connection(role)  # type: ignore[arg-type]
    return attrs.evolve(connection, local=CertificateCredential((), new_key(kind)), **more)  # type: ignore[arg-type]


@pytest.mark.requirement("IKE-188")
@pytest.mark.parametrize("hashes", [None, [HashAlgorithm.SHA2_256]])
def test_an_answer_without_a_hash_that_we_sign_with_is_not_the_end_while_a_better_may_come(
    hashes: list[int] | None,
) -> None:
    """Nothing protects IKE_SA_INIT: whoever strips the notification from it must not stop us."""
    rig = Rig()
    puppet = Puppet(rig, "responder")
    rig.initiate(certificate_connection("ed25519"))
    request = puppet.taken(rig.outputs)[-1]
    stripped = (
        [] if hashes is None else [Notification(Notify.SIGNATURE_HASH_ALGORITHMS, encode_hash_algorithms(hashes))]
    )
    puppet.answer_init(request, stripped)
    assert rig.endpoint.sa(rig.endpoint.sas[0]).state == "initiating"
    good = Notification(Notify.SIGNATURE_HASH_ALGORITHMS, encode_hash_algorithms([HashAlgorithm.IDENTITY]))
    puppet.answer_init(request, [good])
    puppet.answer_auth()
    assert rig.one(IkeSaEstablished)


@pytest.mark.requirement("IKE-188")
def test_without_a_better_answer_the_reason_is_told() -> None:
    rig = Rig()
    puppet = Puppet(rig, "responder")
    rig.initiate(certificate_connection("ed25519"))
    puppet.answer_init()
    rig.run_for(Limits().init_error_wait + 0.1)
    assert isinstance(rig.one(IkeSaFailed).error, AuthenticationFailed)
    assert rig.endpoint.sas == ()


def test_a_peer_that_can_verify_no_signature_of_ours_is_refused_also_after_the_application_agreed() -> None:
    rig = Rig(certificate_connection("rsa-2048", "responder", authorize=True))
    puppet = Puppet(rig)
    only = Notification(Notify.SIGNATURE_HASH_ALGORITHMS, encode_hash_algorithms([HashAlgorithm.IDENTITY]))
    puppet.begin([*puppet.init_payloads(), only])
    puppet.give(puppet.seal(AUTH, puppet.auth()))
    rig.endpoint.answer(rig.one(AuthorizationNeeded).question, True, now=rig.now)
    (answer,) = puppet.taken(rig.drain())
    assert notifications(puppet.open(answer)[1]) == [Notify.AUTHENTICATION_FAILED]
    assert isinstance(rig.one(IkeSaFailed).error, AuthenticationFailed)
    assert not rig.of(InternalError)


@pytest.mark.requirement("TCP-03", "TCP-31")
def test_the_next_address_does_not_get_its_ike_sa_init_by_the_connection_to_the_one_before() -> None:
    mine = attrs.evolve(
        psk_connection("initiator", transports=Transports(policy=WholeMission())),
        proposals=ike_proposals("aes256-sha256-x25519"),
    )
    pair = Pair(mine, responder_with("aes256-sha512-ecp521"), tcp=True)
    third = Endpoint(
        Config(connections=(psk_connection("responder"),), trace=True),
        random=random.Random(5).randbytes,
        utc=lambda: NOON,
        raise_bugs=True,
    )
    host = "10.0.0.3"
    pair.network.attach(CheckedEndpoint(third), Local((host, 500)), Local((host, 500), "tcp"), name="third")
    pair.initiate(remotes=["10.0.0.2", host])
    pair.run()
    (up,) = pair.initiator.of(IkeSaEstablished)
    assert up.remote == (host, 500)
    first = [each for each in pair.network.wire if each.kind == "data" and each.destination[0] == "10.0.0.2"]
    assert len(first) == 1


def responder_with(words: str) -> Connection:
    return attrs.evolve(psk_connection("responder"), proposals=ike_proposals(words))


def test_a_connection_that_nobody_accepts_ends_with_the_refusal_of_the_last() -> None:
    mine = attrs.evolve(
        psk_connection("initiator", transports=Transports(policy=WholeMission())),
        proposals=ike_proposals("aes256-sha256-x25519"),
    )
    pair = Pair(mine, responder_with("aes256-sha512-ecp521"), tcp=True)
    pair.initiate(remotes=["10.0.0.2", "10.0.0.2"])
    pair.run()
    assert isinstance(pair.initiator.of(IkeSaFailed)[0].error, NoProposalChosen)


@pytest.mark.requirement("TCP-53")
def test_the_rules_for_ports_are_those_of_the_connection_that_ike_auth_chose() -> None:
    """IKE_SA_INIT fits the first connection as well, whose rules are not for this peer."""
    other = attrs.evolve(
        psk_connection("responder", name="other", transports=Transports(tcp_port=1234)),
        remote_identity=Identity.parse("other.example"),
    )
    strict = psk_connection("responder", transports=Transports(allowed_ports=(range(500, 501),)))
    rig = Rig(other, strict)
    puppet = Puppet(rig)
    announced = Notification(Config().tcp_notify, (6000).to_bytes(2, "big"))
    puppet.begin([*puppet.init_payloads(), announced, VendorId(VENDOR_ID)])
    puppet.authenticate()
    view = rig.endpoint.sa(rig.endpoint.sas[0])
    assert view.connection == strict.name
    assert view.peer_tcp_port is None


@pytest.mark.requirement("IKE-140")
def test_a_forged_source_of_ike_auth_does_not_become_the_peers_traffic_selector() -> None:
    """The peer is authenticated, but its address is not: no packet of somebody else is to be sent to it."""
    rig = Rig()
    puppet = Puppet(rig)
    puppet.begin()
    victim = "10.9.9.9"
    wanted = TrafficSelectorsInitiator((host_selector(victim),))
    payloads = [wanted if isinstance(each, TrafficSelectorsInitiator) else each for each in puppet.auth()]
    rig.datagram(puppet.seal(AUTH, payloads), remote=(victim, 500))
    assert rig.one(IkeSaEstablished)
    assert isinstance(rig.one(ChildSaFailed).error, TsUnacceptable)
    assert not rig.of(ChildSaEstablished)


# --- connections of ours ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("TCP-13")
def test_a_connection_opened_early_that_the_peer_closed_carries_no_request() -> None:
    rig = Rig(psk_connection("responder"))
    race = psk_connection("initiator", transports=Transports(policy=Race(), tcp_port=500))
    rig.initiate(race)
    (opened,) = rig.of(OpenStream)
    rig.endpoint.stream_connected(opened.stream, local=(HERE[0], 40_000), now=rig.now)
    rig.endpoint.stream_eof(opened.stream, now=rig.now)
    rig.drain()
    puppet = Puppet(rig, "responder")
    puppet.answer_init()
    puppet.answer_auth()
    assert rig.one(IkeSaEstablished)
    assert not rig.of(WriteStream)


@pytest.mark.requirement("TCP-13", "TCP-37")
def test_a_connection_that_comes_up_late_does_not_silence_udp() -> None:
    """A request that went over to UDP is repeated there, though the slow connection carries it too in the end."""
    rig = Rig(limits=Limits(stream_connect_timeout=30.0))
    steps = (Step("tcp", 2.0), Step("udp", 100.0))
    rig.initiate(psk_connection("initiator", transports=Transports(policy=Fallback(steps=steps))))
    puppet = Puppet(rig, "responder", local=(HERE[0], 40_000))
    puppet.stream = rig.one(OpenStream).stream
    rig.endpoint.stream_connected(puppet.stream, local=puppet.local, now=rig.now)
    (request,) = [each.data for each in rig.drain() if isinstance(each, WriteStream)]
    puppet.answer_init(request)
    puppet.answer_auth()
    rig.run_for(20.0)
    rig.endpoint.check_liveness(rig.endpoint.sas[0], now=rig.now)
    rig.run_for(4.0)
    late = rig.last(OpenStream).stream
    rig.endpoint.stream_connected(late, local=(HERE[0], 40_001), now=rig.now)
    new = rig.run_for(0.1)
    assert [type(each) for each in new if isinstance(each, WriteStream | SendDatagram)] == [WriteStream]
    rig.endpoint.stream_lost(late, "reset", now=rig.now)
    assert any(isinstance(each, SendDatagram) for each in rig.run_for(5.0))


# --- the end ----------------------------------------------------------------------------------------------------------


def silent_pair(requests: int) -> Pair:
    """An initiator whose peer is gone, with so many requests waiting."""
    pair = Pair()
    mine, _ = pair.establish()
    pair.network.detach(pair.responder)
    for _ in range(requests):
        pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    return pair


@pytest.mark.parametrize("requests", [0, 1, 1 + Limits().queued_requests])
def test_shutdown_ends_in_its_time_whatever_waits(requests: int) -> None:
    pair = silent_pair(requests)
    began = pair.now
    pair.initiator.call(pair.initiator.endpoint.shutdown)
    pair.run(until=lambda: pair.initiator.endpoint.idle)
    assert pair.now - began == pytest.approx(Limits().delete_timeout)


def test_a_delete_that_never_had_its_turn_is_still_said_once() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    sa = puppet.establish()
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.endpoint.delete(sa, now=rig.now)
    rig.run_for(Limits().delete_timeout + 0.1)
    assert rig.endpoint.sas == ()
    deletes = [header for header, contents in puppet.requests() if any(isinstance(each, Delete) for each in contents)]
    assert [header.message_id for header in deletes] == [1]


# --- fragments --------------------------------------------------------------------------------------------------------


def fragment(puppet: Puppet, exchange: int, number: int, total: int, content: bytes = b"") -> bytes:
    """Seal one fragment of a request that says by itself what exchange it is for."""
    assert puppet.keys is not None
    ike = puppet.keys.ike
    protection = OneFragment(puppet.keys.suite, ike.sk_ei, ike.sk_ai, random=puppet.random.randbytes)
    return protection.one((*puppet.spis, exchange, INITIATOR, puppet.next_id), number, total, content)


class OneFragment(Protection):
    """Seals one fragment on its own."""

    def one(self, fields: tuple[bytes, bytes, int, int, int], number: int, total: int, content: bytes) -> bytes:
        spi_i, spi_r, exchange, flags, message_id = fields
        padded = self._pad(content)
        length = 8 + self._suite.iv_length + len(padded) + self._suite.icv_length
        header = struct.pack("!8s8sBBBBII", spi_i, spi_r, 53, 0x20, exchange, flags, message_id, 28 + length)
        self.sealed = 1000 + number  # apart from the nonces that the puppet itself has used
        return self._protect(header + struct.pack("!BBHHH", 0, 0, length, number, total), padded)


@pytest.mark.requirement("IKE-198")
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("first", [AUTH, CHILD, Exchange.IKE_INTERMEDIATE, Exchange.IKE_FOLLOWUP_KE, 200])
def test_fragments_that_disagree_about_their_exchange_are_judged_by_the_first(
    first: int, order: tuple[int, int]
) -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
    puppet.authenticate()
    answers = [
        answer
        for number in order
        for answer in puppet.give(fragment(puppet, first if number == 1 else INFO, number, 2))
    ]
    (answer,) = answers
    header, contents = puppet.open(answer)
    assert header.exchange == first
    assert notifications(contents) == [Notify.INVALID_SYNTAX]
    assert not rig.of(InternalError)


@pytest.mark.requirement("IKE-198")
def test_what_was_refused_while_up_is_dropped_if_its_last_fragment_comes_while_we_delete() -> None:
    rig = Rig()
    puppet = Puppet(rig)
    puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
    puppet.authenticate()
    assert puppet.give(fragment(puppet, Exchange.IKE_INTERMEDIATE, 1, 2)) == []
    rig.endpoint.delete(rig.one(IkeSaEstablished).sa, now=rig.now)
    rig.drain()
    assert puppet.give(fragment(puppet, INFO, 2, 2)) == []
    assert not rig.of(InternalError)
    assert rig.endpoint.sas
    assert any("IKE_INTERMEDIATE while deleting" in reason for reason in rig.endpoint.counters)
