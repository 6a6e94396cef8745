"""The numbers that the paper prints, without what records of our own need."""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[2] / "data" / "paper.json"


def printed() -> dict[str, Any]:
    """Return ``data/paper.json``: each number with where it stands in the paper."""
    return json.loads(FILE.read_text(encoding="utf8"))
