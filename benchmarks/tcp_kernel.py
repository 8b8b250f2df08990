"""The model of lossy TCP beside the kernel's: 8,000 octets and 8,000 back, through a wire that loses packets.

    python -m benchmarks.tcp_kernel [--loss 5,10,20] [--runs 1000]

The kernel's packets go between two network namespaces through nftables, which drops each with the same chance
(`numgen random`), on both sides; segments are kept from travelling as one. There is no delay there, nor in the model,
so what is compared is how often, and for how long, TCP waits for a timer. Linux; root, or user namespaces.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ikecore.testing import BareEndpoint, Network, Tcp
from ikecore.transport import Local
from tests.netns.two_hosts import GATEWAYS, TwoHosts

OCTETS = 8000
PORT = 5000
AT_ONCE = 50
PATIENCE = 60.0
PLAIN = ("tcp_sack", "tcp_recovery", "tcp_early_retrans", "tcp_frto")
"""What the kernel has and the model has not: selective acknowledgements, RACK, tail loss probes, F-RTO."""
NO_DELAY = 0.00005
TUNING = "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save; ip link set dev wire gso_max_segs 1"
"""Nothing may be learned from one connection for the next, and each segment has to be dropped on its own."""


def main() -> int:
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve())
        return 0
    if sys.argv[1:2] == ["connect"]:
        print(json.dumps(asyncio.run(connect(int(sys.argv[2])))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tcp_kernel", description="Compare with the kernel.")
    parser.add_argument("--loss", default="5,10,20", help="per cent of packets (default: 5,10,20)")
    parser.add_argument("--runs", type=int, default=1000, help="connections per loss (default: 1000)")
    arguments = parser.parse_args()
    print("| loss | | mean | median | p75 | p90 | p99 |\n|---|---|---|---|---|---|---|")
    for loss in map(int, arguments.loss.split(",")):
        for name, times in (
            ("kernel", kernel(loss, arguments.runs)),
            ("kernel, without what the model leaves out", kernel(loss, arguments.runs, plain=True)),
            ("model", [modelled(loss, seed) for seed in range(arguments.runs)]),
        ):
            print(f"| {loss} % | {name} | {' | '.join(summary(times))} |", flush=True)
    return 0


def summary(times: Sequence[float]) -> list[str]:
    ordered = sorted(times)
    quantiles = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.75, 0.9, 0.99)]
    return [f"{each:.2f} s" for each in (sum(ordered) / len(ordered), *quantiles)]


# --- the kernel -------------------------------------------------------------------------------------------------------


def kernel(loss: int, runs: int, *, plain: bool = False) -> list[float]:
    """Return the seconds that each of *runs* exchanges took between two namespaces."""
    here = [sys.executable, "-m", "benchmarks.tcp_kernel"]
    less = [f"echo 0 > /proc/sys/net/ipv4/{name}" for name in PLAIN if plain]
    with TwoHosts() as hosts:
        for name in ("client", "gateway"):
            subprocess.run(hosts.inside(name, ["sh", "-c", "; ".join([TUNING, *less])]), check=True)
        hosts.filter(f"meta l4proto tcp numgen random mod 1000 < {10 * loss} counter drop")
        root = Path(__file__).resolve().parents[1]
        server = subprocess.Popen(hosts.inside("gateway", [*here, "serve"]), stdout=subprocess.PIPE, cwd=root)
        try:
            assert server.stdout is not None
            server.stdout.readline()
            command = hosts.inside("client", [*here, "connect", str(runs)])
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=root)
        finally:
            server.kill()
            server.communicate()
    times: list[float] = json.loads(done.stdout)
    return times


async def serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(OCTETS)
            writer.write(bytes(OCTETS))
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, GATEWAYS[0], PORT, backlog=1000)
    print("listening", flush=True)
    await server.serve_forever()


async def connect(runs: int) -> list[float]:
    """Make so many exchanges, some at once; one that takes too long counts as that."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def exchange() -> float:
        async with turn:
            start = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(GATEWAYS[0], PORT)
                    writer.write(bytes(OCTETS))
                    await reader.readexactly(OCTETS)
                    took = time.monotonic() - start
                    writer.transport.abort()
            except (OSError, TimeoutError):
                return PATIENCE
            return took

    return await asyncio.gather(*(exchange() for _ in range(runs)))


# --- the model --------------------------------------------------------------------------------------------------------


def modelled(loss: int, seed: int) -> float:
    """Return the seconds that one exchange takes in virtual time."""
    network = Network(seed, tcp=Tcp(delay=NO_DELAY, loss=loss / 100), record=False)
    client, server = BareEndpoint(), BareEndpoint()
    near = network.attach(client, Local(("10.0.0.1", 500)))
    far = network.attach(server, Local(("10.0.0.2", PORT), "tcp"))
    stream = client.open(("10.0.0.2", PORT))
    client.write(stream, bytes(OCTETS))
    near.flush()

    def progress() -> bool:
        for accepted in server.streams.values():
            if len(accepted.received) == OCTETS:
                accepted.received += b"."
                server.write(accepted, bytes(OCTETS))
                far.flush()
        return len(stream.received) == OCTETS or stream.state == "lost" or network.now >= PATIENCE

    network.at(PATIENCE, lambda: None)
    network.run(until=progress)
    return network.now


if __name__ == "__main__":
    raise SystemExit(main())
