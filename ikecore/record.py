"""The one decorator behind every small value of ikecore, and how many owners share one that is equal for all."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast, dataclass_transform

import attrs

__all__ = ["record", "shared"]

T = TypeVar("T")
P = ParamSpec("P")
MOST_SHARED = 1024
"""Values that are kept to be shared; of the others each owner has its own."""


@dataclass_transform(frozen_default=True, eq_default=True, field_specifiers=(attrs.field,))
def record(cls: type[T]) -> type[T]:
    """Make *cls* a value: slots, equality by fields, hashable.

    It is frozen for the type checker only. Freezing at run time costs three times as much to build, and a
    gateway builds dozens of these for every message it reads; whoever assigns to one has mypy against them.
    So a decoded message is read-only: payloads and selectors that recur are the same objects in every message that has
    them, and whoever assigns changes what others read. Values that configure the endpoint, and most of those that
    outlive a message, use `attrs.frozen` instead.
    """
    return attrs.define(cls, unsafe_hash=True)


def shared(make: Callable[P, T]) -> Callable[P, T]:
    """Have *make* give the same value to whoever asks with equal arguments: what an SA keeps is seldom its alone."""
    return cast(Callable[P, T], lru_cache(maxsize=MOST_SHARED)(make))
