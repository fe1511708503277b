"""Readers and writers of seismic pictures."""

from .bodies import Bodies, Body, write_bodies_csv
from .find import find_pictures
from .horizon_files import RegularGrid, fit_regular_grid, scale_coordinates, write_horizon_csv, write_irap_grid
from .horizons import SaltHorizons, salt_horizons
from .masks import read_mask
from .pictures import SUFFIXES, as_uint8, read_amplitudes, read_picture
from .qc import qc_page
from .writers import write_mask, write_picture, write_probabilities

__all__ = [
    "SUFFIXES",
    "Bodies",
    "Body",
    "RegularGrid",
    "SaltHorizons",
    "as_uint8",
    "find_pictures",
    "fit_regular_grid",
    "qc_page",
    "read_amplitudes",
    "read_mask",
    "read_picture",
    "salt_horizons",
    "scale_coordinates",
    "write_bodies_csv",
    "write_horizon_csv",
    "write_irap_grid",
    "write_mask",
    "write_picture",
    "write_probabilities",
]
