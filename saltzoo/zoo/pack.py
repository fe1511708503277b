"""The files of a model's checkpoint, after checking that create_model gives the same model back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._torch import same_results
from ..checkpoints.card import model_card
from ..checkpoints.config import config_of
from ..checkpoints.folder import CARD, CONFIG, WEIGHTS, load_folder, tensors_to_bytes
from ..checkpoints.quantized import dequantized
from ..checkpoints.tensors import check_plain, shapes_of, tensors_of, to_stored
from .build import build_model
from .differences import other_modules, patched
from .registry import find_model
from .restore import leave_out_heads

_SHOWN = 3


@dataclass(frozen=True)
class Packed:
    """A checkpoint before it is written.

    Attributes:
        config: content of config.json.
        tensors: tensors as they are stored.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def files(self) -> dict[str, bytes]:
        """Return the content of each file; the config, which makes the others valid, is the last."""
        return {
            WEIGHTS: tensors_to_bytes(self.tensors),
            CARD: model_card(self.config).encode(),
            CONFIG: (json.dumps(self.config, indent=2) + "\n").encode(),
        }

    def check(self, folder: Path) -> None:
        """Raise OSError unless a folder reads as it was meant."""
        read = load_folder(folder)
        if read.config != self.config or [*shapes_of(read.tensors)] != [*shapes_of(dequantized(self.tensors))]:
            raise OSError(f"{folder} does not read as it was written, and was removed: check the disk, and save again")


def pack(model: nn.Module, config: dict[str, Any], *, dtype: str) -> Packed:
    """Return the checkpoint of a model without wrappers.

    Args:
        model: made by `create_model`.
        config: what `describe` returned for it.
        dtype: "float32", "float16" or "int8".

    Raises:
        ValueError: if the model was changed since `create_model`, or a tensor has no plain numbers.
    """
    tensors = tensors_of(model)
    check_plain(tensors, f"this {type(model).__name__} cannot be saved")
    rebuilt = _rebuilt(model, "meta")
    _check_same(model, tensors, rebuilt)
    _check_results(model, tensors, rebuilt)
    parameters = {name for name, _ in rebuilt.named_parameters(remove_duplicate=False)}
    return Packed(config, to_stored(tensors, parameters, dtype=dtype))


def _rebuilt(model: nn.Module, device: str) -> nn.Module:
    """Return the model that `create_model` would build of a model's config; on "meta" it has no values if it can.

    Raises:
        ValueError: if it cannot be built.
    """
    config = config_of(model)[0]
    try:
        with torch.random.fork_rng(devices=[]):
            spec = find_model(config.architecture)
            try:
                with torch.device(device):
                    built = build_model(spec, config.model_args)
            except (NotImplementedError, RuntimeError):  # a user's builder may compute with its tensors
                built = build_model(spec, config.model_args)
            return leave_out_heads(built) if config.mask_only else built
    except Exception as error:
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because create_model cannot build it again from its "
            f"config ({type(error).__name__}: {error}): register its builder with saltzoo.register_model, and do not "
            f"change model.config"
        ) from error


def _check_same(model: nn.Module, tensors: Mapping[str, Tensor], rebuilt: nn.Module) -> None:
    """Raise ValueError unless a model has the modules and tensors of the one that was built from its config."""
    found = [*_other_tensors(tensors, rebuilt.state_dict()), *other_modules(model, rebuilt)]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because create_model would build another model from its "
            f"config: {'; '.join(found[:_SHOWN])}{more}. It was changed after create_model: build it with the options "
            f"that give this model, or register a builder with saltzoo.register_model"
        )


def _check_results(model: nn.Module, tensors: Mapping[str, Tensor], rebuilt: nn.Module) -> None:
    """Raise ValueError unless the model that was built from a model's config has the same results with its tensors."""
    channels = config_of(model)[1].in_chans
    same = same_results(model, rebuilt, channels=channels, tensors=tensors)
    if not same:  # it may compute with more than its state dict, which has no values on "meta"
        same = same_results(model, _rebuilt(model, "cpu"), channels=channels, tensors=tensors)
    found = list(patched(model, rebuilt))
    if same is False or (same is None and found):
        what = "; ".join(found[:_SHOWN]) or "an attribute, or a tensor that is not in the state dict, has another value"
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because the model that create_model would build from its "
            f"config has other results: {what}. A checkpoint holds tensors and options of create_model alone: undo the "
            f"change before saving and make it again after loading, or register a builder with saltzoo.register_model"
        )


def _other_tensors(tensors: Mapping[str, Tensor], built: Mapping[str, Tensor]) -> Iterator[str]:
    yield from (f"{key} is missing" for key in built if key not in tensors)
    for key, value in tensors.items():
        if key not in built:
            yield f"{key} is added"
        elif value.shape != built[key].shape:
            yield f"{key} is {tuple(value.shape)} and was built as {tuple(built[key].shape)}"
        elif value.dtype != built[key].dtype and not (value.is_floating_point() and built[key].is_floating_point()):
            yield f"{key} is {value.dtype} and was built as {built[key].dtype}"
