"""The core in an asyncio DatagramProtocol, without any adapter: octets in, outputs out, one alarm.

Run it: two endpoints set up an IKE SA over loopback, and delete it again. (One socket each, so no NAT traversal: that
takes a second one, `Local(..., marker=True)`. `ikecore_asyncio` has that, TCP and sessions ready made.)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ikecore import (
    ChildSaEstablished,
    Config,
    Connection,
    Endpoint,
    Identity,
    IkeSaClosed,
    IkeSaFailed,
    Local,
    Output,
    PskCredential,
    SendDatagram,
    Transports,
)


class Ike(asyncio.DatagramProtocol):
    def __init__(self, endpoint: Endpoint, heard: Callable[[Output], None]) -> None:
        self.endpoint, self.heard, self.loop = endpoint, heard, asyncio.get_running_loop()
        self.alarm = self.loop.call_soon(int)

    def connection_made(self, transport: Any) -> None:
        self.transport, self.local = transport, transport.get_extra_info("sockname")
        self.tell(self.endpoint.local_added, Local(self.local))

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.tell(self.endpoint.datagram_received, data, local=self.local, remote=addr)

    def tell(self, change: Callable[..., object], *args: object, **facts: object) -> None:
        change(*args, **facts, now=self.loop.time())
        for output in self.endpoint.outputs():
            if isinstance(output, SendDatagram):
                self.transport.sendto(output.data, output.remote)
            else:
                self.heard(output)
        self.alarm.cancel()
        if (deadline := self.endpoint.deadline) is not None:
            self.alarm = self.loop.call_at(deadline, self.tell, self.endpoint.timer_expired)


async def open_ike(connection: Connection) -> tuple[Ike, asyncio.Queue[Output]]:
    """Run an endpoint for *connection* on a free port; what it says goes into the queue."""
    said: asyncio.Queue[Output] = asyncio.Queue()
    endpoint = Endpoint(Config(connections=[connection]), random=os.urandom, utc=lambda: datetime.now(UTC))
    loop = asyncio.get_running_loop()
    _, ike = await loop.create_datagram_endpoint(lambda: Ike(endpoint, said.put_nowait), ("127.0.0.1", 0))
    return ike, said


async def main() -> None:
    secret = PskCredential(b"not a good one")
    alice, bob = Identity.parse("alice@example.org"), Identity.parse("bob.example.org")
    server, _ = await open_ike(Connection(name="in", local_identity=bob, local=secret, remote=secret))
    ways = Transports(udp_port=server.local[1])
    connection = Connection(name="out", local_identity=alice, local=secret, remote=secret, transports=ways)
    client, said = await open_ike(connection)

    client.tell(client.endpoint.initiate, connection, ["127.0.0.1"])
    while not isinstance(output := await said.get(), IkeSaClosed | IkeSaFailed):
        print(output)
        if isinstance(output, ChildSaEstablished):
            print("keys for ESP:", len(output.export_keys().encr_out), "octets outbound")
            client.tell(client.endpoint.delete, output.sa)
    print(output)
    for ike in (client, server):
        ike.alarm.cancel()
        ike.transport.close()


if __name__ == "__main__":
    asyncio.run(main())
