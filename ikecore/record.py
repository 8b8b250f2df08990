"""The one decorator behind every small value of ikecore."""

from __future__ import annotations

from typing import TypeVar, dataclass_transform

import attrs

T = TypeVar("T")


@dataclass_transform(frozen_default=True, eq_default=True, field_specifiers=(attrs.field,))
def record(cls: type[T]) -> type[T]:
    """Make *cls* a value: slots, equality by fields, hashable.

    It is frozen for the type checker only. Freezing at run time costs three times as much to build, and a
    gateway builds dozens of these for every message it reads; whoever assigns to one has mypy against them.
    Values that are shared between messages or that configure the endpoint use `attrs.frozen` instead.
    """
    return attrs.define(cls, unsafe_hash=True)
