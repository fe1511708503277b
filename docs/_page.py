"""What the generators of pages share: tables, and writing a page or checking it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Row = Sequence[str]


def table(header: Row, rows: Sequence[Row], right: Sequence[int] = ()) -> str:
    """A Markdown table; the columns of these numbers are set to the right."""
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    lines = (header, rule, *rows)
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def between(text: str, marks: tuple[str, str], content: str) -> str:
    """The text with that content between the two marks.

    Raises:
        ValueError: the text has not each of them once, in that order.
    """
    first, last = marks
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise ValueError(f"the text must have {first.strip()!r} and, after it, {last!r}, each once")
    return text[: text.index(first) + len(first)] + content + text[text.index(last) :]


def write_or_check(
    pages: Mapping[Path, Callable[[], str]], description: str | None, draw: Callable[[], None] | None = None
) -> int:
    """Writes each page, then draws its pictures; or with --check compares the pages; returns the exit status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    check = parser.parse_args().check
    stale = 0
    for path, page in pages.items():
        text = page()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale = 1
            print(f"{path.name} is stale: run python docs/{Path(sys.argv[0]).name}", file=sys.stderr)
    if not check and draw is not None:
        draw()
    return stale
