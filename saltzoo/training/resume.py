"""The state of a run: one file, replaced atomically, from which a stopped run continues."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

History = list[tuple[int, float, float, float]]
"""Number, loss, score and seconds of each finished epoch."""

MODEL = "model"
STATE = "last.pt"
LOG = "log.csv"
PICTURE = "predictions.png"


def minutes_to(history: History, score: float) -> float | None:
    """Return the minutes of training steps until an epoch first reached a score, or None if none did.

    Example:
        >>> minutes_to([(1, 0.9, 0.5, 30.0), (2, 0.7, 0.8, 30.0)], 0.75)
        1.0
    """
    for done, (*_, reached, _) in enumerate(history, 1):
        if reached >= score:
            return sum(seconds for *_, seconds in history[:done]) / 60
    return None


def check_folder(out: Path, *, resume: bool) -> None:
    """Raise if a new run would overwrite one, or there is no run to resume.

    Raises:
        ValueError: in either case.
    """
    there = (out / STATE).exists()
    if there and not resume:
        raise ValueError(f"{out} holds a run already: resume it, or choose another folder")
    if (out / MODEL).exists() and not there:
        raise ValueError(
            f"{out / MODEL} is a checkpoint without a {STATE} to resume from: move it, or choose another folder"
        )
    for name in (LOG, PICTURE):
        if (out / name).exists() and not there:
            raise ValueError(f"{out / name} belongs to no run that could be resumed: move it, or choose another folder")
    if resume and not there:
        raise ValueError(f"nothing to resume: no {out / STATE}")


def save_state(out: Path, parts: Mapping[str, Any], identity: Mapping[str, Any], history: History) -> None:
    """Write the state of the parts and the log. A kill at any moment leaves the previous state or this one.

    Args:
        out: folder of the run.
        parts: objects with a state_dict, by name.
        identity: what makes this run: a resumed run must have the same.
        history: finished epochs.
    """
    part = out / f"{STATE}.part"
    states = {name: value.state_dict() for name, value in parts.items()}
    rows = [list(row) for row in history]
    torch.save({"parts": states, "identity": dict(identity), "history": rows}, part)
    os.replace(part, out / STATE)
    with open(out / LOG, "w", newline="") as file:
        csv.writer(file).writerows([["epoch", "loss", "score", "seconds"], *rows])


def load_state(out: Path, parts: Mapping[str, Any], identity: Mapping[str, Any], device: torch.device) -> History:
    """Load the saved state into the parts, and return the finished epochs.

    Raises:
        ValueError: if the saved run has another identity; the message names the differences.
    """
    state = torch.load(out / STATE, map_location=device, weights_only=True)
    was, now = _flat(state["identity"]), _flat(identity)
    # A key that is missing in an older file counts as None, so a new option that is off does not stop a run.
    other = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    if other:
        differences = ", ".join(f"{key} {was.get(key)!r} and not {now.get(key)!r}" for key in other)
        raise ValueError(f"the run in {out} has {differences}: resume it with the same, or choose another folder")
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    return [(int(epoch), loss, score, seconds) for epoch, loss, score, seconds in state["history"]]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested table as a flat one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
