"""The loop over steps: a recipe, tiles that live on the device, and the weights that come of them."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data import Tiles
from ..models import Segmenter
from ..zoo.factory import create_model
from .objective import build_objective
from .order import Order
from .place import Place
from .recipe import Recipe
from .recipe_parts import OptimizerPart
from .techniques.averaging import WeightAverage, exponential_average, reestimate_batch_norm, stochastic_average
from .techniques.freezing import keep_batch_norm_frozen
from .techniques.groups import parameter_groups
from .techniques.growing import grow
from .techniques.normalized_gradient import normalized_gradient
from .techniques.schedule import rate_factor
from .techniques.unfreezing import GradualUnfreezing

BATCH_NORM_TILES = 64
"""Tiles of a batch by which batch norms are estimated anew."""


class Trainer:
    """Model, optimiser and average of a run, and the steps that change them.

    Args:
        recipe: what to do.
        tiles: to train on, with masks; all of them are kept on the device, as bytes.
        place: where.
        seed: of first weights, order and augmentation.
        pseudo: pseudo-labelled tiles of the same size, where the recipe has a student: each batch has its share of
            them, and they are kept on the device too.

    Attributes:
        model: what learns.
        order: which tiles each step takes.
        steps: of an epoch.
        parts: what a run needs to go on: name -> something with a state dict.
    """

    def __init__(self, recipe: Recipe, tiles: Tiles, place: Place, *, seed: int, pseudo: Tiles | None = None) -> None:
        if (pseudo is None) != (recipe.student is None):
            raise ValueError("a recipe with a student needs pseudo-labelled tiles, and one without takes none")
        pools = [tiles] if pseudo is None else [tiles, pseudo]
        self.order = Order.of(recipe, place, labelled=len(tiles), pseudo=sum(map(len, pools[1:])), seed=seed)
        self.steps = self.order.steps
        self.recipe, self.place, self.seed = recipe, place, seed
        torch.manual_seed(seed)
        self.model = _build_model(recipe).to(place.device).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(recipe.optimizer, self.model)
        if recipe.frozen_batch_norm:
            keep_batch_norm_frozen(self.model.encoder)  # the average's too, which is a copy
        self.average = _build_average(recipe, self.model)
        self.unfreezing = None
        if recipe.frozen_until > 0:
            self.unfreezing = GradualUnfreezing(self.model, until=recipe.frozen_until)
        self._loss, self._mask_loss = build_objective(recipe)
        self._loss.to(place.device)
        self._net: nn.Module = self._wrapped()
        # All tiles live on the device as bytes; augmentation runs there in batches.
        self._images = torch.cat([torch.from_numpy(pool.images).to(place.device) for pool in pools])
        self._masks = torch.cat([torch.from_numpy(pool.require_masks()).to(place.device) for pool in pools])
        self.parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer}
        if self.average is not None:
            self.parts["average"] = self.average

    @property
    def kept(self) -> Segmenter:
        """The model that a checkpoint is made of: the average, where there is one yet."""
        average = self.average
        if average is None or (self.recipe.average.kind == "swa" and int(average.n_averaged) == 0):
            return self.model
        return cast(Segmenter, average.module)

    def epoch(self, epoch: int) -> float:
        """One pass over this process's share of the shuffled labelled tiles, with pseudo-labelled ones among them.

        Returns:
            The mean loss.

        Raises:
            ValueError: if that is not finite.
        """
        recipe, place = self.recipe, self.place
        batches = self.order.epoch(epoch, place)
        # Seeded by the epoch, as the order is: augmentation by its own generator, dropout by torch's.
        seed = (1000 * self.seed + epoch) * place.world + place.rank
        noise = torch.Generator(place.device).manual_seed(seed)
        torch.manual_seed(seed)
        total = torch.zeros((), device=place.device)
        self._net.train()
        for step, index in enumerate(batches):
            self._advance((epoch * self.steps + step) / (recipe.epochs * self.steps))
            x, y = recipe.augment(self._images[index].float() / 255, self._masks[index], generator=noise)  # N H W
            total += self._step(x[:, None], y)
        if (
            recipe.average.kind == "swa"
            and self.average is not None
            and epoch + 1 > recipe.average.start * recipe.epochs
        ):
            self.average.update_parameters(self.model)
        self._share_buffers()
        mean = float(total) / self.steps  # the one wait for the device
        if not math.isfinite(mean):
            raise ValueError(
                f"the loss became {mean} in epoch {epoch + 1}: start again with a lower optimizer.lr and another folder"
            )
        return mean

    def _advance(self, progress: float) -> None:
        """Rates, weights of losses and frozen stages as they are after that share of all steps."""
        recipe = self.recipe
        ends = [end / recipe.epochs for end in recipe.cycle_ends]
        factor = rate_factor(progress, warmup=recipe.rate.warmup, ends=ends)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.optimizer.lr * group["scale"] * factor
        self._mask_loss.weights[:] = [part.curve(progress) for part in recipe.losses]
        if self.unfreezing is not None and self.unfreezing.update(progress):
            self._net = self._wrapped()

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        """One step on images N 1 H W in 0..1 and masks N H W; the loss."""
        recipe, model = self.recipe, self.model
        with torch.autocast(self.place.device.type, dtype=torch.bfloat16, enabled=recipe.amp == "bf16"):
            output = self._net(model.preprocess(x.expand(-1, model.in_chans, -1, -1)))  # N 1 H W, or a SegOutput
        loss = self._loss(output, y)
        self.optimizer.zero_grad()
        loss.backward()
        if recipe.optimizer.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimizer.clip_norm)
        self.optimizer.step()
        if recipe.average.kind == "ema" and self.average is not None:
            self.average.update_parameters(model)
        return loss.detach()

    def finish(self) -> None:
        """Estimates the batch norms of the kept model anew, if the recipe says so."""
        if self.recipe.average.reestimates and self.average is not None:
            order = torch.randperm(self.order.labelled, generator=torch.Generator().manual_seed(self.seed))
            chunks = order.to(self.place.device).split(BATCH_NORM_TILES)
            full = [chunk for chunk in chunks if len(chunk) == len(chunks[0])]
            model = self.kept
            images = (self._images[chunk].float()[:, None].expand(-1, model.in_chans, -1, -1) / 255 for chunk in full)
            reestimate_batch_norm(model, (model.preprocess(x) for x in images))

    def _wrapped(self) -> nn.Module:
        net: nn.Module = DistributedDataParallel(self.model) if self.place.world > 1 else self.model
        if self.recipe.compile == "off":
            return net
        return cast(nn.Module, torch.compile(net, mode=self.recipe.compile, dynamic=False))

    def _share_buffers(self) -> None:
        """Each process averaged batch-norm statistics of its own batches: the first one's are kept."""
        if self.place.world > 1:
            for buffer in self.kept.buffers():
                torch.distributed.broadcast(buffer, 0)


def build_optimizer(part: OptimizerPart, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a recipe, with groups of rates."""
    groups = parameter_groups(
        model, lr=part.lr, weight_decay=part.weight_decay, encoder_scale=part.encoder_scale, scales=part.scales
    )
    optimizer: torch.optim.Optimizer
    if part.name == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=part.lr, betas=part.betas, fused=True)
    else:
        # Not fused: torch's fused SGD refuses parameters whose first gradient comes later than others'.
        optimizer = torch.optim.SGD(groups, lr=part.lr, momentum=part.momentum, nesterov=part.momentum > 0)
    return normalized_gradient(optimizer) if part.normalized_gradient else optimizer


def _build_model(recipe: Recipe) -> Segmenter:
    part = recipe.model
    options = {**part.options, **part.training_options}
    model = create_model(part.name, pretrained_encoder=part.pretrained_encoder, **options)
    if part.grow_from is not None:
        smaller = create_model(part.grow_from, pretrained=True, in_chans=model.in_chans)
        grow(model, smaller, drop=part.grow_without)
        model.preprocess = smaller.preprocess
    return model


def _build_average(recipe: Recipe, model: Segmenter) -> WeightAverage | None:
    if recipe.average.kind == "ema":
        return exponential_average(model, decay=recipe.average.decay)
    return stochastic_average(model) if recipe.average.kind == "swa" else None
