"""Load weights that other software saved into a model."""

from __future__ import annotations

import os
from typing import TypeVar

from torch import nn

from ..checkpoints.adapt import load_strictly
from ..checkpoints.state_dict import read_state_dict

_Model = TypeVar("_Model", bound=nn.Module)


def load_foreign(model: _Model, path: str | os.PathLike[str]) -> _Model:
    """Load weights that other software saved: .pt, .pth, .bin, .ckpt or .safetensors.

    Args:
        model: made by `create_model` with the options that the weights were trained with. Set its `preprocess` if
            they were trained with other statistics; `save_pretrained` then writes a checkpoint.
        path: file; see `read_state_dict`.

    Returns:
        The model.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no state dict, or one with other keys or shapes, which are named.

    Example:
        >>> import saltzoo, tempfile, torch
        >>> model = saltzoo.create_model("saltnet_s")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"epoch": 3, "state_dict": model.state_dict()}, f"{folder}/last.pt")
        ...     again = load_foreign(saltzoo.create_model("saltnet_s"), f"{folder}/last.pt")
        >>> all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
        True
    """
    load_strictly(
        model,
        read_state_dict(path),
        what=f"the weights of {path} and this {type(model).__name__}",
        hint="Build the model with the options that they were trained with, or rename keys in the result of "
        "read_state_dict and load it with load_state_dict",
    )
    return model
