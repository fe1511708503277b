"""Write examples/tour.ipynb from examples/tour.py: `python docs/make_notebook.py`; with `--check`, only check it.

Cells of the script begin with `# %%`, and cells of text with `# %% [markdown]`, as editors and jupytext know them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from _page import write_or_check

SCRIPT = Path(__file__).parents[1] / "examples" / "tour.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")
SHOW = "from PIL import Image\n\nImage.fromarray(page)"
"""Last cell, which only the notebook has: it shows the page."""


def notebook() -> str:
    """Return the notebook as JSON, without outputs."""
    marked = re.split(r"^# %%(.*)\n", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    cells = [_cell(kind.strip(), text) for kind, text in zip(marked[::2], marked[1::2], strict=True)]
    cells.append(_cell("", SHOW))
    told = {
        "cells": [{"id": f"cell{number}", **cell} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str, text: str) -> dict[str, Any]:
    text = text.strip("\n")
    if kind == "[markdown]":
        text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}
    source = text.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


if __name__ == "__main__":
    sys.exit(write_or_check({NOTEBOOK: notebook}, __doc__))
