"""create_model: from a name or a source to a model, with or without weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from .._checks import check_flags
from ..checkpoints.ensemble import EnsembleCheckpoint
from ..checkpoints.state_dict import read_state_dict
from ..models import Segmenter
from .build import build_model
from .ensemble import restore_ensemble
from .restore import leave_out_heads, restore_model
from .sources import HUB, load_checkpoint, parse_source
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
    """Build a model by name, or from a checkpoint.

    Args:
        name: model of `list_models()`, with `pretrained=True` also with a tag of weights
            ("unet_resnet34_scse.tgs"); or a checkpoint: "local-dir:PATH", "hf-hub:org/name" or
            "hf-hub:org/name@revision".
        pretrained: load the published weights of the model: from the package, else from the cache of the Hugging
            Face Hub, else from the Hub. The log "saltzoo" says which, at level INFO.
        pretrained_encoder: first weights of the encoder: True for timm's ImageNet weights, from the Hub or its cache;
            the path of a state dict with timm's keys (".safetensors", or ".pth", ".pt", ".bin", read with
            weights_only=True); or "hf-hub:ORG/NAME".
        in_chans: channels of the image. None: 1, or those of the checkpoint. For another number than the
            checkpoint's, first filters are summed or repeated, so that a gray image in all channels gives the same
            logits as before.
        num_classes: logits per pixel. None: 1, or those of the checkpoint. For another number than the checkpoint's,
            the layers that give the logits start untrained, and a warning in the log names them.
        mask_only: whether to leave out heads that only training needs (deep supervision, auxiliary head, a classifier
            that the mask does not depend on), so that the model returns logits alone.
        cache_dir: folder for downloads. None: that of the Hugging Face client (see HF_HOME). A cached file that
            cannot be read is fetched again. Hashes are compared after a download only, since hashing takes time at
            every start: `hf cache verify ORG/NAME` compares them at any time.
        **options: options of the model's builder, such as `encoder` and `attention` of "unet". None means the
            default, unless None is a value of the option.

    Returns:
        A model in evaluation mode if it comes with weights of the whole model (`pretrained=True`, "local-dir:" or
        "hf-hub:"): call `.train()` before you train it further. Without them a model in training mode, as torch makes
        them. `saltzoo.predict` takes a model in any mode. A folder or repository of an ensemble gives a
        `saltzoo.Ensemble`, to whose members in_chans, num_classes and mask_only are passed.

    Raises:
        ValueError: for an unknown name, an impossible value, or weights that do not fit. Except for in_chans and
            num_classes, options must be as they were saved.
        TypeError: for an option that the builder does not have, or a value of another type: a word such as "no" is
            neither True nor False.
        OSError: if weights are missing or cannot be reached.

    Example:
        >>> import torch
        >>> model = create_model("unet", encoder="resnet18", attention="scse", in_chans=3)
        >>> model(torch.randn(1, 3, 101, 101)).shape
        torch.Size([1, 1, 101, 101])
    """
    check_flags(pretrained=pretrained, mask_only=mask_only)
    _check_encoder_weights(pretrained_encoder)
    source = parse_source(name, pretrained=pretrained)
    if isinstance(source, ModelSpec):
        asked = {"in_chans": in_chans, "num_classes": num_classes, **options}
        model = build_model(source, asked, pretrained_encoder=_encoder_weights(pretrained_encoder), cache_dir=cache_dir)
    elif pretrained_encoder is not False:
        raise ValueError(f"{name!r} has weights for the whole model: drop pretrained_encoder=True")
    else:
        checkpoint = load_checkpoint(source, cache_dir=cache_dir)
        if isinstance(checkpoint, EnsembleCheckpoint):
            _check_no_options(checkpoint, options)
            ensemble = restore_ensemble(checkpoint, in_chans=in_chans, num_classes=num_classes, mask_only=mask_only)
            return cast(Segmenter, ensemble)  # declared as what all other names give
        model = restore_model(checkpoint, options, in_chans=in_chans, num_classes=num_classes)
    return leave_out_heads(model) if mask_only else model


def _check_encoder_weights(given: object) -> None:
    if not isinstance(given, bool | str | Path) or given == "":
        raise TypeError(
            f'pretrained_encoder must be True or False, the path of a file, or "hf-hub:ORG/NAME", got {given!r}'
        )


def _check_no_options(checkpoint: EnsembleCheckpoint, options: Mapping[str, Any]) -> None:
    if given := [key for key, value in options.items() if value is not None]:
        raise TypeError(
            f"{checkpoint.source} is an ensemble, which has no option {given[0]!r}: its members are as they were "
            f"saved; only in_chans, num_classes and mask_only can be given, and hold for every member"
        )


def _encoder_weights(given: bool | str | Path) -> bool | str | Mapping[str, Tensor]:
    """Read a file of weights; leave True, False and names on the Hub as they are."""
    if isinstance(given, bool) or (isinstance(given, str) and given.startswith(HUB)):
        return given
    return read_state_dict(given)
