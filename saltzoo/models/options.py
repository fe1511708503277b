"""Options of every network: channels and classes."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .._config import Count, check_limits


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of every network. Limits are in the annotations of the fields and are checked for subclasses too.

    Attributes:
        in_chans: channels of the image.
        num_classes: logits for each pixel.

    Raises:
        ValueError: if a value is outside its limits.
    """

    in_chans: Count = 1
    num_classes: Count = 1

    def __post_init__(self) -> None:
        check_limits(self)

    def _check_unused(self, part: str, switch: str) -> None:
        """Raise if an option PART_... of a part that is off differs from its default: it would do nothing."""
        for option in fields(self):
            value = getattr(self, option.name)
            value = tuple(value) if isinstance(value, list) else value
            if option.name.startswith(f"{part}_") and value != option.default:
                raise ValueError(
                    f"{option.name}={value!r} is an option of the {part.replace('_', ' ')}, which is off: "
                    f"leave it at {option.default!r}, or pass {switch}"
                )
