"""What the page of weights is made of: checkpoints that come with the repository, and their scores."""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from saltzoo.zoo.catalog import WEIGHTS
from saltzoo.zoo.sources import BUNDLED

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of what norms keep and training does not move."""


class Kept(NamedTuple):
    """Weights that come with the repository.

    Attributes:
        name: with the tag.
        config: of the checkpoint.
        parameters: how many numbers they are.
        size: of the file in bytes.
    """

    name: str
    config: dict[str, Any]
    parameters: int
    size: int


def kept() -> Iterator[Kept]:
    """All of the catalog that lie in the checkout, in its order."""
    for weights in WEIGHTS:
        folder = BUNDLED / weights.name
        if folder.is_dir():
            path = folder / "model.safetensors"
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            yield Kept(weights.name, config, _parameters(path), path.stat().st_size)


def _parameters(path: Path) -> int:
    """All numbers but the running statistics of norms."""
    with safe_open(path, "np") as file:
        names = [name for name in file.keys() if not name.endswith(BUFFERS)]  # noqa: SIM118  # it is no dict
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def in_wheel(name: str) -> bool:
    """Whether the weights are part of what `pip install saltzoo` installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    excluded = project["tool"]["hatch"]["build"]["exclude"]
    return f"saltzoo/pretrained/{name}" not in excluded


def lines() -> list[dict[str, str]]:
    """What validate.py wrote."""
    found = []
    for path in sorted(RESULTS.glob("validate_*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found += list(csv.DictReader(file))
    return found


def of(name: str, found: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The lines of a model; there must be some."""
    own = [line for line in found if line["model"] == name]
    if not own:
        raise ValueError(f"no scores of {name}: run python benchmarks/validate.py --model {name} --data DIR --fold 0")
    if any(line["unseen"] != "yes" for line in own):
        raise ValueError(f"{name} was scored on tiles that it may have seen: validate it on those that its card names")
    return own
