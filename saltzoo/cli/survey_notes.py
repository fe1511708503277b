"""What a segmented survey tells about how it was made: its text header, and NAME.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from .parts import digest_of_run
from .slabs import Job
from .survey_plan import Plan


def notes_of(plan: Plan, job: Job) -> list[str]:
    """Return the lines of the text header."""
    how, statistics = job.prediction, job.statistics
    kind = f"mask, probability > {job.threshold:g}" if job.mask else "probability"
    return [
        f"Salt: {kind}",
        f"saltzoo {job.version}, {job.model}",
        f"Lines: {' and '.join(plan.directions)}, {plan.count} of them; mean of logits"
        if len(plan.directions) > 1
        else f"Lines: {plan.directions[0]}, {plan.count} of them",
        f"Tile {how.tile or 101}, overlap {how.overlap:g}, scale {how.scale[0]:g} {how.scale[1]:g}, polarity "
        f"{how.polarity}, tta {how.tta or 'none'}",
        f"Amplitudes: median {statistics.median:.6g}, robust deviation {statistics.deviation:.6g}",
    ]


def describe_job(plan: Plan, job: Job) -> dict[str, Any]:
    """Return what NAME.json holds, but for the fraction of salt."""
    options = {key: value for key, value in asdict(job.prediction).items() if key != "normalize"}
    return {
        "survey": str(plan.survey.path),
        "volume": str(plan.out),
        "disagreement": None if plan.disagreement is None else str(plan.disagreement),
        "kind": "mask" if job.mask else "probability",
        "model": job.model,
        "saltzoo": job.version,
        "shape": list(plan.survey.shape),
        "directions": list(plan.directions),
        "lines": plan.count,
        "amplitudes": asdict(job.statistics),
        "prediction": options,
        "threshold": job.threshold,
        "run": digest_of_run(job),
    }


def sidecar_of(plan: Plan) -> dict[str, Any]:
    """Return what NAME.json of a complete result holds; {} if a file of the result is missing."""
    if not all(file.exists() for file in (*plan.volumes, plan.sidecar)):
        return {}
    try:
        found = json.loads(plan.sidecar.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
