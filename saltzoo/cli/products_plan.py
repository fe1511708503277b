"""plan_products: what is made of a volume of salt, and where it goes, checked before any work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._files import check_absent
from ..seismic import Survey, open_survey
from ..seismic.horizon_set import horizon_paths
from ..seismic.writing import check_target


@dataclass(frozen=True)
class Products:
    """Where each product goes; None for those that are not made.

    Attributes:
        horizons: folder.
        bodies: table.
        mask: volume.
        qc: picture.
    """

    horizons: Path | None = None
    bodies: Path | None = None
    mask: Path | None = None
    qc: Path | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return any(path is not None for path in (self.horizons, self.bodies, self.mask, self.qc))

    def files(self) -> list[tuple[str, Path]]:
        """Return the option and the path of each file that is written."""
        horizons = [] if self.horizons is None else [("--horizons", path) for path in horizon_paths(self.horizons)]
        others = (("--bodies", self.bodies), ("--mask", self.mask), ("--qc", self.qc))
        return [*horizons, *((name, path) for name, path in others if path is not None)]


@dataclass(frozen=True)
class Request:
    """What is made of a volume of salt.

    Attributes:
        salt: probabilities or a mask.
        products: where they go.
        survey: survey that was segmented, for the page.
        disagreement: volume for the page.
        geometry: volume that has coordinates, if any has.
        at: indices of the lines and the sample of the page; None for those with the most salt.
        threshold: probability above which a voxel is salt.
        label: name of the model; "" if unknown.
        min_voxels: voxels below which a body is left out.
        connectivity: 6 or 26.
        overwrite: whether files that are there are replaced.
    """

    salt: Survey
    products: Products
    survey: Survey | None
    disagreement: Survey | None
    geometry: Survey
    at: tuple[int, int, int] | None
    threshold: float
    label: str
    min_voxels: int
    connectivity: int
    overwrite: bool

    @property
    def finds_bodies(self) -> bool:
        """Whether connected bodies are needed."""
        return bool(self.products.bodies or self.products.mask or self.min_voxels > 1)


def plan_products(
    salt: Path,
    products: Products,
    *,
    survey: Path | None = None,
    disagreement: Path | None = None,
    at: tuple[float, float, float] | None = None,
    threshold: float | None = None,
    min_voxels: int = 1,
    connectivity: int = 6,
    reading: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Request:
    """Open the volumes and return what to do. What is not given is taken from the .json file beside the volume.

    Raises:
        FileExistsError: if a file is there and is not to be replaced.
        ImportError: if zarr is needed and not installed.
        OSError: if a file cannot be read.
        ValueError: if a volume cannot be read, has another geometry, or an option is wrong.
    """
    options = dict(reading or {})
    told = _told(salt)
    of_cube = {key: value for key, value in options.items() if key != "sample_format"}
    opened = _open(salt, of_cube)
    _check_files(products, opened, overwrite=overwrite)
    cube = _other("--survey", survey, told.get("survey"), opened, options, needed=products.qc is not None)
    spread = None
    if products.qc is not None:
        spread = _other("--disagreement", disagreement, told.get("disagreement"), opened, of_cube, needed=False)
    default = told.get("threshold") if told.get("kind") == "probability" else None
    return Request(
        salt=opened,
        products=products,
        survey=cube,
        disagreement=spread,
        geometry=cube if cube is not None and opened.source.coordinates() is None else opened,
        at=None if at is None else _indices(opened, at),
        threshold=float(threshold if threshold is not None else default or 0.5),
        label=str(told.get("model", "")),
        min_voxels=min_voxels,
        connectivity=connectivity,
        overwrite=overwrite,
    )


def _told(salt: Path) -> dict[str, Any]:
    """Return what the file beside the volume tells, {} without one."""
    path = salt.with_suffix(".json")
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and Path(str(found.get("volume"))).name == salt.name else {}


def _open(path: Path, reading: Mapping[str, Any]) -> Survey:
    """Open a volume; how SEG-Y is read does not concern zarr."""
    return open_survey(path) if path.is_dir() else open_survey(path, **reading)


def _other(
    option: str, given: Path | None, told: str | None, salt: Survey, reading: Mapping[str, Any], *, needed: bool
) -> Survey | None:
    """Open another volume of the same geometry: the one that is given, or told and there."""
    path = given
    if path is None and told is not None:
        places = (Path(told), salt.path.parent / Path(told).name)
        path = next((place for place in places if place.exists()), None)
    if path is None:
        if needed:
            there = f"{told}, which {salt.path.with_suffix('.json')} names, is not there" if told else "got none"
            raise ValueError(f"{option} must be the survey that was segmented, for --qc: {there}: give its path")
        return None
    opened = _open(path, reading)
    pairs = ((opened.inlines, salt.inlines), (opened.crosslines, salt.crosslines))
    if opened.shape != salt.shape or not all(np.array_equal(one, other) for one, other in pairs):
        raise ValueError(
            f"{option} must have the geometry of {salt.path}, {_geometry(salt)}, got {_geometry(opened)} in {path}: "
            "give the volume of the same run"
        )
    return opened


def _geometry(survey: Survey) -> str:
    inlines, crosslines = survey.inlines, survey.crosslines
    return (
        f"inlines {inlines[0]} to {inlines[-1]}, crosslines {crosslines[0]} to {crosslines[-1]}, "
        f"{survey.shape[2]} samples"
    )


def _check_files(products: Products, salt: Survey, *, overwrite: bool) -> None:
    """Raise an error if a product cannot have its path."""
    files = products.files()
    paths = [path.resolve() for _, path in files]
    for (name, path), resolved in zip(files, paths, strict=True):
        if paths.count(resolved) > 1 or resolved == salt.path.resolve():
            raise ValueError(f"{name} must have a path of its own, got {path} twice: rename one")
        if not overwrite:
            try:
                check_absent(path)
            except FileExistsError as error:
                raise FileExistsError(f"{name}: {path} is there already: choose another, or --overwrite") from error
    for name, one, suffix in (("--bodies", products.bodies, ".csv"), ("--qc", products.qc, ".png")):
        if one is not None and one.suffix.lower() != suffix:
            raise ValueError(f"{name} must end with {suffix}, got {one.name!r}: rename it")
    if products.mask is not None:
        try:
            check_target(salt, products.mask)
        except ValueError as error:
            raise ValueError(f"--mask: {error}") from error


def _indices(salt: Survey, at: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return indices of two lines by their numbers, and of the sample nearest to a time."""
    axes = (("inline", salt.inlines), ("crossline", salt.crosslines), ("time", salt.samples))
    found = [_index(name, numbers, value) for (name, numbers), value in zip(axes, at, strict=True)]
    return found[0], found[1], found[2]


def _index(name: str, numbers: npt.NDArray[Any], value: float) -> int:
    nearest = int(np.abs(numbers - value).argmin())
    step = float(numbers[1] - numbers[0]) if len(numbers) > 1 else 1.0
    off = abs(float(numbers[nearest]) - value)
    if off > (step / 2 if name == "time" else 0):
        raise ValueError(f"--at: {name} must be one of {numbers[0]:g} to {numbers[-1]:g}, step {step:g}, got {value:g}")
    return nearest
