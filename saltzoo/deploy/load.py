"""load: an exported file as a model, computed by ONNX Runtime, OpenVINO or torch.export."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import check_counts
from ..contracts import ModelConfig
from ..preprocess import Preprocess
from .export import plain_preprocess
from .metadata import Metadata
from .runtimes import FORMATS, Call


class Exported(nn.Module):
    """A model that another runtime computes on the CPU. It has no parameters: it cannot be trained.

    Attributes:
        preprocess: how images become the file's input: padding alone if the file normalises images itself.
        in_chans: channels of the input.
        num_classes: logits per pixel.
        labels: name of each class.
        license: licence of the weights; "" where it is not stated.
        threshold: probability above which a pixel counts as salt.
        min_size: number of pixels below which a patch of salt is to be removed.
        about: everything that the file says of its network.
        config: None: the file holds a graph, from which no other model can be built.

    Shape:
        N C H W, any floating dtype, on the CPU -> float32 logits N num_classes H W
    """

    def __init__(self, call: Call, about: Metadata, source: Path) -> None:
        super().__init__()
        # A class, which copies and views of a model share: none of them may copy the runtime's graph.
        self._runtime: Any = type("Runtime", (), {"call": staticmethod(call)})
        self.about: Metadata = about
        prepared = about.preprocess
        self.preprocess: Preprocess = plain_preprocess(prepared) if about.folded else prepared
        self.in_chans: int = self.preprocess.in_chans
        self.labels: tuple[str, ...] = about.labels
        self.num_classes: int = len(about.labels)
        self.license: str = about.license
        self.threshold: float = about.threshold
        self.min_size: int = about.min_size
        self.config: ModelConfig | None = None
        self.source: Path = source
        # A model of other weights has another state, as other models do.
        self.register_buffer("digest", _digest(source))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a prepared batch.

        Raises:
            ValueError: if the batch is not N C H W with this model's C and a size that it takes, on the CPU.
        """
        if x.ndim != 4 or x.shape[1] != self.in_chans:
            raise ValueError(
                f"expected a batch N {self.in_chans} H W, got {tuple(x.shape)}: gray tiles (N, H, W) become one with "
                f"x[:, None], or use saltzoo.predict"
            )
        if x.device.type != "cpu":
            raise ValueError(f"{self.source.name} is computed on the CPU, got a batch on {x.device}: pass x.cpu()")
        self._check_size(x)
        if not len(x):
            return x.new_zeros((0, self.num_classes, *x.shape[2:]), dtype=torch.float32)
        return self._runtime.call(x.detach().float().contiguous())  # N num_classes H W

    def _check_size(self, x: Tensor) -> None:
        height, width = x.shape[2:]
        if self.about.size not in (None, (height, width)):
            raise ValueError(
                f"{self.source.name} was exported for images of {self.about.size}, got {height} x {width}: export the "
                f"model without size"
            )
        if min(height, width) < self.about.smallest:
            raise ValueError(
                f"{self.source.name} takes images of at least {self.about.smallest} x {self.about.smallest}, got "
                f"{height} x {width}: pad them"
            )

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.source.name}, {self.about.architecture}, labels={self.labels}"


def _digest(source: Path) -> Tensor:
    """Return a digest of a file, and of the .bin beside it, where OpenVINO keeps its weights; uint8, 16 numbers."""
    digest = hashlib.blake2b(digest_size=16)
    for file in (source, source.with_suffix(".bin")):
        if file.is_file():
            digest.update(file.read_bytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Exported:
    """Return a model from a file that `saltzoo.deploy.export` wrote; `predict`, tiling and ensembles take it.

    Load files of torch.export (".pt2") only from sources that you trust.

    Args:
        path: file ".onnx", ".xml" or ".pt2".
        threads: number of threads of ONNX Runtime or OpenVINO; None for torch's. A ".pt2" file always has torch's.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the format's library is not installed.
        ValueError: if the suffix is none of these, or the file was not written by `export`.
    """
    source = Path(path)
    if threads is not None:
        check_counts(threads=threads)
    found = [one for one in FORMATS.values() if one.suffix == source.suffix]
    if not found:
        known = ", ".join(one.suffix for one in FORMATS.values())
        raise ValueError(f"path must end in one of {known}, got {str(source)!r}: export the model to one of them")
    if not source.is_file():
        raise FileNotFoundError(f"path must be a file, got {str(source)!r}, which does not exist: export a model first")
    try:
        call, description = found[0].open(source, threads)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"{source} cannot be read as {source.suffix}: {error}. Export the model again") from error
    return Exported(call, Metadata.from_json(description), source)
