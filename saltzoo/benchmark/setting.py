"""Measure one setting of a model: images per second, seconds of compilation and warm-up, and peak memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from ..deploy import optimize
from ..zoo.factory import create_model
from .floor import matmul_gflops, step_gflop
from .memory import MIB, resident_peak_mib
from .report import Row
from .steps import LAYOUTS, PRECISIONS, inference, training
from .timing import Run, Spread, clock_of, synchronize

MEASURED = (
    *("parameters", "gflop", "images_per_s", "images_per_s_min", "images_per_s_max", "ms", "compile_s", "warmup_s"),
    *("peak_mib", "matmul_gflops", "share", "error"),
)
"""Columns of a row besides those of its setting."""

OURS = "saltzoo"
AUTO_BATCH = 0
"""Batch of a plan that grows by powers of two."""

_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes of torch.compile that record CUDA graphs."""


@dataclass(frozen=True)
class Setting:
    """Everything that determines a row: one model, one mode of use, one batch. Fields are those of Plan."""

    model: str
    library: str
    mode: str
    dtype: str
    layout: str
    compile: str
    fast: bool
    batch: int
    size: int
    device: str
    threads: int
    tf32: bool
    warmup: int
    repeats: int
    calls: int
    seconds: float


def build(setting: Setting) -> nn.Module:
    """Return the model of a setting, with random weights."""
    return create_model(setting.model)


def measure(setting: Setting, make: Callable[[Setting], nn.Module] = build) -> Row:
    """Build the model of a setting, warm it up, and time it. The batch is on the device before the clock starts.

    Returns:
        The columns of MEASURED but `error`: parameters; GFLOP of a call per image, a multiply-add as two operations;
        images per second, median, lowest and highest of the repeats; milliseconds of a call; seconds of the first call
        of a compiled model, and of the other calls before the clock; peak memory in MiB, of torch's allocator on a
        GPU and resident on a CPU, during the repeats (where CUDA graphs are recorded, which allocate then, also
        before); GFLOP per second of a matrix product in the same process; and the share of that rate that the model
        reaches.
    """
    torch.set_num_threads(setting.threads)
    allow_tf32(setting.tf32)
    torch.manual_seed(0)
    device = torch.device(setting.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # events are recorded on the stream of the current device
    step, model = _step(setting, make(setting), device)
    gflop = step_gflop(step) / setting.batch
    compiled = setting.compile != "none"
    if compiled:
        model.compile(mode=setting.compile)

    def run() -> None:
        # CUDA graphs may reuse the memory of the last step's results only after this call.
        torch.compiler.cudagraph_mark_step_begin()
        step()

    compile_s = _seconds(run, 1, device) if compiled else None
    warmup_s = _seconds(run, setting.warmup, device)  # picks kernels, records graphs
    calls = setting.calls or max(1, round(setting.seconds / _seconds(run, 1, device)))
    forget_peak(device, setting.compile)
    seconds = repeat(run, repeats=setting.repeats, calls=calls, device=device)
    peak = _peak_mib(device)
    rate = matmul_gflops(PRECISIONS[setting.dtype].computed, device)
    speed = Spread.of([setting.batch / value for value in seconds])
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "gflop": float(f"{gflop:.4g}"),
        **speed.cells("images_per_s"),
        "ms": float(f"{Spread.of(seconds).median * 1e3:.4g}"),
        "compile_s": None if compile_s is None else round(compile_s, 2),
        "warmup_s": round(warmup_s, 2),
        "peak_mib": peak,
        "matmul_gflops": float(f"{rate:.4g}"),
        "share": float(f"{speed.median * gflop / rate:.3g}"),
        "calls": calls,
    }


def allow_tf32(allowed: bool) -> None:
    """Say whether GPUs may compute float32 products and convolutions in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def _step(setting: Setting, model: nn.Module, device: torch.device) -> tuple[Run, nn.Module]:
    """Return the call to time, and the module in it that torch.compile compiles in place."""
    precision, layout = PRECISIONS[setting.dtype], LAYOUTS[setting.layout]
    model.to(device).to(memory_format=layout)
    model.to(precision.weights)
    shape = (setting.batch, 1, setting.size, setting.size)
    images = torch.randn(shape).to(device, precision.weights, memory_format=layout)
    masks = (torch.rand(shape) < 0.3).float().to(device)
    if setting.mode == "train":
        return training(model, images, masks, precision.autocast), model
    if setting.fast:
        model = optimize(model, dtype=precision.weights, example=images[:2])  # type: ignore[arg-type]
    return inference(model, images, precision.autocast), model


def _seconds(run: Run, calls: int, device: torch.device) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize(device)
    return time.perf_counter() - start


def repeat(run: Run, *, repeats: int, calls: int, device: torch.device) -> list[float]:
    """Return the seconds of one call, once per repeat.

    On a GPU they come from events, with one synchronisation at the end; on one thread of a CPU they are its own time.
    """
    if device.type != "cuda":
        clock = clock_of(device)
        marks = [clock()]
        for _ in range(repeats):
            for _ in range(calls):
                run()
            marks.append(clock())
        return [(after - before) / calls for before, after in pairwise(marks)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        for _ in range(calls):
            run()
        event.record()
    torch.cuda.synchronize(device)
    return [before.elapsed_time(after) / 1e3 / calls for before, after in pairwise(events)]


def forget_peak(device: torch.device, how: str) -> None:
    """Reset the peak memory of the process, or of the GPU's allocator."""
    if device.type != "cuda":
        # Writing 5 resets the peak on Linux. Without this file the peak is that of the whole process.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    elif how not in _GRAPHS:  # CUDA graphs allocate when they are recorded, not when they are replayed
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mib(device: torch.device) -> int | None:
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / MIB)
    resident = resident_peak_mib()
    return round(resident) if resident else None
