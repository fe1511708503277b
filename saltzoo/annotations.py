"""Whether a plain value, as JSON and TOML hold them, is what an annotation says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a whole number is a float too, True is no number, a list may stand for a tuple.

    Args:
        value: a plain one.
        hint: an annotation of plain values: scalars, None, Literal, unions, Sequence, tuple and Mapping. Of any other,
            everything fits.

    Example:
        >>> fits([1, 2.5], Sequence[float]), fits(True, int), fits("no", bool), fits(None, int | None)
        (True, False, False, True)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, kind) for kind in inner)
    if origin is Literal:
        return value in inner
    if origin is Sequence or (origin is tuple and inner[1:] == (...,)):
        return isinstance(value, list | tuple) and all(fits(item, inner[0]) for item in value)
    if origin is tuple:
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if hint in (int, float) and isinstance(value, bool):
        return False
    kinds: dict[Any, Any] = {int: int, float: (int, float), bool: bool, str: str, type(None): type(None)}
    return isinstance(value, kinds.get(hint, object))
