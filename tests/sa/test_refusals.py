"""What an error notification of the peer becomes: one table for every exchange."""

from __future__ import annotations

import pytest

from ikecore.errors import PeerRefused, RemoteProtocolError
from ikecore.sa.refusals import CHILD_REFUSED, REFUSALS, refusal
from ikecore.wire import Contents, Notification, match
from ikecore.wire.numbers import Exchange, Notify

EXCHANGES = pytest.mark.parametrize(
    "exchange", [Exchange.IKE_SA_INIT, Exchange.IKE_AUTH, Exchange.CREATE_CHILD_SA], ids=lambda each: each.name
)


def refused(exchange: int, *numbers: int) -> Contents:
    contents = match(exchange, True, [Notification(number) for number in numbers])
    assert contents.shape == "refused"
    return contents


@pytest.mark.requirement("IKE-279")
@EXCHANGES
@pytest.mark.parametrize("number", REFUSALS, ids=lambda number: Notify(number).name)
def test_a_refusal_with_a_class_is_that_whose_notification_it_is(exchange: int, number: int) -> None:
    kind, words = REFUSALS[number]
    error = refusal(refused(exchange, number))
    assert type(error) is kind
    assert (error.notify, str(error)) == (number, words)


@pytest.mark.requirement("IKE-279")
@EXCHANGES
@pytest.mark.parametrize(
    ("number", "name"),
    [(Notify.INVALID_SYNTAX, "INVALID_SYNTAX"), (Notify.NO_ADDITIONAL_SAS, "NO_ADDITIONAL_SAS"), (9999, "9999")],
)
def test_any_other_is_told_by_its_name(exchange: int, number: int, name: str) -> None:
    error = refusal(refused(exchange, number))
    assert isinstance(error, PeerRefused)
    assert (error.notify_type, str(error)) == (number, f"the peer answered {name}")


@EXCHANGES
def test_the_first_error_counts_and_what_is_none_does_not(exchange: int) -> None:
    told = refused(exchange, Notify.SET_WINDOW_SIZE, Notify.TEMPORARY_FAILURE, Notify.NO_PROPOSAL_CHOSEN)
    assert type(refusal(told)) is REFUSALS[Notify.TEMPORARY_FAILURE][0]


def test_what_refuses_a_child_sa_has_a_notification_that_tells_so() -> None:
    for kind in CHILD_REFUSED:
        assert issubclass(kind, RemoteProtocolError)
        assert REFUSALS[kind.notify or 0][0] is kind
