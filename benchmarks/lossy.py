"""How long each policy takes to set up an IKE SA through a network that loses packets.

    python -m benchmarks.lossy [--seeds 1000] [--loss 0,1,5,10,20] [--json FILE] [--markdown FILE] [--plot FILE]

In virtual time (`ikecore.testing`), with a round trip of 50 ms. An IKE_AUTH message has about 8,000 octets either way,
as with a chain of certificates; here it is a pre-shared key and an identity of that size, since what a signature costs
is not measured. Loss is of IP packets, independently, both ways: a datagram of 8,000 octets is six fragments, lost with
any of them, while of seven IKE fragments those that arrived are kept until a repeat brings the others; TCP sends its
segments again as `ikecore.testing.tcp_model` describes. The initiator is configured with the
responder's TCP port whatever its policy, and both sides have the default limits.

A figure is the time from the wish to the initiator's `IkeSaEstablished`. A run that has not come that far after 60
seconds counts as longer than any other; it shows in a quantile as "> 60 s".
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Literal

import attrs

from ikecore.config import ChildConfig, Config, Connection, PskCredential, Transports
from ikecore.crypto import Identity, esp_proposals, ike_proposals
from ikecore.endpoint import Endpoint
from ikecore.events import IkeSaEstablished, IkeSaFailed
from ikecore.testing import Network, Tcp, Udp
from ikecore.transport import BySize, Fallback, Local, Policy, Race, TcpOnly, UdpOnly, WholeMission

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DELAY = 0.025
MTU = 1500
HORIZON = 60.0
START = 0.08
"""Where the curves begin."""
PADDING = 7_800
"""Octets of an identity; with the rest of IKE_AUTH a message comes to about 8,000."""
HOSTS = ("10.0.0.1", "10.0.0.2")
LOSSES = (0.0, 0.01, 0.05, 0.1, 0.2)
POLICIES: dict[str, tuple[Policy, Literal["yes", "no"]]] = {
    "udp-only, IP fragments": (UdpOnly(), "no"),
    "udp-only, IKE fragments": (UdpOnly(), "yes"),
    "by-size": (BySize(), "yes"),
    "by-size, opened early": (BySize(open_early=True), "yes"),
    "whole-mission": (WholeMission(), "yes"),
    "race": (Race(), "yes"),
    "fallback": (Fallback(), "yes"),
    "tcp-only": (TcpOnly(), "yes"),
}
"""The initiator's policy, and whether both sides know IKE fragments (RFC 7383), which is the default."""
SECRET = PskCredential(b"a secret of the benchmark")


@attrs.frozen
class Cell:
    """One policy at one loss: the seconds that each seed took, infinite where it did not come up in time."""

    policy: str
    loss: float
    seconds: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the time within which *share* of the runs were done."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    @property
    def established(self) -> float:
        """The share that came up within the horizon."""
        return sum(each <= HORIZON for each in self.seconds) / len(self.seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lossy", description="Time policies under loss.")
    parser.add_argument("--seeds", type=int, default=1000, help="runs per cell (default: 1000)")
    parser.add_argument("--loss", default="0,1,5,10,20", help="per cent of packets (default: 0,1,5,10,20)")
    parser.add_argument("--json", metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--markdown", metavar="FILE", help="write the table to FILE")
    parser.add_argument("--plot", metavar="FILE", help="draw the curves into FILE, .svg or .png; needs matplotlib")
    arguments = parser.parse_args()
    losses = [float(each) / 100 for each in arguments.loss.split(",")]
    start = time.process_time()
    cells = []
    for cell in measure(losses, arguments.seeds):
        print(f"{cell.policy:24} {in_words(cell)}", flush=True)
        cells.append(cell)
    runs = len(cells) * arguments.seeds
    print(f"{runs} handshakes in {time.process_time() - start:.0f} s of CPU time")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump([as_json(cell) for cell in cells], file)
    if arguments.markdown:
        with open(arguments.markdown, "w", encoding="utf-8") as file:
            file.write("\n".join(as_markdown(cells)) + "\n")
    if arguments.plot:
        plot(cells, arguments.plot)
    return 0


def measure(losses: Sequence[float], seeds: int) -> Iterator[Cell]:
    """Run each policy at each loss."""
    for policy in POLICIES:
        connections = tuple(connection(role, *POLICIES[policy]) for role in (0, 1))
        for loss in losses:
            times = tuple(handshake(connections[0], connections[1], loss, seed) for seed in range(seeds))
            yield Cell(policy, loss, times)


def connection(role: int, policy: Policy, fragmentation: Literal["yes", "no"]) -> Connection:
    """Describe the peering as the initiator (0) or the responder (1) sees it."""
    identities = [Identity.parse(f"keyid:{letter * PADDING}") for letter in "ir"]
    return Connection(
        name="peer",
        local_identity=identities[role],
        local=SECRET,
        remote=SECRET,
        # The initiator's would go into its request as IDr, which has its padding already.
        remote_identity=identities[0] if role == 1 else None,
        proposals=ike_proposals("aes256gcm16-prfsha256-x25519"),
        children=(ChildConfig(proposals=esp_proposals("aes256gcm16")),),
        transports=Transports(policy=policy, tcp_port=500 if role == 0 else None, fragmentation=fragmentation),
    )


def handshake(ours: Connection, theirs: Connection, loss: float, seed: int) -> float:
    """Set up one SA; return the time that took."""
    network = Network(seed, udp=Udp(delay=DELAY, loss=loss, mtu=MTU), tcp=Tcp(delay=DELAY, loss=loss), record=False)
    hosts = []
    for host, each in zip(HOSTS, (ours, theirs), strict=True):
        dice = random.Random(f"{host} {seed}")
        endpoint = Endpoint(Config(connections=(each,)), random=dice.randbytes, utc=lambda: NOON, raise_bugs=True)
        listener = [Local((host, 500), "tcp")] if each is theirs else []
        hosts.append(network.attach(endpoint, Local((host, 500)), Local((host, 4500), marker=True), *listener))
    over: list[float] = []

    def watch(event: object) -> None:
        if isinstance(event, IkeSaEstablished):
            over.append(network.now)
        elif isinstance(event, IkeSaFailed):
            over.append(float("inf"))

    initiator = hosts[0]
    initiator.on_event = watch
    initiator.call(initiator.endpoint.initiate, ours, [HOSTS[1]])
    network.at(HORIZON, lambda: over.append(float("inf")))
    network.run(until=lambda: over)
    return over[0]


# --- what is shown ----------------------------------------------------------------------------------------------------


def in_words(cell: Cell) -> str:
    times = "  ".join(f"{name} {seconds(cell.quantile(share)):>8}" for name, share in QUANTILES)
    return f"{cell.loss:4.0%}  {times}  up within 60 s {cell.established:7.1%}"


QUANTILES = (("median", 0.5), ("p90", 0.9), ("p99", 0.99))


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value <= HORIZON else "> 60 s"


def as_json(cell: Cell) -> dict[str, Any]:
    """Return a cell as JSON values; null stands for a run that did not come up in time."""
    times = [round(each, 6) if each <= HORIZON else None for each in cell.seconds]
    return {"policy": cell.policy, "loss": cell.loss, "seconds": times}


def as_markdown(cells: Sequence[Cell]) -> Iterator[str]:
    """Write median, p90, p99 and the share that came up, a column per loss."""
    losses = list(dict.fromkeys(cell.loss for cell in cells))
    yield "| policy | " + " | ".join(f"{loss:.0%} loss" for loss in losses) + " |"
    yield "|---|" + "---|" * len(losses)
    for policy in dict.fromkeys(cell.policy for cell in cells):
        row = [cell for cell in cells if cell.policy == policy]
        yield f"| {policy} | " + " | ".join(map(in_a_cell, row)) + " |"


def in_a_cell(cell: Cell) -> str:
    times = " / ".join(seconds(cell.quantile(share)).removesuffix(" s") for _, share in QUANTILES)
    return times if cell.established == 1.0 else f"{times} ({cell.established:.1%} up)"


def plot(cells: Sequence[Cell], file: str) -> None:
    """Draw, for each loss, the share of runs that were done by a time."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "ikecore"
    from matplotlib import pyplot

    losses = [loss for loss in dict.fromkeys(cell.loss for cell in cells) if loss > 0] or [0.0]
    figure, axes = pyplot.subplots(1, len(losses), figsize=(3.6 * len(losses), 4.0), sharey=True, squeeze=False)
    for axis, loss in zip(axes[0], losses, strict=True):
        for number, cell in enumerate(each for each in cells if each.loss == loss):
            done = Counter(round(each, 3) for each in cell.seconds if each <= HORIZON)
            times = sorted(done)
            shares = [100 * share / len(cell.seconds) for share in accumulate(done[each] for each in times)]
            times, shares = [START, *times, HORIZON], [0.0, *shares, shares[-1] if shares else 0.0]
            axis.step(times, shares, where="post", label=cell.policy, ls=("-", "--", ":")[number % 3])
        axis.set(title=f"{loss:.0%} loss", xscale="log", xlim=(START, HORIZON), ylim=(0, 101), xlabel="seconds")
        axis.set_xticks([0.1, 0.3, 1, 3, 10, 30, 60], ["0.1", "0.3", "1", "3", "10", "30", "60"])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("per cent established")
    axes[0][0].legend(fontsize="small", loc="lower right")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None} if file.endswith(".svg") else None)


if __name__ == "__main__":
    raise SystemExit(main())
