"""docs/interop.md's table: its rows and cells are those that the tests fill, no more and no fewer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interop import matrix, test_addresses, test_charon, test_life, test_pluto, test_setup

PAGE = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
CELLS = matrix.declared([test_setup, test_life, test_addresses, test_charon, test_pluto])


def test_every_row_has_tests() -> None:
    assert {cell.row for cell in CELLS} == set(matrix.ROWS)


def test_what_is_not_possible_has_no_test() -> None:
    assert {(cell.row, cell.peer) for cell in CELLS}.isdisjoint(matrix.IMPOSSIBLE)


@pytest.mark.skipif("IKECORE_INTEROP_MATRIX" in os.environ, reason="this run writes the page")
def test_the_page_has_the_cells_that_tests_fill() -> None:
    assert matrix.written(PAGE) == matrix.table(dict.fromkeys(CELLS, True))
