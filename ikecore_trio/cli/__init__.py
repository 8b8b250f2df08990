"""The command `ikecore`.

Importing this module, and `ikecore --help`, load neither trio, rich nor cryptography: a command imports what it needs
when it runs, and where the extras are missing there is a sentence to say so instead of a traceback.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

NEEDED = ("click", "rich", "trio", "dpkt")


def main() -> None:
    """Run the command line and exit with its code: 0 done, 1 the protocol failed, 2 something has to be corrected."""
    try:
        missing = [name for name in NEEDED if not installed(name)]
        if missing:
            sys.stderr.write(
                f"ikecore: the command line needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
                "not installed.\nInstall it with: pip install 'ikecore[cli]'\n"
            )
            sys.exit(2)
        from .commands import run

        run()
    except KeyboardInterrupt:  # while something was looked for or imported
        sys.stderr.write("ikecore: interrupted\n")
        sys.exit(1)


def installed(name: str) -> bool:
    """Tell whether a module can be found, without importing it."""
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
