"""Read options: from a plain table, as in TOML, to a dataclass or keywords of a function, and back.

The reader checks keys and types by the annotations. A dataclass of options calls `check_limits` in `__post_init__`, so
that limits, `Annotated[..., Range(...)]`, hold for direct constructor calls too.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from ._checks import check_choice, closest

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Limits of a number, for `Annotated`: from `low` to `high`, where an open end is excluded.

    Example:
        >>> print(Range(0, 1, open_high=True), "|", Range(1), "|", Range(0, open_low=True))
        at least 0 and below 1 | at least 1 | above 0
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        lower = f"{'above' if self.open_low else 'at least'} {self.low:g}" if self.low != -math.inf else ""
        upper = f"{'below' if self.open_high else 'at most'} {self.high:g}" if self.high != math.inf else ""
        return " and ".join(filter(None, (lower, upper)))


Count = Annotated[int, Range(1)]
Fraction = Annotated[float, Range(0, 1, open_high=True)]
Probability = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]


class Key(NamedTuple):
    """Annotation of an option (Any without one) and its default (MISSING if the option is required)."""

    hint: Any
    default: Any


def keys_of(kind: Callable[..., Any]) -> dict[str, Key]:
    """Return the options of a dataclass or function by name.

    If the annotations of a user's function do not evaluate, each of its options counts as Any.

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
    """Build a dataclass, and the dataclasses in its fields, from a table.

    Args:
        kind: dataclass, with plain values, dataclasses and tuples of dataclasses in its fields.
        table: values by key.
        where: name of the table, for messages.

    Raises:
        ValueError: if a key is unknown or missing, or a value is not a choice or not within its limits.
        TypeError: if a value has another type.
    """
    if not isinstance(table, Mapping):
        raise TypeError(f"{where} must be a table of {kind.__name__}, got {table!r}")
    keys = keys_of(kind)
    check_keys(table, keys, where)
    missing = [name for name, key in keys.items() if name not in table and key.default is MISSING]
    if missing:
        raise ValueError(f"{where} needs {', '.join(missing)}")
    return kind(**{name: _read(keys[name].hint, value, f"{name} of {where}") for name, value in table.items()})


def _read(hint: Any, value: Any, where: str) -> Any:
    """Return a value that was checked: a table as its dataclass, a list as a tuple."""
    check_type(hint, value, where)
    part = next((kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and is_dataclass(kind)), None)
    if part is None or (value is None and part is not hint):
        return _frozen(value)
    if get_origin(hint) is tuple:
        return tuple(read_options(part, item, where) for item in value)
    return read_options(part, value, where)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def check_keys(
    given: Iterable[str], known: Collection[str], where: str, *, word: str = "key", error: type[Exception] = ValueError
) -> None:
    """Raise `error` if a key is unknown, and name the known keys that are most like it.

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
    """Raise TypeError if a value does not match an annotation, ValueError if it is not a choice of a Literal."""
    if matches(value, hint):
        return
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if choices := [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]:
        choices += [None] if type(None) in kinds else []
        raise ValueError(f"{where} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    raise TypeError(f"{where} must be {_words(hint)}, got {value!r}")


def matches(value: Any, hint: Any) -> bool:
    """Return whether a plain value has a type. An int is a float too, a bool is neither, a list may stand for a tuple.

    Scalars, None, Literal, unions, Sequence, tuple, Mapping and Annotated are checked; others match any value.

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
    if origin in (Sequence, tuple, Mapping):
        items = _items(value, hint)
        return items is not None and all(matches(item, kind) for _, item, kind in items)
    if hint in (int, float) and isinstance(value, bool):
        return False
    kinds: dict[Any, Any] = {int: int, float: (int, float), bool: bool, str: str, type(None): type(None)}
    return isinstance(value, kinds.get(hint, object))


def _items(value: Any, hint: Any) -> list[tuple[str, Any, Any]] | None:
    """Return (suffix of the name, item, its annotation) for all items of a container, or None if it is another kind."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Mapping and isinstance(value, Mapping):
        return [("", key, inner[0]) for key in value] + [(f".{key}", item, inner[1]) for key, item in value.items()]
    if origin is Mapping or not isinstance(value, list | tuple):
        return None
    hints = inner if origin is tuple and inner[1:] != (...,) else inner[:1] * len(value)
    return [("", *pair) for pair in zip(value, hints, strict=True)] if len(hints) == len(value) else None


def check_limits(options: Any, *, prefix: str = "") -> None:
    """Raise if a number in a dataclass is not in its `Range`, a value no choice of its Literal, or an int or bool none.

    A number that is None is not checked. The name of the field in the message comes after `prefix`.

    Example:
        >>> @dataclass
        ... class Options:
        ...     drop_rate: Fraction
        >>> check_limits(Options(1.5))
        Traceback (most recent call last):
        ...
        ValueError: drop_rate must be at least 0 and below 1, got 1.5
    """
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        _check_limit(hint, getattr(options, name), prefix + name)


def _check_limit(hint: Any, value: Any, name: str, or_none: str = "") -> None:
    origin, inner = get_origin(hint), get_args(hint)
    base = inner[0] if origin is Annotated else hint
    if bool in (hint, *inner) or (base is int and value is not None) or (base is float and isinstance(value, bool)):
        check_type(hint, value, name)
    if origin is Annotated and value is not None:
        for limit in inner[1:]:
            if isinstance(limit, Range) and value not in limit:
                raise ValueError(f"{name} must be {limit}{or_none}, got {value}")
    elif origin in (Union, UnionType):
        for kind in inner:
            if matches(value, kind):
                _check_limit(kind, value, name, ", or None" if type(None) in inner else "")
    elif origin is Literal:
        check_choice(name, value, inner)
    elif origin in (Sequence, tuple, Mapping):
        for suffix, item, kind in _items(value, hint) or ():
            _check_limit(kind, item, name + suffix)


def to_table(value: Any) -> Any:
    """Return nested plain values: dataclasses and mappings as dicts, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_table(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_table(item) for key, item in value.items()}
    return [to_table(item) for item in value] if isinstance(value, list | tuple) else value


def check_finite_table(table: Any, where: str = "") -> None:
    """Raise ValueError if a nested table, whose dotted keys are `where`, holds NaN or infinity: JSON has neither."""
    if isinstance(table, float) and not math.isfinite(table):
        raise ValueError(f"{where} must be a finite number, as checkpoints hold no others, got {table}")
    if isinstance(table, Mapping | list | tuple):
        for key, item in table.items() if isinstance(table, Mapping) else enumerate(table):
            check_finite_table(item, f"{where}.{key}" if where else str(key))


def _words(hint: Any) -> str:
    """Return an annotation as a person writes it: `int | None`, `Sequence[float]`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_words(inner[0])} ({', '.join(map(str, inner[1:]))})"
    if origin in (Sequence, tuple, Mapping):
        return f"{origin.__name__}[{', '.join('...' if kind is ... else _words(kind) for kind in inner)}]"
    if origin in (Union, UnionType):
        return " | ".join("None" if kind is type(None) else _words(kind) for kind in inner)
    return inspect.formatannotation(hint).replace("collections.abc.", "").replace("typing.", "")
