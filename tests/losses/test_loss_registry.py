"""Losses by name, from a recipe's table, and in the training of a network."""

import re
import tomllib

import pytest
import torch
from _loss_cases import edges
from torch import nn

from saltzoo import losses
from saltzoo.contracts import SegOutput
from saltzoo.losses import create_loss, list_losses, lovasz_hinge, register_loss, registry

NEEDS = {"topology_loss": {"features": edges}, "deep_supervision": {"loss": "bce_dice_loss"}}
NEEDS["weighted_sum"] = {"losses": ["bce_loss", "dice_loss"], "weights": [1, 2]}


def test_every_loss_has_its_name():
    functions = {name for name in losses.__all__ if callable(getattr(losses, name)) and name[0].islower()}
    assert {*list_losses()} == functions - {"create_loss", "list_losses", "register_loss"} | {
        "deep_supervision",
        "weighted_sum",
    }
    assert list_losses() == sorted(list_losses())


RECIPE = """
[loss]
name = "deep_supervision"
map_weight = 0.2

[loss.loss]
name = "weighted_sum"
weights = [1.0, 0.2]
losses = [{ name = "lovasz_hinge", margin = "elu", symmetric = true }, "bce_loss"]
"""


def test_a_recipe_of_losses_within_losses():
    loss = create_loss(tomllib.loads(RECIPE)["loss"])
    logits, target = torch.randn(2, 1, 6, 6), (torch.rand(2, 6, 6) < 0.5).float()
    mask = lovasz_hinge(logits, target, margin="elu", symmetric=True) + 0.2 * losses.bce_loss(logits, target)
    torch.testing.assert_close(loss(logits, target), mask)
    target[:, 0, 0] = 1
    mask = loss(logits, target)
    torch.testing.assert_close(
        loss(SegOutput(logits, maps=(logits,)), target), mask + 0.2 * losses.bce_loss(logits, target)
    )
    assert create_loss({"name": "bce_loss", "pos_weight": 2.0}, pos_weight=3.0).pos_weight == 3.0


@pytest.mark.parametrize("name", ["ce_loss", "deep_supervision", "topology_loss", "weighted_sum"])
def test_a_network_overfits_one_batch(name):
    torch.manual_seed(0)
    loss, classes = create_loss(name, **NEEDS.get(name, {})), 2 if name == "ce_loss" else 1
    net = nn.Sequential(nn.Conv2d(1, 48, 5, padding=2), nn.ReLU(), nn.Conv2d(48, classes, 3, padding=1))
    x, target = torch.randn(3, 1, 10, 10), torch.zeros(3, 10, 10, dtype=torch.long)
    target[1:, 2:8, 3:] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    wrong = len(target)
    for _ in range(1000):
        optimizer.zero_grad()
        logits = net(x)
        loss(logits, target).backward()
        optimizer.step()
        predicted = logits.argmax(1) if classes == 2 else (logits[:, 0] > 0).long()
        wrong = (predicted != target).sum().item()
        if wrong == 0:
            break
    assert wrong == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_user_can_register_a_loss(monkeypatch):
    monkeypatch.setattr(registry, "_losses", dict(registry._losses))
    register_loss("my_loss", lambda scale=1.0: nn.L1Loss() if scale == 1 else nn.MSELoss())
    assert isinstance(create_loss("my_loss", scale=2.0), nn.MSELoss)
    assert "my_loss" in list_losses()
    with pytest.raises(ValueError, match="a loss named 'my_loss' exists already: choose another"):
        register_loss("my_loss", nn.L1Loss)


@pytest.mark.parametrize(
    ("loss", "options", "error", "words"),
    [
        ("lovasz", {}, ValueError, "unknown loss 'lovasz'. Did you mean 'lovasz_hinge' or 'lovasz_softmax'? There are"),
        ("xyz", {}, ValueError, "unknown loss 'xyz'. There are: bce_dice_loss, bce_loss"),
        ({"margin": "elu"}, {}, ValueError, "needs the key \"name\", got {'margin': 'elu'}"),
        (3, {}, TypeError, "a loss must be a name or a table with a name, got 3"),
        ("bce_loss", {"smooth": 1}, TypeError, "smooth"),
        ("lovasz_hinge", {"margin": "gelu"}, ValueError, "unknown margin 'gelu'"),
        ("weighted_sum", {"losses": [{"name": "dyce_loss"}], "weights": [1]}, ValueError, "Did you mean 'dice_loss'"),
    ],
)
def test_errors(loss, options, error, words):
    with pytest.raises(error, match=re.escape(words)):
        create_loss(loss, **options)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: losses.WeightedSum([], []), ValueError, "1 or more, got 0 losses"),
        (lambda: losses.WeightedSum([losses.BCELoss()], [1, 2]), ValueError, "1 losses and 2 weights"),
        (lambda: losses.WeightedSum([losses.BCELoss()], [float("nan")]), ValueError, r"weights\[0\] must be a finite"),
        (lambda: losses.WeightedSum([losses.BCELoss], [1]), TypeError, "instance"),
        (
            lambda: losses.WeightedSum([losses.BCELoss(reduction="none"), losses.DiceLoss()], [1, 1])(
                torch.zeros(4, 5, 7), torch.zeros(4, 5, 7)
            ),
            ValueError,
            r"\(4, 5, 7\).*reduction",
        ),
    ],
)
def test_errors_of_a_weighted_sum(build, error, message):
    with pytest.raises(error, match=message):
        build()
