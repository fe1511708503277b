"""Read the folder of an ensemble: config.json, which names its members, and a checkpoint's folder for each."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .folder import CONFIG, WEIGHTS, Checkpoint, load_folder, newer_explained, read_checkpoint, read_config

KEY = "ensemble"
"""Key of config.json that makes it that of an ensemble."""


@dataclass(frozen=True)
class EnsembleCheckpoint:
    """The content of an ensemble's folder.

    Attributes:
        source: name under which `create_model` finds it, such as "local-dir:PATH".
        mode: how the members are combined.
        weights: weight of each member.
        members: their checkpoints.
        config: content of config.json, with defaults for what may be missing.
    """

    source: str
    mode: str
    weights: tuple[float, ...]
    members: tuple[Checkpoint, ...]
    config: dict[str, Any] = field(repr=False)


def is_ensemble(directory: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds an ensemble.

    Raises:
        ValueError: if its config.json is damaged or not that of a saltzoo checkpoint.
    """
    file = Path(directory).expanduser() / CONFIG
    return file.is_file() and KEY in read_config(file, source=f"local-dir:{directory}")


def load_any_folder(directory: str | os.PathLike[str]) -> Checkpoint | EnsembleCheckpoint:
    """Read a checkpoint, or an ensemble, from a folder.

    Raises:
        FileNotFoundError: if the folder, a file of it, or a member of an ensemble is missing.
        ValueError: if a file is damaged or not part of a saltzoo checkpoint.
    """
    if not is_ensemble(directory):
        return load_folder(directory)
    folder = Path(directory).expanduser()
    source = f"local-dir:{directory}"
    config = read_config(folder / CONFIG, source=source)
    files = [(folder / name / CONFIG, folder / name / WEIGHTS) for name in members_of(config, source)]
    return read_ensemble(config, files, source=source)


def read_ensemble(config: dict[str, Any], files: list[tuple[Path, Path]], *, source: str) -> EnsembleCheckpoint:
    """Read the members of an ensemble from their config.json and model.safetensors.

    Raises:
        FileNotFoundError: if a file is missing; names the member.
        DamagedFileError: if a file cannot be read.
        ValueError: if the config is wrong.
    """
    names = members_of(config, source)
    for name, pair in zip(names, files, strict=True):
        if missing := [file for file in pair if not file.is_file()]:
            raise FileNotFoundError(
                f"member {name!r} of the ensemble {source} is missing: no {missing[0].name} in {missing[0].parent}. It "
                f"has {len(names)} members, {', '.join(names)}: copy the whole folder again from its source"
            )
    return EnsembleCheckpoint(
        source=source,
        mode=config[KEY]["mode"],
        weights=tuple(config[KEY]["weights"]),
        members=tuple(
            read_checkpoint(*pair, source=f"{source}/{name}") for name, pair in zip(names, files, strict=True)
        ),
        config=config,
    )


def members_in(config_file: Path, source: str) -> list[str]:
    """Return the names of the members' folders, or none if a config is not that of an ensemble or cannot be read.

    Raises:
        ValueError: if the config is that of an ensemble and wrong.
    """
    try:
        config = read_config(config_file, source=source)
    except ValueError:  # reported when the checkpoint is read
        return []
    return members_of(config, source) if KEY in config else []


def members_of(config: dict[str, Any], source: str) -> list[str]:
    """Return the names of the members' folders.

    Raises:
        ValueError: if the config does not describe an ensemble, or a name is a path to another place.
    """
    table = config[KEY]
    names, weights = table.get("members"), table.get("weights")
    with newer_explained(config, source):
        if (
            not isinstance(table.get("mode"), str)
            or not isinstance(names, list)
            or not isinstance(weights, list)
            or len(names) != len(weights)
            or not all(isinstance(name, str) and Path(name).name == name for name in names)
            or not all(isinstance(weight, int | float) for weight in weights)
        ):
            raise ValueError(
                f"the config of {source} must give mode, members (names of folders in it) and weights of its ensemble, "
                f"got {table}: save the ensemble again"
            )
    return names
