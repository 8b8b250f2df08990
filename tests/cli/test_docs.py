"""docs/cli.md says what the command line does: its files are read, its options and keys are all there are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import attrs
import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ikecore import Limits
from ikecore.testing.pki import CertificateAuthority
from ikecore_trio.cli.commands import cli
from ikecore_trio.cli.config_file import read_settings
from ikecore_trio.cli.demo_scenario import NETWORKS, Scenario
from ikecore_trio.cli.policy_words import POLICY_WORDS
from ikecore_trio.cli.problems import UsageProblem

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
FILES = re.findall(r"```toml\n(\[(?:connections|listen).*?)```", TEXT, re.DOTALL)
LIMITS = re.findall(r"```toml\n(\[limits\].*?)```", TEXT, re.DOTALL)
EVERY_TABLE = """
bogus = 1
[listen]
bogus = 1
[limits]
bogus = 1
[connections.c]
bogus = 1
[connections.c.transports]
bogus = 1
[connections.c.local]
bogus = 1
auth = "pubkey"
[connections.c.remote]
bogus = 1
auth = "psk"
[connections.c.children.n]
bogus = 1
[pools.p]
bogus = 1
[secrets.ike-1]
bogus = 1
[secrets.private-1]
bogus = 1
"""


@pytest.mark.parametrize("text", [*FILES, *(each + FILES[0] for each in LIMITS)])
def test_the_files_are_read(tmp_path: Path, text: str) -> None:
    root = CertificateAuthority("Root", utc=datetime.now(UTC))
    leaf = root.leaf(["client.example"])
    (tmp_path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "client.pem").write_bytes(x509.load_der_x509_certificate(leaf.chain[0]).public_bytes(Encoding.PEM))
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client.key").write_bytes(key)
    (tmp_path / "ike.toml").write_text(text)
    assert read_settings(tmp_path / "ike.toml").connections


def test_there_are_two_files() -> None:
    assert len(FILES) == 2
    assert len(LIMITS) == 1


def test_every_option_is_described() -> None:
    for name, command in cli.commands.items():
        assert f"\n## {name}" in TEXT or f" and {name}\n" in TEXT
        for option in command.params:
            if isinstance(option, click.Option):
                assert any(word in TEXT for word in option.opts), f"{name} {option.opts}"


def test_the_table_of_outcomes_is_that_of_the_demonstration() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ((?:(?:up|fails) \| ?){7})$", TEXT, re.MULTILINE)
    assert [word for word, _ in rows] == list(POLICY_WORDS)
    for word, cells in rows:
        scenarios = [Scenario(network, word) for network in NETWORKS]
        scenarios.insert(2, Scenario("drops-fragments", word, fragmentation=False))
        for scenario, cell in zip(scenarios, cells.split("|"), strict=False):
            assert cell.strip() == ("up" if scenario.expected == "established" else "fails"), scenario


def test_every_limit_is_described_with_its_default() -> None:
    rows = re.findall(r"^\| `limits\.([a-z_]+)` \| ([0-9.]+) \| .+ \|$", TEXT, re.MULTILINE)
    assert [(name, float(default)) for name, default in rows] == list(attrs.asdict(Limits()).items())


def test_every_key_is_described(tmp_path: Path) -> None:
    (tmp_path / "ike.toml").write_text(EVERY_TABLE)
    with pytest.raises(UsageProblem) as caught:
        read_settings(tmp_path / "ike.toml")
    unknown = [line for line in caught.value.lines if "unknown key" in line]
    assert len(unknown) == EVERY_TABLE.count("bogus")
    for line in unknown:
        for key in line.rpartition("allowed: ")[2].split(", "):
            assert re.search(rf"[`.\[]{key}(?:-<x>)?[`.\]]", TEXT), key
