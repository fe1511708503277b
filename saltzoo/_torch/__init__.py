"""Helpers around torch that many files share."""

from .helpers import autocast_off, device_name, valid_pixels
from .view import evaluating, evaluation_view

__all__ = ["autocast_off", "device_name", "evaluating", "evaluation_view", "valid_pixels"]
