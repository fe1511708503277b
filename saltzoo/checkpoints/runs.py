"""Find the checkpoints of several runs of training."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .folder import CONFIG

MODEL = "model"
"""Folder of the checkpoint in the folder of a run."""

_FOLD = re.compile(r"fold(\d+)")


def find_runs(runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the folders of the checkpoints of several runs.

    Args:
        runs: folder of runs, or a list of runs. Each is a folder that holds a checkpoint, or one in `model`.

    Raises:
        FileNotFoundError: if a folder is missing or holds no checkpoint, or one of fold0, fold1, ... is left out.
    """
    if isinstance(runs, str | os.PathLike):
        place = Path(runs).expanduser()
        if not place.is_dir():
            raise FileNotFoundError(f"no runs at {place}: not a folder. Give one with a folder for each run")
        folders = sorted((one for one in place.iterdir() if one.is_dir() and one.name[0] != "."), key=_natural)
        _check_folds(place, folders)
    else:
        place, folders = Path(), [Path(run).expanduser() for run in runs]
    if not folders:
        raise FileNotFoundError(f"no runs in {place if isinstance(runs, str | os.PathLike) else runs!r}: give folders")
    return [_checkpoint_of(folder) for folder in folders]


def _checkpoint_of(run: Path) -> Path:
    for folder in (run, run / MODEL):
        if (folder / CONFIG).is_file():
            return folder
    raise FileNotFoundError(
        f"no checkpoint in {run} nor in {run / MODEL}: finish that run, or give a list of the folders that are members"
    )


def _check_folds(place: Path, folders: Sequence[Path]) -> None:
    """Raise FileNotFoundError if the folders are folds and one before the last is missing."""
    found = [int(match[1]) for folder in folders if (match := _FOLD.fullmatch(folder.name))]
    missing = sorted(set(range(max(found, default=-1) + 1)) - set(found))
    if missing:
        raise FileNotFoundError(
            f"{place} holds {', '.join(f'fold{fold}' for fold in found)} and no fold{missing[0]}: finish the "
            f"cross-validation, or give a list of the folders that are members"
        )


def _natural(folder: Path) -> list[tuple[int, str]]:
    """Return a key of sorting that puts fold2 before fold10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", folder.name)]
