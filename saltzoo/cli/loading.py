"""A model on a device, as the options --model and --device name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import torch

from ..models import Segmenter
from ..zoo.ensemble import Ensemble
from ..zoo.factory import create_model
from ..zoo.sources import HUB, LOCAL, load_checkpoint, load_weights, parse_source

DEVICES = ("cpu", "cuda", "mps")


def device_of(name: str | None) -> torch.device:
    """Return a device by name; None for a GPU if torch finds one, else the CPU.

    Raises:
        click.UsageError: if the name is no device, or torch does not find it.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in DEVICES:
        raise click.UsageError(f"--device must be cpu, cuda, cuda:N or mps, got {name!r}")
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found[device.type]:
        raise click.UsageError(f"--device must be one that torch finds here, got {name!r}: use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise click.UsageError(f"--device must be cuda:0 to cuda:{torch.cuda.device_count() - 1}, got {name!r}")
    return device


def load_model(name: str, device: torch.device | None = None) -> Segmenter:
    """Load a model of one class by the name of its weights, or a checkpoint.

    Raises:
        ValueError: if there are no such weights, or the model has several classes.
        OSError: if the weights are missing or cannot be reached.
    """
    model = create_model(name, pretrained=True)
    if isinstance(model, Ensemble):
        classes = model.num_classes or 1
    else:
        classes = model.config.model_args.get("num_classes", 1) if model.config else 1
    if classes > 1:
        raise ValueError(f"{name} has {classes} classes: use a model with one class, salt")
    return model.to(device or torch.device("cpu"))


def survey_of(name: str) -> dict[str, Any]:
    """Return the polarity and scale of the survey that weights were adapted to, none if they were adapted to none.

    Raises:
        ValueError: if there are no such weights.
        OSError: if they are missing or cannot be reached.
    """
    if not name.startswith((HUB, LOCAL)):  # published weights are of no single survey
        return {}
    survey = load_checkpoint(parse_source(name, pretrained=True)).config.get("survey", {})
    return {key: survey[key] for key in ("polarity", "scale") if key in survey}


def config_of(name: str, model: Segmenter) -> Mapping[str, Any]:
    """Return the content of config.json of the weights with this name; empty for an ensemble, whose members have it."""
    return {} if isinstance(model, Ensemble) else load_weights(name).config
