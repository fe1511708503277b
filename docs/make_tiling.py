"""Write docs/explanation/tiling.md: `python docs/make_tiling.py`; `--check` only checks it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from _page import fill, table, write_or_check

PAGE = Path(__file__).parent / "explanation" / "tiling.md"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "overlap_cpu.csv"
MODEL = "saltnet_s.wide2"


def page() -> str:
    """Return the whole page.

    Raises:
        ValueError: if the results contradict what the template says in words.
    """
    with RESULTS.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["model"] == MODEL]
    rows = [
        (
            f"{float(line['overlap']):g}",
            line["tiles"],
            f"{float(line['s']):.1f}",
            f"{float(line['iou']):.3f}",
            f"{float(line['seam']):.2f}",
        )
        for line in lines
    ]
    (quarter,) = (line for line in lines if float(line["overlap"]) == 0.25)
    by_overlap = sorted(lines, key=lambda line: float(line["overlap"]))
    if float(by_overlap[0]["iou"]) < float(by_overlap[-1]["iou"]) - 0.01:
        raise ValueError("the IoU falls without overlap, and docs/templates/tiling.md says that it does not: edit it")
    return fill(
        "tiling.md",
        {
            "overlaps": table(("overlap", "tiles", "seconds", "IoU with the true masks", "seam"), rows, right=range(5)),
            "model": f"`{MODEL}`",
            "speed": f"{float(quarter['ratio']):.1f}",
            **{name: quarter[name] for name in ("width", "height", "threads", "device", "sections")},
        },
    )


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__))
