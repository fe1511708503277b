"""A model on a device, as the options --model and --device name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch

from ..contracts import MaskModel, SegmentationModel
from ..deploy import SUFFIXES, Exported, load, optimize
from ..zoo.ensemble import Ensemble
from ..zoo.factory import create_model
from ..zoo.sources import HUB, LOCAL, load_checkpoint, load_weights, parse_source

DEVICES = ("cpu", "cuda", "mps")


def device_of(name: str | None, model: str = "") -> torch.device:
    """Return a device by name; None for a GPU if torch finds one and the model is no exported file, else the CPU.

    Raises:
        click.UsageError: if the name is no device, or torch does not find it.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() and exported_file(model) is None else "cpu")
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


def load_model(name: str, device: torch.device | None = None, *, fast: bool = False) -> MaskModel:
    """Load a model of one class by the name of its weights, a checkpoint, or an exported file.

    Args:
        name: name of weights, local-dir:PATH, hf-hub:ORG/NAME, a file that `saltzoo.deploy.export` wrote, or the folder
            of one for OpenVINO.
        device: device of the model; None for the CPU. An exported file is computed on the CPU.
        fast: whether the model is optimised for inference.

    Raises:
        ValueError: if there are no such weights, the model has several classes, or a file is to be optimised.
        OSError: if the weights are missing or cannot be reached.
        click.ClickException: if the library of a file's format is not installed.
    """
    file = exported_file(name)
    if file is not None:
        return _load_exported(file, device, fast=fast)
    model = create_model(name, pretrained=True)
    if isinstance(model, Ensemble):
        classes = model.num_classes or 1
    else:
        classes = model.config.model_args.get("num_classes", 1) if model.config else 1
    _check_classes(name, classes)
    model.to(device or torch.device("cpu"))
    return optimize(model) if fast else model


def exported_file(name: str) -> Path | None:
    """Return the exported file that a model's name is the path of; None if it is another name.

    A folder names the only .xml in it, as OpenVINO's files lie.
    """
    path = Path(name)
    if path.suffix in SUFFIXES:
        return path
    found = sorted(path.glob("*.xml")) if path.is_dir() else []
    return found[0] if len(found) == 1 else None


def _load_exported(file: Path, device: torch.device | None, *, fast: bool) -> Exported:
    if fast:
        raise ValueError(f"--fast is of weights, and {file} was optimised when it was exported: leave it out")
    if device is not None and device.type != "cpu":
        raise ValueError(f"{file} is computed on the CPU, got the device {device}: use --device cpu")
    try:
        model = load(file)
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    _check_classes(str(file), model.num_classes)
    return model


def _check_classes(name: str, classes: int) -> None:
    if classes > 1:
        raise ValueError(f"{name} has {classes} classes: use a model with one class, salt")


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


def config_of(name: str, model: SegmentationModel) -> Mapping[str, Any]:
    """Return the content of config.json of the weights with this name; empty for an ensemble, whose members have it."""
    return {} if isinstance(model, Ensemble) else load_weights(name).config
