"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

TTA = ("hflip", "flips", "d4", "scales")
"""Names of test-time augmentation, those of `saltzoo.predict`, here because help must not import torch."""

F = TypeVar("F", bound=Callable[..., Any])

SURVEY_SUFFIXES = (".sgy", ".segy", ".zarr")
"""Suffixes of names that are surveys even if no such file is there, so that the error says so."""

READING = ("iline", "xline", "sample_format", "byte_order")
"""Names of the options of `survey_options`."""

AGAIN = "run the same command with --resume to go on"


class Decorator(Protocol):
    """What adds an option to a function: it returns the function, with its signature."""

    def __call__(self, function: F, /) -> F: ...  # noqa: D102


@dataclass
class Session:
    """What holds for one call of the command.

    Attributes:
        debug: whether an error is printed with its traceback.
    """

    debug: bool = False


class AnyNumber(click.types.FloatParamType):
    """A finite number."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or raise click.BadParameter."""
        return _finite(self, float(super().convert(value, param, ctx)), param, ctx)


class Number(click.FloatRange):
    """A finite number in a range. NaN passes click's own comparisons."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or raise click.BadParameter."""
        return _finite(self, float(super().convert(value, param, ctx)), param, ctx)


def _finite(kind: AnyNumber | Number, number: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
    if not math.isfinite(number):
        kind.fail(f"{number} is not a finite number.", param, ctx)
    return number


def _check_value_range(
    _context: click.Context, _parameter: click.Parameter, value: tuple[float, float] | None
) -> tuple[float, float] | None:
    if value is not None and value[0] >= value[1]:
        raise click.BadParameter(f"BLACK must be below WHITE, got {value[0]:g} {value[1]:g}.")
    return value


def _set_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(Session).debug |= value


debug_option: Decorator = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
model_option: Decorator = click.option(
    "--model",
    required=True,
    metavar="NAME.TAG",
    help="Weights by a name of `saltzoo list --pretrained`, local-dir:PATH or hf-hub:ORG/NAME.",
)
file_model_option: Decorator = click.option(
    "--model",
    required=True,
    metavar="NAME.TAG",
    help="Weights by a name of `saltzoo list --pretrained`, local-dir:PATH or hf-hub:ORG/NAME; or a file of "
    "saltzoo.deploy.export: .onnx, .xml (OpenVINO, or its folder) or .pt2.",
)
fast_option: Decorator = click.option(
    "--fast",
    is_flag=True,
    help="Optimise the model first: the same masks but for rounding, sooner from about 150 tiles on.",
)
device_option: Decorator = click.option("--device", help="cpu, cuda, cuda:N or mps; default: a GPU if torch finds one.")
batch_size_option: Decorator = click.option(
    "--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Tiles in a batch."
)
tta_option: Decorator = click.option(
    "--tta", type=click.Choice(TTA), help="Test-time augmentation: average over mirrored, turned or resized tiles."
)
threshold_option: Decorator = click.option(
    "--threshold",
    type=Number(0, 1),
    help="Probability above which a pixel is salt; default: the model's, .5.",
)
min_size_option: Decorator = click.option(
    "--min-size", type=click.IntRange(0), help="Pixels of the smallest salt body that is kept; default: the model's, 0."
)
overwrite_option: Decorator = click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
value_range_option: Decorator = click.option(
    "--value-range",
    nargs=2,
    type=AnyNumber(),
    callback=_check_value_range,
    metavar="BLACK WHITE",
    help="Samples that are black and white; default: the full scale of 8 or 16 unsigned bits.",
)
scale_option: Decorator = click.option(
    "--scale",
    nargs=2,
    type=Number(0, min_open=True),
    default=(1.0, 1.0),
    metavar="Z X",
    help="Factors by which height and width are resized for the model; files keep the picture's size.",
)
polarity_option: Decorator = click.option(
    "--polarity", type=click.Choice(["1", "-1"]), default="1", help="-1 if black is what the training tiles have white."
)
page_option: Decorator = click.option("--page", type=click.IntRange(0), help="Page of files that have several, from 0.")


def path_option(name: str, metavar: str, text: str, *, folder: bool = False) -> Callable[[F], F]:
    """Return an option of a file or a folder that may be left out; `text` is its help."""
    return click.option(name, type=click.Path(path_type=Path, file_okay=not folder), metavar=metavar, help=text)


def survey_options(function: F) -> F:
    """Add the options that `open_survey` takes for a SEG-Y file."""
    for option in reversed(
        (
            click.option(
                "--iline", type=click.IntRange(0, 237), help="First byte of the inline number; 0: a 2-D line."
            ),
            click.option("--xline", type=click.IntRange(0, 237), help="First byte of the crossline number."),
            click.option("--sample-format", type=int, help="Format code of the samples, such as 1 (IBM) or 5 (IEEE)."),
            click.option("--byte-order", type=click.Choice(["big", "little"]), help="Byte order of a SEG-Y file."),
        )
    ):
        function = option(function)
    return function


def data_option(*, required: bool) -> Callable[[F], F]:
    """Return the option of the folder of the competition's files."""
    return click.option(
        "--data",
        required=required,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder of the download of the TGS Salt Identification Challenge.",
    )


def command(name: str, *, example: str) -> Callable[[Callable[..., int]], click.Command]:
    """Return a decorator that makes a command of a function, with an example below its help and with --debug.

    The function returns the exit status.
    """

    def make(function: Callable[..., int]) -> click.Command:
        return click.command(name, epilog=f"Example: {example}")(debug_option(function))

    return make
