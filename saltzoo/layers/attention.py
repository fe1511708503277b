"""Attention layers by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from torch import nn

from .._checks import check_choice, check_counts
from .bam import BAM
from .cbam import CBAM
from .scse import SCSE
from .se import ChannelSE


class AttentionClass(Protocol):
    """A class of attention layers that keep the shape of their input."""

    def __call__(self, channels: int, *, reduction: int = ...) -> nn.Module:
        """Build a layer for maps of `channels`."""


ATTENTIONS: dict[str, AttentionClass] = {"se": ChannelSE, "scse": SCSE, "bam": BAM, "cbam": CBAM}
"""Name -> class of attention layers."""

BLOCK_SITES = ("skip", "concat", "decoder")
"""Positions of attention in a decoder block: on the skip, on the concatenated map, on the output of the block."""


def build_attention(name: str, channels: int, *, reduction: int | None = None) -> nn.Module:
    """Return the attention layer of a name, or `nn.Identity` for "none".

    Args:
        name: "none" or a name in `ATTENTIONS`.
        channels: C of the map.
        reduction: factor by which the channel branch narrows; None for the layer's default: 2 for "scse" and 16 for
            the others.

    Raises:
        ValueError: if the name is unknown, or `channels` or `reduction` is below 1.

    Example:
        >>> build_attention("se", 64)
        ChannelSE(
          (squeeze): Linear(in_features=64, out_features=4, bias=True)
          (excite): Linear(in_features=4, out_features=64, bias=True)
        )
    """
    check_choice("attention", name, ["none", *ATTENTIONS])
    if reduction is not None:
        check_counts(reduction=reduction)
    if name == "none":
        return nn.Identity()
    attention = ATTENTIONS[name]
    return attention(channels) if reduction is None else attention(channels, reduction=reduction)


def build_attention_at(
    site: str, channels: int, *, name: str, sites: Collection[str], reduction: int | None = None
) -> nn.Module:
    """Return the attention layer for one site of a decoder block: `nn.Identity` unless `sites` contains it.

    Args:
        site: "skip", "concat" or "decoder".
        channels: C of the map at the site; 0 if the block has no such site.
        name: "none" or a name in `ATTENTIONS`.
        sites: sites that get attention.
        reduction: factor by which the channel branch narrows; None for the layer's default.

    Raises:
        ValueError: if a site or the name is unknown, or `reduction` is below 1.
    """
    if isinstance(sites, str) or any(one not in BLOCK_SITES for one in sites):
        raise ValueError(f"attention_sites must be a tuple of some of {BLOCK_SITES}, got {sites!r}")
    return build_attention(name if site in sites and channels else "none", channels, reduction=reduction)
