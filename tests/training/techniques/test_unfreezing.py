"""Gradual unfreezing: the stages of every kind of encoder, and when each is trained."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo.heads import SegmentationHead
from saltzoo.models import FRRNOptions, PSPUNetOptions, ResUnetOptions, Segmenter
from saltzoo.models.saltnet import SaltnetOptions
from saltzoo.models.unet import PlainUnetOptions, UnetOptions
from saltzoo.training import GradualUnfreezing, freeze, keep_batch_norm_frozen, parameter_groups, unfreezing_stages

SMALL = {"decoder_channels": (4, 4, 4, 4, 4)}
MODELS = {
    "timm": lambda: UnetOptions(encoder="test_resnet", **SMALL).build(),
    "timm with attention": lambda: UnetOptions(encoder="test_resnet", attention="scse", **SMALL).build(),
    "timm, channels last": lambda: UnetOptions(encoder="test_convnext", **SMALL).build(),
    "timm, by hooks": lambda: UnetOptions(encoder="test_efficientnet", attention="bam", **SMALL).build(),
    "input skip": lambda: UnetOptions(encoder="test_resnet", input_skip=True, **SMALL).build(),
    "plain": lambda: PlainUnetOptions(channels=(3, 4, 5)).build(),
    "saltnet": lambda: SaltnetOptions(channels=(4, 6, 8), decoder_channels=(4, 4)).build(),
    "resunet": lambda: ResUnetOptions(base_channels=2).build(),
    "pspunet": lambda: PSPUNetOptions(attention="scse").build(),
    "frrn": lambda: FRRNOptions(base_channels=4, lane_channels=3).build(),
}
STAGES = {"timm, channels last": 4, "plain": 3, "saltnet": 3, "pspunet": 4, "frrn": 1}


def build(name):
    torch.manual_seed(0)
    return MODELS[name]()


def saltnet():
    return build("saltnet")


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def learning(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


# Stages


@pytest.mark.parametrize("name", MODELS)
def test_stages_hold_each_parameter_once(name):
    model = build(name)
    stages = unfreezing_stages(model)
    names = [one for stage in stages for one in stage]
    assert all(stages)
    assert len(stages) == STAGES.get(name, 5)
    assert len(names) == len(set(names))
    assert set(names) == {f"encoder.{one}" for one, _ in model.encoder.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_stage_holds_what_its_map_and_no_finer_map_depends_on(name):
    model = build(name)
    for parameter in model.parameters():  # gates and residuals that start at zero would hide a change
        parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()
    x = torch.randn(1, 1, 64, 64)
    maps = model.encoder(x)
    first = 1 if name == "input skip" else 0
    stages = unfreezing_stages(model)
    for position, stage in enumerate(stages):
        changed = copy.deepcopy(model)
        for one in stage:
            parameter = changed.get_parameter(one)
            parameter.add_(0.1 * torch.randn_like(parameter))
        alike = [torch.equal(a, b) for a, b in zip(maps, changed.encoder(x), strict=True)]
        here = first + position
        assert all(alike[:here])
        assert not any(alike[here:]), (name, position, alike)


def test_attention_belongs_to_the_stage_before_it():
    model = build("timm with attention")
    for position, stage in enumerate(unfreezing_stages(model)):
        attentions = {one.split(".")[2] for one in stage if one.startswith("encoder.attentions.")}
        assert attentions == {str(position)}


def test_finding_stages_does_not_change_the_model():
    model = saltnet().train()
    freeze(model.encoder.stem)
    keep_batch_norm_frozen(model.decoder)
    before, learns = copy.deepcopy(model.state_dict()), learning(model)
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    with torch.no_grad():
        assert len(unfreezing_stages(model)) == 3
    assert same(before, model.state_dict())
    assert learning(model) == learns
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_an_image_whose_coarsest_map_is_one_pixel_suffices():
    model = build("timm").train()
    assert unfreezing_stages(model, size=(32, 32)) == unfreezing_stages(model)


def test_models_without_an_encoder_are_refused():
    with pytest.raises(ValueError, match="must have an encoder with parameters, but Linear has none"):
        unfreezing_stages(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"DataParallel has none: pass `\.module`"):
        unfreezing_stages(nn.DataParallel(saltnet()))
    with pytest.raises(ValueError, match="Segmenter has none"):
        unfreezing_stages(Segmenter(nn.Identity(), nn.Identity(), SegmentationHead(1, 1)))


# Unfreezing


@pytest.mark.parametrize("name", ["timm", "saltnet", "frrn"])
def test_the_last_stage_learns_first_and_all_learn_at_the_end(name):
    model = build(name)
    stages = unfreezing_stages(model)[::-1]
    unfreezing = GradualUnfreezing(model, until=0.4)
    others = {one for one, _ in model.named_parameters() if not one.startswith("encoder.")}
    assert unfreezing.starts == pytest.approx([0.4 * (k + 1) / len(stages) for k in range(len(stages))])
    assert learning(model) == others
    for position, start in enumerate(unfreezing.starts):
        assert not unfreezing.update(start - 1e-9)
        assert unfreezing.update(start)
        assert not unfreezing.update(start + 1e-9)
        assert learning(model) == others.union(*stages[: position + 1])
    unfreezing.update(1.0)
    assert learning(model) == {one for one, _ in model.named_parameters()}


@settings(deadline=None, max_examples=10)
@given(st.floats(0, 0.99), st.lists(st.floats(0, 1), max_size=3))
def test_a_run_that_starts_in_the_middle_trains_the_same_stages(until, path):
    whole, resumed = (PlainUnetOptions(channels=(2, 2, 2)).build() for _ in range(2))
    walked = GradualUnfreezing(whole, until=until)
    for progress in path:
        walked.update(progress)
        GradualUnfreezing(resumed, until=until).update(progress)
        assert learning(whole) == learning(resumed)
    walked.update(until)
    assert len(learning(whole)) == len(list(whole.parameters()))


def test_until_0_trains_all_stages_from_the_start():
    model = saltnet()
    assert GradualUnfreezing(model, until=0.0).starts == (0.0, 0.0, 0.0)
    assert len(learning(model)) == len(list(model.parameters()))


def test_training_changes_exactly_the_unfrozen_stages():
    model = saltnet()
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=0.01, weight_decay=0.1))
    unfreezing = GradualUnfreezing(model, until=0.5)
    stages = unfreezing_stages(model)[::-1]
    for step in range(6):
        unfreezing.update(step / 6)
        learns = {one for one in learning(model) if one.startswith("encoder.")}
        # Three stages in the first half of six steps: one more is unfrozen at each step.
        assert learns == {one for stage in stages[:step] for one in stage}
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizer.zero_grad()
        model(torch.randn(2, 1, 40, 40)).square().sum().backward()
        optimizer.step()
        moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
        assert {one for one in moved if one.startswith("encoder.")} <= learns
        assert {one for one in learns if one.endswith("conv.weight")} <= moved
    assert len(learning(model)) == len(list(model.parameters()))


@pytest.mark.parametrize("until", [-0.1, 1.0, float("nan")])
def test_until_outside_0_to_1_is_refused(until):
    with pytest.raises(ValueError, match="until must be at least 0 and below 1, got"):
        GradualUnfreezing(saltnet(), until=until)
