"""Losses, called as loss(logits, target). Each file holds a function and its module; `create_loss` builds by name.

A target out of range is an error on a CPU. Where the host would have to wait to see it, on a GPU and under
torch.compile and torch.vmap, the loss is NaN; with `reduction="none"`, that of the pixel or image.
"""

from .bce import BCELoss, bce_loss
from .bce_dice import BCEDiceLoss, bce_dice_loss
from .bootstrapped import BootstrappedBCELoss, BootstrappedCELoss, bootstrapped_bce, bootstrapped_ce
from .ce import CELoss, ce_loss
from .deep_supervision import DeepSupervisionLoss
from .dice import DiceLoss, dice_loss
from .focal import FocalLoss, focal_loss
from .generalized_dice import GeneralizedDiceLoss, generalized_dice_loss
from .jaccard import JaccardLoss, jaccard_loss
from .lovasz_hinge import LovaszHingeLoss, lovasz_hinge
from .lovasz_softmax import LovaszSoftmaxLoss, lovasz_softmax
from .registry import create_loss, list_losses, register_loss
from .topology import TopologyLoss, topology_loss
from .tversky import TverskyLoss, tversky_loss
from .weighted import WeightedSum

__all__ = [
    "BCEDiceLoss",
    "BCELoss",
    "BootstrappedBCELoss",
    "BootstrappedCELoss",
    "CELoss",
    "DeepSupervisionLoss",
    "DiceLoss",
    "FocalLoss",
    "GeneralizedDiceLoss",
    "JaccardLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "TopologyLoss",
    "TverskyLoss",
    "WeightedSum",
    "bce_dice_loss",
    "bce_loss",
    "bootstrapped_bce",
    "bootstrapped_ce",
    "ce_loss",
    "create_loss",
    "dice_loss",
    "focal_loss",
    "generalized_dice_loss",
    "jaccard_loss",
    "list_losses",
    "lovasz_hinge",
    "lovasz_softmax",
    "register_loss",
    "topology_loss",
    "tversky_loss",
]
