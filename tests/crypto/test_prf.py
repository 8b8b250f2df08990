"""prf and prf+ against published vectors and against a second computation with the standard library."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.crypto import prf, prf_plus
from ikecore.errors import LocalProtocolError
from ikecore.wire.numbers import Prf
from tests.crypto.published import published

ALGORITHMS = {"256": Prf.HMAC_SHA2_256, "384": Prf.HMAC_SHA2_384, "512": Prf.HMAC_SHA2_512}


@pytest.mark.parametrize("vector", published()["hmac"])
def test_prf_gives_the_published_results(vector: dict[str, str]) -> None:
    key, data = bytes.fromhex(vector["key"]), bytes.fromhex(vector["data"])
    alg = ALGORITHMS[vector["hash"]]
    assert prf(alg, key, data).hex() == vector["prf"]


@pytest.mark.requirement("IKE-152")
@given(
    alg=st.sampled_from(sorted(ALGORITHMS.items())),
    key=st.binary(max_size=200),
    seed=st.binary(max_size=100),
    data=st.data(),
)
def test_prf_plus_is_the_chain_of_its_definition(
    alg: tuple[str, int], key: bytes, seed: bytes, data: st.DataObject
) -> None:
    name, number = alg
    length = data.draw(st.integers(0, 255 * int(name) // 8))
    stream, last, counter = b"", b"", 0
    while len(stream) < length:
        counter += 1
        last = hmac.digest(key, last + seed + bytes([counter]), f"sha{name}")
        stream += last
    assert prf_plus(number, key, seed, length) == stream[:length]


@pytest.mark.requirement("IKE-152")
@pytest.mark.parametrize(("name", "number"), ALGORITHMS.items())
def test_prf_plus_has_no_block_256(name: str, number: int) -> None:
    most = 255 * int(name) // 8
    assert len(prf_plus(number, b"key", b"seed", most)) == most
    with pytest.raises(LocalProtocolError, match=str(most)):
        prf_plus(number, b"key", b"seed", most + 1)


def test_a_prf_that_is_not_ours_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        prf(Prf.HMAC_MD5, b"", b"")
    with pytest.raises(LocalProtocolError):
        prf_plus(99, b"", b"", 1)
