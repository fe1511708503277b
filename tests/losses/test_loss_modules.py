"""Loss modules: the same loss and signature as the function, early refusals, copies, and what a type checker sees."""

import copy
import inspect
import math
import operator
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from _loss_cases import IGNORED, batch, edges

import saltzoo
from saltzoo import losses
from saltzoo.losses import BCELoss, CELoss, LovaszHingeLoss, TopologyLoss, WeightedSum, bce_loss, lovasz_hinge
from saltzoo.losses.registry import _losses

MODULES = {name: module for name, module in _losses.items() if name not in ("deep_supervision", "weighted_sum")}
OF_LABELS = ("ce_loss", "lovasz_softmax", "bootstrapped_ce")
every_module = pytest.mark.parametrize("name", MODULES)
every_module_without_network = pytest.mark.parametrize("name", [name for name in MODULES if name != "topology_loss"])


def test_every_function_has_a_module():
    functions = {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))}
    assert {*MODULES} == functions - {"create_loss", "list_losses", "register_loss"}
    assert len(MODULES) == 13


@every_module
def test_function_and_module_have_the_same_options(name):
    function = list(inspect.signature(getattr(losses, name)).parameters.values())
    assert [p.name for p in function[:2]] == ["logits", "target"]
    want = function[2:]
    if name == "topology_loss":  # the module has a default network
        assert want[0].name == "features"
        want[0] = want[0].replace(default=None, annotation="Features | None")
    module = MODULES[name]
    assert list(inspect.signature(module).parameters.values()) == want


@every_module_without_network
def test_a_module_is_its_function(name):
    function = getattr(losses, name)
    logits, target = batch(4 if name in OF_LABELS else 1, ignored=0.2)
    options = {"ignore_index": IGNORED, "reduction": "sum"}
    loss = MODULES[name](**options)
    assert torch.equal(loss(logits, target), function(logits, target, **options))
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(logits, target), loss(logits, target))
    defaults = {p.name: p.default for p in list(inspect.signature(function).parameters.values())[2:]}
    assert {option: getattr(loss, option) for option in defaults} == defaults | options
    for option, value in (defaults | options).items():
        assert f"{option}={value!r}" in repr(loss)
    assert loss.state_dict() == {}


OTHERS = {
    "bce_loss": {"pos_weight": 2.5, "label_smoothing": 0.2},
    "bce_dice_loss": {"dice_weight": 0.3, "smooth": 2.0, "per_image": False, "empty": "skip", "classes": [0]},
    "bootstrapped_bce": {"k": 3},
    "bootstrapped_ce": {"k": 3},
    "ce_loss": {"weight": [1, 2, 3, 4], "label_smoothing": 0.2},
    "dice_loss": {"smooth": 2.0, "log": True, "per_image": False, "empty": "skip", "classes": [0], "weight": [2.0]},
    "focal_loss": {"gamma": 0.5, "alpha": 0.3, "weight": [2.0]},
    "generalized_dice_loss": {"smooth": 2.0, "per_image": False},
    "jaccard_loss": {"smooth": 2.0, "log": True, "per_image": False, "empty": "skip", "classes": [0], "weight": [2.0]},
    "lovasz_hinge": {"margin": "elu", "per_image": False, "symmetric": True},
    "lovasz_softmax": {"classes": "all", "weight": [1, 2, 3, 4], "per_image": False},
    "tversky_loss": {
        "alpha": 0.6,
        "beta": 0.2,
        "smooth": 2.0,
        "log": True,
        "per_image": False,
        "empty": "skip",
        "classes": [0],
        "weight": [2.0],
    },
}


@every_module_without_network
def test_a_module_passes_every_option_on(name):
    function = getattr(losses, name)
    logits, target = batch(4 if name in OF_LABELS else 1)
    common = {"ignore_index", "reduction"}
    assert {*inspect.signature(MODULES[name]).parameters} - common == {*OTHERS[name]}
    for options in (*({option: value} for option, value in OTHERS[name].items()), OTHERS[name]):
        assert torch.equal(MODULES[name](**options)(logits, target), function(logits, target, **options))
    assert not torch.equal(function(logits, target, **OTHERS[name]), function(logits, target))


@every_module
def test_a_module_refuses_options_when_it_is_built(name):
    needs = {"features": edges} if name == "topology_loss" else {}
    with pytest.raises(ValueError, match=r"unknown reduction 'avg': choose one of 'mean', 'sum', 'none'"):
        MODULES[name](reduction="avg", **needs)
    with pytest.raises(TypeError, match="smoothe"):
        MODULES[name](smoothe=1.0, **needs)
    with pytest.raises(TypeError, match=r"ignore_index must be a whole number or None, got 0\.5"):
        MODULES[name](ignore_index=0.5, **needs)


REFUSED = [
    ("bce_loss", {"pos_weight": -1}, "pos_weight must be above 0, got -1"),
    ("bce_loss", {"pos_weight": float("inf")}, "pos_weight must be a finite number, got inf"),
    ("ce_loss", {"label_smoothing": 1.1}, "label_smoothing must be 0 to 1, got 1.1"),
    ("focal_loss", {"gamma": -1}, "gamma must be 0 or more, got -1"),
    ("focal_loss", {"gamma": float("nan")}, "gamma must be a finite number, got nan"),
    ("focal_loss", {"alpha": 2}, "alpha must be 0 to 1, or None, got 2"),
    ("bootstrapped_bce", {"k": 0}, "k must be a whole number of pixels, such as 32768, or a share"),
    ("bootstrapped_bce", {"k": float("inf")}, "got inf"),
    ("bootstrapped_ce", {"k": 1.5}, "got 1.5"),
    ("bootstrapped_ce", {"k": 1.0}, "got 1.0"),
    ("dice_loss", {"empty": "ignore"}, "unknown empty 'ignore': choose one of 'mean', 'smooth', 'skip'"),
    ("dice_loss", {"smooth": -1.0}, "smooth must be 0 or more, got -1.0"),
    ("dice_loss", {"smooth": float("inf")}, "smooth must be a finite number, got inf"),
    ("jaccard_loss", {"smooth": 0, "empty": "smooth"}, "empty='smooth' needs smooth above 0"),
    ("jaccard_loss", {"smooth": 0, "log": True}, "log=True needs smooth above 0"),
    ("tversky_loss", {"alpha": float("nan"), "beta": 1}, "alpha must be a finite number, got nan"),
    ("tversky_loss", {"beta": 0}, "alpha and beta must be above 0, got 0.3 and 0"),
    ("tversky_loss", {"alpha": float("inf")}, "alpha must be a finite number, got inf"),
    ("tversky_loss", {"smooth": -1}, "smooth must be 0 or more, got -1"),
    ("bce_dice_loss", {"dice_weight": float("nan")}, "dice_weight must be a finite number, got nan"),
    ("bce_dice_loss", {"empty": "ignore"}, "unknown empty 'ignore'"),
    ("lovasz_hinge", {"margin": "gelu"}, "unknown margin 'gelu': choose one of 'relu', 'elu'"),
    ("lovasz_softmax", {"classes": "absent"}, "unknown classes 'absent': choose one of 'present', 'all'"),
]


@pytest.mark.parametrize(("name", "options", "words"), REFUSED)
def test_function_and_module_refuse_the_same_options(name, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        getattr(losses, name)(*batch(3 if name in OF_LABELS else 1), **options)
    with pytest.raises(ValueError, match=re.escape(words)):
        MODULES[name](**options)


USES = """
from saltzoo.losses import BCELoss, DiceLoss, LovaszHingeLoss, TopologyLoss

BCELoss(pos_weight=2.0)
DiceLoss(log=True, empty="skip", ignore_index=255, reduction="none")
BCELoss(pos_wieght=2.0)
LovaszHingeLoss(margin="gelu")
DiceLoss(smooth="much")
BCELoss(2.0)
"""


def test_mypy_checks_options(tmp_path):
    """Wrong names, words, types and positional options are errors; right ones are not.

    Without torch's types, which do not matter here, mypy takes seconds instead of half a minute.
    """
    file = tmp_path / "uses.py"
    file.write_text(USES)
    flags = ["--strict", "--follow-imports=silent", "--no-site-packages", "--ignore-missing-imports"]
    command = [sys.executable, "-m", "mypy", *flags, "--cache-dir", str(tmp_path), str(file)]
    environment = os.environ | {"MYPYPATH": str(Path(saltzoo.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    lines = {int(number): text for number, text in re.findall(r"uses\.py:(\d+): error: (.*)", done.stdout)}
    assert {*lines} == {6, 7, 8, 9}, done.stdout + done.stderr
    assert 'Unexpected keyword argument "pos_wieght"' in lines[6]
    assert 'Literal["gelu"]' in lines[7] or '"margin"' in lines[7]
    assert '"smooth"' in lines[8]
    assert "positional" in lines[9]


def test_weighted_sum():
    logits, target = batch(1)
    loss = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2])
    bce, lovasz = bce_loss(logits, target), lovasz_hinge(logits, target)
    assert torch.equal(loss(logits, target), 0.5 * bce + 2 * lovasz)
    loss.weights[1] = 0
    assert torch.equal(loss(logits, target), 0.5 * bce)
    loss.weights[:] = [0.0, 0.25]
    assert torch.equal(loss(logits, target), 0.25 * lovasz)
    assert loss.state_dict() == {}
    assert "weights=[0.0, 0.25]" in repr(loss)
    assert torch.equal(copy.deepcopy(loss)(logits, target), 0.25 * lovasz)


NOT_WEIGHTS = [
    ([0.1, math.nan], ValueError, r"weights\[1\] must be a finite number, got nan"),
    ([math.inf, 1], ValueError, r"weights\[0\] must be a finite number, got inf"),
    ([1.0, "2"], TypeError, r"weights\[1\] must be a number, got '2'"),
    ([1.0, torch.ones(())], TypeError, r"weights\[1\] must be a number, got tensor"),
    ("12", TypeError, "weights must be a list of numbers, got '12'"),
    (torch.ones(2), TypeError, r"weights must be a list of numbers, got tensor.*weights\.tolist\(\)"),
    (torch.nn.Parameter(torch.ones(2)), TypeError, "weights must be a list of numbers, got Parameter"),
    (np.ones(2), TypeError, "weights must be a list of numbers"),
    (0.5, TypeError, "weights must be a list of numbers, got 0.5"),
    (None, TypeError, "weights must be a list of numbers, got None"),
    ([1.0], ValueError, "2 losses and 1 weights|weights must stay 2 numbers, one for each term, got 1"),
    ([1, 2, 3], ValueError, "2 losses and 3 weights|weights must stay 2 numbers, one for each term, got 3"),
    ([], ValueError, "2 losses and 0 weights|weights must stay 2 numbers, one for each term, got 0"),
]


@pytest.mark.parametrize(("given", "error", "words"), NOT_WEIGHTS)
def test_weights_are_checked_whenever_they_are_set(given, error, words):
    loss = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2])
    with pytest.raises(error, match=words):
        WeightedSum([BCELoss(), LovaszHingeLoss()], given)
    with pytest.raises(error, match=words):
        loss.weights = given
    with pytest.raises(error, match=words):
        loss.weights[:] = given
    assert loss.weights == [0.5, 2]


@pytest.mark.parametrize("given", [math.nan, math.inf, "1", None, [1.0], torch.ones(())])
def test_one_weight_is_checked_when_it_is_set(given):
    loss = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2])
    with pytest.raises((TypeError, ValueError), match=r"weights\[0\] must be a (finite )?number, got"):
        loss.weights[0] = given
    with pytest.raises(IndexError):
        loss.weights[2] = 1.0
    assert loss.weights == [0.5, 2]


def test_the_number_of_weights_stays():
    loss = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2])
    for change in (
        lambda weights: weights.append(1.0),
        lambda weights: weights.extend([1.0]),
        lambda weights: weights.insert(0, 1.0),
        lambda weights: weights.pop(),
        lambda weights: weights.clear(),
        lambda weights: weights.remove(2),
        lambda weights: operator.delitem(weights, 0),
        lambda weights: operator.setitem(weights, slice(1), [1.0, 2.0]),
    ):
        with pytest.raises(ValueError, match="weights must stay 2 numbers, one for each term"):
            change(loss.weights)
        assert loss.weights == [0.5, 2]


def test_weights_that_are_set_are_a_copy():
    logits, target = batch(1)
    loss, given = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2]), [0.0, 3.0]
    loss.weights = given
    given[1] = 0.0
    other = copy.deepcopy(loss)
    other.weights[1] = 1.0
    assert torch.equal(loss(logits, target), 3 * lovasz_hinge(logits, target))
    assert torch.equal(other(logits, target), lovasz_hinge(logits, target))
    assert torch.equal(pickle.loads(pickle.dumps(loss))(logits, target), loss(logits, target))


@pytest.mark.slow
def test_a_compiled_sum_follows_its_weights():
    torch._dynamo.reset()
    logits, target = batch(1)
    loss = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2])
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    for weights in ([0.5, 2], [0.25, 2], [1.0, 0.0]):
        loss.weights = weights
        torch.testing.assert_close(compiled(logits, target), loss(logits, target))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tversky_loss", {"alpha": "1"}),
        ("focal_loss", {"gamma": "1"}),
        ("focal_loss", {"alpha": "1"}),
        ("dice_loss", {"smooth": None}),
        ("ce_loss", {"label_smoothing": "1"}),
        ("bce_loss", {"label_smoothing": None}),
        ("bootstrapped_bce", {"k": "1"}),
        ("bce_dice_loss", {"dice_weight": "1"}),
    ],
)
def test_what_is_no_number_is_refused(name, options):
    ((option, value),) = options.items()
    with pytest.raises(TypeError, match=f"{option} must be a number, got {value!r}"):
        MODULES[name](**options)
    with pytest.raises(TypeError, match=f"{option} must be a number, got {value!r}"):
        getattr(losses, name)(*batch(4 if name in OF_LABELS else 1), **options)


def test_a_loss_of_weight_0_is_not_computed():
    logits, target = batch(1)
    loss = WeightedSum([BCELoss(), CELoss()], [1.0, 0.0])  # the cross-entropy would refuse these shapes
    assert torch.equal(loss(logits, target), bce_loss(logits, target))
    loss.weights[0] = 0
    nothing = loss(logits.bfloat16(), target)
    assert (nothing.item(), nothing.dtype, nothing.shape) == (0, torch.float32, ())


def test_a_module_of_topology_shows_its_options():
    assert "normalize=False, ignore_index=None, reduction='sum'" in repr(
        TopologyLoss(edges, normalize=False, reduction="sum")
    )
