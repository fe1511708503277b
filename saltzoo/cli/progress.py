"""Progress bars on a terminal, and lines of text beside them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def bar(items: Iterable[T], *, unit: str, quiet: bool = False) -> Iterator[T]:
    """Yield items, with a progress bar on standard error if that is a terminal and not `quiet`."""
    if quiet or not _is_terminal():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, unit=unit)


def line_printer(*, err: bool = False, quiet: bool = False) -> Callable[[str], None]:
    """Return a function that prints a line without breaking a bar, on standard output or error; or none if `quiet`."""

    def tell(line: str) -> None:
        if quiet:
            return
        if _is_terminal():
            from tqdm import tqdm

            with tqdm.external_write_mode(sys.stderr if err else sys.stdout):
                print(line, file=sys.stderr if err else sys.stdout)
        else:
            print(line, file=sys.stderr if err else sys.stdout)

    return tell


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
