"""Helpers around torch that many files share."""

from .helpers import autocast_off, device_name, valid_pixels
from .transforms import is_channels_last_only, memory_layout, transforms_active
from .trial import same_results
from .values import is_batched, is_readable, rounding
from .view import evaluating, evaluation_view
from .wrappers import names_without_wrappers, unwrapped, wrapper_hint

__all__ = [
    "autocast_off",
    "device_name",
    "evaluating",
    "evaluation_view",
    "is_batched",
    "is_channels_last_only",
    "is_readable",
    "memory_layout",
    "names_without_wrappers",
    "rounding",
    "same_results",
    "transforms_active",
    "unwrapped",
    "valid_pixels",
    "wrapper_hint",
]
