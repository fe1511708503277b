"""timm's networks as encoders. The only file that imports timm."""

from __future__ import annotations

import difflib
from functools import lru_cache, partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...contracts import FeatureSpec
from ...layers import build_attention
from .plan import Plan, make_plan
from .stem import STEM_STRIDES
from .weights import PretrainedWeights, weights_of, weights_overlay


class TimmEncoder(nn.Module):
    """Any timm network that gives a pyramid of features, with attention between its stages.

    An attention module stands in the path: what it puts out is both the skip and the input of the next stage.
    The network itself is left as timm made it, so `backbone.*` are timm's own keys and its weights load.

    What it takes to build one is found by watching a twin without weights as it runs. A network that takes only
    images whose sides are multiples of a number gets them padded with zeros, at the bottom and the right, and its maps
    are cut to the image again. Of several maps of one reduction the deepest is returned.

    Args:
        name: a timm model name, for example "resnet34" or "convnext_tiny.fb_in22k".
        in_chans: channels of the image. timm adapts pretrained first filters to it.
        pretrained: True for timm's own weights (from the Hugging Face Hub or its cache), "hf-hub:ORG/NAME" for those
            of another repository, or a state dict with the keys of `timm.create_model(name)`, the classifier's not
            needed.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, set after every stage.
        attention_reduction: how far the attention narrows inside; None for its own default.
        stem_stride: how many times the image is reduced before the first stage: 1, 2 or 4. None leaves it as it is; 2
            takes the max-pool out of a ResNet, 1 the stride of its first filters as well. Keys and weights stay.
        cache_dir: where timm keeps downloads; None for the client's default.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.
        multiple: what the sides of an image are padded to a multiple of, 1 if they are left alone; None for a network
            that is made for one size of images.

    Raises:
        ValueError: if timm has no such network, or it has no pyramid, attention can't stand in its path, or its stem
            can't have that stride; from `forward`, if it can't take images of their size.
        OSError: if its weights can't be had.

    Shape:
        N in_chans H W -> a list of maps N channels[i] H/reductions[i] W/reductions[i], finest first.

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
        self._plan = _look_at(name, in_chans, stem_stride)
        self.spec: FeatureSpec = self._plan.spec
        self.multiple = self._plan.multiple
        sites = self._plan.attention_sites() if attention != "none" else []
        self.attentions = nn.ModuleList(
            build_attention(attention, site.channels, reduction=attention_reduction) for site in sites
        )
        self.backbone = _build(self._plan, pretrained=pretrained, cache_dir=cache_dir)
        for site, module in zip(sites, self.attentions, strict=True):
            # A partial and not a closure: copy.deepcopy (EMA, for one) then copies the attention along. In front of
            # timm's own hooks, where it collects features by them: they are to see the attended map.
            hook = partial(_attend, module, site.channels_last)
            self.backbone.get_submodule(site.module).register_forward_hook(hook, prepend=True)

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        height, width = x.shape[-2:]
        multiple = self.multiple or 1
        if multiple > 1:
            x = F.pad(x, (0, -width % multiple, 0, -height % multiple))
        maps = self._run(x, (height, width))
        features = [maps[index] for index in self._plan.maps]  # N c_i h_i w_i
        if self._plan.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]  # from N h_i w_i c_i
        features = [_exportable(feature) for feature in features]
        if multiple > 1:
            sizes = [(-(-height // r), -(-width // r)) for r in self.spec.reductions]
            features = [feature[..., :h, :w] for feature, (h, w) in zip(features, sizes, strict=True)]
        return features

    def _run(self, x: Tensor, size: tuple[int, int]) -> list[Tensor]:
        if torch.compiler.is_compiling():
            return self.backbone(x)
        try:
            return self.backbone(x)
        except Exception as error:
            self._plan.explain(error, size)
            raise


def _attend(attention: nn.Module, channels_last: bool, _stage: nn.Module, _args: Any, output: Any) -> Any:
    if channels_last:
        return attention(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()  # N H W C
    if isinstance(output, Tensor):
        return attention(_exportable(output))
    # A map in parts, as dual path networks have it: attended as one.
    whole = attention(torch.cat(tuple(output), dim=1))
    return type(output)(whole.split([part.shape[1] for part in output], dim=1))


def _exportable(x: Tensor) -> Tensor:
    """The map; contiguous while the network is exported.

    Networks that norm channels last put out permuted maps. Of free sizes an exporter can't tell the layout of such a
    map joined with another, and would bind the graph to some of them.
    """
    return x.contiguous() if torch.compiler.is_exporting() else x


@lru_cache(maxsize=64)
def _look_at(name: str, in_chans: int, stem_stride: int | None) -> Plan:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean one of {close}?" if close else "see timm.list_models() for all of them."
        raise ValueError(f"timm {timm.__version__} has no network {name!r}: {hint}")
    if stem_stride not in (None, *STEM_STRIDES):
        raise ValueError(f"stem_stride must be None or one of {STEM_STRIDES}, got {stem_stride!r}")
    create = partial(timm.create_model, name, features_only=True)
    return make_plan(name, create, in_chans=in_chans, stem_stride=stem_stride)


def _build(plan: Plan, *, pretrained: PretrainedWeights, cache_dir: str | None) -> Any:
    if pretrained is False:
        return plan.build()
    overlay = weights_overlay(plan.name, pretrained)
    with weights_of(plan.name, "build the model with pretrained_encoder=False"):
        return plan.build(pretrained=True, pretrained_cfg_overlay=overlay, cache_dir=cache_dir)


def load_network(name: str, *, pretrained: bool, cache_dir: str | None = None) -> Any:
    """A whole network of timm's, as it is.

    Raises:
        OSError: if its weights can't be had.
    """
    with weights_of(name, "take it without weights, by pretrained=False"):
        return timm.create_model(name, pretrained=pretrained, cache_dir=cache_dir)


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
