"""The student stage: a network learns from labelled tiles, and from masks of unlabelled ones that teachers agree on.

A recipe asks for it by a table:

    [student]
    teachers = ["local-dir:runs/fold0/model", "unet_resnet34_scse.tgs"]
    share = 0.5  # of each batch

`fit(recipe, tiles, out, unlabelled=...)` then lets each teacher predict the unlabelled tiles, keeps those that all are
sure of (`agreement`), and fills a share of every batch with them; `model.grow_from` starts the student from a
teacher's weights. A teacher that was trained for another fold has seen the tiles that validate, and tells the student
their masks by way of their neighbours: the score would rise by what is false, so such a teacher is refused. One of the
same fold is worth .004 to .009 in public solutions of the TGS Salt challenge, at the same number of steps; a second
round, with the student as a teacher, is worth nothing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from ..data import Tiles
from ..inference import predict
from ..zoo.factory import create_model
from .place import Place
from .recipe_parts import StudentPart
from .techniques.pseudo_labels import agreement

CHUNK = 512
"""Tiles on the device at a time."""


def check_unlabelled(part: StudentPart | None, tiles: Tiles, unlabelled: Tiles | None) -> None:
    """Refuses unlabelled tiles that nothing uses, none where a student needs them, and those of no use to it.

    Args:
        part: of the recipe.
        tiles: the labelled ones, of all folds.
        unlabelled: what is given.

    Raises:
        ValueError: if it is so.
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
            'saltzoo.data.read_tgs(folder, split="test"), or take [student] out'
        )
    sizes = [f"{one.images.shape[1]} x {one.images.shape[2]}" for one in (unlabelled, tiles)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"the unlabelled tiles are {sizes[0]} pixels, the labelled ones {sizes[1]}: give one size")
    common = sorted({*tiles.ids} & {*unlabelled.ids})
    if common:
        raise ValueError(
            f"{len(common)} of the unlabelled tiles have ids of labelled ones (the first: {common[0]}): give others, "
            f"so that no tile that validates is trained on"
        )


def pseudo_labelled(part: StudentPart, unlabelled: Tiles, place: Place, *, amp: bool = False) -> Tiles:
    """The unlabelled tiles that the teachers agree on, with their masks.

    Teachers predict one after another, several processes each a part of the tiles; all processes return the same.

    Args:
        part: teachers, and what agreement is.
        unlabelled: tiles; masks that they have are not looked at.
        place: where the teachers predict.
        amp: whether in bfloat16.

    Returns:
        Those that are kept, in their order.

    Raises:
        ValueError: a teacher can't be loaded or has several classes, or no tile can be kept.
        OSError: a teacher's weights are not there or can't be reached.
    """
    given = torch.zeros(len(part.teachers), *unlabelled.images.shape, dtype=torch.float16, device=place.device)
    with torch.autocast(place.device.type, dtype=torch.bfloat16, enabled=amp):
        for teacher, probabilities in zip(part.teachers, given, strict=True):
            _fill(probabilities, teacher, unlabelled, place, tta=None if part.tta == "none" else part.tta)
    if place.world > 1:
        dist.all_reduce(given)  # what others predict is zero here
    labels = agreement(
        given,
        sure=part.sure,
        low=part.low,
        high=part.high,
        min_iou=part.min_iou,
        empty_share=part.empty_share,
    )
    return replace(unlabelled.select(labels.indices.cpu().numpy()), masks=labels.masks.cpu().numpy())


def _fill(probabilities: Tensor, teacher: str, unlabelled: Tiles, place: Place, *, tta: str | None) -> None:
    """Puts what a teacher predicts of this process's tiles in their places among N H W."""
    model = create_model(teacher, pretrained=True).to(place.device)
    for index in torch.arange(place.rank, len(unlabelled), place.world).split(CHUNK):
        tiles = torch.from_numpy(unlabelled.images[index.numpy()]).to(place.device)
        predicted = predict(model, tiles, tta=tta)
        if predicted.ndim != 3:
            raise ValueError(f"teacher {teacher!r} has {predicted.shape[1]} classes: give one of salt alone")
        probabilities[index.to(place.device)] = predicted.half()
