"""Which models can be exported to which format, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ..zoo import list_models
from ..zoo.factory import create_model
from .export import exportable
from .runtimes import FORMATS


def export_rows(names: Sequence[str] | None = None, formats: Sequence[str] = tuple(FORMATS)) -> Iterator[list[str]]:
    """Yield the name of each model, and for each format "any size", "one size" or why it cannot be exported.

    Each answer comes from an export, whose result is compared with the model; weights are random.

    Args:
        names: models of the catalog; None for all.
        formats: names of FORMATS.

    Example:
        >>> list(export_rows(["saltnet_s"], formats=["pt2"]))
        [['saltnet_s', 'any size']]
    """
    for name in list_models() if names is None else names:
        model = create_model(name)
        with TemporaryDirectory() as folder:
            yield [name, *(exportable(model, one, folder=Path(folder)) for one in formats)]
