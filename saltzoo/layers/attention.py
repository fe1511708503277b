"""Attention by name: the one place that turns the word of a model's options into a module."""

from __future__ import annotations

from torch import nn

from .scse import SCSE

ATTENTIONS: dict[str, type[nn.Module]] = {"scse": SCSE}
"""Name -> class, each built as `cls(channels, reduction=...)` and keeping the shape of its input."""


def build_attention(name: str, channels: int, *, reduction: int) -> nn.Module:
    """An attention module for a map of `channels`, or `nn.Identity` for "none".

    Raises:
        ValueError: if the name is unknown.

    Example:
        >>> build_attention("scse", 64, reduction=16)
        SCSE(
          channels=64, hidden=4
          (squeeze): Linear(in_features=64, out_features=4, bias=True)
          (excite): Linear(in_features=4, out_features=64, bias=True)
          (spatial): Conv2d(64, 1, kernel_size=(1, 1), stride=(1, 1))
        )
    """
    if name == "none":
        return nn.Identity()
    if name not in ATTENTIONS:
        raise ValueError(f"unknown attention {name!r}: choose one of {['none', *ATTENTIONS]}")
    return ATTENTIONS[name](channels, reduction=reduction)
