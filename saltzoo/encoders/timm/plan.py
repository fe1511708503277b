"""How a network becomes an encoder: all that there is to know of it before it has weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...contracts import FeatureSpec
from .ceil_pool import know_sizes
from .stem import set_strides, stem_strides
from .trace import Site, Trace, find_site, reduction, trace
from .unused import remove, unused

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
_INSTEAD = 'use a convolutional or hierarchical network, such as "resnet34" or "convnext_tiny"'


@dataclass(frozen=True)
class Plan:
    """What was found out about a network.

    Attributes:
        name: of the encoder, for messages.
        create: builds the network.
        options: what to build it with.
        multiple: of what number the sides of its images must be multiples; None if it is made for one size.
        strides: module -> another stride for it.
        idle: names of modules and parameters that it has no use for.
        channels_last: its maps are N H W C.
        maps: which of them to return, finest first.
        sites: where attention stands for each of these; None where it can't.
        spec: of these.
    """

    name: str
    create: Callable[..., nn.Module]
    options: Mapping[str, Any]
    multiple: int | None
    strides: Mapping[str, int]
    idle: tuple[str, ...]
    channels_last: bool
    maps: tuple[int, ...]
    sites: tuple[Site | None, ...]
    spec: FeatureSpec

    def attention_sites(self) -> list[Site]:
        """Where attention stands for each map.

        Raises:
            ValueError: if it can't for one of them.
        """
        missing = [f"1/{r}" for r, site in zip(self.spec.reductions, self.sites, strict=True) if site is None]
        if missing:
            raise ValueError(
                f"attention can't stand between the stages of encoder {self.name!r}: no module of its path puts out "
                f'the map at {" and ".join(missing)} of the image. Use attention_sites=("skip", "decoder"), or another '
                f'encoder such as "resnet34"'
            )
        return [site for site in self.sites if site is not None]

    def build(self, **options: Any) -> nn.Module:
        """The network, built with further options."""
        return self.adapt(self.create(**self.options, **options))

    def adapt(self, network: nn.Module) -> nn.Module:
        """Makes the changes to it that were planned."""
        set_strides(network, self.strides)
        remove(network, self.idle)
        know_sizes(network)
        return network

    def explain(self, error: Exception, size: tuple[int, int]) -> None:
        """Says of an error in the network if the size of the image is its cause, or that there is but one.

        Raises:
            ValueError: if so, with a size that is possible.
        """
        if "more than 1 value per channel" in str(error):
            raise ValueError(
                f"encoder {self.name!r} can't be trained on a single image of {size[0]} x {size[1]}: a map in it is "
                f"one pixel, of which batch norm can take no variance. Train on two images or more, or on larger ones"
            ) from error
        twin = self.adapt(_twin(self.create, self.options))
        if self._takes(twin, size):
            return
        start, own = -(-max(size) // 8) * 8, max(_own_size(twin))
        sides = [*range(start, start + 129, 8), -(-start // own) * own]
        possible = next((side for side in sides if self._takes(twin, (side, side))), None)
        hint = "use another encoder" if possible is None else f"pad or resize them, to {possible} x {possible} for one"
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"encoder {self.name!r} can't take images of {size[0]} x {size[1]} ({why}): {hint}") from error

    def _takes(self, twin: nn.Module, size: tuple[int, int]) -> bool:
        height, width = (-(-side // (self.multiple or 1)) * (self.multiple or 1) for side in size)
        try:
            trace(twin, (height, width), in_chans=self.options["in_chans"])
        except Exception:
            return False
        return True


def make_plan(name: str, create: Callable[..., Any], *, in_chans: int, stem_stride: int | None = None) -> Plan:
    """Watches twins of a network on the meta device, where they have no weights and cost nothing.

    Args:
        name: for messages.
        create: builds the network, given `in_chans`, and `strict_img_size` if it knows that.
        in_chans: channels of the image.
        stem_stride: how many times the stem is to reduce the image; None: as it does.

    Raises:
        ValueError: if the network gives no pyramid, or its stem can't have that stride.
    """
    options: dict[str, Any] = {"in_chans": in_chans}
    try:
        twin = _twin(create, options)
        multiple, seen = _watch(twin, in_chans)
    except Exception as error:
        raise ValueError(f"encoder {name!r} gives no pyramid of features ({error}): {_INSTEAD}") from error
    if multiple is None:
        options, twin, multiple, seen = _unbound(create, options) or (options, twin, multiple, seen)
    channels_last = getattr(twin, "output_fmt", "NCHW") == "NHWC"
    reductions = _reductions(seen, channels_last)
    strides: dict[str, int] = {}
    if stem_stride is not None:
        wanted = _with_stem(reductions, stem_stride)
        strides = stem_strides(twin, seen, stem_stride)
        set_strides(twin, strides)
        try:
            multiple, seen = _watch(twin, in_chans)
            reductions = _reductions(seen, channels_last)
            why = f"its maps have the reductions {reductions} then, not {wanted}"
            finest = _size(seen.maps[0], channels_last)
            if reductions == wanted and wanted[0] == 1 and finest != seen.size:
                image = " x ".join(map(str, seen.size))
                reductions, why = (), f"its finest map is {finest[0]} x {finest[1]} for an image of {image} then"
        except Exception as error:
            reductions, why = (), f"it does not run then: {error}"
        if reductions != wanted:
            raise ValueError(
                f"encoder {name!r} can't have stem_stride={stem_stride} ({why}): leave stem_stride=None, or use "
                f'another encoder, such as "resnet34"'
            )
    # Of several maps of one size the deepest: it has seen the most.
    maps = tuple(i for i, r in enumerate(reductions) if r not in reductions[i + 1 :])
    if len(maps) < 2 or list(reductions) != sorted(reductions):
        raise ValueError(
            f"encoder {name!r} gives no pyramid that a decoder can climb, its maps have the reductions {reductions}: "
            f"{_INSTEAD}"
        )
    idle = unused(twin, seen, maps)
    if idle:
        remove(twin, idle)
        seen = trace(twin, seen.size, in_chans=in_chans)
    channels = tuple(seen.maps[i].shape[3 if channels_last else 1] for i in maps)
    return Plan(
        name=name,
        create=create,
        options=options,
        multiple=multiple,
        strides=strides,
        idle=idle,
        channels_last=channels_last,
        maps=maps,
        sites=tuple(find_site(seen, maps, i, channels_last=channels_last) for i in range(len(maps))),
        spec=FeatureSpec(channels, tuple(reductions[i] for i in maps)),
    )


def _twin(create: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    with torch.inference_mode(False), torch.device("meta"):
        return create(**options).eval()


def _watch(twin: nn.Module, in_chans: int) -> tuple[int | None, Trace]:
    """The smallest number of whose multiples the sides of an image may be, None if there is none; and a trace."""
    for multiple in _MULTIPLES:
        # Odd, however often they are halved: the one rounded up, the other, after a stem, down.
        height, width = (multiple * (side // multiple | 1) for side in (321, 381))
        try:
            return multiple, trace(twin, (height, width), in_chans=in_chans)
        except Exception:  # networks refuse a size in all sorts of ways
            continue
    return None, trace(twin, _own_size(twin), in_chans=in_chans)


def _unbound(create: Callable[..., Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], Any, int, Trace] | None:
    """A twin that is not held to the size it was planned for, if the network can be built so."""
    free = {**options, "strict_img_size": False}
    try:
        twin = _twin(create, free)
        multiple, seen = _watch(twin, free["in_chans"])
    except Exception:  # most networks know no such option
        return None
    return None if multiple is None else (free, twin, multiple, seen)


def _own_size(twin: Any) -> tuple[int, int]:
    height, width = twin.pretrained_cfg["input_size"][-2:]
    return height, width


def _reductions(seen: Trace, channels_last: bool) -> tuple[int, ...]:
    return tuple(reduction(seen.size, _size(one, channels_last)) for one in seen.maps)


def _size(features: Tensor, channels_last: bool) -> tuple[int, int]:
    height, width = features.shape[1:3] if channels_last else features.shape[2:4]
    return height, width


def _with_stem(reductions: Sequence[int], stride: int) -> tuple[int, ...]:
    """What reductions become where the first quarter of the way down is cut to `stride`."""
    return tuple(min(r, stride) if r <= 4 else r * stride // 4 for r in reductions)
