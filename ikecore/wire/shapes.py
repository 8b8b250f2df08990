"""Which payloads a message of each exchange and direction may carry, and how many (RFC 7296 section 1, appendix C).

A message has a shape before it has a handler: `match` finds the first shape of the table that fits, and its name tells
the handler which of the forms in the RFC's figures came. Where a shape says ``(1, 1)`` the payload is there. The order
of payloads never matters (RFC 7296 section 2.5); payloads of unknown type are skipped unless critical.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from operator import attrgetter
from typing import Final, TypeAlias, TypeVar

import attrs

from ..errors import InvalidSyntax, LocalProtocolError, UnsupportedCriticalPayload
from ..record import record
from .notify import FIRST_STATUS, Notification
from .numbers import Exchange, Notify, PayloadType, name_of
from .payloads import DECODERS, Payload, UnknownPayload

__all__ = ["ANY_ERROR", "SHAPES", "Contents", "Shape", "match"]

P = TypeVar("P")

ANY_ERROR: Final = -1
"""In `Shape.notify`: some notification in the range of errors."""


@attrs.frozen
class Shape:
    """One form of a message: the least and most payloads of each type, and a notification that it has to carry."""

    name: str
    payloads: Mapping[int, tuple[int, int]]
    notify: int | None = None
    _required: tuple[int, ...] = attrs.field(init=False, repr=False, eq=False)

    @_required.default
    def _find_required(self) -> tuple[int, ...]:
        return tuple([kind for kind, (least, _) in self.payloads.items() if least])

    def objection(self, found: Mapping[int, Sequence[Payload]]) -> tuple[str, int] | None:
        """Say what of payloads, sorted by type, does not fit and the payload type concerned; None where they fit."""
        for kind in self._required:
            if kind not in found:
                return "lacks", kind
        for kind, payloads in found.items():
            bounds = self.payloads.get(kind)
            if bounds is None:
                return "has no place for", kind
            if not bounds[0] <= len(payloads) <= bounds[1]:
                return "has the wrong number of", kind
        if self.notify is not None and not _carries(found.get(Notification.TYPE, ()), self.notify):
            return "lacks the telling", Notification.TYPE
        return None


def _carries(notifications: Sequence[Payload], wanted: int) -> bool:
    for item in notifications:
        kind: int = item.notify_type  # type: ignore[union-attr]
        if kind == wanted or (wanted == ANY_ERROR and kind < FIRST_STATUS):
            return True
    return False


_T = PayloadType
_Counts = dict[int, tuple[int, int]]
_ONE, _MAYBE, _ANY = (1, 1), (0, 1), (0, 256)
_FREE: _Counts = {_T.NOTIFY: _ANY, _T.VENDOR: _ANY}
_NOTIFIED: _Counts = {_T.NOTIFY: (1, 256), _T.VENDOR: _ANY}
_INIT: _Counts = {_T.SA: _ONE, _T.KE: _ONE, _T.NONCE: _ONE, _T.CERTREQ: _ANY, **_FREE}
_CREDENTIALS: _Counts = {_T.CERT: _ANY, _T.CERTREQ: _ANY, _T.CP: _MAYBE, **_FREE}
_CHILD: _Counts = {_T.SA: _ONE, _T.TSi: _ONE, _T.TSr: _ONE}
_CHILD_MAYBE: _Counts = {_T.SA: _MAYBE, _T.TSi: _MAYBE, _T.TSr: _MAYBE}
_NEW_CHILD: _Counts = {**_CHILD, _T.NONCE: _ONE, _T.KE: _MAYBE, _T.CP: _MAYBE, **_FREE}
_NEW_IKE: _Counts = {_T.SA: _ONE, _T.NONCE: _ONE, _T.KE: _ONE, **_FREE}

SHAPES: Final[Mapping[tuple[int, bool], tuple[Shape, ...]]] = {
    (Exchange.IKE_SA_INIT, False): (Shape("initiate", _INIT),),
    (Exchange.IKE_SA_INIT, True): (
        Shape("cookie wanted", _NOTIFIED, Notify.COOKIE),
        Shape("another group wanted", _NOTIFIED, Notify.INVALID_KE_PAYLOAD),
        # An error beside an SA payload: an error in a response means that the request failed (section 3.10.1).
        Shape(
            "refused",
            {_T.SA: _MAYBE, _T.KE: _MAYBE, _T.NONCE: _MAYBE, _T.CERTREQ: _ANY, **_NOTIFIED},
            ANY_ERROR,
        ),
        Shape("accepted", _INIT),
    ),
    (Exchange.IKE_INTERMEDIATE, False): (Shape("intermediate", {_T.KE: _MAYBE, **_FREE}),),
    (Exchange.IKE_INTERMEDIATE, True): (
        Shape("refused", {_T.KE: _MAYBE, **_NOTIFIED}, ANY_ERROR),
        Shape("intermediate", {_T.KE: _MAYBE, **_FREE}),
    ),
    (Exchange.IKE_AUTH, False): (
        Shape("authenticate", {_T.IDi: _ONE, _T.IDr: _MAYBE, _T.AUTH: _ONE, **_CHILD, **_CREDENTIALS}),
        Shape("authenticate childless", {_T.IDi: _ONE, _T.IDr: _MAYBE, _T.AUTH: _ONE, **_CREDENTIALS}),
        Shape("eap wanted", {_T.IDi: _ONE, _T.IDr: _MAYBE, **_CHILD_MAYBE, **_CREDENTIALS}),
        Shape("eap", {_T.EAP: _ONE, **_FREE}),
        # After EAP, each side sends the AUTH payload that closes it, without its identity (section 2.16).
        Shape("eap finished", {_T.AUTH: _ONE, **_FREE}),
    ),
    (Exchange.IKE_AUTH, True): (
        Shape("established", {_T.IDr: _ONE, _T.AUTH: _ONE, **_CHILD, **_CREDENTIALS}),
        Shape("established without child", {_T.IDr: _ONE, _T.AUTH: _ONE, **_CREDENTIALS}),
        Shape("eap", {_T.EAP: _ONE, _T.IDr: _MAYBE, _T.AUTH: _MAYBE, **_CREDENTIALS}),
        Shape("eap established", {_T.AUTH: _ONE, **_CHILD_MAYBE, **_CREDENTIALS}),
        Shape("refused", {_T.IDr: _MAYBE, **_CREDENTIALS, **_NOTIFIED}, ANY_ERROR),
    ),
    (Exchange.CREATE_CHILD_SA, False): (Shape("rekey ike", _NEW_IKE), Shape("child", _NEW_CHILD)),
    (Exchange.CREATE_CHILD_SA, True): (
        Shape("refused", {_T.NONCE: _MAYBE, _T.KE: _MAYBE, _T.CP: _MAYBE, **_CHILD_MAYBE, **_NOTIFIED}, ANY_ERROR),
        Shape("rekey ike", _NEW_IKE),
        Shape("child", _NEW_CHILD),
    ),
    (Exchange.IKE_FOLLOWUP_KE, False): (Shape("follow-up", {_T.KE: _ONE, **_NOTIFIED}),),
    (Exchange.IKE_FOLLOWUP_KE, True): (
        Shape("refused", {_T.KE: _MAYBE, **_NOTIFIED}, ANY_ERROR),
        Shape("follow-up", {_T.KE: _ONE, **_FREE}),
    ),
    (Exchange.INFORMATIONAL, False): (Shape("any", {_T.DELETE: _ANY, _T.CP: _MAYBE, **_FREE}),),
    (Exchange.INFORMATIONAL, True): (Shape("any", {_T.DELETE: _ANY, _T.CP: _MAYBE, **_FREE}),),
}
"""The shapes of each (exchange, is response), tried in their order."""


@record
class Contents:
    """The payloads of a message whose shape is known.

    `places` has the indices in `payloads` by payload type, `told` those of notifications by notify type, in order.
    """

    shape: str
    payloads: Sequence[Payload]
    places: Mapping[int, Sequence[int]]
    told: Mapping[int, Sequence[int]]

    def one(self, kind: type[P]) -> P:
        """Return the payload of a class that the shape guarantees; LocalProtocolError where it does not."""
        try:
            return self.payloads[self.places[kind.TYPE][0]]  # type: ignore[return-value,attr-defined]
        except KeyError:
            raise LocalProtocolError(f"a message of shape {self.shape!r} need not have a {kind.__name__}") from None

    def maybe(self, kind: type[P]) -> P | None:
        """Return the first payload of a class, None if there is none."""
        number: int = kind.TYPE  # type: ignore[attr-defined]
        return self.payloads[self.places[number][0]] if number in self.places else None  # type: ignore[return-value]

    def all(self, kind: type[P]) -> list[P]:
        """Return the payloads of a class in the order they came."""
        return [self.payloads[place] for place in self.places.get(kind.TYPE, ())]  # type: ignore[misc,attr-defined]

    def notify(self, notify_type: int) -> Notification | None:
        """Return the first notification of a type, None if there is none."""
        if notify_type not in self.told:
            return None
        return self.payloads[self.told[notify_type][0]]  # type: ignore[return-value]

    def notifies(self, notify_type: int) -> list[Notification]:
        """Return the notifications of a type in the order they came."""
        return [self.payloads[place] for place in self.told.get(notify_type, ())]  # type: ignore[misc]

    def error(self) -> Notification | None:
        """Return the first notification in the range of errors, known or not, None if there is none."""
        for item in self.all(Notification):
            if item.notify_type < FIRST_STATUS:
                return item
        return None


def match(exchange: int, is_response: bool, payloads: Sequence[Payload]) -> Contents:
    """Find the shape of a message's payloads (the inner ones, if it was encrypted).

    Raises UnsupportedCriticalPayload for a critical payload of unknown type, InvalidSyntax where no shape fits or the
    exchange type is unknown.
    """
    kinds = tuple(map(_type_of, payloads))
    notifications = compress(payloads, map(_NOTIFY.__eq__, kinds))
    key = exchange, is_response, kinds, tuple(map(_notify_type_of, notifications))
    matched = _MATCHED.get(key)
    if matched is None:
        shape = _search(exchange, is_response, payloads)
        matched = shape, *_places(payloads)
        if len(payloads) <= _STORED_LENGTH and _PAYLOAD_TYPES.issuperset(kinds):
            if len(_MATCHED) >= _STORED:
                _MATCHED.clear()
            _MATCHED[key] = matched
    shape, places, told = matched
    return Contents(shape, payloads, places, told)


Places: TypeAlias = Mapping[int, Sequence[int]]
_NOTIFY: Final = Notification.TYPE
_PAYLOAD_TYPES: Final = frozenset(DECODERS)
_type_of, _notify_type_of = attrgetter("TYPE"), attrgetter("notify_type")
_STORED: Final = 512
_STORED_LENGTH: Final = 32
_MATCHED: dict[tuple[int, bool, tuple[int, ...], tuple[int, ...]], tuple[str, Places, Places]] = {}
"""Shapes found and where in them which payload is, by all that this depends on: exchange, direction, the types of all
payloads and of all notifications.

Peers send the same few sequences over and over. Those with a payload of unknown type, which may be critical, are not in
it.
"""


def _places(payloads: Sequence[Payload]) -> tuple[Places, Places]:
    """Return the indices by payload type, and those of notifications by notify type."""
    places: dict[int, list[int]] = {}
    told: dict[int, list[int]] = {}
    for place, payload in enumerate(payloads):
        places.setdefault(payload.TYPE, []).append(place)
        if isinstance(payload, Notification):
            told.setdefault(payload.notify_type, []).append(place)
    return places, told


def _search(exchange: int, is_response: bool, payloads: Sequence[Payload]) -> str:
    """Return the name of the first shape that fits. Raises as `match` does."""
    found: dict[int, list[Payload]] = {}
    for payload in payloads:
        if type(payload) is not UnknownPayload:
            found.setdefault(payload.TYPE, []).append(payload)
        elif payload.critical:
            raise UnsupportedCriticalPayload(payload.payload_type)
    shapes = SHAPES.get((exchange, is_response), ())
    for shape in shapes:
        if shape.objection(found) is None:
            return shape.name
    raise InvalidSyntax(_no_shape(exchange, is_response, shapes, found))


def _no_shape(exchange: int, is_response: bool, shapes: Sequence[Shape], found: Mapping[int, Sequence[Payload]]) -> str:
    what = f"{name_of(Exchange, exchange)} {'response' if is_response else 'request'}"
    if not shapes:
        return f"{what}: unknown exchange"
    reasons = []
    for shape in shapes:
        problem, kind = shape.objection(found) or ("", 0)
        reasons.append(f"{shape.name!r} {problem} {name_of(PayloadType, kind)}")
    return f"{what} of no known shape: {', '.join(reasons)}"
