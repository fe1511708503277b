"""Load a state dict strictly, and adapt it to another number of input channels or classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch import Size, Tensor, nn

from ..preprocess import Preprocess

_SHOWN = 5


@dataclass(frozen=True)
class Change:
    """A number of input channels, or of classes, as saved and as requested."""

    saved: int
    asked: int

    def __bool__(self) -> bool:
        return self.saved != self.asked

    def explains(self, before: int, after: int) -> bool:
        """Return whether a dimension of a tensor, a multiple of the number, changes in the same ratio."""
        return bool(self) and before * self.asked == after * self.saved


@dataclass(frozen=True)
class Adapted:
    """An adapted state dict.

    Attributes:
        tensors: all tensors by key.
        filters: keys of first filters that were adapted to the input channels.
        untrained: keys of tensors that depend on the classes and keep the model's initial values.
    """

    tensors: dict[str, Tensor]
    filters: list[str]
    untrained: list[str]


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], *, what: str, hint: str) -> None:
    """Load a state dict whose keys and shapes are exactly the model's.

    Args:
        model: gets the weights, in its own dtype.
        tensors: the state dict.
        what: description of the weights for the error, such as "the weights of hf-hub:org/name".
        hint: next step for the error.

    Raises:
        ValueError: if a key is missing or unknown, or a shape differs; names the first of them.
    """
    own = model.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in tensors]
    wrong += [f"{key} is unknown" for key in tensors if key not in own]
    wrong += [
        f"{key} is {tuple(tensors[key].shape)}, the model's {tuple(value.shape)}"
        for key, value in own.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ValueError(f"{what} do not fit: {'; '.join(wrong[:_SHOWN])}{more}. {hint}")
    model.load_state_dict(tensors, strict=True)


def adapt_tensors(
    saved: Mapping[str, Tensor], own: Mapping[str, Tensor], *, in_chans: Change, num_classes: Change
) -> Adapted:
    """Adapt saved tensors to a model with other input channels or classes.

    A tensor that differs in its second dimension only, in the ratio of the channels, is a first filter and is adapted
    by `adapt_filters`. A tensor whose differing dimensions are in the ratio of the classes is replaced by the model's.
    All others are kept, so that strict loading reports those that do not fit.

    Args:
        saved: state dict of the checkpoint.
        own: state dict of the new model.
        in_chans: change of the input channels.
        num_classes: change of the logits per pixel.
    """
    adapted = Adapted(dict(saved), [], [])
    for key, new in own.items():
        value = saved.get(key, new)
        before, after = value.shape, new.shape
        changed = _changed_dimensions(before, after)
        if changed == [1] and in_chans.explains(before[1], after[1]):
            adapted.tensors[key] = adapt_filters(value, in_chans.saved, in_chans.asked)
            adapted.filters.append(key)
        elif changed and all(num_classes.explains(before[side], after[side]) for side in changed):
            adapted.tensors[key] = new
            adapted.untrained.append(key)
    return adapted


def adapt_filters(weight: Tensor, saved: int, asked: int) -> Tensor:
    """Adapt first filters to another number of input channels, with the sum over channels unchanged.

    For more channels, the filters of the saved channels are repeated in turn and divided by the number of their
    copies. For fewer, they are summed in turn. An image that is the same in all channels therefore gives the same
    activations as before, unless the convolution standardises its filters.

    Args:
        weight: (filters, k * saved, ...), with the k values of a channel side by side, as `F.pixel_unshuffle` puts
            them.
        saved: number of channels of `weight`.
        asked: number of channels of the result.

    Example:
        >>> gray = torch.full((8, 1, 3, 3), 6.0)
        >>> colour = adapt_filters(gray, 1, 3)
        >>> colour.shape, colour.unique(), torch.equal(adapt_filters(colour, 3, 1), gray)
        (torch.Size([8, 3, 3, 3]), tensor([2.]), True)
    """
    mix = torch.zeros(asked, saved)
    for new, channels in enumerate(_sources_of_channels(saved, asked)):
        mix[new, channels] = 1
    mix = mix / mix.sum(0)
    return torch.einsum("as,fs...->fa...", mix, weight.float().unflatten(1, (saved, -1))).flatten(1, 2)


def adapt_preprocess(preprocess: Preprocess, asked: int) -> Preprocess:
    """Adapt the statistics to another number of channels: repeat them in turn, or average them in turn.

    Example:
        >>> adapt_preprocess(Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2)), 1)
        Preprocess(mean=(0.5,), std=(0.2,), multiple=1, pad_mode='reflect', scalar=False)
    """
    sources = _sources_of_channels(len(preprocess.mean), asked)

    def adapted(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(mean(values[channel] for channel in channels) for channels in sources)

    return replace(preprocess, mean=adapted(preprocess.mean), std=adapted(preprocess.std))


def _sources_of_channels(saved: int, asked: int) -> list[list[int]]:
    """Return the saved channels behind each new one: [[0, 2], [1]] from 3 to 2, [[0], [1], [0]] from 2 to 3."""
    fewer = min(saved, asked)
    return [[channel for channel in range(saved) if channel % fewer == new % fewer] for new in range(asked)]


def _changed_dimensions(before: Size, after: Size) -> list[int]:
    """Return the dimensions that differ, or none if the number of dimensions does."""
    if len(before) != len(after):
        return []
    return [side for side, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
