"""timm networks as encoders."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._checks import check_choice, closest
from ...contracts import FeatureSpec
from ...layers import build_attention
from .plan import Plan, make_plan
from .stem import STEM_STRIDES
from .weights import PretrainedWeights, weights_of, weights_overlay


class TimmEncoder(nn.Module):
    """Any timm network that returns maps of several sizes, with attention between its stages.

    An attention layer is part of the path: its output is both the skip and the input of the next stage. The network
    itself is not changed, so the keys `backbone.*` are those of timm and its weights load.

    The plan for building a network comes from traces of a twin without weights. If a network needs images whose sides
    are multiples of a number, images are padded with zeros at the bottom and the right, and the maps are cropped. Of
    several maps with the same reduction the deepest is returned.

    Args:
        name: name of a timm model, such as "resnet34" or "convnext_tiny.fb_in22k".
        in_chans: channels of the image. timm adapts the first filters of pretrained weights.
        pretrained: True for timm's weights, from the Hugging Face Hub or its cache; "hf-hub:ORG/NAME" for those of
            another repository; or a state dict with the keys of `timm.create_model(name)`, where those of the
            classifier may be missing.
        attention: "none" or a name in `saltzoo.layers.ATTENTIONS`; placed after every stage.
        attention_reduction: factor by which the channel branch of the attention narrows; None for its default.
        stem_stride: factor by which the stem reduces the image: 1, 2 or 4; None keeps that of the network. In a ResNet
            2 removes the max-pool, and 1 also the stride of the first filters. Keys and weights stay the same.
        cache_dir: folder where timm keeps downloads; None for the default of the Hugging Face client.

    Attributes:
        spec: channels and reductions of the maps.
        multiple: number to a multiple of which the sides of an image are padded, 1 for no padding; None for a network
            made for one size of images.

    Raises:
        ValueError: if timm has no such network, it does not return maps of several sizes, attention can't be inserted,
            its stem can't have that stride, or `pretrained` is a string but no repository; from `forward`, if the
            network does not take images of their size, or is in training mode and does not take their number.
        TypeError: if `pretrained` is neither a bool, a string nor a state dict.
        OSError: if the weights cannot be loaded.

    Shape:
        N in_chans H W -> maps N channels[i] H/reductions[i] W/reductions[i], finest first. Most networks round sizes
        up; some round down, and those without padding in their first filters lose a few pixels more.

    Example:
        >>> encoder = TimmEncoder("test_resnet", attention="scse")
        >>> [tuple(feature.shape[1:]) for feature in encoder(torch.zeros(2, 1, 101, 101))]
        [(32, 51, 51), (32, 26, 26), (48, 13, 13), (192, 7, 7), (96, 4, 4)]
    """

    def __init__(
        self,
        name: str,
        *,
        in_chans: int = 1,
        pretrained: PretrainedWeights = False,
        attention: str = "none",
        attention_reduction: int | None = None,
        stem_stride: int | None = None,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self._plan = plan_network(name, in_chans, stem_stride)
        self.spec: FeatureSpec = self._plan.spec
        self.multiple: int | None = self._plan.multiple
        sites = self._plan.attention_sites() if attention != "none" else []
        self.attentions: nn.ModuleList = nn.ModuleList(
            build_attention(attention, site.channels, reduction=attention_reduction) for site in sites
        )
        self.backbone: Any = _build(self._plan, pretrained=pretrained, cache_dir=cache_dir)
        for site, module in zip(sites, self.attentions, strict=True):
            # A partial and not a closure, so that copy.deepcopy, as for an averaged model, also copies the attention.
            # Before timm's hooks: timm may collect the maps by hooks, which must see the output of the attention.
            hook = partial(_attend, module, site.channels_last)
            self.backbone.get_submodule(site.module).register_forward_hook(hook, prepend=True)

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        height, width = x.shape[-2:]
        multiple = self.multiple or 1
        if multiple > 1:
            x = F.pad(x, (0, -width % multiple, 0, -height % multiple))  # N in_chans H' W'
        maps = self._run(x, (height, width))
        features = [maps[index] for index in self._plan.maps]  # N c_i h_i w_i, or N h_i w_i c_i
        if self._plan.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]  # N c_i h_i w_i
        features = [_exportable(feature) for feature in features]
        if multiple > 1:
            sizes = [(-(-height // r), -(-width // r)) for r in self.spec.reductions]
            features = [feature[..., :h, :w] for feature, (h, w) in zip(features, sizes, strict=True)]
        return features

    def _run(self, x: Tensor, size: tuple[int, int]) -> list[Tensor]:
        if torch.compiler.is_compiling():
            return self.backbone(x)
        # Attention in timm can't reshape no images. In evaluation mode an image that stands in leaves no trace.
        stand_in = x.shape[0] == 0 and not any(module.training for module in self.backbone.modules())
        try:
            maps = self.backbone(torch.cat([x, x.new_zeros(1, *x.shape[1:])]) if stand_in else x)
        except Exception as error:
            explanation = self._plan.explain(error, size, count=x.shape[0])
            if explanation is None:
                raise
            raise ValueError(explanation) from error
        return [one[:0] for one in maps] if stand_in else maps


def _attend(attention: nn.Module, channels_last: bool, _stage: nn.Module, _args: Any, output: Any) -> Any:
    """Forward hook of a stage: return its output after the attention."""
    if channels_last:
        return attention(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()  # N H W C
    if isinstance(output, Tensor):
        return attention(_exportable(output))
    # Dual path networks return a map in parts: the attention sees them concatenated.
    whole = attention(torch.cat(tuple(output), dim=1))
    return type(output)(whole.split([part.shape[1] for part in output], dim=1))


def _exportable(x: Tensor) -> Tensor:
    """Return a map, made contiguous during export.

    Networks with channels-last norms return permuted maps. When such a map is concatenated with another, the exporter
    cannot derive the memory format for free sizes and restricts them.
    """
    return x.contiguous() if torch.compiler.is_exporting() else x


@lru_cache(maxsize=64)
def plan_network(name: str, in_chans: int, stem_stride: int | None) -> Plan:
    """Return the plan for a timm network; cached, because it takes several traces.

    Raises:
        ValueError: if timm has no such network, or it can't be an encoder with these options.
    """
    import timm  # late: it loads torchvision and torch's compiler, 200 MiB that other networks do not need

    if not timm.is_model(name):
        hint = closest(name, timm.list_models(), otherwise="See timm.list_models() for all names.")
        raise ValueError(f"timm {timm.__version__} has no network {name!r}. {hint}")
    check_choice("stem_stride", stem_stride, (None, *STEM_STRIDES))
    create = partial(timm.create_model, name, features_only=True)
    return make_plan(name, create, in_chans=in_chans, stem_stride=stem_stride)


def _build(plan: Plan, *, pretrained: PretrainedWeights, cache_dir: str | None) -> Any:
    if pretrained is False:
        return plan.build()
    overlay = weights_overlay(plan.name, pretrained)
    with weights_of(plan.name, pretrained, "set pretrained_encoder=False for random weights"):
        return plan.build(pretrained=True, pretrained_cfg_overlay=overlay, cache_dir=cache_dir)


def load_network(name: str, *, pretrained: bool, cache_dir: str | None = None) -> Any:
    """Return a whole timm network.

    Raises:
        OSError: if its weights cannot be loaded.
    """
    import timm  # late, as in `plan_network`

    with weights_of(name, pretrained, "set pretrained=False for random weights"):
        return timm.create_model(name, pretrained=pretrained, cache_dir=cache_dir)


def input_statistics(backbone: Any, *, in_chans: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel that a pretrained backbone expects of images in 0..1.

    If `in_chans` is not 3, timm sums or repeats the filters over colours; each channel then gets the average of the
    colours.
    """
    config = backbone.pretrained_cfg if hasattr(backbone, "pretrained_cfg") else backbone.default_cfg
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if in_chans == len(mean):
        return mean, std
    return (sum(mean) / len(mean),) * in_chans, (sum(std) / len(std),) * in_chans
