"""Write docs/results/weights.md and the README's table of weights; with `--check`, only check them.

Conditions of training are read from the checkpoints of the repository, and scores from benchmarks/results, where
benchmarks/validate.py writes them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Any

from _page import Row, between, fill, table, write_or_check
from _weights import RESULTS, ROOT, Bundled, bundled, scores, scores_of
from _weights_pictures import draw

PAGE = ROOT / "docs" / "results" / "weights.md"
README = ROOT / "README.md"
RECIPES = ROOT / "examples" / "recipes"
OWN_SCRIPTS = {"saltnet_s.sections": "examples/train_sections.py"}
"""Scripts that train weights on tiles that examples/train.py does not make."""

MARKS = ("<!-- Weights: written by docs/make_weights.py -->\n", "<!-- End of weights -->")


def page() -> str:
    """Return the whole page."""
    weights, found = list(bundled()), scores()
    return fill(
        "weights.md",
        {
            "weights": table(
                ("name", "parameters", "MB", "licence", "recipe", "epochs", "minutes", "trained on"),
                [_training_row(one) for one in weights],
                right=(1, 2, 5, 6),
            ),
            "scores": table(
                ("name", "fold", "TTA", "score", "IoU", "Dice", "empty", "not empty", "tiles/s"),
                [_score_row(line) for one in weights for line in scores_of(one.name, found) if line["fold"]],
                right=(1, 3, 4, 5, 6, 7, 8),
            ),
            "synthetic": table(
                ("name", "TTA", "score", "IoU", "Dice", "empty", "not empty"),
                [_synthetic_row(line) for one in weights for line in scores_of(one.name, found) if not line["fold"]],
                right=(2, 3, 4, 5, 6),
            ),
            "sections": table(
                ("name", "tile", "side", "with salt", "IoU", "median IoU", "without salt", "false alarms"),
                [_section_row(line) for line in _sections()],
                right=(2, 3, 4, 5, 6, 7),
            ),
            "train": _train_commands(weights),
            "validate": _validate_commands(weights),
        },
    )


def readme() -> str:
    """Return the README with its table of weights."""
    found = scores()
    rows: list[Row] = []
    for one in bundled():
        lines = scores_of(one.name, found)
        plain, mirrored = ({line["tta"]: line for line in lines if line["fold"]}[tta] for tta in ("none", "hflip"))
        (synthetic,) = (line for line in lines if not line["fold"] and line["tta"] == "hflip")
        rows.append(
            (
                f"`{one.name}`",
                f"{one.parameters / 1e6:.2f} M",
                f"{one.size / 1e6:.1f}",
                f"{float(plain['salt_map']):.4f}",
                f"{float(mirrored['salt_map']):.4f}",
                f"{float(mirrored['iou']):.3f}",
                f"{float(synthetic['salt_map']):.3f}",
                f"{_condition(one, 'minutes'):.0f}",
            )
        )
    header = ("weights", "parameters", "MB", "score", "with hflip", "IoU", "synthetic tiles", "minutes of training")
    return between(README.read_text(encoding="utf-8"), MARKS, table(header, rows, right=range(1, 8)) + "\n")


def _training_row(one: Bundled) -> Row:
    recipe = RECIPES / f"{one.name}.toml"
    link = f"[{recipe.name}](../../examples/recipes/{recipe.name})" if recipe.exists() else ""
    return (
        f"`{one.name}`",
        f"{one.parameters:,}",
        f"{one.size / 1e6:.1f}",
        one.config["license"],
        link,
        str(one.config["recipe"]["epochs"]),
        f"{_condition(one, 'minutes'):.0f}",
        str(_condition(one, "machine")),
    )


def _condition(one: Bundled, name: str) -> Any:
    return one.config["metrics"][0][name]


def _score_row(line: dict[str, str]) -> Row:
    speed = f"{float(line['tiles_per_s']):.0f}"
    return (f"`{line['model']}`", line["fold"], line["tta"], *_figures(line), speed)


def _synthetic_row(line: dict[str, str]) -> Row:
    return (f"`{line['model']}`", line["tta"], *_figures(line))


def _sections() -> list[dict[str, str]]:
    """Return the lines written by benchmarks/sections.py."""
    with (RESULTS / "sections_cpu.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _section_row(line: dict[str, str]) -> Row:
    ious = (f"{float(line[key]):.3f}" for key in ("iou", "median_iou"))
    alarms = f"{float(line['false_alarms']):.1%}"
    return (f"`{line['model']}`", line["tile"], line["side"], line["with_salt"], *ious, line["without_salt"], alarms)


def _figures(line: dict[str, str]) -> Row:
    return tuple(f"{float(line[key]):.4f}" for key in ("salt_map", "iou", "dice", "empty", "nonempty"))


def _train_commands(weights: Sequence[Bundled]) -> str:
    names = [one.name for one in weights if (RECIPES / f"{one.name}.toml").exists()]
    return "\n".join(
        f"python {OWN_SCRIPTS[name]} --data DIR --out runs/{name}"
        if name in OWN_SCRIPTS
        else f"python examples/train.py --recipe examples/recipes/{name}.toml --data DIR --fold 0 --out runs/{name}"
        for name in names
    )


def _validate_commands(weights: Sequence[Bundled]) -> str:
    folds = {one.name: "" if "ensemble" in one.config else " --fold 0" for one in weights}
    return "\n".join(f"python benchmarks/validate.py --model {name} --data DIR{fold}" for name, fold in folds.items())


if __name__ == "__main__":
    curves = ROOT / "docs" / "pictures" / "training.svg"
    sys.exit(write_or_check({PAGE: page, README: readme}, __doc__, draw=lambda: draw(list(bundled()), curves)))
