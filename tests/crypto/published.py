"""Vectors that the RFCs publish, from tests/vectors/published.json, where their origin is named."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def published() -> dict[str, Any]:
    """Return the vectors by topic; octets are in hexadecimal."""
    return json.loads((Path(__file__).parents[1] / "vectors" / "published.json").read_text())
