#!/usr/bin/env python3
"""Writes the dashboards below dashboards/ from what source/ says of them; needs nothing but Python.

    ./build.py           writes them
    ./build.py --check   fails if one is not what it would write
"""

import json
import sys
from pathlib import Path

# No files but the dashboards.
sys.dont_write_bytecode = True

from source import flows, http, node, postgres, redis, websocket

DIRECTORY = Path(__file__).parent / "dashboards"


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    written = {}
    for module in (node, http, websocket, postgres, redis, flows):
        name = module.__name__.rpartition(".")[2]
        written[DIRECTORY / f"{name}.json"] = json.dumps(module.DASHBOARD, indent=1) + "\n"
    stale = set(DIRECTORY.glob("*")) - written.keys()
    stale |= {file for file, text in written.items() if not file.is_file() or file.read_text() != text}
    if check:
        if stale:
            sys.exit(f"not as build.py writes them: {sorted(file.name for file in stale)}; run it")
        return
    DIRECTORY.mkdir(exist_ok=True)
    for file, text in written.items():
        file.write_text(text)


if __name__ == "__main__":
    main()
