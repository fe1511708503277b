"""What the generators of pages share: tables, and writing a page or checking it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

Row = Sequence[str]


def table(header: Row, rows: Sequence[Row], right: Sequence[int] = ()) -> str:
    """A Markdown table; the columns of these numbers are set to the right."""
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    lines = (header, rule, *rows)
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def write_or_check(
    path: Path, page: Callable[[], str], description: str | None, draw: Callable[[], None] | None = None
) -> int:
    """Writes the page, then draws its pictures; or with --check compares the page; returns the exit status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    check = parser.parse_args().check
    text = page()
    if not check:
        path.write_text(text, encoding="utf-8")
        if draw is not None:
            draw()
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path.name} is stale: run python docs/make_{path.stem}.py", file=sys.stderr)
    return 1
