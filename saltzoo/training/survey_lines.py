"""SurveyLines: lines of a survey as a network sees them, and the score of a network on one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..inference import predict_tiled
from ..inference.canvas import network_view
from ..models import Segmenter
from ..seismic import LabelledLine, Survey

UNKNOWN = 255
"""Label of samples without an answer, such as those of dead traces."""


@dataclass(frozen=True)
class SurveyLines:
    """How lines of a survey are shown to a network.

    Attributes:
        survey: the survey.
        normalize: median and robust deviation of its amplitudes.
        polarity: 1 or -1.
        scale: factors, vertical and horizontal.
        tile: height and width of the tiles that the network is trained on and segments.
    """

    survey: Survey
    normalize: tuple[float, float]
    polarity: int
    scale: tuple[float, float]
    tile: tuple[int, int]

    @classmethod
    def of(cls, survey: Survey, *, polarity: int, scale: tuple[float, float], tile: tuple[int, int]) -> SurveyLines:
        """Return the lines of a survey, whose statistics are read.

        Raises:
            ValueError: if the survey has no live trace.
        """
        found = survey.robust_statistics()
        return cls(survey, (found.median, found.deviation), polarity, scale, tile)

    @property
    def described(self) -> dict[str, Any]:
        """What the config of a checkpoint tells of the survey."""
        median, deviation = self.normalize
        return {
            "name": self.survey.path.name,
            "polarity": self.polarity,
            "scale": list(self.scale),
            "median": median,
            "deviation": deviation,
        }

    def view(self, line: LabelledLine) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return picture and labels of a line, H W each, from which crops are cut.

        Raises:
            ValueError: if polarity or scale is wrong, or the survey's line has another size than the mask.
        """
        return network_view(
            self.survey.line(line.direction, line.number),
            line.mask,
            tile=self.tile,
            normalize=self.normalize,
            polarity=self.polarity,
            scale=self.scale,
            unknown=UNKNOWN,
        )

    def iou(self, model: Segmenter, line: LabelledLine) -> float:
        """Return the IoU of the salt on a whole line, over samples with an answer, at the model's threshold."""
        found = predict_tiled(
            model,
            self.survey.line(line.direction, line.number),
            tile=self.tile,
            normalize=self.normalize,
            polarity=self.polarity,
            scale=self.scale,
        )
        known = np.isfinite(found)
        predicted, truth = (found > model.threshold) & known, line.mask & known
        return float((predicted & truth).sum() / max(1, (predicted | truth).sum()))
