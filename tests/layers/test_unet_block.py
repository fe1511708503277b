"""Decoder blocks of the U-Net against segmentation_models_pytorch and formulas, and their attention sites."""

import itertools
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from _proofs import randomise_batch_norms
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import nn

from saltzoo.layers import ATTENTIONS, HalfUnetBlock, UnetBlock

SITES = ("skip", "concat", "decoder")
SOME_SITES = [sites for count in range(4) for sites in itertools.combinations(SITES, count)]
BLOCKS = [
    *(partial(UnetBlock, upsample=mode) for mode in ("nearest", "bilinear", "deconv")),
    *(partial(HalfUnetBlock, upsample=mode) for mode in ("nearest", "bilinear", "deconv")),
]
NAMES = [f"{block.func.__name__}-{block.keywords['upsample']}" for block in BLOCKS]
every_block = pytest.mark.parametrize("block", BLOCKS, ids=NAMES)


def randomised(module):
    """The module with random norms, biases and gates."""
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1 or "attention" in name:
            nn.init.normal_(parameter, std=0.3)
    return randomise_batch_norms(module, 1.0)


def smp_twin(ours, in_channels, skip_channels, out_channels, attention):
    theirs = UnetDecoderBlock(in_channels, skip_channels, out_channels, attention_type=attention)
    pairs = [(theirs.conv1[0], ours.conv1.conv), (theirs.conv1[1], ours.conv1.norm)]
    pairs += [(theirs.conv2[0], ours.conv2.conv), (theirs.conv2[1], ours.conv2.norm)]
    if attention:
        sites = [(theirs.attention2, ours.attention)]
        if skip_channels:
            sites.append((theirs.attention1, ours.concat_attention))
        for a, b in sites:
            gates = a.attention
            pairs += [(gates.cSE[1], b.squeeze), (gates.cSE[3], b.excite), (gates.sSE[0], b.spatial)]
    assert sum(len(b.state_dict()) for _, b in pairs) == len(ours.state_dict())
    for target, source in pairs:
        own = target.state_dict()
        target.load_state_dict({k: v.reshape(own[k].shape) for k, v in source.state_dict().items()}, strict=True)
    return theirs


@pytest.mark.parametrize("attention", [None, "scse"])
@pytest.mark.parametrize("skip_channels", [6, 0])
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_segmentation_models_pytorch(attention, skip_channels, training):
    options = {"attention": attention or "none", "attention_sites": ("concat", "decoder"), "attention_reduction": 16}
    ours = randomised(UnetBlock(32, skip_channels, 17, **options))
    theirs = smp_twin(ours, 32, skip_channels, 17, attention).double().train(training)
    ours = ours.double().train(training)
    x = torch.randn(2, 32, 7, 5, dtype=torch.float64)
    skip = torch.randn(2, skip_channels, 13, 9, dtype=torch.float64) if skip_channels else None
    torch.testing.assert_close(ours(x, skip, (13, 9)), theirs(x, 13, 9, skip), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("skip_channels", [6, 0])
def test_deconv_and_bilinear_change_only_the_upsampling(skip_channels):
    x, skip = torch.randn(2, 8, 4, 5), torch.randn(2, skip_channels, 7, 9) if skip_channels else None
    deconv = randomised(UnetBlock(8, skip_channels, 10, upsample="deconv"))
    grown = F.conv_transpose2d(x, deconv.upsample.deconv.weight, deconv.upsample.deconv.bias, stride=2)
    assert deconv.conv1.conv.in_channels == 10 + skip_channels
    bilinear = randomised(UnetBlock(8, skip_channels, 10, upsample="bilinear"))
    for block, large in (
        (deconv, grown[..., [0, 1, 2, 3, 4, 5, 6], :]),
        (bilinear, F.interpolate(x, (7, 9), mode="bilinear")),
    ):
        large = F.interpolate(large, (7, 9))
        joined = large if skip is None else torch.cat([large, skip], 1)
        want = block.conv2(block.conv1(joined))
        torch.testing.assert_close(block(x, skip, (7, 9)), want)


@pytest.mark.parametrize("skip_channels", [6, 0])
@pytest.mark.parametrize("out_channels", [11, 2])
@pytest.mark.parametrize("training", [True, False])
def test_half_block_agrees_with_the_formula(skip_channels, out_channels, training):
    """Deconvolution to one half, 1x1 convolution of the skip to the other, concatenation, ReLU, batch norm."""
    block = randomised(HalfUnetBlock(8, skip_channels, out_channels)).double().train(training)
    weights = {name: value.clone() for name, value in block.state_dict().items()}
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    parts = [F.conv_transpose2d(x, weights["upsample.deconv.weight"], weights["upsample.deconv.bias"], stride=2)]
    skip = None
    if skip_channels:
        skip = torch.randn(2, skip_channels, 10, 12, dtype=torch.float64)
        kernel = weights["project_skip.weight"][:, :, 0, 0]
        parts.append(torch.einsum("oi,nihw->nohw", kernel, skip) + weights["project_skip.bias"][None, :, None, None])
        assert [part.shape[1] for part in parts] == [out_channels - out_channels // 2, out_channels // 2]
    joined = torch.cat(parts, 1).relu()
    mean, var = weights["norm.running_mean"], weights["norm.running_var"]
    if training:
        mean, var = joined.mean((0, 2, 3)), joined.var((0, 2, 3), unbiased=False)
    normal = (joined - mean[None, :, None, None]) / (var[None, :, None, None] + 1e-5).sqrt()
    want = normal * weights["norm.weight"][None, :, None, None] + weights["norm.bias"][None, :, None, None]
    torch.testing.assert_close(block(x, skip, (10, 12)), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_half_block_projects_before_it_upsamples(mode):
    block = randomised(HalfUnetBlock(8, 0, 10, upsample=mode)).eval()
    x = torch.randn(2, 8, 5, 6)
    # A 1x1 convolution with a bias and a weighted average commute.
    large = block.project(F.interpolate(x, (9, 11), mode=mode))
    torch.testing.assert_close(block(x, None, (9, 11)), block.norm(large.relu()), rtol=1e-4, atol=1e-5)


@every_block
def test_inputs_are_used_and_not_modified(block):
    module = block(8, 6, 10).eval()
    x, skip = torch.randn(1, 8, 4, 4), torch.randn(1, 6, 7, 7)
    before = x.clone(), skip.clone()
    y = module(x, skip, (7, 7))
    assert torch.equal(x, before[0])
    assert torch.equal(skip, before[1])
    for one, other in ((x + 1, skip), (x, skip + 1)):
        assert not torch.allclose(module(one, other, (7, 7)), y)


@every_block
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 13), st.integers(1, 13), st.booleans())
@settings(max_examples=5, deadline=None)
def test_upsamples_to_any_size(block, h, w, height, width, with_skip):
    module = block(3, 2 if with_skip else 0, 5).eval()
    y = module(torch.randn(1, 3, h, w), torch.randn(1, 2, height, width) if with_skip else None, (height, width))
    assert y.shape == (1, 5, height, width)


@pytest.mark.parametrize("block", [UnetBlock, HalfUnetBlock])
@pytest.mark.parametrize("attention", ["scse", "cbam"])
@pytest.mark.parametrize("sites", SOME_SITES, ids=lambda sites: "+".join(sites) or "none")
@pytest.mark.parametrize("skip_channels", [6, 0])
def test_attention_is_placed_at_the_sites_asked_for(block, attention, sites, skip_channels):
    module = block(8, skip_channels, 10, attention=attention, attention_sites=sites)
    half = isinstance(module, HalfUnetBlock)
    joined = 10 if half else module.conv1.conv.in_channels
    width = {"skip": skip_channels, "concat": joined, "decoder": 10}
    places = {"skip": module.skip_attention, "concat": module.concat_attention, "decoder": module.attention}
    seen = {}
    for site, place in places.items():
        place.register_forward_pre_hook(
            lambda _module, args, site=site: seen.setdefault(site, args[0].shape[1]) and None
        )
        here = site in sites and (skip_channels or site == "decoder")
        assert type(place) is (ATTENTIONS[attention] if here else nn.Identity)
    trained = [name for name, _ in module.named_parameters() if "attention" in name]
    x, skip = torch.randn(2, 8, 4, 4), torch.randn(2, skip_channels, 7, 7) if skip_channels else None
    module(x, skip, (7, 7)).square().mean().backward()
    assert seen == {site: width[site] for site in (SITES if skip_channels else ("decoder",))}
    assert [name for name in trained if module.get_parameter(name).grad is None] == []


@pytest.mark.parametrize("block", [UnetBlock, HalfUnetBlock])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_each_site_affects_the_output_and_gets_the_reduction(block, attention):
    x, skip = torch.randn(2, 8, 4, 4), torch.randn(2, 32, 7, 7)
    torch.manual_seed(0)
    plain = block(8, 32, 64).eval()
    for site, place in (("skip", "skip_attention"), ("concat", "concat_attention"), ("decoder", "attention")):
        narrow, wide = (
            block(8, 32, 64, attention=attention, attention_sites=(site,), attention_reduction=r).eval() for r in (8, 2)
        )
        assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters())
        missing, unknown = wide.load_state_dict(plain.state_dict(), strict=False)
        assert unknown == []
        assert missing
        assert {name.partition(".")[0] for name in missing} == {place}
        randomised(getattr(wide, place))
        assert not torch.allclose(wide(x, skip, (7, 7)), plain(x, skip, (7, 7)), rtol=1e-2, atol=1e-2)


@every_block
def test_keeps_channels_last_and_every_parameter_gets_a_gradient(block):
    module = block(8, 6, 10, attention="scse", attention_sites=SITES).to(memory_format=torch.channels_last)
    x, skip = (
        torch.randn(2, c, s, s).to(memory_format=torch.channels_last).requires_grad_() for c, s in ((8, 4), (6, 7))
    )
    y = module(x, skip, (7, 7))
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.square().mean().backward()
    bad = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert bad == []
    assert x.grad.any()
    assert skip.grad.any()


@pytest.mark.slow
@pytest.mark.parametrize("block", [UnetBlock, HalfUnetBlock])
@pytest.mark.parametrize("with_skip", [True, False])
def test_compiles_to_one_graph_with_free_sizes(block, with_skip):
    torch._dynamo.reset()
    module = randomised(block(8, 6 if with_skip else 0, 10, upsample="deconv")).eval()
    fast = torch.compile(module, fullgraph=True, dynamic=True, backend="eager")
    for n, h, w in ((2, 7, 9), (3, 11, 12)):
        skip = torch.randn(n, 6, h, w) if with_skip else None
        x = torch.randn(n, 8, (h + 1) // 2, (w + 1) // 2)
        torch.testing.assert_close(fast(x, skip, (h, w)), module(x, skip, (h, w)))


@pytest.mark.parametrize("block", [UnetBlock, HalfUnetBlock])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"upsample": "bicubic"}, "unknown upsample 'bicubic': choose one of 'nearest', 'bilinear', 'deconv'"),
        ({"attention": "sces"}, "unknown attention 'sces': choose one of 'none', 'se', 'scse'"),
        ({"attention": "se", "attention_reduction": 0}, "reduction must be at least 1"),
    ],
)
def test_invalid_options_raise(block, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        block(8, 6, 10, **options)


def test_half_block_with_one_channel_raises():
    with pytest.raises(ValueError, match=re.escape("out_channels must be at least 2, one for each half, got 1")):
        HalfUnetBlock(8, 6, 1)
