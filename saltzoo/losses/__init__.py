"""Losses, called as loss(logits, target): a function and its thin module each, in one file."""

from .bce import BCELoss, bce_loss
from .deep_supervision import DeepSupervisionLoss
from .lovasz import LovaszHingeLoss, lovasz_hinge
from .weighted import WeightedSum

__all__ = ["BCELoss", "DeepSupervisionLoss", "LovaszHingeLoss", "WeightedSum", "bce_loss", "lovasz_hinge"]
