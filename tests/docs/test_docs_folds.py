"""The page of folds says of its measurement what the numbers say."""

import importlib
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("touched", "control", "words"),
    [
        ((0.020, 0.004), (0.002, 0.003), "folds by id flatter the score"),  # .018 beside 2 x .005
        ((0.011, 0.004), (0.002, 0.003), "smaller than what the experiment resolves"),  # .009
        ((-0.020, 0.004), (0.002, 0.003), "smaller than what the experiment resolves"),
    ],
)
def test_the_verdict_is_by_two_standard_errors_of_the_difference(monkeypatch, touched, control, words):
    monkeypatch.syspath_prepend(DOCS)
    rows = [{"difference": str(mean), "standard_error": str(error)} for mean, error in (touched, control)]
    assert words in importlib.import_module("make_folds").verdict(*rows)
