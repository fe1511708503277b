"""Draw the scores of the bundled weights over the minutes of their training. Needs matplotlib."""

from __future__ import annotations

import csv
from itertools import accumulate
from pathlib import Path

from _loss_pictures import SETTINGS
from _weights import RESULTS, Bundled

CURVES = RESULTS / "curves"
"""The log.csv of the run of each checkpoint, under the name of its weights.

There is none if its scores are of other tiles than those of the fold.
"""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def curve_of(path: Path) -> tuple[list[float], list[float]]:
    """Return minutes and scores at the end of each epoch of a run's log.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    minutes = accumulate(float(line["seconds"]) / 60 for line in lines)
    return list(minutes), [float(line["score"]) for line in lines]


def draw(weights: list[Bundled], file: Path) -> None:
    """Write the picture, one panel for each kind of machine: minutes on a GPU and on a core are not alike.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure

    panels: dict[str, list[Bundled]] = {"on a GPU": [], "on a CPU": []}
    for one in weights:
        if (CURVES / f"{one.name}.csv").exists():
            panels["on a GPU" if "NVIDIA" in one.config["metrics"][0]["machine"] else "on a CPU"].append(one)
    shown = {title: some for title, some in panels.items() if some}
    colours = dict(zip((one.name for some in shown.values() for one in some), COLOURS * len(weights), strict=False))
    with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type, unused-ignore]
        figure = Figure(figsize=(8.6, 3.9), facecolor="white", layout="constrained")
        for number, (title, some) in enumerate(shown.items(), start=1):
            axes = figure.add_subplot(1, len(shown), number)
            for one in some:
                minutes, scores = curve_of(CURVES / f"{one.name}.csv")
                axes.plot(minutes, scores, color=colours[one.name], linewidth=1.6, label=one.name)
            axes.set(title=title, xlabel="minutes of training", ylabel="score without TTA", ylim=(0.6, 0.86))
            axes.grid(color="#DDDDDD", linewidth=0.6)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(file, metadata={"Date": None, "Creator": None})
