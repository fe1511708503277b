"""Growing: a network that starts from the weights of a smaller one.

The 15th-place solution of the TGS Salt challenge trained its network without guided upsampling first, and from there
with it. Widening by zeros follows Chen, Goodfellow, Shlens: "Net2Net: Accelerating Learning via Knowledge Transfer",
arXiv 1511.05641.
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
    """What became of a network's tensors, by their names.

    Attributes:
        copied: taken over whole.
        widened: hold the smaller network's values in their first channels.
        new: as they were.
        dropped: of the smaller network, left out as was allowed.
    """

    copied: tuple[str, ...]
    widened: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def grow(model: nn.Module, smaller: nn.Module | Mapping[str, Tensor], *, drop: Sequence[str] = ()) -> Growth:
    """Starts a network from a smaller one: every tensor of a name that both have takes the smaller one's values.

    A tensor with more channels takes them in its first channels. What leads from new channels to old ones starts at
    zero, and the rest as it was: where one layer follows on another, the old channels compute what they did. Where
    maps are concatenated, channels move, and such a network is only a start.

    Additions that start as the identity, as scSE does, leave the function alone. A `GuidedUpsample` that is all new is
    added to a sum: the norm of what it adds starts at zero, so that this does too.

    Args:
        model: the larger network, in place. Its preprocess is left as it is: see that it is the smaller one's.
        smaller: a network, or a state dict.
        drop: dotted prefixes of the smaller network's tensors that need no place, such as ("auxiliary",).

    Returns:
        What was copied, widened, left as new, and dropped.

    Raises:
        ValueError: if a tensor of the smaller network has no place: no such name, another number of axes, another
            size of a filter, or fewer channels. The network is then as it was.

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
    homeless = []
    for name, tensor in given.items():
        if name not in places:
            homeless.append(f"{name} (no such name)")
        elif not _fits(places[name].shape, tensor.shape):
            homeless.append(f"{name} ({tuple(tensor.shape)} into {tuple(places[name].shape)})")
    if homeless:
        more = f" and {len(homeless) - 5} more" if len(homeless) > 5 else ""
        raise ValueError(
            f"{len(homeless)} tensors of the smaller network have no place in the larger: "
            f"{', '.join(homeless[:5])}{more}. Build the larger with the same parts and as many channels or more, "
            f"or name what may be left out, as in drop=({homeless[0].split('.')[0].split(' ')[0]!r},)"
        )


def _fits(place: Sequence[int], given: Sequence[int]) -> bool:
    """Whether all axes are the same, but for the first two, which hold channels and may be longer."""
    wide_enough = all(wide >= narrow for wide, narrow in zip(place, given, strict=False))
    return len(place) == len(given) and wide_enough and tuple(place[2:]) == tuple(given[2:])


@torch.no_grad()
def _write(place: Tensor, given: Tensor, *, transposed: bool) -> None:
    if place.ndim > 1:
        outputs = 1 if transposed else 0
        # The old outputs whole: what they read of new channels is to be zero.
        place.narrow(outputs, 0, given.shape[outputs]).zero_()
    place[tuple(slice(length) for length in given.shape)].copy_(given)
