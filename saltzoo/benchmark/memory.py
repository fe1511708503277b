"""Memory of a process, of a training step, and of what a layer keeps for its backward pass."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from .timing import Run, synchronize

MIB = 2**20


def resident_peak_mib() -> float | None:
    """Return the peak of this process's resident memory in MiB; None outside Linux.

    `resource.getrusage` would not do: its peak starts at that of the parent process.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) / 1024


def step_mib(step: Run, network: nn.Module, device: torch.device) -> float:
    """Return the peak, in MiB, of the memory that torch's allocator adds during a training step.

    Gradients count, and so do tensors saved for the backward pass. Weights, the optimizer's state and scratch space
    that a library takes from the system do not. Resident memory would include everything, but on a CPU it depends on
    what the process happened to have spare: it differed by half from one run to the next.

    Args:
        step: function returned by `training`, called at least once before.
        network: network that the step trains.
        device: device of the network.
    """
    network.zero_grad(set_to_none=True)  # on a CPU the profiler does not see old gradients go
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    if not events:
        return 0.0
    events.sort(key=lambda event: event["ts"])
    totals = [event["args"]["Total Allocated"] for event in events]
    before = totals[0] - events[0]["args"]["Bytes"]
    return (max(totals) - before) / MIB


def saved_mib(layer: nn.Module, x: Tensor) -> float:
    """Return the memory, in MiB, that a layer keeps between its forward and its backward pass, without parameters.

    The input counts if it is kept. Storage shared by two tensors counts once, and in full if only a part is kept.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*layer.parameters(), *layer.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor  # alive until the backward pass, so that no other tensor gets its address

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x.detach().requires_grad_())
    del y
    return sum(kept.values()) / MIB
