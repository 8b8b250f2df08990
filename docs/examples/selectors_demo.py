"""Two hosts of selectors_host.py in one process and one thread, over loopback.

They set up an IKE SA, IKE_SA_INIT by UDP and IKE_AUTH by TCP, and delete it. Each line is one output of an endpoint: an
action for the host to carry out, or an event.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from selectors import BaseSelector, DefaultSelector

from selectors_host import Host, turn

from ikecore import BySize, Config, Connection, Endpoint, Identity, Listen, PskCredential, Transports


def open_host(name: str, connection: Connection, selector: BaseSelector, listen: Listen) -> Host:
    """Run an endpoint for *connection* on the sockets of *listen*."""
    endpoint = Endpoint(Config(connections=[connection]), random=os.urandom, utc=lambda: datetime.now(UTC))
    host = Host(endpoint, selector, lambda output: print(f"{name}: {output}"))
    for local in listen.locals():
        host.bind(local)
    return host


def main() -> None:
    secret = PskCredential(b"not a good one")
    alice, bob = Identity.parse("alice@example.org"), Identity.parse("bob.example.org")
    with DefaultSelector() as selector:
        to_alice = Connection(name="in", local_identity=bob, local=secret, remote=secret)
        server = open_host("bob", to_alice, selector, Listen(udp=0, udp_nat=0, tcp=0))
        plain, marked, _ = (address[1] for _, address in server.sockets)
        ways = Transports(policy=BySize(threshold=200), udp_port=plain, udp_nat_port=marked)
        to_bob = Connection(name="out", local_identity=alice, local=secret, remote=secret, transports=ways)
        client = open_host("alice", to_bob, selector, Listen(udp=0, udp_nat=0))

        sa = client.tell(client.endpoint.initiate, to_bob, ["127.0.0.1"])
        while client.endpoint.sa(sa).state != "established":
            turn(selector, client, server)
        print("keys for ESP:", len(client.endpoint.sa(sa).children[0].export_keys().encr_out), "octets outbound")
        client.tell(client.endpoint.shutdown)
        while not (client.endpoint.idle and server.endpoint.idle):
            turn(selector, client, server)
        client.close()
        server.close()


if __name__ == "__main__":
    main()
