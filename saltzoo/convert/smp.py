"""from_smp: convert a Unet of segmentation_models_pytorch (SMP)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._torch import unwrapped
from ..checkpoints.state_dict import without_prefixes
from ..checkpoints.tensors import check_plain, tensors_of
from ..models import Segmenter
from ..zoo.factory import create_model

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
"""SMP encoders from torchvision, which have the same keys in timm."""

_SUPPORTED: dict[str, tuple[object, ...]] = {
    "encoder_depth": (5,),
    "decoder_use_norm": ("batchnorm", True, {"type": "batchnorm"}),
    "decoder_use_batchnorm": (True, None, "batchnorm"),  # name of the option before SMP 0.5
    "decoder_add_center_block": (False,),
    "activation": (None, "identity", nn.Identity),
    "aux_params": (None,),
}
"""Options of an SMP Unet and their values that have a counterpart here, all of which mean the same."""

_INTERPOLATIONS = ("nearest", "bilinear")

_BLOCK_KEYS = {
    "conv1.0": "conv1.conv",
    "conv1.1": "conv1.norm",
    "conv2.0": "conv2.conv",
    "conv2.1": "conv2.norm",
    **{
        f"{theirs}.attention.{layer}": f"{ours}.{name}"
        for theirs, ours in (("attention1", "concat_attention"), ("attention2", "attention"))
        for layer, name in (("cSE.1", "squeeze"), ("cSE.3", "excite"), ("sSE.0", "spatial"))
    },
}


def from_smp(model: nn.Module | Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> Segmenter:
    """Return the saltzoo model that computes the same logits as a `segmentation_models_pytorch.Unet`.

    With attention "scse", the attention follows the concatenation and each decoder block, with a reduction of 16, as
    in SMP. One set of weights is dropped: SMP builds an attention for the last block's concatenated map,
    `decoder.blocks.4.attention1`, and never uses it.

    Args:
        model: Unet, compiled or parallel ones too, or its state dict.
        config: for a state dict, the content of `Unet.config` or of the config.json that SMP's `save_pretrained`
            writes.

    Returns:
        A model in training mode, on the CPU, with copies of the weights in their dtypes. Its preprocess has the
        statistics of seismic tiles: set `model.preprocess` if the weights were trained with others.

    Raises:
        TypeError: if `model` is neither a module with a config nor a state dict given with one.
        ValueError: if it is not a Unet, has options without a counterpart here, or has no values ("meta").
    """
    if isinstance(model, nn.Module):
        model = unwrapped(model)
        given = config or getattr(model, "config", None)
        weights: Mapping[str, Tensor] = tensors_of(model)
    else:
        given, weights = config, without_prefixes(model) if isinstance(model, Mapping) else model
    if not isinstance(given, Mapping) or not isinstance(weights, Mapping):
        raise TypeError(
            f"from_smp takes a segmentation_models_pytorch.Unet, or its state dict and config; "
            f"{type(model).__name__} came without a config"
        )
    check_plain(weights, "this Unet cannot be converted")
    ours = create_model("unet", **_model_args(given))
    last = f"decoder.blocks.{len(given['decoder_channels']) - 1}.attention1."
    renamed = {_rename(key): value for key, value in weights.items() if not key.startswith(last)}
    own = ours.state_dict()
    if renamed.keys() != own.keys():
        odd = sorted(renamed.keys() ^ own.keys())
        raise ValueError(
            f"these weights are not those of an SMP Unet with this config: {len(odd)} keys differ, such as {odd[:3]}"
        )
    for key, value in renamed.items():
        if value.squeeze().shape != own[key].squeeze().shape:
            raise ValueError(
                f"these weights are not those of an SMP Unet with this config: {key} is {tuple(value.shape)} in "
                f"SMP and {tuple(own[key].shape)} here"
            )
    # SMP's channel branch is two 1x1 convolutions, ours two linear layers with the same numbers in the same order.
    # Assigned and not copied, since copying would turn float64 into float32.
    ours.load_state_dict({key: _copied(value, own[key]) for key, value in renamed.items()}, strict=True, assign=True)
    return ours


def _copied(value: Tensor, own: Tensor) -> Tensor:
    return value.detach().cpu().reshape(own.shape).clone(memory_format=torch.contiguous_format)


def _model_args(config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("_model_class", "Unet")
    if kind != "Unet" or "encoder_name" not in config or "decoder_channels" not in config:
        raise ValueError(f"only the config of a Unet can be converted, got one of {kind} with {sorted(config)}")
    for key, values in _SUPPORTED.items():
        given = config.get(key, values[0])
        given = given.lower() if key == "decoder_use_norm" and isinstance(given, str) else given  # as SMP does
        # True == 1, and SMP takes one for a batch norm and refuses the other.
        if not any(given == value and isinstance(given, bool) == isinstance(value, bool) for value in values):
            raise ValueError(
                f"an SMP Unet with {key}={config[key]!r} has no counterpart here: only {values[0]!r} can be converted"
            )
    interpolation = config.get("decoder_interpolation", "nearest")
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(
            f"an SMP Unet with decoder_interpolation={interpolation!r} has no counterpart here: "
            f"only {' and '.join(map(repr, _INTERPOLATIONS))} can be converted"
        )
    name = config["encoder_name"]
    encoder = name.removeprefix("tu-")
    if encoder == name and name not in _RESNETS:
        raise ValueError(f"encoder {name!r} differs from timm's: only {', '.join(_RESNETS)} and tu-* can be converted")
    attention = config.get("decoder_attention_type")
    if attention not in (None, "scse"):
        raise ValueError(f"SMP has no attention {attention!r}: expected None or 'scse'")
    attended = {"attention": attention, "attention_sites": ("concat", "decoder"), "attention_reduction": 16}
    return {
        "encoder": encoder,
        "in_chans": config.get("in_channels", 3),
        "num_classes": config.get("classes", 1),
        **(attended if attention else {}),
        "upsample": interpolation,
        "decoder_channels": tuple(config["decoder_channels"]),
    }


def _rename(key: str) -> str:
    """Translate an SMP key. A key without a counterpart is returned unchanged, and the caller finds it."""
    part, _, rest = key.partition(".")
    if part == "encoder":
        return f"encoder.backbone.{rest.removeprefix('model.')}"
    if part == "segmentation_head":
        return f"head.conv.{rest.removeprefix('0.')}"
    if part == "decoder" and rest.startswith("blocks."):
        index, _, inner = rest.removeprefix("blocks.").partition(".")
        layer, _, parameter = inner.rpartition(".")
        return f"decoder.blocks.{index}.{_BLOCK_KEYS.get(layer, layer)}.{parameter}"
    return key
