"""check_space: whether the disk can hold the slabs and the volumes of a survey."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..seismic.writing import volume_bytes
from .parts import Parts
from .slabs import Slab
from .survey_plan import Plan


def check_space(plan: Plan, parts: Parts, slabs: Sequence[Slab]) -> None:
    """Raise OSError if a folder has less free space than its files need.

    Slabs that are not finished and SEG-Y volumes are counted. Zarr volumes are not, since they are compressed.

    Args:
        plan: files that are written.
        parts: finished slabs.
        slabs: all slabs.
    """
    inlines, crosslines, samples = plan.survey.shape
    width = {"inline": crosslines * samples, "crossline": inlines * samples}
    needed: dict[Path, int] = {
        plan.out.parent: sum(
            4 * (slab.stop - slab.first) * width[slab.direction] for slab in slabs if not parts.has(slab)
        )
    }
    for volume in plan.volumes:
        size = volume_bytes(plan.survey, volume, mask=parts.job.mask and volume == plan.out)
        needed[volume.parent] = needed.get(volume.parent, 0) + size
    for folder, size in needed.items():
        there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
        free = shutil.disk_usage(there).free
        if free < size:
            raise OSError(
                f"{folder} must have {size / 2**30:.2f} GiB free for the volume and its slabs, got "
                f"{free / 2**30:.2f}: free some, or write to another disk"
            )
