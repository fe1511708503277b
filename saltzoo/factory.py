"""create_model: from a name or a source to a model, with or without weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from . import __version__
from .building import build_model, plain
from .checkpoint import Checkpoint, is_newer, newer_explained
from .fit import Adapted, Change, adapt_preprocess, adapt_tensors, load_strictly
from .models import Segmenter
from .registry import find_model
from .sources import SCHEMES, load_weights

_log = logging.getLogger("saltzoo")


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
        pretrained: load the published weights of that name: those that the package holds, else those in the cache of
            the Hugging Face Hub, else from the Hub. The log "saltzoo" says which, at level INFO.
        pretrained_encoder: load timm's ImageNet weights into the encoder.
        in_chans: channels of the image. None: 1, or what the checkpoint says. If that is another number, first filters
            are summed or repeated, so that a gray image in all channels gives what it gave.
        num_classes: logits for each pixel. None: 1, or what the checkpoint says. If that is another number, the
            layers that give the logits start anew; a warning in the log names them.
        mask_only: leave out what only training needs (deep supervision, auxiliary head, a classifier beside the
            mask), so that the model returns logits alone.
        cache_dir: where downloads are kept; None for the Hugging Face client's own place (see HF_HOME). A file there
            that can't be read is fetched once more. Hashes are compared after a download only, as it would cost time
            at every start: `hf cache verify ORG/NAME` compares them whenever you like.
        **options: options of the model's builder, such as `encoder` and `attention` of "unet". None is the default
            where it is not a value of its own.

    Returns:
        A model in training mode, as torch makes them; `saltzoo.predict` takes it as it is.

    Raises:
        ValueError: for an unknown name, a value that makes no sense, or weights that do not fit: any other option
            than these two must be as it was saved.
        TypeError: for an option that the builder has not, or a value of another type.
        OSError: if weights are not there or can't be reached.

    Example:
        >>> import torch
        >>> model = create_model("unet", encoder="resnet18", attention="scse", in_chans=3)
        >>> model(torch.randn(1, 3, 101, 101)).shape
        torch.Size([1, 1, 101, 101])
    """
    model_name, _, tag = name.partition(".")
    has_weights = pretrained or name.startswith(SCHEMES)
    if has_weights and pretrained_encoder:
        raise ValueError(f"{name!r} brings the weights of the whole model: drop pretrained_encoder=True")
    if tag and not has_weights:
        find_model(model_name)
        raise ValueError(f"{name!r} names weights: say pretrained=True, or {model_name!r} for a model without")
    if not has_weights:
        asked = {"in_chans": in_chans, "num_classes": num_classes, **options}
        model = build_model(name, asked, pretrained_encoder=pretrained_encoder, cache_dir=cache_dir)
    else:
        checkpoint = load_weights(name, cache_dir=cache_dir)
        _refuse_changes(checkpoint.source, checkpoint.model_args, options)
        with newer_explained(checkpoint.config, checkpoint.source):
            model = _restore(checkpoint, in_chans, num_classes)
        _warn_if_newer(checkpoint)
    return _mask_only(model) if mask_only else model


def _mask_only(model: Segmenter) -> Segmenter:
    if not hasattr(model, "mask_only"):
        raise ValueError(f"a {type(model).__name__} has no heads to leave out, as a Segmenter has: drop mask_only=True")
    return model.mask_only()


def _restore(checkpoint: Checkpoint, in_chans: int | None, num_classes: int | None) -> Segmenter:
    """The model of a checkpoint with its weights, adapted if other channels or classes are asked for."""
    saved = checkpoint.model_args
    changes = {
        key: Change(saved.get(key, 1), saved.get(key, 1) if asked is None else asked)
        for key, asked in (("in_chans", in_chans), ("num_classes", num_classes))
    }
    channels = changes["in_chans"]
    if len(checkpoint.preprocess.mean) != channels.saved:
        raise ValueError(
            f"the preprocess of {checkpoint.source} is for {len(checkpoint.preprocess.mean)} channels and its model "
            f"has {channels.saved}: save the checkpoint again"
        )
    args = {**saved, **{key: change.asked for key, change in changes.items()}}
    saved_mask_only = args.pop("mask_only", False)
    model = build_model(checkpoint.architecture, args)
    if saved_mask_only:
        model = _mask_only(model)
    adapted = adapt_tensors(checkpoint.tensors, model.state_dict(), **changes)
    changed = {key: change for key, change in changes.items() if change.saved != change.asked}
    load_strictly(
        model,
        adapted.tensors,
        what=f"the weights of {checkpoint.source} and {checkpoint.architecture!r}",
        hint=_hint(checkpoint, changed),
    )
    model.preprocess = adapt_preprocess(checkpoint.preprocess, channels.asked)
    if changed:
        _log.warning("%s", _what_was_adapted(checkpoint, adapted, changed))
    return model


def _refuse_changes(source: str, saved: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key, value in asked.items():
        if value is None:
            continue
        if key not in saved:
            raise TypeError(
                f"the weights of {source} are of a model without an option {key!r}: it has {', '.join(saved)}"
            )
        if plain(value) != saved[key]:
            raise ValueError(
                f"the weights of {source} are of a model with {key}={saved[key]!r}, not {value!r}: "
                f"drop {key}, or build the model without weights"
            )


def _hint(checkpoint: Checkpoint, changed: Mapping[str, Change]) -> str:
    if not changed:
        return f"They were saved by saltzoo {checkpoint.config.get('saltzoo_version', 'of an unknown version')}"
    numbers = " and ".join(f"{key}={change.saved}" for key, change in changed.items())
    return (
        f"They were saved with {numbers}, and only first filters and what gives the classes can be adapted: drop "
        f"{' and '.join(changed)}, or build the model without weights"
    )


def _what_was_adapted(checkpoint: Checkpoint, adapted: Adapted, changed: Mapping[str, Change]) -> str:
    numbers = ", ".join(f"{key}={change.asked} (saved with {change.saved})" for key, change in changed.items())
    done = []
    if adapted.filters:
        done.append(f"first filters are summed or repeated over channels: {', '.join(adapted.filters)}")
    if adapted.anew:
        done.append(f"these start anew and are to be trained: {', '.join(adapted.anew)}")
    return f"{checkpoint.source}, made to fit {numbers}: {'; '.join(done) or 'all weights are as they were'}"


def _warn_if_newer(checkpoint: Checkpoint) -> None:
    if is_newer(checkpoint.config):
        _log.warning(
            "%s was saved by saltzoo %s, which is newer than this %s: if it does not do what it should, upgrade",
            checkpoint.source,
            checkpoint.config["saltzoo_version"],
            __version__,
        )
