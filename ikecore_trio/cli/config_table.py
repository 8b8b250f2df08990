"""Reading a TOML table entry by entry, so that every mistake is told with its key, its value and what is allowed.

A getter takes a key out of a table, notes a problem where the value cannot be used, and then returns the default:
reading goes on, and the user sees all mistakes at once. `Table.finish` finds the keys that nobody asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["Table"]

T = TypeVar("T")


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
"""What a time may end in."""
DURATION = re.compile("([0-9]{1,9})([smhd]?)")
"""A time as swanctl.conf writes it; without a unit it counts seconds."""
LONGEST = 10 * 366 * 86_400
"""Seconds: no time is longer, and most that would be are slips."""

MOST = 10**9
"""Octets, things, seconds or a rate: no limit is more, and most that would be are slips."""


class Table:
    """One table of the file, at *path*. *problems* is shared by all tables of a file."""

    def __init__(self, data: Mapping[str, Any], path: str, problems: list[str]) -> None:
        self.path = path
        self._data = data
        self._problems = problems
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __len__(self) -> int:
        return len(self._data)

    def peek(self, key: str) -> object:
        """Return the value at *key* as it is, unchecked."""
        return self._data.get(key)

    def at(self, key: str) -> str:
        """Return the path of *key* as the user would write it."""
        quoted = key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)
        return f"{self.path}.{quoted}" if self.path else quoted

    def problem(self, key: str, value: object, allowed: str) -> None:
        """Note that *value* cannot stand at *key*, and what can. What may be a secret is not shown."""
        words = (
            shown(value) if key in ("id", "file") or not self.at(key).startswith("secrets") else "the value (not shown)"
        )
        self._problems.append(f"{self.at(key)}: {words} is not allowed; allowed: {allowed}")

    def refuse(self, key: str, allowed: str) -> None:
        """Note that *key*, whatever its value, does not belong here."""
        self.problem(key, self._take(key), allowed)

    def missing(self, key: str, allowed: str) -> None:
        """Note that *key* has to be there."""
        self._problems.append(f"{self.at(key)}: missing; allowed: {allowed}")

    def note(self, problem: str) -> None:
        """Note a problem with the table as a whole."""
        self._problems.append(f"{self.path}: {problem}")

    def text(self, key: str, allowed: str, default: str | None = None) -> str | None:
        """Return a string that is not empty."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value:
            self.problem(key, value, allowed)
            return default
        return value

    def texts(self, key: str, allowed: str, *, commas: bool = True) -> tuple[str, ...]:
        """Return strings: an array, or one string, which *commas* may divide, as swanctl.conf has it."""
        value = self._take(key)
        if value is None:
            return ()
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")] if commas else [value]
        if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
            self.problem(key, value, allowed)
            return ()
        return tuple(each.strip() for each in value)

    def parsed(self, key: str, parse: Callable[[str], T], allowed: str, *, commas: bool = True) -> tuple[T, ...]:
        """Return what *parse* makes of each string. It raises ValueError or `IkeError` for what it does not take."""
        from ikecore.errors import IkeError

        values: list[T] = []
        for each in self.texts(key, allowed, commas=commas):
            try:
                values.append(parse(each))
            except (IkeError, ValueError) as error:
                self.problem(key, each, f"{allowed} ({error})")
        return tuple(values)

    def choice(self, key: str, words: Mapping[str, T], default: T) -> T:
        """Return what one of *words* stands for."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in words:
            self.problem(key, value, ", ".join(json.dumps(word) for word in words))
            return default
        return words[value]

    def number(self, key: str, lowest: int, highest: int, default: int | None) -> int | None:
        """Return an integer from *lowest* to *highest*."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            self.problem(key, value, f"an integer from {lowest} to {highest}" if lowest < highest else str(lowest))
            return default
        return value

    def seconds(self, key: str) -> float | None:
        """Return a time in seconds above 0, whole or not; None without one."""
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
            self.problem(key, value, "seconds, above 0 and up to 3600")
            return None
        return float(value)

    def duration(self, key: str) -> float | None:
        """Return a time in seconds from 0 on, given as a number, "90" or "90m"; None without one."""
        value = self._take(key)
        if value is None:
            return None
        seconds: object = value
        if isinstance(value, str) and (found := DURATION.fullmatch(value)):
            seconds = int(found[1]) * UNITS[found[2] or "s"]
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
            self.problem(
                key, value, 'seconds from 0 on, or a time such as "30s", "90m", "4h" or "7d"; ten years at most'
            )
            return None
        return float(seconds)

    def limit(self, key: str, default: float, fits: Callable[[float], object], allowed: str) -> float | None:
        """Return a number, a whole one if *default* is; None without one. *fits* raises `IkeError` for a wrong one."""
        from ikecore.errors import IkeError

        value = self._take(key)
        if value is None:
            return None
        kind = int if isinstance(default, int) else int | float
        if isinstance(value, bool) or not isinstance(value, kind):
            self.problem(key, value, allowed)
            return None
        try:
            fits(value)
        except IkeError:
            self.problem(key, value, allowed)
            return None
        if value > MOST:
            self.problem(key, value, f"{allowed}, up to {MOST}")
            return None
        return type(default)(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(key, value, "true, false")
            return default
        return value

    def table(self, key: str, *, required: str = "") -> Table | None:
        """Return the table at *key*; *required* says what belongs there if it has to be there."""
        value = self._take(key)
        if value is None:
            if required:
                self.missing(key, required)
            return None
        if not isinstance(value, dict):
            self.problem(key, value, required or "a table")
            return None
        return Table(value, self.at(key), self._problems)

    def tables(self) -> dict[str, Table]:
        """Return every entry of this table, all of which have to be tables, by name."""
        found = {name: self.table(name) for name in self._data}
        return {name: table for name, table in found.items() if table is not None}

    def port(self, key: str, default: int | None) -> int | None:
        """Return a port number, 0 for a free one, or None for `false`."""
        if self._data.get(key) is False:
            self._take(key)
            return None
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
            self.problem(key, value, "a port from 0 (any free one) to 65535, or false for none")
            return default
        return value

    def finish(self) -> None:
        """Note each key that nobody asked for."""
        for key in self._data:
            if key not in self._known:
                known = ", ".join(self._known)
                self._problems.append(f"{self.at(key)}: unknown key; allowed: {known}")

    def _take(self, key: str) -> Any:
        if key not in self._known:
            self._known.append(key)
        return self._data.get(key)


def shown(value: object) -> str:
    """Write *value* as TOML would have it, on one line, and not too long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
