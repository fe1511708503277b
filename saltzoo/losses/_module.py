"""A loss function as a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class LossModule(nn.Module):
    """Calls a loss function with options that are kept; a subclass names the function.

    Options that the function refuses are refused when the module is made: it is tried on a single pixel.

    Args:
        options: of the function, by keyword; `help(...)` of the class lists them, with their defaults.

    Attributes:
        options: all options of the function, those that were not given at their defaults.
    """

    _function: ClassVar[Callable[..., Tensor]]
    _classes: ClassVar[int]

    def __init_subclass__(cls, *, function: Callable[..., Tensor], classes: int = 1) -> None:
        """Take the function, and of how many classes the logits of its trial are: 1, or 2 if it takes labels only."""
        super().__init_subclass__()
        cls._function, cls._classes = staticmethod(function), classes
        signature = inspect.signature(function)
        options = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        cls.__signature__ = signature.replace(parameters=options, return_annotation=None)  # type: ignore[attr-defined]

    def __init__(self, **options: Any) -> None:
        super().__init__()
        pixel = torch.zeros(1, self._classes, 1, 1, device="cpu")
        self._function(pixel, pixel if self._classes == 1 else pixel[:, 0].long(), **options)
        bound = inspect.signature(type(self)).bind(**options)
        bound.apply_defaults()
        self.options: dict[str, Any] = bound.arguments

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the function's loss with the module's options."""
        return self._function(logits, target, **self.options)

    def extra_repr(self) -> str:
        """Options, for print."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
