"""What every test shares: Hypothesis profiles, and the report of requirement rows.

A test names the rows of tests/requirements.csv that it shows with `@pytest.mark.requirement("TCP-09", ...)`; a row
counts as shown when a test that names it passed. `pytest --requirements` prints, per part, the rows shown with their
tests and the rows open, with the reason that tests/requirements_open.csv gives. A row that is not in the catalogue
fails the collection.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No profile looks at the clock: on a machine that is slow just now neither an example nor its making fails.
TIMELESS: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=100, derandomize=False, **TIMELESS)
# Whether a change may land does not hang on dice: these two draw the same examples each time, the others new ones.
settings.register_profile("quick", max_examples=20, derandomize=True, **TIMELESS)
settings.register_profile("ci", max_examples=200, derandomize=True, print_blob=True, **TIMELESS)
settings.register_profile("deep", max_examples=5000, derandomize=False, print_blob=True, **TIMELESS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

CATALOGUE = Path(__file__).with_name("requirements.csv")
REASONS = Path(__file__).with_name("requirements_open.csv")
PARTS = ("TCP", "ENC", "SEP", "FRAG", "IKE")

Shown = dict[str, list[str]]
"""Rows by ID, each with the tests (node ids without parameters) that passed and named it."""


def load_catalogue() -> dict[str, str]:
    """Return the catalogue: ID to the wording of the row."""
    with CATALOGUE.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["requirement"] for row in csv.DictReader(file)}


def load_reasons() -> dict[str, str]:
    """Return why rows are open: ID to a sentence."""
    with REASONS.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def rows_named(item: pytest.Item) -> list[str]:
    """Return the IDs that the markers of *item* name."""
    return [row for marker in item.iter_markers("requirement") for row in marker.args]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--requirements", action="store_true", help="print the requirement rows shown by passed tests, and those open"
    )


SHOWN = pytest.StashKey[Shown]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SHOWN] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    catalogue = load_catalogue()
    unknown = [f"{item.nodeid}: {row!r}" for item in items for row in rows_named(item) if row not in catalogue]
    if unknown:
        raise pytest.UsageError("rows that tests/requirements.csv does not have: " + "; ".join(unknown))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        shown = item.config.stash[SHOWN]
        name = item.nodeid.partition("[")[0]
        for row in rows_named(item):
            tests = shown.setdefault(row, [])
            if name not in tests:
                tests.append(name)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--requirements"):
        return
    for line in requirement_report(load_catalogue(), config.stash[SHOWN], load_reasons()):
        terminalreporter.write_line(line)


def requirement_report(catalogue: dict[str, str], shown: Shown, reasons: dict[str, str]) -> list[str]:
    """Return the report's lines: rows shown with their tests and rows open, per part, and the counts at the end."""
    lines: list[str] = []
    counts: list[str] = []
    for part in PARTS:
        rows = [row for row in catalogue if row.startswith(f"{part}-")]
        done = [row for row in rows if row in shown]
        lines += ["", f"{part}: {len(done)} of {len(rows)} rows shown"]
        lines += [f"  {row}  {', '.join(sorted(shown[row]))}" for row in done]
        left = [row for row in rows if row not in shown]
        lines += [f"  {row}  open: {reasons[row]}" for row in left if row in reasons]
        lines += ["  open: " + (" ".join(row for row in left if row not in reasons) or "no others")]
        counts.append(f"{part} {len(done)}/{len(rows)}")
    total = sum(1 for row in catalogue if row in shown)
    return [*lines, "", f"requirement rows shown: {total} of {len(catalogue)} ({', '.join(counts)})"]
