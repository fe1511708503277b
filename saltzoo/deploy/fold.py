"""Batch norm folded into the convolution before it: one multiplication less for each value, exactly the same map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .observe import Convolution, Pair, foldable_pairs


def fold_batch_norms(network: nn.Module, example: Tensor) -> list[Pair]:
    """Fold every batch norm that alone reads a convolution's output, in place, and return the pairs.

    Norms that follow no convolution, such as those of pre-activation blocks, stay. Weights and statistics are combined
    in float64, so that each new weight is rounded once.

    Args:
        network: network in evaluation mode.
        example: input N C H W for a run that shows what follows what.
    """
    pairs = []
    for pair in foldable_pairs(network, example):
        convolution, norm = network.get_submodule(pair.convolution), network.get_submodule(pair.norm)
        rest = rest_of_norm(norm)
        if rest is None or not isinstance(norm, nn.BatchNorm2d):
            continue
        if not isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
            continue
        fold(convolution, norm)
        for name, module in [*network.named_modules(remove_duplicate=False)]:
            if module is norm:
                network.set_submodule(name, rest)
        pairs.append(pair)
    return pairs


def rest_of_norm(norm: nn.Module) -> nn.Module | None:
    """Return what a batch norm does besides normalising, or None if that is not known.

    timm's BatchNormAct2d holds dropout and activation, which follow in this order; torch's and our norms hold nothing.
    """
    if not isinstance(norm, nn.BatchNorm2d) or norm._forward_hooks or norm._forward_pre_hooks:
        return None
    children = dict(norm.named_children())
    if not children:
        return nn.Identity()
    if list(children) == ["drop", "act"]:
        after = [child for child in children.values() if not isinstance(child, nn.Identity)]
        return after[0] if len(after) == 1 else nn.Sequential(*after)
    return None


@torch.no_grad()
def fold(convolution: Convolution, norm: nn.BatchNorm2d) -> None:
    """Change a convolution in place to do what it and the batch norm after it do in evaluation mode.

    Example:
        >>> convolution, norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4).eval()
        >>> x = torch.randn(2, 3, 9, 9)
        >>> want = norm(convolution(x))
        >>> fold(convolution, norm)
        >>> torch.allclose(convolution(x), want, atol=1e-5)
        True
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics depends on the batch, so that it cannot be folded")
    weight = convolution.weight
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    before = 0.0 if convolution.bias is None else convolution.bias.double()
    bias = (before - norm.running_mean.double()) * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    convolution.weight = nn.Parameter(
        (weight.double() * _of_outputs(convolution, gain)).to(weight), requires_grad=False
    )
    convolution.bias = nn.Parameter(bias.to(weight), requires_grad=False)


def _of_outputs(convolution: Convolution, gain: Tensor) -> Tensor:
    """Return one factor for each output channel, in a shape that multiplies the weight."""
    if not isinstance(convolution, nn.ConvTranspose2d):
        return gain[:, None, None, None]  # O 1 1 1
    inputs, outputs = convolution.weight.shape[:2]  # of a group
    each = gain.view(convolution.groups, 1, outputs).expand(-1, inputs // convolution.groups, -1)
    return each.reshape(inputs, outputs)[:, :, None, None]  # I O/groups 1 1
