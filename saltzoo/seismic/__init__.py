"""Readers of seismic pictures."""

from .pictures import as_uint8, read_mask, read_picture

__all__ = ["as_uint8", "read_mask", "read_picture"]
