"""The core does no I/O, and imports run downwards. Read from the source, so that nothing has to be imported for it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("ikecore", "ikecore_trio", "ikecore_asyncio")

PURE = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "datetime", "enum", "functools", "hashlib",
    "heapq", "hmac", "importlib", "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct",
    "textwrap", "types", "typing", "warnings", "weakref",
}  # fmt: skip
CORE = PURE | {"attrs", "attr", "cryptography"}
TESTING = CORE | {"random", "contextlib", "threading"}
BINDING_PURE = PURE | {"collections", "contextlib", "errno", "logging", "os", "socket", "struct", "sys", "time"}
ALLOWED = {
    "ikecore": CORE | {"ikecore"},
    "ikecore.crypto.modp": CORE | {"ikecore", "warnings"},  # to be quiet about what cryptography deprecates
    "ikecore.testing": TESTING | {"ikecore"},
    "ikecore_trio": BINDING_PURE | {"ikecore", "ikecore_trio", "attrs", "trio", "outcome"},
    "ikecore_trio.cli": BINDING_PURE
    | {"ikecore", "ikecore_trio", "attrs", "click", "cryptography", "dpkt", "rich", "trio"}
    | {"csv", "gc", "io", "pathlib", "random", "shutil", "signal", "stat", "tempfile", "tomllib"},
    "ikecore_trio.cli.fetching": PURE | {"ikecore", "ikecore_trio", "ssl", "trio", "urllib"},
    "ikecore_asyncio": BINDING_PURE | {"ikecore", "ikecore_asyncio", "attrs", "asyncio"},
}
"""What may be imported in a package; the longest prefix of a module's name counts.

Testing may have chance (seeded) and know the thread it is called in, but no socket and no clock.
"""

IMPURE_BUILTINS = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}
CLOCKS = {"now", "today", "utcnow"}

ROOMS = (
    {"errors", "checking", "record", "lifetimes", "limits", "outputs", "events", "addressing", "questions"},
    {"wire"},
    {"framing"},
    {"crypto"},
    {"transport"},
    {"config", "credentials"},
    {"sa"},
    {"endpoint"},
    {"answerers", "binding", "esp", "outflow", "session_esp", "sessions", ""},
    {"testing"},
)
"""The rooms of `ikecore`, the lowest first. The empty name is ikecore/__init__.py, which gathers the public names."""


@dataclass(frozen=True)
class Import:
    """One import: of which module, in which line of which, and whether only a type checker sees it."""

    importer: str
    imported: str
    line: int
    typing_only: bool


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name of the module at *path* below *root*."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_in(
    source: str, importer: str, *, is_package: bool, known: frozenset[str] = frozenset()
) -> Iterator[Import]:
    """Yield every import of *source*, relative ones resolved; `from a import b` is a.b if *known* has it."""
    package = importer if is_package else importer.rpartition(".")[0]

    def visit(node: ast.AST, typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield Import(importer, submodule if submodule in known else base, node.lineno, typing_only)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                yield from visit(statement, True)
            for statement in node.orelse:
                yield from visit(statement, typing_only)
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child, typing_only)

    yield from visit(ast.parse(source), False)


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return all modules of the three packages by name."""
    return {module_name(path, root): path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))}


def all_imports(found: dict[str, Path]) -> list[Import]:
    """Return all imports of the modules *found*."""
    known = frozenset(found)
    return [
        each
        for name, path in found.items()
        for each in imports_in(path.read_text(encoding="utf-8"), name, is_package=path.stem == "__init__", known=known)
    ]


def foreign(each: Import) -> bool:
    """Tell whether an import leaves the allow-list of its package."""
    prefix = max((key for key in ALLOWED if f"{each.importer}.".startswith(f"{key}.")), key=len)
    return each.imported.partition(".")[0] not in ALLOWED[prefix]


def room(module: str) -> int:
    """Return the level of a module of `ikecore`, the lowest room being 0."""
    name = module.split(".")[1] if "." in module else ""
    levels = [level for level, names in enumerate(ROOMS) if name in names]
    if not levels:
        raise LookupError(f"{module} stands in no room: give it one in ROOMS")
    return levels[0]


def upward(each: Import) -> bool:
    """Tell whether an import inside `ikecore` points to a higher room."""
    if not all(f"{name}.".startswith("ikecore.") for name in (each.importer, each.imported)):
        return False
    return room(each.imported) > room(each.importer)


def cycle(imports: list[Import]) -> list[str]:
    """Return one circle of imports, those that only a type checker sees included; empty if there is none."""
    graph: dict[str, set[str]] = {}
    for each in imports:
        if each.imported.partition(".")[0] in PACKAGES:
            graph.setdefault(each.importer, set()).add(each.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def shown(imports: list[Import]) -> list[str]:
    """Put imports into words for an assertion."""
    return [f"{each.importer}, line {each.line}: imports {each.imported}" for each in imports]


def test_every_module_imports_only_what_its_package_may() -> None:
    found = modules()
    assert {name.partition(".")[0] for name in found} == set(PACKAGES)
    assert shown([each for each in all_imports(found) if foreign(each)]) == []


def test_imports_run_downwards() -> None:
    assert shown([each for each in all_imports(modules()) if upward(each)]) == []


def test_no_module_imports_itself_in_a_circle() -> None:
    assert cycle(all_imports(modules())) == []


def test_the_core_calls_no_clock_and_no_impure_builtin() -> None:
    faults = []
    for name, path in modules().items():
        if name.partition(".")[0] != "ikecore":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS:
                faults.append(f"{name}, line {node.lineno}: {node.func.id}()")
            if isinstance(node, ast.Attribute) and node.attr in CLOCKS and "date" in ast.unparse(node.value):
                faults.append(f"{name}, line {node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.Assert):
                faults.append(f"{name}, line {node.lineno}: an assert in the product")
    assert faults == []


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after *statement*."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_core_loads_no_event_loop_socket_or_thread() -> None:
    loaded = loaded_by("import ikecore")
    forbidden = {"asyncio", "trio", "socket", "_socket", "ssl", "select", "selectors", "threading", "subprocess"}
    forbidden |= {"logging", "concurrent", "multiprocessing", "ikecore_trio", "ikecore_asyncio", "cryptography.x509"}
    pulled = loaded_by("import attrs, cryptography.hazmat.primitives.serialization")
    assert loaded & forbidden - pulled == set()
    assert not {"asyncio", "trio", "socket", "cryptography.x509"} & loaded


@pytest.mark.parametrize(
    ("adapter", "other"), [("ikecore_trio", "ikecore_asyncio"), ("ikecore_asyncio", "ikecore_trio")]
)
def test_an_adapter_loads_nothing_of_the_other(adapter: str, other: str) -> None:
    loaded = loaded_by(f"import {adapter}")
    assert adapter in loaded
    assert other not in loaded
    assert ("trio" if adapter == "ikecore_asyncio" else "asyncio") not in loaded


def test_the_command_is_found_without_its_extras() -> None:
    assert "trio" not in loaded_by("import ikecore_trio")


# --- the checks themselves see what they should: a planted fault of each kind --------------------------------------

PLANTED = """
from __future__ import annotations
from typing import TYPE_CHECKING
import socket
from .. import crypto
from ..crypto.prf import Prf
if TYPE_CHECKING:
    from ..endpoint import Endpoint
def later():
    from ikecore.sa import states
"""


def planted() -> list[Import]:
    known = frozenset({"ikecore.crypto", "ikecore.sa.states"})
    return list(imports_in(PLANTED, "ikecore.wire.header", is_package=False, known=known))


def test_a_planted_upward_import_is_seen() -> None:
    assert [(each.imported, each.typing_only) for each in planted() if upward(each)] == [
        ("ikecore.crypto", False),
        ("ikecore.crypto.prf", False),
        ("ikecore.endpoint", True),
        ("ikecore.sa.states", False),
    ]


def test_a_planted_socket_is_seen() -> None:
    assert [each.imported for each in planted() if foreign(each)] == ["socket"]


def test_a_planted_circle_is_seen() -> None:
    there = Import("ikecore.wire.header", "ikecore.wire.message", 1, False)
    back = Import("ikecore.wire.message", "ikecore.wire.header", 1, False)
    hint = Import("ikecore.wire.message", "ikecore.wire.header", 1, True)
    for second in (back, hint):
        assert set(cycle([there, second])) == {"ikecore.wire.header", "ikecore.wire.message"}
    assert cycle([there]) == []


def test_a_module_without_a_room_is_seen() -> None:
    with pytest.raises(LookupError, match="no room"):
        room("ikecore.utils.things")
