"""Freezing: frozen parameters do not change, and batch norms keep their statistics."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from saltzoo.models.saltnet import SaltnetOptions
from saltzoo.training import freeze, keep_batch_norm_frozen, release_batch_norm, unfreeze


def saltnet():
    torch.manual_seed(0)
    return SaltnetOptions(channels=(4, 6, 8), decoder_channels=(4, 4)).build()


def norms(module):
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def statistics(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def learning(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


# Parameters


def test_frozen_parameters_do_not_change_under_momentum_and_decay():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    x = torch.randn(4, 3)
    net(x).sum().backward()
    optimizer.step()
    net(x).sum().backward()
    freeze(net[0])
    before = copy.deepcopy(net.state_dict())
    optimizer.step()
    assert learning(net) == {"1.weight", "1.bias"}
    assert torch.equal(net[0].weight, before["0.weight"])
    assert not torch.equal(net[1].weight, before["1.weight"])
    unfreeze(net)
    assert learning(net) == {"0.weight", "0.bias", "1.weight", "1.bias"}


# Batch norm


@pytest.mark.parametrize("flip", [False, True])
def test_a_frozen_norm_uses_and_keeps_its_statistics(flip):
    model = saltnet()
    x = torch.randn(4, 1, 40, 40)
    model.train()(x)
    expected, before = model.eval()(x), statistics(model)
    keep_batch_norm_frozen(model.train())
    if flip:
        model.eval().train()
    out = model(x)
    assert torch.equal(out, expected)
    assert same(before, statistics(model))
    assert model.training
    assert model.encoder.training
    assert not any(norm.training for norm in norms(model))
    out.sum().backward()
    assert all(norm.weight.grad is not None for norm in norms(model))


def test_only_the_norms_of_the_given_part_are_frozen():
    model = saltnet()
    keep_batch_norm_frozen(model.encoder)
    model.train()
    assert {norm.training for norm in norms(model.encoder)} == {False}
    assert {norm.training for norm in norms(model.decoder)} == {True}


def test_a_frozen_norm_is_released():
    model = saltnet()
    plain = copy.deepcopy(model)
    x = torch.randn(4, 1, 40, 40)
    keep_batch_norm_frozen(model)
    keep_batch_norm_frozen(model)
    model.train()
    release_batch_norm(model)
    assert all(norm.training for norm in norms(model))
    assert torch.equal(model(x), plain.train()(x))
    assert same(statistics(plain), statistics(model))
    keep_batch_norm_frozen(model)
    release_batch_norm(model.eval())
    assert not any(norm.training for norm in norms(model))
    assert vars(model.encoder.stem.norm).keys() == vars(plain.encoder.stem.norm).keys()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_norm_is_frozen_by_itself(copied):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    keep_batch_norm_frozen(model)
    twin = copied(model)
    twin.train()
    assert not twin[1].training
    release_batch_norm(model.train())
    assert model[1].training
    before = statistics(twin)
    twin.train()(torch.randn(2, 1, 8, 8))
    assert not twin[1].training
    assert same(before, statistics(twin))
    release_batch_norm(twin)
    assert twin[1].training


def test_norms_of_timm_are_frozen_but_not_the_modules_in_them():
    norm = timm.layers.BatchNormAct2d(3, drop_layer=nn.Dropout)
    net = nn.Sequential(norm)
    keep_batch_norm_frozen(net)
    net.train()
    assert (norm.training, norm.drop.training) == (False, True)
    net.eval()
    assert (norm.training, norm.drop.training) == (False, False)


def test_a_single_norm_is_frozen_and_released():
    norm = nn.BatchNorm2d(2)
    keep_batch_norm_frozen(norm)
    assert not norm.train().training
    release_batch_norm(norm)
    assert norm.training
    keep_batch_norm_frozen(nn.Linear(1, 1))
