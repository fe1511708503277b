"""Descriptions of models and of weights, before anything is built. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class ModelSpec:
    """A named model: a builder with options.

    Attributes:
        name: letters, digits and underscores; a dot separates a tag of weights.
        builder: function of keywords (at least `in_chans` and `num_classes`) that returns the model; or a dataclass
            of such options whose `build()` returns it; or the place of either, "package.module:name", which is
            imported only when the model is built.
        options: keywords of the builder.
        paper: publication of the network.
        source: who used it on salt, with which score.
    """

    name: str
    builder: str | Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a model's name must be letters, digits and underscores, got {self.name!r}")
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def load_builder(self) -> Callable[..., Any]:
        """Return the builder, imported if it was given by its place."""
        if not isinstance(self.builder, str):
            return self.builder
        module, _, function = self.builder.partition(":")
        return getattr(import_module(module), function)


@dataclass(frozen=True)
class WeightsSpec:
    """Published weights of a named model. A tag is never changed: new weights get a new tag.

    Attributes:
        model: name of the model.
        tag: name of the training data, such as "tgs", and of the variant if there are several.
        repo_id: repository on the Hugging Face Hub; by default "saltzoo/" and the name of the weights.
        revision: commit, so that the name always means the same weights; "main" only until they are published.

    Example:
        >>> WeightsSpec("unet_resnet34_scse", "tgs2").repo_id
        'saltzoo/unet_resnet34_scse.tgs2'
    """

    model: str
    tag: str
    repo_id: str = ""
    revision: str = "main"

    def __post_init__(self) -> None:
        object.__setattr__(self, "repo_id", self.repo_id or f"saltzoo/{self.name}")

    @property
    def name(self) -> str:
        """Model and tag, such as "unet_resnet34_scse.tgs2"."""
        return f"{self.model}.{self.tag}"
