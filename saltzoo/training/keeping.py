"""The model that is kept: what was trained, without what only training needed."""

from __future__ import annotations

import copy

import numpy as np

from ..inference import predict
from ..models import Segmenter
from ..zoo.factory import create_model
from .recipe_parts import ModelPart


def kept_model(part: ModelPart, trained: Segmenter) -> Segmenter:
    """The model of a recipe's options, with the weights that it has in common with the trained one.

    Args:
        part: what was trained; `check_training_options` has found nothing against it.
        trained: a model of its options and training options. It is left as it is.

    Returns:
        The trained model itself where there are no training options; else a model without them, on the CPU, that gives
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
    """Refuses training options that change how masks are made: a checkpoint would miss them.

    Args:
        part: what is trained.
        fresh: a model of its options and training options that has not learnt yet: a trained one may be so sure of
            itself that differences do not show.

    Raises:
        ValueError: if the model without the training options gives other masks.
    """
    if not part.training_options:
        return
    plain, trained = create_model(part.name, **part.options), copy.deepcopy(fresh).cpu()
    tensors, wanted = trained.state_dict(), plain.state_dict()
    if all(key in tensors and tensors[key].shape == value.shape for key, value in wanted.items()):
        same_parts = plain.mask_only().state_dict().keys() == trained.mask_only().state_dict().keys()
        if same_parts and _same_masks(kept_model(part, trained), trained):
            return
    raise ValueError(
        f"model.training_options {dict(part.training_options)} change how {part.name!r} makes its masks, and would be "
        f"missed in the checkpoint: move them to model.options"
    )


def _same_masks(plain: Segmenter, trained: Segmenter) -> bool:
    """On a picture of noise: options may change what a network computes and none of its tensors."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 101, 101), dtype=np.uint8)
    return np.allclose(predict(plain, noise), predict(trained, noise), atol=1e-4)
