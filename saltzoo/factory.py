"""create_model: from a name or a source to a model, with or without weights."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import nn

from .hub import Checkpoint, load_checkpoint
from .models import ModelConfig, Segmenter
from .registry import find_model, find_weights

_SOURCES = ("local-dir:", "hf-hub:")


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    pretrained_encoder: bool = False,
    in_chans: int | None = None,
    num_classes: int | None = None,
    mask_only: bool = False,
    cache_dir: str | None = None,
    **options: Any,
) -> Segmenter:
    """Builds a model by name, or from a checkpoint.

    Args:
        name: a name of `list_models()`; with `pretrained=True` a tag may follow ("unet_resnet34_scse.tgs");
            or a source of weights: "local-dir:PATH", "hf-hub:org/name", "hf-hub:org/name@revision".
        pretrained: load the published weights of that name.
        pretrained_encoder: load timm's ImageNet weights into the encoder.
        in_chans: channels of the image. None: 1, or what the checkpoint says.
        num_classes: logits for each pixel. None: 1, or what the checkpoint says.
        mask_only: leave out what only training needs (deep supervision, auxiliary head, a classifier beside the
            mask), so that the model returns logits alone.
        cache_dir: where downloads are kept; None for the Hugging Face client's own place.
        **options: options of the model's builder, such as `encoder` and `attention` of "unet". None is the default
            where it is not a value of its own.

    Returns:
        A model in training mode, as torch makes them; `saltzoo.predict` takes it as it is.

    Raises:
        ValueError: for an unknown name, a value that makes no sense, or weights that do not fit.
        TypeError: for an option that the builder has not, or a value of another type.
        OSError: if weights are not there or can't be reached.

    Example:
        >>> import torch
        >>> model = create_model("unet", encoder="resnet18", attention="scse", in_chans=3)
        >>> model(torch.randn(1, 3, 101, 101)).shape
        torch.Size([1, 1, 101, 101])
    """
    asked = {"in_chans": in_chans, "num_classes": num_classes, **options}
    source = _source_of(name, pretrained)
    if source is None:
        hints = _hints(find_model(name).load_builder())
        given = {key: value for key, value in asked.items() if value is not None or _fits(None, hints.get(key, int))}
        model = _build(name, given, pretrained_encoder=pretrained_encoder, cache_dir=cache_dir)
        return _mask_only(model) if mask_only else model
    if pretrained_encoder:
        raise ValueError(f"{name!r} brings the weights of the whole model: drop pretrained_encoder=True")
    checkpoint = load_checkpoint(source, cache_dir=cache_dir)
    if pretrained and checkpoint.architecture != name.partition(".")[0]:
        raise ValueError(
            f"{source} holds a {checkpoint.architecture!r}, not the weights of {name!r}: correct its catalog row"
        )
    _refuse_changes(source, checkpoint.model_args, asked)
    args = dict(checkpoint.model_args)
    saved_mask_only = args.pop("mask_only", False)
    model = _build(checkpoint.architecture, args)
    if saved_mask_only:
        model = _mask_only(model)
    _load(model, checkpoint, source)
    return _mask_only(model) if mask_only else model


def _source_of(name: str, pretrained: bool) -> str | None:
    """Where the weights of `name` are; None if none are asked for."""
    if name.startswith(_SOURCES):
        return name
    if pretrained:
        weights = find_weights(name)
        return f"hf-hub:{weights.repo_id}@{weights.revision}"
    model, _, tag = name.partition(".")
    if tag:
        find_model(model)
        raise ValueError(f"{name!r} names weights: say pretrained=True, or {model!r} for a model without")
    return None


def _build(name: str, given: Mapping[str, Any], **loading: Any) -> Segmenter:
    spec = find_model(name)
    builder = spec.load_builder()
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
    model.config = ModelConfig(name, {key: _plain(value) for key, value in args.items()})
    return model


def _mask_only(model: Segmenter) -> Segmenter:
    if not hasattr(model, "mask_only"):
        raise ValueError(f"a {type(model).__name__} has no heads to leave out, as a Segmenter has: drop mask_only=True")
    return model.mask_only()


_HOW = ("pretrained_encoder", "cache_dir")
"""Arguments of a builder that say where first weights come from, and are no part of the model."""


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
        if key in hints and not _fits(value, hints[key]):
            kind = inspect.formatannotation(hints[key]).replace("collections.abc.", "")
            raise TypeError(f"option {key!r} of model {name!r} must be {kind}, got {value!r}")


def _hints(builder: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(builder)
    except (NameError, TypeError):  # a builder of the user's own may be annotated with what is not imported
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is what an annotation says; of annotations that are not plain, anything is."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, kind) for kind in get_args(hint))
    if get_origin(hint) is Sequence:
        return isinstance(value, list | tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    kinds: dict[Any, Any] = {int: int, float: (int, float), bool: bool, str: str, type(None): type(None)}
    return isinstance(value, kinds.get(hint, object))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _refuse_changes(source: str, saved: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key, value in asked.items():
        if value is not None and _plain(value) != saved.get(key):
            raise ValueError(
                f"the weights of {source} are of a model with {key}={saved.get(key)!r}, not {value!r}: "
                f"drop {key}, or build the model without weights"
            )


def _load(model: nn.Module, checkpoint: Checkpoint, source: str) -> None:
    in_chans = checkpoint.model_args.get("in_chans", 1)
    if len(checkpoint.preprocess.mean) != in_chans:
        raise ValueError(
            f"the preprocess of {source} is for {len(checkpoint.preprocess.mean)} channels and its model has "
            f"{in_chans}: save the checkpoint again"
        )
    own = model.state_dict()
    saved = checkpoint.tensors
    wrong = [f"{key} is missing" for key in own if key not in saved]
    wrong += [f"{key} is unknown" for key in saved if key not in own]
    wrong += [
        f"{key} is {tuple(saved[key].shape)}, the model's {tuple(own[key].shape)}"
        for key in own
        if key in saved and saved[key].shape != own[key].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"the weights of {source} do not fit {checkpoint.architecture!r}: {'; '.join(wrong[:5])}{more}. "
            f"They were saved by saltzoo {checkpoint.config.get('saltzoo_version', 'of an unknown version')}"
        )
    model.load_state_dict(saved, strict=True)
    model.preprocess = checkpoint.preprocess  # type: ignore[assignment]  # nn.Module types attributes as modules
