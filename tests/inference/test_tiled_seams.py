"""Seams of networks that look at the whole tile: the step of the probabilities where tiles begin and end."""

from itertools import pairwise

import numpy as np
import pytest

import saltzoo
from saltzoo.data import synthetic_tile
from saltzoo.inference import _axis
from saltzoo.inference._axis import tile_starts

SIZE, TILE = 250, 101


STARTS = tile_starts(SIZE, TILE, 50)
BORDERS = [start for start in STARTS if start] + [start + TILE for start in STARTS if start + TILE < SIZE]
MIDDLES = [(left + TILE + right) // 2 for left, right in pairwise(STARTS)]
"""Middles of overlaps, where the weights of two tiles cross."""


def step(probabilities, places):
    """Return the mean difference between the two samples on both sides of the places, over both directions."""
    both = (probabilities, probabilities.T)
    return np.mean([np.abs(np.diff(one, axis=0))[np.array(places) - 1].mean() for one in both])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_step_at_borders_is_below_a_quarter_of_uniform_blending(seed, monkeypatch):
    model = saltzoo.create_model("saltnet_s.tgs2", pretrained=True)
    section, _ = synthetic_tile(seed, size=SIZE)
    uniform, gaussian = (saltzoo.predict_tiled(model, section, blend=blend) for blend in ("uniform", "gaussian"))
    assert uniform.max() - uniform.min() > 0.5
    assert step(uniform, BORDERS) > 0.01
    assert step(gaussian, BORDERS) < step(uniform, BORDERS) / 4
    assert step(gaussian, MIDDLES) < step(uniform, BORDERS) / 4
    for deviation, places in ((1 / 8, MIDDLES), (1 / 4, BORDERS)):  # narrower and wider ones have larger steps
        monkeypatch.setattr(_axis, "DEVIATION", deviation)
        assert step(saltzoo.predict_tiled(model, section), places) > 1.2 * max(
            step(gaussian, MIDDLES), step(gaussian, BORDERS)
        )
    crop = saltzoo.predict_tiled(model, section, blend="crop")
    assert step(crop, MIDDLES) > 4 * step(gaussian, MIDDLES)  # a cut shows what the weights smooth
