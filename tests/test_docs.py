"""Pages of docs/ with examples: blocks of Python in them run, or are part of an example file."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = DOCS / "examples"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.py"))}
PAGES = ("testing.md", "embedding.md", "addresses.md", "authentication.md")


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
