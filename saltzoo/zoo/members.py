"""What an ensemble takes from its members, and the checks of them."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import cast

from torch import nn

from .._checks import is_size
from .._torch import unwrapped, wrapper_hint
from ..contracts import TILE_SIZE, SegmentationModel
from ..preprocess import Preprocess


def checked_model(member: object, what: str) -> nn.Module:
    """Return a model, or raise TypeError if it is no module with a preprocess."""
    wrong = TypeError(f"{what}, got a {type(member).__name__} without preprocess. {wrapper_hint(member)}")
    if not isinstance(member, nn.Module):
        raise wrong
    try:
        preprocess = cast(SegmentationModel, member).preprocess
    except AttributeError:
        raise wrong from None
    if not isinstance(preprocess, Preprocess):
        raise wrong
    return member


def as_module(model: SegmentationModel) -> nn.Module:
    """Return a model as the module that it is."""
    return checked_model(model, "model must be a network")


def checked_weights(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return a weight for each member, all 1 for None, or raise TypeError or ValueError if they are wrong."""
    if weights is None:
        return (1.0,) * count
    if isinstance(weights, str) or not all(isinstance(weight, Real) for weight in weights):
        raise TypeError(f"weights must hold a number above 0 for each member, got {weights!r}")
    values = tuple(float(weight) for weight in weights)
    if len(values) != count or not all(0 < weight < float("inf") for weight in values):
        raise ValueError(
            f"weights must hold a finite number above 0 for each of {count} member(s), got {list(weights)}: leave out "
            f"a member that should not count"
        )
    return values


def plain_preprocess(preprocesses: Sequence[Preprocess]) -> Preprocess:
    """Return the preprocess that leaves images as they are, for members with these."""
    scalars = [preprocess.scalar for preprocess in preprocesses]
    if len(set(scalars)) > 1:
        raise ValueError(
            f"all or none of the members must read a number for each image, got {scalars}: leave out those that differ"
        )
    images = {preprocess.image_chans for preprocess in preprocesses}
    channels = (images.pop() if len(images) == 1 else 1) + scalars[0]
    return Preprocess(mean=(0.0,) * channels, std=(1.0,) * channels, scalar=scalars[0])


def tile_size_of(model: nn.Module) -> tuple[int, int]:
    """Return the height and width of the tiles that a model was trained on; 101 x 101 where it does not tell.

    Example:
        >>> tile_size_of(nn.Identity())
        (101, 101)
    """
    try:
        size: object = unwrapped(model).tile_size
    except AttributeError:
        return TILE_SIZE
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and is_size(size) else TILE_SIZE


def largest_tile(members: Sequence[nn.Module]) -> tuple[int, int]:
    """Return the largest height and width of the tiles that members were trained on."""
    sizes = [tile_size_of(member) for member in members]
    return max(size[0] for size in sizes), max(size[1] for size in sizes)
