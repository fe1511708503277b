"""Measure the gain from attention, hypercolumn and deep supervision on real tiles, adding one of them at a time.

    python benchmarks/ablation.py --data DIR --runs runs/ablation --epochs 10 --seeds 0 1

examples/train.py trains every variant of saltnet_s from scratch, over the same steps and the same full schedule. The
score is that of the averaged weights after the last epoch; no epoch is selected. A run that is complete in --runs is
read instead of repeated. Speed is measured separately: training steps of all variants alternate in one process. Writes
ablation_saltnet_s_DEVICE.csv and prints its table.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import saltzoo
from saltzoo.benchmark.report import Row, conditions, markdown, slug, write_csv
from saltzoo.benchmark.steps import LAYOUTS, training
from saltzoo.benchmark.timing import Spread, alternate, ratios

MODEL = "saltnet_s"
BASE = "none"
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {"attention": "none", "hypercolumn": False},
    "se": {"attention": "se", "hypercolumn": False},
    "scse": {"attention": "scse", "hypercolumn": False},
    "bam": {"attention": "bam", "hypercolumn": False},
    "hypercolumn": {"attention": "none", "hypercolumn": True},
    "deep supervision": {"attention": "none", "hypercolumn": False, "deep_supervision": True},
}


def main() -> None:
    """Train the missing runs, measure speed, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the competition's files")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs, one per variant and seed")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the speed measurement")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    scores = {(name, seed): _score(args, name, seed) for seed in args.seeds for name in VARIANTS}
    speeds = _speeds(torch.device(args.device), batch=args.batch, rounds=args.rounds)
    rows = [_row(args, name, scores, speeds) for name in VARIANTS]
    device = torch.device(args.device)
    path = args.out / f"ablation_{MODEL}_{slug(device)}.csv"
    write_csv(path, rows, conditions(device))
    columns = ("variant", "parameters", "score", "scores", "gain", "gains", "tiles_per_s", "speed")
    print(f"{markdown(rows, columns)}\n\n{path}")


def _score(args: argparse.Namespace, name: str, seed: int) -> float:
    """Return the last epoch's score of a run; train it first if it is not complete."""
    out = args.runs / f"{name.replace(' ', '_')}_{seed}"
    options = [f"{key}={str(value).lower()}" for key, value in VARIANTS[name].items()]
    if len(_log(out)) < args.epochs:
        script = Path(__file__).parent.parent / "examples" / "train.py"
        command = [sys.executable, str(script), "--data", str(args.data), "--model", MODEL, "--options", *options]
        command += ["--epochs", str(args.epochs), "--batch-size", str(args.batch), "--lr", str(args.lr)]
        command += ["--seed", str(seed), "--fold", str(args.fold), "--amp", "bf16", "--device", args.device]
        command += ["--out", str(out), *(["--resume"] if _log(out) else [])]
        subprocess.run(command, check=True)
    return float(_log(out)[args.epochs - 1]["score"])


def _log(out: Path) -> list[dict[str, str]]:
    path = out / "log.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _speeds(device: torch.device, *, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a training step of each variant, one number per round."""
    torch.manual_seed(0)
    images = torch.randn(batch, 1, 101, 101).to(device, memory_format=LAYOUTS["channels_last"])
    masks = (torch.rand(batch, 1, 101, 101) < 0.3).float().to(device)
    steps = {}
    for name, options in VARIANTS.items():
        network = saltzoo.create_model(MODEL, **options).to(device).to(memory_format=LAYOUTS["channels_last"])
        steps[name] = training(network, images, masks, "bf16")
    return alternate(steps, rounds=rounds, device=device)


def _row(
    args: argparse.Namespace, name: str, scores: dict[tuple[str, int], float], speeds: dict[str, list[float]]
) -> Row:
    seconds = speeds[name]
    own = [scores[name, seed] for seed in args.seeds]
    gains = [scores[name, seed] - scores[BASE, seed] for seed in args.seeds]
    network = saltzoo.create_model(MODEL, **VARIANTS[name])
    return {
        "variant": name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "score": round(statistics.mean(own), 4),
        "scores": " ".join(f"{score:.4f}" for score in own),
        "gain": round(statistics.mean(gains), 4),
        "gains": " ".join(f"{gain:+.4f}" for gain in gains),
        **Spread.of([args.batch / value for value in seconds]).cells("tiles_per_s"),
        **ratios(speeds[BASE], seconds).cells("speed"),
        "seeds": " ".join(map(str, args.seeds)),
        "fold": f"{args.fold} of 5",
        "epochs": args.epochs,
        "batch": args.batch,
        "lr": args.lr,
        "amp": "bf16",
    }


if __name__ == "__main__":
    main()
