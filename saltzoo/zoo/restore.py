"""Build the model of a checkpoint and load its weights, adapted to other channels or classes on request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._config import keys_of, to_table
from .._version import __version__
from ..checkpoints.adapt import Adapted, Change, adapt_preprocess, adapt_tensors, load_strictly
from ..checkpoints.folder import Checkpoint, is_newer, newer_explained
from ..models import Segmenter
from .build import allows_none, build_model
from .registry import find_model

_log = logging.getLogger("saltzoo")


def restore_model(
    checkpoint: Checkpoint, options: Mapping[str, Any], *, in_chans: int | None, num_classes: int | None
) -> Segmenter:
    """Build the model of a checkpoint and load its weights. The model is in evaluation mode.

    Args:
        checkpoint: content of a checkpoint.
        options: other options of `create_model`, which must be as they were saved.
        in_chans: channels of the image. None: as saved.
        num_classes: logits per pixel. None: as saved.

    Raises:
        ValueError: if an option differs from the saved one, or the weights do not fit.
        TypeError: for an option that the saved model does not have.
    """
    channels = _change(checkpoint, "in_chans", in_chans)
    classes = _change(checkpoint, "num_classes", num_classes)
    with newer_explained(checkpoint.config, checkpoint.source):
        _check_same_options(checkpoint, options)
        model = _build_as_saved(checkpoint, channels, classes)
        _load_weights(model, checkpoint, channels, classes)
    if is_newer(checkpoint.config):
        _log.warning(
            "%s was saved by saltzoo %s, which is newer than this %s: upgrade if the model does not work as described",
            checkpoint.source,
            checkpoint.config["saltzoo_version"],
            __version__,
        )
    model.threshold = float(checkpoint.config.get("threshold", 0.5))
    model.min_size = int(checkpoint.config.get("min_size", 0))
    return model.eval()


def leave_out_heads(model: Segmenter) -> Segmenter:
    """Return the model without heads that only training needs.

    Raises:
        ValueError: if it is not a Segmenter, but a model of a user.
    """
    if not isinstance(model, Segmenter):
        raise ValueError(f"a {type(model).__name__} has no heads to leave out, unlike a Segmenter: drop mask_only=True")
    return model.mask_only()


def _check_same_options(checkpoint: Checkpoint, asked: Mapping[str, Any]) -> None:
    source, saved = checkpoint.source, checkpoint.model_args
    keys = keys_of(find_model(checkpoint.architecture).load_builder())
    for key, value in asked.items():
        if value is None and not allows_none(keys, key):
            continue
        if key not in saved:
            raise TypeError(
                f"the weights of {source} belong to a model without option {key!r}: it has {', '.join(saved)}"
            )
        if to_table(value) != saved[key]:
            raise ValueError(
                f"the weights of {source} belong to a model with {key}={saved[key]!r}, not {value!r}: "
                f"drop {key}, or build the model without weights"
            )


def _change(checkpoint: Checkpoint, key: str, asked: int | None) -> Change:
    saved = checkpoint.model_args.get(key, 1)
    return Change(saved, saved if asked is None else asked)


def _build_as_saved(checkpoint: Checkpoint, channels: Change, classes: Change) -> Segmenter:
    args = {**checkpoint.model_args, "in_chans": channels.asked, "num_classes": classes.asked}
    model = build_model(find_model(checkpoint.architecture), args)
    return leave_out_heads(model) if checkpoint.mask_only else model


def _load_weights(model: Segmenter, checkpoint: Checkpoint, channels: Change, classes: Change) -> None:
    if checkpoint.preprocess.in_chans != channels.saved:
        raise ValueError(
            f"the preprocess of {checkpoint.source} is for {checkpoint.preprocess.in_chans} channels, but its model "
            f"has {channels.saved}: save the checkpoint again"
        )
    adapted = adapt_tensors(checkpoint.tensors, model.state_dict(), in_chans=channels, num_classes=classes)
    changed = {key: change for key, change in (("in_chans", channels), ("num_classes", classes)) if change}
    load_strictly(
        model,
        adapted.tensors,
        what=f"the weights of {checkpoint.source} and {checkpoint.architecture!r}",
        hint=_hint(checkpoint, changed),
    )
    preprocess = adapt_preprocess(checkpoint.preprocess, channels.asked)
    if isinstance(model, Segmenter) and model.preprocess.scalar:
        preprocess = replace(preprocess, scalar=True)  # checkpoints from before Preprocess.scalar do not say it
    model.preprocess = preprocess
    if changed:
        _log.warning("%s", _what_was_adapted(checkpoint, adapted, changed))


def _hint(checkpoint: Checkpoint, changed: Mapping[str, Change]) -> str:
    if not changed:
        return f"They were saved by saltzoo {checkpoint.config.get('saltzoo_version', 'of an unknown version')}"
    numbers = " and ".join(f"{key}={change.saved}" for key, change in changed.items())
    return (
        f"They were saved with {numbers}, and only the first filters and the layers that give the classes can be "
        f"adapted: drop {' and '.join(changed)}, or build the model without weights"
    )


def _what_was_adapted(checkpoint: Checkpoint, adapted: Adapted, changed: Mapping[str, Change]) -> str:
    numbers = ", ".join(f"{key}={change.asked} (saved with {change.saved})" for key, change in changed.items())
    done = []
    if adapted.filters:
        done.append(f"first filters are summed or repeated over channels: {', '.join(adapted.filters)}")
    if adapted.untrained:
        done.append(f"these layers start untrained: {', '.join(adapted.untrained)}")
    return f"{checkpoint.source}, adapted to {numbers}: {'; '.join(done) or 'all weights are as saved'}"
