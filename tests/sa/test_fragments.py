"""Fragments of a protected message (RFC 7383): put together, whatever order, copies and forgeries they come in."""

from __future__ import annotations

import gc
import struct
import tracemalloc
from itertools import permutations
from math import inf
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore import Limits, MessageReceived, MessageSent, Transports
from ikecore.crypto import IkeSuite, Protection
from ikecore.events import InternalError
from ikecore.sa import FragmentBudget
from ikecore.sa.fragments import Fragments
from ikecore.testing import BareEndpoint, Pair, psk_connection
from ikecore.transport import BySize, Local
from ikecore.wire import (
    Delete,
    Encrypted,
    EncryptedFragment,
    Notification,
    Payload,
    VendorId,
    decode_envelope,
    encode_message,
    encode_payloads,
)
from ikecore.wire.numbers import INITIATOR, Encr, Exchange, Ke, Notify, Prf

from ..rig import Puppet, Rig

SOURCE, DESTINATION = ("10.0.0.1", 500), ("10.0.0.2", 500)
LONG: list[Payload] = [VendorId(bytes([number]) * 250) for number in range(12)]
"""An INFORMATIONAL request that means nothing and is long."""


class Lab:
    """An established pair, of which the initiator's requests are made by hand."""

    def __init__(self, limits: Limits | None = None, transports: Transports | None = None) -> None:
        connection = psk_connection("initiator", transports=transports)
        self.pair = Pair(connection, tcp=True, limits=limits)
        self.sa, self.theirs = self.pair.establish()
        keys = self.pair.initiator.endpoint.sa(self.sa).export_keys()
        suite = IkeSuite(Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_256, None, Ke.CURVE25519)
        self.seal = Protection(suite, keys.sk_ei, b"", random=lambda size: bytes(size))
        self.spis = keys.spi_i, keys.spi_r

    def fragments(self, size: int = 1000, payloads: list[Payload] = LONG, message_id: int = 2) -> tuple[bytes, ...]:
        first, plaintext = encode_payloads(payloads)
        return self.seal.seal_fragments(
            *self.spis, Exchange.INFORMATIONAL, INITIATOR, message_id, first, plaintext, size=size
        )

    def send(self, *datagrams: bytes) -> int:
        """Send each from the initiator's address; return how many responses the responder made."""
        before = len(self.answers)
        for data in datagrams:
            self.pair.network.send(data, source=SOURCE, destination=DESTINATION)
        self.pair.run_for(0.1)
        return len(self.answers) - before

    @property
    def answers(self) -> list[MessageSent]:
        return [
            each
            for each in self.pair.responder.of(MessageSent)
            if each.is_response and each.exchange == "INFORMATIONAL" and each.message_id == 2
        ]


@pytest.mark.requirement("FRAG-34", "FRAG-42", "FRAG-43", "FRAG-54")
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_fragments_in_any_order_are_one_request(order: tuple[int, ...]) -> None:
    lab = Lab()
    parts = lab.fragments()
    assert len(parts) == 4
    for index in order[:-1]:
        assert lab.send(parts[index]) == 0
    assert lab.send(parts[order[-1]]) == 1
    received = lab.pair.responder.of(MessageReceived)[-1]
    assert received.payloads == ("VENDOR",) * 12
    assert received.octets == sum(map(len, parts))


@pytest.mark.requirement("FRAG-38", "FRAG-39", "FRAG-41")
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["whole", "bent"])), max_size=12))
def test_copies_and_forgeries_change_nothing(schedule: list[tuple[int, str]]) -> None:
    lab = Lab()
    parts = lab.fragments()
    seen: set[int] = set()
    answers = 0
    for index, how in schedule:
        data = parts[index]
        if how == "bent":
            data = data[:-1] + bytes([data[-1] ^ 1])
        answers += lab.send(data) if len(seen) < 4 else 0
        if how == "whole":
            seen.add(index)
    assert answers == (1 if len(seen) == 4 else 0)


@pytest.mark.requirement("FRAG-40")
def test_more_fragments_than_before_begin_anew_and_fewer_are_ignored() -> None:
    lab = Lab()
    coarse, fine = lab.fragments(1000), lab.fragments(600)
    assert len(fine) > len(coarse)
    assert lab.send(*coarse[:-1]) == 0
    assert lab.send(*fine[:-1]) == 0
    assert lab.send(coarse[-1]) == 0
    assert lab.send(fine[-1]) == 1


@pytest.mark.requirement("FRAG-44", "FRAG-45", "FRAG-46", "FRAG-47")
def test_an_incomplete_message_is_forgotten_in_time_and_harms_nothing() -> None:
    lab = Lab(Limits(fragments_wait=5.0))
    parts = lab.fragments()
    lab.send(*parts[:-1])
    lab.pair.run_for(6.0)
    assert lab.send(parts[-1]) == 0
    assert lab.pair.responder.endpoint.sa(lab.theirs).state == "established"
    assert lab.send(*parts[:-1]) == 1


@pytest.mark.requirement("FRAG-48", "FRAG-49")
def test_of_an_answered_request_only_the_first_fragment_draws_the_answer_again() -> None:
    lab = Lab()
    parts = lab.fragments()
    assert lab.send(*parts) == 1
    lab.pair.run_for(2.0)
    assert lab.send(parts[1], parts[2], parts[3]) == 0
    assert lab.send(parts[0]) == 1
    assert lab.answers[-1].repeat


@pytest.mark.requirement("FRAG-55", "FRAG-56", "FRAG-57", "IKE-247")
@pytest.mark.parametrize("limits", [Limits(fragments=3), Limits(fragments_octets=2000)])
def test_a_message_beyond_the_limits_ends_the_sa_that_sent_it(limits: Limits) -> None:
    lab = Lab(limits)
    lab.send(*lab.fragments())
    assert lab.pair.responder.endpoint.sas == ()
    assert Limits().fragments_octets <= 65_536


@pytest.mark.requirement("FRAG-05", "FRAG-06")
def test_without_agreement_a_fragment_is_nothing() -> None:
    lab = Lab(transports=Transports(fragmentation="no"))
    assert lab.send(*lab.fragments()) == 0
    assert lab.pair.responder.endpoint.sa(lab.theirs).state == "established"


@pytest.mark.requirement("TCP-75", "FRAG-42")
def test_over_tcp_fragments_are_taken_and_whole_messages_sent() -> None:
    lab = Lab(transports=Transports(policy=BySize(threshold=0)))
    bare = BareEndpoint()
    host = lab.pair.network.attach(bare, Local(("10.0.0.9", 500)))
    stream = bare.open(DESTINATION)
    host.flush()
    lab.pair.run_for(0.1)
    for part in lab.fragments():
        bare.write(stream, part)
    host.flush()
    lab.pair.run_for(0.5)
    assert [each.transport for each in lab.answers] == ["tcp"]
    sent = [each for each in lab.pair.initiator.of(MessageSent) if each.exchange == "IKE_AUTH"]
    assert [each.transport for each in sent] == ["tcp"]
    carried = [packet.data for packet in lab.pair.network.wire if packet.transport == "tcp" and packet.data]
    protected = [decode_envelope(data) for data in carried if data[18] != Exchange.IKE_SA_INIT and data[17] == 0x20]
    ours = [each for each in protected if each.header.exchange == Exchange.IKE_AUTH]
    assert ours
    assert all(isinstance(each.encrypted, Encrypted) for each in ours)


# --- what a peer with keys may try ------------------------------------------------------------------------------------


class OneFragment(Protection):
    """Seals one fragment on its own, whatever its numbers are, behind unprotected payloads if wanted."""

    def one(
        self, fields: tuple[bytes, bytes, int, int, int], number: int, total: int, content: bytes, before: bytes = b""
    ) -> bytes:
        spi_i, spi_r, exchange, flags, message_id = fields
        padded = self._pad(content)
        length = 8 + self._suite.iv_length + len(padded) + self._suite.icv_length
        first = before[:1] if before else b"\x35"
        header = struct.pack(
            "!8s8sc3BII", spi_i, spi_r, first, 0x20, exchange, flags, message_id, 28 + len(before[1:]) + length
        )
        return self._protect(header + before[1:] + struct.pack("!BBHHH", 0, 0, length, number, total), padded)


class Crooked(Lab):
    """Makes fragments that nobody ought to send, with a good ICV."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        keys = self.pair.initiator.endpoint.sa(self.sa).export_keys()
        suite = IkeSuite(Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_256, None, Ke.CURVE25519)
        self.crooked = OneFragment(suite, keys.sk_ei, b"", random=lambda size: bytes(size))

    def one(self, number: int, total: int, content: bytes = b"", *, message_id: int = 2, before: bytes = b"") -> bytes:
        fields = (*self.spis, int(Exchange.INFORMATIONAL), INITIATOR, message_id)
        return self.crooked.one(fields, number, total, content, before)

    @property
    def alive(self) -> bool:
        return self.theirs in self.pair.responder.endpoint.sas


@pytest.mark.requirement("FRAG-35", "FRAG-36", "FRAG-15", "FRAG-16")
@pytest.mark.parametrize(("number", "total"), [(0, 0), (0, 4), (1, 0), (5, 4), (65535, 4), (65535, 65534)])
def test_numbers_that_cannot_be_are_dropped_and_leave_what_is_there(number: int, total: int) -> None:
    lab = Crooked()
    parts = lab.fragments()
    lab.send(*parts[:2])
    assert lab.send(lab.one(number, total, b"x")) == 0
    assert lab.alive
    assert lab.send(*parts[2:]) == 1


@pytest.mark.requirement("FRAG-57", "FRAG-55")
@pytest.mark.parametrize(("number", "total"), [(65535, 65535), (1, 65535), (257, 257)])
def test_more_fragments_than_anybody_needs_end_the_sa(number: int, total: int) -> None:
    lab = Crooked()
    lab.send(lab.one(number, total, b"x"))
    assert not lab.alive
    assert not lab.pair.responder.of(InternalError)


NUMBERED = {
    (number, total): decode_envelope(
        encode_message(
            spi_i=b"i" * 8,
            spi_r=b"r" * 8,
            exchange=Exchange.INFORMATIONAL,
            flags=INITIATOR,
            message_id=2,
            payloads=[EncryptedFragment(43 if number == 1 else 0, number, total, bytes(40))],
        )
    )
    for total in (1, 2, 3, 5)
    for number in range(1, total + 1)
}


@pytest.mark.requirement("FRAG-37", "FRAG-38", "FRAG-40", "FRAG-42")
@given(st.lists(st.sampled_from(sorted(NUMBERED)), max_size=30))
def test_whatever_totals_come_in_whatever_order_two_sets_are_never_mixed(schedule: list[tuple[int, int]]) -> None:
    fragments, expected = Fragments(), dict[int, bytes]()
    total_now = 0
    for number, total in schedule:
        envelope, content = NUMBERED[number, total], b"%d of %d;" % (number, total)
        assert isinstance(envelope.encrypted, EncryptedFragment)
        whole = fragments.add(envelope, envelope.encrypted, content, Limits(), 0.0)
        if total > total_now:
            total_now, expected = total, {}
        if total == total_now:
            expected.setdefault(number, content)
        if len(expected) < total_now:
            assert whole is None
            continue
        assert whole is not None
        assert whole[1] == b"".join(expected[each] for each in range(1, total_now + 1))
        assert whole[0].encrypted is not None
        assert whole[0].encrypted.inner_first == 43
        total_now, expected = 0, {}


@pytest.mark.requirement("FRAG-20", "FRAG-26", "FRAG-42")
def test_one_fragment_of_one_and_empty_fragments() -> None:
    lab = Crooked()
    assert lab.send(lab.one(1, 1)) == 1
    lab = Crooked()
    assert lab.send(lab.one(1, 3), lab.one(3, 3)) == 0
    assert lab.send(lab.one(2, 3)) == 1


@pytest.mark.requirement("FRAG-48")
def test_fragments_of_two_messages_are_kept_apart() -> None:
    lab = Lab()
    now, later = lab.fragments(), lab.fragments(message_id=3)
    for one, other in zip(now[:-1], later[:-1], strict=True):
        assert lab.send(other, one) == 0
    assert lab.send(now[-1]) == 1
    lab.send(*later)
    answered = {each.message_id for each in lab.pair.responder.of(MessageSent) if each.is_response}
    assert {2, 3} <= answered


@pytest.mark.requirement("FRAG-34", "FRAG-13")
def test_unprotected_payloads_before_the_fragments() -> None:
    vendor = bytes([43]) + struct.pack("!BBH", 53, 0, 4 + 6) + b"hello!"
    lab = Crooked()
    assert lab.send(lab.one(2, 2, before=vendor), lab.one(1, 2, before=vendor)) == 1
    received = lab.pair.responder.of(MessageReceived)[-1]
    assert received.payloads == ("VENDOR",), "those of the first fragment, and no others"
    behind = lab.one(1, 1)
    behind = behind[:28] + bytes([43]) + behind[29:] + struct.pack("!BBH", 0, 0, 4)
    behind = behind[:24] + struct.pack("!I", len(behind)) + behind[28:]
    lab = Crooked()
    assert lab.send(behind) == 0
    assert lab.alive


@pytest.mark.requirement("FRAG-39", "FRAG-41")
@pytest.mark.parametrize("at", [0, 16, 20, 33, 35, 40, -1])
def test_a_forgery_in_the_middle_changes_nothing(at: int) -> None:
    lab = Lab()
    parts = lab.fragments()
    lab.send(*parts[:2])
    forged = bytearray(lab.fragments(600)[3])
    forged[at] ^= 0x40
    assert lab.send(bytes(forged)) == 0
    assert lab.send(*parts[2:]) == 1


def test_putting_together_takes_time_in_proportion() -> None:
    """A library that searched or copied all that is there for each fragment would take 64 times as long."""

    def took(total: int) -> float:
        limits = Limits(fragments=total, fragments_octets=10**6)
        lab = Crooked()
        envelopes = [decode_envelope(lab.one(number, total, b"x")) for number in range(1, total + 1)]
        best = inf
        for _ in range(3):
            fragments, start = Fragments(FragmentBudget(10**7)), process_time()
            for envelope in envelopes:
                assert isinstance(envelope.encrypted, EncryptedFragment)
                whole = fragments.add(envelope, envelope.encrypted, b"x", limits, 0.0)
            assert whole is not None
            best = min(best, process_time() - start)
        return best

    assert took(4000) < 24 * took(500)


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FRAG-55", "IKE-247")
def test_all_that_strangers_leave_unfinished_is_bounded_together() -> None:
    rig = Rig(limits=Limits(fragments_unproved=100_000))
    strangers = []
    for number in range(20):
        puppet = Puppet(rig, address=(f"10.3.0.{number}", 500), seed=900 + number)
        puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
        first, plaintext = encode_payloads([VendorId(bytes(30_000)), *puppet.auth()])
        assert puppet.keys is not None
        parts = puppet.keys.seal_fragments(Exchange.IKE_AUTH, 0, 1, first, plaintext, 16_000, 1)
        assert len(parts) == 2
        assert puppet.give(parts[0]) == []
        strangers.append((puppet, parts))
    kept = [puppet.give(parts[1]) != [] for puppet, parts in reversed(strangers)]
    assert kept == [True] * 6 + [False] * 14, "the newest, as many as fit"
    puppet, parts = strangers[0]
    assert len(puppet.give(parts[0])) == 1, "who lost some is none the worse, and sends them again"


@pytest.mark.requirement("IKE-247")
def test_what_stands_unprotected_before_a_fragment_is_kept_as_octets() -> None:
    """Decoded, a Delete payload of 20,000 octets takes twenty times as many."""
    body = struct.pack("!BBH10000H", 9, 2, 10_000, *range(10_000))
    first = Crooked().one(1, 2, before=bytes([Delete.TYPE]) + struct.pack("!BBH", 53, 0, 4 + len(body)) + body)
    fragments = Fragments(budget := FragmentBudget(10**6))
    gc.collect()
    tracemalloc.start()
    try:
        envelope = decode_envelope(first)
        assert isinstance(envelope.encrypted, EncryptedFragment)
        fragments.add(envelope, envelope.encrypted, b"x", Limits(), 0.0)
        del envelope
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 5_000, "besides the message itself"
    finally:
        tracemalloc.stop()
    assert budget.octets == len(first)


def test_a_peer_that_proved_itself_has_only_its_own_bounds() -> None:
    rig = Rig(limits=Limits(fragments_unproved=1000))
    puppet = Puppet(rig)
    puppet.begin([*puppet.init_payloads(), Notification(Notify.IKEV2_FRAGMENTATION_SUPPORTED)])
    puppet.authenticate()
    assert puppet.keys is not None
    parts = puppet.keys.seal_fragments(Exchange.INFORMATIONAL, 0, 2, *encode_payloads(LONG), 1000, 1)
    assert [len(puppet.give(part)) for part in parts] == [0, 0, 0, 1]


def test_a_budget_counts_what_is_there() -> None:
    budget = FragmentBudget(100)
    owners = [Fragments(budget) for _ in range(3)]
    budget.holds(owners[0], 60)
    budget.holds(owners[1], 40)
    assert budget.octets == 100
    budget.holds(owners[1], 20)
    budget.holds(owners[0], 0)
    assert budget.octets == 20
    owners[1].authenticated()
    assert budget.octets == 0
    budget.holds(owners[2], 101)
    assert budget.octets == 0


@pytest.mark.requirement("FRAG-01", "FRAG-04")
def test_both_sides_say_so_in_ike_sa_init() -> None:
    pair = Pair()
    pair.establish()
    first, second = pair.rungs()[:2]
    name = f"N({Notify.IKEV2_FRAGMENTATION_SUPPORTED.name})"
    assert name in first.payloads
    assert name in second.payloads
