"""`ikecore demo`: each variant on real sockets of the loopback interface, by a clock that jumps where nothing comes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ikecore_trio.cli.commands import cli
from ikecore_trio.cli.demo import Demonstration, Outcome
from ikecore_trio.cli.demo_peers import make_peers
from ikecore_trio.cli.demo_scenario import NETWORKS, UNREACHABLE, UNREACHABLE_WHOLE, Scenario
from ikecore_trio.cli.key_table import read_key_table
from ikecore_trio.cli.policy_words import POLICY_WORDS

MESSAGE = re.compile(r"(\S+ (?:request|response) \d+)( \(repeated\))? +(UDP|TCP)(?: \d+ fragments,)? +([\d,]+) octets?")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass while anything is computed: a demonstration has little patience, a slow machine needs some."""
    run = trio.run

    def with_jumps(*arguments: Any, **options: Any) -> Any:
        return run(*arguments, clock=trio.testing.MockClock(autojump_threshold=0.05), **options)

    monkeypatch.setattr(trio, "run", with_jumps)


def ladder(output: str) -> list[tuple[str, str, int]]:
    """Return the messages of a drawing: title, transport, octets."""
    return [(title, transport, int(octets.replace(",", ""))) for title, _, transport, octets in MESSAGE.findall(output)]


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_init_over_udp_and_auth_over_tcp(run: Any) -> None:
    result = run("demo")
    assert result.exit_code == 0
    messages = ladder(result.stdout)
    assert [(title, transport) for title, transport, _ in messages[:4]] == [
        ("IKE_SA_INIT request 0", "UDP"),
        ("IKE_SA_INIT response 0", "UDP"),
        ("IKE_AUTH request 1", "TCP"),
        ("IKE_AUTH response 1", "TCP"),
    ]
    assert all(octets > 9000 for _, _, octets in messages[2:4])
    text = " ".join(result.stdout.split())
    assert "an ECDSA leaf under an ML-DSA-65 authority and root" in text
    assert "octets, above 1200, and the peer announced" in text
    assert "IKE SA established" in text
    assert "Child SA net established" in text
    assert re.search(r"SPIs +[0-9a-f]{16} initiator, [0-9a-f]{16} responder", result.stdout)
    assert re.search(r"SPIs +[0-9a-f]{8} in, [0-9a-f]{8} out", result.stdout)
    assert "Outcome: established, as expected" in text
    assert "sk_ei" not in text


def test_lines_keep_to_the_width(run: Any) -> None:
    result = run("demo", "--network", "drops-fragments", "--policy", "by-size")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


@pytest.mark.requirement("IKE-118", "IKE-119")
@pytest.mark.parametrize("options", [[], ["--network", "lossy"], ["--policy", "tcp-only"], ["--auth", "psk-client"]])
def test_rekeying(run: Any, options: list[str]) -> None:
    """A Child SA, the IKE SA, and each time the Delete of what was replaced; then that of the SA, by its new SPIs."""
    result = run("demo", "--rekey", *options)
    assert result.exit_code == 0
    titles = [title for title, again, *_ in MESSAGE.findall(result.stdout) if "request" in title and not again]
    first = int(titles[-5].split()[-1])
    assert titles[-5:] == [
        f"CREATE_CHILD_SA request {first}",
        f"INFORMATIONAL request {first + 1}",
        f"CREATE_CHILD_SA request {first + 2}",
        f"INFORMATIONAL request {first + 3}",
        "INFORMATIONAL request 0",
    ]
    notes = [" ".join(each.split()) for each in re.findall(r"\* (.*?)│", result.stdout)]
    wanted = [
        "Child SA net rekeyed: 2 in place of 1",
        "Child SA 1 closed: it was rekeyed",
        "new keys, and Message IDs from 0: we rekeyed the IKE SA",
        "Child SA 2 closed: we deleted it",
        "IKE SA closed by us: we deleted it",
    ]
    assert [each for each in notes if each in wanted] == wanted
    _, before, after = re.split(r"\nIKE SA, .*\n", result.stdout)
    spis = [set(re.findall(r"[0-9a-f]{16}", part)) for part in (before, after)]
    assert len(spis[0]) == len(spis[1]) == 2
    assert not spis[0] & spis[1]
    assert "Child SA net, 2 in place of 1" in before


def test_the_keys_of_each_pair_of_spis(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IKEKEYLOGFILE", str(tmp_path / "keys"))
    output = run("demo", "--rekey", "--show-keys").stdout
    rows = read_key_table((tmp_path / "keys").read_text(), "keys")
    drawn = re.findall(r"^  sk_ei +([0-9a-f]+)$", output, re.MULTILINE)
    assert [row.sk_ei.hex().startswith(key) for key, row in zip(drawn, rows.values(), strict=True)] == [True, True]


def test_keys_only_if_asked_for(run: Any) -> None:
    result = run("demo", "--show-keys")
    for name in ("sk_d", "sk_ei", "sk_er", "sk_pi", "sk_pr", "encr_in", "encr_out"):
        assert re.search(rf"^  {name} +[0-9a-f]+$", result.stdout, re.MULTILINE)


def test_whole_mission(run: Any) -> None:
    result = run("demo", "--policy", "whole-mission")
    assert result.exit_code == 0
    assert [(title, transport) for title, transport, _ in ladder(result.stdout)[:4]] == [
        ("IKE_SA_INIT request 0", "TCP"),
        ("IKE_SA_INIT response 0", "TCP"),
        ("IKE_AUTH request 1", "TCP"),
        ("IKE_AUTH response 1", "TCP"),
    ]


def test_udp_only_on_a_clean_network(run: Any) -> None:
    result = run("demo", "--policy", "udp-only")
    assert result.exit_code == 0
    assert {transport for _, transport, _ in ladder(result.stdout)} == {"UDP"}


def test_a_network_that_drops_fragments(run: Any) -> None:
    result = run("demo", "--network", "drops-fragments")
    assert result.exit_code == 0
    first, rest = result.stdout.split("run 2 of 3")
    fragments, second = rest.split("run 3 of 3")
    assert "no IKE fragments (RFC 7383)" in first
    assert "lost: the relay drops datagrams above 1,280 octets" in first
    assert "PeerUnreachable: " in first
    assert "Outcome: unreachable, as expected" in first
    assert {transport for title, transport, _ in ladder(first) if title.startswith("IKE_AUTH")} == {"UDP"}
    assert re.search(r"IKE_AUTH request 1 +UDP 9 fragments, 10,\d\d\d octets", fragments)
    assert "in IKE fragments, since one packet holds 1248 octets" in " ".join(fragments.replace("│", " ").split())
    assert {transport for _, transport, _ in ladder(fragments)} == {"UDP"}
    assert "Outcome: established, as expected" in fragments
    assert "Outcome: established, as expected" in second
    assert {transport for title, transport, _ in ladder(second) if title.startswith("IKE_AUTH")} == {"TCP"}


def test_a_small_request_draws_a_large_response(run: Any) -> None:
    result = run("demo", "--auth", "psk-client")
    assert result.exit_code == 0
    sizes = {title: (transport, octets) for title, transport, octets in ladder(result.stdout)}
    assert sizes["IKE_AUTH request 1"][0] == "TCP"
    assert sizes["IKE_AUTH request 1"][1] < 600
    assert sizes["IKE_AUTH response 1"][1] > 9000
    assert "the response may have" in " ".join(result.stdout.split())


def test_the_large_response_is_what_gets_lost(run: Any) -> None:
    options = ["--network", "drops-fragments", "--policy", "udp-only"]
    result = run("demo", "--auth", "psk-client", *options, "--fragmentation", "no")
    assert result.exit_code == 0
    assert "Outcome: unreachable, as expected" in result.stdout
    lost = re.findall(r"(IKE_AUTH \w+) 1.*\n.*\n.*lost:", result.stdout)
    assert set(lost) == {"IKE_AUTH response"}
    result = run("demo", "--auth", "psk-client", *options)
    assert result.exit_code == 0
    assert re.search(r"IKE_AUTH response 1 +UDP 8 fragments, +[\d,]+ octets", result.stdout)


def choices(option: str) -> list[str]:
    [found] = [each for each in cli.commands["demo"].params if each.name == option]
    return list(found.type.choices)  # type: ignore[attr-defined]


def test_every_policy_in_every_network() -> None:
    """All of them at once: each has sockets of its own."""
    peers = make_peers("certificates")
    scenarios = [Scenario(network, word) for network in NETWORKS for word in POLICY_WORDS]
    scenarios += [Scenario("drops-fragments", word, fragmentation=False) for word in POLICY_WORDS]
    outcomes: dict[Scenario, Outcome] = {}

    async def show(scenario: Scenario) -> None:
        outcomes[scenario] = await Demonstration(scenario, peers, None, lambda *_: None).run()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for scenario in scenarios:
                nursery.start_soon(show, scenario)

    trio.run(main)
    assert {each: outcomes[each].word for each in scenarios} == {each: each.expected for each in scenarios}
    assert len(scenarios) == 36 + 6
    fails = [each for each in scenarios if each.expected == "unreachable"]
    assert {(each.word, each.network) for each in fails if each.fragmentation} == UNREACHABLE
    [whole] = [(each.word, each.network) for each in fails if not each.fragmentation]
    assert {whole} == UNREACHABLE_WHOLE - UNREACHABLE


def test_all_words_are_options() -> None:
    assert choices("network") == list(NETWORKS)
    assert choices("policy") == list(POLICY_WORDS)


@pytest.mark.requirement("TCP-62")
def test_blocked_udp_shows_what_a_race_is_good_for(run: Any) -> None:
    result = run("demo", "--network", "blocks-udp")
    assert result.exit_code == 0
    first, second = result.stdout.split("run 2 of 2")
    assert "lost: the relay drops all datagrams" in first
    assert "Outcome: unreachable, as expected" in first
    assert "the race begins on UDP, and TCP is opened beside it" in second
    assert "UDP failed; the race goes on over TCP" in second
    assert "Outcome: established, as expected" in second


@pytest.mark.requirement("TCP-13", "TCP-67")
def test_the_ladder_says_why_a_message_goes_another_way(run: Any) -> None:
    result = run("demo", "--network", "silent-tcp")
    text = " ".join(result.stdout.replace("│", " ").split())
    assert result.exit_code == 0
    assert "IKE_AUTH 1 was to go over TCP: the request has " in text
    assert "closed: no connection within 1.5 s" in text
    assert "IKE_AUTH 1 moves from tcp to udp: TCP failed; " in text


def test_what_cannot_work_fails_and_says_so(run: Any) -> None:
    result = run("demo", "--network", "refuses-tcp", "--policy", "tcp-only")
    assert result.exit_code == 0
    assert "IKE_SA_INIT 0 was to go over TCP: the policy allows TCP only" in result.stdout
    text = " ".join(result.stdout.replace("│", " ").split())
    assert re.search(r"IKE_SA_INIT by TCP to 127\.0\.0\.1 port [0-9]+: Connection refused", text)
    assert "Outcome: unreachable, as expected" in result.stdout


def test_programs_learn_why_by_the_class_of_the_error(run: Any) -> None:
    result = run("demo", "--network", "refuses-tcp", "--policy", "tcp-only", "--json")
    outcome = json.loads(result.stdout.splitlines()[-1])
    assert (outcome["type"], outcome["error_type"]) == ("Outcome", "PeerUnreachable")


def test_the_dice_of_a_lossy_network_fall_the_same_way_in_every_run(run: Any) -> None:
    result = run("demo", "--network", "lossy", "--policy", "udp-only")
    assert result.exit_code == 0
    assert "lost: the relay drops 10% of all datagrams" in result.stdout
    assert "IKE_SA_INIT request 0 (repeated)" in result.stdout


def test_json(run: Any) -> None:
    found = events(run("demo", "--json").stdout)
    assert found[0] == {
        "type": "Run",
        "number": 1,
        "network": "clean",
        "policy": "by-size",
        "auth": "certificates",
        "fragmentation": True,
    }
    assert (found[-1]["type"], found[-1]["error"], found[-1]["error_type"]) == ("Outcome", None, None)
    assert (found[-1]["outcome"], found[-1]["expected"], found[-1]["error"]) == ("established", "established", None)
    sent = [each for each in found if each["type"] == "MessageSent" and each["who"] == "initiator"]
    assert [(each["exchange"], each["transport"]) for each in sent[:2]] == [("IKE_SA_INIT", "udp"), ("IKE_AUTH", "tcp")]
    assert all(each["reason"] for each in sent)
    assert not any("keys" in each for each in found)


def test_json_with_keys(run: Any) -> None:
    found = events(run("demo", "--json", "--show-keys").stdout)
    keys = [each["keys"] for each in found if each["type"] == "IkeKeysDerived"]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    children = {each["who"]: each["keys"] for each in found if each["type"] == "ChildSaEstablished"}
    assert children["initiator"]["encr_in"] == children["responder"]["encr_out"]


def test_the_relay_tells_what_it_dropped(run: Any) -> None:
    options = ["--network", "drops-fragments", "--policy", "udp-only", "--fragmentation", "no"]
    found = events(run("demo", "--json", *options).stdout)
    lost = [each for each in found if each["type"] == "Lost"]
    assert lost
    assert all(each["who"] == "relay" and each["octets"] > 1280 and each["rightwards"] for each in lost)
    assert found[-1]["outcome"] == found[-1]["expected"] == "unreachable"


def test_the_key_log(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    monkeypatch.setenv("IKEKEYLOGFILE", str(path))
    found = events(run("demo", "--json", "--show-keys").stdout)
    (keys,) = {each["keys"]["sk_ei"] for each in found if each["type"] == "IkeKeysDerived"}
    (row,) = read_key_table(path.read_text(), "keys").values()
    assert row.sk_ei.hex() == keys
    assert row.encryption == "AES_GCM_16-256"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["demo"], ["demo", "--json"]])
def test_a_disk_that_fills_up_later(script: Any, arguments: list[str]) -> None:
    result = script(*arguments, env={"IKEKEYLOGFILE": "/dev/full"})
    assert result.returncode == 2
    assert result.stderr == "ikecore: IKEKEYLOGFILE: /dev/full cannot be written: No space left on device\n"


def test_a_key_log_that_cannot_be_written(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IKEKEYLOGFILE", str(tmp_path / "no" / "such" / "folder"))
    result = run("demo")
    assert result.exit_code == 2
    assert result.stderr.startswith("ikecore: IKEKEYLOGFILE: ")
