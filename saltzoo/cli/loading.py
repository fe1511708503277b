"""A model on a device, as the options --model and --device name them."""

from __future__ import annotations

import click
import torch

from ..models import Segmenter
from ..zoo.ensemble import Ensemble
from ..zoo.factory import create_model

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
