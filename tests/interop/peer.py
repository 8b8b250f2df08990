"""A peer as the tests see it, whichever daemon it is: what both have to be told, and what both tell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from tests.interop.host import UdpHost
    from tests.interop.peering import Authorities, Peering

PATIENCE = 30.0
"""Seconds until what does not happen is taken for failed, on a machine however slow. No test waits for them."""
GLANCE = 0.01
"""Seconds between two looks at a daemon."""
LAST_LINES = 60
"""How much of a log an error shows."""

P = TypeVar("P", bound="Peer")

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
"""Where programs are looked for: daemons live where a user's path does not lead."""


def build_shim(directory: Path) -> Path:
    """Compile the stand-in for the kernel's XFRM; return the library to preload."""
    library = directory / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


@dataclass(frozen=True)
class Spis:
    """The SPIs of a Child SA (4 octets each), as the peer sees them: what it expects, and what it sends."""

    incoming: bytes
    outgoing: bytes


@dataclass(frozen=True)
class Sa:
    """An established IKE SA of the peer, by its SPIs (8 octets each), with its Child SAs."""

    spi_i: bytes
    spi_r: bytes
    children: frozenset[Spis]


@dataclass(frozen=True)
class EspKeys:
    """Keys of a Child SA as the peer's log tells them, by the direction the peer sees."""

    spis: Spis
    encr_in: bytes = field(repr=False)
    integ_in: bytes = field(repr=False)
    encr_out: bytes = field(repr=False)
    integ_out: bytes = field(repr=False)


class Peer(ABC):
    """One daemon on one address. Use it as a context manager: started on entry, gone at the exit."""

    name: str
    """What the project is called."""
    _debugging: re.Pattern[str]
    """What lines of its log have in which it only tells octets, or what it is at."""

    def __init__(self, directory: Path, shim: Path) -> None:
        self.directory = directory
        self.environment = os.environ | {"PATH": PATH}
        self._shim = shim
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs: list[subprocess.Popen[str]] = []

    # --- life of the process ---------------------------------------------------------------------------------------

    def __enter__(self: P) -> P:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            job.kill()
            job.communicate()
        self._end(signal.SIGTERM)

    def start(self) -> None:
        """Start the daemon and wait until it takes commands; raises RuntimeError with its output."""
        output = self.directory / "output"
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                self._command(),
                env=self.environment | {"LD_PRELOAD": str(self._shim)},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        give_up = time.monotonic() + PATIENCE
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self._end(signal.SIGKILL)
                raise RuntimeError(f"{self.name} did not start:\n{output.read_text(errors='replace')}")
            time.sleep(GLANCE)

    def crash(self) -> None:
        """End the daemon as a power failure would: nothing is sent, nothing is remembered."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the daemon's command line, for the foreground."""

    @abstractmethod
    def _ready(self) -> bool:
        """Does the daemon take commands?"""

    def _run(self, *command: str) -> str:
        """Run a command to its end and return what it printed; raises CalledProcessError."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout

    def _begin(self, *command: str) -> subprocess.Popen[str]:
        """Begin a command; it is killed at the exit if it has not ended."""
        job = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._jobs.append(job)
        return job

    # --- what it is told -------------------------------------------------------------------------------------------

    @abstractmethod
    def configure(self, peering: Peering, authorities: Authorities) -> None:
        """Make its side of *peering*: the connection "lab" with the Child SA "net", and "more" if it has that."""

    @abstractmethod
    def connect(self) -> None:
        """Begin to set up the connection with its Child SA."""

    @abstractmethod
    def connect_more(self) -> None:
        """Begin to set up the Child SA "more" too."""

    @abstractmethod
    def delete_ike(self) -> None:
        """Begin to delete the IKE SA."""

    @abstractmethod
    def delete_child(self) -> None:
        """Begin to delete the Child SA."""

    @abstractmethod
    def rekey_ike(self) -> None:
        """Begin to rekey the IKE SA."""

    @abstractmethod
    def rekey_child(self) -> None:
        """Begin to rekey the Child SA."""

    # --- what it tells ---------------------------------------------------------------------------------------------

    def until(self, holds: Callable[[], object], host: UdpHost | None = None) -> None:
        """Wait until *holds* of what it says or has; *host* serves its sockets meanwhile.

        A daemon writes its log and settles its SAs before and after it sends, and in several threads: that a message
        has come tells nothing of how far its sender is. Whatever a test wants to see of a daemon, it waits for.
        Raises TimeoutError with the end of the log.
        """
        give_up = time.monotonic() + PATIENCE
        if host is not None:
            host.flush()
        while not holds():
            if time.monotonic() > give_up:
                events = f"\nour events: {host.events}" if host else ""
                raise TimeoutError(f"not so within {PATIENCE} s; {self.last_words}{events}")
            if host is None:
                time.sleep(GLANCE)
            else:
                host.turn(at_most=GLANCE)

    def until_said(self, words: str | re.Pattern[str], host: UdpHost | None = None) -> None:
        """Wait until its log has *words*; like `until`."""
        wanted = re.compile(re.escape(words)) if isinstance(words, str) else words
        self.until(lambda: wanted.search(self.log), host)

    @property
    def last_words(self) -> str:
        """The end of its log, for an error, without what only debugging is in it for."""
        lines = [line for line in self.log.splitlines() if not self._debugging.search(line)]
        return "\n".join([f"the end of {self.name}'s log:", *lines[-LAST_LINES:]])

    @property
    @abstractmethod
    def version(self) -> str:
        """Its version, as it tells it."""

    @property
    @abstractmethod
    def log(self) -> str:
        """Everything logged so far."""

    @abstractmethod
    def sas(self) -> tuple[Sa, ...]:
        """Return the established IKE SAs with their Child SAs, in no order."""

    @abstractmethod
    def ike_keys(self) -> list[dict[str, bytes]]:
        """Return the keys of each IKE SA in the log, in order, by name ("sk_ei"): as many as the daemon tells."""

    @abstractmethod
    def esp_keys(self) -> list[EspKeys]:
        """Return the keys of each Child SA in the log, in order."""

    @abstractmethod
    def heard(self, what: Literal["NO_PROPOSAL_CHOSEN", "AUTHENTICATION_FAILED"]) -> bool:
        """Does the log tell that we refused with this notification?"""

    @abstractmethod
    def was_answered(self) -> bool:
        """Does the log tell that a liveness check of its own was answered?"""

    @abstractmethod
    def fragmented(self) -> bool:
        """Does the log tell that it sent a message in fragments?"""

    @abstractmethod
    def requests(self) -> int:
        """Return how many requests the log tells it sent, repeats left out."""

    @abstractmethod
    def remote_port(self) -> int:
        """Return from which port it sees us, on its one IKE SA."""
