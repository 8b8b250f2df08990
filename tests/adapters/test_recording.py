"""What went over real sockets, recorded through the adapters' `make`, replays without any."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ikecore import BySize, Config, Endpoint, Listen, Transports, WriteStream
from ikecore.testing import Recorder, psk_connection, replay

if TYPE_CHECKING:
    from tests.adapters.conftest import Lib

FREE = Listen(udp=0, udp_nat=0, tcp=0)


def recording(tape: list[str]) -> Callable[[Config], Endpoint]:
    """Return what makes endpoints that are recorded on *tape*."""
    return lambda config: Recorder(config, tape, random=os.urandom, utc=lambda: datetime.now(UTC), raise_bugs=True)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_a_run_on_real_sockets_replays_equal(lib: Lib, tcp: bool) -> None:
    ours: list[str] = []
    theirs: list[str] = []
    seen: list[Any] = []
    config = Config(connections=[psk_connection("responder")])

    async def main() -> Any:
        async with lib.module.open_endpoint(config, FREE, make=recording(theirs)) as opened, lib.tasks() as start:
            served = lib.Event()

            async def handler(session: Any) -> None:
                await session.wait_closed()
                served.set()

            async def serve() -> None:
                await opened.serve(handler)

            start(serve)
            plain, marked, _ = (local.address[1] for local in opened.locals)
            policy = BySize(threshold=200 if tcp else 1200)
            ways = Transports(policy=policy, udp_port=plain, udp_nat_port=marked)
            connection = psk_connection("initiator", transports=ways)
            make = recording(ours)
            async with lib.module.connect("127.0.0.1", connection, make=make, on_event=seen.append) as session:
                await session.check_liveness()
            await served.wait()
        return connection

    connection = lib.run(main)
    assert any(isinstance(output, WriteStream) for output in seen) == tcp
    for result in (replay(ours, Config(), connections=[connection]), replay(theirs, config)):
        assert result.equal, result.differences
        assert result.signed == 0
        assert result.inputs > 5
