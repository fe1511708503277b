"""Parameter groups: each parameter is in one group, with the right rate and decay, in optimisers and schedulers."""

import pytest
import torch
from torch import nn

from saltzoo.models.pspunet import pspunet
from saltzoo.models.saltnet import SaltnetOptions
from saltzoo.training import freeze, parameter_groups


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SaltnetOptions(channels=(4, 8, 8), decoder_channels=(4, 4)).build()


def groups_of(model, **options):
    return parameter_groups(model, **{"lr": 0.1, "weight_decay": 0.5, **options})


def settings(model, **options):
    """Return (rate, decay, name of the group, factor) by name of the parameter."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in groups_of(model, **options):
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in found
            found[name] = (group["lr"], group["weight_decay"], group["name"], group["scale"])
    return found


@pytest.mark.parametrize("scales", [None, {}, {"encoder.stages.1": 0.5, "decoder": 2.0, "head": 0.25}])
@pytest.mark.parametrize("encoder_scale", [1.0, 0.1])
def test_every_trained_parameter_is_in_one_group(model, scales, encoder_scale):
    freeze(model.encoder.stem)
    found = settings(model, scales=scales, encoder_scale=encoder_scale)
    assert set(found) == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("encoder.stem.") for name in found)
    for name, (rate, decay, _, factor) in found.items():
        assert rate == 0.1 * factor
        assert decay == (0.5 if model.get_parameter(name).ndim > 1 else 0.0), name


def test_norms_and_biases_are_not_decayed(model):
    found = settings(model)
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    undecayed = {name for name, (_, decay, *_) in found.items() if decay == 0}
    assert norms
    assert {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")} <= undecayed
    assert {name for name in found if name.endswith("bias")} <= undecayed
    convolutions = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert convolutions.isdisjoint(undecayed)


def test_the_longest_prefix_wins():
    net = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(1, 1), "b2": nn.Linear(1, 1)}), "c": nn.Linear(1, 1)})
    found = settings(net, scales={"a.b": 0.5, "a": 0.25, "a.b.bias": 3.0})
    assert {name: (group, factor) for name, (_, _, group, factor) in found.items()} == {
        "a.b.weight": ("a.b", 0.5),
        "a.b.bias": ("a.b.bias", 3.0),
        "a.b2.weight": ("a", 0.25),
        "a.b2.bias": ("a", 0.25),
        "c.weight": ("rest", 1.0),
        "c.bias": ("rest", 1.0),
    }


def test_a_longer_prefix_overrides_the_factor_of_the_encoder(model):
    found = settings(model, encoder_scale=0.1, scales={"encoder.stem": 0.01})
    for name, (*_, factor) in found.items():
        expected = 0.01 if name.startswith("encoder.stem.") else 0.1 if name.startswith("encoder.") else 1.0
        assert factor == expected


def test_a_step_of_sgd_equals_that_by_hand(model):
    found = settings(model, encoder_scale=0.5)
    before = {name: parameter.detach().double().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(groups_of(model, encoder_scale=0.5)).step()
    for name, parameter in model.named_parameters():
        rate, decay, *_ = found[name]
        by_hand = before[name] - rate * (1 + decay * before[name])
        torch.testing.assert_close(parameter.detach().double(), by_hand, rtol=0, atol=1e-6)


def test_a_scheduler_of_torch_keeps_the_ratios(model):
    optimizer = torch.optim.AdamW(groups_of(model, encoder_scale=0.5))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"encoder": 0.1 * 0.5 / 4, "rest": 0.1 / 4})
    assert {group["scale"] for group in optimizer.state_dict()["param_groups"]} == {0.5, 1.0}


def test_tied_parameters_are_in_one_group():
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    net["b"].weight = net["a"].weight
    params = [parameter for group in groups_of(net, scales={"b": 0.5}) for parameter in group["params"]]
    assert len(params) == len({id(parameter) for parameter in params}) == 3


def test_an_unknown_prefix_is_refused_with_similar_ones():
    model = pspunet(guided_upsample=True, attention="scse")
    with pytest.raises(ValueError, match=r"'decoder\.guided', .* Did you mean .*'decoder\.guided_upsample'"):
        groups_of(model, scales={"decoder.guided": 0.1})
    with pytest.raises(ValueError, match=r"The model has auxiliary, decoder, encoder, head\."):
        groups_of(model, scales={"zzz": 0.1})
    with pytest.raises(ValueError, match="no parameter has this prefix"):
        groups_of(model, scales={"": 0.1})


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_not_positive_is_refused(model, factor):
    with pytest.raises(ValueError, match=r"factor of 'head' must be a finite number above 0.*freeze a part"):
        groups_of(model, scales={"head": factor})
    with pytest.raises(ValueError, match=r"factor of 'encoder' must be"):
        groups_of(model, encoder_scale=factor)


def test_other_errors_name_the_next_step(model):
    with pytest.raises(ValueError, match="Linear has none: name its parts in scales"):
        groups_of(nn.Linear(1, 1), encoder_scale=0.1)
    with pytest.raises(ValueError, match=r"DataParallel has none: .* pass `\.module`"):
        groups_of(nn.DataParallel(model), encoder_scale=0.1)
    with pytest.raises(ValueError, match="scales has 'encoder' too: give one of them"):
        groups_of(model, encoder_scale=0.1, scales={"encoder": 0.2})
    freeze(model)
    with pytest.raises(ValueError, match="must have a parameter that requires a gradient, got none: unfreeze"):
        groups_of(model)
