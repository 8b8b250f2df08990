"""CREATE_CHILD_SA, the responder of the exchange: refused, as RFC 7296 section 1.3 allows.

The SAs of this version have the one Child SA of IKE_AUTH. Whoever asks for more, or for a rekey, is told so with the
notification made for it, and sets up a new IKE SA.
"""

from __future__ import annotations

from ..transport import Path
from ..wire import Contents, Notification, Payload
from ..wire.numbers import Notify
from .ike_sa import IkeSa

__all__ = ["answer_create_child_sa"]


def answer_create_child_sa(
    sa: IkeSa, contents: Contents, message_id: int, path: Path, now: float
) -> list[Payload] | None:
    """Refuse with NO_ADDITIONAL_SAS."""
    return [Notification(Notify.NO_ADDITIONAL_SAS)]
