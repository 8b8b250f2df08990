"""Lines of spans, each with a role: as plain text, or with colours on a terminal that has them."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from .problems import OutputLost

__all__ = ["Line", "Span", "Style", "fields", "put", "show", "takes_unicode", "terminal_width", "to_text", "wrap"]

Style: TypeAlias = Literal["frame", "head", "udp", "tcp", "size", "dim", "note", "good", "bad"]
Span: TypeAlias = tuple[str, Style]
Line: TypeAlias = tuple[Span, ...]

COLOURS: Final[dict[Style, str]] = {
    "frame": "bright_black",
    "head": "bold",
    "udp": "cyan",
    "tcp": "magenta",
    "size": "",
    "dim": "bright_black",
    "note": "",
    "good": "green",
    "bad": "red",
}


def wrap(text: str, width: int) -> list[str]:
    """Break *text* at spaces; a word too long for a line is broken where it has to be."""
    return textwrap.wrap(text, max(width, 8), break_on_hyphens=False)


def fields(pairs: Iterable[tuple[str, str]], width: int, indent: int, style: Style = "note") -> list[Line]:
    """Draw pairs of a name and a value below each other, the values in one column and broken within *width*."""
    pairs = list(pairs)
    column = max((len(name) for name, _ in pairs), default=0)
    lines: list[Line] = []
    for name, value in pairs:
        label = " " * indent + name.ljust(column) + "  "
        for part in wrap(value, width - len(label)) or [""]:
            lines.append(((label, "dim"), (part, style)))
            label = " " * len(label)
    return lines


def to_text(lines: Iterable[Line]) -> str:
    """Return lines as plain text."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def put(text: str) -> None:
    """Print a line on standard output, at once. Raises `OutputLost`."""
    try:
        print(text, flush=True)
    except OSError as error:
        raise OutputLost(error) from None


def show(lines: Iterable[Line]) -> None:
    """Print lines on standard output, with colours where it is a terminal. Nothing in them is read as markup.

    Raises `OutputLost`.
    """
    lines = list(lines)
    if not sys.stdout.isatty():
        put(to_text(lines))
        return
    from rich.console import Console
    from rich.text import Text

    drawing = Text(no_wrap=True, overflow="ignore")
    for at, line in enumerate(lines):
        if at:
            drawing.append("\n")
        for text, style in line:
            drawing.append(text, style=COLOURS[style] or None)
    console: Any = Console(highlight=False, markup=False, emoji=False)
    try:
        console.print(drawing, soft_wrap=True)
    except OSError as error:  # the terminal was closed
        raise OutputLost(error) from None


def terminal_width() -> int:
    """Return the columns of the terminal, 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def takes_unicode() -> bool:
    """Tell whether standard output can carry the signs of a drawing."""
    try:
        "\N{BOX DRAWINGS LIGHT VERTICAL}▶✗".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
