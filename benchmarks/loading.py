"""How long it takes to load weights, beside building the model without them.

    python benchmarks/loading.py --models saltnet_s.tgs unet_resnet34_scse.tgs

For weights that come with the repository: read from the package, and from a warm cache of the Hugging Face Hub that is
laid out as its client does, with the commit pinned, so that nothing is asked of the network. In turns, in one process.
Writes results/loading_cpu.csv.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _measure import Row, Spread, alternate, conditions, describe, markdown, ratios, write_csv

import saltzoo
from saltzoo.checkpoints.hub import load_from_hub
from saltzoo.zoo.registry import find_weights
from saltzoo.zoo.sources import BUNDLED

COMMIT = "0" * 40
DEVICE = torch.device("cpu")


def cached(name: str, cache: Path) -> str:
    """Puts the weights into a cache as the Hub's client would; returns their source."""
    repo_id = find_weights(name).repo_id
    folder = cache / f"models--{repo_id.replace('/', '--')}" / "snapshots" / COMMIT
    shutil.copytree(BUNDLED / name, folder)
    load_from_hub(repo_id, revision=COMMIT, cache_dir=str(cache))  # says so if it is not there
    return f"hf-hub:{repo_id}@{COMMIT}"


def rows(names: Sequence[str], rounds: int) -> Iterator[Row]:
    """Three lines for each name: built, from the package, from the cache."""
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
    """Measures, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=saltzoo.list_models(pretrained=True), help="with their tags")
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
