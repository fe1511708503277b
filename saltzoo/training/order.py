"""Which tiles a step sees: drawn from seed and epoch alone, so a resumed run draws what an unbroken one would have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .place import Place
from .recipe import Recipe


@dataclass(frozen=True)
class Order:
    """The order of labelled tiles, which have the positions 0 to labelled - 1, and of pseudo-labelled ones after them.

    Attributes:
        seed: of the run.
        labelled: how many labelled tiles there are.
        labelled_a_step: how many of them a step takes, over all processes.
        pseudo: how many pseudo-labelled tiles there are.
        pseudo_a_step: how many of them a step takes, over all processes.
    """

    seed: int
    labelled: int
    labelled_a_step: int
    pseudo: int = 0
    pseudo_a_step: int = 0

    @classmethod
    def of(cls, recipe: Recipe, place: Place, *, labelled: int, pseudo: int, seed: int) -> Order:
        """The order of a recipe's run.

        Raises:
            ValueError: the batch size does not suit the tiles or the processes.
        """
        own, rest = divmod(recipe.batch_size, place.world)
        if rest:
            raise ValueError(f"batch_size={recipe.batch_size} must divide by {place.world} process(es)")
        share = 0.0 if recipe.student is None else recipe.student.share
        own_pseudo = int(share * own + 0.5)
        if recipe.student is not None and not 0 < own_pseudo < own:
            raise ValueError(
                f"of {own} tiles a step and process, student.share={share} makes {own_pseudo} pseudo-labelled, and "
                f"there must be some of both kinds: give a larger batch_size, or another share"
            )
        labelled_a_step = (own - own_pseudo) * place.world
        if labelled_a_step > labelled:
            raise ValueError(
                f"batch_size={recipe.batch_size} takes {labelled_a_step} labelled tiles a step, and there must be at "
                f"most the {labelled} training tiles in it"
            )
        return cls(seed, labelled, labelled_a_step, pseudo, own_pseudo * place.world)

    @property
    def steps(self) -> int:
        """Of an epoch, which is a pass over the labelled tiles; the rest of them waits for another epoch's order."""
        return self.labelled // self.labelled_a_step

    def epoch(self, epoch: int, place: Place) -> Tensor:
        """Positions of the tiles that a process takes, on its device.

        Shape:
            steps x tiles, the labelled ones first.
        """
        shuffle = torch.Generator().manual_seed(1000 * self.seed + epoch)
        order = torch.randperm(self.labelled, generator=shuffle)[: self.steps * self.labelled_a_step]
        own = order.view(self.steps, place.world, -1)[:, place.rank]
        if self.pseudo_a_step:
            more = self.labelled + self._pseudo(epoch)
            own = torch.cat([own, more.view(self.steps, place.world, -1)[:, place.rank]], 1)
        return own.to(place.device)

    def _pseudo(self, epoch: int) -> Tensor:
        """An epoch's part of an endless row of rounds, in each of which every pseudo-labelled tile comes once."""
        count = self.steps * self.pseudo_a_step
        first, skipped = divmod(epoch * count, self.pseudo)
        last = (epoch * count + count - 1) // self.pseudo
        rounds = [torch.randperm(self.pseudo, generator=self._of_round(n)) for n in range(first, last + 1)]
        return torch.cat(rounds)[skipped : skipped + count]

    def _of_round(self, number: int) -> torch.Generator:
        """Seeded below zero, where no epoch of labelled tiles is."""
        return torch.Generator().manual_seed(-1 - (1000 * self.seed + number))
