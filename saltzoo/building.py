"""build_model: a registered model from its options, checked before anything is built."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Any, get_type_hints

from .annotations import fits
from .models import ModelConfig, Segmenter
from .registry import find_model

_HOW = ("pretrained_encoder", "cache_dir")
"""Arguments of a builder that say where first weights come from, and are no part of the model."""


def build_model(name: str, asked: Mapping[str, Any], **loading: Any) -> Segmenter:
    """A model without weights, or with those of its encoder.

    Args:
        name: in the registry.
        asked: options; the others are those of the name, then the builder's own. None is the default where the
            builder's annotations do not say that it is a value.
        **loading: `pretrained_encoder` and `cache_dir`, for a builder that takes them.

    Raises:
        ValueError: for an unknown name, or a value that makes no sense.
        TypeError: for an option that the builder has not, or a value of another type.
        OSError: if the encoder's weights can't be had.
    """
    spec = find_model(name)
    builder = spec.load_builder()
    hints = _hints(builder)
    given = {key: value for key, value in asked.items() if value is not None or fits(None, hints.get(key, int))}
    args = {**_defaults(builder), "in_chans": 1, "num_classes": 1, **spec.options, **given}
    _check_options(name, builder, args)
    for key in ("in_chans", "num_classes"):
        if not isinstance(args[key], int) or args[key] < 1:
            raise ValueError(f"{key} must be a whole number of at least 1, got {args[key]!r}")
    _check_types(name, builder, args)
    build: Callable[..., Any] = partial(builder, **args)
    if is_dataclass(builder):
        options: Any = build()  # checks its values, before anything is built
        build = options.build
    how = {key: value for key, value in loading.items() if key in inspect.signature(build).parameters}
    if loading.get("pretrained_encoder") and "pretrained_encoder" not in how:
        raise ValueError(f"{name!r} has no pretrained encoder: drop pretrained_encoder=True")
    model = build(**how)
    model.config = ModelConfig(name, {key: plain(value) for key, value in args.items()})
    return model


def _defaults(builder: Callable[..., Any]) -> dict[str, Any]:
    """The builder's own values, so that a checkpoint holds all of them and outlives a change of default."""
    parameters = inspect.signature(builder).parameters.values()
    values = {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in _HOW}
    if is_dataclass(builder):
        values |= {f.name: f.default_factory() for f in fields(builder) if f.default_factory is not MISSING}
    return values


def _check_options(name: str, builder: Callable[..., Any], args: Mapping[str, Any]) -> None:
    known = [key for key in inspect.signature(builder).parameters if key not in _HOW]
    for key in args:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(known)}"
            raise TypeError(f"model {name!r} has no option {key!r}: {hint}")


def _check_types(name: str, builder: Callable[..., Any], args: Mapping[str, Any]) -> None:
    """Refuses what the builder's annotations don't say: a word is no number, and "no" is not False."""
    hints = _hints(builder)
    for key, value in args.items():
        if key in hints and not fits(value, hints[key]):
            kind = inspect.formatannotation(hints[key]).replace("collections.abc.", "")
            raise TypeError(f"option {key!r} of model {name!r} must be {kind}, got {value!r}")


def _hints(builder: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(builder)
    except (NameError, TypeError):  # a builder of the user's own may be annotated with what is not imported
        return {}


def plain(value: Any) -> Any:
    """As JSON has it: tuples are lists."""
    return list(value) if isinstance(value, tuple) else value
