"""Time saltzoo's Lovász hinge against segmentation_models_pytorch's, forward and backward.

Both get the same logits and masks; their losses and gradients are compared before anything is timed. Then the
two take turns, so that a busy machine slows both. Needs `pip install saltzoo[bench]`.
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from segmentation_models_pytorch.losses import LovaszLoss
from torch import Tensor

from saltzoo.losses import lovasz_hinge

Loss = Callable[[Tensor, Tensor], Tensor]


def step(loss: Loss, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and its gradient by the logits."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Time of one call, until the device has finished."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) * 1e3


def spread(values: list[float]) -> str:
    """Median (min, max)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def main() -> None:
    """Compare, time, print, and write a row if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--size", type=int, default=101)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path, help="write the figures and their conditions to this file")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    shape = (args.batch, 1, args.size, args.size)
    logits = 3 * torch.randn(shape, device=device)
    target = (torch.rand(shape, device=device) < 0.3).float()
    target[: args.batch * 2 // 5] = 0  # two of five tiles of the competition are empty

    rival: Loss = LovaszLoss(mode="binary", per_image=True)
    steps = {
        "smp": partial(step, rival, logits, target),
        "saltzoo": partial(step, lovasz_hinge, logits, target),
        "saltzoo, symmetric elu": partial(step, partial(lovasz_hinge, margin="elu", symmetric=True), logits, target),
    }
    (loss, gradient), (ours, our_gradient) = steps["smp"](), steps["saltzoo"]()
    torch.testing.assert_close(ours, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-3, atol=1e-7)
    error = (our_gradient - gradient).abs().max() / gradient.abs().max()
    print(f"equal: loss {ours:.6f} and {loss:.6f}, gradients differ by {error:.1e} of the largest")

    for run in steps.values():  # warm up
        milliseconds(run, device)
    rounds = [{name: milliseconds(run, device) for name, run in steps.items()} for _ in range(args.rounds)]
    conditions: dict[str, object] = {
        "shape": "x".join(map(str, shape)),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "rounds": args.rounds,
        "torch": torch.__version__,
        "smp": version("segmentation_models_pytorch"),
    }
    print(", ".join(f"{key} {value}" for key, value in conditions.items()))
    print("median (min, max) over the rounds")
    rows = []
    for name in steps:
        times = [times[name] for times in rounds]
        ratios = [times["smp"] / times[name] for times in rounds]
        print(f"{name:24} {spread(times)} ms, {spread(ratios)} times as fast as smp")
        row = {"loss": name, "ms": statistics.median(times), "ms_min": min(times), "ms_max": max(times)}
        row |= {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
        rows.append({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], *conditions])
            writer.writeheader()
            writer.writerows(row | conditions for row in rows)


if __name__ == "__main__":
    main()
