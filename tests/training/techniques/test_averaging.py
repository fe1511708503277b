"""Averages agree with closed forms and with torch; batch-norm statistics are exact, and nothing else changes."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import saltzoo
from saltzoo.layers import SCSE, PyramidPooling
from saltzoo.models import ModelConfig, Segmenter
from saltzoo.models.saltnet import SaltnetOptions
from saltzoo.training import (
    exponential_average,
    keep_batch_norm_frozen,
    reestimate_batch_norm,
    stochastic_average,
)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 1, 1))


def saltnet():
    torch.manual_seed(0)
    return SaltnetOptions(channels=(4, 6, 8), decoder_channels=(4, 4)).build()


def wander(model, steps, seed=0):
    """Yield the model after each step of a random walk of its weights, with batch norms that follow batches."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            model.train()(1 + torch.randn(2, 1, 32, 32, generator=generator))
        yield model


def states(average_or_model):
    return {name: tensor.clone() for name, tensor in average_or_model.state_dict().items()}


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance
        )


# Averages


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.998])
def test_the_exponential_average_is_a_weighted_sum_of_states(decay):
    """The weight of a state is its fraction when it was added, times the fractions that later updates kept."""
    model = small_net()
    average = exponential_average(model, decay=decay)
    path = [states(model)]
    for state in wander(model, 30):
        average.update_parameters(state)
        path.append(states(state))
    keeps = [min(decay, (1 + t) / (10 + t)) for t in range(30)]
    weights = []
    for position in range(31):
        weight = 1.0 if position == 0 else 1 - keeps[position - 1]
        for keep in keeps[position:]:
            weight *= keep
        weights.append(weight)
    assert sum(weights) == pytest.approx(1)
    for name, held in states(average.module).items():
        if held.is_floating_point():
            by_hand = sum(w * state[name].double() for w, state in zip(weights, path, strict=True))
            torch.testing.assert_close(held.double(), by_hand, rtol=1e-5, atol=1e-6)
        else:
            assert held.item() == 30


def test_after_many_updates_the_exponential_average_equals_torchs():
    model = small_net()
    ours = exponential_average(model, decay=0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    ours.n_averaged.fill_(10_000)
    theirs.n_averaged.fill_(10_000)
    for state in wander(model, 5):
        ours.update_parameters(state)
        theirs.update_parameters(state)
    expected = {name: tensor for name, tensor in states(theirs).items() if tensor.is_floating_point()}
    assert_same({name: states(ours)[name] for name in expected}, expected)


def test_the_stochastic_average_is_the_mean_of_states():
    model = small_net()
    average = stochastic_average(model)
    path = []
    for state in wander(model, 7):
        average.update_parameters(state)
        path.append(states(state))
    for name, held in states(average.module).items():
        if held.is_floating_point():
            mean = torch.stack([state[name].double() for state in path]).mean(0)
            torch.testing.assert_close(held.double(), mean, rtol=1e-5, atol=1e-6)
        else:
            assert held.item() == 7


@pytest.mark.parametrize("make", [exponential_average, stochastic_average])
def test_a_resumed_average_equals_an_uninterrupted_one(make, tmp_path):
    model = small_net()
    whole = make(model)
    resumed = None
    for position, state in enumerate(wander(model, 12)):
        if position == 5:
            torch.save(whole.state_dict(), tmp_path / "average.pt")
            resumed = make(small_net())
            resumed.load_state_dict(torch.load(tmp_path / "average.pt", weights_only=True))
        whole.update_parameters(state)
        if resumed:
            resumed.update_parameters(state)
    assert_same(states(whole), states(resumed), rtol=0, atol=0)


@pytest.mark.parametrize("make", [exponential_average, stochastic_average])
def test_the_averaged_module_is_a_model_like_the_original(make):
    model = saltnet()
    model.config = ModelConfig("saltnet_s", {"in_chans": 1})
    model.preprocess = saltzoo.Preprocess(mean=(0.3,), std=(0.2,))
    model.encoder.stem.conv.weight.grad = torch.ones_like(model.encoder.stem.conv.weight)
    before = states(model)
    average = make(model)
    held = average.module
    assert isinstance(held, Segmenter)
    assert (held.config, held.preprocess) == (model.config, model.preprocess)
    assert all(parameter.grad is None for parameter in held.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert_same(states(held), before, rtol=0, atol=0)
    tiles = torch.rand(2, 40, 40)
    assert torch.equal(average.eval()(held.preprocess(tiles[:, None])), held(held.preprocess(tiles[:, None])))
    assert saltzoo.predict(held, tiles).shape == (2, 40, 40)


def test_a_wrapped_model_updates_the_average_of_a_plain_one():
    first, second = stochastic_average(small_net()), stochastic_average(small_net())
    for state in wander(small_net(), 3):
        first.update_parameters(state)
        second.update_parameters(nn.DataParallel(state))
    assert_same(states(first), states(second), rtol=0, atol=0)


def test_dtypes_may_be_mixed():
    net = nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(2, 2).double())
    average = stochastic_average(net)
    for value in (1.0, 4.0):
        for parameter in net.parameters():
            parameter.data.fill_(value)
        average.update_parameters(net)
    assert [parameter.dtype for parameter in average.module.parameters()] == [torch.half] * 2 + [torch.double] * 2
    assert all((parameter == 2.5).all() for parameter in average.module.parameters())


def test_nothing_synchronises_with_the_device():
    """The meta device has no values, so reading one raises."""
    model = small_net().to("meta")
    for average in (exponential_average(model), stochastic_average(model)):
        average.update_parameters(model)
        average.update_parameters(model)
        assert average.n_averaged.item() == 2
    with pytest.raises((RuntimeError, NotImplementedError)):
        model[1].num_batches_tracked.item()


def test_another_network_is_refused():
    average = exponential_average(nn.Linear(3, 3))
    for other in (nn.Linear(3, 1), nn.Linear(3, 3, bias=False), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))):
        with pytest.raises(ValueError, match="model must have the same tensors as the averaged Linear, got a"):
            average.update_parameters(other)
    assert average.n_averaged == 0


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_0_to_1_is_refused(decay):
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1, got"):
        exponential_average(nn.Linear(1, 1), decay=decay)


# Batch norm


def doubles(*shape, seed=0):
    return 3 + 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_batch_gives_its_exact_mean_and_variance():
    norm = nn.BatchNorm2d(3).double()
    x = doubles(4, 3, 5, 7)
    reestimate_batch_norm(norm, [x])
    variance, mean = torch.var_mean(x, dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-13, atol=0)


def test_several_batches_give_the_mean_of_their_statistics():
    norm = nn.BatchNorm2d(3).double()
    norm.running_mean.fill_(100.0)
    norm.num_batches_tracked.fill_(55)
    x = doubles(5, 4, 3, 2, 2)
    reestimate_batch_norm(norm, (batch for batch in x))
    torch.testing.assert_close(norm.running_mean, x.mean((0, 1, 3, 4)), rtol=1e-13, atol=0)
    torch.testing.assert_close(norm.running_var, x.var((1, 3, 4)).mean(0), rtol=1e-13, atol=0)
    assert norm.num_batches_tracked == 5


def test_statistics_equal_those_of_update_bn():
    ours, theirs = saltnet(), saltnet()
    batches = [torch.randn(3, 1, 40, 40) for _ in range(3)]
    reestimate_batch_norm(ours.train(), [(batch, "mask") for batch in batches])
    update_bn(batches, theirs.train())
    assert_same(states(ours), states(theirs), rtol=0, atol=0)


def test_evaluation_then_equals_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    x = 5 + 3 * torch.randn(16, 1, 32, 32)
    expected = model.train()(x)
    assert not torch.allclose(model.eval()(x), expected, atol=0.1)
    reestimate_batch_norm(model, [x])
    # Equal except for n / (n - 1) in the variance, with n = 16 * 28 * 28 or more.
    torch.testing.assert_close(model.eval()(x), expected, rtol=1e-3, atol=1e-3)


def test_nothing_but_statistics_changes():
    model = nn.Sequential(small_net(), nn.Dropout(), nn.BatchNorm2d(1, momentum=0.3))
    model.train()
    model[0][1].eval()
    modes = [module.training for module in model.modules()]
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    random = torch.get_rng_state()
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    reestimate_batch_norm(model, [x])
    assert [module.training for module in model.modules()] == modes
    assert (model[0][1].momentum, model[2].momentum) == (0.1, 0.3)
    assert_same(dict(model.named_parameters()), weights, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(buffer.requires_grad for buffer in model.buffers())
    # Dropout was off, so no random number was drawn.
    assert torch.equal(torch.get_rng_state(), random)
    assert model[0][1].num_batches_tracked == 1


def test_frozen_norms_keep_their_statistics():
    model = saltnet()
    keep_batch_norm_frozen(model.encoder)
    before = states(model)
    reestimate_batch_norm(model, [torch.randn(2, 1, 40, 40)])
    changed = {name for name, tensor in states(model).items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name, _ in model.named_buffers() if not name.startswith("encoder.")}


def test_without_batch_norm_no_batch_is_read():
    def never():
        raise AssertionError
        yield

    reestimate_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 1)), never())


def test_norms_without_statistics_are_ignored():
    model = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.BatchNorm2d(1))
    reestimate_batch_norm(model, [torch.randn(2, 1, 4, 4)])
    assert model[1].num_batches_tracked == 1


def test_a_last_batch_of_one_image_does_not_change_norms_of_one_pixel():
    model = PyramidPooling(8).train()
    with_one, without = copy.deepcopy(model), model
    x = torch.randn(4, 8, 6, 6)
    reestimate_batch_norm(without, [x])
    reestimate_batch_norm(with_one, [x, x[:1]])
    single = [name for name in states(model) if name.startswith("branches.0.")]
    assert single
    for name in single:  # the average over a map is one value per image: no variance
        assert torch.equal(states(without)[name], states(with_one)[name])
    assert with_one.branches[1].norm.num_batches_tracked == 2


def test_statistics_under_autocast_stay_in_float32():
    torch.manual_seed(0)
    exact = nn.Sequential(nn.Conv2d(1, 8, 3), SCSE(8, norm=True), PyramidPooling(8))
    model = copy.deepcopy(exact)
    batches = [torch.randn(4, 1, 12, 12) for _ in range(2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reestimate_batch_norm(model, batches)
        assert model.eval()(batches[0]).dtype == torch.bfloat16
    reestimate_batch_norm(exact, batches)
    for name, buffer in states(model).items():
        assert buffer.dtype == states(exact)[name].dtype
    assert_same(states(model), states(exact), rtol=0.02, atol=0.02)


def broken(batches):
    yield from batches
    raise OSError("a tile cannot be read")


def test_an_error_restores_everything():
    model = saltnet()
    model(torch.randn(2, 1, 40, 40))
    model.eval()
    before, momenta = states(model), [getattr(module, "momentum", None) for module in model.modules()]
    with pytest.raises(OSError, match="a tile cannot be read"):
        reestimate_batch_norm(model, broken([torch.randn(2, 1, 40, 40)]))
    assert_same(states(model), before, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"batches must hold more than one value per channel.*two images or more"):
        reestimate_batch_norm(model, [])
    assert_same(states(model), before, rtol=0, atol=0)
    assert [getattr(module, "momentum", None) for module in model.modules()] == momenta
    assert not model.training


def test_batches_of_one_image_are_refused_for_norms_of_one_pixel():
    model = PyramidPooling(8)
    with pytest.raises(ValueError, match="but 1 of 4 norms got none"):
        reestimate_batch_norm(model, [torch.randn(1, 8, 6, 6)] * 3)
