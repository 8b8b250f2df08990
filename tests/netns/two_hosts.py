"""Two network namespaces with a wire between them, filters and a NAT in nftables, and commands run inside.

Each namespace is held open by a process of its own; without the right to make one, the whole is tried in a user
namespace, where everybody may. Nothing is left behind when the processes end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

__all__ = ["CLIENT", "GATEWAYS", "Forbidden", "TwoHosts", "missing_tools"]

CLIENT = "192.0.2.1"
GATEWAYS = ("192.0.2.2", "192.0.2.3", "192.0.2.4")
"""All are addresses of one host."""
HOLD = ["sh", "-c", "echo here; exec cat"]
"""Says that the namespace is there, and ends when its standard input does."""


class Forbidden(Exception):
    """This machine does not let us make network namespaces, or filter in them; says why."""


def missing_tools() -> list[str]:
    """Return the programs that are not installed."""
    return [tool for tool in ("ip", "nft", "nsenter", "unshare") if shutil.which(tool) is None]


class TwoHosts:
    """A client and a gateway, each in a network namespace, joined by a veth pair. Use it as a context manager."""

    def __init__(self) -> None:
        self._holders: dict[str, subprocess.Popen[str]] = {}
        self._enter: list[str] = []

    def __enter__(self) -> TwoHosts:
        try:
            self._hold()
            client, gateway = (str(self._holders[name].pid) for name in ("client", "gateway"))
            wire = ["link", "add", "wire", "netns", client, "type", "veth", "peer", "name", "wire", "netns", gateway]
            run(self.inside("client", ["ip", *wire]))
            for name, addresses in (("client", (CLIENT,)), ("gateway", GATEWAYS)):
                for address in addresses:
                    run(self.inside(name, ["ip", "address", "add", f"{address}/24", "dev", "wire"]))
                run(self.inside(name, ["ip", "link", "set", "lo", "up"]))
                run(self.inside(name, ["ip", "link", "set", "wire", "mtu", "1500", "up"]))
            self.filter("")
        except Forbidden:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for holder in self._holders.values():
            holder.communicate()
        self._holders.clear()

    def _hold(self) -> None:
        """Make both namespaces."""
        user: list[str] = []
        if os.geteuid() != 0:
            user = ["--user", "--map-root-user"]
            self._enter = ["--user", "--preserve-credentials"]
        self._holders["client"] = holder(["unshare", *user, "--net", *HOLD])
        pid = str(self._holders["client"].pid)
        within = ["nsenter", "--target", pid, *self._enter] if user else []
        self._holders["gateway"] = holder([*within, "unshare", "--net", *HOLD])

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """Return the command line that runs *command* on the host called *name*."""
        return ["nsenter", "--target", str(self._holders[name].pid), *self._enter, "--net", *command]

    def filter(self, rule: str) -> None:
        """Let *rule* of nftables hold for all that either host receives, in place of the one before.

        The hook is that of the device: IP fragments pass it one by one, before they are put together.
        """
        lines = (
            "table netdev lossy",
            "delete table netdev lossy",
            "table netdev lossy {",
            "chain arriving {",
            'type filter hook ingress device "wire" priority 0',
            rule,
            "}",
            "}",
        )
        script = "\n".join(lines) + "\n"
        for name in self._holders:
            run(self.inside(name, ["nft", "-f", "-"]), script)

    def masquerade(self, seconds: int) -> None:
        """Put a NAT before the client, whose mappings live for *seconds*, each on another port; 0 takes it away."""
        begin = ("table ip nat", "delete table ip nat")
        rule = "meta l4proto udp masquerade to :20000-30000 random"
        chain = ("table ip nat {", "chain leaving {", "type nat hook postrouting priority 100", rule, "}", "}")
        lines = (*begin, *(chain if seconds else ()))
        run(self.inside("client", ["nft", "-f", "-"]), "\n".join(lines) + "\n")
        for name in ("udp_timeout", "udp_timeout_stream") if seconds else ():
            path = f"/proc/sys/net/netfilter/nf_conntrack_{name}"
            run(self.inside("client", ["sh", "-c", f"echo {seconds} > {path}"]))

    def dropped(self, name: str) -> int:
        """Return how many packets to that host the rule has matched; it needs the word `counter`."""
        words = run(self.inside(name, ["nft", "list", "table", "netdev", "lossy"])).split()
        return int(words[words.index("packets") + 1])


def holder(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start what holds a namespace open. Raises `Forbidden`."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    if process.stdout is None or process.stdout.readline() != "here\n":
        raise Forbidden(f"unshare: {process.communicate()[1].strip()}")
    return process


def run(command: Sequence[str], text: str = "") -> str:
    """Run a tool. Raises `Forbidden` with its complaint."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=20)
    if done.returncode != 0:
        complaint = (done.stderr.strip() or str(done.returncode)).splitlines()[0]
        raise Forbidden(f"{' '.join(command[3:])}: {complaint}")
    return done.stdout
