"""The state of a run: one file, replaced whole, from which a stopped run continues without anything it started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..preprocess import Preprocess
from .digests import TileDigests
from .files import replaced
from .history import History, from_rows, to_csv, to_rows
from .recipe import Recipe
from .stored_labels import LABELS

MODEL = "model"
STATE = "last.pt"
LOG = "log.csv"
PICTURE = "predictions.png"


def check_folder(out: Path, *, resume: bool) -> None:
    """Raise if a new run would overwrite one or a file, or there is no run to resume.

    Raises:
        ValueError: in any of these cases.
    """
    if files := [path for path in (out, *out.parents) if path.is_file()]:
        raise ValueError(f"out must be a folder, got {out}, where {files[0]} is a file: choose another folder")
    there = (out / STATE).exists()
    if there and not resume:
        raise ValueError(f"{out} holds a run already: resume it, or choose another folder")
    if (out / MODEL).exists() and not there:
        raise ValueError(
            f"{out / MODEL} is a checkpoint without a {STATE} to resume from: move it, or choose another folder"
        )
    written = (LOG, PICTURE, LABELS, f"{STATE}.part", "snapshot_*")
    for path in [path for pattern in written for path in sorted(out.glob(pattern))]:
        if not there:
            raise ValueError(f"{path} belongs to no run that could be resumed: move it, or choose another folder")
    if resume and not there:
        raise ValueError(f"nothing to resume: no {out / STATE}")


@dataclass(frozen=True)
class Identity:
    """What makes a run: a resumed run must have the same.

    Attributes:
        recipe: the recipe.
        data: name of the data.
        tiles: digests of all labelled tiles, with their folds.
        unlabelled: digests of the unlabelled tiles of a student; None without a student.
        labels: digest of the student's pseudo-labels; None without a student.
        teachers: checksum of each teacher.
    """

    recipe: Recipe
    data: str
    tiles: TileDigests
    unlabelled: TileDigests | None = None
    labels: str | None = None
    teachers: tuple[int, ...] = ()

    def to_state(self) -> dict[str, Any]:
        """Return plain values and tensors."""
        return {
            "recipe": self.recipe.to_dict(),
            "data": self.data,
            "tiles": self.tiles.to_state(),
            "unlabelled": None if self.unlabelled is None else self.unlabelled.to_state(),
            "labels": self.labels,
            "teachers": list(self.teachers),
        }


@dataclass(frozen=True)
class SavedRun:
    """A run as its state file holds it.

    Attributes:
        out: folder of the run.
        parts: state dicts by name.
        identity: the state of an `Identity`.
        preprocess: preprocessing of the model.
        history: finished epochs.
    """

    out: Path
    parts: Mapping[str, Any]
    identity: Mapping[str, Any]
    preprocess: Preprocess
    history: History

    @classmethod
    def read(cls, out: Path, device: torch.device) -> SavedRun:
        """Read the state file.

        Raises:
            ValueError: if it is damaged or no state of a run, or an earlier version of saltzoo wrote it, which did not
                store which tiles validate.
        """
        try:
            state = torch.load(out / STATE, map_location=device, weights_only=True)
        except OSError:
            raise
        except Exception as error:  # of the pickle, the archive or torch
            raise ValueError(
                f"{out / STATE} is damaged, or no state of a run ({type(error).__name__}): choose another folder"
            ) from error
        if not isinstance(state, dict) or not {"parts", "identity", "history"} <= state.keys():
            raise ValueError(f"{out / STATE} is no state of a run: choose another folder")
        if "preprocess" not in state:
            raise ValueError(
                f"{out / STATE} does not say which tiles validate, as an earlier version of saltzoo wrote it: resume "
                f"the run with that version, or start again in another folder"
            )
        return cls(
            out,
            state["parts"],
            state["identity"],
            Preprocess.from_dict(state["preprocess"]),
            from_rows(state["history"]),
        )

    @property
    def labels(self) -> str | None:
        """Digest of the student's pseudo-labels."""
        return self.identity["labels"]

    @property
    def epochs(self) -> int:
        """Number of epochs that the run was to have."""
        return self.identity["recipe"]["epochs"]

    def continued(self, recipe: Recipe) -> Recipe:
        """Return the recipe with which this run continues. If it has more epochs, the rate restarts for them.

        Raises:
            ValueError: if the recipe differs from this run's in more than that, or does not allow a restart.
        """
        was = {"amp": "off", **self.identity["recipe"]}
        recipe = replace(recipe, amp=was["amp"]) if recipe.amp == "auto" else recipe
        restarts = list(was["rate"]["restarts"])
        if recipe.epochs > was["epochs"]:
            restarts.append(was["epochs"])
            was |= {"epochs": recipe.epochs, "rate": {**was["rate"], "restarts": restarts}}
        now = recipe.to_dict()
        if not recipe.rate.restarts:  # a caller need not repeat those of earlier calls
            now |= {"rate": {**now["rate"], "restarts": restarts}}
        self._raise_for(_differences(was, now, "recipe."))
        return replace(recipe, rate=replace(recipe.rate, restarts=tuple(restarts)))

    def check_data(self, data: str, tiles: TileDigests, unlabelled: TileDigests | None) -> None:
        """Raise if the data differ from this run's.

        Raises:
            ValueError: with the differences.
        """
        self._raise_for(_differences({"data": self.identity["data"]}, {"data": data}))
        both = {"tiles": (self.identity["tiles"], tiles), "unlabelled tiles": (self.identity["unlabelled"], unlabelled)}
        for what, (state, now) in both.items():
            changes = [] if state is None or now is None else TileDigests.from_state(state).changes(now)
            if changes:
                raise ValueError(
                    f"the {what} are not those of the run in {self.out}: {'; '.join(changes)}. Resume it with the same "
                    f"{what}, or choose another folder"
                )

    def check_labels(self, labels: str, teachers: tuple[int, ...]) -> None:
        """Raise if pseudo-labels that were made again, or their teachers, differ from this run's.

        Raises:
            ValueError: if they do.
        """
        was = {"teachers": self.identity["teachers"], "labels": self.labels}
        self._raise_for(_differences(was, {"teachers": list(teachers), "labels": labels}))

    def restore(self, parts: Mapping[str, Any]) -> None:
        """Load the saved state into the parts of a trainer."""
        for name, part in parts.items():
            part.load_state_dict(self.parts[name])

    def _raise_for(self, differences: list[str]) -> None:
        if differences:
            raise ValueError(
                f"the run in {self.out} has {', '.join(differences)}: resume it with the same, or choose another folder"
            )


def save_state(
    out: Path, parts: Mapping[str, Any], identity: Identity, *, preprocess: Preprocess, history: History
) -> None:
    """Write the state of the parts and the log. A kill at any moment leaves the previous state or this one.

    Args:
        out: folder of the run.
        parts: objects with a state_dict, by name.
        identity: properties that a resumed run must share.
        preprocess: preprocessing of the model.
        history: finished epochs.

    Raises:
        OSError: if a file cannot be written. The old one is then unchanged.
    """
    state = {
        "parts": {name: value.state_dict() for name, value in parts.items()},
        "identity": identity.to_state(),
        "preprocess": preprocess.to_dict(),
        "history": to_rows(history),
    }
    with replaced(out / STATE) as file:
        torch.save(state, file)
    with replaced(out / LOG) as file:
        file.write(to_csv(history).encode())


def _differences(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return "KEY OLD and not NEW" for each value of nested tables that differs.

    A key that is missing in an older file counts as None, so a new option that is off does not stop a run.
    """
    old, new = _flat(was, prefix), _flat(now, prefix)
    other = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [f"{key} {old.get(key)!r} and not {new.get(key)!r}" for key in other]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested table as a flat one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
