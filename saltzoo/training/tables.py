"""Nested tables of plain values, as TOML holds them, into dataclasses and back."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import formatannotation
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..annotations import fits

T = TypeVar("T")


def read_table(kind: type[T], table: Any, where: str) -> T:
    """A dataclass from a table, with the dataclasses in it.

    Args:
        kind: a dataclass whose annotations are dataclasses, these or None, tuples of them, or plain.
        table: key -> value.
        where: what the table is, for messages.

    Raises:
        ValueError: a key that is unknown or missing, or a value that makes no sense.
        TypeError: a value of another type.
    """
    if not isinstance(table, Mapping):
        raise TypeError(f"{where} is a table of {kind.__name__}, got {table!r}")
    hints = get_type_hints(kind)
    known = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise ValueError(f"{where} has no key {key!r}: {hint}")
    missing = [k for k, f in known.items() if k not in table and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise ValueError(f"{where} needs {', '.join(missing)}")
    return kind(**{key: _value(hints[key], value, f"{key} of {where}") for key, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return read_table(hint, value, where)  # type: ignore[arg-type]  # a class, as annotations are
    inner = get_args(hint)
    if get_origin(hint) in (Union, UnionType) and value is not None and is_dataclass(inner[0]):
        return read_table(inner[0], value, where)  # type: ignore[arg-type]  # a class, as annotations are
    if get_origin(hint) is tuple and is_dataclass(inner[0]) and isinstance(value, list | tuple):
        return tuple(_value(inner[0], item, where) for item in value)
    if fits(value, hint):
        return _frozen(value)
    if get_origin(hint) is Literal:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, inner))}, got {value!r}")
    raise TypeError(f"{where} must be {formatannotation(hint).replace('collections.abc.', '')}, got {value!r}")


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def check_finite_table(table: Any, where: str = "") -> None:
    """Refuses nested tables with a number in them that JSON does not have.

    Args:
        table: of plain values.
        where: dotted keys on the way to it, for messages.

    Raises:
        ValueError: if there is one; says where.
    """
    if isinstance(table, float) and not math.isfinite(table):
        raise ValueError(f"{where} must be a finite number, as checkpoints hold no others, got {table}")
    if isinstance(table, Mapping | list | tuple):
        items = table.items() if isinstance(table, Mapping) else enumerate(table)
        for key, item in items:
            check_finite_table(item, f"{where}.{key}" if where else str(key))


def to_table(value: Any) -> Any:
    """Plain values, nested: tuples are lists."""
    if isinstance(value, Mapping):
        return {key: to_table(item) for key, item in value.items()}
    return [to_table(item) for item in value] if isinstance(value, list | tuple) else value
