"""Growing: initialise a network by the weights of a smaller one.

The 15th-place solution of the TGS Salt challenge trained its network without guided upsampling first, and added it to
the trained network. Widening by zeros follows Chen, Goodfellow, Shlens: "Net2Net: Accelerating Learning via Knowledge
Transfer", arXiv 1511.05641.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...layers import GuidedUpsample
from ._prefixes import is_under

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Growth:
    """Names of tensors by what `grow` did to them.

    Attributes:
        copied: tensors with all values of the smaller network.
        widened: tensors with the smaller network's values in their first channels.
        new: tensors that were not changed.
        dropped: tensors of the smaller network that were left out.
    """

    copied: tuple[str, ...]
    widened: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def grow(model: nn.Module, smaller: nn.Module | Mapping[str, Tensor], *, drop: Sequence[str] = ()) -> Growth:
    """Copy the tensors of a smaller network into the tensors of the same names, in place.

    A wider tensor takes the values in its first channels. Its weights from new channels to old ones become zero, and
    its other weights stay. In a chain of layers, the old channels therefore compute the same values as before. Where
    maps are concatenated, channels move, and the result is only an initialisation.

    New parts that start as the identity, such as scSE, do not change the function. The norm at the end of a new
    `GuidedUpsample`, which is added to a sum, is set to zero, so that it does not change the function either.

    Args:
        model: larger network, changed in place. Its preprocess is not changed; it must equal the smaller network's.
        smaller: network or state dict.
        drop: dotted prefixes of tensors of the smaller network that may be left out, such as ("auxiliary",).

    Returns:
        Names of the copied, widened, new and dropped tensors.

    Raises:
        ValueError: if a tensor of the smaller network does not fit: unknown name, other number of axes, other filter
            size, or fewer channels in the larger network. The larger network is then unchanged.

    Example:
        >>> model, smaller = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), nn.Sequential(nn.Linear(2, 2))
        >>> grow(model, smaller)
        Growth(copied=(), widened=('0.weight', '0.bias'), new=('1.weight', '1.bias'), dropped=())
        >>> torch.equal(model[0].weight[:2], smaller[0].weight)
        True
    """
    given = smaller.state_dict() if isinstance(smaller, nn.Module) else smaller
    places = model.state_dict()
    dropped = tuple(name for name in given if any(is_under(name, prefix) for prefix in drop))
    kept = {name: tensor for name, tensor in given.items() if name not in dropped}
    _check_places(places, kept)
    copied: list[str] = []
    widened: list[str] = []
    for name, tensor in kept.items():
        same = places[name].shape == tensor.shape
        (copied if same else widened).append(name)
        owner = model.get_submodule(name.rpartition(".")[0])
        _write(places[name], tensor, transposed=isinstance(owner, _TRANSPOSED))
    new = tuple(name for name in places if name not in kept)
    for name, module in model.named_modules():
        if isinstance(module, GuidedUpsample) and not any(is_under(place, name) for place in kept):
            for parameter in module.project.parameters():
                if parameter.ndim == 1:
                    nn.init.zeros_(parameter)
    return Growth(tuple(copied), tuple(widened), new, dropped)


def _check_places(places: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    unplaced = []
    for name, tensor in given.items():
        if name not in places:
            unplaced.append(f"{name} (no such name)")
        elif not _fits(places[name].shape, tensor.shape):
            unplaced.append(f"{name} ({tuple(tensor.shape)} into {tuple(places[name].shape)})")
    if unplaced:
        more = f" and {len(unplaced) - 5} more" if len(unplaced) > 5 else ""
        raise ValueError(
            f"{len(unplaced)} tensors of the smaller network do not fit into the larger one: "
            f"{', '.join(unplaced[:5])}{more}. Build the larger one with the same parts and at least as many channels, "
            f"or name what may be left out, as in drop=({unplaced[0].split('.')[0].split(' ')[0]!r},)"
        )


def _fits(place: Sequence[int], given: Sequence[int]) -> bool:
    """Return whether all axes are equal, except that the first two, the channels, may be longer."""
    wide_enough = all(wide >= narrow for wide, narrow in zip(place, given, strict=False))
    return len(place) == len(given) and wide_enough and tuple(place[2:]) == tuple(given[2:])


@torch.no_grad()
def _write(place: Tensor, given: Tensor, *, transposed: bool) -> None:
    if place.ndim > 1:
        outputs = 1 if transposed else 0
        # Old outputs must not depend on new inputs.
        place.narrow(outputs, 0, given.shape[outputs]).zero_()
    place[tuple(slice(length) for length in given.shape)].copy_(given)
