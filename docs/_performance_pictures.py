"""Draw the pictures of docs/results/performance.md as SVG; equal numbers give equal bytes. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _loss_pictures import SETTINGS

PICTURES = Path(__file__).parent / "pictures"
PHASES = ("augmentation", "forward", "loss", "backward", "optimizer")
COLORS = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#999999")

Line = Mapping[str, str]


def draw_choice(speeds: Mapping[str, float], scored: Sequence[Line]) -> None:
    """Draw the score of weights on fold 0 against images per second of their models."""
    points = {
        line["model"]: (speeds[line["model"].partition(".")[0]], float(line["salt_map"]))
        for line in scored
        if (line["fold"], line["unseen"], line["tta"]) == ("0", "yes", "hflip")
        and line["model"].partition(".")[0] in speeds
    }
    figure, axes = _figure(4)
    axes.scatter(*zip(*points.values(), strict=True), color="#0072B2")
    for name, point in points.items():
        axes.annotate(name, point, xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("images/s on one core")
    axes.set_ylabel("score on fold 0, with flips")
    axes.margins(x=0.25, y=0.1)
    _save(figure, "choice.svg")


def draw_phases(lines: Sequence[Line]) -> None:
    """Draw the milliseconds of each phase of a training step as bars, with the floor as a mark."""
    steps = list(dict.fromkeys((line["model"], line["dtype"]) for line in lines))
    figure, axes = _figure(0.5 * len(steps) + 1.2)
    for row, step in enumerate(steps):
        own = {line["name"]: float(line["ms"]) for line in lines if (line["model"], line["dtype"]) == step}
        start = 0.0
        for phase, color in zip(PHASES, COLORS, strict=True):
            axes.barh(row, own[phase], left=start, color=color, label=phase if row == 0 else None)
            start += own[phase]
        axes.plot([own["floor"]] * 2, [row - 0.4, row + 0.4], color="black", label="floor" if row == 0 else None)
    axes.set_yticks(range(len(steps)), [f"{model}, {dtype}" for model, dtype in steps])
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.legend(fontsize=8)
    _save(figure, "training_step.svg")


def _figure(height: float) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = SETTINGS
    mpl.rcParams.update(settings)
    figure = Figure(figsize=(7, height), facecolor="white", layout="constrained")
    return figure, figure.subplots()


def _save(figure: Any, name: str) -> None:
    # No date and no version, so that the bytes change only if the picture does.
    figure.savefig(PICTURES / name, metadata={"Date": None, "Creator": None})
