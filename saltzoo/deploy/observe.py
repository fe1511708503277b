"""Which batch norms of a network read a convolution's output that nothing else reads, as a run of it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Convolution = nn.Conv2d | nn.ConvTranspose2d

_CONVOLUTIONS = (torch.conv2d, torch.conv_transpose2d)
_NORMS = (F.batch_norm, torch.batch_norm)


class Pair(NamedTuple):
    """A convolution and the batch norm that alone reads its output.

    Attributes:
        convolution: name of the convolution in the network.
        norm: name of the batch norm.
    """

    convolution: str
    norm: str


def foldable_pairs(network: nn.Module, example: Tensor) -> list[Pair]:
    """Return the pairs of a network in evaluation mode that can become one convolution each.

    A run tells more than the structure of the modules: blocks of every library are seen alike, and a convolution that
    is called twice, shares its weight, computes it anew (weight standardisation) or has another reader is left out.

    Args:
        network: network in evaluation mode.
        example: input N C H W.
    """
    with torch.no_grad(), _Observer() as seen:
        outputs = network(example)
    returned = {id(leaf) for leaf in tree_leaves(outputs)}
    convolutions = _owners(network, "weight", (nn.Conv2d, nn.ConvTranspose2d))
    norms = _owners(network, "running_mean", (nn.BatchNorm2d,))
    pairs = []
    for read, mean in seen.norms:
        weight = seen.made_by.get(read)
        alone = seen.readers[read] == 1 and read not in returned
        if weight is None or not alone or seen.uses[weight] != 1 or seen.uses[mean] != 1:
            continue
        if weight in convolutions and mean in norms:
            pairs.append(Pair(convolutions[weight], norms[mean]))
    return pairs


def _owners(network: nn.Module, tensor: str, kinds: tuple[type[nn.Module], ...]) -> Mapping[int, str]:
    """Return the name of the module that owns a tensor, by the tensor's id; tensors of two modules are left out."""
    found: dict[int, list[str]] = {}
    for name, module in network.named_modules():
        if isinstance(module, kinds):
            for key, value in _tensors(module):
                if key == tensor:
                    found.setdefault(id(value), []).append(name)
    return {key: names[0] for key, names in found.items() if len(names) == 1}


def _tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


class _Observer(TorchFunctionMode):
    """Records which call reads and which makes each tensor, while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.made_by: dict[int, int] = {}  # id of a convolution's output -> id of its weight
        self.norms: list[tuple[int, int]] = []  # ids of the map that a norm reads and of its running mean
        self.readers: Counter[int] = Counter()
        self.uses: Counter[int] = Counter()
        self._alive: list[Any] = []  # an id belongs to one tensor as long as the tensor lives

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result  # a size or another attribute
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self._alive += [*read, result]
        self.readers.update({id(tensor) for tensor in read})
        self.uses.update({id(tensor) for tensor in read})
        if func in _CONVOLUTIONS:
            self.made_by[id(result)] = id(args[1] if len(args) > 1 else kwargs["weight"])
        elif func in _NORMS:
            tensors = [*args, *kwargs.values()]
            mean = args[1] if len(args) > 1 else kwargs.get("running_mean")
            self.norms.append((id(tensors[0]), id(mean)))
        return result
