"""What the core asks of its host: handles, addresses, and the closed union of actions.

Actions and events (`ikecore.events`) come out of one queue, in the order in which they have to happen. A host carries
out every action; it may ignore any event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NewType, TypeAlias

import attrs

from .record import record

__all__ = [
    "Action",
    "Address",
    "ChildId",
    "CloseStream",
    "HalfCloseStream",
    "OpenStream",
    "Output",
    "QuestionId",
    "RequestId",
    "ResetStream",
    "SaId",
    "SendDatagram",
    "StreamId",
    "WriteStream",
]

Address: TypeAlias = tuple[str, int]
"""An IP literal without scope, and a port."""

SaId = NewType("SaId", int)
"""An IKE SA, for as long as the application knows it: the same through rekeying and a moved IKE_SA_INIT."""
ChildId = NewType("ChildId", int)
"""A Child SA (a pair of ESP or AH SAs)."""
StreamId = NewType("StreamId", int)
"""A TCP connection, from the wish to open it or its acceptance to its end."""
RequestId = NewType("RequestId", int)
"""A wish of the application that ends in one RequestCompleted or RequestFailed."""
QuestionId = NewType("QuestionId", int)
"""A question to the application that `Endpoint.answer` answers."""


def octets_repr(data: bytes) -> str:
    """Show octets in a repr by their number: a repr is for one line, and octets may be anything."""
    return f"<{len(data)} octets>"


def plain(value: Any) -> Any:
    """Turn a field into what JSON can carry: octets as hex, tuples as lists, known numbers by value."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, Output):
        return value.to_dict()
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return int(value)
    if attrs.has(type(value)) and not isinstance(value, BaseException):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


class Output:
    """Base of everything in the queue of outputs."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, with the class name under "type". Secrets are never among them.

        An exception is its sentence, with the name of its class beside it: "error" comes with "error_type".
        """
        values: dict[str, Any] = {"type": type(self).__name__}
        fields: tuple[attrs.Attribute[Any], ...] = getattr(type(self), "__attrs_attrs__", ())
        for field in fields:
            if not field.metadata.get("secret"):
                value = getattr(self, field.name)
                values[field.name] = plain(value)
                if isinstance(value, BaseException):
                    values[f"{field.name}_type"] = type(value).__name__
        return values


@record
class SendDatagram(Output):
    """Send one UDP datagram from the socket bound to *local*. *data* already holds the non-ESP marker, if any."""

    data: bytes = attrs.field(repr=octets_repr)
    local: Address
    remote: Address


@record
class OpenStream(Output):
    """Begin to connect to *remote* over TCP, from the address *local* (any port) unless that is None.

    Ends in `Endpoint.stream_connected` or `Endpoint.stream_lost`.
    """

    stream: StreamId
    remote: Address
    local: str | None


@record
class WriteStream(Output):
    """Write *data*, which is one whole message, behind what is queued. Report progress with `stream_sent`."""

    stream: StreamId
    data: bytes = attrs.field(repr=octets_repr)


@record
class HalfCloseStream(Output):
    """Send FIN once everything queued is written, and keep reading."""

    stream: StreamId


@record
class CloseStream(Output):
    """Close now; a connecting stream's attempt is cancelled. The core is done with the stream."""

    stream: StreamId


@record
class ResetStream(Output):
    """Close with a real RST, dropping what is queued. The core is done with the stream."""

    stream: StreamId


Action: TypeAlias = SendDatagram | OpenStream | WriteStream | HalfCloseStream | CloseStream | ResetStream
