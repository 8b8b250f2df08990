"""A real peer for every test: strongSwan's charon in a network of its own. Nothing is installed here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from ikecore.testing.pki import CertificateAuthority
from tests.interop.charon import PLAIN, Charon, build_shim, missing
from tests.interop.network import NoNetwork, private_network
from tests.interop.peering import Authorities


def absent(reason: str) -> NoReturn:
    """Skip for want of a peer, or fail where IKECORE_REQUIRE_PEERS says that one has to be there."""
    if os.environ.get("IKECORE_REQUIRE_PEERS") == "1":
        pytest.fail(f"IKECORE_REQUIRE_PEERS is set, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for the kernel's XFRM, compiled."""
    if lacking := missing():
        absent(f"no real peer on this machine: {', '.join(lacking)} not found")
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
    with ExitStack() as stack:

        def start(options: str = PLAIN) -> Charon:
            directory = tmp_path / "charon"
            return stack.enter_context(Charon(directory, shim, options=options))

        yield start


@pytest.fixture
def charon(start_charon: Callable[..., Charon]) -> Charon:
    """A charon with its defaults, but without protection against floods."""
    return start_charon()


@pytest.fixture(scope="session")
def authorities() -> Authorities:
    """A root with an intermediate authority of each kind of key."""
    utc = datetime.now(UTC)
    return Authorities(
        rsa=CertificateAuthority("Interop RSA Root", kind="rsa-2048", utc=utc),
        ecdsa=CertificateAuthority("Interop ECDSA Root", kind="ecdsa-p256", utc=utc),
    )
