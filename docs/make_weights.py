"""Writes docs/weights.md and the README's table of weights; with `--check` only says if one of them is stale.

How weights were made is read from the checkpoints that come with the repository, and what they score from
benchmarks/results, where benchmarks/validate.py wrote it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from _page import Row, between, table, write_or_check
from _weights import ROOT, Kept, in_wheel, kept, lines, of

PAGE = ROOT / "docs" / "weights.md"
README = ROOT / "README.md"
RECIPES = ROOT / "examples" / "recipes"
MARKS = ("<!-- Weights: written by docs/make_weights.py -->\n", "<!-- End of weights -->")

INTRODUCTION = """\
<!-- Written by docs/make_weights.py from the checkpoints' cards and benchmarks/results. -->

# Weights

```python
import saltzoo

model = saltzoo.create_model("saltnet_s.tgs", pretrained=True)  # or "saltnet_s": its first tag
names = saltzoo.list_models(pretrained=True)
```

A name with a tag means the same weights for ever. They are looked for in the package first, then in the cache of the
Hugging Face Hub, then on the Hub; the log `saltzoo` says at level INFO which it was. Those that are *in the wheel* come
with `pip install saltzoo`; a clone of the repository, installed with `pip install -e .`, has all of this list. They are
kept in half precision and computed with in single: the scores are those of what is read from the files.

All were trained from scratch on four of five folds of 3200 of the competition's 4000 labelled tiles (stratified by
coverage, seed 0), and are scored on the fifth, which they have not seen: nothing was chosen by its score but the
recipe. The last average of the weights is kept, not the best epoch's. Licence: the competition's rules allow its data,
and what is learnt from it, no commercial use.
"""

SCORES = """\
## Scores

*Score* is the competition's: the mean over tiles of the precision averaged over IoU thresholds .5 to .95. IoU and Dice
are means over tiles, 1 where both masks are empty. *Empty* and *not empty* are the shares of tiles without and with
salt that are recognised as such. Masks are cut at .5, at the tiles' own 101 x 101; *hflip* averages each tile's
probabilities with its mirror image's.
"""

AGAIN = """\
## Again

The same seed on the same machine gives the same figure; another machine, or another version of torch, one that is like
it. With the competition's files in DIR:

```sh
{train}
{validate}
```
"""


def page() -> str:
    """The whole page."""
    weights, scores = list(kept()), lines()
    return "\n".join(
        [
            INTRODUCTION,
            table(
                ("name", "parameters", "MB", "in the wheel", "licence", "recipe", "epochs", "minutes", "trained on"),
                [_made(one) for one in weights],
                right=(1, 2, 6, 7),
            ),
            SCORES,
            table(
                ("name", "fold", "TTA", "score", "IoU", "Dice", "empty", "not empty"),
                [_scored(line) for one in weights for line in of(one.name, scores)],
                right=(1, 3, 4, 5, 6, 7),
            ),
            AGAIN.format(train=_command_train(weights), validate=_command_validate(weights)),
        ]
    )


def readme() -> str:
    """The README with its table as it should be."""
    scores = lines()
    rows: list[Row] = []
    for one in kept():
        by_tta = {line["tta"]: line for line in of(one.name, scores)}
        plain, mirrored = by_tta["none"], by_tta["hflip"]
        rows.append(
            (
                f"`{one.name}`",
                f"{one.parameters / 1e6:.2f} M",
                f"{one.size / 1e6:.1f}",
                f"{float(plain['salt_map']):.4f}",
                f"{float(mirrored['salt_map']):.4f}",
                f"{float(mirrored['iou']):.3f}",
                f"{_condition(one, 'minutes'):.0f}",
            )
        )
    header = ("weights", "parameters", "MB", "score", "with hflip", "IoU with hflip", "minutes of training")
    return between(README.read_text(encoding="utf-8"), MARKS, table(header, rows, right=range(1, 7)))


def _made(one: Kept) -> Row:
    recipe = RECIPES / f"{one.name}.toml"
    link = f"[{recipe.name}](../examples/recipes/{recipe.name})" if recipe.exists() else ""
    return (
        f"`{one.name}`",
        f"{one.parameters:,}",
        f"{one.size / 1e6:.1f}",
        "yes" if in_wheel(one.name) else "",
        one.config["license"],
        link,
        str(one.config["recipe"]["epochs"]),
        f"{_condition(one, 'minutes'):.0f}",
        str(_condition(one, "machine")),
    )


def _condition(one: Kept, name: str) -> Any:
    return one.config["metrics"][0][name]


def _scored(line: dict[str, str]) -> Row:
    scores = (f"{float(line[key]):.4f}" for key in ("salt_map", "iou", "dice", "empty", "nonempty"))
    return (f"`{line['model']}`", line["fold"], line["tta"], *scores)


def _command_train(weights: Sequence[Kept]) -> str:
    names = [one.name for one in weights if (RECIPES / f"{one.name}.toml").exists()]
    return "\n".join(
        f"python examples/train.py --recipe examples/recipes/{name}.toml --data DIR --fold 0 --out runs/{name}"
        for name in names
    )


def _command_validate(weights: Sequence[Kept]) -> str:
    return "\n".join(f"python benchmarks/validate.py --model {one.name} --data DIR --fold 0" for one in weights)


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page, README: readme}, __doc__))
