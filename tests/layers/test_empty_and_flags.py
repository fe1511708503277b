"""Batches without images through layers, decoders and heads, and options that must be True or False."""

import pytest
import torch
from test_transforms import PARTS, Call
from torch.utils._pytree import tree_leaves

from saltzoo import layers
from saltzoo.contracts import FeatureSpec
from saltzoo.decoders import UnetDecoder
from saltzoo.encoders.timm.vgg import VGG19Features
from saltzoo.heads import HypercolumnHead


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_batch_without_images_has_a_result_without_images(name, training, layout):
    build, call, shapes = PARTS[name]
    part = build().train(training)
    run = Call(part, call).call

    def maps(count):
        made = [torch.randn(count, *shape) for shape in shapes]
        return [one.contiguous(memory_format=layout) if one.ndim == 4 else one for one in made]

    empty = [one.requires_grad_() for one in maps(0)]
    before = {key: value.clone() for key, value in part.state_dict().items() if "num_batches" not in key}
    got = tree_leaves(run(part, *empty))
    assert all(torch.equal(part.state_dict()[key], value) for key, value in before.items())
    want = tree_leaves(run(part.eval(), *maps(2)))
    assert [one.shape for one in got] == [(0, *one.shape[1:]) for one in want]
    sum(one.sum() for one in got).backward()
    assert all(one.grad is not None and one.grad.shape == one.shape for one in empty)
    assert all(p.grad is None or not p.grad.any() for p in part.parameters())


FLAGS = {
    "norm": lambda flag: layers.SCSE(4, norm=flag),
    "radius": lambda flag: layers.CoordChannels(radius=flag),
    "act": lambda flag: layers.ConvNormAct(4, 4, act=flag),
    "projection": lambda flag: layers.DilatedBottleneck(4, 4, 4, projection=flag),
    "bias": lambda flag: layers.PreActResidual(4, bias=flag),
    "bias ": lambda flag: layers.PreActStage(4, 4, bias=flag),
    "reads_image": lambda flag: HypercolumnHead((4,), 1, reads_image=flag),
    "with_center": lambda flag: UnetDecoder(FeatureSpec((4,), (2,)), (4,), with_center=flag),
    "pretrained": lambda flag: VGG19Features(pretrained=flag),
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("flag", ["no", "False", "", 1, 0])
def test_a_flag_must_be_true_or_false(name, flag):
    with pytest.raises(TypeError, match=f"{name.strip()} must be True or False, got {flag!r}"):
        FLAGS[name](flag)
