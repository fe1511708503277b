"""Dotted prefixes, by which options name a part of a model."""

from __future__ import annotations

from collections.abc import Iterable

from ..._checks import closest


def is_under(name: str, prefix: str) -> bool:
    """Return whether a name is the prefix, or begins with the prefix and a dot.

    Example:
        >>> is_under("decoder.blocks.0.weight", "decoder.blocks"), is_under("decoder2.weight", "decoder")
        (True, False)
    """
    return name == prefix or name.startswith(f"{prefix}.")


def check_prefixes(option: str, prefixes: Iterable[str], names: Iterable[str]) -> None:
    """Raise ValueError if no name has a prefix, and name the prefixes that are most like it.

    Example:
        >>> check_prefixes("scales", ["decodr"], ["stem.weight", "decoder.weight"])
        Traceback (most recent call last):
        ...
        ValueError: scales names 'decodr', but no parameter has this prefix. Did you mean 'decoder' or 'decoder.weight'?
    """
    known = set()
    for name in names:
        parts = name.split(".")
        known |= {".".join(parts[: end + 1]) for end in range(len(parts))}
    for prefix in prefixes:
        if prefix not in known:
            parts = sorted({name.split(".")[0] for name in known})
            hint = closest(prefix, known, otherwise=f"The model has {', '.join(parts)}.")
            raise ValueError(f"{option} names {prefix!r}, but no parameter has this prefix. {hint}")
