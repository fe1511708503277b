"""The training loop: steps over tiles that lie on the device."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data import Tiles
from ..losses import DeepSupervisionLoss
from ..models import Segmenter
from ..preprocess import Preprocess
from .assemble import build_average, build_initial_model, build_loss, build_optimizer
from .classes import check_losses, with_labels
from .precision import with_amp_of
from .process import Process
from .recipe import Recipe
from .sampling import Sampler
from .scalars import check_depths, network_images, reads_scalar
from .synthetic_pool import SyntheticPool
from .techniques.averaging import WeightAverage, reestimate_batch_norm
from .techniques.freezing import keep_batch_norm_frozen
from .techniques.schedule import rate_factor
from .techniques.unfreezing import GradualUnfreezing

BATCH_NORM_TILES = 64
"""Batch size for the re-estimation of batch-norm statistics."""


class Trainer:
    """Model, optimiser and weight average of a run, and the steps that change them.

    Args:
        recipe: recipe of the run.
        tiles: training tiles, with masks. All of them are kept on the device, as bytes.
        device: "cpu", "cuda" or "cuda:N".
        pseudo: pseudo-labelled tiles of the same size, for a recipe with a student. They are kept on the device too, as
            are synthetic tiles.
        restored: preprocessing of a stopped run whose state will be loaded into `parts`: weights that the recipe starts
            from are then not read. None for a new run.

    Attributes:
        model: the network that learns.
        loss: loss of the model's output; its weights follow the recipe.
        steps: number of steps in an epoch.
        parts: objects with a state_dict that a resumed run needs, by name.

    Raises:
        ValueError: if the recipe and the tiles do not fit together, or a model that reads a scalar gets tiles of
            unknown depth.

    Example:
        >>> from saltzoo.data import synthetic_tiles
        >>> recipe = Recipe.from_dict({"model": {"name": "saltnet_s"}, "epochs": 1, "batch_size": 2})
        >>> trainer = Trainer(recipe, synthetic_tiles(4))
        >>> trainer.steps, math.isfinite(trainer.epoch(0))
        (2, True)
    """

    def __init__(
        self,
        recipe: Recipe,
        tiles: Tiles,
        *,
        device: str | torch.device = "cpu",
        pseudo: Tiles | None = None,
        restored: Preprocess | None = None,
    ) -> None:
        if (pseudo is None) != (recipe.student is None):
            raise ValueError("a recipe with a student needs pseudo-labelled tiles, and one without takes none")
        pools = [with_labels(recipe, pool) for pool in ([tiles] if pseudo is None else [tiles, pseudo])]
        self._process = Process.current(device)
        recipe = with_amp_of(recipe, self._process.device)
        self.recipe: Recipe = recipe
        self._sampler = Sampler.of(recipe, self._process, labelled=len(tiles), pseudo=sum(map(len, pools[1:])))
        self.steps: int = self._sampler.steps
        torch.manual_seed(recipe.seed)
        self.model: Segmenter = (
            build_initial_model(recipe, tiles, restored=restored)
            .to(self._process.device)
            .to(memory_format=torch.channels_last)
        )
        self.optimizer: torch.optim.Optimizer = build_optimizer(recipe.optimizer, self.model)
        if recipe.frozen_batch_norm:
            keep_batch_norm_frozen(self.model.encoder)  # before the average copies the model
        self.average: WeightAverage | None = build_average(recipe, self.model)
        self._unfreezing = None
        if recipe.frozen_until > 0:
            self._unfreezing = GradualUnfreezing(self.model, until=recipe.frozen_until)
        self.loss: DeepSupervisionLoss
        self.loss, self._mask_loss = build_loss(recipe)
        check_losses(recipe, list(self._mask_loss.losses), (tiles.images.shape[1], tiles.images.shape[2]))
        self.loss.to(self._process.device)
        self._net: nn.Module = self._wrapped()
        # All tiles lie on the device as bytes; they are augmented there, batch by batch.
        part = recipe.synthetic
        space = np.zeros((0 if part is None else part.count, *tiles.images.shape[1:]), dtype=np.uint8)
        images, masks = [pool.images for pool in pools], [pool.require_masks() for pool in pools]
        self._images = torch.cat([torch.from_numpy(one).to(self._process.device) for one in (*images, space)])
        self._masks = torch.cat([torch.from_numpy(one).to(self._process.device) for one in (*masks, space > 0)])
        self._synthetic = None
        if part is not None:
            self._synthetic = SyntheticPool(part, self._images[-part.count :], self._masks[-part.count :])
        self._depths: Tensor | None = None
        if reads_scalar(self.model):
            if part is not None:
                raise ValueError(
                    "a model with scalar_channel needs depths, which synthetic tiles have not: remove [synthetic] "
                    'from the recipe, or choose the model option scalar_channel="none"'
                )
            for pool, what in zip(pools, ("training tiles", "pseudo-labelled tiles"), strict=False):
                check_depths(pool, what)
            depths = np.concatenate([np.asarray(pool.depths, dtype=np.float32) for pool in pools])
            self._depths = torch.from_numpy(depths).to(self._process.device)
        self.parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer}
        if self.average is not None:
            self.parts["average"] = self.average

    @property
    def kept(self) -> Segmenter:
        """The model that checkpoints hold: the average if it has begun, else the network itself."""
        average = self.average
        if average is None or (self.recipe.average.kind == "swa" and int(average.n_averaged) == 0):
            return self.model
        return cast(Segmenter, average.module)

    def draw_synthetic(self, epoch: int) -> int:
        """Draw the synthetic tiles that an epoch, counted from 0, needs and that are not there; return their number."""
        return 0 if self._synthetic is None else self._synthetic.draw(epoch)

    def renew(self, tiles: Tiles) -> None:
        """Put other tiles, of the same number and size, in the place of the labelled ones."""
        tiles = with_labels(self.recipe, tiles)
        self._images[: len(tiles)].copy_(torch.from_numpy(tiles.images))
        self._masks[: len(tiles)].copy_(torch.from_numpy(tiles.require_masks()))

    def epoch(self, epoch: int) -> float:
        """Train for one pass over this process's share of the labelled tiles, in the order of that epoch.

        Args:
            epoch: number of the epoch, from 0.

        Returns:
            The mean loss.

        Raises:
            ValueError: if the mean loss is not finite.
        """
        recipe, process = self.recipe, self._process
        batches = self._sampler.epoch(epoch, process)
        self.draw_synthetic(epoch)
        # Augmentation has its own generator, dropout takes torch's: both depend on the epoch and on nothing before it.
        seed = (1000 * recipe.seed + epoch) * process.world + process.rank
        noise = torch.Generator(process.device).manual_seed(seed)
        torch.manual_seed(seed)
        total = torch.zeros((), device=process.device)
        self._net.train()
        for step, index in enumerate(batches):
            self._advance((epoch * self.steps + step) / (recipe.stages[0] * self.steps))
            x, y = self._images[index].float() / 255, self._masks[index]  # N H W
            if recipe.survey is not None:
                x, y = recipe.survey(x, y, generator=noise)
            x, y = recipe.augment(
                x, y, generator=noise, ignore_index=recipe.ignore_index, num_classes=recipe.num_classes
            )
            total += self._step(network_images(self.model, x[:, None], self._depths_of(index)), y)
        if self.average is not None and recipe.average.takes_epoch(epoch, recipe.epochs):
            self.average.update_parameters(self.model)
        self._share_buffers()
        mean = float(total) / self.steps  # the only synchronisation with the device
        if not math.isfinite(mean):
            raise ValueError(
                f"the loss became {mean} in epoch {epoch + 1}: start again with a lower optimizer.lr and another folder"
            )
        return mean

    def _advance(self, progress: float) -> None:
        """Set learning rates, loss weights and frozen stages for a fraction of all steps that is done.

        After a restart of the rate, the fraction is above 1: loss weights stay at their last values.
        """
        recipe = self.recipe
        ends = [end / recipe.stages[0] for end in recipe.cycle_ends]
        factor = rate_factor(progress, warmup=recipe.rate.warmup, ends=ends)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.optimizer.lr * group["scale"] * factor
        self._mask_loss.weights[:] = [part.curve(progress) for part in recipe.losses]
        if self._unfreezing is not None and self._unfreezing.update(progress):
            self._net = self._wrapped()

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        """Take a step on images N C H W, before preprocessing, and masks N H W, and return the loss."""
        recipe, model = self.recipe, self.model
        with torch.autocast(self._process.device.type, dtype=torch.bfloat16, enabled=recipe.amp == "bf16"):
            output = self._net(model.preprocess(x))  # N 1 H W, or a SegOutput
        loss = self.loss(output, y)
        self.optimizer.zero_grad()
        loss.backward()
        if recipe.optimizer.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimizer.clip_norm)
        self.optimizer.step()
        if self.average is not None and recipe.average.kind == "ema":
            self.average.update_parameters(model)
        return loss.detach()

    def finish(self) -> None:
        """Re-estimate the batch-norm statistics of the kept model, if the recipe asks for it."""
        if self.recipe.average.reestimates and self.average is not None:
            order = torch.randperm(self._sampler.labelled, generator=torch.Generator().manual_seed(self.recipe.seed))
            if len(order) == 1:
                order = order.repeat(2)  # batch norm refuses a batch of one
            chunks = order.to(self._process.device).split(BATCH_NORM_TILES)
            full = [chunk for chunk in chunks if len(chunk) == len(chunks[0])]
            model = self.kept
            images = ((chunk, self._images[chunk].float()[:, None] / 255) for chunk in full)
            joined = (network_images(model, x, self._depths_of(chunk)) for chunk, x in images)
            reestimate_batch_norm(model, (model.preprocess(x) for x in joined))

    def _depths_of(self, index: Tensor) -> Tensor | None:
        return None if self._depths is None else self._depths[index]

    def _wrapped(self) -> nn.Module:
        net: nn.Module = DistributedDataParallel(self.model) if self._process.world > 1 else self.model
        if self.recipe.compile == "off":
            return net
        return cast(nn.Module, torch.compile(net, mode=self.recipe.compile, dynamic=False))

    def _share_buffers(self) -> None:
        """Copy the buffers of the first process to all: each has batch-norm statistics of its own batches."""
        if self._process.world > 1:
            for buffer in self.kept.buffers():
                torch.distributed.broadcast(buffer, 0)
