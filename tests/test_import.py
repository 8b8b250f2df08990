"""Importing ikecore costs next to nothing, and what is asked for is there all the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ikecore

ROOT = Path(__file__).resolve().parents[1]


def imported_for_types() -> dict[str, str]:
    """The names that a type checker sees, with their modules."""
    tree = ast.parse((ROOT / "ikecore" / "__init__.py").read_text(encoding="utf-8"))
    block = next(each for each in tree.body if isinstance(each, ast.If))
    found = [each for each in block.body if isinstance(each, ast.ImportFrom)]
    return {alias.name: each.module or "" for each in found for alias in each.names}


def test_what_a_type_checker_sees_is_what_there_is() -> None:
    assert imported_for_types() == ikecore._HOMES
    assert sorted(ikecore.__all__) == sorted(ikecore._HOMES)
    assert set(ikecore.__all__) <= set(dir(ikecore))


@pytest.mark.parametrize("name", sorted(ikecore.__all__))
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(ikecore, name)
    assert value is getattr(getattr(ikecore, ikecore._HOMES[name]), name)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'endpoints'"):
        _ = ikecore.endpoints  # type: ignore[attr-defined]


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after *code*."""
    printing = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", printing], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_it_loads_nothing_else() -> None:
    loaded = loaded_by("import ikecore")
    assert {each for each in loaded if each.startswith("ikecore")} == {"ikecore"}
    assert not loaded & {"attrs", "cryptography"}


def test_the_wire_is_read_without_cryptography() -> None:
    assert "cryptography" not in loaded_by("import ikecore.wire")
