"""Errors of the library in the words of the command line: --value-range 0 255 for value_range=(0, 255)."""

from __future__ import annotations

import re

_NUMBER = r"(-?[\d.]+(?:e[-+]?\d+)?)"

_WORDS = (
    (r"\bvalue_range=\(([^(),]+), ([^(),]+)\)", r"--value-range \1 \2"),
    (rf"\b(for instance|or) \({_NUMBER}, {_NUMBER}\)", r"\1 \2 \3"),
    (r"\bvalue_range (?=must)", "--value-range "),
    (r"\bpage=(\d+)", r"--page \1"),
    (r"\bpage (of .+ )?(?=must)", r"--page \1"),
    (r'\bnormalize="(\w+)"', r"--normalize \1"),
    (r"\bresume=False", "no --resume"),
    (r"\bfold=(\d+)", r"--fold \1"),
    (r"\bfold (?=must)", "--fold "),
    (r"; or take the luminance with to_gray=True", ""),
)


def in_flags(text: str) -> str:
    """Return a message of the library with the names of options as they are on the command line.

    Example:
        >>> in_flags("line.tif has 3 pages: pass page=0 to page=2, or save one page as a file of its own")
        'line.tif has 3 pages: pass --page 0 to --page 2, or save one page as a file of its own'
    """
    for word, flag in _WORDS:
        text = re.sub(word, flag, text)
    return text
