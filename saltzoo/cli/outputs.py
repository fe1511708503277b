"""The files that are written for each picture: named and checked before any is computed."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A picture and its files.

    Attributes:
        picture: picture to read.
        files: file by what it holds: "mask", "probabilities", "overlay".
    """

    picture: Path
    files: dict[str, Path]


def plan(
    pictures: Sequence[Path],
    out: Path,
    *,
    overlay: bool = False,
    probabilities: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> list[Job]:
    """Return what to do: for each picture NAME.*, the files NAME_mask.png and, on request, others in `out`.

    Args:
        pictures: pictures to read.
        out: folder of the files.
        overlay: whether NAME_overlay.png is written.
        probabilities: suffix of NAME_probability.*, "tif" or "npy"; None for none.
        overwrite: whether files that are there are replaced.
        resume: whether files that are there are kept, and only the others written.

    Raises:
        ValueError: if two pictures would have the same files, also where capitals make no difference, or a picture
            would be replaced, or both `overwrite` and `resume` are given.
        FileExistsError: if a file is there that is not to be replaced.
        OSError: if `out` cannot be made or written to.
    """
    if overwrite and resume:
        raise ValueError("--overwrite and --resume exclude each other: the one replaces what the other keeps")
    kinds = {"mask": "mask.png"}
    if probabilities is not None:
        kinds["probabilities"] = f"probability.{probabilities}"
    if overlay:
        kinds["overlay"] = "overlay.png"
    jobs = [Job(path, {kind: out / f"{path.stem}_{end}" for kind, end in kinds.items()}) for path in pictures]
    _check_names(pictures)
    _check_inputs(jobs)
    if resume:
        left = [
            Job(job.picture, {kind: file for kind, file in job.files.items() if not file.is_file()}) for job in jobs
        ]
        return [job for job in left if job.files]
    if not overwrite:
        check_absent(
            [file for job in jobs for file in job.files.values()],
            "replace with --overwrite, or leave out what is done with --resume",
        )
    check_folder(out)
    return jobs


def check_folder(folder: Path) -> None:
    """Raise OSError unless a folder is there and can be written to, or can be made. Nothing is made."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is no folder, so {folder} cannot be one: choose another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{there} cannot be written to: choose another --out")


def _check_names(pictures: Sequence[Path]) -> None:
    of_name: dict[str, Path] = {}
    for path in pictures:
        other = of_name.setdefault(unicodedata.normalize("NFC", path.stem).casefold(), path)
        if other is not path:
            raise ValueError(
                f"two pictures have the same name, {other} and {path}, so their masks would too: rename one, or run "
                "twice with two --out"
            )


def _check_inputs(jobs: Sequence[Job]) -> None:
    pictures = {os.path.realpath(job.picture) for job in jobs}
    for job in jobs:
        for file in job.files.values():
            if os.path.realpath(file) in pictures or (
                file.exists() and any(job.picture.exists() and file.samefile(job.picture) for job in jobs)
            ):
                raise ValueError(f"{file} is one of the pictures and would be replaced: choose another --out")


def check_absent(files: Sequence[Path], ways: str) -> None:
    """Raise FileExistsError if a file is there; `ways` says what else than another --out the user may choose."""
    there = [str(file) for file in files if os.path.lexists(file)]
    if there:
        more = f", and {len(there) - 5} others" if len(there) > 5 else ""
        raise FileExistsError(f"already there: {', '.join(there[:5])}{more}. Choose another --out, {ways}")
