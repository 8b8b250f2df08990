"""Actions and events as values: one line of repr, plain JSON, and no secrets in either."""

from __future__ import annotations

import json
from enum import IntEnum

import pytest

import ikecore.events
import ikecore.questions
from ikecore import outputs
from ikecore.errors import NoProposalChosen
from ikecore.events import (
    ChildKeyMaterial,
    ChildSaEstablished,
    Event,
    IkeKeyMaterial,
    IkeKeysDerived,
    IkeSaFailed,
    RequestFailed,
)
from ikecore.outputs import (
    Action,
    ChildId,
    Output,
    RequestId,
    SaId,
    SendDatagram,
    StreamId,
    WriteStream,
    plain,
)
from ikecore.questions import Question
from ikecore.testing import Pair

SECRET = b"\xa5secret\xa5"


class Number(IntEnum):
    SEVEN = 7


def child() -> ChildSaEstablished:
    keys = ChildKeyMaterial(SECRET, SECRET, SECRET, SECRET)
    return ChildSaEstablished(
        SaId(1),
        ChildId(2),
        "web",
        "esp",
        "tunnel",
        b"\0\0\1\1",
        b"\0\0\2\2",
        "AES",
        ("10.0.0.0/8",),
        (),
        True,
        ("192.0.2.1", 4500),
        None,
        None,
        keys,
    )


@pytest.mark.requirement("IKE-150")
def test_keys_leave_only_on_request() -> None:
    event = child()
    assert SECRET.hex() not in json.dumps(event.to_dict())
    assert "secret" not in repr(event)
    assert event.export_keys().encr_in == SECRET
    material = IkeKeyMaterial(b"\1" * 8, b"\2" * 8, "AES", "NONE", *[SECRET] * 7)
    derived = IkeKeysDerived(SaId(1), material)
    assert "secret" not in repr(derived)
    assert "secret" not in repr(material)
    assert derived.to_dict() == {"type": "IkeKeysDerived", "sa": 1}
    assert derived.export_keys() is material


def test_to_dict_is_json() -> None:
    assert child().to_dict() == {
        "type": "ChildSaEstablished",
        "sa": 1,
        "child": 2,
        "name": "web",
        "protocol": "esp",
        "mode": "tunnel",
        "spi_in": "00000101",
        "spi_out": "00000202",
        "suite": "AES",
        "local_ts": ["10.0.0.0/8"],
        "remote_ts": [],
        "udp_encapsulation": True,
        "local": ["192.0.2.1", 4500],
        "remote": None,
        "replaces": None,
        "original_local": None,
        "original_remote": None,
        "tfc_padding": True,
        "non_first_fragments": False,
        "additional_ts_possible": False,
        "peer_ready": False,
    }
    failed = IkeSaFailed(SaId(1), "c", "initiator", "IKE_AUTH", NoProposalChosen("none fits"), None)
    assert list(failed.to_dict().items())[5:7] == [("error", "none fits"), ("error_type", "NoProposalChosen")]
    told = RequestFailed(SaId(1), RequestId(2), "x", ValueError("y")).to_dict()
    assert (told["error"], told["error_type"]) == ("y", "ValueError")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x01\xff", "01ff"),
        (bytearray(b"\x02"), "02"),
        (None, None),
        (True, True),
        (1.5, 1.5),
        ("text", "text"),
        (Number.SEVEN, 7),
        ({1: b"\3"}, {"1": "03"}),
        ((1, ("a", 500)), [1, ["a", 500]]),
        (SendDatagram(b"x", ("10.0.0.1", 1), ("10.0.0.2", 2)),
         {"type": "SendDatagram", "data": "78", "local": ["10.0.0.1", 1], "remote": ["10.0.0.2", 2]}),
        (ValueError("why"), "why"),
    ],
)  # fmt: skip
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
    json.dumps(plain(value))


def test_octets_show_as_a_number_in_a_repr() -> None:
    assert repr(WriteStream(StreamId(3), b"abc")) == "WriteStream(stream=3, data=<3 octets>)"


def test_actions_are_closed_and_events_have_one_base() -> None:
    actions = set(Action.__args__)
    assert {getattr(outputs, name) for name in outputs.__all__ if name[0] in "SOWHCR" and hasattr(
        getattr(outputs, name), "__attrs_attrs__")} == actions  # fmt: skip
    for name, each in (vars(ikecore.events) | vars(ikecore.questions)).items():
        if isinstance(each, type) and issubclass(each, Output) and each not in (Output, Event, Question):
            assert issubclass(each, Event), name
            assert each not in actions


def test_everything_that_a_run_puts_out_is_json_on_one_line() -> None:
    pair = Pair(tcp=True)
    sa = pair.initiate()
    pair.run()
    pair.initiator.endpoint.delete(sa, now=pair.now)
    pair.run()
    kinds = set()
    for event in (*pair.initiator.events, *pair.responder.events):
        kinds.add(type(event).__name__)
        assert "\n" not in repr(event)
        assert json.loads(json.dumps(event.to_dict()))["type"] == type(event).__name__
        hash(event)
    assert {"IkeSaEstablished", "ChildSaEstablished", "MessageSent", "StreamChanged", "IkeSaClosed"} <= kinds
