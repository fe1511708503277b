"""The score of a model on tiles, as a run tells it."""

from __future__ import annotations

import numpy as np
import torch

from ..data import Tiles
from ..inference import predict
from ..metrics import SaltMAP
from ..models import Segmenter
from .place import Place


def evaluate(model: Segmenter, tiles: Tiles, place: Place, *, tta: str | None = None, amp: bool = False) -> float:
    """The competition's score at threshold .5, over all processes; each predicts its share of the tiles."""
    share = tiles.select(np.arange(place.rank, len(tiles), place.world))
    with torch.autocast(place.device.type, dtype=torch.bfloat16, enabled=amp):
        probabilities = predict(model, torch.from_numpy(share.images).to(place.device), tta=tta)
    masks = torch.from_numpy(share.require_masks()).to(place.device)
    return SaltMAP().update(probabilities > 0.5, masks).sync().compute()
