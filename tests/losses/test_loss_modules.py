"""Every loss function as a module: the same loss, its options told, refused early, and copied."""

import copy
import inspect
import pickle

import pytest
import torch
from _loss_cases import IGNORED, batch

from saltzoo import losses
from saltzoo.losses import BCELoss, LossModule, LovaszHingeLoss, WeightedSum, bce_loss, lovasz_hinge

FUNCTIONS = {
    module: getattr(losses, name)
    for name in losses.__all__
    if inspect.isfunction(getattr(losses, name))
    for module in vars(losses).values()
    if inspect.isclass(module) and issubclass(module, LossModule) and module is not LossModule
    if module._function is getattr(losses, name)
}


def test_every_function_has_a_module():
    without = {"create_loss", "list_losses", "register_loss", "topology_loss"}
    names = {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))} - without
    assert {function.__name__ for function in FUNCTIONS.values()} == names
    assert len(names) == 11


@pytest.mark.parametrize("module", FUNCTIONS, ids=lambda module: module.__name__)
def test_a_module_is_its_function(module):
    function = FUNCTIONS[module]
    task = 4 if module._classes == 2 else 1
    logits, target = batch(task, ignored=0.2)
    options = {"ignore_index": IGNORED, "reduction": "sum"}
    loss = module(**options)
    assert torch.equal(loss(logits, target), function(logits, target, **options))
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(logits, target), loss(logits, target))
    signature = inspect.signature(function).parameters
    assert list(inspect.signature(module).parameters) == [*signature][2:]
    assert loss.options == {name: p.default for name, p in signature.items() if p.default is not p.empty} | options
    assert "ignore_index=255" in repr(loss)
    assert "reduction='sum'" in repr(loss)
    assert loss.state_dict() == {}


@pytest.mark.parametrize("module", FUNCTIONS, ids=lambda module: module.__name__)
def test_a_module_refuses_options_when_it_is_made(module):
    with pytest.raises(ValueError, match=r"'avg'.*'mean', 'sum', 'none'"):
        module(reduction="avg")
    with pytest.raises(TypeError, match="smoothe"):
        module(smoothe=1.0)


def test_weighted_sum():
    logits, target = batch(1)
    loss = WeightedSum([BCELoss(), LovaszHingeLoss()], [0.5, 2])
    bce, lovasz = bce_loss(logits, target), lovasz_hinge(logits, target)
    torch.testing.assert_close(loss(logits, target), 0.5 * bce + 2 * lovasz)
    loss.weights[1] = 0
    torch.testing.assert_close(loss(logits, target), 0.5 * bce)
    assert loss.state_dict() == {}
