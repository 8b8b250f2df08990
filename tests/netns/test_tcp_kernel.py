"""The comparison of the model of TCP with the kernel runs: what it measured is in docs/transports.md."""

from __future__ import annotations

import pytest

from benchmarks import tcp_kernel
from tests.netns.two_hosts import TwoHosts


@pytest.mark.parametrize("plain", [False, True])
def test_the_kernel_answers_every_exchange(hosts: TwoHosts, plain: bool) -> None:
    times = tcp_kernel.kernel(2, 20, plain=plain)
    assert len(times) == 20
    assert all(0 < each < tcp_kernel.PATIENCE for each in times)


def test_so_does_the_model() -> None:
    lossless = tcp_kernel.modelled(0, 1)
    assert lossless == pytest.approx(4 * tcp_kernel.NO_DELAY)
    assert max(tcp_kernel.modelled(20, seed) for seed in range(20)) > 0.2
