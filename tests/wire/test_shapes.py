"""Shapes: every form of the figures in RFC 7296, each payload removed, doubled and moved, errors, unknown payloads."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.errors import InvalidSyntax, LocalProtocolError, UnsupportedCriticalPayload
from ikecore.wire import (
    ANY_ERROR,
    SHAPES,
    Authentication,
    Certificate,
    CertificateRequest,
    Configuration,
    Contents,
    Delete,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notification,
    Payload,
    Proposal,
    SecurityAssociation,
    TrafficSelector,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    Transform,
    UnknownPayload,
    VendorId,
    match,
)
from ikecore.wire.numbers import Exchange, Notify, PayloadType
from tests.wire.strategies import CHAINS, outcome

SELECTOR = TrafficSelector(7, 0, 0, 65535, bytes(4), b"\xff" * 4)
SA = SecurityAssociation((Proposal(1, 1, b"", (Transform(1, 20),)),))
KE, NONCE = KeyExchange(31, bytes(32)), Nonce(bytes(32))
IDI, IDR = IdentificationInitiator(2, b"i"), IdentificationResponder(2, b"r")
CERT, CERTREQ, AUTH = Certificate(4, b"c"), CertificateRequest(4, bytes(20)), Authentication(2, b"a")
TSI, TSR = TrafficSelectorsInitiator((SELECTOR,)), TrafficSelectorsResponder((SELECTOR,))
VENDOR, STATUS, DELETE = VendorId(b"v"), Notification(Notify.INITIAL_CONTACT), Delete(1)
CP, EAP = Configuration(1), Eap(1, 1, b"\1")
COOKIE, GROUP = Notification(Notify.COOKIE, b"c"), Notification(Notify.INVALID_KE_PAYLOAD, b"\0\x1f")
ERROR, UNKNOWN_ERROR = Notification(Notify.NO_PROPOSAL_CHOSEN), Notification(9999)
UNKNOWN, CRITICAL = UnknownPayload(200, False, b"u"), UnknownPayload(201, True, b"u")

INIT, AUTHENTICATE, CREATE = Exchange.IKE_SA_INIT, Exchange.IKE_AUTH, Exchange.CREATE_CHILD_SA
INTERMEDIATE, FOLLOWUP, INFORMATIONAL = Exchange.IKE_INTERMEDIATE, Exchange.IKE_FOLLOWUP_KE, Exchange.INFORMATIONAL

FORMS: list[tuple[int, bool, str, list[Payload]]] = [
    (INIT, False, "initiate", [SA, KE, NONCE]),
    (INIT, False, "initiate", [COOKIE, SA, KE, NONCE, STATUS, STATUS, VENDOR, VENDOR]),
    (INIT, True, "cookie wanted", [COOKIE]),
    (INIT, True, "cookie wanted", [VENDOR, STATUS, COOKIE]),
    (INIT, True, "another group wanted", [GROUP]),
    (INIT, True, "refused", [ERROR]),
    (INIT, True, "refused", [UNKNOWN_ERROR, STATUS]),
    (INIT, True, "refused", [SA, KE, NONCE, ERROR]),
    (INIT, True, "refused", [SA, KE, NONCE, GROUP]),
    (INIT, True, "accepted", [SA, KE, NONCE, STATUS, CERTREQ, VENDOR]),
    (INIT, True, "accepted", [SA, KE, NONCE, COOKIE]),
    (INTERMEDIATE, False, "intermediate", [KE]),
    (INTERMEDIATE, False, "intermediate", [STATUS]),
    (INTERMEDIATE, True, "intermediate", [KE, STATUS]),
    (INTERMEDIATE, True, "refused", [ERROR]),
    (AUTHENTICATE, False, "authenticate", [IDI, AUTH, SA, TSI, TSR]),
    (
        AUTHENTICATE,
        False,
        "authenticate",
        [IDI, CERT, CERT, STATUS, CERTREQ, CERTREQ, IDR, AUTH, CP, SA, TSI, TSR, STATUS, VENDOR],
    ),
    (AUTHENTICATE, False, "authenticate childless", [IDI, AUTH]),
    (AUTHENTICATE, False, "authenticate childless", [IDI, CERT, IDR, AUTH, STATUS]),
    (AUTHENTICATE, False, "eap wanted", [IDI, SA, TSI, TSR]),
    (AUTHENTICATE, False, "eap wanted", [IDI, CERTREQ, IDR, CP]),
    (AUTHENTICATE, False, "eap", [EAP]),
    (AUTHENTICATE, False, "eap finished", [AUTH]),
    (AUTHENTICATE, True, "established", [IDR, CERT, AUTH, SA, TSI, TSR, STATUS, CP]),
    (AUTHENTICATE, True, "established without child", [IDR, AUTH]),
    (AUTHENTICATE, True, "established without child", [IDR, CERT, AUTH, ERROR]),
    (AUTHENTICATE, True, "eap", [IDR, CERT, AUTH, EAP]),
    (AUTHENTICATE, True, "eap", [EAP]),
    (AUTHENTICATE, True, "eap established", [AUTH, CP, SA, TSI, TSR]),
    (AUTHENTICATE, True, "refused", [ERROR]),
    (AUTHENTICATE, True, "refused", [IDR, UNKNOWN_ERROR, STATUS]),
    (CREATE, False, "rekey ike", [SA, NONCE, KE]),
    (CREATE, False, "child", [SA, NONCE, TSI, TSR]),
    (CREATE, False, "child", [STATUS, SA, NONCE, KE, TSI, TSR, CP]),
    (CREATE, True, "rekey ike", [SA, NONCE, KE, STATUS]),
    (CREATE, True, "child", [SA, NONCE, KE, TSI, TSR]),
    (CREATE, True, "refused", [ERROR]),
    (CREATE, True, "refused", [SA, NONCE, TSI, TSR, ERROR]),
    (FOLLOWUP, False, "follow-up", [KE, Notification(Notify.ADDITIONAL_KEY_EXCHANGE, b"link")]),
    (FOLLOWUP, True, "follow-up", [KE]),
    (FOLLOWUP, True, "refused", [ERROR]),
    (INFORMATIONAL, False, "any", []),
    (INFORMATIONAL, False, "any", [DELETE, DELETE, STATUS, CP, VENDOR]),
    (INFORMATIONAL, True, "any", []),
    (INFORMATIONAL, True, "any", [DELETE]),
]

BROKEN: list[tuple[int, bool, list[Payload]]] = [
    (INIT, False, []),
    (INIT, False, [SA, KE]),
    (INIT, False, [SA, NONCE]),
    (INIT, False, [KE, NONCE]),
    (INIT, False, [SA, SA, KE, NONCE]),
    (INIT, False, [SA, KE, KE, NONCE]),
    (INIT, False, [SA, KE, NONCE, NONCE]),
    (INIT, False, [SA, KE, NONCE, AUTH]),
    (INIT, False, [SA, KE, NONCE, DELETE]),
    (INIT, True, []),
    (INIT, True, [STATUS]),
    (INIT, True, [SA, KE, NONCE, IDR]),
    (AUTHENTICATE, False, []),
    (AUTHENTICATE, False, [IDI, AUTH, AUTH, SA, TSI, TSR]),
    (AUTHENTICATE, False, [IDI, IDI, AUTH, SA, TSI, TSR]),
    (AUTHENTICATE, False, [IDI, AUTH, SA, TSI]),
    (AUTHENTICATE, False, [IDI, AUTH, TSI, TSR]),
    (AUTHENTICATE, False, [IDR, AUTH, SA, TSI, TSR]),
    (AUTHENTICATE, False, [IDI, AUTH, SA, TSI, TSR, NONCE]),
    (AUTHENTICATE, True, []),
    (AUTHENTICATE, True, [IDR, SA, TSI, TSR]),
    (AUTHENTICATE, True, [IDR, AUTH, SA]),
    (AUTHENTICATE, True, [IDI, AUTH, SA, TSI, TSR]),
    (CREATE, False, []),
    (CREATE, False, [SA, NONCE]),
    (CREATE, False, [SA, TSI, TSR]),
    (CREATE, False, [SA, NONCE, TSI]),
    (CREATE, True, [STATUS]),
    (INTERMEDIATE, False, [KE, KE]),
    (FOLLOWUP, False, [KE]),
    (INFORMATIONAL, False, [SA]),
    (INFORMATIONAL, True, [EAP]),
    (Exchange.IKE_SESSION_RESUME, False, [NONCE]),
    (99, False, []),
]


@pytest.mark.parametrize(("exchange", "is_response", "shape", "payloads"), FORMS)
def test_forms_of_the_figures(exchange: int, is_response: bool, shape: str, payloads: list[Payload]) -> None:
    assert match(exchange, is_response, payloads).shape == shape


def test_every_shape_of_the_table_has_a_form() -> None:
    shown = {(exchange, is_response, shape) for exchange, is_response, shape, _ in FORMS}
    table = {(*key, shape.name) for key, shapes in SHAPES.items() for shape in shapes}
    assert table == shown


@pytest.mark.requirement("IKE-242")
@pytest.mark.parametrize(("exchange", "is_response", "payloads"), BROKEN)
def test_no_form_of_any_figure(exchange: int, is_response: bool, payloads: list[Payload]) -> None:
    with pytest.raises(InvalidSyntax) as caught:
        match(exchange, is_response, payloads)
    assert str(caught.value).isprintable()


@pytest.mark.requirement("IKE-092")
@pytest.mark.parametrize(("exchange", "is_response", "shape", "payloads"), FORMS)
def test_order_never_matters(exchange: int, is_response: bool, shape: str, payloads: list[Payload]) -> None:
    orders = [payloads[::-1], *itertools.islice(itertools.permutations(payloads), 200)]
    for order in orders:
        assert match(exchange, is_response, order).shape == shape


@pytest.mark.requirement("IKE-087", "IKE-284")
@pytest.mark.parametrize(("exchange", "is_response", "shape", "payloads"), FORMS)
def test_unknown_payloads_and_any_number_of_vendor_ids_change_nothing(
    exchange: int, is_response: bool, shape: str, payloads: list[Payload]
) -> None:
    more = [UNKNOWN, *payloads, UNKNOWN, *[VendorId(bytes([number])) for number in range(40)]]
    assert match(exchange, is_response, more).shape == shape


@pytest.mark.requirement("IKE-088", "IKE-090")
@pytest.mark.parametrize(("exchange", "is_response", "shape", "payloads"), FORMS)
def test_unknown_critical_payload_is_told_apart(
    exchange: int, is_response: bool, shape: str, payloads: list[Payload]
) -> None:
    with pytest.raises(UnsupportedCriticalPayload) as caught:
        match(exchange, is_response, [*payloads, CRITICAL])
    assert caught.value.payload_type == 201
    assert caught.value.notify_data == b"\xc9"


@pytest.mark.parametrize(("exchange", "is_response", "shape", "payloads"), FORMS)
def test_each_payload_removed_or_doubled_is_a_shape_or_a_typed_error(
    exchange: int, is_response: bool, shape: str, payloads: list[Payload]
) -> None:
    for at in range(len(payloads)):
        for changed in (payloads[:at] + payloads[at + 1 :], [*payloads, payloads[at]]):
            found = outcome(lambda changed=changed: match(exchange, is_response, changed))  # type: ignore[misc]
            assert isinstance(found, (Contents, InvalidSyntax))


@pytest.mark.requirement("IKE-279")
def test_unknown_error_in_a_response_means_that_the_request_failed() -> None:
    for exchange in (INIT, CREATE, INTERMEDIATE, FOLLOWUP, AUTHENTICATE):
        contents = match(exchange, True, [STATUS, UNKNOWN_ERROR])
        assert contents.shape == "refused"
        assert contents.error() is UNKNOWN_ERROR


@pytest.mark.requirement("IKE-280")
def test_unknown_notifications_in_requests_are_ignored() -> None:
    for notification in (UNKNOWN_ERROR, Notification(50000), ERROR):
        assert match(INIT, False, [SA, KE, NONCE, notification]).shape == "initiate"
        assert match(CREATE, False, [SA, NONCE, TSI, TSR, notification]).shape == "child"
    assert match(INIT, True, [SA, KE, NONCE, Notification(50000)]).shape == "accepted"


def test_contents() -> None:
    contents = match(AUTHENTICATE, False, [STATUS, CERT, IDI, AUTH, Certificate(4, b"d"), UNKNOWN])
    assert contents.one(IdentificationInitiator) is IDI
    assert contents.maybe(Authentication) is AUTH
    assert contents.maybe(Configuration) is None
    assert contents.all(Certificate) == [CERT, Certificate(4, b"d")]
    assert contents.all(SecurityAssociation) == []
    assert contents.notify(Notify.INITIAL_CONTACT) is STATUS
    assert contents.notify(Notify.COOKIE) is None
    assert contents.notifies(Notify.INITIAL_CONTACT) == [STATUS]
    assert contents.error() is None
    assert len(contents.payloads) == 6
    with pytest.raises(LocalProtocolError, match="authenticate childless"):
        contents.one(SecurityAssociation)


def test_lists_of_contents_are_the_callers_own() -> None:
    contents = match(INFORMATIONAL, False, [DELETE])
    contents.all(Delete).clear()
    assert contents.all(Delete) == [DELETE]


def test_what_a_shape_says_is_there_is_there() -> None:
    for shapes in SHAPES.values():
        for shape in shapes:
            assert all(0 <= least <= most for least, most in shape.payloads.values())
            if shape.notify is not None:
                assert shape.payloads[PayloadType.NOTIFY][0] == 1
                assert shape.notify == ANY_ERROR or shape.notify in list(Notify)


@given(st.sampled_from(sorted(SHAPES)), CHAINS)
def test_any_payloads_have_a_shape_or_a_typed_error(key: tuple[int, bool], payloads: list[Payload]) -> None:
    found = outcome(lambda: match(*key, payloads))
    assert isinstance(found, (Contents, InvalidSyntax, UnsupportedCriticalPayload))
    if isinstance(found, Contents):
        shape = next(shape for shape in SHAPES[key] if shape.name == found.shape)
        for kind, (least, most) in shape.payloads.items():
            assert least <= len([item for item in payloads if kind == item.TYPE]) <= most
