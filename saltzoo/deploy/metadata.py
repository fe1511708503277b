"""What an exported file says about its network, besides the graph: preprocessing, labels, licence, threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .._version import __version__
from ..preprocess import Preprocess

KEY = "saltzoo"
"""Key under which a file holds the metadata, as JSON."""

_FIELDS = (
    "architecture",
    "preprocess",
    "folded",
    "labels",
    "license",
    "threshold",
    "min_size",
    "size",
    "smallest",
    "saltzoo_version",
)


@dataclass(frozen=True)
class Metadata:
    """Description of an exported network.

    Attributes:
        architecture: name of the model in the catalog; "" for a model wired by hand.
        preprocess: how images in 0..1 become the network's input.
        folded: whether the graph normalises itself, so that it takes images in 0..1.
        labels: name of each class.
        license: licence of the weights; "" where it is not stated.
        threshold: probability above which a pixel counts as salt.
        min_size: number of pixels below which a patch of salt is to be removed.
        size: height and width that the network takes; None for any.
        smallest: smallest height and width.
        saltzoo_version: version that wrote the file.
    """

    architecture: str
    preprocess: Preprocess
    folded: bool
    labels: tuple[str, ...]
    license: str
    threshold: float
    min_size: int
    size: tuple[int, int] | None
    smallest: int
    saltzoo_version: str = __version__

    def to_json(self) -> str:
        """Return the description as JSON."""
        return json.dumps({**asdict(self), "preprocess": self.preprocess.to_dict(), "labels": list(self.labels)})

    @classmethod
    def from_json(cls, text: str | None) -> Metadata:
        """Return the description that `to_json` wrote.

        Raises:
            ValueError: if the text is no such description.
        """
        if text is None:
            raise ValueError("this file was not written by saltzoo.deploy.export: it does not describe its network")
        try:
            values: dict[str, Any] = json.loads(text)
            known = {name: values[name] for name in _FIELDS}
            known["size"] = None if values["size"] is None else tuple(values["size"])
            known |= {"preprocess": Preprocess.from_dict(values["preprocess"]), "labels": tuple(values["labels"])}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the file's description of its network is damaged: {error}. Export it again") from error
        return cls(**known)


def labels_of(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """Return a name for each class: those given, or "salt", or "class_0", "class_1", ...

    Raises:
        ValueError: if their number is not that of the classes.
    """
    if labels is None:
        return ("salt",) if classes == 1 else tuple(f"class_{index}" for index in range(classes))
    if isinstance(labels, str) or len(labels) != classes:
        raise ValueError(f"labels must name each of the model's {classes} class(es), got {labels!r}")
    return tuple(labels)
