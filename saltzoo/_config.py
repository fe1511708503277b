"""The one reader of options: a plain table, as TOML and JSON hold it, to a dataclass or a function, and back.

Types come from the annotations, limits from `Annotated[..., Range(...)]`. The reader checks keys and types; a dataclass
of options checks its limits in `__post_init__` by `check_limits`, so that a direct constructor call is checked too.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ._checks import closest

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Limits of a number, for `Annotated`.

    Attributes:
        low: smallest value, or the bound below all values if `open_low`.
        high: likewise above.
        open_low: `low` itself is excluded.
        open_high: `high` itself is excluded.

    Example:
        >>> print(Range(0, 1, open_high=True), "|", Range(1), "|", Range(0, open_low=True))
        at least 0 and below 1 | at least 1 | above 0
        >>> 1 in Range(0, 1, open_high=True), 0.5 in Range(0, 1)
        (False, True)
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        lower = f"{'above' if self.open_low else 'at least'} {self.low:g}" if self.low != -math.inf else ""
        upper = f"{'below' if self.open_high else 'at most'} {self.high:g}" if self.high != math.inf else ""
        return " and ".join(filter(None, (lower, upper)))


Count = Annotated[int, Range(1)]
Fraction = Annotated[float, Range(0, 1, open_high=True)]
Probability = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]


@dataclass(frozen=True)
class Key:
    """An option.

    Attributes:
        hint: its annotation; Any without one.
        default: its default, MISSING if it must be given.
    """

    hint: Any
    default: Any


def keys_of(kind: Callable[..., Any]) -> dict[str, Key]:
    """Return the options of a dataclass, or of a function of keywords, by name.

    Annotations that cannot be evaluated, as a user's function may have them, count as Any.

    Example:
        >>> def build(*, width: int, act: str = "relu"): ...
        >>> {name: key.default for name, key in keys_of(build).items() if key.default is not MISSING}
        {'act': 'relu'}
    """
    try:
        hints = get_type_hints(kind, include_extras=True)
    except (NameError, TypeError):
        hints = {}
    factories = {f.name: f.default_factory for f in fields(kind)} if is_dataclass(kind) else {}
    keys = {}
    for parameter in inspect.signature(kind).parameters.values():
        default = MISSING if parameter.default is parameter.empty else parameter.default
        factory = factories.get(parameter.name, MISSING)
        keys[parameter.name] = Key(hints.get(parameter.name, Any), default if factory is MISSING else factory())
    return keys


def read_options(kind: type[T], table: Any, where: str) -> T:
    """Build a dataclass, and the dataclasses in it, from a table.

    Args:
        kind: dataclass annotated with plain types, dataclasses, tuples of dataclasses, or these or None.
        table: values by key.
        where: what the table is, for messages.

    Raises:
        ValueError: for a key that is unknown or missing, a word that is not a choice, or a value out of its limits.
        TypeError: for a value of another type.
    """
    if not isinstance(table, Mapping):
        raise TypeError(f"{where} must be a table of {kind.__name__}, got {table!r}")
    keys = keys_of(kind)
    check_keys(table, keys, where)
    missing = [name for name, key in keys.items() if name not in table and key.default is MISSING]
    if missing:
        raise ValueError(f"{where} needs {', '.join(missing)}")
    return kind(**{name: _read(keys[name].hint, value, f"{name} of {where}") for name, value in table.items()})


def check_keys(
    given: Mapping[str, Any],
    known: Mapping[str, Any],
    where: str,
    *,
    word: str = "key",
    error: type[Exception] = ValueError,
) -> None:
    """Raise `error` if a key is not known, with the closest known ones.

    Example:
        >>> check_keys({"epoch": 3}, {"epochs": int, "seed": int}, "the recipe")
        Traceback (most recent call last):
        ...
        ValueError: the recipe has no key 'epoch'. Did you mean 'epochs'?
    """
    for name in given:
        if name not in known:
            hint = closest(name, known, otherwise=f"It has {', '.join(known) or 'none'}.")
            raise error(f"{where} has no {word} {name!r}. {hint}")


def check_type(hint: Any, value: Any, where: str) -> None:
    """Raise TypeError if a value is not what an annotation says, or ValueError if it is not one of a Literal's choices.

    Example:
        >>> check_type(int, "3", "epochs of the recipe")
        Traceback (most recent call last):
        ...
        TypeError: epochs of the recipe must be int, got '3'
    """
    if matches(value, hint):
        return
    if get_origin(hint) is Literal:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, get_args(hint)))}, got {value!r}")
    raise TypeError(f"{where} must be {_words(hint)}, got {value!r}")


def matches(value: Any, hint: Any) -> bool:
    """Return whether a plain value has a type. An int is a float too, a bool is neither, a list may stand for a tuple.

    Args:
        value: scalar, None, list, tuple or mapping of such.
        hint: annotation of scalars, None, Literal, unions, Sequence, tuple, Mapping and Annotated. Every value matches
            any other annotation.

    Example:
        >>> matches([1, 2.5], Sequence[float]), matches(True, int), matches("no", bool), matches(None, int | None)
        (True, False, False, True)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return matches(value, inner[0])
    if origin in (Union, UnionType):
        return any(matches(value, kind) for kind in inner)
    if origin is Literal:
        return value in inner
    if origin is Sequence or (origin is tuple and inner[1:] == (...,)):
        return isinstance(value, list | tuple) and all(matches(item, inner[0]) for item in value)
    if origin is tuple:
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(matches, value, inner))
    if origin is Mapping:
        items = value.items() if isinstance(value, Mapping) else ()
        return isinstance(value, Mapping) and all(matches(k, inner[0]) and matches(v, inner[1]) for k, v in items)
    if hint in (int, float) and isinstance(value, bool):
        return False
    kinds: dict[Any, Any] = {int: int, float: (int, float), bool: bool, str: str, type(None): type(None)}
    return isinstance(value, kinds.get(hint, object))


def check_limits(options: Any, *, prefix: str = "") -> None:
    """Raise ValueError if a field of a dataclass is outside its `Range`, or is not one of its Literal's choices.

    Args:
        options: instance; fields that are None are not checked.
        prefix: goes before the field's name in the message.

    Example:
        >>> @dataclass
        ... class Options:
        ...     drop_rate: Fraction = 0.0
        >>> check_limits(Options(drop_rate=1.5))
        Traceback (most recent call last):
        ...
        ValueError: drop_rate must be at least 0 and below 1, got 1.5
    """
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        _check_limit(hint, getattr(options, name), prefix + name)


def _check_limit(hint: Any, value: Any, name: str) -> None:
    origin, inner = get_origin(hint), get_args(hint)
    if value is None:
        return
    if origin is Annotated:
        for limit in inner[1:]:
            if isinstance(limit, Range) and value not in limit:
                raise ValueError(f"{name} must be {limit}, got {value}")
    elif origin in (Union, UnionType):
        for kind in inner:
            if matches(value, kind):
                _check_limit(kind, value, name)
    elif origin is Literal and value not in inner:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(map(repr, inner))}")
    elif origin in (tuple, Sequence):
        for item in value:
            _check_limit(inner[0], item, name)
    elif origin is Mapping:
        for key, item in value.items():
            _check_limit(inner[1], item, f"{name}.{key}")


def to_table(value: Any) -> Any:
    """Return nested plain values: dataclasses and mappings as dicts, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_table(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_table(item) for key, item in value.items()}
    return [to_table(item) for item in value] if isinstance(value, list | tuple) else value


def check_finite_table(table: Any, where: str = "") -> None:
    """Raise ValueError if a nested table holds NaN or infinity, which JSON cannot.

    Args:
        table: plain values.
        where: dotted keys that lead to it, for the message.
    """
    if isinstance(table, float) and not math.isfinite(table):
        raise ValueError(f"{where} must be a finite number, as checkpoints hold no others, got {table}")
    if isinstance(table, Mapping | list | tuple):
        items = table.items() if isinstance(table, Mapping) else enumerate(table)
        for key, item in items:
            check_finite_table(item, f"{where}.{key}" if where else str(key))


def _read(hint: Any, value: Any, where: str) -> Any:
    """A value of an annotation: dataclasses are read, everything else is checked and made immutable."""
    inner = get_args(hint)
    if is_dataclass(hint):
        return read_options(hint, value, where)  # type: ignore[arg-type]  # a class, as annotations are
    if get_origin(hint) in (Union, UnionType) and value is not None and is_dataclass(inner[0]):
        return read_options(inner[0], value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and is_dataclass(inner[0]) and isinstance(value, list | tuple):
        return tuple(_read(inner[0], item, where) for item in value)
    check_type(hint, value, where)
    return _frozen(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _words(hint: Any) -> str:
    """An annotation as a person writes it: `int | None`, `Sequence[float]`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_words(inner[0])} ({', '.join(map(str, inner[1:]))})"
    if origin in (Union, UnionType):
        return " | ".join(map(_words, inner))
    return inspect.formatannotation(hint).replace("collections.abc.", "").replace("typing.", "")
