"""Seams of networks that look at the whole tile: the step of the probabilities where tiles begin and end."""

import numpy as np
import pytest

import saltzoo
from saltzoo.data import synthetic_tile
from saltzoo.inference._axis import tile_starts

SIZE, TILE = 250, 101


def step_at_borders(probabilities):
    """Return the mean difference between the two samples on both sides of a tile's border, over both directions."""
    starts = tile_starts(SIZE, TILE, 50)
    borders = [start for start in starts if start] + [start + TILE for start in starts if start + TILE < SIZE]
    steps = [np.abs(np.diff(one, axis=0))[np.array(borders) - 1].mean() for one in (probabilities, probabilities.T)]
    return np.mean(steps)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_step_at_borders_is_below_a_quarter_of_uniform_blending(seed):
    model = saltzoo.create_model("saltnet_s.tgs2", pretrained=True)
    section, _ = synthetic_tile(seed, size=SIZE)
    uniform, gaussian = (saltzoo.predict_tiled(model, section, blend=blend) for blend in ("uniform", "gaussian"))
    assert uniform.max() - uniform.min() > 0.5
    assert step_at_borders(uniform) > 0.01
    assert step_at_borders(gaussian) < step_at_borders(uniform) / 4
