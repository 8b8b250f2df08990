"""Types of what the user decides, checked when it is made: a mistake in a field shows there, and not in a handshake.

What a field may be is its annotation. Converters make a tuple of whatever holds several things and leave alone what
does not, so that a lone text, which would be several texts of one letter, is refused like all else that does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeGuard, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs

from .errors import LocalProtocolError

__all__ = ["are", "check_types", "is_number", "several"]

T = TypeVar("T")
MOST_SHOWN = 60
"""Characters of a wrong value that an error shows."""


def several(items: Iterable[T]) -> tuple[T, ...]:
    """Return *items* as a tuple, so that what was checked stays. What is one thing is left as it is."""
    if isinstance(items, str | bytes | bytearray | Mapping) or not isinstance(items, Iterable):
        return cast("tuple[T, ...]", items)
    return tuple(items)


def are(items: object, kind: type[T]) -> TypeGuard[tuple[T, ...]]:
    """Tell whether *items* is a tuple of nothing else."""
    return isinstance(items, tuple) and all(isinstance(each, kind) for each in items)


def is_number(value: object, kind: type[T]) -> TypeGuard[T]:
    """Tell whether *value* is a number: of any kind for float, a whole one for int. True and False are none."""
    return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)


def check_types(made: attrs.AttrsInstance) -> None:
    """Raise LocalProtocolError for the first field of *made* that is not what its annotation says.

    The value is told unless it may be a secret: a field that no repr shows, or with "secret" in its metadata. "hint" in
    the metadata says where to get what is allowed.
    """
    for field, hint in _fields_of(type(made)):
        value = getattr(made, field.name)
        if value is not field.default and not _fits(value, hint):
            secret = not field.repr or field.metadata.get("secret")
            shown = f"a {type(value).__name__}" if secret else _cut(repr(value))
            where = field.metadata.get("hint")
            if get_origin(hint) is Literal:
                raise LocalProtocolError(f"{field.name}: {shown} is unknown; allowed are {', '.join(get_args(hint))}")
            raise LocalProtocolError(
                f"{field.name}: {shown} does not fit; allowed is {field.type}{f', see {where}' if where else ''}"
            )


@lru_cache(maxsize=64)
def _fields_of(kind: type[attrs.AttrsInstance]) -> tuple[tuple[attrs.Attribute[Any], Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in attrs.fields(kind) if field.init)


def _fits(value: object, hint: Any) -> bool:
    """Tell whether *value* is of the type *hint*."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(each, inner[0]) for each in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is frozenset:
        return isinstance(value, frozenset) and all(_fits(each, inner[0]) for each in value)
    if hint is None or hint is NoneType:
        return value is None
    if hint in (int, float):
        return is_number(value, hint)
    return isinstance(value, hint)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
