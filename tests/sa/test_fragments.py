"""Fragments of a protected message (RFC 7383): put together, whatever order, copies and forgeries they come in."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore import Limits, MessageReceived, MessageSent, Transports
from ikecore.crypto import IkeSuite, Protection
from ikecore.testing import BareEndpoint, Pair, psk_connection
from ikecore.transport import BySize, Local
from ikecore.wire import Encrypted, Payload, VendorId, decode_envelope, encode_payloads
from ikecore.wire.numbers import INITIATOR, Encr, Exchange, Ke, Notify, Prf

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
    lab = Lab(transports=Transports(fragmentation=False))
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


@pytest.mark.requirement("FRAG-01", "FRAG-04")
def test_both_sides_say_so_in_ike_sa_init() -> None:
    pair = Pair()
    pair.establish()
    first, second = pair.rungs()[:2]
    name = f"N({Notify.IKEV2_FRAGMENTATION_SUPPORTED.name})"
    assert name in first.payloads
    assert name in second.payloads
