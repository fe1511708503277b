"""What the zoo knows of a model and of its weights, before anything is built. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class ModelSpec:
    """A named model: a builder and the options that make the name.

    Attributes:
        name: letters, digits and underscores; the dot is kept for weights.
        builder: a function of keywords (at least `in_chans` and `num_classes`) that returns the model; or a
            dataclass of such options whose `build()` returns it; or where either is, as "package.module:name": then
            nothing is imported before the model is built.
        options: keywords of the builder.
        paper: where the network was published.
        source: who used it on salt, and how well.
    """

    name: str
    builder: str | Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a model's name is letters, digits and underscores, got {self.name!r}")
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def load_builder(self) -> Callable[..., Any]:
        """The builder itself, imported now if it was given by its place."""
        if not isinstance(self.builder, str):
            return self.builder
        module, _, function = self.builder.partition(":")
        return getattr(import_module(module), function)


@dataclass(frozen=True)
class WeightsSpec:
    """Published weights of a named model. A tag is never changed: new weights get a new tag.

    Attributes:
        model: the model's name.
        tag: what they were trained on, and how if there are several: "tgs".
        repo_id: where on the Hugging Face Hub, "org/name"; by default "saltzoo/" and the name of the weights.
        revision: a commit, so that the name always means the same weights; "main" only until they are published.

    Example:
        >>> WeightsSpec("unet_resnet34_scse", "tgs").repo_id
        'saltzoo/unet_resnet34_scse.tgs'
    """

    model: str
    tag: str
    repo_id: str = ""
    revision: str = "main"

    def __post_init__(self) -> None:
        object.__setattr__(self, "repo_id", self.repo_id or f"saltzoo/{self.name}")

    @property
    def name(self) -> str:
        """As users write it: "unet_resnet34_scse.tgs"."""
        return f"{self.model}.{self.tag}"
