"""Tensors of a checkpoint, fitted to a model: strictly, but for another number of input channels or classes."""

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
    """How many input channels, or classes, a checkpoint has and how many are asked for."""

    saved: int
    asked: int

    def explains(self, before: int, after: int) -> bool:
        """Whether a side of a tensor changes as this does: it holds a multiple of the channels or classes."""
        return self.saved != self.asked and before * self.asked == after * self.saved


@dataclass(frozen=True)
class Adapted:
    """A state dict made to fit, and what was done for it.

    Attributes:
        tensors: all of them.
        filters: keys of the first filters, adapted to the image's channels.
        anew: keys of tensors that depend on the classes, as the model had them.
    """

    tensors: dict[str, Tensor]
    filters: list[str]
    anew: list[str]


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], *, what: str, hint: str) -> None:
    """Loads a state dict if it is the model's, key by key and shape by shape.

    Args:
        model: gets the weights, in its own dtype.
        tensors: the state dict.
        what: what they are, for the error: "the weights of hf-hub:org/name".
        hint: the next step, for the error.

    Raises:
        ValueError: if a key is missing, unknown or of another shape; names the first of them.
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
    """Fits saved tensors to a model of other input channels or classes.

    A tensor of which only the second side differs, as the image's channels do, is a first filter and is adapted by
    `adapt_filters`. One whose sides differ as the classes do starts anew. Everything else is left as it was saved.

    Args:
        saved: the checkpoint's state dict.
        own: that of the model to load it into, freshly made.
        in_chans: channels of the image.
        num_classes: logits for each pixel.
    """
    adapted = Adapted(dict(saved), [], [])
    for key, new in own.items():
        value = saved.get(key, new)
        before, after = value.shape, new.shape
        changed = _changed_sides(before, after)
        if changed == [1] and in_chans.explains(before[1], after[1]):
            adapted.tensors[key] = adapt_filters(value, in_chans.saved, in_chans.asked)
            adapted.filters.append(key)
        elif changed and all(num_classes.explains(before[side], after[side]) for side in changed):
            adapted.tensors[key] = new
            adapted.anew.append(key)
    return adapted


def adapt_filters(weight: Tensor, saved: int, asked: int) -> Tensor:
    """First filters for another number of input channels; each filter keeps its sum over channels.

    Asked for more channels, they are repeated in turn, and each is divided by how often it stands; asked for fewer,
    they are summed in turn. So an image that is the same in all channels gives the activations it gave before, unless
    the convolution standardises its own filters.

    Args:
        weight: (filters, k * saved, ...), the k values of a channel side by side as `F.pixel_unshuffle` lays them.
        saved: its number of channels.
        asked: the number wanted.

    Example:
        >>> gray = torch.full((8, 1, 3, 3), 6.0)
        >>> colour = adapt_filters(gray, 1, 3)
        >>> colour.shape, colour.unique(), torch.equal(adapt_filters(colour, 3, 1), gray)
        (torch.Size([8, 3, 3, 3]), tensor([2.]), True)
    """
    mix = torch.zeros(asked, saved)
    for new, channels in enumerate(_channels_of_each(saved, asked)):
        mix[new, channels] = 1
    mix = mix / mix.sum(0)
    return torch.einsum("as,fs...->fa...", mix, weight.float().unflatten(1, (saved, -1))).flatten(1, 2)


def adapt_preprocess(preprocess: Preprocess, asked: int) -> Preprocess:
    """The same preparation for another number of channels: statistics repeated in turn, or averaged in turn.

    Example:
        >>> adapt_preprocess(Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2)), 1)
        Preprocess(mean=(0.5,), std=(0.2,), multiple=1, pad_mode='reflect')
    """
    groups = _channels_of_each(len(preprocess.mean), asked)

    def of_each(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(mean(values[channel] for channel in group) for group in groups)

    return replace(preprocess, mean=of_each(preprocess.mean), std=of_each(preprocess.std))


def _channels_of_each(saved: int, asked: int) -> list[list[int]]:
    """For each channel asked for, the saved ones that it stands for: [[0, 2], [1]] for 2 of 3, [[0], [1], [0]] back."""
    fewer = min(saved, asked)
    return [[channel for channel in range(saved) if channel % fewer == new % fewer] for new in range(asked)]


def _changed_sides(before: Size, after: Size) -> list[int]:
    """Which sides of a tensor differ; none if it has more or fewer of them."""
    if len(before) != len(after):
        return []
    return [side for side, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
