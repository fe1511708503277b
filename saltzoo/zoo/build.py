"""Build a registered model from its options, which are checked first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, is_dataclass
from functools import partial
from typing import Any

from .._checks import check_counts
from .._config import Count, check_keys, check_type, keys_of, matches, to_table
from ..contracts import ModelConfig
from ..models import Segmenter
from .spec import ModelSpec

_LOADING = ("pretrained_encoder", "cache_dir")
"""Arguments of a builder that say where first weights come from. They are not part of the model."""


def build_model(spec: ModelSpec, asked: Mapping[str, Any], **loading: Any) -> Segmenter:
    """Build a model without weights, or with those of its encoder.

    Args:
        spec: the model.
        asked: options that replace those of the spec and the builder's defaults. None stands for the default unless
            the builder's annotation allows None.
        **loading: `pretrained_encoder` and `cache_dir`, for builders that take them.

    Raises:
        ValueError: for an option's value that is not possible, or `pretrained_encoder` for a model without one.
        TypeError: for an option that the builder does not have, or a value of another type.
        OSError: if the encoder's weights cannot be loaded.
    """
    builder = spec.load_builder()
    keys = {name: key for name, key in keys_of(builder).items() if name not in _LOADING}
    args = {
        # All defaults are saved, so that a checkpoint outlives a change of them.
        **{name: key.default for name, key in keys.items() if key.default is not MISSING},
        "in_chans": 1,
        "num_classes": 1,
        **spec.options,
        **{name: value for name, value in asked.items() if value is not None or allows_none(keys, name)},
    }
    check_keys(args, keys, f"model {spec.name!r}", word="option", error=TypeError)
    for name, value in args.items():
        check_type(keys[name].hint, value, f"option {name!r} of model {spec.name!r}")
    build = _builder_of(spec.name, builder, args)
    taken = inspect.signature(build).parameters
    if loading.get("pretrained_encoder", False) is not False and "pretrained_encoder" not in taken:
        raise ValueError(f"{spec.name!r} has no pretrained encoder: drop pretrained_encoder=True")
    model = build(**{name: value for name, value in loading.items() if name in taken})
    model.config = ModelConfig(spec.name, to_table(args))
    return model


def _builder_of(name: str, builder: Callable[..., Any], args: Mapping[str, Any]) -> Callable[..., Segmenter]:
    """Return `build` of a dataclass of options, or a user's function with its options filled in."""
    if is_dataclass(builder):
        options: Any = builder(**args)
        return options.build
    for key in ("in_chans", "num_classes"):
        check_type(Count, args[key], f"option {key!r} of model {name!r}")  # the function may have no annotations
    check_counts(in_chans=args["in_chans"], num_classes=args["num_classes"])
    return partial(builder, **args)


def allows_none(keys: Mapping[str, Any], name: str) -> bool:
    """Return whether None is a value of an option, and not only a word for its default."""
    return name in keys and keys[name].hint is not Any and matches(None, keys[name].hint)
