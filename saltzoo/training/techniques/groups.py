"""Parameter groups: which parameters of a model learn at what rate, and which are decayed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from ._prefixes import check_prefixes, is_under


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    encoder_scale: float = 1.0,
    scales: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Groups for any optimiser of torch: rates by part of the model, no decay of norms, biases and other vectors.

    A pretrained encoder learns slower than what is new, and what was added to a trained network slower than the rest:
    the 15th-place solution of the TGS Salt challenge trained its guided upsampling at a tenth of the rate.

    Every parameter that requires a gradient is in exactly one group. Those that are frozen now are in none: make the
    groups before `GradualUnfreezing` freezes what is to learn later.

    Args:
        model: the plain model, not one wrapped for several processes.
        lr: rate of what has no factor.
        weight_decay: of parameters with two axes or more.
        encoder_scale: factor of the rate of `model.encoder`.
        scales: dotted prefix of parameters -> factor of their rate. Of several that fit, the longest counts, for the
            encoder's own parts too.

    Returns:
        Dicts of "params", "lr", "weight_decay", "name" (the prefix, or "rest") and "scale" (the factor). A schedule
        sets `group["lr"] = rate * group["scale"]`; schedulers of torch start from "lr", and keep the ratios.

    Raises:
        ValueError: for a prefix that no parameter has, a factor that is not above 0, a model that has no encoder but
            is given its factor, or one that has nothing to train.

    Example:
        >>> import saltzoo
        >>> model = saltzoo.create_model("saltnet_s")
        >>> groups = parameter_groups(model, lr=1e-3, weight_decay=0.02, scales={"encoder": 0.1, "encoder.stem": 0.01})
        >>> for group in groups:
        ...     print(group["name"], group["lr"], group["weight_decay"], len(group["params"]))
        encoder.stem 1e-05 0.02 1
        encoder.stem 1e-05 0.0 2
        encoder 0.0001 0.02 31
        encoder 0.0001 0.0 50
        rest 0.001 0.02 12
        rest 0.001 0.0 23
    """
    factors = _factors(model, encoder_scale, scales or {})
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        prefix = max((prefix for prefix in factors if is_under(name, prefix)), key=len, default="rest")
        scale = factors.get(prefix, 1.0)
        decayed = parameter.ndim > 1
        group = {
            "params": [],
            "lr": lr * scale,
            "weight_decay": weight_decay if decayed else 0.0,
            "name": prefix,
            "scale": scale,
        }
        groups.setdefault((prefix, decayed), group)["params"].append(parameter)
    if not groups:
        raise ValueError("no parameter of this model requires a gradient: unfreeze what is to be trained")
    return list(groups.values())


def _factors(model: nn.Module, encoder_scale: float, scales: Mapping[str, float]) -> dict[str, float]:
    """Prefix -> factor, checked."""
    factors = dict(scales)
    check_prefixes("scales", factors, (name for name, _ in model.named_parameters()))
    if encoder_scale != 1:
        if not hasattr(model, "encoder"):
            raise ValueError(
                f"encoder_scale={encoder_scale}, and {type(model).__name__} has no encoder: name its parts in scales. "
                f"Of a wrapped model (DistributedDataParallel) give `.module`"
            )
        if "encoder" in factors:
            raise ValueError(f"encoder_scale={encoder_scale}, and scales has 'encoder' too: give one of them")
        factors["encoder"] = encoder_scale
    for prefix, factor in factors.items():
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"the factor of {prefix!r} must be a number above 0, got {factor}: to keep it, freeze it")
    return factors
