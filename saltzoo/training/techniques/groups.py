"""Parameter groups for optimisers: a learning rate by part of the model, and weight decay for filters alone."""

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
    """Return groups for any torch optimiser: a rate by part of the model, no decay of norms, biases or other vectors.

    A pretrained encoder usually trains at a lower rate than new parts. The 15th-place solution of the TGS Salt
    challenge trained the guided upsampling that it added to a trained network at a tenth of the rate.

    Every parameter that requires a gradient is in exactly one group. Frozen parameters are in no group: create the
    groups before `GradualUnfreezing`, which freezes parameters that are trained later.

    Args:
        model: model that is not wrapped for several processes.
        lr: learning rate of parameters without a factor.
        weight_decay: weight decay of parameters with two axes or more.
        encoder_scale: factor of the learning rate of `model.encoder`.
        scales: factor of the learning rate by dotted prefix of parameter names. The longest prefix that fits wins,
            within the encoder too.

    Returns:
        Dicts of "params", "lr", "weight_decay", "name" (the prefix, or "rest") and "scale" (the factor). A schedule
        sets `group["lr"] = rate * group["scale"]`. Schedulers of torch start from "lr" and keep the ratios.

    Raises:
        ValueError: if no parameter has a prefix, a factor is not above 0, a factor is given for an encoder that the
            model does not have, or no parameter requires a gradient.

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
        raise ValueError(
            "model must have a parameter that requires a gradient, got none: unfreeze what you want to train"
        )
    return list(groups.values())


def _factors(model: nn.Module, encoder_scale: float, scales: Mapping[str, float]) -> dict[str, float]:
    """Return the checked factor of each prefix."""
    factors = dict(scales)
    check_prefixes("scales", factors, (name for name, _ in model.named_parameters()))
    if encoder_scale != 1:
        if "encoder" not in dict(model.named_children()):
            raise ValueError(
                f"encoder_scale={encoder_scale} needs a model with an encoder, but {type(model).__name__} has none: "
                f"name its parts in scales, or pass `.module` of a model wrapped in DistributedDataParallel"
            )
        if "encoder" in factors:
            raise ValueError(f"encoder_scale={encoder_scale} but scales has 'encoder' too: give one of them")
        factors["encoder"] = encoder_scale
    for prefix, factor in factors.items():
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(
                f"the factor of {prefix!r} must be a finite number above 0, got {factor}: freeze a part to keep it"
            )
    return factors
