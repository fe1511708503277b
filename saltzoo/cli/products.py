"""make_products: horizons, bodies, a cleaned mask and a page of a volume of salt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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


def make_products(request: Request) -> dict[str, Any]:
    """Write what is asked for, slab by slab, and return what `saltzoo report --json` prints.

    Raises:
        FileExistsError: if a file is there and is not to be replaced.
        ImportError: if scipy is needed and not installed.
        OSError: if a file cannot be written; files of other products may be there.
        ValueError: if the volume goes beyond 0..1.
    """
    salt, products = request.salt, request.products
    slab = slab_of(salt)
    found: dict[str, Any] = {
        "volume": str(salt.path),
        "threshold": request.threshold,
        "min_voxels": request.min_voxels,
        "horizons": None,
        "bodies": None,
        "mask": None,
        "qc": None,
    }
    bodies: Bodies | None = None
    if products.bodies or products.mask or request.min_voxels > 1:
        bodies = Bodies(salt, threshold=request.threshold, connectivity=request.connectivity, slab=slab)
    counts = salt_counts(salt, threshold=request.threshold, slab=slab)
    found["salt"] = counts.voxels / max(1, int(salt.live.sum()) * len(salt.samples))
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
