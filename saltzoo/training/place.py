"""Where a run takes place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

from .._torch import device_name


@dataclass(frozen=True)
class Place:
    """A device, and which of several processes this is.

    Attributes:
        device: of this process.
        rank: of this process.
        world: how many processes there are.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @classmethod
    def here(cls, device: str | torch.device) -> Place:
        """As torch.distributed says, where it is initialised."""
        if dist.is_available() and dist.is_initialized():
            return cls(torch.device(device), dist.get_rank(), dist.get_world_size())
        return cls(torch.device(device))

    @property
    def main(self) -> bool:
        """Whether this is the one process that prints and writes."""
        return self.rank == 0

    @property
    def machine(self) -> str:
        """In words: what the run's speed and last digits depend on."""
        processes = f"{self.world} x " if self.world > 1 else ""
        threads = f", {torch.get_num_threads()} thread(s)" if self.device.type == "cpu" else ""
        return f"{processes}{device_name(self.device)}{threads}, torch {torch.__version__}"
