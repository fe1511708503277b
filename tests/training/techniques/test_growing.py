"""Growing: all tensors are accounted for, additions and wider layers keep the function, the rest does not change."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo.layers import SCSE, GuidedUpsample
from saltzoo.models.pspunet import pspunet
from saltzoo.models.saltnet import SaltnetOptions
from saltzoo.models.unet import UnetOptions
from saltzoo.training import Growth, grow

SMALL = {"encoder": "test_resnet", "decoder_channels": (4, 4, 4, 4, 4)}


def trained(model, seed=1):
    """Return the model with random changes of its weights and statistics, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if name.endswith("running_var") else tensor + 0.2 * (noise - 0.5))
    return model


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model, before):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def assert_same_logits(larger, smaller, x, **tolerance):
    for first, second in ((larger.eval(), smaller.eval()), (larger.train(), smaller.train())):
        torch.testing.assert_close(first(x), second(x), **tolerance)


def assert_complete(growth, larger, smaller):
    names = [*growth.copied, *growth.widened]
    assert sorted([*names, *growth.new]) == sorted(larger.state_dict())
    assert sorted([*names, *growth.dropped]) == sorted(smaller.state_dict())


# New parts


def test_a_network_of_the_same_shape_is_copied():
    smaller, model = (SaltnetOptions(channels=(4, 6, 8), decoder_channels=(4, 4)).build() for _ in range(2))
    trained(smaller)(torch.rand(2, 1, 32, 32))  # so that norms have counted a batch
    growth = grow(model, smaller)
    assert growth == Growth(tuple(smaller.state_dict()), (), (), ())
    assert_unchanged(model, smaller.state_dict())
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(model.parameters(), smaller.parameters(), strict=True))


def test_attention_that_starts_as_the_identity_keeps_the_function():
    smaller = trained(UnetOptions(**SMALL).build())
    model = UnetOptions(attention="scse", **SMALL).build()
    growth = grow(model, smaller)
    assert_complete(growth, model, smaller)
    assert growth.widened == ()
    assert growth.new
    assert all("attention" in name for name in growth.new)
    assert_same_logits(model, smaller, torch.randn(2, 1, 64, 64), rtol=1e-4, atol=1e-5)


def test_new_guided_upsampling_keeps_the_function_and_learns():
    torch.manual_seed(0)
    smaller = trained(pspunet(attention="scse", auxiliary=False, drop_rate=0.0))
    model = pspunet(attention="scse", auxiliary=False, drop_rate=0.0, guided_upsample=True, guide_channels=8)
    growth = grow(model, smaller)
    assert_complete(growth, model, smaller)
    assert all(name.startswith("decoder.guided_upsample.") for name in growth.new)
    x = torch.randn(2, 1, 32, 32)
    assert_same_logits(model, smaller, x, rtol=1e-4, atol=1e-4)
    model(x).square().sum().backward()
    guided = model.decoder.guided_upsample
    assert guided.project.norm.weight.grad.abs().sum() > 0
    with torch.no_grad():
        guided.project.norm.weight.add_(0.1)
    model.zero_grad()
    model(x).square().sum().backward()
    assert guided.offsets[-1].norm.bias.grad.abs().sum() > 0


def test_copied_guided_upsampling_is_not_set_to_zero():
    smaller = trained(GuidedUpsample(8, 4, out_channels=3))
    model = nn.ModuleDict({"up": GuidedUpsample(8, 4, out_channels=3)})
    grow(model, {f"up.{name}": tensor for name, tensor in smaller.state_dict().items()})
    assert torch.equal(model["up"].project.norm.weight, smaller.project.norm.weight)


# Wider layers


def chain(widths):
    one, two, three, four = widths
    torch.manual_seed(sum(widths))
    return nn.Sequential(
        nn.Conv2d(1, one, 3),
        nn.BatchNorm2d(one),
        nn.ReLU(),
        SCSE(one),
        nn.Conv2d(one, two, 1, bias=False),
        nn.ConvTranspose2d(two, three, 2, stride=2),
        nn.Sequential(nn.Conv2d(three, four, 3, padding=1), nn.BatchNorm2d(four), nn.LeakyReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(four, 2),
    )


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 5), min_size=4, max_size=4), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_a_wider_chain_computes_the_same(widths, more):
    smaller = trained(chain(widths))
    model = trained(chain([width + extra for width, extra in zip(widths, more, strict=True)]), seed=2)
    growth = grow(model, smaller)
    assert_complete(growth, model, smaller)
    assert_same_logits(model, smaller, torch.randn(3, 1, 7, 7), rtol=1e-4, atol=1e-5)
    assert bool(growth.widened) == any(more)


@pytest.mark.parametrize(("transposed", "outputs", "inputs"), [(False, 0, 1), (True, 1, 0)])
def test_each_value_of_a_wider_filter(transposed, outputs, inputs):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    smaller, model = kind(2, 3, 2), kind(4, 5, 2)
    before = snapshot(model)
    assert grow(model, smaller) == Growth((), ("weight", "bias"), (), ())
    for place in torch.cartesian_prod(*map(torch.arange, model.weight.shape)).tolist():
        old_output, old_input = place[outputs] < 3, place[inputs] < 2
        value = model.weight[tuple(place)]
        if old_output and old_input:
            assert value == smaller.weight[tuple(place)]
        elif old_output:
            assert value == 0
        else:
            assert value == before["weight"][tuple(place)]
    assert torch.equal(model.bias, torch.cat([smaller.bias, before["bias"][3:]]))


def test_added_channels_learn():
    smaller, model = chain([2, 2, 2, 2]), chain([4, 4, 4, 4])
    grow(model, smaller)
    model(torch.randn(3, 1, 7, 7)).square().sum().backward()
    assert (model[4].weight.grad[:2, 2:] != 0).any()
    assert (model[9].weight.grad[:, 2:] != 0).any()


def test_a_wider_zoo_model_starts_from_a_smaller_one():
    smaller = trained(SaltnetOptions(channels=(4, 6, 8), decoder_channels=(4, 4)).build())
    model = SaltnetOptions(channels=(6, 8, 12), decoder_channels=(6, 4)).build()
    growth = grow(model, smaller)
    assert_complete(growth, model, smaller)
    assert growth.new == ()
    x = torch.randn(2, 1, 40, 40)
    for wide, narrow in zip(model.eval().encoder(x), smaller.eval().encoder(x), strict=True):
        torch.testing.assert_close(wide[:, : narrow.shape[1]], narrow, rtol=1e-4, atol=1e-5)


# State dicts, and tensors that do not fit


def test_a_state_dict_in_half_precision_is_converted():
    smaller = trained(chain([2, 2, 2, 2]))
    model = chain([2, 2, 2, 2])
    grow(model, {name: tensor.half() for name, tensor in smaller.state_dict().items()})
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == smaller.state_dict()[name].dtype
        torch.testing.assert_close(tensor, smaller.state_dict()[name], rtol=1e-3, atol=1e-3)


def test_tensors_are_left_out_by_prefix():
    smaller = pspunet()
    model = pspunet(auxiliary=False)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"tensors of the smaller network do not fit.*drop=\('auxiliary',\)"):
        grow(model, smaller)
    assert_unchanged(model, before)
    growth = grow(model, smaller, drop=("auxiliary", "zzz"))
    assert_complete(growth, model, smaller)
    assert set(growth.dropped) == {name for name in smaller.state_dict() if name.startswith("auxiliary.")}


def test_a_prefix_ends_at_a_dot():
    with pytest.raises(ValueError, match=r"1 tensors.*head2\.weight \(no such name\)"):
        grow(nn.Linear(1, 1), {"head2.weight": torch.zeros(1, 1)}, drop=("head",))


@pytest.mark.parametrize(
    ("smaller", "shapes"),
    [
        (nn.Conv2d(2, 3, 3, bias=False), r"weight \(\(3, 2, 3, 3\) into \(4, 4, 1, 1\)\)"),
        (nn.Conv2d(5, 3, 1, bias=False), r"weight \(\(3, 5, 1, 1\) into \(4, 4, 1, 1\)\)"),
        (nn.Conv2d(2, 5, 1, bias=False), r"weight \(\(5, 2, 1, 1\) into \(4, 4, 1, 1\)\)"),
        (nn.Linear(2, 3, bias=False), r"weight \(\(3, 2\) into \(4, 4, 1, 1\)\)"),
        (nn.Conv2d(2, 3, 1), r"bias \(no such name\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_nothing_is_written(smaller, shapes):
    model = nn.Conv2d(4, 4, 1, bias=False)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=shapes):
        grow(model, smaller)
    assert_unchanged(model, before)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 1, 1), (2, 2, 3, 1)])
def test_smaller_filters_and_fewer_axes_are_refused(shape):
    with pytest.raises(ValueError, match=r"into \(4, 4, 3, 3\)"):
        grow(nn.Conv2d(4, 4, 3, bias=False), {"weight": torch.ones(shape)})
    with pytest.raises(ValueError, match=r"\(3,\) into \(4, 4\)"):
        grow(nn.Linear(4, 4, bias=False), {"weight": torch.ones(3)})


def test_the_error_names_at_most_five_tensors():
    smaller = nn.Sequential(*(nn.Linear(1, 1) for _ in range(4)))
    with pytest.raises(ValueError, match=r"^8 tensors .*2\.weight \(no such name\) and 3 more"):
        grow(nn.Conv2d(1, 1, 1), smaller)
