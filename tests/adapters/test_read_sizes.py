"""asyncio's transports read into buffers that fit what comes, and the largest datagram still fits."""

from __future__ import annotations

import asyncio
from typing import Any

from ikecore_asyncio._sockets import LARGEST_READ, read_less

LARGEST_DATAGRAM = 65_507


class Taker(asyncio.DatagramProtocol):
    """Keeps the sizes of what comes."""

    def __init__(self) -> None:
        self.sizes: asyncio.Queue[int] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        read_less(transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.sizes.put_nowait(len(data))


def test_the_largest_datagram_comes_whole_through_the_smaller_buffer() -> None:
    async def largest() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        transport, taker = await loop.create_datagram_endpoint(Taker, local_addr=("127.0.0.1", 0))
        try:
            transport.sendto(bytes(LARGEST_DATAGRAM), transport.get_extra_info("sockname"))
            size = await asyncio.wait_for(taker.sizes.get(), 5)
            return size, transport.max_size  # type: ignore[attr-defined]
        finally:
            transport.close()

    assert asyncio.run(largest()) == (LARGEST_DATAGRAM, LARGEST_READ)


def test_a_transport_of_another_make_is_left_alone() -> None:
    transport = asyncio.BaseTransport()
    read_less(transport)
    assert not hasattr(transport, "max_size")
