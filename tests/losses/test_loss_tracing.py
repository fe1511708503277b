"""Losses within torch.vmap, torch.func, FakeTensorMode, make_fx and torch.export."""

from functools import partial

import pytest
import torch
from _loss_cases import CASES, IGNORED, TOPOLOGY, batch, gradient
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from saltzoo._torch import is_readable
from saltzoo.contracts import SegOutput
from saltzoo.losses import (
    BCELoss,
    CELoss,
    DeepSupervisionLoss,
    DiceLoss,
    LovaszHingeLoss,
    WeightedSum,
    bce_dice_loss,
    bce_loss,
    ce_loss,
    dice_loss,
    focal_loss,
    lovasz_softmax,
)

BY_CLASS = {
    "binary bce-smoothed": (partial(bce_loss, label_smoothing=0.1), 1),
    "four classes ce-smoothed-by-class": (partial(ce_loss, label_smoothing=0.1, weight=[1, 2, 0, 1]), 4),
    "multilabel bce-by-channel": (partial(bce_loss, pos_weight=[1.0, 2.0, 3.0]), -3),
    "four classes ce-by-class": (partial(ce_loss, weight=[1, 2, 0, 1]), 4),
    "multilabel bce-dice-of-some": (partial(bce_dice_loss, classes=[2, 0]), -3),
    "four classes focal-by-class": (partial(focal_loss, weight=[1, 2, 0, 1]), 4),
    "multilabel focal-by-channel": (partial(focal_loss, weight=[1, 2, 0]), -3),
    "four classes dice-of-some": (partial(dice_loss, classes=[3, 1], weight=[1, 2]), 4),
    "four classes lovasz-of-some": (partial(lovasz_softmax, classes=[3, 1], weight=[1, 2]), 4),
    "four classes lovasz-by-class": (partial(lovasz_softmax, weight=[1, 2, 0, 1]), 4),
}
ALL = {**CASES, **BY_CLASS, "binary topology": (TOPOLOGY, 1)}
every_loss = pytest.mark.parametrize("name", ALL)
either = pytest.mark.parametrize("ignore_index", [None, IGNORED])


def case(name, ignore_index):
    loss, task = ALL[name]
    loss = partial(loss, ignore_index=ignore_index)
    return loss, *batch(task, ignored=0.2 if ignore_index else 0.0)


def of_one(loss):
    return lambda x, y: loss(x[None], y[None])


@pytest.mark.filterwarnings("error::UserWarning")  # of slow fallbacks
@every_loss
@either
def test_vmap_gives_each_image_its_loss_and_gradient(name, ignore_index):
    loss, logits, target = case(name, ignore_index)
    alone = [gradient(of_one(loss), x, y) for x, y in zip(logits, target, strict=True)]
    values, slopes = (torch.stack(parts) for parts in zip(*alone, strict=True))
    torch.testing.assert_close(torch.vmap(of_one(loss))(logits, target), values)
    torch.testing.assert_close(torch.vmap(torch.func.grad(of_one(loss)))(logits, target), slopes)
    twice = torch.vmap(torch.vmap(of_one(loss)))(*(x.unflatten(0, (2, 2)) for x in (logits, target)))
    torch.testing.assert_close(twice.flatten(), values)
    models = torch.vmap(of_one(loss), (0, None))(logits, target[2])
    torch.testing.assert_close(models, torch.stack([of_one(loss)(x, target[2]) for x in logits]))
    truths = torch.vmap(of_one(loss), (None, 0))(logits[2], target)
    torch.testing.assert_close(truths, torch.stack([of_one(loss)(logits[2], y) for y in target]))


@pytest.mark.slow
@every_loss
@either
def test_make_fx_records_what_holds_for_other_values(name, ignore_index):
    loss, logits, target = case(name, ignore_index)
    other = batch(ALL[name][1], seed=5, ignored=0.2 if ignore_index else 0.0)
    for options in ({}, {"pre_dispatch": True}, {"tracing_mode": "fake"}):
        graph = make_fx(loss, **options)(logits, target)
        assert not any(word in graph.code for word in ("_local_scalar_dense", "nonzero"))
        torch.testing.assert_close(graph(*other), loss(*other))


@every_loss
@either
def test_fake_tensors_on_the_cpu_have_no_values(name, ignore_index):
    loss, logits, target = case(name, ignore_index)
    shape = loss(logits, target, reduction="none").shape
    with FakeTensorMode() as mode:
        x, y = mode.from_tensor(logits).requires_grad_(), mode.from_tensor(target)
        assert loss(x, y).shape == ()
        assert loss(x, y, reduction="none").shape == shape
        (slope,) = torch.autograd.grad(loss(x, y), x)
    assert slope.shape == logits.shape
    assert not is_readable(y)  # the mode is left, the tensor stays fake


@pytest.mark.slow
@every_loss
def test_exports(name):
    loss, logits, target = case(name, IGNORED)

    class Module(torch.nn.Module):
        def forward(self, x, y):
            return loss(x, y)

    other = batch(ALL[name][1], seed=5, ignored=0.2)
    for strict in (False, True):
        graph = torch.export.export(Module(), (logits, target), strict=strict).module()
        torch.testing.assert_close(graph(*other), loss(*other))


@every_loss
def test_values_are_checked_where_they_can_be_read(name):
    loss, logits, target = case(name, None)
    target[0] = 7
    for call in (
        lambda: loss(logits, target),
        lambda: torch.func.grad(loss)(logits, target),
        lambda: torch.func.jvp(lambda x: loss(x, target), (logits,), (logits,)),
        lambda: torch.vmap(lambda x: loss(x, target))(logits[None]),
    ):
        with pytest.raises(ValueError, match="target must be 0 to"):
            call()


def wrong_values(name):
    return (-1, -100, ALL[name][1]) if name.split()[0] in ("two", "four") else (-1, 2, 255)


@every_loss
@either
def test_targets_out_of_range_poison_what_vmap_returns(name, ignore_index):
    loss, logits, target = case(name, ignore_index)
    for value in wrong_values(name):
        if value == ignore_index:
            continue
        spoilt = target.clone()
        spoilt[(2, *[0] * (target.ndim - 1))] = value
        with pytest.raises(ValueError, match="target must be 0 to"):
            loss(logits, spoilt)
        got = torch.vmap(of_one(loss))(logits, spoilt)
        assert got.isnan().tolist() == [False, False, True, False]
        assert torch.vmap(loss)(logits[None], spoilt[None]).isnan().all()
        rows = torch.vmap(partial(loss, reduction="none"))(logits[None], spoilt[None])[0]
        assert rows[2].isnan().any()
        assert not rows[[0, 1, 3]].isnan().any()


@every_loss
def test_an_empty_image_with_a_wrong_target_is_not_skipped(name):
    loss, logits, target = case(name, None)
    target[0, ..., 0, 0] = -1
    assert torch.vmap(of_one(loss))(logits, target)[0].isnan()


@pytest.mark.slow
@every_loss
def test_targets_out_of_range_poison_what_is_compiled(name):
    torch._dynamo.reset()
    loss, logits, target = case(name, None)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))
    for value in wrong_values(name):
        spoilt = target.clone()
        spoilt[(2, *[0] * (target.ndim - 1))] = value
        assert compiled(logits, spoilt).isnan()


def test_soft_labels_out_of_range_poison_what_vmap_returns():
    logits, shares = batch(4)[0], batch(4, seed=1)[0].softmax(1)
    shares[1, :, 0, 0] = 0.5  # sums to 2
    shares[2, :2, 0, 0] = torch.tensor([-1.0, 1.0]) + shares[2, :2, 0, 0]
    rows = torch.vmap(partial(ce_loss, reduction="none"))(logits[None], shares[None])[0]
    assert rows.isnan().sum((1, 2)).tolist() == [0, 1, 1, 0]
    shares[1, :, 0, 0] = shares[2, :, 0, 0] = -1.0
    rows = torch.vmap(partial(ce_loss, ignore_index=-1, reduction="none"))(logits[None], shares[None])[0]
    assert not rows.isnan().any()


def test_combined_losses_under_vmap():
    logits, target = batch(1)
    both = WeightedSum([BCELoss(), DiceLoss(), LovaszHingeLoss(symmetric=True)], [1.0, 0.5, 2.0])
    deep = DeepSupervisionLoss(both)

    def loss(x, y):
        output = SegOutput(x[None, None], maps=(x[None, None, ::2, ::2],), image=x.mean()[None, None], auxiliary=None)
        return deep(output, y[None])

    want = torch.stack([torch.func.grad(loss)(x, y) for x, y in zip(logits, target, strict=True)])
    torch.testing.assert_close(torch.vmap(torch.func.grad(loss))(logits, target), want)


def test_soft_labels_under_vmap_and_make_fx():
    logits, shares = batch(4)[0], batch(4, seed=1)[0].softmax(1)
    loss = CELoss(weight=[1.0, 2.0, 3.0, 4.0])
    want = torch.stack([loss(x[None], y[None]) for x, y in zip(logits, shares, strict=True)])
    torch.testing.assert_close(torch.vmap(of_one(loss))(logits, shares), want)
    torch.testing.assert_close(make_fx(loss)(logits, shares)(shares, shares), loss(shares, shares))


def test_which_values_can_be_read():
    tensor = torch.ones(3)
    seen = []

    def look(x):
        seen.append(is_readable(x))
        return x.sum()

    torch.func.grad(look)(tensor)
    torch.func.functionalize(look)(tensor)
    torch.func.hessian(look)(tensor)  # torch.vmap gives the tangents only
    assert seen == [True] * 3
    torch.vmap(look)(tensor[None])
    torch.vmap(torch.func.grad(look))(tensor[None])
    make_fx(look)(tensor)
    make_fx(look, pre_dispatch=True)(tensor)
    assert seen[3:] == [False] * 4
    assert is_readable(torch.nn.Parameter(tensor))
    assert not is_readable(tensor.to("meta"))
