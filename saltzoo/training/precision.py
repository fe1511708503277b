"""The number format of a run: bfloat16 where the device multiplies in it, else float32."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from .recipe import Recipe

CPUINFO = Path("/proc/cpuinfo")
FLAGS = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}
"""Flags of the processors that multiply in bfloat16, as Linux lists them, and their names."""


def bf16_unit(device: torch.device) -> str | None:
    """Return what multiplies in bfloat16 on a device ("AMX"), or None if it is emulated or this is unknown.

    A processor is known by the flags that Linux lists, and its units are used if this torch has oneDNN. On other
    systems and other devices the answer is None.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return "bfloat16 units" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type != "cpu" or sys.platform != "linux" or not torch.backends.mkldnn.is_available():
        return None
    units = [name for flag, name in FLAGS.items() if flag in _cpu_flags()]
    return " and ".join(units) or None


def with_amp_of(recipe: Recipe, device: torch.device, *, tell: Callable[[str], None] | None = None) -> Recipe:
    """Return the recipe with "bf16" or "off" as its `amp`.

    Args:
        recipe: recipe whose `amp` "auto" becomes "bf16" on a device that multiplies in bfloat16, else "off", which is
            float32. "bf16" where it is emulated stays and warns once in a process: saltnet_s then trains 1.3 tiles/s on
            a core with AVX2 alone, and 10.8 in float32.
        device: device that trains.
        tell: called with a line about the choice, if given.

    Example:
        >>> recipe = Recipe.from_dict({"model": {"name": "saltnet_s"}, "amp": "off"})
        >>> with_amp_of(recipe, torch.device("cpu"), tell=print).amp
        amp: off (float32), as the recipe says
        'off'
    """
    unit = bf16_unit(device)
    where = {"cuda": "this GPU", "cpu": "this processor"}.get(device.type, f"device {device}")
    reason = "as the recipe says"
    if recipe.amp == "auto":
        recipe = replace(recipe, amp="off" if unit is None else "bf16")
        reason = f"because {where} has {'no bfloat16 unit that is known' if unit is None else unit}"
    elif recipe.amp == "bf16" and unit is None:
        warn_of_emulation(where)
    if tell is not None:
        tell(f"amp: {'bf16' if recipe.amp == 'bf16' else 'off (float32)'}, {reason}")
    return recipe


@cache
def warn_of_emulation(where: str) -> None:
    """Warn, once in a process, that bfloat16 is emulated on a device."""
    warnings.warn(
        f'amp="bf16" is emulated on {where}, which has no bfloat16 unit that is known, and can take 8 times as long as '
        f'float32: choose amp="auto", or "off"',
        stacklevel=4,
    )


def _cpu_flags() -> frozenset[str]:
    """Return the flags of the first processor, none if the system does not list them."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
