"""Messages with changed contents and a valid ICV, and IKE_SA_INIT with any change: no exception, nothing left behind.

The endpoints of a pair raise their own bugs (`raise_bugs`), so whatever leaves an input method fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ikecore import IkeSaEstablished, InternalError, parse_selector
from ikecore.testing import Insider, Mangler, Pair
from ikecore.wire import (
    Authentication,
    Certificate,
    CertificateRequest,
    Configuration,
    Delete,
    Eap,
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
    UnknownPayload,
    VendorId,
    decode_payloads,
    encode_payloads,
)
from tests.scenarios.agreement import assert_agreement, outcome

A, B = "10.0.0.1", "10.0.0.2"

OCTETS = st.binary(max_size=40)
TRANSFORMS = st.builds(Transform, st.integers(0, 10), st.integers(0, 50))
PROPOSALS = st.builds(
    Proposal,
    st.integers(0, 3),
    st.integers(0, 5),
    st.sampled_from([b"", b"1234", b"12345678"]),
    st.lists(TRANSFORMS, min_size=1, max_size=5).map(tuple),
)
SELECTORS = st.lists(
    st.sampled_from([parse_selector("0.0.0.0/0"), parse_selector("10.0.0.1"), parse_selector("::/0")]),
    min_size=1,
    max_size=3,
).map(tuple)
PAYLOADS: st.SearchStrategy[Payload] = st.one_of(
    st.builds(Notification, st.integers(0, 65535), OCTETS),
    st.builds(Notification, st.sampled_from([1, 7, 14, 17, 24, 34, 38, 43, 16384, 16388, 16390, 16391, 16417]), OCTETS),
    st.builds(Authentication, st.integers(0, 255), OCTETS),
    st.builds(IdentificationInitiator, st.integers(0, 15), OCTETS),
    st.builds(IdentificationResponder, st.integers(0, 15), OCTETS),
    st.builds(Certificate, st.integers(0, 15), OCTETS),
    st.builds(CertificateRequest, st.integers(0, 15), OCTETS),
    st.builds(KeyExchange, st.sampled_from([0, 14, 19, 31, 32, 999]), OCTETS),
    st.builds(Nonce, st.binary(min_size=16, max_size=40)),
    st.builds(Delete, st.just(1)),
    st.builds(Delete, st.sampled_from([2, 3]), st.lists(st.binary(min_size=4, max_size=4), max_size=4).map(tuple)),
    st.builds(SecurityAssociation, st.lists(PROPOSALS, max_size=3).map(tuple)),
    st.builds(VendorId, OCTETS),
    st.builds(Eap, st.integers(1, 4), st.integers(0, 255), OCTETS),
    st.builds(UnknownPayload, st.sampled_from([1, 49, 100, 200]), st.booleans(), OCTETS),
    st.builds(TrafficSelectorsInitiator, SELECTORS),
    st.builds(TrafficSelectorsResponder, SELECTORS),
    st.builds(Configuration, st.integers(0, 5)),
)
PLACE = st.integers(0, 400)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), PLACE, st.integers(1, 255)),
        st.tuples(st.just("cut"), PLACE, st.integers(1, 60)),
        st.tuples(st.just("insert"), PLACE, OCTETS),
    ),
    min_size=1,
    max_size=4,
)
Edit = tuple[str, int, int | bytes]


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Apply *edits*, each at a place modulo the length."""
    for kind, at, value in edits:
        place = at % (len(data) + 1)
        if isinstance(value, bytes):
            data = data[:place] + value + data[place:]
        elif kind == "cut":
            data = data[:place] + data[place + value :]
        elif place < len(data):
            data = data[:place] + bytes([data[place] ^ value]) + data[place + 1 :]
    return data


def finish(pair: Pair) -> None:
    """Whatever happened, the next attempt works, and both sides can be shut down."""
    for host in (pair.initiator, pair.responder):
        assert host.of(InternalError) == []
        assert len(outcome(host)) == len({event.sa for event in outcome(host)})
    pair.network.manglers.clear()
    sa = pair.initiate()
    pair.run(until=lambda: [event for event in outcome(pair.initiator) if event.sa == sa])
    assert_agreement(pair, sa)
    for host in (pair.initiator, pair.responder):
        host.call(host.endpoint.shutdown)
    pair.run_for(400.0)
    assert pair.initiator.endpoint.idle
    assert pair.responder.endpoint.idle


def converse(pair: Pair) -> None:
    """Set up, and then requests of both sides, as far as it goes."""
    pair.initiate()
    pair.run_for(200.0)
    for host in (pair.initiator, pair.responder):
        for sa in host.endpoint.sas:
            if host.endpoint.sa(sa).state == "established":
                host.call(host.endpoint.check_liveness, sa)
    pair.run_for(200.0)


def rewriting(count: int, change: Callable[[list[Payload]], Sequence[Payload] | bytes]) -> object:
    """Return a rewrite that changes protected message number *count* and passes all others."""
    seen = [0]

    def rewrite(header: Header, payloads: list[Payload]) -> Sequence[Payload] | bytes:
        seen[0] += 1
        return change(payloads) if seen[0] == count + 1 else payloads

    return rewrite


@given(message=st.integers(0, 5), edits=EDITS)
def test_octets_changed_inside_a_protected_message(message: int, edits: list[Edit]) -> None:
    pair = Pair()

    def change(payloads: list[Payload]) -> bytes:
        return edited(encode_payloads(payloads)[1], edits)

    Insider(pair.initiator).rewrite(rewriting(message, change))  # type: ignore[arg-type]
    converse(pair)
    finish(pair)


@given(message=st.integers(0, 5), payloads=st.lists(PAYLOADS, max_size=6), keep=st.lists(st.integers(0, 6), max_size=6))
def test_payloads_of_any_kind_in_a_protected_message(message: int, payloads: list[Payload], keep: list[int]) -> None:
    pair = Pair()

    def change(original: list[Payload]) -> list[Payload]:
        return [*(original[index] for index in keep if index < len(original)), *payloads]

    Insider(pair.initiator).rewrite(rewriting(message, change))  # type: ignore[arg-type]
    converse(pair)
    up = [host.of(IkeSaEstablished) for host in (pair.initiator, pair.responder)]
    assert all(len(each) <= 1 for each in up)
    finish(pair)


@given(message=st.integers(0, 1), edits=EDITS)
def test_octets_changed_in_ike_sa_init(message: int, edits: list[Edit]) -> None:
    pair = Pair()

    def change(data: bytes) -> bytes:
        changed = bytearray(data[:28] + edited(data[28:], edits))
        changed[24:28] = len(changed).to_bytes(4, "big")
        return bytes(changed)

    Mangler(pair.network, transport="udp").change(message, change)
    converse(pair)
    finish(pair)


@given(message=st.integers(0, 1), payloads=st.lists(PAYLOADS, max_size=6), keep=st.lists(st.integers(0, 8), max_size=8))
def test_payloads_of_any_kind_in_ike_sa_init(message: int, payloads: list[Payload], keep: list[int]) -> None:
    pair = Pair()

    def change(data: bytes) -> bytes:
        original = decode_payloads(data[16], data, 28, len(data))
        chosen = [*(original[index] for index in keep if index < len(original)), *payloads]
        first, chain = encode_payloads(chosen)
        return data[:16] + bytes([first]) + data[17:24] + (28 + len(chain)).to_bytes(4, "big") + chain

    Mangler(pair.network, transport="udp").change(message, change)
    converse(pair)
    finish(pair)
