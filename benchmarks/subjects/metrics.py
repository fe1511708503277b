"""Metrics compared with a plain loop and with the counts of a peer."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import segmentation_models_pytorch as smp
import torch
from measure.comparison import OURS, PEER, Match, Plan, compare
from torch import Tensor, nn

from saltzoo.benchmark.memory import MIB, step_mib
from saltzoo.benchmark.report import Row
from saltzoo.benchmark.timing import Run
from saltzoo.metrics import SaltMAP, confusion_matrix, search_threshold

LOOP = "numpy loop over images"
TRIES = "a salt_map for each threshold"
TILES = 4000
CLASSES = 8
_LIMITS = (50 + 5 * np.arange(10)) / 100


def salt_map_rows(plan: Plan) -> Iterator[Row]:
    """Time the competition's score of 4000 tiles of 101 x 101, two of five empty, beside a loop and SMP's counts."""
    rng = np.random.default_rng(0)
    pred, target = (rng.random((TILES, 101, 101)) < 0.3 for _ in range(2))
    target ^= (rng.random((TILES, 1, 1)) < 0.5) & (pred ^ target)  # half of them are nearly right
    pred[: TILES * 2 // 5], target[: TILES * 2 // 5] = False, False
    tensors = torch.from_numpy(pred).to(plan.device), torch.from_numpy(target).to(plan.device)
    ours = partial(_salt_map, *tensors)
    loop = partial(_loop, pred, target)
    what = {"subject": "salt_map", "shape": "x".join(map(str, pred.shape)), "dtype": "bool"}
    match = Match.of((torch.tensor(loop()),), (torch.tensor(ours()),))
    yield from _rows(plan, {**what, "mode": "score, beside a numpy loop"}, {LOOP: loop, OURS: ours}, match)

    # get_stats takes integers and is twice as fast on int64 as on uint8; the conversion is not timed.
    longs = [x[:, None].long() for x in tensors]
    counts = partial(smp.metrics.get_stats, *longs, mode="binary")
    note = {OURS: {"note": "bool masks, scores included; the peer counts int64 masks alone"}}
    yield from _rows(
        plan, {**what, "mode": "score, beside the peer's counts"}, {PEER: counts, OURS: ours}, None, note=note
    )


def confusion_rows(plan: Plan) -> Iterator[Row]:
    """Time confusion counts of 8 classes in 64 images of 256 x 256."""
    torch.manual_seed(0)
    target = torch.randint(CLASSES, (64, 256, 256), device=plan.device)
    pred = torch.where(torch.rand(target.shape, device=plan.device) < 0.7, target, (target + 1) % CLASSES)
    theirs = partial(smp.metrics.get_stats, pred, target, mode="multiclass", num_classes=CLASSES)
    ours = partial(confusion_matrix, pred, target, num_classes=CLASSES)
    matrix = ours()
    right, false_alarms, missed, _ = (count.sum(0) for count in theirs())  # C each
    diagonal = matrix.diagonal()
    own = torch.stack([diagonal, matrix.sum(0) - diagonal, matrix.sum(1) - diagonal])
    match = Match.of((torch.stack([right, false_alarms, missed]).double(),), (own.double(),))
    what = {"subject": "confusion", "mode": "counts", "shape": "64x256x256", "dtype": "int64"}
    yield from _rows(plan, what, {PEER: theirs, OURS: ours}, match)


def threshold_rows(plan: Plan) -> Iterator[Row]:
    """Time the search for the best of 101 thresholds for 640 tiles of 101 x 101."""
    torch.manual_seed(0)
    probabilities = torch.rand(640, 101, 101, device=plan.device)
    target = torch.rand(640, 101, 101, device=plan.device) < probabilities
    target[:256] = False
    tries, ours = (partial(search, probabilities, target) for search in (_tries, _search))
    match = Match.of((tries(),), (ours(),))
    what = {
        "subject": "threshold",
        "mode": "search of 101, beside a score for each",
        "shape": "640x101x101",
        "dtype": "fp32",
    }
    yield from _rows(plan, what, {TRIES: tries, OURS: ours}, match)


def _rows(
    plan: Plan,
    what: Row,
    runs: Mapping[str, Run],
    match: Match | None,
    *,
    note: Mapping[str, Row] | None = None,
) -> Iterator[Row]:
    device = torch.device(plan.device)
    cells = {
        name: {"peak_mib": round(_peak_mib(run, device), 2), **(note or {}).get(name, {})} for name, run in runs.items()
    }
    yield from compare(plan, what, runs, match, cells=cells)


def _peak_mib(run: Run, device: torch.device) -> float:
    """Return the peak of numpy's memory plus the peak of torch's."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / MIB + step_mib(run, nn.Identity(), device)


def _salt_map(pred: Tensor, target: Tensor) -> float:
    return SaltMAP().update(pred, target).compute()


def _loop(pred: npt.NDArray[Any], target: npt.NDArray[Any]) -> float:
    """Compute the score as a simple loop."""
    total = 0.0
    for p, t in zip(pred, target, strict=True):
        intersection, union = np.logical_and(p, t).sum(), np.logical_or(p, t).sum()
        total += 1.0 if union == 0 else float((intersection / union > _LIMITS).mean())
    return total / len(pred)


def _tries(probabilities: Tensor, target: Tensor) -> Tensor:
    scores = [SaltMAP().update(probabilities > k / 100, target).compute() for k in range(101)]
    return torch.tensor(scores, dtype=torch.float64)


def _search(probabilities: Tensor, target: Tensor) -> Tensor:
    return search_threshold(probabilities, target).scores[:, 0]
