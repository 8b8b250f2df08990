"""The script as such: what it loads, what it says where something is missing, and its exit codes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("click", "rich", "trio", "cryptography", "attrs", "dpkt", "ikecore")


def test_importing_loads_nothing_heavy(script: Any) -> None:
    code = f"import sys, ikecore_trio.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = script(code=code)
    assert (result.stdout, result.returncode) == ("[]\n", 0)


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["decode", "--help"], ["--version"]])
def test_help_loads_only_click(script: Any, arguments: list[str]) -> None:
    code = (
        "import sys, ikecore_trio.cli\n"
        "try:\n"
        "    ikecore_trio.cli.main()\n"
        "finally:\n"
        f"    print('loaded', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    result = script(*arguments, code=code)
    assert "loaded ['click']" in result.stdout
    assert result.returncode == 0 or "--version" in arguments


@pytest.mark.parametrize("missing", ["click", "rich", "trio", "dpkt"])
def test_missing_extras_are_told_with_what_to_install(script: Any, missing: str) -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from ikecore_trio.cli import main\n"
        "main()\n"
    )
    result = script("demo", code=code)
    assert result.returncode == 2
    assert result.stdout == ""
    assert missing in result.stderr
    assert "pip install 'ikecore[cli]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_option_is_a_usage_error(run: Any) -> None:
    result = run("demo", "--network", "wireless")
    assert result.exit_code == 2
    assert "drops-fragments" in result.stderr


@pytest.mark.parametrize("command", ["demo", "serve", "connect", "decode"])
def test_every_help_tells_the_exit_codes(run: Any, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 done, 1 the protocol failed, 2 something has to be" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_reader_that_goes_away_is_no_error(script: Any, tmp_path: Path) -> None:
    messages = tmp_path / "messages.hex"
    messages.write_text("ab" * 28 + "\n\n" + ("00" * 30 + "\n\n") * 2000)
    code = (
        "import subprocess, sys\n"
        f"decode = subprocess.Popen([sys.executable, '-m', 'ikecore_trio.cli', 'decode', {str(messages)!r}],"
        " stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "decode.stdout.readline(); decode.stdout.close()\n"
        "print(decode.stderr.read().decode())\n"
    )
    result = script(code=code)
    assert result.stdout.strip() == ""


def test_a_reader_that_goes_away_ends_a_demonstration(script: Any, start: Any) -> None:
    for options in (["--json"], []):
        process = start("demo", "--network", "drops-fragments", *options)
        with process:
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 0


def test_ctrl_c_while_a_demonstration_runs(start: Any) -> None:
    process = start("demo", "--network", "drops-fragments", "--json")
    with process:
        for line in process.stdout:
            if '"MessageSent"' in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "ikecore: interrupted\n"
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("options", [["--json"], []])
def test_output_to_a_full_disk(script: Any, options: list[str]) -> None:
    code = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-m', 'ikecore_trio.cli', 'demo', *{options!r}]\n"
        "with open('/dev/full', 'w') as full:\n"
        "    sys.exit(subprocess.run(command, stdout=full).returncode)\n"
    )
    result = script(code=code)
    assert result.stderr == "ikecore: standard output: No space left on device\n"
    assert result.returncode == 2


@pytest.mark.parametrize("where", ["cli.installed", "builtins.__import__"])
def test_ctrl_c_at_the_very_beginning(script: Any, where: str) -> None:
    """While the extras are looked for, or the commands are imported."""
    code = f"""
import builtins
from ikecore_trio import cli

def interrupted(*arguments, **options):
    raise KeyboardInterrupt

{where} = interrupted
cli.main()
"""
    result = script(code=code)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "ikecore: interrupted\n")
