"""The octets of one stream to whole messages, however the stream is cut into reads.

Whole units are sliced straight out of what a read brought. Only a unit that is not whole yet is kept, in a
bytearray, and looked at no more often than its framing has something to decide: a header complete, a length known,
all there. A read that brings nothing to decide costs one comparison and one append; one that does is joined to what
was kept. So an octet is copied a few times at most, and the work is linear in octets plus reads.

Nothing is allocated from an announced length. What is kept never exceeds the larger of the size that the caller takes
unasked and the bound that it gave for the message, since the bound is asked for as soon as the header is in.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ..errors import FramingError, LocalProtocolError
from .encapsulated import MAX_ESP, EncapsulatedRules
from .frames import Bound, Frame, Framing, Rules
from .ike_tcp import IkeTcpRules
from .sniff import PREFIX, sniff

__all__ = ["Receiver", "receiver"]


def receiver(
    admitted: AbstractSet[Framing] | Framing,
    *,
    prefix: bool,
    bound: Bound,
    esp_bound: int = MAX_ESP,
    unasked: int = 0,
) -> Receiver:
    """What cuts one stream.

    *prefix* says that the peer opened the stream, and so has to send the stream prefix if it speaks the encapsulated
    framing. Of several framings *admitted* the first octets then tell which; one that is not admitted is a fault as
    soon as it shows. On a stream that we opened the framing is known, and exactly one has to be given.

    *bound* is asked once per IKE message, as soon as its header is in, for the octets that it may have. A message of at
    most *unasked* octets is taken without asking: that is cheaper, and nothing is lost where anyone may make us keep so
    many. *esp_bound* is the largest ESP packet that is taken, in octets.
    """
    framings = frozenset([admitted]) if isinstance(admitted, Framing) else frozenset(admitted)
    if not framings:
        raise LocalProtocolError("a stream needs a framing")
    if len(framings) > 1 and not prefix:
        raise LocalProtocolError("the framing of a stream that we open is our choice: name one")
    return Receiver(framings, prefix, bound, esp_bound, unasked)


class Receiver:
    """Cuts one stream into IKE messages and ESP packets. Made by `receiver`.

    A fault ends the stream and no SA: from then on input is ignored.
    """

    __slots__ = ("_admitted", "_bound", "_esp_bound", "_held", "_rules", "_start", "_unasked", "_wanted", "fault")

    def __init__(self, admitted: frozenset[Framing], prefix: bool, bound: Bound, esp_bound: int, unasked: int) -> None:
        self.fault: FramingError | None = None
        """Why no more can be read from the stream; its `octet` is an offset into the whole stream."""
        self._admitted = admitted
        self._bound = bound
        self._esp_bound = esp_bound
        self._unasked = unasked
        self._held = bytearray()
        self._start = 0  # offset in the stream of the first octet held, or of the next one if none is held
        self._rules: Rules | None = None
        self._wanted = 1  # how many octets have to be held before there is anything to decide
        if not prefix:
            (framing,) = admitted
            self._rules = self._rules_for(framing)
            self._wanted = self._rules.wanted

    def receive(self, data: bytes) -> list[Frame]:
        """Take the next octets of the stream; return the frames that they complete, in order.

        Never raises for what the peer sent: frames complete before a fault are returned, and the fault is in `fault`.
        """
        held = self._held
        if len(held) + len(data) < self._wanted:
            held += data
            return []
        frames: list[Frame] = []
        if self.fault is None:
            if held:
                data = b"".join((held, data))
                held.clear()
            self._advance(data, frames)
        return frames

    def eof(self) -> None:
        """The stream has ended. Inside a message or the prefix that is a fault, and what was held is dropped."""
        if self._held:
            self._fail(FramingError("the stream ends inside a message", self._start + len(self._held)))

    @property
    def framing(self) -> Framing | None:
        """The framing of the stream, None until its first octets have told."""
        return None if self._rules is None else self._rules.framing

    @property
    def buffered(self) -> int:
        """How many octets of a message that is not whole yet are kept."""
        return len(self._held)

    @property
    def at_boundary(self) -> bool:
        """Whether the stream could end here: no fault, and nothing of a message or the prefix is waiting for more."""
        return not self._held and self.fault is None

    def _advance(self, data: bytes, frames: list[Frame]) -> None:
        """Cut *data*, which begins with what was held, now that there is something to decide."""
        try:
            rules = self._rules
            if rules is None:
                framing = self._decide(data)
                if framing is None:
                    self._wanted = len(data) + 1
                    self._held += data
                    return
                rules = self._rules = self._rules_for(framing)
                if framing is Framing.ENCAPSULATED:
                    self._start = len(PREFIX)
                    data = data[len(PREFIX) :]
            pos = rules.cut(data, frames)
        except FramingError as error:
            self._fail(FramingError(error.message, None if error.octet is None else self._start + error.octet))
        else:
            self._start += pos
            self._wanted = rules.wanted
            self._held += data[pos:]

    def _decide(self, head: bytes) -> Framing | None:
        """The framing of a stream that the peer opened with *head*; None while that is not settled."""
        framing = sniff(head)
        if framing is None or framing in self._admitted:
            return framing
        raise FramingError(f"the {framing.value} framing is not admitted here", 0)

    def _rules_for(self, framing: Framing) -> Rules:
        if framing is Framing.IKE_TCP:
            return IkeTcpRules(self._bound, self._unasked)
        return EncapsulatedRules(self._bound, self._esp_bound, self._unasked)

    def _fail(self, fault: FramingError) -> None:
        self.fault = fault
        self._held.clear()
        self._wanted = 0  # sends every further read past the comparison in `receive`, to where faults are seen
