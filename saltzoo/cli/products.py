"""make_products: horizons, bodies, a cleaned mask and a page of a volume of salt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..draw import save_png
from ..seismic import (
    Bodies,
    Survey,
    open_like,
    qc_page,
    salt_counts,
    salt_horizons,
    write_bodies_csv,
    write_salt_horizons,
)
from .products_plan import Products, Request, plan_products

if TYPE_CHECKING:
    from pathlib import Path

    from ..seismic.horizons import Sliced

__all__ = ["Products", "Request", "make_products", "plan_products"]

_VOXELS = 2**24
"""Most voxels of a slab, of about 17 bytes each while bodies are found."""


class _Counted:
    """The volume of salt, which tells how many of its inlines are read, over all passes, and how many there are."""

    def __init__(self, request: Request, progress: Callable[[int, int], object]) -> None:
        self._volume, self._progress = request.salt, progress
        self.shape = request.salt.shape
        wanted = request.products
        passes = (True, request.finds_bodies, wanted.mask is not None, wanted.horizons is not None)
        self._read, self._count = 0, self.shape[0] * sum(passes)

    def __getitem__(self, key: slice, /) -> npt.NDArray[np.float32]:
        values = self._volume[key]
        self._read += len(values)
        self._progress(self._read, self._count)
        return values


def make_products(request: Request, *, progress: Callable[[int, int], object] | None = None) -> dict[str, Any]:
    """Write what is asked for, slab by slab, and return what `saltzoo report --json` prints.

    Args:
        request: what is asked for.
        progress: called with the number of inlines that are read, and that of all that have to be, over all passes.

    Raises:
        FileExistsError: if a file is there and is not to be replaced.
        ImportError: if scipy is needed and not installed.
        OSError: if a file cannot be written; files of other products may be there.
        ValueError: if the volume goes beyond 0..1.
    """
    products, slab = request.products, slab_of(request.salt)
    salt: Sliced = request.salt if progress is None else _Counted(request, progress)
    found: dict[str, Any] = {
        "volume": str(request.salt.path),
        "threshold": request.threshold,
        "min_voxels": request.min_voxels,
        "horizons": None,
        "bodies": None,
        "mask": None,
        "qc": None,
    }
    bodies: Bodies | None = None
    if request.finds_bodies:
        bodies = Bodies(salt, threshold=request.threshold, connectivity=request.connectivity, slab=slab)
    counts = salt_counts(salt, threshold=request.threshold, slab=slab)
    found["salt"] = counts.voxels / max(1, int(request.salt.live.sum()) * len(request.salt.samples))
    if bodies is not None:
        found["bodies"] = _write_bodies(bodies, request)
    if bodies is not None and products.mask is not None:
        _write_mask(bodies, request, products.mask)
        found["mask"] = str(products.mask)
    if products.horizons is not None:
        small_removed = bodies is not None and request.min_voxels > 1
        volume = bodies.without_small(request.min_voxels) if bodies is not None and small_removed else salt
        found["horizons"] = _write_horizons(volume, request, products.horizons, slab=slab)
    if products.qc is not None and request.survey is not None:
        at = request.at or counts.richest()
        found["qc"] = _write_page(request, request.survey, products.qc, at, salt=found["salt"])
    return found


def slab_of(volume: Survey) -> int:
    """Return the number of inlines to read at a time: what the file prefers, within bounds of memory."""
    _, traces, samples = volume.shape
    return max(1, min(volume.source.slab_size(), _VOXELS // (traces * samples)))


def _write_bodies(bodies: Bodies, request: Request) -> dict[str, Any]:
    path = request.products.bodies
    if path is not None:
        write_bodies_csv(
            path, bodies.found, min_voxels=request.min_voxels, survey=request.salt, overwrite=request.overwrite
        )
    sizes = [body.voxels for body in bodies.found]
    return {
        "file": None if path is None else str(path),
        "count": len(sizes),
        "kept": sum(size >= request.min_voxels for size in sizes),
        "largest": max(sizes, default=0),
    }


def _write_mask(bodies: Bodies, request: Request, path: Path) -> None:
    kept = f", bodies of {request.min_voxels} voxels or more" if request.min_voxels > 1 else ""
    notes = [f"Salt: mask of {request.salt.path.name}, probability > {request.threshold:g}{kept}"]
    with open_like(request.salt, path, mask=True, notes=notes, overwrite=request.overwrite) as volume:
        for first, _, ids in bodies.slabs(0, request.salt.shape[0], min_voxels=request.min_voxels):
            volume.write(first, ids > 0)


def _write_horizons(volume: Sliced, request: Request, folder: Path, *, slab: int) -> dict[str, Any]:
    found = salt_horizons(volume, threshold=request.threshold, slab=slab)
    written = write_salt_horizons(folder, found, request.geometry, overwrite=request.overwrite)
    return {
        "folder": str(folder),
        "files": [str(file) for file in written.files],
        "traces": int(np.isfinite(found.top).sum()),
        "overhangs": int((found.crossings > 2).sum()),
        "without_grids": written.without_grids,
    }


def _write_page(
    request: Request, survey: Survey, path: Path, at: tuple[int, int, int], *, salt: float
) -> dict[str, Any]:
    inlines, crosslines, samples = survey.inlines, survey.crosslines, survey.samples
    geometry = (
        f"inlines {inlines[0]} to {inlines[-1]}, crosslines {crosslines[0]} to {crosslines[-1]}, "
        f"{len(samples)} samples from {samples[0]:g} to {samples[-1]:g} {survey.unit}".rstrip()
    )
    model = f", by {request.label}" if request.label else ""
    page = qc_page(
        survey,
        request.salt,
        disagreement=request.disagreement,
        at=at,
        threshold=request.threshold,
        title=f"{request.salt.path.name}: salt in {survey.path.name}, {salt:.1%} of the live samples",
        notes=[f"{geometry}; outlined: probability above {request.threshold:g}{model}"],
        axes=(inlines, crosslines, samples),
        unit=survey.unit,
    )
    save_png(page, path, overwrite=request.overwrite)
    shown = [int(survey.inlines[at[0]]), int(survey.crosslines[at[1]]), float(survey.samples[at[2]])]
    return {"file": str(path), "at": shown}
