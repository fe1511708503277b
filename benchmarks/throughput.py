"""Measure images per second of models of the zoo, for inference and training, in any number of settings.

    python benchmarks/throughput.py --model "unet_resnet34*" --bench both --device cuda --batch-size auto --plot plots
    python benchmarks/throughput.py --model unet_resnet34_scse --torchcompile-mode none,default --precision amp_bfloat16
    python benchmarks/throughput.py --model unet_resnet34_scse --peer smp
    python benchmarks/throughput.py --smoke

`saltzoo benchmark` is the short form: it has the same flags, which are those of timm's benchmark.py, but for the last
four, and it writes a file only if it is told one.

Each row is measured in a fresh process, so that nothing compiled, cached or fragmented by one row affects the next. A
row that fails, by lack of memory, a compiler's error or a crash, becomes a row with an error. The batch is on the
device before the clock starts. The first call of a compiled model has a column, and so have the other calls before the
clock. On a GPU, events between the repeats are read after a single synchronisation at the end. Peak memory is that of
torch's allocator on a GPU, and the resident memory of the process on a CPU, during the repeats. Memory that compilation
or the first calls took and returned does not count, unless CUDA graphs were recorded, which allocate their memory then.
A training step is a forward pass, binary cross-entropy, a backward pass and SGD with momentum. *share* is the part of
the rate of a large matrix product in the same process that the model's convolutions and products reach. On
one thread of a CPU the clock is the processor's time of the process, which other work on the machine does not stretch.

--peer smp adds a row of segmentation_models_pytorch beside each of a U-Net that it has too.

Writes throughput_DEVICE.csv, each line with its conditions, and replaces only the models that it measured, with --fast
or without. --plot draws throughput against batch, and score against throughput of the models whose weights
benchmarks/validate.py has scored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from measure.peers import PEERS, has_peer, make
from measure.plots import draw_batches, draw_scores

from saltzoo.benchmark.plan import Plan, measure_all
from saltzoo.benchmark.process import print_row
from saltzoo.benchmark.report import Row, slug
from saltzoo.benchmark.setting import OURS
from saltzoo.cli.benchmark import benchmark_options, check_file, plan_of, print_rows

ROW = "--row"
"""First argument of a process that measures one row."""

COMMAND = (sys.executable, __file__, ROW)
RESULTS = Path(__file__).parent / "results"
SMOKE: dict[str, Any] = {
    "model": ("saltnet_s",),
    "bench": "both",
    "precision": ("float32", "amp_bfloat16"),
    "channels_last": True,
    "batch_size": (2,),
    "img_size": 64,
    "num_warm_iter": 1,
    "repeats": 2,
    "seconds": 0.1,
    "device": "cpu",
}


@click.command(help=__doc__)
@benchmark_options
@click.option("--peer", type=click.Choice(PEERS), help="Measure another library's networks, too.")
@click.option("--smoke", is_flag=True, help="Check that it runs: a minute on a CPU.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the CSV.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="DIR", help="Folder of plots; needs matplotlib.")
@click.option(
    "--results-file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_file,
    metavar="FILE",
    help="Another file of the rows: .csv, .json or .md.",
)
@click.pass_context
def main(
    context: click.Context,
    /,
    *,
    peer: str | None,
    smoke: bool,
    out: Path,
    plot: Path | None,
    results_file: Path | None,
    **values: Any,
) -> None:
    """Measure row by row, print their table, and write and draw it."""
    if smoke:
        given = {
            name for name in values if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        }
        values |= {name: value for name, value in SMOKE.items() if name not in given}
    plan = plan_of(values, libraries=(peer, OURS) if peer else (OURS,))
    # A smoke run is no measurement: it must not replace measured figures.
    path = out / f"throughput_{'smoke_' if smoke else ''}{slug(torch.device(plan.device))}.csv"
    rows = print_rows(plan, _rows(plan), [path, *([results_file] if results_file else [])], replacing=("model", "fast"))
    click.echo(f"\n{path}")
    if plot is not None:
        plot.mkdir(parents=True, exist_ok=True)
        pictures = (draw_batches(rows, plot), draw_scores(rows, RESULTS / "validate_cpu.csv", plot))
        click.echo("\n".join(str(picture) for picture in pictures if picture))


def _rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of a plan, without those of a network that the other library lacks."""
    alone = [name for name in plan.models if len(plan.libraries) > 1 and not has_peer(name)]
    both = [name for name in plan.models if name not in alone]
    if alone:
        click.echo(f"{plan.libraries[0]} has no {', '.join(alone)}: measured alone", err=True)
    for models, libraries in ((both, plan.libraries), (alone, (OURS,))):
        yield from measure_all(replace(plan, models=models, libraries=libraries), command=COMMAND)


if __name__ == "__main__":
    if sys.argv[1:2] == [ROW]:
        print_row(sys.argv[2], make)
    else:
        main()
