"""The process that runs: its device, and its rank among several processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

from .._torch import device_name


@dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes:
        device: device that it computes on.
        rank: its number, from 0.
        world: number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls, device: str | torch.device) -> Process:
        """Return this process on a device, with the rank that torch.distributed gives it if that is initialised."""
        if dist.is_available() and dist.is_initialized():
            return cls(torch.device(device), dist.get_rank(), dist.get_world_size())
        return cls(torch.device(device))

    @property
    def main(self) -> bool:
        """Whether this is the one process that prints and writes."""
        return self.rank == 0

    @property
    def machine(self) -> str:
        """Device, threads and torch version: what the speed and the last digits of a run depend on."""
        processes = f"{self.world} x " if self.world > 1 else ""
        threads = f", {torch.get_num_threads()} thread(s)" if self.device.type == "cpu" else ""
        return f"{processes}{device_name(self.device)}{threads}, torch {torch.__version__}"
