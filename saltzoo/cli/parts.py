"""Parts: the slabs of a run that are finished, in a hidden folder beside the result.

Every process of a run, and every run that goes on with it, finds there what is computed and what is to be computed.
A slab is written under another name and renamed, so a file that has its name is complete whenever a process is killed.
The folder is renamed by the one process that assembles the result; only one process can.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .._files import whole_file
from ..seismic import RobustStatistics
from .segmenting import Prediction
from .slabs import Floats, Job, Slab

_PLAN = "plan.json"
_COMPLETE = "complete.json"
_NOT_COMPARED = ("survey", "steps", "statistics")
"""Fields that may differ between the processes of a run: the first process decides."""


@dataclass(frozen=True)
class Parts:
    """Finished slabs of a job.

    Attributes:
        folder: where they are.
        job: what they are computed from.
    """

    folder: Path
    job: Job

    @classmethod
    def open(cls, folder: Path, job: Job) -> Parts:
        """Create the folder, or return the parts of an earlier or another process of the same run.

        Raises:
            ValueError: if they are of a run with other options.
            OSError: if the folder cannot be written.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = folder.with_suffix(f".{uuid.uuid4().hex}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            (new / _PLAN).write_text(json.dumps(asdict(job), indent=1), encoding="utf-8")
            new.rename(folder)  # fails if another process was first
        except OSError:
            if not (folder / _PLAN).is_file():
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
        found = cls(folder, read_job(folder))
        theirs, ours = _compared(found.job), _compared(job)
        if other := [name for name in ours if theirs[name] != ours[name]]:
            told = ", ".join(f"{name} {theirs[name]}, not {ours[name]}" for name in other)
            raise ValueError(
                f"options must be those that the run of {folder} began with, got others ({told}): repeat them, or "
                "remove the folder to begin anew"
            )
        return found

    def has(self, slab: Slab) -> bool:
        """Return whether a slab is finished."""
        return self._file(slab).is_file()

    def write(self, slab: Slab, values: Floats) -> None:
        """Store a finished slab, (line, trace, sample)."""
        with whole_file(self._file(slab), overwrite=True, parents=False) as file:
            file.write(np.ascontiguousarray(values, "<f4").data)

    def read(self, slab: Slab, lines: slice, traces: slice) -> Floats:
        """Return some lines and some traces of a finished slab, (line, trace, sample).

        Args:
            slab: finished slab.
            lines: indices of lines in the slab.
            traces: indices of traces.
        """
        inlines, crosslines, samples = self.job.shape
        width = crosslines if slab.direction == "inline" else inlines
        count = traces.stop - traces.start
        result = np.empty((lines.stop - lines.start, count, samples), np.float32)
        # Not through a map: its pages, of nearly all the file, would count as this process's memory.
        with open(self._file(slab), "rb") as file:
            for row, line in enumerate(range(lines.start, lines.stop)):
                file.seek(4 * samples * (line * width + traces.start))
                result[row] = np.fromfile(file, "<f4", count * samples).reshape(count, samples)
        return result

    def claim(self, folder: Path) -> Parts | None:
        """Rename the folder, and return the parts there; None if another process did so first."""
        try:
            self.folder.rename(folder)
        except FileNotFoundError:
            return None
        return Parts(folder, self.job)

    def set_complete(self, found: dict[str, Any]) -> None:
        """Note that the files of the result are complete, with what describes them."""
        with whole_file(self.folder / _COMPLETE, overwrite=True, parents=False) as file:
            file.write(json.dumps(found).encode())

    def complete(self) -> dict[str, Any] | None:
        """Return what describes the complete result; None if it is not complete."""
        file = self.folder / _COMPLETE
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def remove(self) -> None:
        """Remove the folder; one without a plan is the rest of a removal that was interrupted."""
        for new in self.folder.parent.glob(f"{glob.escape(self.folder.stem)}.*.new"):
            shutil.rmtree(new, ignore_errors=True)  # of a process that was killed while it created the folder
        (self.folder / _PLAN).unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def _file(self, slab: Slab) -> Path:
        return self.folder / f"{slab.direction}_{slab.first}_{slab.stop}.f32"


def read_job(folder: Path) -> Job:
    """Return the job of a folder of parts.

    Raises:
        ValueError: if its file is damaged.
        OSError: if it cannot be read.
    """
    try:
        found = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
        tuples = {name: tuple(found[name]) for name in ("shape", "directions")}
        lines = None if found["lines"] is None else tuple(found["lines"])
        prediction = Prediction(**{**found["prediction"], "scale": tuple(found["prediction"]["scale"])})
        statistics = RobustStatistics(**found["statistics"])
        return Job(**{**found, **tuples, "lines": lines, "prediction": prediction, "statistics": statistics})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / _PLAN} must be the plan of a run, and is damaged: remove the folder") from error


def has_plan(folder: Path) -> bool:
    """Return whether a folder of parts is there, with its plan."""
    return (folder / _PLAN).is_file()


def digest_of_run(job: Job) -> str:
    """Return a digest of what a result depends on, for NAME.json."""
    return hashlib.sha256(json.dumps(_compared(job), sort_keys=True).encode()).hexdigest()[:16]


def _compared(job: Job) -> dict[str, Any]:
    """Return what must agree between the processes of a run, as plain values."""
    plain = json.loads(json.dumps(asdict(job)))
    compared = {one.name: plain[one.name] for one in fields(job) if one.name not in _NOT_COMPARED}
    return compared.pop("prediction") | compared
