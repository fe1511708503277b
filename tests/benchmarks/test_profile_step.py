"""The profile of a training step: its phases are the step, and its operators are all of its time."""

from argparse import Namespace

import pytest
import torch

from saltzoo.benchmark import floor
from saltzoo.data import synthetic_tiles
from saltzoo.preprocess import Preprocess


@pytest.mark.slow
def test_phases_and_operators_add_up_to_the_step(load_benchmark, monkeypatch):
    monkeypatch.setattr(floor, "_SIDES", {"cpu": 64})
    module = load_benchmark("profile_step")
    args = Namespace(models=["saltnet_s"], batch=2, size=64, rounds=1)
    rows = list(module.rows(args, "float32", torch.device("cpu")))
    (whole,) = (row for row in rows if row["kind"] == "step")
    phases = [row for row in rows if row["kind"] == "phase"]
    assert [row["name"] for row in phases] == list(module.PHASES)
    assert sum(row["ms"] for row in phases) == pytest.approx(whole["ms"], rel=0.01)
    operators = [row for row in rows if row["kind"] == "operator"]
    assert sum(row["share"] for row in operators) == pytest.approx(1, abs=0.01)
    assert operators[0]["ms"] == max(row["ms"] for row in operators[:-1])
    (least,) = (row for row in rows if row["kind"] == "floor")
    assert least["ms"] == pytest.approx(1e3 * whole["gflop"] / whole["matmul_gflops"], rel=0.01)
    # Three passes of the forward one's operations, less the image's gradient.
    assert 2 < whole["gflop"] / (2 * 0.425) < 3


@pytest.mark.slow
def test_models_take_turns_in_batches(load_benchmark):
    module = load_benchmark("int8")
    turns = []

    class Model(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.preprocess, self.in_chans = name, Preprocess((0.0,), (1.0,)), 1

        def forward(self, x):
            turns.append(self.name)
            return x

    guesses, seconds = module.predictions({name: Model(name) for name in "ab"}, synthetic_tiles(6), tta=None, batch=2)
    assert "".join(turns) == "ab" + "ab" + "ba" + "ab"
    assert [len(values) for values in seconds.values()] == [3, 3]
    assert torch.equal(guesses["a"], guesses["b"])
