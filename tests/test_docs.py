"""Pages of docs/ with examples: blocks of Python in them run, or are part of an example file."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

import ikecore
import ikecore_asyncio
from ikecore.sa.refusals import REFUSALS
from ikecore.wire.numbers import Notify

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = DOCS / "examples"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.py"))}
PAGES = ("testing.md", "embedding.md", "addresses.md", "authentication.md", "errors.md")


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the blocks of Python of a page, each with its place."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (f"{page}:{text.count(chr(10), 0, found.start()) + 1}", found.group(1))
        for found in re.finditer(r"```python\n(.*?)```", text, re.DOTALL)
    ]


def shown_in(block: str) -> list[str]:
    """Return the examples that contain *block*, at any depth of indentation."""
    shapes = [textwrap.indent(block, "    " * depth) for depth in range(3)]
    return [name for name, source in SOURCES.items() if any(shape in source for shape in shapes)]


BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.mark.parametrize(("place", "source"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_each_block_runs_or_is_part_of_an_example(place: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shown_in(source):
        return
    monkeypatch.syspath_prepend(str(EXAMPLES))
    exec(compile(source, place, "exec"), {"__name__": "docs"})


def test_the_design_has_every_room_and_every_module() -> None:
    text = (DOCS / "design.md").read_text(encoding="utf-8").partition("\n## The rooms\n")[2].partition("\n## ")[0]
    named = {name.removeprefix("ikecore.") for name in re.findall(r"`([\w.]+)`", text)}
    core = DOCS.parent / "ikecore"
    rooms = {path.stem for path in core.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} <= named


def test_the_pages_have_what_they_promise() -> None:
    assert len(blocks("testing.md")) >= 12
    assert not [place for place, source in blocks("testing.md") if shown_in(source)]
    assert {name for _, source in blocks("embedding.md") for name in shown_in(source)} == {"selectors_host.py"}


ERRORS = {
    name: error
    for name in ikecore.__all__
    if isinstance(error := getattr(ikecore, name), type) and issubclass(error, ikecore.IkeError)
}


def error_rows() -> dict[str, list[str]]:
    """The table of docs/errors.md: the other cells of each row, by the name of the class."""
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_table_of_errors_has_each_class_with_its_base_and_its_notification() -> None:
    rows = error_rows()
    assert set(rows) == set(ERRORS)
    for name, error in ERRORS.items():
        base, notification, *_ = rows[name]
        assert base == f"`{error.__base__.__name__}`"  # type: ignore[union-attr]
        number = getattr(error, "notify", None)
        assert notification == ("" if number is None else Notify(number).name), name


def test_where_errors_are_met_exists_and_wishes_name_what_a_peer_refuses_them_with() -> None:
    rows = error_rows()
    homes = (ikecore, ikecore_asyncio, ikecore_asyncio.Session)
    for name, row in rows.items():
        for met in re.findall(r"`(?:ikecore\.)?(\w+)`", row[-1]):
            assert any(hasattr(home, met) for home in homes), (name, met)
    assert {kind.__name__ for kind, _ in REFUSALS.values()} <= set(rows)
    asks = {name for name, row in rows.items() if "`create_child`" in row[-1] or "`ChildSaFailed`" in row[-1]}
    assert {kind.__name__ for kind, _ in REFUSALS.values()} - {"AuthenticationFailed"} | {"PeerRefused"} == asks


def test_the_policies_of_the_page_are_all_there_are() -> None:
    names: dict[str, list[object]] = {}
    [source] = [source for _, source in blocks("errors.md") if "POLICIES" in source]
    exec(compile(source, "errors.md", "exec"), names)
    shown = {type(policy).__name__ for policy in names["POLICIES"]}
    public = {name for name in ikecore.__all__ if hasattr(getattr(ikecore, name), "choose")} - {"Policy"}
    assert shown == public


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
        assert (DOCS / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_exists(page: str) -> None:
    """A file that is named in the text is there."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"`((?:tests|docs|ikecore\w*)/[\w/]+\.\w+)`", text):
        assert (DOCS.parent / target).exists(), target
