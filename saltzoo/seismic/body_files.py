"""Writer of a table of bodies of salt."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._checks import check_counts
from .._files import whole_file
from .bodies import Body
from .survey import Survey


def write_bodies_csv(
    path: str | os.PathLike[str],
    bodies: tuple[Body, ...],
    *,
    min_voxels: int = 1,
    survey: Survey | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a table of bodies, the largest first, and return its path: id, voxels, and first and last of each axis.

    The ends of the box are indices, or, with a survey, numbers of lines and times or depths.

    Args:
        path: file; missing folders are created.
        bodies: bodies, as `Bodies.found`.
        min_voxels: number of voxels below which a body is left out.
        survey: survey of the volume's geometry; None for indices.
        overwrite: whether a file that is there is replaced.

    Raises:
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    check_counts(min_voxels=min_voxels)
    axes = (None, None, None) if survey is None else (survey.inlines, survey.crosslines, survey.samples)
    rows = sorted((one for one in bodies if one.voxels >= min_voxels), key=lambda one: (-one.voxels, one.id))
    with whole_file(Path(path), overwrite=overwrite) as file:
        text = io.StringIO()
        text.write("id,voxels,inline_first,inline_last,crossline_first,crossline_last,sample_first,sample_last\n")
        for body in rows:
            ends = [end for axis, numbers in zip(body.box, axes, strict=True) for end in _numbered(axis, numbers)]
            text.write(",".join([str(body.id), str(body.voxels), *ends]) + "\n")
        file.write(text.getvalue().encode("ascii"))
    return Path(path)


def _numbered(ends: tuple[int, int], numbers: npt.NDArray[Any] | None) -> list[str]:
    return [f"{end if numbers is None else np.asarray(numbers)[end]:.10g}" for end in ends]
