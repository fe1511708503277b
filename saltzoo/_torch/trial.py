"""A trial on random images of two models that are to compute the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .helpers import autocast_off
from .view import evaluation_view
from .wrappers import without_wrappers

_SIZES = (96, 224)
"""Sides of the images. The second is for networks that take only images of this size."""

_SCALES = (1.0, 30.0)
"""Deviation of each image. A limited activation, such as ReLU6, shows in large values only."""

_TOLERANCE = 1e-4
"""Difference that counts as rounding, in units of the largest result."""


def same_results(
    model: nn.Module,
    built: nn.Module,
    *,
    channels: int,
    tensors: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> bool | None:
    """Return whether two models have the same results in evaluation mode, or None if no trial is possible.

    Views of both are computed on the CPU: neither is touched, and nothing is compiled. Hooks run.

    Args:
        model: model that may have been changed.
        built: model that it should be. It may be on "meta".
        channels: channels of the images.
        tensors: tensors by name that replace those of `built`; None for its own.
        dtype: type in which both are computed: float64 for models whose operations differ.

    Example:
        >>> model, other = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
        >>> same_results(model, other, channels=1), same_results(model, other, channels=1, tensors=model.state_dict())
        (False, True)
        >>> _ = model.register_forward_hook(lambda module, args, output: output + 1)
        >>> same_results(model, other, channels=1, tensors=model.state_dict())
        False
    """
    for size in _SIZES:
        images = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0), device="cpu")
        images = (images * torch.tensor(_SCALES, device="cpu")[:, None, None, None]).to(dtype)
        try:
            want = _results(built, images, tensors)
        except Exception:  # of any network, which may not take this size or may need values that "meta" has not
            continue
        try:
            got = _results(model, images)
        except Exception:
            return None
        return len(got) == len(want) and all(map(_close, got, want))
    return None


@torch.no_grad()
def _results(model: nn.Module, images: Tensor, tensors: Mapping[str, Tensor] | None = None) -> list[Tensor]:
    """Return the tensors in the output of a model, N C H W -> as many as it has."""
    view = without_wrappers(evaluation_view(model))
    own = dict((*view.named_parameters(remove_duplicate=False), *view.named_buffers(remove_duplicate=False)))
    values = {**own, **(tensors or {})}
    if any(value.is_meta for value in values.values()):
        raise ValueError("this model computes with tensors that have no values")
    values = {name: value.detach().cpu() for name, value in values.items()}
    values = {name: value.to(images.dtype) if value.is_floating_point() else value for name, value in values.items()}
    with autocast_off(images), torch.random.fork_rng(devices=[]):
        found = list(_tensors(functional_call(view, values, images, tie_weights=False)))
    if not found or any(tensor.is_meta for tensor in found):
        raise ValueError("this model has no results that can be compared")
    return found


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)


def _close(got: Tensor, want: Tensor) -> bool:
    limit = _TOLERANCE * float(want.abs().nan_to_num().max()) if want.numel() else 0.0
    return got.shape == want.shape and torch.allclose(got, want, rtol=0, atol=limit, equal_nan=True)
