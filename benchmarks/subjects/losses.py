"""Losses compared with those of a peer: both Lovász losses, and three forms of the topology loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import segmentation_models_pytorch as smp
import torch
from measure.comparison import OURS, PEER, Match, Plan, compare, forward_backward
from torch import Tensor, nn

from saltzoo.benchmark.memory import step_mib
from saltzoo.benchmark.report import Row
from saltzoo.benchmark.timing import Run
from saltzoo.encoders.timm.vgg import LAYERS, VGG19Features
from saltzoo.losses import lovasz_hinge, lovasz_softmax, topology_loss

TILES = 40
CASES = ((2, True), (8, True), (8, False))
"""Number of classes, and whether some tiles hold a single class."""
EVERY_MAP_APART = "a walk for every map"
"""Topology loss as it is often written: the network runs once per feature map, for prediction and mask."""
IN_ONE_BATCH = "prediction and mask in one batch"

Loss = Callable[[Tensor], Tensor]


def lovasz_rows(plan: Plan) -> Iterator[Row]:
    """Time the Lovász hinge of 40 tiles of 101 x 101, forward and backward, and our symmetric form."""
    shape = (TILES, 1, 101, 101)
    logits = 3 * torch.randn(shape, device=plan.device)
    target = (torch.rand(shape, device=plan.device) < 0.3).float()
    target[:16] = 0  # two of five tiles of the competition are empty
    losses: dict[str, Loss] = {
        PEER: partial(smp.losses.LovaszLoss(mode="binary", per_image=True), y_true=target),
        OURS: partial(lovasz_hinge, target=target),
        "saltzoo symmetric elu": partial(lovasz_hinge, target=target, margin="elu", symmetric=True),
    }
    yield from _loss_rows(plan, "lovasz", "forward and backward", losses, logits)


def lovasz_softmax_rows(plan: Plan) -> Iterator[Row]:
    """Time Lovász softmax of 40 tiles of 101 x 101, for several numbers of classes, per image and over the batch.

    Two of five tiles hold a single class, as in the competition; in one case none does, so that no class is skipped.
    """
    for classes, empty in CASES:
        logits = 3 * torch.randn(TILES, classes, 101, 101, device=plan.device)
        target = torch.randint(classes, (TILES, 101, 101), device=plan.device)
        if empty:
            target[:16] = 0
        for per_image in (True, False):
            losses: dict[str, Loss] = {
                PEER: partial(smp.losses.LovaszLoss(mode="multiclass", per_image=per_image), y_true=target),
                OURS: partial(lovasz_softmax, target=target, per_image=per_image),
            }
            mode = "forward and backward, " + ("per image" if per_image else "the batch as one image")
            mode += "" if empty else ", every class in every image"
            yield from _loss_rows(plan, "lovasz_softmax", mode, losses, logits)


def topology_rows(plan: Plan) -> Iterator[Row]:
    """Time three forms of the topology loss through VGG19 with random weights, forward and backward."""
    features = VGG19Features(pretrained=False).to(plan.device)
    size = max(plan.sizes)
    logits = torch.randn(plan.batch, 1, size, size, device=plan.device)
    target = (torch.rand(plan.batch, size, size, device=plan.device) < 0.3).float()
    losses: dict[str, Loss] = {
        EVERY_MAP_APART: partial(_every_map_apart, target=target, features=features),
        IN_ONE_BATCH: partial(_in_one_batch, target=target, features=features),
        OURS: partial(topology_loss, target=target, features=features, normalize=False),
    }
    yield from _loss_rows(plan, "topology", "forward and backward, beside a walk for every map", losses, logits)


def _loss_rows(plan: Plan, subject: str, mode: str, losses: Mapping[str, Loss], logits: Tensor) -> Iterator[Row]:
    one = torch.ones((), device=plan.device)
    steps: dict[str, Run] = {name: partial(forward_backward, loss, logits, one) for name, loss in losses.items()}
    match = Match.of(
        forward_backward(next(iter(losses.values())), logits, one), forward_backward(losses[OURS], logits, one)
    )
    device, none = torch.device(plan.device), nn.Identity()
    memory = {name: {"peak_mib": round(step_mib(step, none, device), 2)} for name, step in steps.items()}
    what = {"subject": subject, "mode": mode, "shape": "x".join(map(str, logits.shape)), "dtype": "fp32"}
    yield from compare(plan, what, steps, match, cells=memory)


def _every_map_apart(logits: Tensor, *, target: Tensor, features: VGG19Features) -> Tensor:
    predicted, true = _gray(logits.sigmoid()), _gray(target[:, None])
    losses = [
        (features.layers[: tap + 1](predicted) - features.layers[: tap + 1](true)).square().mean() for tap in LAYERS
    ]
    return torch.stack(losses).sum()


def _in_one_batch(logits: Tensor, *, target: Tensor, features: VGG19Features) -> Tensor:
    maps = features(_gray(torch.cat([logits.sigmoid(), target[:, None]])))
    halves = [x.chunk(2) for x in maps]
    return torch.stack([(predicted - true.detach()).square().mean() for predicted, true in halves]).sum()


def _gray(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1)
