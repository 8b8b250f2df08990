"""Coroutines that answer for the application while both sides prove who they are, on either binding."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from ikecore import (
    AuthenticationFailed,
    CertificateCredential,
    Config,
    Endpoint,
    ExternalKey,
    LocalProtocolError,
    PskWanted,
    TrustedCertificates,
)
from ikecore.crypto import Scheme, sign_with
from ikecore.testing.pki import CertificateAuthority
from ikecore.wire.numbers import AuthMethod, HashAlgorithm
from tests.adapters.test_sessions import FREE, THEM, US, peering, served, towards

if TYPE_CHECKING:
    from tests.adapters.conftest import Lib

Make = Callable[[Config], Endpoint]

ROOT = CertificateAuthority("Root", utc=datetime.now(UTC))
URL = "http://certs.example/them"
THEIRS, OURS = ROOT.leaf(["them.example"]), ROOT.leaf(["us.example"])
TRUST = TrustedCertificates((ROOT.der,), revocation="ask")


def everything(role: str) -> dict[str, Any]:
    """Configuration of a side that asks its application for all that it can."""
    leaf = THEIRS if role == "them" else OURS
    key = ExternalKey(leaf.chain, leaf.public_key, (URL,))
    return {"local": key, "remote": TRUST, "hash_and_url": True, "authorize": True}


def answers(role: str, asked: list[str], **changes: Any) -> dict[str, Any]:
    """Coroutines for that side, which note that they were asked."""
    leaf, other = (THEIRS, OURS) if role == "them" else (OURS, THEIRS)

    async def sign(question: Any) -> bytes:
        asked.append("sign")
        scheme = Scheme(AuthMethod.DIGITAL_SIGNATURE, question.kind, HashAlgorithm[question.hash])
        return sign_with(leaf.key, scheme, question.octets)

    async def fetch(question: Any) -> bytes:
        asked.append("fetch")
        assert question.url == URL
        return other.chain[0]

    async def revocation(question: Any) -> bool:
        asked.append("revocation")
        return True

    async def authorize(identity: str, question: Any) -> bool:
        asked.append(f"authorize {identity}")
        return True

    return {"sign": sign, "fetch": fetch, "revocation": revocation, "authorize": authorize, **changes}


def test_every_question_of_either_side_has_its_coroutine(lib: Lib, make: Make) -> None:
    async def main() -> None:
        ours: list[str] = []
        theirs: list[str] = []
        config = Config(connections=[peering(**everything("them"))])
        async with served(lib, make, config, **answers("them", theirs)) as peer:
            connection = attrs.evolve(towards(peer.opened), **everything("us"))
            async with lib.module.connect("127.0.0.1", connection, make=make, **answers("us", ours)) as session:
                assert session.peer_identity == str(THEM)
        assert ours == ["sign", "fetch", "revocation", f"authorize {THEM}"]
        assert theirs == ["fetch", "revocation", f"authorize {US}", "sign"]

    lib.run(main)


def test_an_endpoint_that_serves_may_call_with_answers_of_its_own(lib: Lib, make: Make) -> None:
    async def main() -> None:
        asked: list[str] = []
        config = Config(connections=[peering(local=CertificateCredential(THEIRS.chain, THEIRS.key))])
        async with (
            served(lib, make, config) as peer,
            lib.module.open_endpoint(Config(), FREE, make=make) as mine,
        ):
            connection = attrs.evolve(towards(peer.opened), remote=TRUST, authorize=True)
            mine_asked = answers("us", asked)
            wanted = {name: mine_asked[name] for name in ("revocation", "authorize")}
            async with mine.connect("127.0.0.1", connection, **wanted) as session:
                assert session.peer_identity == str(THEM)
        assert asked == ["revocation", f"authorize {THEM}"]

    lib.run(main)


@pytest.mark.parametrize("answer", [b"a secret", b"another", None, RuntimeError("the store is down")])
def test_a_secret_from_a_store(lib: Lib, make: Make, answer: Any) -> None:
    async def secret(question: Any) -> Any:
        assert (question.peer_identity, question.local_identity) == (str(US), str(THEM))
        await lib.turns(2)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> bool:
        wanted = PskWanted()
        config = Config(connections=[peering(local=wanted, remote=wanted)])
        async with served(lib, make, config, secret=secret) as peer:
            try:
                async with lib.module.connect("127.0.0.1", towards(peer.opened), make=make):
                    return True
            except AuthenticationFailed:
                return False

    assert lib.run(main) is (answer == b"a secret")


@pytest.mark.parametrize("missing", ["sign", "fetch", "revocation", "authorize"])
def test_what_nobody_answers_is_refused_at_once(lib: Lib, make: Make, missing: str) -> None:
    async def main() -> None:
        config = Config(connections=[peering(**everything("them"))])
        async with served(lib, make, config, **answers("them", [])) as peer:
            connection = attrs.evolve(towards(peer.opened), **everything("us"))
            with pytest.raises(LocalProtocolError if missing == "sign" else AuthenticationFailed):
                async with lib.module.connect(
                    "127.0.0.1", connection, make=make, **answers("us", [], **{missing: None})
                ):
                    pass

    lib.run(main)
