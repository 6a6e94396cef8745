"""Obtain the published images once, before the notebooks are executed side by side."""

import json
import os
import sys
from pathlib import Path

from book.tools.identity import image_listing


def main() -> int:
    """Download the images unless they are at hand; without a network the sample will do."""
    if os.environ.get("GRAPHSEG_DATA"):
        return 0
    registry = json.loads(Path("graphseg", "datasets", "registry.json").read_text(encoding="utf8"))
    if len(list(image_listing())) >= len(registry["files"]):
        return 0
    from graphseg.datasets import published

    try:
        published.fetch()
    except published.NotObtainableError as error:
        print(f"{error} The book will show the bundled simulated sample.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
