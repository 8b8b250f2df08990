"""Errors: who is to blame, what is answered, how much ends, and that each says what it is in one line."""

from __future__ import annotations

import pytest

from ikecore import errors
from ikecore.errors import (
    AuthenticationFailed,
    ChildSaNotFound,
    FailedCpRequired,
    FramingError,
    IkeError,
    IntegrityError,
    InternalAddressFailure,
    InvalidKePayload,
    InvalidMajorVersion,
    InvalidSyntax,
    LocalProtocolError,
    NoProposalChosen,
    PeerRefused,
    PeerUnreachable,
    RemoteProtocolError,
    SaClosed,
    SessionClosed,
    SinglePairRequired,
    TemporaryFailure,
    TsUnacceptable,
    UnsupportedCriticalPayload,
)
from ikecore.wire.numbers import Notify

REMOTE: list[tuple[RemoteProtocolError, int | None, str, bytes]] = [
    (InvalidSyntax("no"), Notify.INVALID_SYNTAX, "ike", b""),
    (UnsupportedCriticalPayload(200), Notify.UNSUPPORTED_CRITICAL_PAYLOAD, "message", b"\xc8"),
    (InvalidMajorVersion(0x30), Notify.INVALID_MAJOR_VERSION, "message", b""),
    (InvalidKePayload(31), Notify.INVALID_KE_PAYLOAD, "message", b"\0\x1f"),
    (NoProposalChosen("no"), Notify.NO_PROPOSAL_CHOSEN, "ike", b""),
    (AuthenticationFailed("no"), Notify.AUTHENTICATION_FAILED, "ike", b""),
    (TsUnacceptable("no"), Notify.TS_UNACCEPTABLE, "child", b""),
    (SinglePairRequired("no"), Notify.SINGLE_PAIR_REQUIRED, "child", b""),
    (InternalAddressFailure("no"), Notify.INTERNAL_ADDRESS_FAILURE, "child", b""),
    (FailedCpRequired("no"), Notify.FAILED_CP_REQUIRED, "child", b""),
    (TemporaryFailure("no"), Notify.TEMPORARY_FAILURE, "message", b""),
    (ChildSaNotFound("no"), Notify.CHILD_SA_NOT_FOUND, "message", b""),
    (PeerRefused(24, "AUTHENTICATION_FAILED"), None, "message", b""),
    (IntegrityError("no"), None, "message", b""),
    (FramingError("no"), None, "stream", b""),
]


@pytest.mark.requirement("IKE-088", "IKE-015", "IKE-041", "IKE-196", "IKE-198", "IKE-281", "IKE-293")
@pytest.mark.parametrize(("error", "notify", "scope", "data"), REMOTE, ids=lambda value: type(value).__name__)
def test_what_is_answered_and_what_ends(
    error: RemoteProtocolError, notify: int | None, scope: str, data: bytes
) -> None:
    assert (error.notify, error.scope, error.notify_data) == (notify, scope, data)


def test_every_remote_error_is_in_the_table() -> None:
    subclasses = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, RemoteProtocolError) and each is not RemoteProtocolError
    }
    assert {type(error) for error, *_ in REMOTE} == subclasses


def test_blame_is_told_by_class() -> None:
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(PeerUnreachable, RemoteProtocolError)
    for name in errors.__all__:
        each = getattr(errors, name)
        assert name == "Scope" or issubclass(each, IkeError)


def test_an_octet_is_told_where_one_is_known() -> None:
    assert str(InvalidSyntax("bad length", 30)) == "bad length (octet 30)"
    assert str(InvalidSyntax("bad length")) == "bad length"
    assert str(UnsupportedCriticalPayload(200, 28)) == "unsupported critical payload of type 200 (octet 28)"
    assert str(InvalidMajorVersion(0x30)) == "major version 3 is not supported"
    assert str(InvalidKePayload(31)) == "key exchange method 31 is wanted"


def test_attempts_are_told_in_order() -> None:
    error = PeerUnreachable("no answer", ("by UDP: nothing", "by TCP: refused"))
    assert str(error) == "no answer: by UDP: nothing; by TCP: refused"
    assert error.attempts == ("by UDP: nothing", "by TCP: refused")
    assert str(PeerUnreachable("no answer")) == "no answer"


def test_a_refusal_keeps_what_the_peer_said() -> None:
    error = PeerRefused(38, "TS_UNACCEPTABLE", b"\1\2")
    assert (str(error), error.notify_type, error.data) == ("the peer answered TS_UNACCEPTABLE", 38, b"\1\2")


def test_a_closed_session_says_why() -> None:
    assert SessionClosed("the peer deleted it").reason == "the peer deleted it"


def test_an_sa_that_was_deleted_is_not_a_peer_that_did_not_answer() -> None:
    assert SaClosed("the peer deleted it").reason == str(SaClosed("the peer deleted it")) == "the peer deleted it"
    assert issubclass(SessionClosed, SaClosed)
    assert not issubclass(SaClosed, PeerUnreachable | RemoteProtocolError | LocalProtocolError)
