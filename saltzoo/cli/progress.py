"""Progress bars on a terminal, and lines of text beside them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal."""


def bar(items: Iterable[T], *, unit: str, quiet: bool = False) -> Iterator[T]:
    """Yield items, with a progress bar on standard error if that is a terminal and not `quiet`."""
    if quiet or not _is_terminal():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, unit=unit)


@contextmanager
def counter(*, unit: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of the finished and all items, which tells the progress and the time that is left.

    On a terminal it moves a bar on standard error; elsewhere it prints a line every minute; nothing if `quiet`.
    """
    if quiet:
        yield lambda finished, count: None
    elif _is_terminal():
        from tqdm import tqdm

        with tqdm(unit=unit) as shown:

            def move(finished: int, count: int) -> None:
                shown.total = count
                shown.update(finished - shown.n)

            yield move
    else:
        yield _lines_of_progress(unit)


def _lines_of_progress(unit: str) -> Callable[[int, int], None]:
    start = told = time.monotonic()

    def tell(finished: int, count: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _EVERY:
            told = now
            left = (now - start) / finished * (count - finished)
            print(f"{finished} of {count} {unit}s, about {left / 60:.0f} min left", file=sys.stderr, flush=True)

    return tell


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
