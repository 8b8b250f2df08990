"""Every error that ikecore raises or reports, by who is to blame and how much ends with it.

Four fates, and no fifth:

* `LocalProtocolError`: the caller asked for something impossible; raised to the caller, nothing has changed.
* `RemoteProtocolError`: the peer broke the protocol or refused. Inside the engine it becomes a response and an event
  and never leaves an input method; `ikecore.wire` and `ikecore.framing`, used alone, raise it.
* Octets that are not authenticated are dropped and counted: no error at all.
* A bug of ours is caught at one boundary, becomes the event `InternalError` and ends the one SA concerned.
"""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = [
    "AuthenticationFailed",
    "ChildSaNotFound",
    "FailedCpRequired",
    "FramingError",
    "IkeError",
    "IntegrityError",
    "InternalAddressFailure",
    "InternalFailure",
    "InvalidKePayload",
    "InvalidMajorVersion",
    "InvalidSyntax",
    "LocalProtocolError",
    "NoProposalChosen",
    "PeerRefused",
    "PeerUnreachable",
    "RemoteProtocolError",
    "SaClosed",
    "Scope",
    "SessionClosed",
    "SinglePairRequired",
    "Superseded",
    "TemporaryFailure",
    "TsUnacceptable",
    "UnsupportedCriticalPayload",
]

Scope = Literal["message", "stream", "child", "ike"]
"""What ends with an error: the one message, the stream it came by, the Child SA, or the IKE SA."""


class IkeError(Exception):
    """Base of all errors of ikecore and its adapters."""


class LocalProtocolError(IkeError):
    """The caller asked for something that cannot be done, or cannot be done now."""


class RemoteProtocolError(IkeError):
    """The peer broke the protocol, or refused.

    *octet* is the offset of the fault in the octets that were decoded, where one can be named.
    `notify` is the Notify Message Type that RFC 7296 section 3.10.1 answers with, None where nothing is answered.
    `scope` says how much ends with the error.
    """

    notify: ClassVar[int | None] = None
    scope: ClassVar[Scope] = "ike"

    def __init__(self, message: str, octet: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.octet = octet

    @property
    def notify_data(self) -> bytes:
        """Notification data of the answer (RFC 7296 section 3.10.1)."""
        return b""

    def __str__(self) -> str:
        return self.message if self.octet is None else f"{self.message} (octet {self.octet})"


class InvalidSyntax(RemoteProtocolError):
    """A message or payload is malformed (INVALID_SYNTAX)."""

    notify = 7


class UnsupportedCriticalPayload(RemoteProtocolError):
    """An unknown payload has the critical bit set (RFC 7296 section 2.5)."""

    notify = 1
    scope = "message"

    def __init__(self, payload_type: int, octet: int | None = None) -> None:
        super().__init__(f"unsupported critical payload of type {payload_type}", octet)
        self.payload_type = payload_type

    @property
    def notify_data(self) -> bytes:
        return bytes([self.payload_type])


class InvalidMajorVersion(RemoteProtocolError):
    """The message has a major version other than 2 (RFC 7296 section 2.5)."""

    notify = 5
    scope = "message"

    def __init__(self, version: int, octet: int | None = None) -> None:
        super().__init__(f"major version {version >> 4} is not supported", octet)
        self.version = version


class InvalidKePayload(RemoteProtocolError):
    """The key exchange method of the KE payload is not the wanted one (RFC 7296 section 1.2)."""

    notify = 17
    scope = "message"

    def __init__(self, group: int) -> None:
        super().__init__(f"key exchange method {group} is wanted")
        self.group = group

    @property
    def notify_data(self) -> bytes:
        return self.group.to_bytes(2, "big")


class NoProposalChosen(RemoteProtocolError):
    """None of the proposals is acceptable, to us or to the peer (RFC 7296 section 2.7)."""

    notify = 14


class AuthenticationFailed(RemoteProtocolError):
    """One side could not authenticate the other. The peer never learns which check failed (RFC 7296 section 2.21.2)."""

    notify = 24


class TsUnacceptable(RemoteProtocolError):
    """No traffic selector is acceptable (RFC 7296 section 2.9)."""

    notify = 38
    scope = "child"


class SinglePairRequired(RemoteProtocolError):
    """Only selectors of a single pair of addresses are acceptable (RFC 7296 section 2.9)."""

    notify = 34
    scope = "child"


class InternalAddressFailure(RemoteProtocolError):
    """No address could be assigned, by us or by the peer; the IKE SA lives (RFC 7296 section 3.15.4)."""

    notify = 36
    scope = "child"


class FailedCpRequired(RemoteProtocolError):
    """A Child SA needs an assigned address, and none was asked for (RFC 7296 section 2.19)."""

    notify = 37
    scope = "child"


class TemporaryFailure(RemoteProtocolError):
    """The request cannot be done now and may be repeated later (RFC 7296 section 2.25)."""

    notify = 43
    scope = "message"


class ChildSaNotFound(RemoteProtocolError):
    """The request names a Child SA that does not exist (RFC 7296 section 2.25)."""

    notify = 44
    scope = "message"


class PeerRefused(RemoteProtocolError):
    """The peer answered a request with an error notification that has no class of its own."""

    scope = "message"

    def __init__(self, notify_type: int, name: str, data: bytes = b"") -> None:
        super().__init__(f"the peer answered {name}")
        self.notify_type = notify_type
        self.data = data


class IntegrityError(RemoteProtocolError):
    """The Integrity Check Value is wrong: nobody we know sent this. It is dropped and counted, never answered."""

    scope = "message"


class FramingError(RemoteProtocolError):
    """A byte stream cannot be cut into messages any more. It ends the stream and no SA."""

    scope = "stream"


class InternalFailure(IkeError):
    """A bug of ikecore ended this SA; all others live. The event `InternalError` has the detail: please report it."""


class Superseded(IkeError):
    """What it was for is gone, because something newer has taken its place: not done, and no longer needed."""

    def __init__(self, message: str = "a rekey of the IKE SA took its place") -> None:
        super().__init__(message)


class PeerUnreachable(IkeError):
    """No answer came. *attempts* tells each thing that was tried, in order, in words."""

    def __init__(self, message: str, attempts: tuple[str, ...] = ()) -> None:
        super().__init__(message if not attempts else f"{message}: {'; '.join(attempts)}")
        self.message = message
        self.attempts = attempts


class SaClosed(IkeError):
    """The IKE SA that this was asked of has ended before it was done. *reason* says why, in words.

    So it is where the peer or we deleted the SA. Where no answer came it is `PeerUnreachable`, and where something was
    wrong that error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SessionClosed(SaClosed):
    """The SA that this call of a session needs has ended, and none is set up in its place. *reason* says why."""


def forget_frames(error: BaseException) -> None:
    """Let go of where *error*, which an event tells, was raised, and of the errors that it followed.

    Those frames hold on to an SA with its keys and to the message at fault, for as long as anybody keeps the event.
    """
    error.__traceback__ = error.__context__ = None
    if error.__cause__ is not None:
        forget_frames(error.__cause__)
