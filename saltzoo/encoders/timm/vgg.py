"""Maps of a frozen VGG19, for losses that compare what a network sees. https://arxiv.org/abs/1409.1556."""

from __future__ import annotations

from torch import Tensor, nn

from .encoder import load_network

TAPS = (2, 7, 16)
"""Of VGG19's layers: conv1_2, conv2_2 and conv3_4, before their ReLU."""


class VGG19Features(nn.Module):
    """The maps conv1_2, conv2_2 and conv3_4 of VGG19 before their ReLU, frozen.

    Args:
        pretrained: load timm's `vgg19.tv_in1k` (from the Hugging Face Hub or its cache); else weights are random.
        cache_dir: where timm keeps downloads; None for the client's default.

    Shape:
        N 3 H W, normalised as ImageNet is -> N 64 H W, N 128 H/2 W/2, N 256 H/4 W/4.

    Raises:
        OSError: if the weights can't be had.
        ValueError: from `forward`, if a side of the images is below 4.
    """

    def __init__(self, *, pretrained: bool = True, cache_dir: str | None = None) -> None:
        super().__init__()
        network = load_network("vgg19.tv_in1k", pretrained=pretrained, cache_dir=cache_dir)
        self.layers = network.features[: TAPS[-1] + 1]
        for tap in TAPS[:-1]:  # timm's ReLU would overwrite the map that it is given
            self.layers[tap + 1] = nn.ReLU()
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        if min(x.shape[-2:]) < 4:
            raise ValueError(f"VGG19 halves images twice: give 4 x 4 or more, got {x.shape[-2]} x {x.shape[-1]}")
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in TAPS:
                maps.append(x)
        return tuple(maps)
