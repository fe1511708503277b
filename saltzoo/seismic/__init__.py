"""Readers and writers of seismic pictures and surveys."""

from .bodies import Bodies, Body, write_bodies_csv
from .describe import describe, description_lines
from .find import find_pictures
from .horizon_files import RegularGrid, fit_regular_grid, scale_coordinates, write_horizon_csv, write_irap_grid
from .horizons import SaltHorizons, salt_horizons
from .masks import read_mask
from .opening import is_survey, open_survey
from .pictures import SUFFIXES, as_uint8, read_amplitudes, read_picture
from .qc import qc_page
from .survey import RobustStatistics, Survey
from .writers import write_mask, write_picture, write_probabilities
from .writing import SlabWriter, open_like, write_like

__all__ = [
    "SUFFIXES",
    "Bodies",
    "Body",
    "RegularGrid",
    "RobustStatistics",
    "SaltHorizons",
    "SlabWriter",
    "Survey",
    "as_uint8",
    "describe",
    "description_lines",
    "find_pictures",
    "fit_regular_grid",
    "is_survey",
    "open_like",
    "open_survey",
    "qc_page",
    "read_amplitudes",
    "read_mask",
    "read_picture",
    "salt_horizons",
    "scale_coordinates",
    "write_bodies_csv",
    "write_horizon_csv",
    "write_irap_grid",
    "write_like",
    "write_mask",
    "write_picture",
    "write_probabilities",
]
