"""Read the checkpoints of the repository, and their scores."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from saltzoo.zoo.catalog import WEIGHTS
from saltzoo.zoo.sources import BUNDLED

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NOT_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked", "@scale")
"""Ends of the names of statistics of norms, and of the scales of weights in 8 bits."""


class Bundled(NamedTuple):
    """Weights that are part of the repository.

    Attributes:
        name: name with its tag.
        config: config of the checkpoint.
        parameters: number of parameters.
        size: size of the files of weights in bytes.
    """

    name: str
    config: dict[str, Any]
    parameters: int
    size: int


def bundled() -> Iterator[Bundled]:
    """Yield the weights of the catalog that are in the checkout, in the catalog's order."""
    for weights in WEIGHTS:
        folder = BUNDLED / weights.name
        if folder.is_dir():
            paths = sorted(folder.rglob("model.safetensors"))  # several of an ensemble
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            yield Bundled(
                weights.name, config, sum(map(_parameters, paths)), sum(path.stat().st_size for path in paths)
            )


def _parameters(path: Path) -> int:
    """Count the numbers that are parameters."""
    with safe_open(path, "np") as file:
        names = [name for name in file.keys() if not name.endswith(NOT_PARAMETERS)]  # noqa: SIM118  # not a dict
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def scores() -> list[dict[str, str]]:
    """Return the lines written by benchmarks/validate.py."""
    found = []
    for path in sorted(RESULTS.glob("validate_*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found += list(csv.DictReader(file))
    return found


def scores_of(name: str, found: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the lines of one model, on held-out tiles and on synthetic ones.

    Raises:
        ValueError: if there are none, or the model may have been trained on the scored tiles.
    """
    own = [line for line in found if line["model"] == name]
    if not own:
        raise ValueError(f"no scores of {name}: run python benchmarks/validate.py --model {name} --data DIR --fold 0")
    if any(line["unseen"] != "yes" for line in own):
        raise ValueError(
            f"{name} may have been trained on the scored tiles: validate it on the tiles that its card names"
        )
    return own
