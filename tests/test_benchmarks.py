"""The benchmarks run, and judge as they say. Nothing here looks at how long anything takes."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from benchmarks import adapters, crypto_floor, flood, framing, handshake, handshake_charon, phases, starting
from benchmarks.__main__ import BEGIN, END, as_markdown, judge, plot, write_between_marks
from benchmarks._harness import ITSELF, Table, Target, run
from ikecore.framing import Framing, frame_ike
from ikecore.sa import receiving

TABLE = Table("a table", {"floor": [1.0, 2.0, 4.0], "ours": [2.0, 2.0, 20.0], "theirs": [20.0, 40.0, 40.0]})


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    assert TABLE.ratio("ours") == 2.0
    assert TABLE.ratio("theirs", "ours") == 10.0
    assert TABLE.median("ours") == 2.0


@pytest.mark.parametrize(
    ("target", "word"),
    [
        (Target("ours", 2.0), "met"),
        (Target("ours", 1.9), "MISSED"),
        (Target("theirs", 10.0, to="ours", at_least=True), "met"),
        (Target("theirs", 10.1, to="ours", at_least=True), "MISSED"),
        (Target("a peer that is not installed", 3.0, to="ours", at_least=True), "not measured"),
    ],
)
def test_a_target_is_met_missed_or_not_measured(target: Target, word: str) -> None:
    verdict = judge(TABLE, target)
    assert verdict.word == word
    assert str(verdict).startswith(word)


def test_tables_with_the_same_cases_are_written_as_one() -> None:
    verdict = judge(TABLE, Target("ours", 2.0))
    lines = list(as_markdown([TABLE, Table("another", TABLE.timings), Table("third", {"floor": [1.0]})], [verdict]))
    assert lines == [
        "| what | target | figure | quartiles | |",
        "|---|---|--:|--:|---|",
        "| a table: ours / floor | at most 2 x | 2.00 | 1.50 to 3.50 | met |",
        "",
        "| | floor, microseconds | ours | theirs |",
        "|---|--:|--:|--:|",
        "| a table | 2000000.00 | 2.00 | 20.00 |",
        "| another | 2000000.00 | 2.00 | 20.00 |",
        "",
        "| | floor, microseconds |  |",
        "|---|--:|",
        "| third | 1000000.00 |  |",
    ]


def test_a_target_may_be_about_the_figure_itself() -> None:
    table = Table("memory", {"per SA": [8192.0, 9216.0, 10240.0]}, unit="KiB")
    verdict = judge(table, Target("per SA", 8, to=ITSELF))
    assert (verdict.figure, verdict.word) == (9.0, "MISSED")
    assert str(verdict).split("  ")[-1] == "memory: per SA"
    line = list(as_markdown([table], [verdict]))[2]
    assert line == "| memory: per SA | at most 8 KiB | 9.00 | 8.50 to 9.50 | [MISSED](#where-the-time-goes) |"


def test_a_run_replaces_the_one_between_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")
    write_between_marks(file, ["new"])
    assert file.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nbehind\n"
    write_between_marks(tmp_path / "another.md", ["new"])
    assert (tmp_path / "another.md").read_text() == "new\n"


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    plot([judge(TABLE, Target("ours", 1.9)), judge(TABLE, Target("ours", 2.0))], str(tmp_path / "plot.svg"))
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_every_round_times_every_case() -> None:
    table = run("nothing", {"one": lambda: None, "two": lambda: None}, rounds=2)
    assert {case: len(timings) for case, timings in table.timings.items()} == {"one": 2, "two": 2}


@pytest.mark.parametrize("scene", [handshake.psk_scene, lambda: handshake.certificate_scene("ecdsa-p256")])
def test_both_sides_of_a_handshake_are_timed_apart(scene: object) -> None:
    table = handshake.measure(scene(), 1)  # type: ignore[operator]
    assert list(table.timings) == ["bare cryptography", "the same between handshakes", "initiator", "responder"]
    assert all(timings[0] > 0 for timings in table.timings.values())


def test_the_bare_cryptography_verifies_what_it_signs() -> None:
    crypto_floor.psk()()
    handshake.certificate_scene("rsa-2048").floor()


@pytest.mark.parametrize("kind", Framing)
@pytest.mark.parametrize("read", [1, 1000, 65_536])
def test_every_contestant_of_framing_finds_all_messages(kind: Framing, read: int) -> None:
    for _, octets, feed in framing.ours(kind, 80, 5):
        assert octets == frame_ike(kind, framing.message(80)) * 5
        framing.reading(octets, read, feed, 5)()


def test_a_contestant_that_loses_messages_is_found_out() -> None:
    with pytest.raises(RuntimeError, match="0 messages instead of 1"):
        framing.reading(b"xyz", 1, lambda _: 0, 1)()


def test_responders_are_measured_as_processes_beside_charon() -> None:
    if absent := handshake_charon.missing():
        pytest.skip(f"not installed: {', '.join(absent)}")
    used, held = handshake_charon.tables(rounds=1, batch=10, warm_up=5)
    if len(used.timings) == 2:
        pytest.skip("charon does not start here")
    assert [case.split()[0] for case in used.timings] == ["charon", "ikecore", "ikecore"]
    assert all(timings[0] > 0 for timings in used.timings.values())
    assert held.unit == "KiB"


def test_every_phase_of_a_handshake_has_its_time() -> None:
    initiator, responder = phases.measure(handshake.certificate_scene("ecdsa-p256"), 1)
    for table in (initiator, responder):
        assert set(table.timings) == {*phases.PHASES, phases.REST}
        assert all(timings[0] > 0 for timings in table.timings.values())


def test_clocks_are_gone_when_phases_are_measured() -> None:
    before = vars(receiving)["decode_payloads"]
    with phases.Clock().attached():
        assert vars(receiving)["decode_payloads"] is not before
    assert vars(receiving)["decode_payloads"] is before


def test_a_flood_is_turned_away_and_the_honest_get_in() -> None:
    turned_away, junk = flood.tables(rounds=1)
    assert list(turned_away.timings) == ["typed parse", "cookie demanded", "half-open limit"]
    assert list(junk.timings) == ["header floor", "junk", "wrong version"]


@pytest.mark.parametrize("scene", [adapters.SCENES[0], adapters.SCENES[3], adapters.SCENES[5]], ids=lambda it: it.title)
@pytest.mark.parametrize("framework", adapters.FRAMEWORKS)
def test_exchanges_through_sockets_are_measured(scene: adapters.Scene, framework: str) -> None:
    small = attrs.evolve(scene, peers=min(scene.peers, 3), row=min(scene.row, 4))
    table = adapters.measure(small, framework, 1, 6)
    assert list(table.timings) == ["echo", "ikecore", "core alone", "added", "added without an adapter"]
    assert table.timings["core alone"][0] > 0


def test_beginning_is_measured() -> None:
    (table,) = starting.tables(rounds=1)
    assert {"nothing", "import ikecore"} <= set(table.timings)
