"""What both bindings offer is the same, word for word, and costs no import that is not needed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest

import ikecore_asyncio
import ikecore_trio


def public(thing: type) -> Iterator[str]:
    return (name for name in dir(thing) if not name.startswith("_") or name in ("__aiter__", "__anext__"))


def test_the_same_names() -> None:
    assert sorted(ikecore_trio.__all__) == sorted(ikecore_asyncio.__all__)
    assert set(ikecore_trio.__all__) <= set(dir(ikecore_trio))
    for name in ("OpenEndpoint", "Session", "EventStream"):
        assert list(public(getattr(ikecore_trio, name))) == list(public(getattr(ikecore_asyncio, name)))


@pytest.mark.parametrize("name", ["connect", "open_endpoint"])
def test_the_same_functions(name: str) -> None:
    ours, other = getattr(ikecore_trio, name), getattr(ikecore_asyncio, name)
    assert signature(ours) == signature(other)
    assert ours.__doc__ == other.__doc__


@pytest.mark.parametrize("name", ["OpenEndpoint", "Session", "EventStream"])
def test_the_same_methods(name: str) -> None:
    ours, other = getattr(ikecore_trio, name), getattr(ikecore_asyncio, name)
    for method in public(ours):
        mine, theirs = getattr(ours, method), getattr(other, method)
        assert inspect.getdoc(mine) == inspect.getdoc(theirs)
        if not isinstance(mine, property):
            assert signature(mine) == signature(theirs)


def signature(function: object) -> list[tuple[str, object, object]]:
    """Names, kinds and defaults; a default that is a function of the binding counts by its name."""
    assert callable(function)
    found = inspect.signature(function)
    rows: list[tuple[str, object, object]] = [
        (each.name, each.kind, getattr(each.default, "__name__", each.default)) for each in found.parameters.values()
    ]
    return [*rows, ("return", None, found.return_annotation)]


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="no attribute 'listen'"):
        _ = ikecore_trio.listen  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("package", "absent"),
    [("ikecore_trio", {"trio", "asyncio"}), ("ikecore_asyncio", {"trio", "ikecore_trio"})],
)
def test_imports_only_what_it_needs(package: str, absent: set[str]) -> None:
    code = f"import sys, {package}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not absent & set(loaded)


def test_neither_binding_imports_the_other() -> None:
    code = "import sys, ikecore_trio; ikecore_trio.connect; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "trio" in loaded
    assert "ikecore_asyncio" not in loaded
