"""Time and measure tiling beside MONAI's sliding_window_inference, with the same network, tiles and weights.

    python benchmarks/tiling.py
    python benchmarks/tiling.py --memory --height 8000 --width 60000

The first form times both on one picture, in turns in one process, and checks that the results agree. The second
measures the peak of resident memory, each in a fresh process, with a network of one convolution and a picture in a
memory-mapped file: what is left is the memory of tiling. Only saltzoo's result goes to a file; MONAI returns it.

Writes results/tiling_cpu.csv and results/tiling_memory.csv.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import saltzoo
from saltzoo.benchmark.memory import resident_peak_mib
from saltzoo.benchmark.report import Row, conditions, describe, markdown, write_csv
from saltzoo.benchmark.timing import Spread, alternate, ratios
from saltzoo.contracts import SegmentationModel, SegOutput

CHILD = "--child"
"""First argument of a process that measures memory."""

DEVICE = torch.device("cpu")
TILE = 101
BATCH = 16


class Convolution(nn.Conv2d):
    """The smallest network: what it takes is the time and the memory of tiling."""

    preprocess = saltzoo.Preprocess.gray()

    def __init__(self) -> None:
        super().__init__(1, 1, 3, padding=1)


def monai_tiled(model: SegmentationModel, picture: npt.NDArray[Any]) -> Tensor:
    """Return probabilities H W by MONAI's function."""
    from monai.inferers.utils import sliding_window_inference

    def logits_of(x: Tensor) -> Tensor:
        output = model(x)
        return output.logits if isinstance(output, SegOutput) else output

    values = torch.from_numpy(np.asarray(picture)).float()
    with torch.inference_mode():
        logits = sliding_window_inference(
            (values[None, None] / 255 - 0.47) / 0.16,
            (TILE, TILE),
            BATCH,
            logits_of,
            overlap=0.5,
            roi_weight_map=_weights(),
        )
    assert isinstance(logits, Tensor)
    return logits.sigmoid()[0, 0]


def _weights() -> Tensor:
    window = torch.exp(-0.5 * ((torch.arange(TILE) - (TILE - 1) / 2) / (TILE / 6)) ** 2)
    return (window[:, None] * window)[None, None]


def timed(names: list[str], height: int, width: int, rounds: int) -> list[Row]:
    """Return two rows for each model."""
    picture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    rows: list[Row] = []
    for name in names:
        model: SegmentationModel = (
            Convolution() if name == "tiny" else saltzoo.create_model(name, pretrained="." in name)
        )
        model.eval()
        difference = np.abs(monai_tiled(model, picture).numpy() - saltzoo.predict_tiled(model, picture)).max()
        contenders = {
            "monai": lambda model=model: monai_tiled(model, picture),
            "saltzoo": lambda model=model: saltzoo.predict_tiled(model, picture, batch_size=BATCH),
        }
        seconds = alternate(contenders, rounds=rounds, device=DEVICE)
        rows += [
            {
                "model": name,
                "contender": contender,
                "height": height,
                "width": width,
                **Spread.of(taken).cells("s"),
                **ratios(seconds["monai"], taken).cells("ratio"),
                "difference": float(f"{difference:.2g}"),
                "rounds": rounds,
            }
            for contender, taken in seconds.items()
        ]
    return rows


def peaks(height: int, width: int, contenders: list[str]) -> list[Row]:
    """Return a row for each contender, measured in a fresh process."""
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.npy"
        picture = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(height, width))
        random = np.random.default_rng(0)
        for first in range(0, height, 256):
            picture[first : first + 256] = random.integers(0, 256, picture[first : first + 256].shape, dtype=np.uint8)
        del picture
        for contender in contenders:
            command = [sys.executable, __file__, CHILD, contender, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured = json.loads(done.stdout.splitlines()[-1])
            rows.append({"contender": contender, "height": height, "width": width, **measured})
    return rows


def _child(contender: str, path: str) -> None:
    model, picture = Convolution(), np.load(path, mmap_mode="r")
    torch.set_num_threads(1)
    if contender == "monai":
        import monai.inferers  # noqa: F401  # part of the memory before
    saltzoo.predict_tiled(model, picture[:TILE, :TILE])
    before, start = resident_peak_mib() or 0, time.perf_counter()
    if contender == "monai":
        np.save(Path(path).with_name("monai.npy"), monai_tiled(model, picture).numpy())
    else:
        saltzoo.predict_tiled(model, picture, out=Path(path).with_name("saltzoo.npy"), batch_size=BATCH)
    seconds = time.perf_counter() - start
    peak = resident_peak_mib() or 0
    print(json.dumps({"peak_mib": round(peak), "added_mib": round(peak - before), "s": round(seconds, 1)}))


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["saltnet_s.tgs3", "tiny"], help='names of models, or "tiny"')
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--contenders", nargs="+", choices=["monai", "saltzoo"], default=["monai", "saltzoo"])
    parser.add_argument("--height", type=int, default=600)
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    where = conditions(DEVICE, "monai")
    print(describe(where), flush=True)
    if args.memory:
        found, path = peaks(args.height, args.width, args.contenders), args.out / "tiling_memory.csv"
        columns: tuple[str, ...] = ("contender", "height", "width", "peak_mib", "added_mib", "s")
    else:
        found, path = timed(args.models, args.height, args.width, args.rounds), args.out / "tiling_cpu.csv"
        columns = ("model", "contender", "s", "ratio", "difference")
    write_csv(path, found, where, replacing="height" if args.memory else "model")
    print(f"\n{markdown(found, columns)}\n\n{path}")


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        _child(sys.argv[2], sys.argv[3])
    else:
        main()
