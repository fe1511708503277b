"""The residual U-Net: published parameters, exact sizes, the scalar channel, training and exporting."""

import re

import _proofs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.data import synthetic_tiles
from saltzoo.models import ResUnetOptions
from saltzoo.models.resunet import PreActUpBlock

PUBLISHED = 5_112_497
"""Trainable parameters that Keras counts for the kernels' network."""


def narrow(**options):
    torch.manual_seed(0)
    return ResUnetOptions(**{"base_channels": 4, **options}).build()


@pytest.fixture(scope="module")
def net():
    return _proofs.randomise_batch_norms(narrow()).eval()


@pytest.fixture(scope="module")
def deep():
    """A net with each image's depth in its last channel."""
    return _proofs.randomise_batch_norms(narrow(in_chans=2, scalar_channel="bottleneck")).eval()


def count(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_has_as_many_parameters_as_published():
    def parameters(**options):
        with torch.device("meta"):
            return count(ResUnetOptions(**options).build())

    assert parameters() == PUBLISHED
    # A scalar is one more channel of the 3x3 convolution to 256 channels, another channel one more of the first.
    assert parameters(in_chans=2, scalar_channel="bottleneck") == PUBLISHED + 9 * 256
    assert parameters(in_chans=2) == PUBLISHED + 9 * 16
    assert parameters(num_classes=3) == PUBLISHED + 2 * (16 + 1)


def rates(model):
    return [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]


def test_drops_a_quarter_at_first_and_a_half_after():
    assert rates(ResUnetOptions().build()) == [0.25, 0.5, 0.5, 0.5] + [0.5] * 4
    assert rates(narrow(drop_rate=0.0)) == [0.0] * 8


@torch.no_grad()
def test_every_dropout_works_in_training_and_none_in_evaluation(net):
    x = torch.randn(1, 1, 33, 33)
    want = net(x)
    drops = [module for module in net.modules() if isinstance(module, torch.nn.Dropout)]
    for drop in drops:
        drop.train()
        assert not torch.equal(net(x), want)
        drop.eval()
    assert torch.equal(net(x), want)


def test_sizes_are_those_of_the_kernels_at_101(net):
    features = net.encoder(torch.randn(1, 1, 101, 101))
    assert [tuple(f.shape[1:]) for f in features] == [
        (4, 101, 101),
        (8, 50, 50),
        (16, 25, 25),
        (32, 12, 12),
        (64, 6, 6),
    ]
    maps = net.decoder(features, (101, 101))
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 12, 12), (16, 25, 25), (8, 50, 50), (4, 101, 101)]
    assert (net.decoder.channels, net.decoder.reduction) == ((32, 16, 8, 4), 1)


def scattered(x, deconv, size):
    """A transposed convolution by its definition: every pixel adds its 3x3 stamp, cropped to the map."""
    y = deconv.bias[:, None, None].expand(len(x), -1, size[0] + 3, size[1] + 3).clone()
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            stamp = torch.einsum("nc,cokl->nokl", x[:, :, i, j], deconv.weight)
            y[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += stamp
    return y[..., : size[0], : size[1]]


@pytest.mark.parametrize("size", [(6, 6), (7, 7), (6, 7), (7, 6)])
@torch.no_grad()
def test_deconvolution_reaches_the_skip_exactly(size):
    block = PreActUpBlock(2, 3, 4).double().eval()
    x, skip = torch.randn(2, 2, 3, 3, dtype=torch.float64), torch.randn(2, 3, *size, dtype=torch.float64)
    seen = []
    block.stage.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    block(x, skip, skip.shape[-2:])
    torch.testing.assert_close(seen[0], torch.cat([scattered(x, block.upsample, size), skip], dim=1))


@torch.no_grad()
def test_deconvolution_agrees_with_the_output_size_that_torch_can_reach():
    """With a padding of 1, torch's output_size makes 2h - 1 or 2h of h rows: the same map, shifted by a pixel."""
    block = PreActUpBlock(2, 0, 4).eval()
    x = torch.randn(1, 2, 5, 4)
    torchs = torch.nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1)
    torchs.load_state_dict(block.upsample.state_dict())
    want = torchs(x, output_size=(10, 8))
    seen = []
    block.stage.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    block(x, None, (11, 9))
    torch.testing.assert_close(seen[0][..., 1:, 1:], want)


@pytest.mark.parametrize("size", [(32, 32), (101, 101), (97, 131), (33, 64)])
@torch.no_grad()
def test_logits_have_the_size_of_the_image(size):
    y = narrow(num_classes=2, in_chans=3).eval()(torch.randn(2, 3, *size))
    assert y.shape == (2, 2, *size)
    assert y.isfinite().all()


@given(st.integers(32, 140), st.integers(32, 140))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_any_size_from_32(deep, height, width):
    assert deep(torch.randn(1, 2, height, width)).shape == (1, 1, height, width)


@torch.no_grad()
def test_the_scalar_is_a_plane_at_the_coarsest_size_and_nowhere_else(deep):
    image, depth = torch.randn(2, 1, 101, 101), torch.tensor([0.25, -2.0])
    x = torch.cat([image, depth.view(2, 1, 1, 1).expand_as(image)], dim=1)
    seen = {}
    for index, stage in enumerate(deep.encoder.stages):
        stage.register_forward_pre_hook(lambda _module, args, index=index: seen.update({index: args[0]}))
    deep.encoder(x)
    assert torch.equal(seen[0], image)
    assert [seen[i].shape[1] for i in range(5)] == [1, 4, 8, 16, 32 + 1]
    torch.testing.assert_close(seen[4][:, -1], depth.view(2, 1, 1).expand(2, 6, 6))


@torch.no_grad()
def test_depth_changes_the_mask_and_where_it_lies_in_the_plane_does_not(deep):
    image = torch.randn(1, 1, 64, 64)
    near, far = (torch.full_like(image, value) for value in (0.0, 1.0))
    uneven = torch.zeros_like(image)
    uneven[..., :32, :] = 2.0
    masks = [deep(torch.cat([image, plane], dim=1)) for plane in (near, far, uneven)]
    assert not torch.allclose(masks[0], masks[1], atol=1e-3)
    torch.testing.assert_close(masks[1], masks[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("options", [{}, {"in_chans": 2}, {"in_chans": 2, "scalar_channel": "bottleneck"}])
def test_every_parameter_learns_at_101(options, batch):
    model = narrow(num_classes=2, **options)
    x = torch.randn(batch, options.get("in_chans", 1), 101, 101)
    model(x).square().mean().backward()
    _proofs.gradients_are_finite(model)
    assert [n for n, p in model.named_parameters() if not p.grad.any()] == []


def test_tiles_of_a_batch_are_independent(deep):
    _proofs.images_are_independent(deep, torch.randn(3, 2, 65, 71), atol=1e-4)


def test_bf16_autocast_is_finite_and_near(deep):
    _proofs.is_near_in_bf16(deep, torch.randn(2, 2, 101, 101))


def test_trains_under_bf16_autocast():
    _proofs.trains_in_bf16(narrow(in_chans=2, scalar_channel="bottleneck"), torch.randn(2, 2, 65, 64))


@pytest.mark.parametrize("scalar_channel", ["none", "bottleneck"])
def test_channels_last_stays_and_gives_the_same(scalar_channel):
    model = _proofs.randomise_batch_norms(narrow(in_chans=3, scalar_channel=scalar_channel, base_channels=8)).eval()
    _proofs.stays_channels_last(model, torch.randn(2, 3, 97, 101), atol=1e-4)


@pytest.mark.slow
def test_compiles_with_free_sizes(deep):
    _proofs.compiles(deep, ((2, 2, 64, 96), (3, 2, 101, 101)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net", "deep"])
def test_is_exported_with_free_sizes(name, request):
    model = request.getfixturevalue(name)
    shapes = [(n, model.in_chans, *size) for n, *size in ((1, 33, 34), (3, 64, 97), (2, 101, 101), (1, 32, 128))]
    _proofs.program_agrees(_proofs.exported(model, 32), model, shapes)


@pytest.mark.slow
def test_onnx_agrees(deep, tmp_path):
    shapes = ((1, 2, 64, 97), (3, 2, 101, 101), (2, 2, 128, 64))
    _proofs.onnx_agrees(_proofs.exported(deep, 32), deep, shapes, tmp_path, atol=1e-3)


@pytest.mark.slow
def test_overfits_one_batch():
    torch.manual_seed(0)
    model = ResUnetOptions(drop_rate=0.0).build()
    _proofs.overfits_one_batch(
        model, _proofs.batch_of(synthetic_tiles(4, seed=3), model, slice(18, 82)), steps=80, lr=2e-3
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scalar_channel": "input"}, "unknown scalar_channel 'input': choose one of 'none', 'bottleneck'"),
        (
            {"scalar_channel": "bottleneck"},
            "in_chans must be at least 2, got 1: give the scalar as a channel, or pass sc",
        ),
        ({"base_channels": 0}, "base_channels must be at least 1, got 0"),
        ({"drop_rate": 1.0}, "drop_rate must be at least 0 and below 1, got 1.0"),
    ],
)
def test_refuses_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ResUnetOptions(**options).build()
