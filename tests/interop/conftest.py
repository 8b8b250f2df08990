"""A real peer for every test, strongSwan's charon or libreswan's pluto, in a network of its own.

Nothing is installed here: a test whose peer is not on the machine is skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NoReturn

import pytest

from ikecore.testing.pki import CertificateAuthority
from tests.interop import charon as strongswan
from tests.interop import matrix
from tests.interop import pluto as libreswan
from tests.interop.charon import PLAIN, Charon
from tests.interop.network import NoNetwork, private_network
from tests.interop.peer import Peer, build_shim
from tests.interop.peering import Authorities
from tests.interop.pluto import Pluto

pytest.register_assert_rewrite("tests.interop.agreement")

RESULTS = pytest.StashKey[dict[matrix.Cell, bool]]()
"""What this run showed, by cell of the table in docs/interop.md."""
VERSIONS = pytest.StashKey[dict[str, str]]()
"""Versions of the peers of this run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rows = [(item.nodeid, mark.args[0]) for item in items for mark in item.iter_markers("matrix")]
    if unknown := [f"{test}: {row!r}" for test, row in rows if row not in matrix.ROWS]:
        raise pytest.UsageError("rows that tests/interop/matrix.py does not have: " + "; ".join(unknown))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if isinstance(item, pytest.Function) and (report.when == "call" or report.failed):
        results = item.config.stash.setdefault(RESULTS, {})
        chosen = item.callspec.params if hasattr(item, "callspec") else {}
        for cell in matrix.cells_of(item.iter_markers(), item.fixturenames, chosen):
            results[cell] = results.get(cell, True) and report.passed
        for each in item.funcargs.values() if report.failed else ():
            if isinstance(each, Peer):
                report.sections.append((each.name, each.last_words))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    page, results = os.environ.get("IKECORE_INTEROP_MATRIX"), session.config.stash.get(RESULTS, {})
    if not page:
        return
    if lacking := set(matrix.ROWS) - {cell.row for cell in results}:
        raise pytest.UsageError(f"{page} is not written, since these rows did not run: {', '.join(sorted(lacking))}")
    versions = session.config.stash.get(VERSIONS, {})
    matrix.write(Path(page), results, " and ".join(f"{name} {version}" for name, version in versions.items()))


def absent(reason: str) -> NoReturn:
    """Skip for want of a peer, or fail where IKECORE_REQUIRE_PEERS says that one has to be there."""
    if os.environ.get("IKECORE_REQUIRE_PEERS") == "1":
        pytest.fail(f"IKECORE_REQUIRE_PEERS is set, but {reason}", pytrace=False)
    pytest.skip(reason)


def need(name: str, lacking: list[str]) -> None:
    if lacking:
        absent(f"{name} is not on this machine: {', '.join(lacking)} not found")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for the kernel's XFRM, compiled."""
    if shutil.which("cc") is None:
        absent("there is no compiler (cc) for the stand-in of the kernel")
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def network(shim: Path) -> Iterator[None]:
    """A network namespace with nobody in it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(private_network())
        except NoNetwork as error:
            absent(str(error))
        yield


@pytest.fixture
def start_charon(network: None, shim: Path, tmp_path: Path) -> Iterator[Callable[..., Charon]]:
    """Start a charon on 127.0.0.1 with options in strongswan.conf's words; stopped at the end."""
    need("strongSwan", strongswan.missing())
    with ExitStack() as stack:

        def start(options: str = PLAIN) -> Charon:
            return stack.enter_context(Charon(tmp_path / "charon", shim, options=options))

        yield start


@pytest.fixture
def charon(start_charon: Callable[..., Charon]) -> Charon:
    """A charon with its defaults, but without protection against floods."""
    return start_charon()


@pytest.fixture
def start_pluto(network: None, shim: Path, tmp_path: Path) -> Iterator[Callable[..., Pluto]]:
    """Start a pluto on 127.0.0.1 with arguments of its command line; stopped at the end."""
    need("libreswan", libreswan.missing())
    with ExitStack() as stack:

        def start(*options: str) -> Pluto:
            return stack.enter_context(Pluto(tmp_path / "pluto", shim, options=options))

        yield start


@pytest.fixture
def pluto(start_pluto: Callable[..., Pluto]) -> Pluto:
    """A pluto with its defaults."""
    return start_pluto()


@pytest.fixture(params=["charon", "pluto"])
def peer(request: pytest.FixtureRequest) -> Peer:
    """Each daemon."""
    found: Peer = request.getfixturevalue(request.param)
    request.config.stash.setdefault(VERSIONS, {}).setdefault(found.name, found.version)
    return found


@pytest.fixture(params=["responds", "initiates"])
def role(request: pytest.FixtureRequest) -> Literal["responds", "initiates"]:
    """What the peer does when the SA is set up: each role."""
    chosen: Literal["responds", "initiates"] = request.param
    return chosen


@pytest.fixture(scope="session")
def authorities() -> Authorities:
    """A root with an intermediate authority of each kind of key."""
    utc = datetime.now(UTC)
    return Authorities(
        rsa=CertificateAuthority("Interop RSA Root", kind="rsa-2048", utc=utc),
        ecdsa=CertificateAuthority("Interop ECDSA Root", kind="ecdsa-p256", utc=utc),
    )


@pytest.fixture(scope="session")
def strangers() -> Authorities:
    """Authorities of the same names that nobody else knows."""
    utc = datetime.now(UTC)
    return Authorities(
        rsa=CertificateAuthority("Interop RSA Root", kind="rsa-2048", utc=utc),
        ecdsa=CertificateAuthority("Interop ECDSA Root", kind="ecdsa-p256", utc=utc),
    )
