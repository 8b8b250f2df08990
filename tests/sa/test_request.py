"""One message in flight: sealed once, the same octets for ever."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto import IkeKeys, IkeSuite, Protection
from ikecore.errors import LocalProtocolError
from ikecore.outputs import StreamId
from ikecore.sa import Message, OutgoingRequest, OutgoingResponse, payload_names
from ikecore.sa.keys import SaKeys, Unsealed
from ikecore.transport import DatagramPath, StreamPath
from ikecore.wire import Nonce, Notification, Payload, UnknownPayload, decode_envelope
from ikecore.wire.numbers import IKE_TCP_SUPPORTED_DEFAULT, RESPONSE, Encr, Ke, Notify, Prf

NOBODY: Any = None
PATH = DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 500), False)


class Sealer:
    """Seals each time to something else, as an AEAD with a counter does."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return b"sealed %d" % self.count


@pytest.mark.requirement("IKE-051", "IKE-054", "IKE-289", "TCP-14")
def test_a_message_is_sealed_once_and_only_when_it_is_wanted() -> None:
    seal = Sealer()
    message = Message(37, 5, seal, ())
    assert seal.count == 0
    assert message.whole == message.whole == b"sealed 1"
    assert seal.count == 1


SUITE = IkeSuite(Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_256, None, Ke.CURVE25519)


def unsealed(plaintext: bytes) -> tuple[Unsealed, Protection]:
    """A message of an SA whose sealing direction is also returned as an opening one."""
    opening = Protection(SUITE, bytes(36), b"", random=bytes)
    spis, zeros = (b"i" * 8, b"r" * 8), IkeKeys(*map(bytes, (32, 0, 0, 36, 36, 32, 32)))
    keys = SaKeys.make("responder", spis, SUITE, (b"", b""), zeros, bytes)
    return Unsealed(keys, 37, RESPONSE, 5, 43, plaintext), opening


@pytest.mark.requirement("FRAG-12", "FRAG-14", "FRAG-15", "FRAG-19", "FRAG-33", "IKE-051")
@given(
    octets=st.integers(600, 9000),
    rooms=st.lists(st.integers(200, 1500), min_size=1, max_size=6),
    whole_at=st.integers(0, 6),
)
def test_every_form_is_sealed_once_and_smaller_fragments_are_more(octets: int, rooms: list[int], whole_at: int) -> None:
    plaintext = bytes(number % 251 for number in range(octets))
    made, opening = unsealed(plaintext)
    message = Message(37, 5, made.whole, (), fragment=made.fragments, length=made.length)
    seen: dict[bytes, bytes] = {}
    forms: list[tuple[bytes, ...]] = []
    for turn, room in enumerate(rooms):
        if turn == whole_at:
            seen[message.whole[32:40]] = message.whole
        form = message.datagrams(room)
        assert message.datagrams(room) == form
        if forms and len(forms[-1]) > 1 and form != forms[-1] and len(form) > 1:
            assert len(form) > len(forms[-1])
        if made.keys.suite.sealed_length(octets) <= room:
            assert form == (message.whole,)
            assert len(message.whole) == made.keys.suite.sealed_length(octets)
            continue
        forms.append(form)
        assert max(map(len, form)) <= min(rooms[: turn + 1])
        envelopes = [decode_envelope(data) for data in form]
        assert b"".join(opening.open(each.data, each.body) for each in envelopes) == plaintext
        for each in envelopes:
            iv = each.data[each.body :][:8]
            assert seen.setdefault(iv, each.data) == each.data, "one nonce, two messages"


@pytest.mark.requirement("FRAG-33")
def test_a_smaller_size_makes_more_fragments_even_if_as_many_would_do() -> None:
    made, _ = unsealed(bytes(1300))
    message = Message(37, 5, made.whole, (), fragment=made.fragments, length=made.length)
    assert [len(data) for data in message.datagrams(1252)] == [1252, 36 + 8 + 16 + 1 + 1300 - 1191]
    assert len(message.datagrams(1000)) == 3


def test_what_goes_in_fragments_is_not_sealed_whole_besides() -> None:
    made, opening = unsealed(bytes(2000))
    request = OutgoingRequest(
        35, 5, made.whole, (), fragment=made.fragments, length=made.length, handler=NOBODY, expected=0, started=0.0
    )
    request.seal()
    assert request.size == made.length
    ivs = [data[36:44] for data in request.datagrams(1252)]
    assert [int.from_bytes(iv, "big") for iv in ivs] == [0, 1]
    assert len(request.whole) == request.size, "a stream takes it whole"
    assert opening.open(request.whole, 32) == bytes(2000)


def test_what_one_payload_cannot_hold_is_refused_at_once() -> None:
    for octets, good in ((65_000, True), (65_536, False)):
        made, _ = unsealed(bytes(octets))
        message = Message(37, 5, made.whole, (), fragment=made.fragments, length=made.length)
        with nullcontext() if good else pytest.raises(LocalProtocolError, match="do not fit"):
            message.seal()


def test_once_settled_a_message_needs_no_keys() -> None:
    made, _ = unsealed(bytes(5000))
    _, opening = unsealed(b"")
    message = OutgoingResponse(37, 5, made.whole, (), fragment=made.fragments, length=made.length)
    message.settle(1252)
    made.keys.forget()
    pieces = message.datagrams(1252)
    assert len(pieces) == 5
    assert message.datagrams(548) == pieces, "there are no smaller ones any more"
    assert len(message.whole) > 5000
    assert opening.open(message.whole, decode_envelope(message.whole).body) == bytes(5000)
    alone = OutgoingResponse(37, 5, lambda: bytes(5000), ())
    alone.settle(None)
    assert alone.datagrams(548) == (bytes(5000),)


def test_what_fits_every_packet_keeps_no_plaintext() -> None:
    made, _ = unsealed(bytes(300))
    gone = weakref.ref(made)
    message = Message(37, 5, made.whole, (), fragment=made.fragments, length=made.length)
    assert message.datagrams(548) == (message.whole,)
    del made
    assert gone() is None


def test_a_request_knows_its_size_before_it_can_be_built() -> None:
    seal = Sealer()
    waiting = OutgoingRequest(34, 0, seal, (), handler=NOBODY, expected=600, started=1.0, size=500)
    assert waiting.size == 500
    assert seal.count == 0
    waiting.built()
    assert waiting.size == len(b"sealed 1")


@pytest.mark.requirement("TCP-17", "TCP-16")
def test_a_request_knows_exactly_the_paths_that_it_went_by() -> None:
    request = OutgoingRequest(37, 1, Sealer(), (), handler=NOBODY, expected=0, started=0.0)
    assert not request.sent_on(PATH)
    request.sent(PATH)
    request.sent(PATH)
    assert request.paths == [PATH]
    assert request.sent_on(DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 500), False))
    assert not request.sent_on(DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 501), False))
    assert not request.sent_on(DatagramPath(("10.0.0.2", 500), ("10.0.0.1", 500), True))
    assert not request.sent_on(StreamPath(StreamId(1), ("10.0.0.2", 500), ("10.0.0.1", 500)))


def test_payloads_by_name() -> None:
    payloads: list[Payload] = [
        Nonce(bytes(16)),
        Notification(Notify.COOKIE, b"c"),
        Notification(IKE_TCP_SUPPORTED_DEFAULT),
        Notification(40000),
        UnknownPayload(200, False, b""),
    ]
    names = payload_names(payloads, {IKE_TCP_SUPPORTED_DEFAULT: "IKE_TCP_SUPPORTED"})
    assert names[:3] == ("NONCE", "N(COOKIE)", "N(IKE_TCP_SUPPORTED)")
    assert "40000" in names[3]
    assert "200" in names[4]
