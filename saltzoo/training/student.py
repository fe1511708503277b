"""The student stage: a network learns from labelled tiles, and from unlabelled ones with masks on which teachers agree.

A recipe asks for it with a table:

    [student]
    teachers = ["local-dir:runs/fold0/model"]
    share = 0.5  # fraction of each batch that is pseudo-labelled

`fit(recipe, tiles, out, unlabelled=...)` lets each teacher predict the unlabelled tiles, keeps the tiles on which all
teachers agree (`agreement`), and fills a fraction of every batch with them. `model.grow_from` starts the student from a
teacher's weights. Teachers must have been trained for the same fold (see `leakage.py`). In public solutions of the TGS
Salt challenge, the stage raises the score by .004 to .009 at the same number of steps; a second round does not.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from ..data import Tiles
from ..zoo.factory import create_model
from .process import Process
from .recipe_parts import StudentPart
from .scalars import check_depths, predict_tiles, reads_scalar
from .techniques.pseudo_labels import agreement
from .tile_checks import check_unique

CHUNK = 512
"""Number of tiles on the device at a time."""


def check_unlabelled(part: StudentPart | None, tiles: Tiles, unlabelled: Tiles | None) -> None:
    """Raise if unlabelled tiles and recipe do not fit together.

    Args:
        part: the recipe's student, if it has one.
        tiles: labelled tiles of all folds.
        unlabelled: unlabelled tiles, if given.

    Raises:
        ValueError: if there are unlabelled tiles and no student, or a student and no unlabelled tiles; if the tiles
            have different sizes; if unlabelled tiles have ids of labelled ones, or share one.
    """
    if part is None:
        if unlabelled is not None:
            raise ValueError(
                "the recipe has no student that would use the unlabelled tiles: add [student] with its teachers, "
                "or leave the tiles out"
            )
        return
    if unlabelled is None or not len(unlabelled):
        raise ValueError(
            "the recipe's student needs unlabelled tiles: give fit(..., unlabelled=tiles), such as "
            'saltzoo.data.read_tgs(folder, split="test"), or remove [student]'
        )
    sizes = [f"{one.images.shape[1]} x {one.images.shape[2]}" for one in (unlabelled, tiles)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"unlabelled and labelled tiles must have one size, got {sizes[0]} and {sizes[1]} pixels")
    check_unique(unlabelled)
    common = sorted({*tiles.ids} & {*unlabelled.ids})
    if common:
        raise ValueError(
            f"{len(common)} of the unlabelled tiles have ids of labelled ones (the first: {common[0]}): "
            f"leave them out, so that no validation tile is trained on"
        )


def pseudo_label(part: StudentPart, unlabelled: Tiles, process: Process, *, amp: bool = False) -> Tiles:
    """Return the unlabelled tiles on which the teachers agree, with their masks.

    Teachers predict one after another. With several processes, each predicts a part of the tiles; all return the same.

    Args:
        part: teachers, and the options of `agreement`.
        unlabelled: tiles; masks that they may have are not used.
        process: this process.
        amp: whether teachers predict under autocast to bfloat16.

    Returns:
        The tiles that are kept, in their order.

    Raises:
        ValueError: if a teacher is not a checkpoint or has several classes, or no tile can be kept.
        OSError: if a teacher's weights are missing or cannot be reached.
    """
    size = (len(part.teachers), *unlabelled.images.shape)
    probabilities = torch.zeros(size, dtype=torch.float16, device=process.device)  # M N H W
    with torch.autocast(process.device.type, dtype=torch.bfloat16, enabled=amp):
        for teacher, own in zip(part.teachers, probabilities, strict=True):
            _fill(own, teacher, unlabelled, process, tta=None if part.tta == "none" else part.tta)
    if process.world > 1:
        dist.all_reduce(probabilities)  # tiles of other processes are 0 here
    labels = agreement(
        probabilities,
        sure=part.sure,
        low=part.low,
        high=part.high,
        min_iou=part.min_iou,
        empty_share=part.empty_share,
    )
    return replace(unlabelled.select(labels.indices.cpu().numpy()), masks=labels.masks.cpu().numpy())


def _fill(probabilities: Tensor, teacher: str, unlabelled: Tiles, process: Process, *, tta: str | None) -> None:
    """Write a teacher's probabilities for this process's tiles at their positions in N H W."""
    model = create_model(teacher, pretrained=True).to(process.device)
    if reads_scalar(model):
        check_depths(unlabelled, f"unlabelled tiles for teacher {teacher!r}")
    for index in torch.arange(process.rank, len(unlabelled), process.world).split(CHUNK):
        predicted = predict_tiles(model, unlabelled.select(index.numpy()), process.device, tta=tta)
        if predicted.ndim != 3:
            raise ValueError(f"teacher {teacher!r} has {predicted.shape[1]} classes: give one with salt alone")
        probabilities[index.to(process.device)] = predicted.half()
