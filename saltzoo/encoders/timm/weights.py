"""First weights of a timm network: timm's own, a state dict, or those of a repository on the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

HUB = "hf-hub:"

PretrainedWeights = bool | str | Mapping[str, Tensor]
"""True for timm's own weights, "hf-hub:ORG/NAME", or a state dict with the keys of `timm.create_model(name)`."""


def weights_overlay(name: str, source: PretrainedWeights) -> dict[str, Any]:
    """Return what timm's `pretrained_cfg_overlay` must say to load a network's weights from a source.

    Args:
        name: a timm model name.
        source: True for timm's own weights, "hf-hub:ORG/NAME", or a state dict.

    Raises:
        TypeError: if the source is something else.
        ValueError: if a word is no name on the Hub, or the state dict is not of this network: a tensor is missing or
            has another shape. Tensors of the classifier may be missing.
    """
    if not isinstance(source, bool | str | Mapping):
        raise TypeError(f'pretrained must be True or False, "{HUB}ORG/NAME" or a state dict, got {source!r}')
    if isinstance(source, str) and not source.startswith(HUB):
        raise ValueError(
            f'pretrained must be True or False, "{HUB}ORG/NAME" or a state dict, got {source!r}: read a file with '
            f"saltzoo.convert.read_state_dict, or give its path to create_model(pretrained_encoder=...)"
        )
    if isinstance(source, bool):
        return {}
    if isinstance(source, str):
        return {"hf_hub_id": source.removeprefix(HUB), "url": "", "file": "", "source": "hf-hub"}
    return {"state_dict": _needed(name, source), "url": "", "file": "", "hf_hub_id": None, "source": ""}


@contextmanager
def weights_of(name: str, source: PretrainedWeights, otherwise: str) -> Iterator[None]:
    """Raise OSError with the next step in place of any error of timm while it loads weights."""
    try:
        yield
    except Exception as error:
        what = f"the weights of encoder {name!r}" if source is not True else f"the ImageNet weights of encoder {name!r}"
        if isinstance(source, str):
            what = f"{what} from {source!r}"
        hint = (
            ""
            if isinstance(source, Mapping)
            else "They are downloaded from the Hugging Face Hub once and then read from its cache: check the name, the "
            "network connection, HF_HUB_OFFLINE and cache_dir, give a file of weights, or "
        )
        cause = f"{type(error).__name__}: {error}"
        raise OSError(f"{what} can't be loaded ({cause}). {hint or 'Give others, or '}{otherwise}") from error


def _needed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a network without its classifier; raise if they are those of another network.

    Counts of batches in batch norms may be missing: files of old versions of torch have none.
    """
    import timm  # late, as in `saltzoo.encoders.timm.encoder`

    with torch.device("meta"):
        network = timm.create_model(name)
    classifier = tuple(f"{part}." for part in _classifiers(network))
    shapes = {key: value.shape for key, value in network.state_dict().items() if not key.startswith(classifier)}
    wrong = f"these are not the weights of encoder {name!r}"
    missing = sorted(key for key in shapes.keys() - tensors.keys() if not key.endswith("num_batches_tracked"))
    if missing:
        raise ValueError(
            f"{wrong}: {len(missing)} of its {len(shapes)} tensors are missing, such as {', '.join(missing[:3])}. Keys "
            f"must be those of timm.create_model({name!r}); given were {', '.join(sorted(tensors)[:3])}, ..."
        )
    extra = sorted(key for key in tensors.keys() - shapes.keys() if not key.startswith(classifier))
    if extra:
        raise ValueError(
            f"{wrong}: it has no {', '.join(extra[:3])}{f' and {len(extra) - 3} more' if len(extra) > 3 else ''}. Give "
            f"those of timm.create_model({name!r}), or the encoder that they belong to"
        )
    for key in shapes.keys() & tensors.keys():
        if tensors[key].shape != shapes[key]:
            raise ValueError(
                f"{wrong}: {key} has shape {tuple(tensors[key].shape)}, and the network's has {tuple(shapes[key])}"
            )
    return {key: tensors[key] for key in shapes if key in tensors}


def _classifiers(network: Any) -> tuple[str, ...]:
    """Return the names of the network's classifier layers."""
    names = network.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
