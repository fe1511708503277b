"""Helpers around torch that many files share."""

from .helpers import autocast_off, device_name, valid_pixels
from .values import is_readable, rounding
from .view import evaluating, evaluation_view

__all__ = [
    "autocast_off",
    "device_name",
    "evaluating",
    "evaluation_view",
    "is_readable",
    "rounding",
    "valid_pixels",
]
