"""The processes that torchrun starts: each joins the others for the time of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def launched(device: str | torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, and yield the device of this one; alone, only yield the device.

    Args:
        device: "cpu", "cuda" or "cuda:N"; of several processes on GPUs, each gets the GPU of its local rank.

    Example:
        >>> with launched("cpu") as device:
        ...     device
        device(type='cpu')
    """
    chosen = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()
