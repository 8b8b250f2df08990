"""Message IDs, apart from what messages mean: a window for our requests, one for the peer's (RFC 7296 section 2.3)."""

from __future__ import annotations

import enum
from math import inf

import attrs

from ..errors import LocalProtocolError
from ..transport import Path
from .exchange import OurExchange
from .request import OutgoingRequest, OutgoingResponse

__all__ = ["NEARLY_USED_UP", "Glance", "InProgress", "RequestWindow", "ResponseWindow"]

LAST_ID = 0xFFFF_FFFF
NEARLY_USED_UP = LAST_ID - 0xFFFF
"""From this Message ID on an IKE SA needs a rekey soon: there is room for some thousand failures."""


class RequestWindow:
    """Our requests: the next Message ID, those unanswered, and the wishes that wait for room."""

    __slots__ = ("next_id", "queue", "size", "unanswered")

    def __init__(self, next_id: int = 0) -> None:
        self.next_id = next_id
        self.size = 1
        self.unanswered: dict[int, OutgoingRequest] = {}
        self.queue: tuple[OurExchange, ...] = ()

    @property
    def has_room(self) -> bool:
        """Request X waits until all up to X - size are answered, so holes count (RFC 7296 section 2.3)."""
        oldest = min(self.unanswered, default=self.next_id)
        return self.next_id < oldest + self.size

    @property
    def used_up(self) -> bool:
        """Whether 32 bits of Message IDs are spent, so that the SA has to end (RFC 7296 section 2.2)."""
        return self.next_id > LAST_ID

    def take_next(self, now: float) -> OurExchange | None:
        """Take the next waiting exchange that may be sent now, None if there is none.

        One that wants to be alone waits until nothing is unanswered, and everything else waits for its end. One about
        a Child SA waits for others about the same one.
        """
        while self.queue and self.has_room:
            exchange = self.queue[0]
            if self.unanswered:
                under_way = [each.handler for each in self.unanswered.values()]
                if exchange.alone or any(each.alone or exchange.overlaps(each) for each in under_way):
                    return None
            self.queue = self.queue[1:]
            if exchange.still_wanted(now):
                return exchange
        return None

    def take_id(self) -> int:
        """Return the next Message ID; only called while they are not `used_up`."""
        self.next_id += 1
        return self.next_id - 1


class Glance(enum.Enum):
    """What a look at the Message ID and the octets tells before anything is decrypted."""

    NEW = "new"
    REPEAT = "repeat"
    """The very octets of a request that we answered."""
    PERHAPS_REPEAT = "perhaps a repeat"
    """A Message ID that we answered, in other octets: only the ICV can tell."""
    IN_PROGRESS = "in progress"
    """The very octets of a request whose answer is still being decided."""
    IN_PROGRESS_OTHERWISE = "in progress, in other octets"
    """Its Message ID in other octets: only the ICV can tell."""
    FORGOTTEN = "forgotten"
    AHEAD = "ahead of the window"


@attrs.define
class InProgress:
    """A request that has no answer yet, and the paths that wait for it (bounded)."""

    message_id: int
    digest: bytes
    paths: list[Path]


class ResponseWindow:
    """The peer's requests: which Message IDs may come, what is being decided, and the last answers.

    *size* is what we told the peer (RFC 7296 section 2.3): so many requests may be unanswered at once, in any order.
    """

    MOST_PATHS = 4
    """Paths remembered for one undecided request: UDP before and after a NAT rebinding, and two streams."""

    __slots__ = ("_answers", "_early", "_undecided", "expected", "size")

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected
        """The lowest Message ID that has not come."""
        self.size = 1
        self._early: tuple[int, ...] = ()
        """Those above *expected* that came out of order."""
        self._undecided: tuple[InProgress, ...] = ()
        """Requests without an answer yet."""
        self._answers: dict[int, OutgoingResponse] = {}
        """The last answers."""

    @property
    def touched(self) -> bool:
        """Whether any request has come."""
        return bool(self.expected or self._early)

    def glance(self, message_id: int, digest: bytes) -> Glance:
        """Classify a request by its Message ID and the digest of its octets. Changes nothing."""
        answer = self._answers.get(message_id)
        if answer is not None:
            return Glance.REPEAT if answer.digest == digest else Glance.PERHAPS_REPEAT
        oldest = self.expected
        for each in self._undecided:
            if each.message_id == message_id:
                return Glance.IN_PROGRESS if each.digest == digest else Glance.IN_PROGRESS_OTHERWISE
            oldest = min(oldest, each.message_id)
        if message_id < self.expected or message_id in self._early:
            return Glance.FORGOTTEN
        # What is still being decided takes up room, or a peer could have any number of requests undecided.
        return Glance.NEW if message_id < oldest + self.size else Glance.AHEAD

    def begin(self, message_id: int, digest: bytes, path: Path) -> None:
        """Note that a new, verified request is being worked on."""
        self._undecided += (InProgress(message_id, digest, [path]),)
        if message_id != self.expected:
            self._early += (message_id,)
            return
        self.expected += 1
        while self.expected in self._early:
            self.expected += 1
        if self._early:
            self._early = tuple([each for each in self._early if each > self.expected])

    @property
    def newest(self) -> int:
        """The highest Message ID begun so far; -1 before there is one."""
        return max(self._early) if self._early else self.expected - 1

    def also_wanted_on(self, message_id: int, path: Path) -> bool:
        """Note one more path that waits for a request in progress. False if it is one too many."""
        progress = self._progress(message_id)
        if progress is None or path in progress.paths:
            return progress is not None
        if len(progress.paths) >= self.MOST_PATHS:
            return False
        progress.paths.append(path)
        return True

    def not_wanted_on(self, message_id: int, path: Path) -> None:
        """*path* is gone: another one may wait in its place."""
        progress = self._progress(message_id)
        if progress is not None and path in progress.paths:
            progress.paths.remove(path)

    def undecided(self) -> list[tuple[int, Path]]:
        """The requests that have no answer yet, each with a path that waits for it."""
        return [(each.message_id, path) for each in self._undecided for path in each.paths]

    def answer(self, message_id: int, response: OutgoingResponse) -> list[Path]:
        """Store the answer, forget those outside the window, and return the paths that wait for it."""
        progress = self._progress(message_id)
        if progress is None:
            raise LocalProtocolError(f"request {message_id} is not waiting for an answer")
        response.digest = progress.digest
        self._undecided = tuple([each for each in self._undecided if each is not progress])
        # The peer sends request X only when all up to X - size are answered, so those need no repeating.
        needless = self.newest - self.size
        for old in [each for each in self._answers if each <= needless]:
            del self._answers[old]
        if message_id > needless:
            self._answers[message_id] = response
        return progress.paths

    def forget(self, now: float, lifetime: float) -> float:
        """Forget the answers that are *lifetime* old. Returns when the next one is, `math.inf` if there is none."""
        self._answers = {number: each for number, each in self._answers.items() if each.answered_at + lifetime > now}
        return min((each.answered_at + lifetime for each in self._answers.values()), default=inf)

    def is_wanted_on(self, message_id: int, path: Path) -> bool:
        """Whether the answer to a request in progress will go to *path*: whoever is dropped there waits in vain."""
        progress = self._progress(message_id)
        return progress is not None and path in progress.paths

    def _progress(self, message_id: int) -> InProgress | None:
        for each in self._undecided:
            if each.message_id == message_id:
                return each
        return None

    def stored(self, message_id: int) -> OutgoingResponse | None:
        return self._answers.get(message_id)

    def latest(self) -> tuple[bytes, OutgoingResponse] | None:
        """The last answer with the digest of its request: what is worth keeping when the SA itself is gone."""
        last = self._answers[max(self._answers)] if self._answers else None
        return None if last is None else (last.digest, last)
