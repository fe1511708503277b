"""Profile a training step: the time of its phases, of its operators, and of the products in it at the matrix rate.

    python benchmarks/profile_step.py
    python benchmarks/profile_step.py --models saltnet_s --dtypes amp_bfloat16 --batch 32

A step is that of `saltzoo.training` with the default recipe on synthetic tiles: augmentation, forward pass, loss,
backward pass, optimiser. SMP's U-Net takes the same batches, loss and optimiser. Models take turns, so that a busy
machine slows all of them. *ms* of a phase is the median of the rounds, with the lowest and highest; that of an operator
is its own time, without operators that it calls, by torch's profiler. *gflop* are the convolutions and products of the
step; the floor is their time at the rate of a large matrix product of the same dtype, measured in the same process. On
one thread of a CPU the clock is the processor's time of this process, which other work on the machine does not stretch.
*peak_mib* is what torch's allocator adds during a step.

Writes profile_DEVICE.csv, each line with its conditions, and replaces only the models that it measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import saltzoo
from saltzoo.benchmark.floor import matmul_gflops, step_gflop
from saltzoo.benchmark.memory import step_mib
from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv
from saltzoo.benchmark.steps import PRECISIONS
from saltzoo.benchmark.timing import Spread, clock_of, synchronize
from saltzoo.data import Tiles, synthetic_tiles
from saltzoo.training import Recipe, Trainer

SMP = "smp unet_resnet34_scse"
PHASES = ("augmentation", "forward", "loss", "backward", "optimizer")
OPERATORS = 12
"""Operators with rows of their own; the others are one row."""

COLUMNS = ("model", "dtype", "kind", "name", "ms", "share", "calls", "gflop", "peak_mib")

Phase = Callable[[str], AbstractContextManager[None]]
Step = Callable[[Phase], None]


def step_of(name: str, tiles: Tiles, dtype: str, device: torch.device) -> tuple[Step, nn.Module]:
    """Return a training step, which opens a phase for each of its parts, and its network."""
    bf16 = dtype == "amp_bfloat16"
    ours = "unet_resnet34_scse" if name == SMP else name
    recipe = Recipe.from_dict({"model": {"name": ours}, "batch_size": len(tiles), "amp": "bf16" if bf16 else "off"})
    trainer = Trainer(recipe, tiles, device=device)
    model: nn.Module = trainer.model
    optimizer = trainer.optimizer
    if name == SMP:
        import segmentation_models_pytorch as smp

        model = smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=1, decoder_attention_type="scse")
        model = Padded(model.to(device).to(memory_format=torch.channels_last))
        same = {key: optimizer.defaults[key] for key in ("lr", "weight_decay", "foreach", "fused")}
        optimizer = type(optimizer)(model.parameters(), **same)
    images = torch.from_numpy(tiles.images).to(device)
    masks = torch.from_numpy(tiles.require_masks()).to(device)
    noise = torch.Generator(device).manual_seed(0)
    prepare = trainer.model.preprocess
    model.train()

    def run(phase: Phase) -> None:
        with phase("augmentation"):
            x, y = recipe.augment(images.float() / 255, masks, generator=noise)
        with phase("forward"), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            output = model(prepare(x[:, None]))
        with phase("loss"):
            loss = trainer.loss(output, y)
        with phase("backward"):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
        with phase("optimizer"):
            optimizer.step()

    return run, model


class Padded(nn.Module):
    """SMP's U-Net, which takes only sides that are multiples of 32, with the padding that it needs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images N 1 H W to logits N 1 H W."""
        height, width = x.shape[-2:]
        x = nn.functional.pad(x, (0, -width % 32, 0, -height % 32))
        return self.network(x)[..., :height, :width]


def timed(step: Step, device: torch.device) -> dict[str, float]:
    """Return the seconds of each phase of a step."""
    seconds: dict[str, float] = {}

    clock = clock_of(device)

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        synchronize(device)
        start = clock()
        yield
        synchronize(device)
        seconds[name] = clock() - start

    step(phase)
    return seconds


@contextmanager
def untimed(_name: str) -> Iterator[None]:
    """Do nothing: a phase that nobody measures."""
    yield


def operators(step: Step, device: torch.device, *, steps: int = 2) -> dict[str, tuple[float, int]]:
    """Return the milliseconds and calls in a step of each operator, by its own time, the longest first."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            step(untimed)
        synchronize(device)
    own: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        own[name] += event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        calls[name] += event.count
    return {name: (us / 1e3 / steps, calls[name] // steps) for name, us in own.most_common() if us > 0}


def rows(args: argparse.Namespace, dtype: str, device: torch.device) -> Iterator[Row]:
    """Yield the lines of all models in a dtype."""
    tiles = synthetic_tiles(args.batch, seed=0, size=args.size)
    steps = {name: step_of(name, tiles, dtype, device) for name in args.models}
    for step, _ in steps.values():
        step(untimed)  # picks kernels, fills caches, creates the optimizer's state
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for index in range(args.rounds):
        for name in list(steps)[:: -1 if index % 2 else 1]:
            spent[name].append(timed(steps[name][0], device))
    rate = matmul_gflops(PRECISIONS[dtype].computed, device)
    for name, (step, model) in steps.items():
        what = {"model": name, "dtype": dtype, "batch": args.batch, "size": args.size, "rounds": args.rounds}
        whole = [sum(seconds.values()) for seconds in spent[name]]
        plain = partial(step, untimed)
        gflop, peak = step_gflop(plain), step_mib(plain, model, device)
        empty: Row = {"calls": None, "gflop": None, "matmul_gflops": None, "peak_mib": None}
        total = {"gflop": float(f"{gflop:.4g}"), "matmul_gflops": float(f"{rate:.4g}"), "peak_mib": round(peak)}
        yield {**what, "kind": "step", "name": "step", **cells(whole, whole), **empty, **total}
        for phase in PHASES:
            seconds = [one[phase] for one in spent[name]]
            yield {**what, "kind": "phase", "name": phase, **cells(seconds, whole), **empty}
        floor = [gflop / rate] * len(whole)
        yield {**what, "kind": "floor", "name": "floor", **cells(floor, whole), **empty}
        found = operators(step, device)
        full = sum(ms for ms, _ in found.values())
        first = dict(list(found.items())[:OPERATORS])
        rest = (full - sum(ms for ms, _ in first.values()), sum(calls for _, calls in found.values()))
        for operator, (ms, calls) in {**first, "others": (rest[0], rest[1])}.items():
            share = float(f"{ms / full:.4g}")
            known = {"ms": float(f"{ms:.4g}"), "ms_min": None, "ms_max": None, "share": share}
            yield {**what, "kind": "operator", "name": operator, **known, **empty, "calls": calls}


def cells(seconds: list[float], whole: list[float]) -> Row:
    """Return milliseconds with their spread, and the median share of the whole."""
    share = Spread.of([part / full for part, full in zip(seconds, whole, strict=True)]).median
    return {**Spread.of([1e3 * value for value in seconds]).cells("ms"), "share": float(f"{share:.4g}")}


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = [*saltzoo.list_models(), SMP]
    parser.add_argument("--models", nargs="+", choices=models, default=["saltnet_s", "unet_resnet34_scse", SMP])
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "amp_bfloat16"], default=["float32", "amp_bfloat16"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=101)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # as `fit` does
    where = conditions(device, "segmentation_models_pytorch")
    print(describe(where), flush=True)
    found: list[Row] = []
    path = args.out / f"profile_{slug(device)}.csv"
    for dtype in args.dtypes:
        found += rows(args, dtype, device)
        write_csv(path, found, where, replacing="model")  # after each dtype, so that an interrupted run keeps its rows
    print(f"\n{markdown(found, COLUMNS)}\n\n{path}")


if __name__ == "__main__":
    main()
