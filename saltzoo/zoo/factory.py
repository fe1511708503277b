"""create_model: from a name or a source to a model, with or without weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..models import Segmenter
from .build import build_model
from .restore import leave_out_heads, restore_model
from .sources import load_checkpoint, parse_source
from .spec import ModelSpec


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    pretrained_encoder: bool | str | Path = False,
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
        pretrained_encoder: first weights of the encoder: True for timm's ImageNet weights, from the Hub or its cache;
            the path of a state dict with timm's keys (".safetensors", or ".pth", ".pt", ".bin", read as tensors only);
            or "hf-hub:ORG/NAME".
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
    source = parse_source(name, pretrained=pretrained)
    if isinstance(source, ModelSpec):
        asked = {"in_chans": in_chans, "num_classes": num_classes, **options}
        model = build_model(source, asked, pretrained_encoder=_encoder_weights(pretrained_encoder), cache_dir=cache_dir)
    elif pretrained_encoder:
        raise ValueError(f"{name!r} brings the weights of the whole model: drop pretrained_encoder=True")
    else:
        checkpoint = load_checkpoint(source, cache_dir=cache_dir)
        model = restore_model(checkpoint, options, in_chans=in_chans, num_classes=num_classes)
    return leave_out_heads(model) if mask_only else model


def _encoder_weights(given: bool | str | Path) -> bool | str | Mapping[str, Tensor]:
    """Read a file of weights; leave True, False and names on the Hub as they are."""
    if isinstance(given, bool) or (isinstance(given, str) and given.startswith("hf-hub:")):
        return given
    from ..convert.state_dict import read_state_dict

    return read_state_dict(given)
