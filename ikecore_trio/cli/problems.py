"""What ends a command: a mistake of the user, or a protocol that failed, each with its exit code."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FAILED", "OK", "USAGE", "CommandFailed", "OutputLost", "UsageProblem"]

OK = 0
"""The command did what it was asked to do."""
FAILED = 1
"""The protocol failed: no SA, an outcome other than the expected one, or faults in what was decoded."""
USAGE = 2
"""The command line, a file or the installation has to be corrected first."""


class CommandFailed(Exception):
    """The command came to nothing, for a reason that the user has to know. Exit code 1."""

    code = FAILED


class UsageProblem(CommandFailed):
    """The user has to correct something first; one line for each thing. Exit code 2."""

    code = USAGE

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: Sequence[str] = lines


class OutputLost(CommandFailed):
    """Standard output takes no more. That its reader has gone, as `head` does, is no failure; a full disk is one.

    It is no OSError, so that it is not taken for the failure of a socket on its way out of an endpoint.
    """

    def __init__(self, error: OSError) -> None:
        gone = isinstance(error, BrokenPipeError)
        super().__init__("" if gone else f"standard output: {error.strerror or error}")
        self.code = OK if gone else USAGE
