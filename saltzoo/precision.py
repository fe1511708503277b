"""What has to be exact stays exact under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def autocast_off(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast for the device of `x`; one that does nothing where a device has none, as "meta".

    Example:
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     rounded = x @ x
        ...     with autocast_off(x):
        ...         exact = x @ x
        >>> rounded.dtype, exact.dtype
        (torch.bfloat16, torch.float32)
    """
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
