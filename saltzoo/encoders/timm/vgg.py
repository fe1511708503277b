"""Feature maps of a frozen VGG19, for perceptual losses.

Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..._checks import check_flags
from .encoder import load_network

LAYERS = (2, 7, 16)
"""Indices of the layers conv1_2, conv2_2 and conv3_4 in VGG19, before their ReLU."""


class VGG19Features(nn.Module):
    """The maps conv1_2, conv2_2 and conv3_4 of a frozen VGG19, before ReLU.

    Args:
        pretrained: whether to load timm's `vgg19.tv_in1k` from the Hugging Face Hub or its cache; else the weights
            are random.
        cache_dir: folder where timm keeps downloads; None for the default of the Hugging Face client.

    Shape:
        N 3 H W, normalised as ImageNet is -> N 64 H W, N 128 H/2 W/2, N 256 H/4 W/4.

    Raises:
        OSError: if the weights cannot be loaded.
        ValueError: from `forward`, if a side of the images is below 4.
    """

    def __init__(self, *, pretrained: bool = True, cache_dir: str | None = None) -> None:
        super().__init__()
        check_flags(pretrained=pretrained)
        network = load_network("vgg19.tv_in1k", pretrained=pretrained, cache_dir=cache_dir)
        self.layers: nn.Sequential = network.features[: LAYERS[-1] + 1]
        for layer in LAYERS[:-1]:  # timm's ReLU works in place and would overwrite the tapped map
            self.layers[layer + 1] = nn.ReLU()
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        if min(x.shape[-2:]) < 4:
            raise ValueError(f"images must be at least 4 x 4 for VGG19, got {x.shape[-2]} x {x.shape[-1]}")
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in LAYERS:
                maps.append(x)
        return tuple(maps)
