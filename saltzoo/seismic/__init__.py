"""Readers and writers of seismic pictures and surveys."""

from .describe import describe, description_lines
from .find import find_pictures
from .masks import read_mask
from .opening import is_survey, open_survey
from .pictures import SUFFIXES, as_uint8, read_amplitudes, read_picture
from .survey import RobustStatistics, Survey
from .writers import write_mask, write_picture, write_probabilities
from .writing import SlabWriter, open_like, write_like

__all__ = [
    "SUFFIXES",
    "RobustStatistics",
    "SlabWriter",
    "Survey",
    "as_uint8",
    "describe",
    "description_lines",
    "find_pictures",
    "is_survey",
    "open_like",
    "open_survey",
    "read_amplitudes",
    "read_mask",
    "read_picture",
    "write_like",
    "write_mask",
    "write_picture",
    "write_probabilities",
]
