"""describe: what a survey's file tells, as a table and in lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .survey import Survey


def describe(survey: Survey) -> dict[str, Any]:
    """Return what `saltzoo info FILE --json` prints: geometry, traces, statistics of amplitudes and the text header.

    Raises:
        ValueError: if the survey has no live trace.
    """
    details = survey.source.details()
    statistics = survey.robust_statistics()
    cells = survey.live.size
    return {
        "file": str(survey.path),
        "format": details.pop("format"),
        "shape": list(survey.shape),
        "inlines": _axis(survey.inlines),
        "crosslines": _axis(survey.crosslines),
        "samples": {**_axis(survey.samples), "unit": survey.unit},
        "traces": {
            "stored": details.pop("traces"),
            "live": int(survey.live.sum()),
            "without": cells - int(survey.live.sum()),
            "dead": details.pop("dead", 0),
            "duplicates": details.pop("duplicates", 0),
        },
        "amplitudes": {
            "median": statistics.median,
            "deviation": statistics.deviation,
            "percentiles": [statistics.low, statistics.high],
            "samples": statistics.samples,
        },
        **details,
    }


def description_lines(found: dict[str, Any]) -> list[str]:
    """Return a table of `describe` in ten lines for a reader."""
    traces, amplitudes, unit = found["traces"], found["amplitudes"], found["samples"]["unit"]
    gib = 4 * float(np.prod(found["shape"])) / 2**30
    words = found.get("header_words")
    lines = [
        f"file         {found['file']}",
        f"format       {found['format']}",
        f"shape        {' x '.join(map(str, found['shape']))} (inline, crossline, sample), {gib:.3g} GiB as float32",
        f"inlines      {_range(found['inlines'])}",
        f"crosslines   {_range(found['crosslines'])}",
        f"samples      {_range(found['samples'])} {unit}".rstrip(),
        f"traces       {traces['stored']} stored, {traces['live']} live of {traces['live'] + traces['without']} "
        f"places, {traces['dead']} marked as dead, {traces['duplicates']} duplicates",
        f"amplitudes   median {amplitudes['median']:.4g}, robust deviation {amplitudes['deviation']:.4g}, "
        f"percentiles 1 and 99 {amplitudes['percentiles'][0]:.4g} and {amplitudes['percentiles'][1]:.4g}",
    ]
    if words is None:
        return [*lines, f"array        {found['array']}", f"dimensions   {', '.join(found['dimensions'])}"]
    numbered = "none, a 2-D line" if not words["inline"] else f"byte {words['inline']}"
    traced = f"byte {words['crossline']}" if words["crossline"] else "none, as stored"
    text = next((line[3:].strip() for line in found["text"] if line[3:].strip()), "blank")
    return [
        *lines,
        f"header words inline: {numbered}; crossline: {traced}",
        f"text header  {found['text_encoding']}: {text}",
    ]


def _axis(values: npt.NDArray[Any]) -> dict[str, Any]:
    step = (values[1] - values[0]).item() if len(values) > 1 else 0
    return {"first": values[0].item(), "last": values[-1].item(), "step": step, "count": len(values)}


def _range(axis: dict[str, Any]) -> str:
    return f"{axis['first']:g} to {axis['last']:g}, step {axis['step']:g}"
