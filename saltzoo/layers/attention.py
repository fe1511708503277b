"""Attention by name: the one place that turns the word of a model's options into a module."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from .bam import BAM
from .cbam import CBAM
from .scse import SCSE
from .se import ChannelSE

ATTENTIONS: dict[str, type[nn.Module]] = {"se": ChannelSE, "scse": SCSE, "bam": BAM, "cbam": CBAM}
"""Name -> class, each built as `cls(channels, reduction=...)` and keeping the shape of its input."""

BLOCK_SITES = ("skip", "concat", "decoder")
"""Where attention can stand in a block of a decoder."""


def build_attention(name: str, channels: int, *, reduction: int | None = None) -> nn.Module:
    """An attention module for a map of `channels`, or `nn.Identity` for "none".

    Args:
        name: "none" or a name of `ATTENTIONS`.
        channels: C of the map.
        reduction: how far the attention narrows inside; None for its own default, which is 2 for "scse" and 16
            for the others.

    Raises:
        ValueError: if the name is unknown, or channels or reduction are below 1.

    Example:
        >>> build_attention("se", 64)
        ChannelSE(
          (squeeze): Linear(in_features=64, out_features=4, bias=True)
          (excite): Linear(in_features=4, out_features=64, bias=True)
        )
    """
    if reduction is not None and reduction < 1:
        raise ValueError(f"reduction must be at least 1, or None for the attention's own default, got {reduction}")
    if name == "none":
        return nn.Identity()
    if name not in ATTENTIONS:
        raise ValueError(f"unknown attention {name!r}: choose one of {['none', *ATTENTIONS]}")
    options = {} if reduction is None else {"reduction": reduction}
    return ATTENTIONS[name](channels, **options)


def build_attention_at(
    site: str, channels: int, *, name: str, sites: Collection[str], reduction: int | None = None
) -> nn.Module:
    """What stands at a site of a block that a map of `channels` passes: `nn.Identity` unless it is one of `sites`.

    Args:
        site: "skip", "concat" or "decoder".
        channels: C of the map, 0 where the block has no such site.
        name: as in `build_attention`.
        sites: where attention was asked for.
        reduction: as in `build_attention`.

    Raises:
        ValueError: if a site is unknown, or as from `build_attention`.
    """
    unknown = [one for one in sites if one not in BLOCK_SITES]
    if unknown or isinstance(sites, str):
        raise ValueError(f"attention_sites must be some of {BLOCK_SITES}, as a tuple, got {sites!r}")
    return build_attention(name if site in sites and channels else "none", channels, reduction=reduction)
