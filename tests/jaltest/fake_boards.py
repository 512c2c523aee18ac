"""Stands in for ``python -m jalboards``: says what the environment tells it to."""

import json
import os
import sys
from pathlib import Path

EVENTS = "JALTEST_EVENTS"
"""Environment variable: file of events, one JSON object per line; a last line ``exit N``."""

ARGUMENTS = "JALTEST_ARGUMENTS"
"""Environment variable: file that gets the command line as JSON."""


def main() -> int:
    """Plays the events."""
    Path(os.environ[ARGUMENTS]).write_text(json.dumps(sys.argv[1:]), encoding="utf-8")
    for line in Path(os.environ[EVENTS]).read_text(encoding="utf-8").splitlines():
        if line.startswith("exit "):
            print("Traceback: it is broken", file=sys.stderr)
            return int(line.split()[1])
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
