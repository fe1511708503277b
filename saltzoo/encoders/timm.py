"""timm's networks as encoders. The only file that imports timm."""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any

import timm
from torch import Tensor, nn

from ..features import FeatureSpec
from ..layers import build_attention


class TimmEncoder(nn.Module):
    """Any timm network that gives a pyramid of features, with attention between its stages.

    An attention module stands in the path: what it puts out is both the skip and the input of the next stage.
    The network itself is left as timm made it, so `backbone.*` are timm's own keys and its weights load.

    Args:
        name: a timm model name, for example "resnet34" or "convnext_tiny.fb_in22k".
        in_chans: channels of the image. timm adapts pretrained first filters to it.
        pretrained: load timm's weights (from the Hugging Face Hub or its cache).
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, set after every stage.
        attention_reduction: how far the attention's channel branch narrows.
        cache_dir: where timm keeps downloads; None for the client's default.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.

    Raises:
        ValueError: if timm has no such network, or it has no pyramid, or attention can't stand in its path.
        OSError: if its weights can't be had.

    Shape:
        N in_chans H W -> a list of maps N channels[i] H/reductions[i] W/reductions[i], finest first.
    """

    def __init__(
        self,
        name: str,
        *,
        in_chans: int = 1,
        pretrained: bool = False,
        attention: str = "none",
        attention_reduction: int = 2,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = _create_backbone(name, in_chans=in_chans, pretrained=pretrained, cache_dir=cache_dir)
        info = self.backbone.feature_info
        if getattr(self.backbone, "output_fmt", "NCHW") != "NCHW":
            raise ValueError(
                f"encoder {name!r} returns maps as {self.backbone.output_fmt.value}, which no decoder here reads: "
                f'use a convolutional network, such as "resnet34" or "convnext_tiny"'
            )
        try:
            self.spec = FeatureSpec(tuple(info.channels()), tuple(info.reduction()))
        except ValueError as error:
            raise ValueError(f"encoder {name!r} gives no pyramid that a decoder can climb: {error}") from error
        self.attentions = nn.ModuleList()
        if attention != "none":
            for stage, channels in zip(info.module_name(), self.spec.channels, strict=True):
                module = build_attention(attention, channels, reduction=attention_reduction)
                self._insert_after(stage, module, name)
                self.attentions.append(module)

    def _insert_after(self, stage: str, attention: nn.Module, name: str) -> None:
        """Makes the stage put out the attended map; timm spells a stage a.b as a_b where it unrolled a."""
        modules = dict(self.backbone.named_modules())
        found = modules.get(stage, modules.get(stage.replace(".", "_")))
        if found is None:
            raise ValueError(
                f"attention can't stand between the stages of encoder {name!r}: "
                f'use attention_sites=("decoder",), or another encoder such as "resnet34"'
            )
        # A partial and not a closure: copy.deepcopy (EMA, for one) then copies the attention along. In front of
        # timm's own hooks, where it collects features by them: they are to see the attended map.
        found.register_forward_hook(partial(_attend, attention), prepend=True)

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        return self.backbone(x)


def _attend(attention: nn.Module, stage: nn.Module, _args: Any, output: Any) -> Tensor:
    if not isinstance(output, Tensor):  # selecsls, for one, hands lists from stage to stage
        raise TypeError(
            f"attention can't stand after this encoder's {type(stage).__name__}, which puts out a "
            f'{type(output).__name__}: use attention_sites=("decoder",), or another encoder such as "resnet34"'
        )
    return attention(output)


def _create_backbone(name: str, *, in_chans: int, pretrained: bool, cache_dir: str | None) -> Any:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean one of {close}?" if close else "see timm.list_models() for all of them."
        raise ValueError(f"timm {timm.__version__} has no network {name!r}: {hint}")
    build = partial(timm.create_model, name, features_only=True, in_chans=in_chans)
    try:
        backbone = build()
    except Exception as error:
        raise ValueError(
            f"encoder {name!r} gives no pyramid of features ({error}): use a convolutional or hierarchical "
            f'network, such as "resnet34" or "convnext_tiny"'
        ) from error
    if not pretrained:
        return backbone
    try:
        return build(pretrained=True, cache_dir=cache_dir)
    except Exception as error:
        raise OSError(
            f"the ImageNet weights of encoder {name!r} can't be had ({type(error).__name__}: {error}). "
            f"They come from the Hugging Face Hub once and then from its cache: check the network, "
            f"HF_HUB_OFFLINE and cache_dir, or build the model with pretrained_encoder=False"
        ) from error


def input_statistics(backbone: Any, *, in_chans: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation, per channel, that a pretrained backbone expects of images in 0..1.

    With other than three channels timm sums or repeats the filters over colours, so each channel gets the
    colours' average.
    """
    config = backbone.pretrained_cfg if hasattr(backbone, "pretrained_cfg") else backbone.default_cfg
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if in_chans == len(mean):
        return mean, std
    return (sum(mean) / len(mean),) * in_chans, (sum(std) / len(std),) * in_chans
