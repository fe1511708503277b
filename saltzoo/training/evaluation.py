"""The score of a model on tiles."""

from __future__ import annotations

import numpy as np
import torch

from ..data import Tiles
from ..metrics import SaltMAP
from ..models import Segmenter
from .process import Process
from .scalars import predict_tiles


def evaluate(model: Segmenter, tiles: Tiles, process: Process, *, tta: str | None = None, amp: bool = False) -> float:
    """Return the score of the TGS Salt challenge at threshold .5.

    Each process predicts its share of the tiles; all return the score of all tiles.

    Args:
        model: model to score.
        tiles: tiles with masks.
        process: this process.
        tta: test-time augmentation, as `saltzoo.predict` takes it.
        amp: whether to predict under autocast to bfloat16.
    """
    share = tiles.select(np.arange(process.rank, len(tiles), process.world))
    metric = SaltMAP()
    if len(share):  # with fewer tiles than processes, some have none
        with torch.autocast(process.device.type, dtype=torch.bfloat16, enabled=amp):
            probabilities = predict_tiles(model, share, process.device, tta=tta)
        metric.update(probabilities > 0.5, torch.from_numpy(share.require_masks()).to(process.device))
    return metric.sync().compute()
