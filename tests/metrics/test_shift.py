"""Shift of probabilities to a common threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saltzoo.metrics import salt_map, shift_probabilities

between = st.floats(1e-6, 1 - 1e-6)


@given(st.floats(0, 1), between)
def test_odds_are_divided_by_those_of_the_threshold(p, t):
    shifted = shift_probabilities(np.array([p]), t)[0]
    if p == 1:
        assert shifted == 1
    else:
        odds = (p / (1 - p)) / (t / (1 - t))
        assert shifted == pytest.approx(odds / (1 + odds), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(between)
def test_the_threshold_becomes_one_half(dtype, t):
    """It becomes exactly .5, so a pixel on the threshold is still not salt."""
    p = torch.tensor([t, 0, 1], dtype=dtype)
    assert shift_probabilities(p, t).tolist() == [0.5, 0, 1]
    assert shift_probabilities(p.numpy(), t).tolist() == [0.5, 0, 1]


@pytest.mark.parametrize("t", [0.01, 0.3, 0.5, 0.77, 0.99])
def test_masks_stay_as_they_are(t):
    p = torch.linspace(0, 1, 1001, dtype=torch.float64)
    shifted = shift_probabilities(p, t)
    assert (shifted.diff() > 0).all()
    away = (p - t).abs() > 1e-9
    assert torch.equal((shifted > 0.5)[away], (p > t)[away])
    torch.testing.assert_close(shift_probabilities(shifted, 1 - t), p)  # the inverse shift
    if t == 0.5:
        torch.testing.assert_close(shifted, p)


def test_folds_meet_at_one_half():
    rng = torch.Generator().manual_seed(0)
    p = torch.rand(3, 8, 8, generator=rng)
    for t in (0.2, 0.6):
        assert salt_map(shift_probabilities(p, t) > 0.5, p > t) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_gradients(dtype):
    p = torch.tensor([0.0, 0.25, 1.0], dtype=dtype)
    assert shift_probabilities(p, 0.25).tolist() == [0, 0.5, 1]
    assert shift_probabilities(p, 0.25).dtype == dtype
    many = torch.linspace(0, 1, 201).to(dtype)
    assert torch.equal(shift_probabilities(many, 0.3), shift_probabilities(many.float(), 0.3).to(dtype))
    assert shift_probabilities(np.array([0, 0.25, 1], np.float16), 0.25).dtype == np.float16
    q = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: shift_probabilities(x, 0.2), q)


def test_errors_say_what_to_do():
    for t in (0, 1, -0.5, 2, float("nan"), 1e-60):
        with pytest.raises(ValueError, match="threshold must be above 0 and below 1"):
            shift_probabilities(torch.tensor([0.5]), t)
    with pytest.raises(ValueError, match="threshold must be above 0 and below 1"):
        shift_probabilities(np.array([0.5]), 1)
    for wrong, name in ((torch.tensor([1]), "int64"), (np.array([True]), "bool"), ([0.5], "list")):
        with pytest.raises(TypeError, match=f"got .*{name}"):
            shift_probabilities(wrong, 0.5)
