"""What the benchmarks share: turns, medians, memory, conditions and tables."""

from __future__ import annotations

import csv
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import saltzoo
from saltzoo._torch import device_name
from saltzoo.losses import DeepSupervisionLoss

Run = Callable[[], object]
Row = dict[str, Any]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
MIB = 2**20


class Spread(NamedTuple):
    """Median, lowest and highest of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one or more values."""
        return cls(statistics.median(values), min(values), max(values))

    def cells(self, name: str) -> Row:
        """As three cells of a row: `name`, `name_min`, `name_max`, to four digits."""
        keys = (name, f"{name}_min", f"{name}_max")
        return {key: float(f"{value:.4g}") for key, value in zip(keys, self, strict=True)}


def alternate(
    contenders: Mapping[str, Run], *, rounds: int, device: torch.device, turn_s: float = 0.2
) -> dict[str, list[float]]:
    """Seconds of a call of each contender, one number a round.

    In a round each has its turn; the order of turns reverses from round to round, so that a machine that gets
    busier or hotter favours nobody. A turn repeats a short call until it lasts about `turn_s`, as many times for
    all, and ends when the device has finished.

    Args:
        contenders: name -> what to time.
        rounds: how many.
        device: where the work is done.
        turn_s: seconds that a turn of the fastest should last, about.
    """
    quickest = float("inf")
    for run in contenders.values():
        run()  # compiles, picks kernels, fills caches
        quickest = min(quickest, _turn(run, 1, device))
    calls = max(1, round(turn_s / quickest))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name in list(contenders)[:: -1 if index % 2 else 1]:
            seconds[name].append(_turn(contenders[name], calls, device))
    return seconds


def _turn(run: Run, calls: int, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def ratios(baseline: Sequence[float], other: Sequence[float]) -> Spread:
    """How many times as fast as the baseline, from the ratio in each round."""
    return Spread.of([theirs / ours for theirs, ours in zip(baseline, other, strict=True)])


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def inference(model: nn.Module, images: Tensor, dtype: str) -> Callable[[], Any]:
    """A forward pass as in use: evaluation mode, no gradients, autocast unless fp32."""
    model.eval()

    @torch.inference_mode()
    def run() -> Any:
        with _autocast(images, dtype):
            return model(images)

    return run


def training(model: nn.Module, images: Tensor, masks: Tensor, dtype: str) -> Callable[[], Tensor]:
    """A training step: forward, binary cross-entropy of all that the model returns, backward, SGD; returns the loss.

    fp16 goes without a gradient scaler: what is trained here is never used.
    """
    model.train()
    # So small a rate that the step costs what it costs and the weights stay where they are comparable.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    criterion = DeepSupervisionLoss(_cross_entropy)

    def run() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(images, dtype):
            output = model(images)
        loss = criterion(output, masks)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    return run


def _cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), masks)


def _autocast(images: Tensor, dtype: str) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=DTYPES[dtype], enabled=dtype != "fp32")


def resident_peak_mib() -> float | None:
    """The most memory that the system gave this process, in MiB; None where Linux is not.

    Not `resource.getrusage`: its peak starts at that of the process which started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) / 1024


def step_mib(step: Run, network: nn.Module, device: torch.device) -> float:
    """Memory in MiB that torch's allocator hands out at the peak of a training step, beyond what lay there before.

    Gradients count, and so does what the backward pass needs; weights and the optimizer's state do not, nor does
    scratch space that a library takes from the system. Resident memory would hold all, but on a CPU it grows by
    whatever the process did not happen to have spare: it differed by half from one run to the next.

    Args:
        step: what `training` returned; has run before.
        network: what it trains.
        device: where.
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


def slug(device: torch.device) -> str:
    """The device as part of a file's name: "cpu", or the GPU's name."""
    if device.type == "cpu":
        return "cpu"
    return "_".join(torch.cuda.get_device_name(device).lower().split())


def conditions(device: torch.device, *packages: str) -> Row:
    """Everything a figure depends on besides its own row: machine, versions, settings, commit, date.

    Args:
        device: where the work is done.
        *packages: installed packages whose versions matter, besides torch, timm and saltzoo.
    """
    cuda = device.type == "cuda"
    return {
        "device": device_name(device),
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else "",
        "cuda": torch.version.cuda if cuda else "",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32 if cuda else "",
        "tf32_cudnn": torch.backends.cudnn.allow_tf32 if cuda else "",
        "cudnn_benchmark": torch.backends.cudnn.benchmark if cuda else "",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "timm", *packages)},
        "saltzoo": saltzoo.__version__,
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Short hash of the checkout, with a plus where tracked files differ from it."""
    commit = _output("git", "rev-parse", "--short", "HEAD")
    return commit + "+" if commit and _output("git", "status", "--porcelain", "--untracked-files=no") else commit


def _output(*command: str) -> str:
    """First line that a command prints, nothing where it can't be run."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip().partition("\n")[0]


def write_csv(path: Path, rows: Sequence[Row], where: Row, *, replacing: str | None = None) -> None:
    """One line a row, each with its conditions, so that lines of different runs can stand in one file.

    Args:
        path: the file; its folder is made.
        rows: all with the same keys.
        where: what `conditions` gave.
        replacing: a column. Lines of an earlier run stay, but for those that share a value there with the new
            ones, and columns of either are empty in the other's lines; None starts afresh.
    """
    columns = [*rows[0], *where]
    kept: list[Row] = []
    if replacing and path.exists():
        measured = {row[replacing] for row in rows}
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            kept = [line for line in reader if line.get(replacing) not in measured]
        columns += [column for column in reader.fieldnames or () if column not in columns]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *({**row, **where} for row in rows)])


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A Markdown table of some columns; a column with `_min` and `_max` beside it shows all three."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [_cell(row, column).replace("|", "/").replace("\n", " ") for column in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row, column: str) -> str:
    text = _number(row[column])
    if text and f"{column}_min" in row:
        return f"{text} ({_number(row[f'{column}_min'])} to {_number(row[f'{column}_max'])})"
    return text


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def describe(where: Row) -> str:
    """Conditions in a line."""
    return ", ".join(f"{key} {value}" for key, value in where.items() if value != "")
