"""Build the model of a checkpoint with its weights, adapted to other channels or classes if these are asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .._config import to_table
from .._version import __version__
from ..checkpoints.adapt import Adapted, Change, adapt_preprocess, adapt_tensors, load_strictly
from ..checkpoints.folder import Checkpoint, is_newer, newer_explained
from ..models import Segmenter
from .build import build_model
from .registry import find_model

_log = logging.getLogger("saltzoo")


def restore_model(
    checkpoint: Checkpoint, options: Mapping[str, Any], *, in_chans: int | None, num_classes: int | None
) -> Segmenter:
    """Return the model of a checkpoint with its weights.

    Args:
        checkpoint: what was saved.
        options: other options that the caller asked for; they must be as they were saved.
        in_chans: channels of the image; None for those saved.
        num_classes: logits for each pixel; None for those saved.

    Raises:
        ValueError: if an option differs from what was saved, or the weights do not fit.
        TypeError: for an option that the saved model does not have.
    """
    _check_unchanged(checkpoint, options)
    with newer_explained(checkpoint.config, checkpoint.source):
        model = _restore(checkpoint, in_chans, num_classes)
    if is_newer(checkpoint.config):
        _log.warning(
            "%s was saved by saltzoo %s, which is newer than this %s: if it does not do what it should, upgrade",
            checkpoint.source,
            checkpoint.config["saltzoo_version"],
            __version__,
        )
    return model


def leave_out_heads(model: Segmenter) -> Segmenter:
    """Return the model without heads that only training needs.

    Raises:
        ValueError: if it is not a Segmenter, but a model of the user's own.
    """
    if not isinstance(model, Segmenter):
        raise ValueError(f"a {type(model).__name__} has no heads to leave out, as a Segmenter has: drop mask_only=True")
    return model.mask_only()


def _restore(checkpoint: Checkpoint, in_chans: int | None, num_classes: int | None) -> Segmenter:
    saved = checkpoint.model_args
    changes = {
        key: Change(saved.get(key, 1), saved.get(key, 1) if asked is None else asked)
        for key, asked in (("in_chans", in_chans), ("num_classes", num_classes))
    }
    channels = changes["in_chans"]
    if checkpoint.preprocess.in_chans != channels.saved:
        raise ValueError(
            f"the preprocess of {checkpoint.source} is for {checkpoint.preprocess.in_chans} channels and its model "
            f"has {channels.saved}: save the checkpoint again"
        )
    args = {**saved, **{key: change.asked for key, change in changes.items()}}
    model = build_model(find_model(checkpoint.architecture), args)
    if checkpoint.mask_only:
        model = leave_out_heads(model)
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


def _check_unchanged(checkpoint: Checkpoint, asked: Mapping[str, Any]) -> None:
    source, saved = checkpoint.source, checkpoint.model_args
    for key, value in asked.items():
        if value is None:
            continue
        if key not in saved:
            raise TypeError(
                f"the weights of {source} are of a model without an option {key!r}: it has {', '.join(saved)}"
            )
        if to_table(value) != saved[key]:
            raise ValueError(
                f"the weights of {source} are of a model with {key}={saved[key]!r}, not {value!r}: "
                f"drop {key}, or build the model without weights"
            )


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
    if adapted.anew:
        done.append(f"these layers start untrained: {', '.join(adapted.anew)}")
    return f"{checkpoint.source}, adapted to {numbers}: {'; '.join(done) or 'all weights are as they were'}"
