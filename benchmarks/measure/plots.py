"""Plots of throughput: against the batch, and the score of weights against the throughput of their model."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saltzoo.benchmark.report import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SERIES = ("model", "library", "mode", "dtype", "layout", "compile")


def draw_batches(rows: Sequence[Row], folder: Path) -> Path | None:
    """Draw images per second against the batch, a line for each series of rows; None if none has two batches."""
    series: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for row in rows:
        if not row["error"]:
            key = tuple(str(row[name]) for name in _SERIES)
            series.setdefault(key, []).append((int(row["batch"]), float(row["images_per_s"])))
    lines = {key: sorted(points) for key, points in series.items() if len(points) > 1}
    if not lines:
        return None
    varying = [index for index in range(len(_SERIES)) if len({key[index] for key in lines}) > 1] or [0]
    labels = {key: ", ".join(key[index] for index in varying) for key in lines}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for key, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=labels[key])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("batch")
    axes.set_ylabel("images/s")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return _save(figure, folder / "throughput_batch.svg")


def draw_scores(rows: Sequence[Row], scored: Path, folder: Path) -> Path | None:
    """Draw the score of weights against the best throughput of their model in inference; None if none is known.

    Args:
        rows: measured rows.
        scored: table of benchmarks/validate.py.
        folder: folder of the picture.
    """
    best: dict[str, float] = {}
    for row in rows:
        if row["mode"] == "infer" and not row["error"] and row["library"] == "saltzoo":
            best[row["model"]] = max(best.get(row["model"], 0.0), float(row["images_per_s"]))
    points = {
        name: (best[name.partition(".")[0]], score)
        for name, score in fold_scores(scored).items()
        if name.partition(".")[0] in best
    }
    return _save(score_figure(points, "images/s"), folder / "throughput_score.svg") if points else None


def fold_scores(scored: Path) -> dict[str, float]:
    """Return the score of single models with flips on fold 0, which none of them was trained on, by name."""
    if not scored.exists():
        return {}
    with scored.open(newline="") as file:
        lines = list(csv.DictReader(file))
    return {
        line["model"]: float(line["salt_map"])
        for line in lines
        if (line["fold"], line["unseen"], line["tta"]) == ("0", "yes", "hflip")
    }


def score_figure(points: Mapping[str, tuple[float, float]], unit: str) -> Figure:
    """Return a plot of named points (throughput, score)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*zip(*points.values(), strict=True))
    for name, point in points.items():
        axes.annotate(name, point, xytext=(5, 4), textcoords="offset points", fontsize="small")
    axes.set_xlabel(unit)
    axes.set_ylabel("score on fold 0, with flips")
    axes.margins(x=0.2, y=0.1)
    axes.grid(alpha=0.3)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path)
    return path
