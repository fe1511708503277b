"""change_num_classes: the same network for other classes."""

from __future__ import annotations

import logging

from .._checks import check_counts
from ..checkpoints.adapt import Change, adapt_tensors, load_strictly
from ..models import Segmenter
from .build import build_model
from .registry import find_model
from .restore import leave_out_heads

_log = logging.getLogger("saltzoo")


def change_num_classes(model: Segmenter, num_classes: int) -> Segmenter:
    """Return a copy of a model with another number of classes, whose other weights are the model's.

    The layers that give the classes start untrained; a logger line names them. timm's `reset_classifier` does the
    same in place. For a checkpoint, `create_model(NAME, pretrained=True, num_classes=...)` needs no second step.

    Args:
        model: made by `create_model`.
        num_classes: logits for each pixel of the new model.

    Returns:
        A model of the same options, on the same device, in the same dtype and mode. Its threshold and its smallest
        patch are those of a new model, 0.5 and 0. What is frozen in the model is frozen in it, except the untrained
        layers.

    Raises:
        TypeError: if the model is no Segmenter.
        ValueError: if it was not made by `create_model`, was changed since, or `num_classes` is below 1.

    Example:
        >>> import saltzoo, torch
        >>> salt = saltzoo.create_model("saltnet_s")
        >>> facies = saltzoo.change_num_classes(salt, 6)
        >>> facies(torch.zeros(2, 1, 101, 101)).shape
        torch.Size([2, 6, 101, 101])
    """
    if not isinstance(model, Segmenter):
        raise TypeError(
            f"model must be a Segmenter, got {type(model).__name__}: take the model inside a wrapper, or the members "
            "of an ensemble one by one"
        )
    check_counts(num_classes=num_classes)
    config = model.config
    if config is None:
        raise ValueError(
            "model must be made by create_model, got one wired by hand: give it a head for the new classes, or "
            "register its builder with register_model"
        )
    args = {**config.model_args, "num_classes": num_classes}
    new = build_model(find_model(config.architecture), args)
    if config.mask_only:
        new = leave_out_heads(new)
    _take_dtypes(model, new)
    saved = model.state_dict()
    same = Change(1, 1)
    classes = Change(config.model_args["num_classes"], num_classes)
    adapted = adapt_tensors(saved, new.state_dict(), in_chans=same, num_classes=classes)
    load_strictly(
        new,
        adapted.tensors,
        what="the weights of the model",
        hint="It was changed after create_model: change the classes first",
    )
    _copy_settings(model, new, untrained=adapted.untrained)
    _log.info("num_classes=%d: these layers start untrained: %s", num_classes, ", ".join(adapted.untrained) or "none")
    return new


def _take_dtypes(model: Segmenter, new: Segmenter) -> None:
    """Give the tensors of the new model the dtypes that they have in the model."""
    olds = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if len(list(model.modules())) != len(list(new.modules())) or not new.state_dict().keys() <= olds.keys():
        raise ValueError(
            "model has modules that create_model did not make. It was changed after create_model: change classes first"
        )
    for name, tensor in [*new.named_parameters(), *new.named_buffers()]:
        tensor.data = tensor.data.to(olds[name].dtype)


def _copy_settings(model: Segmenter, new: Segmenter, *, untrained: list[str]) -> None:
    """Give the new model what is no tensor: device, modes, frozen parameters, preprocess, size of tiles."""
    olds = dict(model.named_parameters())
    for name, parameter in new.named_parameters():
        parameter.data = parameter.data.to(olds[name])
        parameter.requires_grad_(olds[name].requires_grad or name in untrained)
    buffers = dict(model.named_buffers())
    for name, buffer in new.named_buffers():
        buffer.data = buffer.data.to(buffers[name])
    for old, part in zip(model.modules(), new.modules(), strict=True):
        part.training = old.training
    new.preprocess = model.preprocess
    new.tile_size = model.tile_size
    new.grad_checkpointing = model.grad_checkpointing
