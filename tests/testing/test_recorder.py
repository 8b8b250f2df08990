"""A recording replays equal, and tells where it does not."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikecore import (
    AuthorizationNeeded,
    CertificateCredential,
    Config,
    Connection,
    Endpoint,
    Event,
    Identity,
    IkeSaClosed,
    IkeSaEstablished,
    Local,
    LocalProtocolError,
    RequestCompleted,
    Transports,
    TrustedCertificates,
    WholeMission,
)
from ikecore.events import InternalError
from ikecore.testing import NOON, CheckedEndpoint, Host, Network, Recorder, Tcp, Udp, psk_connection, replay
from ikecore.testing.pki import CertificateAuthority, Kind
from ikecore.testing.recorder import INPUTS

ROOT = Path(__file__).parents[2]
SECRET = b"a secret that is on no tape"
SIDES = ("10.0.0.1", "10.0.0.2")


class Taped:
    """Two endpoints on a network, each with its recording."""

    def __init__(self, ours: Connection, theirs: Connection, network: Network, *, new_spi: bool = False) -> None:
        self.network = network
        self.configs = [Config(connections=[side], trace=True) for side in (ours, theirs)]
        self.tapes: list[list[str]] = [[], []]
        self.hosts = [self._attach(index, new_spi) for index in (0, 1)]

    def _attach(self, index: int, new_spi: bool) -> Host:
        chance, spis = random.Random(index), random.Random(f"spis {index}")
        recorder = Recorder(
            self.configs[index],
            self.tapes[index],
            random=chance.randbytes,
            utc=lambda: NOON + timedelta(seconds=self.network.now),
            new_spi=(lambda: spis.randbytes(8)) if new_spi else None,
        )
        address = SIDES[index]
        locals = [Local((address, 500)), Local((address, 4500), marker=True), Local((address, 500), "tcp")]
        return self.network.attach(cast("Endpoint", CheckedEndpoint(recorder)), *locals)

    def establish(self) -> None:
        ours = self.hosts[0]
        ours.call(ours.endpoint.initiate, self.configs[0].connections[0], [SIDES[1]])
        self.network.run(until=lambda: ours.of(IkeSaEstablished))

    def whole_life(self) -> None:
        """Set up, check, delete from the other side."""
        self.establish()
        ours, theirs = self.hosts
        ours.call(ours.endpoint.check_liveness, ours.one(IkeSaEstablished).sa)
        self.network.run(until=lambda: ours.of(RequestCompleted))
        theirs.call(theirs.endpoint.shutdown)
        self.network.run(until=lambda: theirs.of(IkeSaClosed))  # the peer hears of it, unless every Delete is lost
        self.network.run()

    def replayed(self) -> list[Any]:
        return [replay(tape, config) for tape, config in zip(self.tapes, self.configs, strict=True)]


def psk(policy: Any = None, **changes: Any) -> tuple[Connection, Connection]:
    ways = Transports() if policy is None else Transports(policy=policy)
    ours = psk_connection("initiator", secret=SECRET, transports=ways)
    return ours, attrs.evolve(psk_connection("responder", secret=SECRET), **changes)


def certified(kind: Kind) -> tuple[Connection, Connection]:
    root = CertificateAuthority("root", utc=NOON)

    def side(me: str, peer: str) -> Connection:
        leaf = root.leaf([me], kind=kind)
        return Connection(
            name=me,
            local_identity=Identity.parse(me),
            remote_identity=Identity.parse(peer),
            local=CertificateCredential(leaf.chain, leaf.key),
            remote=TrustedCertificates((root.der,)),
            transports=Transports(policy=WholeMission(), tcp_port=500),
        )

    return side("a.example", "b.example"), side("b.example", "a.example")


@pytest.fixture(scope="module")
def tape() -> list[str]:
    """A recording of an initiator's whole life over UDP."""
    taped = Taped(*psk(), Network(1))
    taped.whole_life()
    return taped.tapes[0]


CONFIG = Config(connections=[psk()[0]], trace=True)


def numbered(tape: list[str], **wanted: object) -> list[int]:
    """Return the indices of the lines with these values."""
    return [index for index, text in enumerate(tape) if json.loads(text).items() >= wanted.items()]


def changed(tape: list[str], index: int, change: Callable[[dict[str, Any]], object]) -> list[str]:
    """Return a copy in which one line is different."""
    line = json.loads(tape[index])
    change(line)
    return [*tape[:index], json.dumps(line), *tape[index + 1 :]]


class TestEqual:
    @pytest.mark.parametrize("new_spi", [False, True])
    def test_pre_shared_keys_repeat_to_the_octet(self, new_spi: bool) -> None:
        taped = Taped(*psk(), Network(1), new_spi=new_spi)
        taped.whole_life()
        for result in taped.replayed():
            assert result.equal, result.differences
            assert result.signed == 0
            assert result.inputs > 5
            assert result.outputs > 10

    @settings(max_examples=25)
    @given(seed=st.integers(0, 2**32), loss=st.floats(0, 0.3), split=st.integers(1, 200), tcp=st.booleans())
    def test_whatever_the_network_does(self, seed: int, loss: float, split: int, tcp: bool) -> None:
        network = Network(seed, udp=Udp(loss=loss, duplication=loss, jitter=0.05), tcp=Tcp(split=split, jitter=0.02))
        taped = Taped(*psk(WholeMission() if tcp else None), network)
        taped.whole_life()
        for result in taped.replayed():
            assert result.equal, result.differences
            assert result.signed == 0

    @pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p521", "rsa-2048", "ml-dsa-44"])
    def test_signatures_that_draw_their_own_randomness(self, kind: Kind) -> None:
        """Octets of IKE_AUTH differ, events do not; what the kernel took of them is scaled."""
        taped = Taped(*certified(kind), Network(1, tcp=Tcp(split=100, window=150)))
        taped.whole_life()
        for _ in range(5):
            for result in taped.replayed():
                assert result.equal, result.differences
                assert result.signed == 1

    def test_signatures_that_do_not(self) -> None:
        taped = Taped(*certified("ed25519"), Network(1))
        taped.whole_life()
        for result in taped.replayed():
            assert result.equal, result.differences
            assert result.signed == 0

    def test_calendar_time_is_recorded(self) -> None:
        taped = Taped(*certified("ed25519"), Network(1, start=1000.0))
        taped.establish()
        # It is read for our own certificate and for the peer's; that both see another time changes the run.
        own, index = numbered(taped.tapes[1], of="utc")
        late = changed(taped.tapes[1], index, lambda line: line.update(value={"time": "2036-01-01T00:00:00+00:00"}))
        assert not replay(late, taped.configs[1]).equal
        late = changed(taped.tapes[1], own, lambda line: line.update(value={"time": "2036-01-01T00:00:00+00:00"}))
        assert not replay(late, taped.configs[1]).equal

    def test_answers_given_inside_of_the_loop_stand_where_they_were_given(self) -> None:
        taped = Taped(*psk(authorize=True), Network(1))
        theirs = taped.hosts[1]

        def hear(event: Event) -> None:
            if isinstance(event, AuthorizationNeeded):
                theirs.call(theirs.endpoint.answer, event.question, True)

        theirs.on_event = hear
        taped.establish()
        [index] = numbered(taped.tapes[1], call="answer")
        assert json.loads(taped.tapes[1][index - 1])["output"]["type"] == "AuthorizationNeeded"
        assert all(result.equal for result in taped.replayed())

    def test_calls_that_were_refused(self) -> None:
        lines: list[str] = []
        recorder = Recorder(CONFIG, lines, random=random.Random(1).randbytes, utc=lambda: NOON)
        with pytest.raises(LocalProtocolError, match="no IP literal"):
            recorder.initiate(CONFIG.connections[0], ["example.org"], now=1.0)
        with pytest.raises(LocalProtocolError):
            recorder.stream_lost(cast("Any", 7), "gone", now=2.0)
        assert replay(lines, CONFIG).equal

    def test_bugs_that_ended_one_sa(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ikecore.endpoint.reception.Reception.message", lambda *_: 1 / 0)
        lines: list[str] = []
        recorder = Recorder(CONFIG, lines, random=random.Random(1).randbytes, utc=lambda: NOON)
        here = ("10.0.0.1", 500)
        recorder.local_added(Local(here), now=0.0)
        header = bytes(8 * [1]) + bytes(8) + bytes([33, 0x20, 34, 8, 0, 0, 0, 0, 0, 0, 0, 28])
        recorder.datagram_received(header, local=here, remote=("10.0.0.2", 500), now=0.0)
        assert [type(output) for output in recorder.outputs()] == [InternalError]
        assert replay(lines, CONFIG).equal

    def test_another_process_with_another_hash_seed(self, tape: list[str]) -> None:
        script = (
            "import sys; from ikecore import Config; from ikecore.testing import psk_connection, replay\n"
            f"mine = psk_connection('initiator', secret={SECRET!r})\n"
            "print(replay(sys.stdin, Config(connections=[mine], trace=True)).differences)"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
        done = subprocess.run(
            [sys.executable, "-c", script],
            input="\n".join(tape),
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert done.stdout == "()\n"


class TestTheTape:
    def test_a_file_gets_a_line_each(self) -> None:
        file = io.StringIO()
        recorder = Recorder(CONFIG, file, random=random.Random(1).randbytes, utc=lambda: NOON)
        recorder.local_added(Local(("10.0.0.1", 500)), now=0.0)
        list(recorder.outputs())
        lines = file.getvalue().splitlines()
        assert [json.loads(line)["line"] for line in lines][-3:] == ["input", "result", "drained"]
        assert replay(file.getvalue().splitlines(keepends=True), CONFIG).equal

    def test_it_holds_what_was_drawn_but_no_configuration(self, tape: list[str]) -> None:
        text = "\n".join(tape)
        assert numbered(tape, line="draw", of="random")
        assert SECRET.hex() not in text
        assert SECRET.decode() not in text

    def test_every_call_that_changes_something_is_recorded(self) -> None:
        own = {name for name, value in vars(Endpoint).items() if not name.startswith("_") and callable(value)}
        assert own - {"outputs", "sa"} == INPUTS
        assert set(vars(Recorder)) >= INPUTS

    def test_connections_that_are_no_part_of_the_configuration(self) -> None:
        lines: list[str] = []
        recorder = Recorder(Config(), lines, random=random.Random(1).randbytes, utc=lambda: NOON)
        recorder.local_added(Local(("10.0.0.1", 500)), now=0.0)
        recorder.initiate(CONFIG.connections[0], ["10.0.0.2"], now=0.0)
        list(recorder.outputs())
        assert replay(lines, Config(), connections=CONFIG.connections).equal
        with pytest.raises(LocalProtocolError, match="'to-responder' is not given"):
            replay(lines, Config())


class TestDifferent:
    def test_other_octets_drawn(self, tape: list[str]) -> None:
        index = numbered(tape, of="random")[0]
        result = replay(changed(tape, index, lambda line: line.update(value={"octets": "01" * 8})), CONFIG)
        assert not result.equal
        assert "its data is" in result.differences[0]

    def test_another_number_of_octets_drawn(self, tape: list[str]) -> None:
        index = numbered(tape, of="random")[0]
        result = replay(changed(tape, index, lambda line: line.update(value={"octets": "01"})), CONFIG)
        assert "random of 8 octets was drawn, where the random of line" in result.differences[0]

    def test_a_draw_too_few_and_one_too_many(self, tape: list[str]) -> None:
        draws = numbered(tape, line="draw")
        fewer = [line for index, line in enumerate(tape) if index != draws[-1]]
        assert any("where nothing is recorded" in each for each in replay(fewer, CONFIG).differences)
        more = [*tape[: draws[-1]], tape[draws[-1]], *tape[draws[-1] :]]
        assert replay(more, CONFIG).differences[-1].endswith("1 draws of the recording were not made again")

    def test_another_secret(self, tape: list[str]) -> None:
        other = attrs.evolve(CONFIG, connections=[psk_connection("initiator", secret=b"another")])
        assert not replay(tape, other).equal

    def test_another_input(self, tape: list[str]) -> None:
        index = numbered(tape, call="datagram_received")[1]

        def damage(line: dict[str, Any]) -> None:
            data = line["args"][0]["octets"]
            line["args"][0] = {"octets": data[:-2] + ("00" if data[-2:] != "00" else "01")}

        assert not replay(changed(tape, index, damage), CONFIG).equal

    def test_an_output_more_and_one_less(self, tape: list[str]) -> None:
        index = numbered(tape, line="output")[-1]
        name = json.loads(tape[index])["output"]["type"]
        less = replay([*tape[:index], *tape[index + 1 :]], CONFIG)
        assert [each.partition(": ")[2] for each in less.differences] == [f"{name} came, where nothing is recorded"]
        more = replay([*tape[: index + 1], *tape[index:]], CONFIG)
        assert [each.partition(": ")[2] for each in more.differences] == [f"no output came, where {name} is recorded"]

    def test_a_field_of_an_event(self, tape: list[str]) -> None:
        index = next(index for index in numbered(tape, line="output") if "IkeSaEstablished" in tape[index])
        result = replay(changed(tape, index, lambda line: line["output"].update(suite="ROT13")), CONFIG)
        [difference] = result.differences
        assert difference.startswith(f"line {index + 1}: IkeSaEstablished came, but its suite is")

    def test_another_deadline(self, tape: list[str]) -> None:
        index = numbered(tape, line="drained")[-2]
        [difference] = replay(changed(tape, index, lambda line: line.update(deadline=-1.0)), CONFIG).differences
        assert "where -1.0 is recorded" in difference

    def test_another_end_of_a_call(self, tape: list[str]) -> None:
        index = numbered(tape, line="result")[-1]
        [difference] = replay(changed(tape, index, lambda line: line.update(returned=99)), CONFIG).differences
        assert "the call ended in" in difference

    def test_signatures_excuse_no_other_message(self) -> None:
        """Only IKE_AUTH is signed: an INFORMATIONAL with other octets is a difference."""
        taped = Taped(*certified("ecdsa-p256"), Network(1))
        taped.whole_life()
        lines = taped.tapes[0]
        index = [each for each in numbered(lines, line="output") if '"SendDatagram"' in lines[each]][-1]

        def damage(line: dict[str, Any]) -> None:
            data = line["output"]["data"]
            line["output"]["data"] = data[:-1] + ("0" if data[-1] != "0" else "1")

        [difference] = replay(changed(lines, index, damage), taped.configs[0]).differences
        assert "SendDatagram came, but its data is" in difference


class TestBroken:
    def test_a_last_line_that_is_cut_off(self, tape: list[str]) -> None:
        result = replay([*tape[:-1], tape[-1][:7]], CONFIG)
        assert result.equal, result.differences

    def test_a_last_call_without_its_end(self, tape: list[str]) -> None:
        index = numbered(tape, line="input")[-1]
        assert replay(tape[: index + 1], CONFIG).equal

    @pytest.mark.parametrize("length", range(1, 40))
    def test_any_beginning_of_a_recording(self, tape: list[str], length: int) -> None:
        result = replay(tape[:length], CONFIG)
        assert result.equal, result.differences

    @pytest.mark.parametrize("lines", [[], ["{}"], ["not JSON"], ['{"line":"start","format":0}'], ['{"line":"input"}']])
    def test_no_recording(self, lines: list[str]) -> None:
        with pytest.raises(LocalProtocolError, match="no recording of format 1"):
            replay(lines, CONFIG)

    def test_a_line_in_the_middle_that_is_none(self, tape: list[str]) -> None:
        with pytest.raises(LocalProtocolError, match="number 4 is no line"):
            replay([*tape[:3], "garbage", *tape[3:]], CONFIG)

    def test_a_call_that_is_no_input(self, tape: list[str]) -> None:
        index = numbered(tape, line="input")[0]
        with pytest.raises(LocalProtocolError, match="'__init__', which is no input"):
            replay(changed(tape, index, lambda line: line.update(call="__init__")), CONFIG)

    def test_arguments_that_cannot_be_read(self, tape: list[str]) -> None:
        index = numbered(tape, line="input")[0]
        with pytest.raises(LocalProtocolError, match=f"number {index + 1} cannot be read"):
            replay(changed(tape, index, lambda line: line.update(args=[{"local": []}])), CONFIG)
