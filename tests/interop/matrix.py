"""The table of docs/interop.md, made from what a run of the tests showed.

A test that fills cells says so with `@pytest.mark.matrix(row)`. The columns come from its fixtures `peer` (or `charon`,
or `pluto`) and `role`, or from the mark's argument *role* where it is about one role alone. A cell is filled if all its
tests passed. With IKECORE_INTEROP_MATRIX naming the page, a run of all tests writes the table into it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import product
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

PEERS = {"charon": "strongSwan", "pluto": "libreswan"}
"""Names of fixtures, and whose daemons they are."""
ROLES = ("responds", "initiates")

ROWS = (
    "pre-shared keys",
    "certificates, RSA",
    "certificates, ECDSA",
    "signatures: RSA-PSS by RFC 7427",
    "signatures: RSA PKCS #1 v1.5 by RFC 7427",
    "signatures: ECDSA by RFC 4754",
    "a wrong pre-shared key",
    "a certificate of an authority that the other side does not trust",
    "no proposal in common",
    "a group refused by the peer (INVALID_KE_PAYLOAD)",
    "a group refused by us (INVALID_KE_PAYLOAD)",
    "a cookie demanded by the peer",
    "a cookie demanded by us",
    "IKE_AUTH in fragments of the peer (RFC 7383)",
    "IKE_AUTH in fragments of ours (RFC 7383)",
    "NAT traversal forced: both move to port 4500",
    "a NAT in front of us: our keepalives keep its mapping",
    "a NAT in front of us that forgets: the peer follows us",
    "a NAT in front of the peer: its keepalives are heard and ignored",
    "a NAT in front of the peer that forgets: we follow the peer",
    "from any free port, without NAT",
    "selectors narrowed by the peer",
    "selectors narrowed by us",
    "addresses assigned by the peer",
    "addresses assigned by us",
    "transport mode",
    "an SA without a Child SA (RFC 6023)",
    "liveness checked by us",
    "liveness checked by the peer",
    "another Child SA, set up by us",
    "another Child SA, set up by the peer",
    "Child SA rekeyed by us, with and without a key exchange",
    "Child SA rekeyed by the peer, with and without a key exchange",
    "IKE SA rekeyed by us",
    "IKE SA rekeyed by the peer",
    "many rekeys in a row, by either side in turn",
    "Child SA rekeyed by both at once",
    "IKE SA rekeyed by both at once",
    "Child SA rekeyed by us while the peer rekeys the IKE SA",
    "IKE SA rekeyed by us while the peer rekeys the Child SA",
    "Child SA deleted by us while the peer rekeys it",
    "Child SA rekeyed by us while the peer deletes it",
    "IKE SA deleted by us while the peer rekeys it",
    "IKE SA rekeyed by us while the peer deletes it",
    "IKE SA deleted by us",
    "IKE SA deleted by the peer",
    "Child SA deleted by us",
    "Child SA deleted by the peer",
    "a reboot of the peer noticed, and the SA set up again",
    "a reboot of the peer told by its INITIAL_CONTACT",
)

IMPOSSIBLE = {
    ("signatures: RSA PKCS #1 v1.5 by RFC 7427", "libreswan"): "pluto signs by RFC 7427 with RSA-PSS only",
    ("signatures: ECDSA by RFC 4754", "libreswan"): "pluto takes RFC 4754 only for want of RFC 7427",
    ("IKE SA rekeyed by both at once", "libreswan"): "pluto 4.10 crashes in its own code",
}
"""What a daemon cannot do, and why."""

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"


class Cell(NamedTuple):
    """One cell: a row, whose daemon, and what it does."""

    row: str
    peer: str
    role: str


def cells_of(marks: Iterable[Any], names: Iterable[str], chosen: dict[str, Any] | None = None) -> Iterator[Cell]:
    """Yield the cells of a test with these *marks* and fixtures' *names*: those of the *chosen* parameters, or all."""
    fixtures = {name.removeprefix("start_") for name in names}
    chosen = {name.removeprefix("start_"): value for name, value in (chosen or {}).items()}
    for mark in marks:
        if mark.name != "matrix":
            continue
        if "peer" in chosen:
            peers = [PEERS[chosen["peer"]]]
        else:
            peers = [name for fixture, name in PEERS.items() if fixture in fixtures or "peer" in fixtures]
        if "role" in mark.kwargs:
            roles = [mark.kwargs["role"]]
        else:
            roles = [chosen["role"]] if "role" in chosen else list(ROLES) if "role" in fixtures else []
        for peer, role in product(peers, roles):
            yield Cell(mark.args[0], peer, role)


def declared(modules: Iterable[Any]) -> set[Cell]:
    """Return every cell that the tests in *modules* fill."""
    found: set[Cell] = set()
    for module in modules:
        for name, function in vars(module).items():
            if name.startswith("test_") and isinstance(function, FunctionType):
                marks = list(getattr(function, "pytestmark", []))
                for mark in [mark for mark in marks if mark.name == "parametrize"]:
                    marks += [inner for value in mark.args[1] for inner in getattr(value, "marks", ())]
                found.update(cells_of(marks, inspect.signature(function).parameters))
    return found


def table(results: dict[Cell, bool]) -> list[str]:
    """Return the lines of the table, and under it the reasons for what is not possible."""
    columns = list(product(PEERS.values(), ROLES))
    lines = [
        "| what | " + " | ".join(f"{peer} {role}" for peer, role in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    reasons: list[str] = []
    for row in ROWS:
        words = []
        for peer, role in columns:
            if (passed := results.get(Cell(row, peer, role))) is not None:
                words.append("yes" if passed else "no")
            elif reason := IMPOSSIBLE.get((row, peer)):
                if reason not in reasons:
                    reasons.append(reason)
                words.append(f"not possible ({reasons.index(reason) + 1})")
            else:
                words.append("")
        lines.append(f"| {row} | " + " | ".join(words) + " |")
    return [*lines, "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))]


def written(page: str) -> list[str]:
    """Return the lines of the table in *page*, without what is said about the run."""
    between = page.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    return between[2:]


def write(page: Path, results: dict[Cell, bool], versions: str) -> None:
    """Put the table into *page*, between its marks."""
    text = page.read_text(encoding="utf-8")
    today = date.today()
    said = f"From a run on {today.day} {today:%B %Y} with {versions}:"
    content = "\n".join([BEGIN, said, "", *table(results), END])
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: content, text), encoding="utf-8")
