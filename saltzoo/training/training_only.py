"""Options that only training needs: checkpoints leave out what they add to a model."""

from __future__ import annotations

import copy

import numpy as np
import torch

from ..data import Tiles
from ..models import Segmenter
from ..zoo.factory import create_model
from .recipe_parts import ModelPart
from .scalars import predict_tiles


def without_training_options(part: ModelPart, trained: Segmenter) -> Segmenter:
    """Return the model of a recipe's options, with the weights that it shares with the trained one.

    Args:
        part: the recipe's model, which passed `check_training_options`.
        trained: model of its options and training options. It is left unchanged.

    Returns:
        The trained model itself if there are no training options; else a model without them, on the CPU, that gives
        the same masks.
    """
    if not part.training_options:
        return trained
    plain = create_model(part.name, **part.options)
    tensors = trained.state_dict()
    plain.load_state_dict({key: tensors[key] for key in plain.state_dict()})
    plain.preprocess = trained.preprocess
    return plain


def check_training_options(part: ModelPart, fresh: Segmenter) -> None:
    """Raise if training options change the masks: a checkpoint without them would give other ones.

    Args:
        part: the recipe's model.
        fresh: model of its options and training options before training. The probabilities of a trained one may be so
            close to 0 and 1 that differences do not show.

    Raises:
        ValueError: if the model without the training options gives other masks.
    """
    if not part.training_options:
        return
    plain, trained = create_model(part.name, **part.options), copy.deepcopy(fresh).cpu()
    tensors, wanted = trained.state_dict(), plain.state_dict()
    if all(key in tensors and tensors[key].shape == value.shape for key, value in wanted.items()):
        same_parts = plain.mask_only().state_dict().keys() == trained.mask_only().state_dict().keys()
        if same_parts and _same_masks(without_training_options(part, trained), trained):
            return
    raise ValueError(
        f"model.training_options {dict(part.training_options)} change the masks of {part.name!r}, and checkpoints "
        f"leave them out: move them to model.options"
    )


def _same_masks(plain: Segmenter, trained: Segmenter) -> bool:
    """Compare predictions for noise: an option may change what a network computes without changing its tensors."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 101, 101), dtype=np.uint8)
    tile = Tiles(("noise",), noise, depths=np.array([500], dtype=np.float32))
    cpu = torch.device("cpu")
    return torch.allclose(predict_tiles(plain, tile, cpu), predict_tiles(trained, tile, cpu), atol=1e-4)
