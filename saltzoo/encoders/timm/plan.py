"""Plan for turning a timm network into an encoder, made before the network has weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...contracts import FeatureSpec
from .ceil_pool import make_exportable
from .sizes import default_size, follow_image, map_sizes, measure_reductions, trace_any_size
from .stem import set_strides, stem_strides
from .trace import Site, Trace, find_site, reduction, trace
from .unused import find_unused, remove_unused

_USE_ANOTHER = 'use a convolutional or hierarchical network, such as "resnet34" or "convnext_tiny"'


@dataclass(frozen=True)
class Plan:
    """How to build a network and which of its maps to use.

    Attributes:
        name: name of the encoder, for error messages.
        create: function that builds the network.
        options: options for `create`.
        multiple: number of which the sides of an image must be multiples; None for a network made for one size.
        strides: name of a module -> its new stride.
        unused: names of modules and parameters that none of the maps needs.
        channels_last: whether the maps are N H W C.
        maps: indices of the maps to return, finest first.
        sites: position for attention for each of these maps; None where there is none.
        spec: channels and reductions of these maps.
    """

    name: str
    create: Callable[..., nn.Module]
    options: Mapping[str, Any]
    multiple: int | None
    strides: Mapping[str, int]
    unused: tuple[str, ...]
    channels_last: bool
    maps: tuple[int, ...]
    sites: tuple[Site | None, ...]
    spec: FeatureSpec

    def attention_sites(self) -> list[Site]:
        """Return the position for attention for each map.

        Raises:
            ValueError: if a map has none.
        """
        missing = [f"1/{r}" for r, site in zip(self.spec.reductions, self.sites, strict=True) if site is None]
        if missing:
            raise ValueError(
                f"attention can't be inserted between the stages of encoder {self.name!r}: no module returns the map "
                f'at {" and ".join(missing)} of the image. Use attention_sites=("skip", "decoder"), or another '
                f'encoder such as "resnet34"'
            )
        return [site for site in self.sites if site is not None]

    def build(self, **options: Any) -> nn.Module:
        """Return the network, built with additional options and adapted."""
        return self.adapt(self.create(**self.options, **options))

    def adapt(self, network: nn.Module) -> nn.Module:
        """Return the network after the planned changes, which are made in place."""
        set_strides(network, self.strides)
        remove_unused(network, self.unused)
        make_exportable(network)
        return network

    def explain(self, error: Exception, size: tuple[int, int], *, count: int) -> str | None:
        """Return what to do about an error in the network that the size or the number of images caused, else None."""
        if "more than 1 value per channel" in str(error):
            return (
                f"encoder {self.name!r} can't be trained on a single image of {size[0]} x {size[1]}: one of its maps "
                f"is a single pixel, and batch norm can't compute a variance. Train on two or more images, or on "
                f"larger ones"
            )
        try:
            why = self._explain_size(error, size)
        except Exception:  # inside vmap, for one, no twin can be built; the error of the network is what matters
            return None
        if why is None and count == 0:
            why = (
                f"encoder {self.name!r} can't be trained on a batch without images ({_text(error)}): skip such batches"
            )
        return why

    def _explain_size(self, error: Exception, size: tuple[int, int]) -> str | None:
        twin = self.adapt(_build_on_meta(self.create, self.options))
        default = default_size(twin)
        # If it doesn't take its own size either, the trial itself fails, and proves nothing.
        if self._takes(twin, size) or not self._takes(twin, default):
            return None
        start, own = -(-max(size) // 8) * 8, max(default)
        sides = [*range(start, start + 129, 8), -(-start // own) * own]
        possible = next((side for side in sides if self._takes(twin, (side, side))), None)
        example = f"pad or resize them, for example to {possible} x {possible}"
        hint = "use another encoder" if possible is None else example
        return f"encoder {self.name!r} can't take images of {size[0]} x {size[1]} ({_text(error)}): {hint}"

    def _takes(self, twin: nn.Module, size: tuple[int, int]) -> bool:
        height, width = (-(-side // (self.multiple or 1)) * (self.multiple or 1) for side in size)
        try:
            trace(twin, (height, width), in_chans=self.options["in_chans"])
        except Exception:
            return False
        return True


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def make_plan(name: str, create: Callable[..., Any], *, in_chans: int, stem_stride: int | None = None) -> Plan:
    """Return the plan for a network, from traces of a twin on the meta device, which has no weights and costs nothing.

    Args:
        name: name of the encoder, for error messages.
        create: function that builds the network from `in_chans` and, if it knows that option, `strict_img_size`.
        in_chans: channels of the image.
        stem_stride: factor by which the stem reduces the image; None keeps that of the network.

    Raises:
        ValueError: if the network does not return maps of several sizes, or its stem can't have that stride.
    """
    options: dict[str, Any] = {"in_chans": in_chans}
    try:
        twin = _build_on_meta(create, options)
        multiple, seen = trace_any_size(twin, in_chans)
    except Exception as error:
        raise ValueError(f"encoder {name!r} returns no feature pyramid ({error}): {_USE_ANOTHER}") from error
    if multiple is None:
        options, twin, multiple, seen = _without_fixed_size(create, options) or (options, twin, multiple, seen)
    channels_last = getattr(twin, "output_fmt", "NCHW") == "NHWC"
    strides: dict[str, int] = {}
    if stem_stride is not None:
        strides = stem_strides(twin, seen, stem_stride)
        multiple, seen = _trace_with_strides(name, twin, seen, strides, stem_stride, channels_last)
    reductions = _reductions(seen, channels_last)
    # Of several maps with the same reduction the last, because it is the deepest.
    maps = tuple(i for i, r in enumerate(reductions) if r not in reductions[i + 1 :])
    if wrong := _find_fault(twin, seen, reductions, channels_last, any_size=multiple is not None):
        raise ValueError(f"encoder {name!r} returns no feature pyramid for a decoder, {wrong}: {_USE_ANOTHER}")
    unused = find_unused(twin, seen, maps)
    if unused:
        remove_unused(twin, unused)
        seen = trace(twin, seen.size, in_chans=in_chans)
    channels = tuple(seen.maps[i].shape[3 if channels_last else 1] for i in maps)
    return Plan(
        name=name,
        create=create,
        options=options,
        multiple=multiple,
        strides=strides,
        unused=unused,
        channels_last=channels_last,
        maps=maps,
        sites=tuple(find_site(seen, maps, i, channels_last=channels_last) for i in range(len(maps))),
        spec=FeatureSpec(channels, tuple(reductions[i] for i in maps)),
    )


def _find_fault(
    twin: nn.Module, seen: Trace, reductions: Sequence[int], channels_last: bool, *, any_size: bool
) -> str | None:
    """Return why the maps of a network are no feature pyramid, None if they are."""
    # A network made for one size of images can only be believed. Others lose some pixels without padding, or resize.
    in_doubt = any_size and not follow_image(seen, reductions, channels_last)
    measured = measure_reductions(twin, seen, channels_last) if in_doubt else tuple(reductions)
    if math.inf in measured:
        return "because it resizes images inside: the sizes of its maps do not follow that of the image"
    if len(set(reductions)) < 2 or list(reductions) != sorted(reductions):
        return f"its maps have the reductions {reductions}"
    height = seen.size[0]
    if any(abs(height / r - height / m) >= 2 for r, m in zip(reductions, measured, strict=True)):
        return f"its maps have the reductions {', '.join(f'{m:.1f}' for m in measured)}, which are no powers of two"
    return None


def _trace_with_strides(
    name: str, twin: nn.Module, seen: Trace, strides: Mapping[str, int], stem_stride: int, channels_last: bool
) -> tuple[int | None, Trace]:
    """Set the strides of a twin and trace it again; returns the multiple of the sides and the new trace.

    Raises:
        ValueError: if the twin does not run with these strides, or its maps do not have the expected reductions.
    """
    expected = _expected_reductions(_reductions(seen, channels_last), stem_stride)
    set_strides(twin, strides)
    try:
        multiple, seen = trace_any_size(twin, seen.in_chans)
    except Exception as error:
        raise _stem_error(name, stem_stride, f"the network then fails with: {error}") from error
    reductions, finest = _reductions(seen, channels_last), map_sizes(seen.maps, channels_last)[0]
    if reductions != expected:
        raise _stem_error(name, stem_stride, f"its maps then have the reductions {reductions}, not {expected}")
    if expected[0] == 1 and finest != seen.size:
        sizes = f"{finest[0]} x {finest[1]} for an image of {seen.size[0]} x {seen.size[1]}"
        raise _stem_error(name, stem_stride, f"its finest map is then {sizes}")
    return multiple, seen


def _stem_error(name: str, stem_stride: int, why: str) -> ValueError:
    return ValueError(
        f"encoder {name!r} can't have stem_stride={stem_stride} ({why}): leave stem_stride=None, or use another "
        f'encoder, such as "resnet34"'
    )


def _build_on_meta(create: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    with torch.inference_mode(False), torch.device("meta"):
        return create(**options).eval()


def _without_fixed_size(
    create: Callable[..., Any], options: Mapping[str, Any]
) -> tuple[dict[str, Any], Any, int, Trace] | None:
    """Return options, twin, multiple and trace of the network built for any size; None if it has no such option."""
    free = {**options, "strict_img_size": False}
    try:
        twin = _build_on_meta(create, free)
        multiple, seen = trace_any_size(twin, free["in_chans"])
    except Exception:  # most networks do not have this option
        return None
    return None if multiple is None else (free, twin, multiple, seen)


def _reductions(seen: Trace, channels_last: bool) -> tuple[int, ...]:
    return tuple(reduction(seen.size, size) for size in map_sizes(seen.maps, channels_last))


def _expected_reductions(reductions: Sequence[int], stem_stride: int) -> tuple[int, ...]:
    """Return the reductions after the first two halvings of a network are cut to a reduction of `stem_stride`."""
    return tuple(min(r, stem_stride) if r <= 4 else r * stem_stride // 4 for r in reductions)
