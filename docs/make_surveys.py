"""Write docs/howto/surveys.md: `python docs/make_surveys.py`; `--check` only checks it.

The picture is drawn from the synthetic survey with the commands of the page, about a minute on one core.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from _page import fill, table, write_or_check
from _survey_refusals import REFUSALS
from PIL import Image

from saltzoo.cli import main as saltzoo

PAGE = Path(__file__).parent / "howto" / "surveys.md"
PICTURE = Path(__file__).with_name("pictures") / "survey_page.jpg"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "surveys_commands_cpu.csv"
MEMORY = RESULTS.with_name("surveys_memory.csv")
F3 = (651, 951, 462)
WHAT = {
    "synthetic": "write a synthetic survey and its mask",
    "predict": "segment all inlines",
    "report": "horizons, bodies, mask and page",
}
SLAB = 2**24 // (4 * F3[1] * F3[2])
"""Inlines of F3 in a slab of 16 MiB, as `saltzoo.cli.slabs.steps_of` has it."""


def page() -> str:
    """Return the whole page."""
    with RESULTS.open(newline="") as file:
        lines = list(csv.DictReader(file))
    with MEMORY.open(newline="") as file:
        memory = list(csv.DictReader(file))[-1]
    rows, seconds = [], {}
    for step, what in WHAT.items():
        runs = sorted((line for line in lines if line["step"] == step), key=lambda line: int(line["lines"]))
        last = runs[-1]
        count, taken = int(last["lines"]), float(last["cpu_s"])
        if len(runs) > 1:  # one line alone: what the start takes
            count, taken = count - int(runs[0]["lines"]), taken - float(runs[0]["cpu_s"])
        seconds[step] = taken / count * F3[0]
        rows.append((what, f"{taken / count:.2f}", f"{seconds[step] / 60:.0f}", last["peak_mib"]))
    return fill(
        "surveys.md",
        {
            "refusals": table(("input", "what happens"), REFUSALS),
            "times": table(("", "s a line", "minutes for F3", "peak MiB"), rows, right=(1, 2, 3)),
            "inlines": F3[0],
            "crosslines": F3[1],
            "samples": F3[2],
            "model": f"`{lines[0]['model']}`",
            "device": lines[0]["device"],
            "hours": f"{seconds['predict'] / 60:.0f} minutes",
            **{key: memory[key] for key in ("file_gib", "peak_anonymous_mib", "imports_anonymous_mib", "peak_mib")},
            "slab": SLAB,
            "slabs": -(-F3[0] // SLAB),
        },
    )


def draw() -> None:
    """Run the commands of the page and keep its picture."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        cube, salt, doubt, drawn = (str(folder / file) for file in ("cube.sgy", "salt.sgy", "doubt.sgy", "page.png"))
        both = ("--direction", "both", "--disagreement", doubt)
        for words in (
            ("synthetic", cube, "--shape", "96", "128", "200", "--seed", "1"),
            ("predict", cube, "--model", "saltnet_s.wide2", "--device", "cpu", *both, "--out", salt),
            ("report", salt, "--qc", drawn),
        ):
            if saltzoo(list(words)):
                raise RuntimeError(f"saltzoo {words[0]} must end with status 0")
        with Image.open(drawn) as picture:
            size = (1000, round(picture.height * 1000 / picture.width))
            picture.resize(size, Image.Resampling.LANCZOS).save(PICTURE, quality=72, optimize=True)


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__, draw))
