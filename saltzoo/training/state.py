"""What a run needs to go on after a kill: one file, moved into place whole."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

History = list[tuple[int, float, float, float]]
"""Epoch, loss, score and seconds of each epoch that is done."""

MODEL = "model"
STATE = "last.pt"
LOG = "log.csv"


def minutes_to(history: History, score: float) -> float | None:
    """Minutes of steps until an epoch first had that score; None if none had it.

    Example:
        >>> minutes_to([(1, 0.9, 0.5, 30.0), (2, 0.7, 0.8, 30.0)], 0.75)
        1.0
    """
    for done, (*_, reached, _) in enumerate(history, 1):
        if reached >= score:
            return sum(seconds for *_, seconds in history[:done]) / 60
    return None


def check_folder(out: Path, *, resume: bool) -> None:
    """Refuses to overwrite a run, or to resume none.

    Raises:
        ValueError: if that is what is asked for.
    """
    there = (out / STATE).exists()
    if there and not resume:
        raise ValueError(f"{out} holds a run already: resume it, or choose another folder")
    if (out / MODEL).exists() and not there:
        raise ValueError(
            f"{out / MODEL} is a checkpoint without a {STATE} to resume from: move it, or choose another folder"
        )
    if resume and not there:
        raise ValueError(f"nothing to resume: no {out / STATE}")


def save_state(out: Path, parts: Mapping[str, Any], identity: Mapping[str, Any], history: History) -> None:
    """Writes the parts' state; a kill at any moment leaves the last epoch's state or this one's."""
    part = out / f"{STATE}.part"
    states = {name: value.state_dict() for name, value in parts.items()}
    rows = [list(row) for row in history]
    torch.save({"parts": states, "identity": dict(identity), "history": rows}, part)
    os.replace(part, out / STATE)
    with open(out / LOG, "w", newline="") as file:
        csv.writer(file).writerows([["epoch", "loss", "score", "seconds"], *rows])


def load_state(out: Path, parts: Mapping[str, Any], identity: Mapping[str, Any], device: torch.device) -> History:
    """Puts the saved state into the parts; returns what is done.

    Raises:
        ValueError: if the run in the folder was told other things.
    """
    # Of a run's own making; weights_only reads no code all the same.
    state = torch.load(out / STATE, map_location=device, weights_only=True)
    was, now = _flat(state["identity"]), _flat(identity)
    # What is None now may not have been there when the run began.
    other = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    if other:
        told = ", ".join(f"{key} {was.get(key)!r} and not {now.get(key)!r}" for key in other)
        raise ValueError(f"the run in {out} has {told}: resume it with the same, or choose another folder")
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    return [(int(epoch), loss, score, seconds) for epoch, loss, score, seconds in state["history"]]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
