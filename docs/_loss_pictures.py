"""Draw the pictures of docs/reference/losses.md as SVG; equal numbers give equal bytes. Needs matplotlib."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _loss_curves import Panel, Picture

# The colours of Okabe and Ito, which colour-blind readers can distinguish; variants of a loss differ in dashes.
STYLES = {
    "BCE": ("#000000", "-"),
    "focal, gamma 1": ("#56B4E9", "-"),
    "focal, gamma 2": ("#56B4E9", "--"),
    "focal, gamma 5": ("#56B4E9", ":"),
    "Dice": ("#0072B2", "-"),
    "Dice, mean": ("#0072B2", "-"),
    "Dice, smooth": ("#0072B2", "--"),
    "Dice, skip": ("#0072B2", ":"),
    "Jaccard": ("#009E73", "-"),
    "Tversky .3, .7": ("#E69F00", "-"),
    "Lovász hinge, relu": ("#D55E00", "-"),
    "Lovász hinge, elu": ("#CC79A7", "-"),
    "Lovász hinge, elu, symmetric": ("#CC79A7", "--"),
}
SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "saltzoo",
}


def line_id(panel: int, label: str) -> str:
    """Return the id of a curve in the SVG."""
    return f"panel{panel}-{re.sub('[^a-z0-9]+', '-', label.lower())}"


def draw(pictures: Sequence[Picture], folder: Path) -> None:
    """Write each picture as `name`.svg.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the pictures need matplotlib: pip install matplotlib; the page itself is written") from error
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    for picture in pictures:
        with matplotlib.rc_context(SETTINGS):  # type: ignore[arg-type, unused-ignore]
            figure = Figure(figsize=(8.6, 3.9), facecolor="white", layout="constrained")
            for number, panel in enumerate(picture.panels):
                _draw_panel(figure.add_subplot(1, 2, number + 1), number, panel)
            handles, labels = figure.axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, handlelength=3)
            # No date and no version, so that the bytes change only if the picture does.
            figure.savefig(folder / f"{picture.name}.svg", metadata={"Date": None, "Creator": None})


def _draw_panel(axes: Any, number: int, panel: Panel) -> None:
    if panel.mark is not None:
        axes.axvline(panel.mark, color="#999999", linewidth=0.8)
    for label, points in panel.curves.items():
        color, dashes = STYLES[label]
        x, y = [point[0] for point in points], [point[1] for point in points]
        axes.plot(x, y, color=color, linestyle=dashes, linewidth=1.6, label=label, gid=line_id(number, label))
    axes.set_yscale("log" if panel.log else "linear")
    axes.set(title=panel.title, xlabel=panel.across, ylabel=panel.up)
    axes.grid(color="#DDDDDD", linewidth=0.6)
