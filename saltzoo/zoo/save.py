"""save_pretrained: write a checkpoint, or an ensemble with a checkpoint for each member."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from .._checks import check_choice
from .._torch import unwrapped
from ..checkpoints.card import ensemble_card
from ..checkpoints.config import Notes, describe, describe_ensemble
from ..checkpoints.ensemble import KEY, is_ensemble, load_any_folder
from ..checkpoints.files import write_files
from ..checkpoints.folder import CARD, CONFIG, WEIGHTS
from .ensemble import Ensemble
from .pack import pack


def save_pretrained(
    model: nn.Module,
    directory: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    license: str = "other",
    metrics: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    threshold: float | None = None,
    min_size: int | None = None,
) -> Path:
    """Write a checkpoint for `create_model("local-dir:DIRECTORY")` and the Hugging Face Hub.

    Of a `saltzoo.Ensemble`, config.json and the card name the members, and each has a checkpoint in a folder of its
    own: member0, member1, ... A member that came from a checkpoint keeps its scores, licence and recipe.

    The model of the config is built and compared with the given one, its modules and its results on random images, so
    a model that was changed by hand after `create_model` is refused. Hooks and a replaced `forward` are not saved;
    those that leave the results as they are may stay. All files are written to a temporary folder, read back and then
    renamed, the config last: a reader never sees part of a file, and an error while writing leaves the previous
    checkpoint.

    Args:
        model: made by `create_model`, or an ensemble of such models. Of a compiled model, DataParallel,
            DistributedDataParallel, or an average of weights, the model inside is saved.
        directory: created if missing. A checkpoint in it is replaced, other files stay.
        labels: name of each class. None: "salt" for one class, class_0, class_1, ... for several.
        license: licence of the weights, as the Hub identifies it: "apache-2.0", "cc-by-nc-4.0". With "other", an
            ensemble gets that of its members' checkpoints if they all have the same.
        metrics: scores, each with name, value, data and the conditions of its measurement, such as fold and
            seed. "dataset" is the name of the data on the Hub, "org/name".
        recipe: description of the training.
        dtype: "float32", "float16" for half the size, or "int8" for a quarter; loading always gives float32. With
            "float16", buffers (running statistics of norms) stay in float32, as does a parameter that would overflow
            or lose more than a thousandth of its norm. With "int8", filters of 64 values or more are stored in 8 bits
            with a scale for each filter, which changes them by about a hundredth of their norm, and all others as
            with "float16". Measure the score of what you saved.
        threshold: probability above which a pixel is salt, for models of one class, as
            `saltzoo.inference.search_clean` finds it; becomes `model.threshold` of the loaded model. None: that of the
            model.
        min_size: number of pixels below which a patch of salt is removed, see `saltzoo.inference.clean`; becomes
            `model.min_size`. None: that of the model.

    Returns:
        The directory.

    Raises:
        ValueError: if the model was not made by `create_model` or was changed since, a tensor has no plain numbers
            (meta, quantised, sparse), or a value cannot be written as JSON.
        FileExistsError: if the directory holds a README.md or config.json and no checkpoint, or one model where an
            ensemble is saved, or the reverse.
        OSError: if the directory cannot be written.
    """
    check_choice("dtype", dtype, ("float32", "float16", "int8"))
    folder = Path(directory).expanduser()
    plain = unwrapped(model)
    _check_folder(folder, ensemble=isinstance(plain, Ensemble))
    notes = Notes(labels, license, metrics, recipe, **_mask_options(plain, threshold, min_size))
    if isinstance(plain, Ensemble):
        _write_ensemble(plain, folder, notes, dtype)
    else:
        packed = pack(plain, describe(plain, notes), dtype=dtype)
        write_files(folder, packed.files(), check=packed.check)
    return folder


def _mask_options(model: nn.Module, threshold: float | None, min_size: int | None) -> dict[str, Any]:
    """Return the given options of masks, or those of the model where they are not the usual ones."""
    try:
        own = {
            "threshold": None if model.threshold == 0.5 else model.threshold,
            "min_size": model.min_size or None,
        }
    except AttributeError:  # a module of a user
        own = {"threshold": None, "min_size": None}
    given = {"threshold": threshold, "min_size": min_size}
    return {key: own[key] if value is None else value for key, value in given.items()}


def _write_ensemble(ensemble: Ensemble, folder: Path, notes: Notes, dtype: str) -> None:
    models = [unwrapped(member) for member in ensemble.members]
    if nested := [position for position, member in enumerate(models) if isinstance(member, Ensemble)]:
        raise ValueError(f"member {nested[0]} is an ensemble itself and cannot be saved in another: give its members")
    licenses = {record["license"] for record in ensemble.records}
    if notes.license == "other" and len(licenses) == 1:
        notes = replace(notes, license=licenses.pop())
    records = ensemble.records or ({},) * len(models)
    packed = [
        pack(member, describe(member, _notes_of_member(member, record, notes)), dtype=dtype)
        for member, record in zip(models, records, strict=True)
    ]
    classes = packed[0].config["model_args"].get("num_classes", 1)
    config = describe_ensemble(ensemble.mode, ensemble.weights, classes, notes)
    names = config[KEY]["members"]
    files = {
        f"{name}/{file}": data for name, one in zip(names, packed, strict=True) for file, data in one.files().items()
    }
    files[CARD] = ensemble_card(config, [one.config for one in packed]).encode()
    files[CONFIG] = (json.dumps(config, indent=2) + "\n").encode()

    def check(written: Path) -> None:
        for name, one in zip(names, packed, strict=True):
            one.check(written / name)
        if load_any_folder(written).config != config:
            raise OSError(f"{written} does not read as it was written, and was removed: check the disk, and save again")

    write_files(folder, files, check=check)


def _notes_of_member(member: nn.Module, record: Mapping[str, Any], notes: Notes) -> Notes:
    """Return what the checkpoint of a member said; without one, labels and licence of the ensemble."""
    return Notes(
        record.get("labels", notes.labels),
        record.get("license", notes.license),
        record.get("metrics", ()),
        record.get("recipe"),
        **_mask_options(member, None, None),
    )


def _check_folder(folder: Path, *, ensemble: bool) -> None:
    """Raise FileExistsError if saving would replace files that do not belong to a checkpoint of the same kind."""
    one, several = (folder / WEIGHTS).exists(), _holds_ensemble(folder)
    if one or several:
        if several and not ensemble:
            raise FileExistsError(f"{folder} holds an ensemble, not one model: choose another directory")
        if one and ensemble:
            raise FileExistsError(f"{folder} holds one model, not an ensemble: choose another directory")
        return
    for name in (CARD, CONFIG):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} belongs to no checkpoint: move it, or choose another directory")


def _holds_ensemble(folder: Path) -> bool:
    try:
        return is_ensemble(folder)
    except ValueError:
        return False
