"""How long SAs last, as the user decides it. Each side has its own, and they need not agree (RFC 7296 section 2.8)."""

from __future__ import annotations

import attrs

from .checking import check_types
from .errors import LocalProtocolError

__all__ = ["Lifetimes"]


@attrs.frozen(kw_only=True)
class Lifetimes:
    """The life-times of an IKE SA, or of a Child SA. All in seconds; 0 is never.

    *rekey_time* after its keys were made, an SA is rekeyed; *rand_time* is the most by which a random part of it comes
    earlier, so that the two sides seldom rekey at once. Where no rekey has succeeded *over_time* after *rekey_time*,
    the SA is deleted: that is the hard limit. Both are a tenth of *rekey_time* for None. *reauth_time* is for IKE SAs:
    so long after the peers have proved who they are, they do it anew, with *rand_time* and *over_time* as above.
    """

    rekey_time: float = 0.0
    over_time: float | None = None
    rand_time: float | None = None
    reauth_time: float = 0.0
    over: float = attrs.field(init=False, eq=False, repr=False)
    """*over_time*, or what stands for None."""
    rand: float = attrs.field(init=False, eq=False, repr=False)
    """*rand_time*, or what stands for None."""

    def __attrs_post_init__(self) -> None:
        check_types(self)
        for name in ("rekey_time", "over_time", "rand_time", "reauth_time"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise LocalProtocolError(f"{name}: {value!r} is no time; allowed are seconds from 0 on, 0 for never")
        object.__setattr__(self, "over", self._tenth() if self.over_time is None else self.over_time)
        object.__setattr__(self, "rand", self._tenth() if self.rand_time is None else self.rand_time)
        for name in ("rekey_time", "reauth_time"):
            value = getattr(self, name)
            if value and not self.rand < value:
                raise LocalProtocolError(f"rand_time: {self.rand:g} is too much; allowed is less than {name} {value:g}")
        if (self.rekey_time or self.reauth_time) and not self.over > 0:
            raise LocalProtocolError("over_time: 0 leaves no time to rekey; allowed is anything above 0")

    def _tenth(self) -> float:
        return min(value for value in (self.rekey_time, self.reauth_time, float("inf")) if value) / 10
