"""Ensemble: several models that answer as one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast, get_args

import torch
from torch import Tensor, nn

from .._checks import check_choice
from .._torch import unwrapped
from ..checkpoints.ensemble import EnsembleCheckpoint
from ..checkpoints.folder import Checkpoint, load_folder
from ..checkpoints.runs import find_runs
from ..contracts import ModelConfig, SegmentationModel, SegOutput
from ..preprocess import Preprocess
from .combine import COMBINE, Mode
from .members import checked_model, checked_weights, largest_tile, plain_preprocess
from .restore import leave_out_heads, restore_model, saved_tile_size


class Ensemble(nn.Module):
    """Several models that answer as one, which predict, augmentation, tiling and export take like any other.

    Members may differ in architecture, in normalisation and padding, and in their number of channels: each prepares
    the images itself and crops its own margins. They must have the same number of classes, and all or none of them
    read a number for each image.

    Args:
        members: models with `preprocess`, in any mode. They are not copied, and are switched to evaluation mode.
        mode: "mean" averages probabilities, "logit_mean" averages logits, and "vote" counts votes: the probability of
            a class is the share of the members that find it the most probable (above one half, for one class).
        weights: positive weight of each member, of any sum. None: all the same.

    Attributes:
        members: the models.
        mode: as given.
        weights: weight of each member.
        preprocess: that of the ensemble: images in 0..1 as they are, and the scalar in its own unit.
        num_classes: logits per pixel; None if no member was made by `create_model` and tells it.
        threshold: probability above which a pixel counts as salt.
        min_size: number of pixels below which a patch of salt is to be removed, see `saltzoo.inference.clean`.
        tile_size: height and width of the tiles that the weights were trained on: the largest of the members'.
        records: content of config.json of each member's checkpoint (scores, licence, recipe); empty for members that
            were not loaded by `from_runs` or with the ensemble.

    Raises:
        TypeError: if a member is not a saltzoo model.
        ValueError: if there is no member, classes or scalars differ, or `mode` or `weights` is wrong.

    Shape:
        N C H W -> N num_classes H W. C is that of the members, or 1 if they differ: gray images are then repeated for
        members with more channels.

    Example:
        >>> import saltzoo
        >>> folds = [saltzoo.create_model("saltnet_s") for _ in range(2)]
        >>> ensemble = Ensemble(folds, weights=[1, 3])
        >>> saltzoo.predict(ensemble, torch.zeros(1, 101, 101)).shape
        torch.Size([1, 101, 101])
    """

    def __init__(
        self, members: Iterable[SegmentationModel], *, mode: Mode = "mean", weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        check_choice("mode", mode, get_args(Mode))
        models = [
            checked_model(member, f"members[{position}] must be a saltzoo model")
            for position, member in enumerate(members)
        ]
        if not models:
            raise ValueError("an ensemble must have one member or more, got none: give a list of models")
        preprocesses = [cast(SegmentationModel, model).preprocess for model in models]
        self.members: nn.ModuleList = nn.ModuleList(models)
        self.mode: Mode = mode
        self.weights: tuple[float, ...] = checked_weights(weights, len(models))
        self.preprocess: Preprocess = plain_preprocess(preprocesses)
        self.num_classes: int | None = _classes_of(models)
        self.threshold: float = 0.5
        self.min_size: int = 0
        self.tile_size: tuple[int, int] = largest_tile(models)
        self.records: tuple[Mapping[str, Any], ...] = ()
        self.eval()

    @classmethod
    def from_runs(
        cls,
        runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        mode: Mode = "mean",
        weights: Sequence[float] | None = None,
    ) -> Self:
        """Return the ensemble of finished runs of training.

        Args:
            runs: folder of runs, such as the one with fold0, fold1, ... that `saltzoo.training.cross_validate` wrote;
                or a list of folders. Each is a run, which holds its checkpoint in `model`, or a checkpoint itself. The
                order is that of the names, fold2 before fold10, or of the list.
            mode: as for the class.
            weights: as for the class.

        Raises:
            FileNotFoundError: if a folder is missing or holds no checkpoint, or a fold is left out.
            ValueError: if a checkpoint is damaged, or the models do not fit each other.
        """
        return cls._of([load_folder(folder) for folder in find_runs(runs)], mode=mode, weights=weights)

    @classmethod
    def _of(
        cls,
        checkpoints: Sequence[Checkpoint],
        *,
        mode: Mode,
        weights: Sequence[float] | None,
        in_chans: int | None = None,
        num_classes: int | None = None,
        mask_only: bool = False,
    ) -> Self:
        models = [restore_model(one, {}, in_chans=in_chans, num_classes=num_classes) for one in checkpoints]
        members = [leave_out_heads(model) if mask_only else model for model in models]
        ensemble = cls(members, mode=mode, weights=weights)
        if in_chans is None and num_classes is None:  # else scores are no longer those of these models
            ensemble.records = tuple(one.config for one in checkpoints)
        return ensemble

    @property
    def in_chans(self) -> int:
        """Channels of the input: those of the images, and the scalar's."""
        return self.preprocess.in_chans

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images.

        Args:
            x: images N C H W in 0..1; the last channel is a plane of the scalar if the members read one.

        Raises:
            ValueError: if the batch is not N C H W with this C, or members give different numbers of classes.
        """
        if x.ndim != 4 or x.shape[1] != self.in_chans:
            raise ValueError(
                f"expected a batch N {self.in_chans} H W, got {tuple(x.shape)}: gray tiles (N, H, W) become one with "
                f"x[:, None], or use saltzoo.predict"
            )
        images = x[:, : self.preprocess.image_chans]  # N C' H W
        scalars = x[:, -1, 0, 0] if self.preprocess.scalar else None  # N
        logits = [_logits(member, images, scalars) for member in self.members]  # N K H W each
        if len({one.shape[1] for one in logits}) > 1:
            raise ValueError(
                f"members of an ensemble must have the same classes, got {[one.shape[1] for one in logits]} logits "
                f"per pixel: leave out those that differ"
            )
        return COMBINE[self.mode](logits, self.weights)


def restore_ensemble(
    checkpoint: EnsembleCheckpoint, *, in_chans: int | None, num_classes: int | None, mask_only: bool
) -> Ensemble:
    """Build the members of a saved ensemble and load their weights.

    Args:
        checkpoint: content of the ensemble's folder.
        in_chans: channels of the image, for every member. None: as saved.
        num_classes: logits per pixel, for every member. None: as saved.
        mask_only: whether to leave out heads of the members that only training needs.

    Raises:
        ValueError: if the weights of a member do not fit.
    """
    ensemble = Ensemble._of(
        checkpoint.members,
        mode=cast(Mode, checkpoint.mode),
        weights=checkpoint.weights,
        in_chans=in_chans,
        num_classes=num_classes,
        mask_only=mask_only,
    )
    ensemble.threshold = float(checkpoint.config.get("threshold", 0.5))
    ensemble.min_size = int(checkpoint.config.get("min_size", 0))
    if "tile_size" in checkpoint.config:
        ensemble.tile_size = saved_tile_size(checkpoint.config)
    return ensemble


def _logits(member: nn.Module, images: Tensor, scalars: Tensor | None) -> Tensor:
    """Images N C H W in 0..1, and their scalars N -> a member's logits N K H W, float32 or better."""
    preprocess = cast(SegmentationModel, member).preprocess
    prepared = preprocess.normalise(preprocess.assemble(images, scalars))
    output: Tensor | SegOutput = member(prepared)
    logits = output.logits if isinstance(output, SegOutput) else output
    logits = preprocess.unpad(logits, (images.shape[-2], images.shape[-1]))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _classes_of(members: Sequence[nn.Module]) -> int | None:
    """Return the classes that all members have whose config tells, or None."""
    known = [_classes_of_one(unwrapped(member)) for member in members]
    counts = {count for count in known if count is not None}
    if len(counts) > 1:
        raise ValueError(
            f"members of an ensemble must have the same classes, got {known} logits per pixel: leave out those that "
            f"differ"
        )
    return next(iter(counts), None)


def _classes_of_one(member: nn.Module) -> int | None:
    if isinstance(member, Ensemble):
        return member.num_classes
    try:
        config = member.config
    except AttributeError:
        return None
    return int(config.model_args.get("num_classes", 1)) if isinstance(config, ModelConfig) else None
