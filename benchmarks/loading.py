"""Time loading weights beside building the model without them.

    python benchmarks/loading.py --models saltnet_s.tgs unet_resnet34_scse.tgs2

Loads weights that are part of the repository, once from the package and once from a warm cache of the Hugging Face Hub.
The cache has the layout of the Hub's client and the commit is pinned, so no request is made. Contenders alternate in
one process. Writes results/loading_cpu.csv.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, write_csv
from saltzoo.benchmark.timing import Spread, alternate, ratios
from saltzoo.checkpoints.hub import load_from_hub
from saltzoo.zoo.registry import find_weights
from saltzoo.zoo.sources import BUNDLED

COMMIT = "0" * 40
DEVICE = torch.device("cpu")


def cached(name: str, cache: Path) -> str:
    """Copy the weights into a cache with the layout of the Hub's client, and return their source."""
    model, _, tag = name.partition(".")
    repo_id = find_weights(model, tag).repo_id
    folder = cache / f"models--{repo_id.replace('/', '--')}" / "snapshots" / COMMIT
    shutil.copytree(BUNDLED / name, folder)
    load_from_hub(repo_id, revision=COMMIT, cache_dir=str(cache))  # raises if the cache is not found
    return f"hf-hub:{repo_id}@{COMMIT}"


def rows(names: Sequence[str], rounds: int) -> Iterator[Row]:
    """Yield three lines per name: built without weights, loaded from the package, loaded from the cache."""
    for name in names:
        with TemporaryDirectory() as cache:
            contenders = {
                "built": partial(saltzoo.create_model, name.partition(".")[0]),
                "package": partial(saltzoo.create_model, name, pretrained=True),
                "cache": partial(saltzoo.create_model, cached(name, Path(cache)), cache_dir=cache),
            }
            seconds = alternate(contenders, rounds=rounds, device=DEVICE)
        for contender, taken in seconds.items():
            yield {
                "model": name,
                "from": contender,
                **Spread.of([1e3 * value for value in taken]).cells("ms"),
                **ratios(taken, seconds["built"]).cells("times_building"),
                "rounds": rounds,
            }


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=saltzoo.list_models(pretrained=True), help="names of weights, with their tags"
    )
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    where = conditions(DEVICE, "huggingface-hub", "safetensors")
    print(describe(where), flush=True)
    found = list(rows(args.models, args.rounds))
    path = args.out / "loading_cpu.csv"
    write_csv(path, found, where, replacing="model")
    print(f"\n{markdown(found, ('model', 'from', 'ms', 'times_building'))}\n\n{path}")


if __name__ == "__main__":
    main()
