"""Which models can be exported to which format, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ..models.segmenter import MIN_SIZE
from ..zoo import list_models
from ..zoo.factory import create_model
from .export import export
from .load import load
from .runtimes import FORMATS


def export_rows(names: Sequence[str] | None = None, formats: Sequence[str] = tuple(FORMATS)) -> Iterator[list[str]]:
    """Yield the name of each model, and for each format what sizes it takes or why it cannot be exported.

    An answer is "any size", "any size from 64 x 64", "101 x 101 alone" or a reason. It comes from an export, whose
    result is compared with the model; weights are random.

    Args:
        names: models of the catalog; None for all.
        formats: names of FORMATS.
    """
    for name in list_models() if names is None else names:
        yield [name, *(_answer(name, one) for one in formats)]


def _answer(name: str, format: str) -> str:
    model = create_model(name)
    reason = ""
    with TemporaryDirectory() as folder:
        for size in (None, (101, 101)):
            try:
                path = export(model, Path(folder) / f"model{FORMATS[format].suffix}", format=format, size=size)
            except (ValueError, RuntimeError) as error:
                reason = reason or str(error)
                continue
            smallest = load(path).about.smallest
            if size:
                return "101 x 101 alone"
            return "any size" if smallest == MIN_SIZE + 1 else f"any size from {smallest} x {smallest}"
    return reason
