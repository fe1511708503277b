"""The score of a model on tiles."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from ..data import Tiles
from ..metrics import ConfusionMatrix, SaltMAP
from ..models import Segmenter
from .process import Process
from .scalars import predict_tiles


class Score(NamedTuple):
    """A score, 0 to 1.

    Attributes:
        value: the score.
        class_iou: of several classes, the IoU of each over all pixels, NaN for a class in neither truth nor prediction;
            nothing for masks of salt.
    """

    value: float
    class_iou: tuple[float, ...] = ()

    def named(self) -> dict[str, float]:
        """Return the values by the names that cards give them, without those that are NaN.

        Example:
            >>> Score(0.75, (0.9, 0.6, math.nan)).named()
            {'mean_iou': 0.75, 'iou_class_0': 0.9, 'iou_class_1': 0.6}
        """
        ious = {f"iou_class_{c}": iou for c, iou in enumerate(self.class_iou) if not math.isnan(iou)}
        return {"mean_iou" if self.class_iou else "salt_map": self.value, **ious}


def evaluate(
    model: Segmenter,
    tiles: Tiles,
    process: Process,
    *,
    num_classes: int = 1,
    ignore_index: int | None = None,
    tta: str | None = None,
    amp: bool = False,
) -> Score:
    """Return the score of the TGS Salt challenge at threshold .5, or the mean IoU of several classes.

    Each process predicts its share of the tiles; all return the score of all tiles. The mean IoU is over the classes
    that are in truth or prediction.

    Args:
        model: model to score.
        tiles: tiles with masks.
        process: this process.
        num_classes: number of classes of the model.
        ignore_index: value of unknown pixels, which do not count.
        tta: test-time augmentation, as `saltzoo.predict` takes it.
        amp: whether to predict under autocast to bfloat16.
    """
    share = tiles.select(np.arange(process.rank, len(tiles), process.world))
    salt = SaltMAP(ignore_index=ignore_index)
    labels = ConfusionMatrix(num_classes=max(num_classes, 2), ignore_index=ignore_index)
    if len(share):  # with fewer tiles than processes, some have none
        with torch.autocast(process.device.type, dtype=torch.bfloat16, enabled=amp):
            probabilities = predict_tiles(model, share, process.device, tta=tta)  # N H W or N K H W
        truth = torch.from_numpy(share.require_masks()).to(process.device)
        if num_classes == 1:
            salt.update(probabilities > 0.5, truth)
        else:
            labels.update(probabilities.argmax(1), truth)
    if num_classes == 1:
        return Score(salt.sync().compute())
    scores = labels.sync().compute()
    return Score(scores.mean_iou, tuple(scores.iou.tolist()))
