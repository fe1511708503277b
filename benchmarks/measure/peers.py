"""The network of another library that is most like one of the zoo."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import saltzoo
from saltzoo.benchmark.setting import OURS, Setting, build

PEERS = ("smp",)

_SAME = {"hypercolumn": False, "deep_supervision": False, "classifier": "none", "center": "none", "input_skip": False}
"""Options of a U-Net that SMP's has too: values that leave out what it lacks."""

_ATTENTION = {"none": None, "scse": "scse"}
_OWN_NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
"""Encoders that SMP names as timm does; others are timm's, with the prefix "tu-"."""


def has_peer(model: str) -> bool:
    """Return whether SMP has a U-Net with the encoder and the attention of a model."""
    options = _options(model)
    plain = options.get("decoder_block") == "concat" and all(options[key] == value for key, value in _SAME.items())
    return plain and options["attention"] in _ATTENTION and options["encoder"] != "plain"


def make(setting: Setting) -> nn.Module:
    """Return the network of a setting, with random weights; SMP's has scSE in its decoder alone."""
    if setting.library == OURS:
        return build(setting)
    import segmentation_models_pytorch as smp

    options = _options(setting.model)
    encoder = options["encoder"]
    return smp.Unet(
        encoder if encoder in _OWN_NAMES else f"tu-{encoder}",
        encoder_weights=None,
        in_channels=1,
        classes=1,
        decoder_attention_type=_ATTENTION[options["attention"]],
    )


def _options(model: str) -> dict[str, Any]:
    with torch.device("meta"):
        config = saltzoo.create_model(model).config
    return {} if config is None else config.model_args
