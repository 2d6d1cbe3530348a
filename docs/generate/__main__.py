"""Write the generated parts of the documentation: `python docs/generate`, or `--check` to fail when they are stale.

Run it from a checkout whose package is installed. A page keeps its hand-written text: only what stands between its two
markers is replaced.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import api
import configuration
import errors
import layers

DOCS = Path(__file__).resolve().parents[1]
BEGIN = "<!-- Begin of the generated part: edit its sources and run `python docs/generate`. -->"
END = "<!-- End of the generated part. -->"
PAGES: dict[str, Callable[[], str]] = {
    "api.md": api.generate,
    "architecture.md": layers.generate,
    "configuration.md": configuration.generate,
    "errors.md": errors.generate,
}


def main() -> int:
    """Return the exit code: 1 when `--check` finds a stale page, else 0."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is stale")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages; default: this checkout's")
    given = parser.parse_args()
    stale = []
    for name, generate in PAGES.items():
        path = given.docs / name
        page = path.read_text()
        fresh = replaced(page, generate())
        if fresh != page:
            stale.append(name)
            if not given.check:
                path.write_text(fresh)
    sys.stderr.writelines(f"{'stale' if given.check else 'written'}: {name}\n" for name in stale)
    return 1 if given.check and stale else 0


def replaced(page: str, part: str) -> str:
    """The page with `part` between its markers. Raises ValueError if it does not have each marker once."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"a page must hold {BEGIN!r} and then {END!r}, once each")
    return f"{before}{BEGIN}\n\n{part.strip()}\n\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
