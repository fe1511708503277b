"""Tiles of each step. Seed and epoch alone decide them, so a resumed run takes those of an uninterrupted one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .process import Process
from .recipe import Recipe


@dataclass(frozen=True)
class Sampler:
    """Draws positions of tiles: 0 to labelled - 1 are labelled tiles, those after them pseudo-labelled ones.

    Attributes:
        seed: seed of the run.
        labelled: number of labelled tiles.
        labelled_per_step: number of them in a step, over all processes.
        pseudo: number of pseudo-labelled tiles.
        pseudo_per_step: number of them in a step, over all processes.
    """

    seed: int
    labelled: int
    labelled_per_step: int
    pseudo: int = 0
    pseudo_per_step: int = 0

    @classmethod
    def of(cls, recipe: Recipe, process: Process, *, labelled: int, pseudo: int) -> Sampler:
        """Return the sampler of a recipe's run.

        Raises:
            ValueError: if the batch size does not fit the number of tiles or processes.
        """
        own, rest = divmod(recipe.batch_size, process.world)
        if rest:
            raise ValueError(f"batch_size must be a multiple of {process.world} process(es), got {recipe.batch_size}")
        share = 0.0 if recipe.student is None else recipe.student.share
        own_pseudo = int(share * own + 0.5)
        if recipe.student is not None and not 0 < own_pseudo < own:
            raise ValueError(
                f"student.share={share} makes {own_pseudo} of the {own} tiles per step and process pseudo-labelled, "
                f"and there must be some of both kinds: give a larger batch_size, or another share"
            )
        if not labelled:
            raise ValueError("there must be training tiles, got none: give tiles outside the fold that validates")
        labelled_per_step = (own - own_pseudo) * process.world
        if labelled_per_step > labelled:
            raise ValueError(
                f"batch_size={recipe.batch_size} takes {labelled_per_step} labelled tiles a step, but there are only "
                f"{labelled} training tiles: give a smaller batch_size"
            )
        return cls(recipe.seed, labelled, labelled_per_step, pseudo, own_pseudo * process.world)

    @property
    def steps(self) -> int:
        """Steps of an epoch: one pass over the labelled tiles, without the remainder that fills no batch."""
        return self.labelled // self.labelled_per_step

    def epoch(self, epoch: int, process: Process) -> Tensor:
        """Return the positions of the tiles that a process takes in an epoch, on its device.

        Shape:
            steps x tiles per step and process, the labelled ones first.
        """
        shuffle = torch.Generator().manual_seed(1000 * self.seed + epoch)
        order = torch.randperm(self.labelled, generator=shuffle)[: self.steps * self.labelled_per_step]
        own = order.view(self.steps, process.world, -1)[:, process.rank]
        if self.pseudo_per_step:
            more = self.labelled + self._pseudo(epoch)
            own = torch.cat([own, more.view(self.steps, process.world, -1)[:, process.rank]], 1)
        return own.to(process.device)

    def _pseudo(self, epoch: int) -> Tensor:
        """Return the epoch's part of an endless sequence of rounds, each a permutation of all pseudo-labelled tiles."""
        count = self.steps * self.pseudo_per_step
        first, skipped = divmod(epoch * count, self.pseudo)
        last = (epoch * count + count - 1) // self.pseudo
        rounds = [torch.randperm(self.pseudo, generator=self._of_round(n)) for n in range(first, last + 1)]
        return torch.cat(rounds)[skipped : skipped + count]

    def _of_round(self, number: int) -> torch.Generator:
        """Return the generator of a round. Its seed is negative, those of labelled epochs are not."""
        return torch.Generator().manual_seed(-1 - (1000 * self.seed + number))
