"""`python -m ikecore_trio.cli`: the same as `ikecore`."""

from __future__ import annotations

from . import main

main()
