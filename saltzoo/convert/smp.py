"""from_smp: convert a Unet of segmentation_models_pytorch (SMP)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._torch import same_results, unwrapped
from ..checkpoints.state_dict import without_prefixes
from ..checkpoints.tensors import check_plain, tensors_of
from ..models import Segmenter
from ..zoo.differences import modules_of, other_modules
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

_CONVERTED = (
    *("encoder_name", "encoder_weights", "in_channels", "classes"),
    *("decoder_channels", "decoder_attention_type", "decoder_interpolation"),
)
"""Options of an SMP Unet that become options here, and that which names first weights."""

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
        A model in training mode, on the CPU, with copies of the weights in their dtypes and the momentum of the norms.
        Its preprocess has the statistics of seismic tiles: set `model.preprocess` if the weights were trained with
        others.

    Raises:
        TypeError: if `model` is neither a module with a config nor a state dict given with one.
        ValueError: if it is not a Unet, has options without a counterpart here, was changed since it was built (other
            layers or settings, a hook, a `forward` of its own), or has no values ("meta").
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
    if isinstance(model, nn.Module):
        _copy_momentum(model, ours)
        _check_same(model, given, ours)
    return ours


def _copy_momentum(model: nn.Module, ours: Segmenter) -> None:
    """Give the batch norms the momentum of theirs, which no weight and no option holds."""
    modules = dict(ours.named_modules())
    for name, module in modules_of(model).items():
        norm = modules.get(_rename(f"{name}.weight").rpartition(".")[0])
        if isinstance(module, _BatchNorm) and isinstance(norm, _BatchNorm):
            norm.momentum = module.momentum


def _check_same(model: nn.Module, config: Mapping[str, Any], ours: Segmenter) -> None:
    """Raise ValueError if a Unet was changed after it was built, or its results are not those of the converted model.

    It is compared with another of its class and config, where this can be built.
    """
    options = {key: value for key, value in config.items() if not key.startswith("_")}
    changed: list[str] = []
    with suppress(Exception), torch.device("meta"), torch.random.fork_rng(devices=[]):  # of a class with other options
        changed = list(other_modules(model, type(model)(**{**options, "encoder_weights": None}), dropout=True))
    if changed or same_results(model, ours, channels=ours.in_chans, dtype=torch.float64) is False:
        what = "; ".join(changed[:3]) or "its results differ, as a hook or a replaced forward makes them"
        raise ValueError(
            f"this {type(model).__name__} was changed after it was built, and has no counterpart here: {what}. Undo "
            f"the change, or convert its state dict and config and change the converted model"
        )


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
    for key, value in config.items():
        if key not in (*_SUPPORTED, *_CONVERTED) and not key.startswith("_") and value is not None:
            raise ValueError(f"an SMP Unet with {key}={value!r} has no counterpart here: build it without this option")
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
