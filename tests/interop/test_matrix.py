"""docs/interop.md's table: its rows and cells are those that the tests fill, no more and no fewer."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest

from tests.interop import matrix

PAGE = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
OTHERS = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py") if path.stem != "test_matrix")


@pytest.fixture(scope="module")
def cells() -> set[matrix.Cell]:
    """Every cell that the tests fill, where what they import is there."""
    return matrix.declared([import_module(f"tests.interop.{name}") for name in OTHERS])


def test_every_row_has_tests(cells: set[matrix.Cell]) -> None:
    assert {cell.row for cell in cells} == set(matrix.ROWS)


def test_what_is_not_possible_has_no_test(cells: set[matrix.Cell]) -> None:
    assert {(cell.row, cell.peer) for cell in cells}.isdisjoint(matrix.IMPOSSIBLE)


@pytest.mark.skipif("IKECORE_INTEROP_MATRIX" in os.environ, reason="this run writes the page")
def test_the_page_has_the_cells_that_tests_fill(cells: set[matrix.Cell]) -> None:
    assert matrix.written(PAGE) == matrix.table(dict.fromkeys(cells, True))
