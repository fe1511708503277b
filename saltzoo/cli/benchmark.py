"""`saltzoo benchmark`: images per second of models, with the flags of timm's benchmark.py."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .listed import Listed
from .options import F, Number, command, overwrite_option

if TYPE_CHECKING:
    from ..benchmark import Plan
    from ..benchmark.report import Row

PRECISIONS = ("float32", "bfloat16", "float16", "amp", "amp_bfloat16")
"""Keys of `saltzoo.benchmark.steps.PRECISIONS`, here because help must not import torch."""

MODES = ("infer", "train", "both")
LAYOUTS = ("nchw", "channels_last")
COMPILE = ("none", "default", "reduce-overhead", "max-autotune")
FORMATS = (".csv", ".json", ".md")
AUTO = "auto"

COLUMNS = (
    *("model", "library", "mode", "dtype", "layout", "compile", "fast", "batch", "size", "images_per_s"),
    *("share", "compile_s", "warmup_s", "peak_mib", "error"),
)
"""Columns of the printed table; a file has all."""


class Batches(Listed):
    """Sizes of a batch, separated by commas, or "auto"."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what can be given."""
        return "N,...|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return whole numbers of at least 1, or (0,) for "auto"."""
        if value == AUTO:
            return (0,)
        parts = super().convert(value, param, ctx)
        for part in parts:
            if not (isinstance(part, int) or (part.isdecimal() and int(part) >= 1)):
                self.fail(f'{part!r} must be a whole number of at least 1, or "auto" alone.', param, ctx)
        return tuple(map(int, parts))


def benchmark_options(function: F) -> F:
    """Add the options of a measurement, which `benchmarks/throughput.py` shares."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option("--model", "-m", type=Listed(), default="saltnet_s", show_default=True, help="Names or patterns."),
    click.option("--bench", type=click.Choice(MODES), default="infer", show_default=True, help="Passes to measure."),
    click.option(
        "--batch-size",
        "-b",
        type=Batches(),
        default="16",
        show_default=True,
        help="auto, on a GPU: powers of two until a row fails.",
    ),
    click.option("--img-size", type=click.IntRange(1), default=101, show_default=True, help="Height and width."),
    click.option(
        "--precision",
        type=Listed(PRECISIONS),
        default="float32",
        show_default=True,
        help="bfloat16, float16: that of the weights; amp, amp_bfloat16: autocast of float32 weights.",
    ),
    click.option("--amp", is_flag=True, help="The same as --precision amp, or that of --amp-dtype."),
    click.option(
        "--amp-dtype",
        type=click.Choice(["float16", "bfloat16"]),
        default="float16",
        show_default=True,
        help="Type of --amp.",
    ),
    click.option("--layout", type=Listed(LAYOUTS), default="nchw", show_default=True, help="Order of memory."),
    click.option("--channels-last", is_flag=True, help="The same as --layout channels_last."),
    click.option("--torchcompile", is_flag=True, help="Compile, in --torchcompile-mode or default."),
    click.option(
        "--torchcompile-mode", type=Listed(COMPILE), default="none", show_default=True, help="Modes of torch.compile."
    ),
    click.option("--fast", is_flag=True, help="Optimise the models for inference first."),
    click.option("--tf32", is_flag=True, help="Let a GPU compute float32 in TF32."),
    click.option("--device", help="cpu, cuda or cuda:N; default: a GPU if torch finds one."),
    click.option("--threads", type=click.IntRange(1), help="CPU threads; default: torch's."),
    click.option("--num-warm-iter", type=click.IntRange(1), default=3, show_default=True, help="Warm-up calls."),
    click.option(
        "--num-bench-iter", type=click.IntRange(0), default=0, help="Calls in a repeat; default: by --seconds."
    ),
    click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Repeats of a measurement."),
    click.option("--seconds", type=Number(0), default=0.5, show_default=True, help="Approximate length of a repeat."),
    click.option(
        "--timeout", type=Number(1), default=900, show_default=True, help="Limit of seconds for a row, compilation too."
    ),
)


def plan_of(values: dict[str, Any], *, libraries: Sequence[str] = ("saltzoo",)) -> Plan:
    """Return the plan that the options of `benchmark_options` describe.

    Raises:
        click.UsageError: if no model matches, or the device cannot do what is asked.
    """
    import torch

    from ..benchmark import Plan
    from ..zoo import list_models
    from .loading import device_of

    device = device_of(values["device"])
    if device.type not in ("cpu", "cuda"):
        raise click.UsageError(f"--device must be cpu, cuda or cuda:N, got {device}: other devices have no clock here")
    if device.type == "cpu" and 0 in values["batch_size"]:
        raise click.UsageError(
            "--batch-size auto grows until memory runs out, which would stop the machine on a CPU: give numbers"
        )
    models = sorted({name for pattern in values["model"] for name in list_models(pattern)})
    if not models:
        raise click.UsageError(
            f"--model must match a model, got {','.join(values['model'])}: choose among {', '.join(list_models())}"
        )
    modes = ("infer", "train") if values["bench"] == "both" else (values["bench"],)
    if values["fast"] and "train" in modes:
        raise click.UsageError(f"--fast is of inference, got --bench {values['bench']}: leave one out")
    for flag, option, default in (("amp", "precision", "float32"), ("channels_last", "layout", "nchw")):
        if values[flag] and values[option] != (default,):
            given, other = (f"--{name.replace('_', '-')}" for name in (flag, option))
            raise click.UsageError(
                f"{given} must stand alone, got {other} {','.join(values[option])} too: leave one out"
            )
    compiles = values["torchcompile_mode"]
    if values["torchcompile"] and compiles == ("none",):
        compiles = ("default",)
    amp = "amp" if values["amp_dtype"] == "float16" else "amp_bfloat16"
    return Plan(
        models=models,
        libraries=libraries,
        modes=modes,
        dtypes=(amp,) if values["amp"] else values["precision"],
        layouts=("channels_last",) if values["channels_last"] else values["layout"],
        compiles=compiles,
        batches=values["batch_size"],
        size=values["img_size"],
        device=str(device),
        threads=values["threads"] or torch.get_num_threads(),
        fast=values["fast"],
        tf32=values["tf32"],
        warmup=values["num_warm_iter"],
        repeats=values["repeats"],
        calls=values["num_bench_iter"],
        seconds=values["seconds"],
        timeout_s=values["timeout"],
    )


def print_rows(plan: Plan, rows: Iterable[Row], files: Sequence[Path], *, replacing: Sequence[str] = ()) -> list[Row]:
    """Print conditions and rows as they come, write each file after each row, and return the rows."""
    import torch

    from ..benchmark.report import conditions, describe, markdown
    from ..benchmark.setting import allow_tf32

    torch.set_num_threads(plan.threads)
    allow_tf32(plan.tf32)
    where = conditions(torch.device(plan.device))
    click.echo(f"{describe(where)}\n\n{markdown([], COLUMNS)}")
    found: list[Row] = []
    for row in rows:
        found.append(row)
        click.echo(markdown([row], COLUMNS).splitlines()[-1])
        for file in files:
            write_rows(file, found, where, replacing=replacing)  # so that an interrupted run keeps its rows
    return found


def write_rows(file: Path, rows: Sequence[Row], where: Row, *, replacing: Sequence[str] = ()) -> None:
    """Write rows with their conditions as CSV, JSON or a Markdown table, by the file's suffix."""
    from ..benchmark.report import describe, markdown, write_csv, write_text

    if file.suffix == ".csv":
        write_csv(file, rows, where, replacing=replacing)
    elif file.suffix == ".json":
        write_text(file, json.dumps([{**row, **where} for row in rows], indent=1) + "\n")
    else:
        write_text(file, f"{markdown(rows, COLUMNS)}\n\n{describe(where)}\n")


def check_file(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return a file that can be written, or raise click.BadParameter."""
    if value is not None and value.suffix not in FORMATS:
        raise click.BadParameter(f"{value} must end in {', '.join(FORMATS)}.")
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"{value} must lie in a folder that exists: make {value.parent}.")
    return value


@command("benchmark", example="saltzoo benchmark --model 'saltnet*' --channels-last -b 1,16 --results-file speed.csv")
@benchmark_options
@click.option(
    "--results-file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_file,
    metavar="FILE",
    help="Table with its conditions: .csv, .json or .md.",
)
@overwrite_option
def benchmark(*, results_file: Path | None, overwrite: bool, **values: Any) -> int:
    """Measure images per second of models with random weights.

    Each combination of models, batch sizes, precisions, layouts and modes of torch.compile is a row, which is measured
    in a fresh process; a row that fails says why, and the status is 1. Prints the share of the rate of a large matrix
    product that a model reaches, the seconds of compilation and warm-up, and the peak of memory.
    """
    from ..benchmark import measure_all

    if results_file is not None and results_file.exists() and not overwrite:
        raise click.UsageError(f"already there: {results_file}. Choose another --results-file, or give --overwrite")
    plan = plan_of(values)
    rows = print_rows(plan, measure_all(plan), [results_file] if results_file else [])
    return int(any(row["error"] for row in rows))
