"""Fill a page's template, make tables, and write a page or check it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).with_name("templates")

Row = Sequence[str]


def fill(name: str, values: Mapping[str, object]) -> str:
    """Return a template of docs/templates with its placeholders, such as $count, replaced.

    Raises:
        ValueError: if the template and the values have different names.
    """
    template = Template((TEMPLATES / name).read_text(encoding="utf-8"))
    known = set(template.get_identifiers())
    if known != values.keys():
        raise ValueError(
            f"docs/templates/{name} and its script disagree about {', '.join(sorted(known ^ values.keys()))}"
        )
    return template.substitute(values)


def table(header: Row, rows: Sequence[Row], right: Sequence[int] = ()) -> str:
    """Return a Markdown table without its last line break; `right` numbers the columns aligned to the right."""
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    lines = (header, rule, *rows)
    return "\n".join(f"| {cells(line)} |" for line in lines)


def cells(line: Row) -> str:
    """Return the cells of a line of a Markdown table, without its outer bars."""
    return " | ".join(cell.replace("|", "\\|") for cell in line)


def between(text: str, marks: tuple[str, str], content: str) -> str:
    """Return the text with new content between two marks.

    Raises:
        ValueError: unless the text has each mark once, in this order.
    """
    first, last = marks
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise ValueError(f"the text must contain {first.strip()!r} and, after it, {last!r}, each once")
    return text[: text.index(first) + len(first)] + content + text[text.index(last) :]


def write_or_check(
    pages: Mapping[Path, Callable[[], str]], description: str | None, draw: Callable[[], None] | None = None
) -> int:
    """Write each page and draw its pictures, or compare the pages if --check is given; return the exit status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    status = 0
    for path, page in pages.items():
        text = page()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            status = 1
            print(f"{path.name} is out of date: run python docs/{Path(sys.argv[0]).name}", file=sys.stderr)
    if not check and draw is not None:
        draw()
    return status
