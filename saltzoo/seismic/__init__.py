"""Readers and writers of seismic pictures."""

from .find import find_pictures
from .masks import read_mask
from .pictures import SUFFIXES, as_uint8, read_amplitudes, read_picture
from .writers import write_mask, write_picture, write_probabilities

__all__ = [
    "SUFFIXES",
    "as_uint8",
    "find_pictures",
    "read_amplitudes",
    "read_mask",
    "read_picture",
    "write_mask",
    "write_picture",
    "write_probabilities",
]
