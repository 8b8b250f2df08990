"""The commands and their options. What they do is in the modules that each imports when it is called."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .problems import CommandFailed, OutputLost

if TYPE_CHECKING:
    from .demo_scenario import Network

__all__ = ["cli", "run"]

INTERRUPTED = CommandFailed("interrupted")
EPILOG = "Exit codes: 0 done, 1 the protocol failed, 2 something has to be corrected first."


def run() -> None:
    """Run the command line. What the terminal's encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="ikecore")


def reported(command: Callable[..., int]) -> Callable[..., None]:
    """Wrap a command that returns its exit code: expected failures become a message on stderr, never a traceback."""

    def wrapper(**options: Any) -> None:
        try:
            code = command(**options)
        except CommandFailed as failure:
            code = explained(failure)
        except KeyboardInterrupt:
            code = explained(INTERRUPTED)
        except BaseExceptionGroup as group:  # out of a nursery
            expected = only_one(group)
            if expected is None:
                raise
            code = explained(expected)
        sys.exit(code)

    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper


class Seconds(click.FloatRange):
    """A span of time from 0 on that has an end: "nan" and "inf" are numbers to Python, and no deadlines."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return number


def print_version(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Print the version of the installed distribution, if it is one."""
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"ikecore {version('ikecore')}")
    except PackageNotFoundError:
        click.echo("ikecore, from a source tree that is not installed")
    context.exit()


def explained(failure: CommandFailed) -> int:
    """Print an expected failure and return its exit code."""
    for line in str(failure).splitlines():
        click.echo(f"ikecore: {line}", err=True)
    if isinstance(failure, OutputLost):  # the interpreter's last flush must not complain once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return failure.code


def only_one(group: BaseExceptionGroup[BaseException]) -> CommandFailed | None:
    """Return the first expected failure of a group that has nothing else, else None. Ctrl-C comes before all."""
    if group.subgroup(KeyboardInterrupt) is not None:
        return INTERRUPTED
    expected, rest = group.split(CommandFailed)
    if expected is None or rest is not None:
        return None
    failure: BaseException = expected
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure if isinstance(failure, CommandFailed) else None


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """IKEv2 over UDP and TCP: watch it, speak it, take it apart.

    With IKEKEYLOGFILE in the environment, demo, serve and connect append the keys of each IKE SA to that file, as a
    table that Wireshark and "ikecore decode --keys" read.
    """


@cli.command(epilog=EPILOG, short_help="Both roles on this machine, drawn as a ladder.")
@click.option(
    "--network",
    type=click.Choice(["clean", "drops-fragments", "blocks-udp", "refuses-tcp", "silent-tcp", "lossy"]),
    default="clean",
    show_default=True,
    help="What lies between the two: nothing, a relay that drops UDP datagrams above 1,280 octets, all of them, or a "
    "tenth; or a TCP port that refuses connections or leaves them unanswered.",
)
@click.option(
    "--policy",
    type=click.Choice(["by-size", "udp-only", "whole-mission", "race", "tcp-only", "fallback"]),
    default=None,
    help="Which transport carries what. [default: by-size; with drops-fragments udp-only first, with blocks-udp race "
    "afterwards]",
)
@click.option(
    "--fragmentation",
    type=click.Choice(["yes", "no"]),
    default=None,
    help="IKE fragments (RFC 7383) for what is too large for one packet. [default: yes; with drops-fragments no first]",
)
@click.option(
    "--auth",
    type=click.Choice(["certificates", "psk-client"]),
    default="certificates",
    show_default=True,
    help="Certificates on both sides, or a pre-shared key from the initiator and a certificate chain in return.",
)
@click.option("--rekey", is_flag=True, help="Rekey the Child SA, and then the IKE SA, before they are deleted.")
@click.option("--show-keys", is_flag=True, help="Print the keys, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event and line, instead of the drawing.")
@reported
def demo(
    network: Network,
    policy: str | None,
    fragmentation: Literal["yes", "no"] | None,
    auth: Literal["certificates", "psk-client"],
    rekey: bool,
    show_keys: bool,
    as_json: bool,
) -> int:
    """Set up an IKE SA between two endpoints on this machine, and draw it.

    Needs no root and no configuration. A certificate chain with ML-DSA signatures is made, too large for any
    packet; IKE_SA_INIT goes over UDP, IKE_AUTH over TCP. The exit code is 0 if the outcome is the expected one,
    which is a failure where a policy has no way through the network.
    """
    from .demo import run_demo

    return run_demo(
        network=network,
        policy=policy,
        fragmentation=None if fragmentation is None else fragmentation == "yes",
        auth=auth,
        rekey=rekey,
        show_keys=show_keys,
        as_json=as_json,
    )


@cli.command(epilog=EPILOG, short_help="Answer peers as a TOML file says.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event and line.")
@click.option("--ladder", is_flag=True, help="Draw the messages of each IKE SA when it has ended.")
@click.option("--for", "seconds", type=Seconds(), help="Stop after so many seconds.")
@click.option("--once", is_flag=True, help="Stop when the first IKE SA has ended.")
@reported
def serve(config: Path, as_json: bool, ladder: bool, seconds: float | None, once: bool) -> int:
    """Answer peers as CONFIG says, and tell of each IKE SA that comes and goes, until Ctrl-C."""
    from .serve import run_serve

    return run_serve(config, as_json=as_json, ladder=ladder, seconds=seconds, once=once)


@cli.command(epilog=EPILOG, short_help="Set up one connection of a TOML file.")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("connection", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event and line.")
@click.option("--ladder", is_flag=True, help="Draw the messages at the end.")
@click.option("--for", "seconds", type=Seconds(), help="Delete the IKE SA after so many seconds.")
@click.option("--once", is_flag=True, help="Delete the IKE SA as soon as it and its Child SAs are up.")
@reported
def connect(
    config: Path, connection: str | None, as_json: bool, ladder: bool, seconds: float | None, once: bool
) -> int:
    """Set up CONNECTION as CONFIG describes it, and keep it up until Ctrl-C or until the peer deletes it.

    CONNECTION may be left out where CONFIG has only one.
    """
    from .connect import run_connect

    return run_connect(config, connection, as_json=as_json, ladder=ladder, seconds=seconds, once=once)


@cli.command(epilog=EPILOG, short_help="Take messages apart: hex, a file or a pcap.")
@click.argument("file", default="-")
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    help='A Wireshark ikev2_decryption_table: one line of SPIi,SPIr,SK_ei,SK_er,"encryption",SK_ai,SK_ar,"integrity" '
    "for each IKE SA.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per message and line.")
@reported
def decode(file: str, keys: Path | None, as_json: bool) -> int:
    """Take apart the IKE messages in FILE: hexadecimal text, bare octets, pcap or pcapng; "-" is standard input.

    Every payload is shown with its RFC section, offsets and fields, and where something is wrong, the octet at which
    it is. The exit code is 1 if anything is.
    """
    from .decode import run_decode

    return run_decode(file, keys, as_json=as_json)
