"""Write docs/explanation/folds.md from benchmarks/results/splits_cpu.csv; `--check` only checks it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from _page import fill, table, write_or_check

PAGE = Path(__file__).parent / "explanation" / "folds.md"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "splits_cpu.csv"


def page() -> str:
    """Return the whole page."""
    with RESULTS.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    rows = [
        (
            line["tiles"],
            line["count"],
            f"{float(line['by_id']):.4f}",
            f"{float(line['by_mosaic']):.4f}",
            f"{float(line['difference']):+.4f} ± {float(line['standard_error']):.4f}",
        )
        for line in lines
    ]
    whole = lines[0]
    return fill(
        "folds.md",
        {
            **{name: whole[name] for name in ("count", "folds", "epochs", "model", "start")},
            "splits": table(
                ("tiles", "number", "by id", "by mosaic", "gain, with its standard error"), rows, (1, 2, 3, 4)
            ),
            "verdict": verdict(*(lines[row] for row in (1, 2))),
        },
    )


def verdict(touched: dict[str, str], control: dict[str, str]) -> str:
    """Return a sentence about tiles with a training neighbour and tiles without."""
    gain, error = float(touched["difference"]), float(touched["standard_error"])
    other, other_error = float(control["difference"]), float(control["standard_error"])
    if gain - other > 2 * (error**2 + other_error**2) ** 0.5:
        return "Tiles with a training neighbour gain more than the control does: folds by id flatter the score."
    return (
        "Tiles with a training neighbour do not gain more than the control by two standard errors: in this training "
        "the leak is smaller than what the experiment resolves."
    )


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__))
