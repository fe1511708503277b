"""Tiles of each step. Seed and epoch alone decide them, so a resumed run takes those of an uninterrupted one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .process import Process
from .recipe import Recipe

PSEUDO, SYNTHETIC = -1, -(2**31)
"""Seeds of the permutations of a pool lie below these, those of the labelled tiles are not negative.

The generator of a CPU reads the last 32 bits of a seed alone."""


@dataclass(frozen=True)
class Sampler:
    """Draws positions of tiles: labelled tiles come first, then pseudo-labelled ones, then synthetic ones.

    Attributes:
        seed: seed of the run.
        labelled: number of labelled tiles.
        labelled_per_step: number of them in a step, over all processes.
        pseudo: number of pseudo-labelled tiles.
        pseudo_per_step: number of them in a step, over all processes.
        synthetic: number of synthetic tiles.
        synthetic_per_step: number of them in a step, over all processes.
    """

    seed: int
    labelled: int
    labelled_per_step: int
    pseudo: int = 0
    pseudo_per_step: int = 0
    synthetic: int = 0
    synthetic_per_step: int = 0

    @classmethod
    def of(cls, recipe: Recipe, process: Process, *, labelled: int, pseudo: int) -> Sampler:
        """Return the sampler of a recipe's run.

        Raises:
            ValueError: if the batch size does not fit the number of tiles or processes.
        """
        own, rest = divmod(recipe.batch_size, process.world)
        if rest:
            raise ValueError(f"batch_size must be a multiple of {process.world} process(es), got {recipe.batch_size}")
        shares = {"student": recipe.student, "synthetic": recipe.synthetic}
        counts = {name: 0 if part is None else int(part.share * own + 0.5) for name, part in shares.items()}
        for (name, part), kind in zip(shares.items(), ("pseudo-labelled", "synthetic"), strict=True):
            if part is not None and not 0 < counts[name] <= sum(counts.values()) < own:
                others = f", with {sum(counts.values()) - counts[name]} others," if min(counts.values()) else ""
                raise ValueError(
                    f"{name}.share={part.share} makes {counts[name]} of the {own} tiles per step and process "
                    f"{kind}{others} and there must be some of each kind, labelled ones too: give a larger "
                    f"batch_size, or another share"
                )
        if not labelled:
            raise ValueError("there must be training tiles, got none: give tiles outside the fold that validates")
        labelled_per_step = (own - sum(counts.values())) * process.world
        if labelled_per_step > labelled:
            raise ValueError(
                f"batch_size={recipe.batch_size} takes {labelled_per_step} labelled tiles a step, but there are only "
                f"{labelled} training tiles: give a smaller batch_size"
            )
        synthetic = 0 if recipe.synthetic is None else recipe.synthetic.count
        more = (pseudo, counts["student"] * process.world, synthetic, counts["synthetic"] * process.world)
        return cls(recipe.seed, labelled, labelled_per_step, *more)

    @property
    def steps(self) -> int:
        """Steps of an epoch: one pass over the labelled tiles, without the remainder that fills no batch."""
        return self.labelled // self.labelled_per_step

    def epoch(self, epoch: int, process: Process) -> Tensor:
        """Return the positions of the tiles that a process takes in an epoch, on its device.

        Shape:
            steps x tiles per step and process: labelled, pseudo-labelled, synthetic.
        """
        shuffle = torch.Generator().manual_seed(1000 * self.seed + epoch)
        order = torch.randperm(self.labelled, generator=shuffle)[: self.steps * self.labelled_per_step]
        own = order.view(self.steps, process.world, -1)[:, process.rank]
        pools = (
            (self.labelled, self.pseudo, self.pseudo_per_step, PSEUDO),
            (self.labelled + self.pseudo, self.synthetic, self.synthetic_per_step, SYNTHETIC),
        )
        for start, size, per_step, stream in pools:
            if per_step:
                more = start + self._rounds(epoch, size, self.steps * per_step, stream)
                own = torch.cat([own, more.view(self.steps, process.world, -1)[:, process.rank]], 1)
        return own.to(process.device)

    def _rounds(self, epoch: int, size: int, count: int, stream: int) -> Tensor:
        """Return the epoch's part, `count` numbers, of an endless sequence of permutations of all tiles of a pool."""
        first, skipped = divmod(epoch * count, size)
        last = (epoch * count + count - 1) // size
        generators = [torch.Generator().manual_seed(stream - 1000 * self.seed - n) for n in range(first, last + 1)]
        return torch.cat([torch.randperm(size, generator=one) for one in generators])[skipped : skipped + count]
