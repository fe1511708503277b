"""Score and time exported files beside their network on the fold of tiles that was held out: float32 and int8.

    python benchmarks/int8.py --data DIR
    python benchmarks/int8.py --data DIR --models saltnet_s.wide2 --tta hflip

DIR is the competition's download. The contenders are the network in eager mode (channels_last), the optimised network,
its ONNX file, and its ONNX file in int8, whose ranges are read from tiles of the other folds. They alternate batch by
batch in one process, so that a busy machine slows all of them. A ratio is the median over the batches of the network's
time by the contender's, with the lowest and highest; above 1, the contender is faster. *loss* is the network's score
less the contender's. Masks are cut at .5, at the tiles' original size. On one
thread the clock is the processor's time of the process, which other work on the machine does not stretch.

Writes int8_cpu.csv, each line with its conditions, and replaces only the models that it measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from validate import scores

import saltzoo
from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv
from saltzoo.benchmark.timing import Spread, clock_of, ratios
from saltzoo.contracts import SegmentationModel
from saltzoo.data import Tiles, read_tgs
from saltzoo.deploy import export, load, optimize
from saltzoo.models import Segmenter
from saltzoo.training.held_out import folds_in_training, held_out_parts, unseen_parts
from saltzoo.zoo.sources import load_weights

MODELS = ("saltnet_s.wide2", "saltnet_m.tgs", "unet_efficientnet_lite0_scse_hc.tgs", "unet_resnet34_scse.tgs2")
EAGER = "eager"
COLUMNS = ("model", "contender", "tta", "unseen", "salt_map", "loss", "tiles_per_s", "ratio", "file_mib")


def contenders(
    model: Segmenter, calibration: npt.NDArray[np.uint8], folder: Path
) -> tuple[dict[str, SegmentationModel], dict[str, float]]:
    """Return the models to compare by name, the network itself first, and the size of each file in MiB."""
    model.to(memory_format=torch.channels_last)
    height, width = model.preprocess(torch.zeros(1, model.in_chans, *calibration.shape[1:])).shape[2:]
    size = (height, width)  # some networks export with one size alone
    files = {
        "onnx": export(model, folder / "float32.onnx", size=size),
        "onnx int8": export(model, folder / "int8.onnx", size=size, int8=calibration),
    }
    models: dict[str, SegmentationModel] = {EAGER: model, "optimised": optimize(model)}
    models |= {name: load(file) for name, file in files.items()}
    return models, {name: file.stat().st_size / 2**20 for name, file in files.items()}


def predictions(
    models: Mapping[str, SegmentationModel], tiles: Tiles, *, tta: str | None, batch: int
) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """Return the masks of each model and the seconds of a tile, one number per batch; models take turns in batches."""
    guesses: dict[str, list[Tensor]] = {name: [] for name in models}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    images, clock = torch.from_numpy(tiles.images), clock_of(torch.device("cpu"))
    for model in models.values():
        saltzoo.predict(model, images[:batch], tta=tta, batch_size=batch)  # picks kernels, fills caches
    for index, part in enumerate(images.split(batch)):
        for name in list(models)[:: -1 if index % 2 else 1]:
            start = clock()
            guesses[name].append(saltzoo.predict(models[name], part, tta=tta, batch_size=batch) > 0.5)
            seconds[name].append((clock() - start) / len(part))
    return {name: torch.cat(parts) for name, parts in guesses.items()}, seconds


def rows(name: str, tiles: Tiles, args: argparse.Namespace) -> Iterator[Row]:
    """Yield a line for each contender."""
    model, config = saltzoo.create_model(name, pretrained=True), load_weights(name).config
    if not isinstance(model, Segmenter):
        raise ValueError(f"--models must be single networks, got the ensemble {name}: give its members")
    parts = held_out_parts(model, config, tiles, args.fold)
    others = tiles.select(folds_in_training(config, tiles) != args.fold).images
    chosen = others[np.random.default_rng(0).permutation(len(others))[: args.calibration]]
    held_out = parts[0].tiles
    masks = torch.from_numpy(held_out.require_masks())
    with TemporaryDirectory() as folder:
        models, sizes = contenders(model, chosen, Path(folder))
        guesses, seconds = predictions(models, held_out, tta=args.tta, batch=args.batch)
    found = {contender: scores(guesses[contender], masks, sum(seconds[contender])) for contender in models}
    for contender, values in found.items():
        yield {
            "model": name,
            "contender": contender,
            "fold": args.fold,
            "unseen": unseen_parts(parts),
            "tta": args.tta or "none",
            "batch": args.batch,
            "calibration": args.calibration,
            **values,
            "loss": round(found[EAGER]["salt_map"] - values["salt_map"], 6),
            **Spread.of([1 / value for value in seconds[contender]]).cells("tiles_per_s"),
            **ratios(seconds[EAGER], seconds[contender]).cells("ratio"),
            "file_mib": round(sizes[contender], 2) if contender in sizes else None,
        }


def main() -> None:
    """Measure model by model, write after each, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="NAME.TAG of weights with a held-out fold")
    parser.add_argument("--data", required=True, help="folder of the competition's files")
    parser.add_argument("--fold", type=int, choices=range(5), default=0, help="fold that was held out from training")
    parser.add_argument("--tta", choices=["hflip"], help="test-time augmentation")
    parser.add_argument("--batch", type=int, default=32, help="tiles in a batch, and in a turn")
    parser.add_argument("--calibration", type=int, default=128, help="tiles from which ranges are read")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    device = torch.device("cpu")
    where = conditions(device, "onnxruntime")
    print(describe(where), flush=True)
    tiles = read_tgs(args.data)
    path = args.out / f"int8_{slug(device)}.csv"
    for name in args.models:
        found = list(rows(name, tiles, args))
        write_csv(path, found, where, replacing="model")
        print(f"\n{markdown(found, COLUMNS)}", flush=True)
    print(f"\n{path}")


if __name__ == "__main__":
    main()
