"""An SA that has ended is gone at once, with its keys, and its set-up once it is established.

Nothing waits for the collector of cycles.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import attrs
import pytest

from ikecore import (
    AuthenticationFailed,
    ChildSaFailed,
    Connection,
    Event,
    IkeSaClosed,
    IkeSaEstablished,
    IkeSaFailed,
    InvalidSyntax,
    NoProposalChosen,
    PskCredential,
    RequestFailed,
    RequestId,
    SaId,
    TemporaryFailure,
    ike_proposals,
)
from ikecore.errors import IkeError
from ikecore.sa import IkeSa, InitAttempt, Responder, Setup
from ikecore.sa.auth_context import AuthContext
from ikecore.sa.ike_auth import OurIkeAuth
from ikecore.testing import Pair, Udp
from ikecore.testing.pair import psk_connection


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left() -> list[IkeSa]:
    """The SAs that there are in memory, whoever holds on to them. No frame may know one by name meanwhile."""
    return [each for each in gc.get_objects() if type(each) is IkeSa]


def deleted(pair: Pair) -> None:
    mine, _ = pair.establish()
    pair.initiator.call(pair.initiator.endpoint.delete, mine)
    pair.run_for(400.0)


def deleted_by_the_peer_after_rekeys(pair: Pair) -> None:
    mine, theirs = pair.establish()
    for host, sa in ((pair.initiator, mine), (pair.responder, theirs), (pair.initiator, mine)):
        host.call(host.endpoint.rekey, sa)
        pair.run_for(10.0)
    pair.initiator.call(pair.initiator.endpoint.create_child, mine)
    pair.run_for(10.0)
    pair.responder.call(pair.responder.endpoint.delete, theirs)
    pair.run_for(400.0)


def abandoned(pair: Pair) -> None:
    mine, _ = pair.establish()
    pair.initiator.call(pair.initiator.endpoint.abandon, mine)
    pair.run_for(400.0)


def silent(pair: Pair) -> None:
    mine, theirs = pair.establish()
    pair.network.udp = Udp(loss=1.0)
    pair.initiator.call(pair.initiator.endpoint.check_liveness, mine)
    pair.responder.call(pair.responder.endpoint.check_liveness, theirs)
    pair.run_for(1000.0)


@pytest.mark.parametrize("end", [deleted, deleted_by_the_peer_after_rekeys, abandoned, silent])
def test_an_sa_that_was_up(end: Callable[[Pair], None]) -> None:
    before = len(left())
    pair = Pair()
    end(pair)
    assert [len(host.of(IkeSaClosed)) for host in (pair.initiator, pair.responder)] == [1, 1]
    assert len(left()) == before


def with_another_secret(connection: Connection) -> Connection:
    secret = PskCredential(b"another secret of the peer")
    return attrs.evolve(connection, local=secret, remote=secret)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (with_another_secret, AuthenticationFailed),
        (lambda each: attrs.evolve(each, proposals=ike_proposals("aes192-sha384-modp2048")), NoProposalChosen),
    ],
    ids=["another secret", "other proposals"],
)
def test_an_sa_that_never_was(change: Callable[[Connection], Connection], error: type[IkeError]) -> None:
    before = len(left())
    pair = Pair(responder=change(psk_connection("responder")))
    pair.initiate()
    pair.run_for(400.0)
    failed = pair.initiator.one(IkeSaFailed)
    assert type(failed.error) is error
    assert (failed.error.__traceback__, failed.error.__context__) == (None, None)
    assert len(left()) == before


def test_nobody_answers() -> None:
    before = len(left())
    pair = Pair()
    pair.network.udp = Udp(loss=1.0)
    pair.initiate()
    pair.run_for(400.0)
    assert pair.initiator.one(IkeSaFailed)
    assert len(left()) == before


def of_set_ups() -> list[type]:
    """What there is in memory of set-ups, by its types, whoever holds on to it."""
    kinds = (Setup, InitAttempt, AuthContext, OurIkeAuth, Responder)
    return [type(each) for each in gc.get_objects() if type(each) in kinds]


@pytest.mark.parametrize("tcp", [False, True])
def test_what_only_the_set_up_needs_ends_with_it(tcp: bool) -> None:
    before = len(of_set_ups())
    pair = Pair(tcp=tcp)
    pair.initiate()
    pair.run(until=lambda: bool(pair.responder.endpoint.sas))
    assert {Setup, InitAttempt, AuthContext, Responder} <= set(of_set_ups())
    pair.run()
    assert [len(host.of(IkeSaEstablished)) for host in (pair.initiator, pair.responder)] == [1, 1]
    assert len(of_set_ups()) == before


def test_what_only_the_set_up_needs_ends_with_its_sa() -> None:
    before = len(of_set_ups())
    pair = Pair(responder=with_another_secret(psk_connection("responder")))
    pair.initiate()
    pair.run()
    assert [len(host.of(IkeSaFailed)) for host in (pair.initiator, pair.responder)] == [1, 1]
    assert len(of_set_ups()) == before


def raised(cause: bool) -> IkeError:
    """An error that followed another one, with the frames of both."""
    try:
        try:
            raise InvalidSyntax("a message with secrets")
        except InvalidSyntax as first:
            raise TemporaryFailure("what came of it") from (first if cause else None)
    except TemporaryFailure as error:
        return error


def holds_frames(error: IkeError) -> bool:
    return error.__traceback__ is not None or error.__context__ is not None


@pytest.mark.parametrize("cause", [False, True])
@pytest.mark.parametrize(
    "tell",
    [
        lambda error: RequestFailed(SaId(1), RequestId(1), "CREATE_CHILD_SA", error),
        lambda error: ChildSaFailed(SaId(1), "child", error),
        lambda error: IkeSaFailed(SaId(1), "peer", "responder", "IKE_AUTH", error, None),
    ],
    ids=["RequestFailed", "ChildSaFailed", "IkeSaFailed"],
)
def test_an_error_that_an_event_tells_holds_on_to_no_frame(tell: Callable[[IkeError], Event], cause: bool) -> None:
    """A frame would hold on to the SA, its keys and the message."""
    error = raised(cause)
    assert holds_frames(error)
    tell(error)
    assert not holds_frames(error)
    assert (error.__cause__ is not None) is cause
    assert error.__cause__ is None or error.__cause__.__traceback__ is None
