"""Dotted prefixes: how a part of a model is meant in options."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def is_under(name: str, prefix: str) -> bool:
    """Whether a name is that prefix, or goes on from it after a dot.

    Example:
        >>> is_under("decoder.blocks.0.weight", "decoder.blocks"), is_under("decoder2.weight", "decoder")
        (True, False)
    """
    return name == prefix or name.startswith(f"{prefix}.")


def check_prefixes(option: str, prefixes: Iterable[str], names: Iterable[str]) -> None:
    """Refuses prefixes that no name has.

    Raises:
        ValueError: if there is one; says which are close.

    Example:
        >>> check_prefixes("scales", ["decodr"], ["stem.weight", "decoder.weight"])
        Traceback (most recent call last):
        ...
        ValueError: scales names 'decodr', and no parameter has that prefix. Did you mean 'decoder' or 'decoder.weight'?
    """
    known = set()
    for name in names:
        parts = name.split(".")
        known |= {".".join(parts[: end + 1]) for end in range(len(parts))}
    for prefix in prefixes:
        if prefix not in known:
            close = difflib.get_close_matches(prefix, sorted(known), n=3)
            tops = sorted({name.split(".")[0] for name in known})
            hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"The model has {', '.join(tops)}."
            raise ValueError(f"{option} names {prefix!r}, and no parameter has that prefix. {hint}")
