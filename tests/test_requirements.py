"""The catalogue, the tests that name its rows, and the reasons for those that none names go together."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import load_catalogue, load_reasons, requirement_report

MARKER = re.compile(r"pytest\.mark\.requirement\(([^)]*)\)")
ROW = re.compile(r'"([A-Z]+-\d+)"')


def named() -> set[str]:
    """Every row that a marker in the tests names."""
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    return {row for text in texts for marker in MARKER.findall(text) for row in ROW.findall(marker)}


def test_a_row_of_ikev2_and_of_fragmentation_is_named_by_a_test_or_has_a_reason() -> None:
    rows = {row for row in load_catalogue() if row.startswith(("IKE-", "FRAG-"))}
    assert rows - named() == {row for row in load_reasons() if row.startswith(("IKE-", "FRAG-"))}


def test_reasons_are_for_rows_of_the_catalogue_that_nothing_shows() -> None:
    assert load_reasons().keys() <= load_catalogue().keys()
    assert not load_reasons().keys() & named()


def test_the_report_gives_the_reason() -> None:
    lines = requirement_report({"IKE-001": "one", "IKE-002": "two"}, {"IKE-001": ["a test"]}, {"IKE-002": "why not"})
    assert "  IKE-002  open: why not" in lines
