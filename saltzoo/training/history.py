"""What is known of each finished epoch of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any, NamedTuple


class EpochRecord(NamedTuple):
    """A finished epoch.

    Attributes:
        number: number of the epoch, from 1.
        loss: mean loss.
        score: score of the validation tiles.
        seconds: seconds that the steps took.
        class_iou: IoU of each of several classes, NaN for a class in neither truth nor prediction; empty for masks of
            salt.
    """

    number: int
    loss: float
    score: float
    seconds: float
    class_iou: tuple[float, ...] = ()


History = list[EpochRecord]


def minutes_to(history: History, score: float) -> float | None:
    """Return the minutes of training steps until an epoch first reached a score, or None if none did.

    Example:
        >>> minutes_to([EpochRecord(1, 0.9, 0.5, 30.0), EpochRecord(2, 0.7, 0.8, 30.0)], 0.75)
        1.0
    """
    for done, (_, _, reached, *_) in enumerate(history, 1):
        if reached >= score:
            return sum(seconds for _, _, _, seconds, *_ in history[:done]) / 60
    return None


def to_rows(history: History) -> list[list[Any]]:
    """Return a row of plain numbers for each epoch, for `from_rows`."""
    return [[*row[:4], *row.class_iou] for row in history]


def from_rows(rows: Iterable[Sequence[Any]]) -> History:
    """Return the history that `to_rows` described."""
    return [EpochRecord(int(number), loss, score, seconds, tuple(ious)) for number, loss, score, seconds, *ious in rows]


def to_csv(history: History) -> str:
    """Return a table with a line for each epoch. The IoU of a class that is nowhere is left empty.

    Example:
        >>> to_csv([EpochRecord(1, 0.9, 0.5, 30.0, (0.5, float("nan")))]).splitlines()
        ['epoch,loss,score,seconds,iou_class_0,iou_class_1', '1,0.9,0.5,30.0,0.5,']
    """
    classes = len(history[0].class_iou) if history else 0
    names = ["epoch", "loss", "score", "seconds", *(f"iou_class_{c}" for c in range(classes))]
    cells = [["" if isnan(value) else value for value in row] for row in to_rows(history)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([names, *cells])
    return text.getvalue()
