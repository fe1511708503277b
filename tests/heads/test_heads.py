"""Heads: each against a transcription with loops, and memory layouts and gradients."""

import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from _proofs import randomise_batch_norms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo.heads import AuxiliaryHead, ClassificationHead, DeepSupervisionHead, HypercolumnHead, SegmentationHead

CHANNELS = (12, 8, 6)
SIZES = ((4, 5), (7, 9), (13, 17))


def randomised(module):
    torch.manual_seed(1)
    return randomise_batch_norms(module, 0.3).double().eval()


def decoder_maps(channels=CHANNELS, count=2):
    pairs = zip(channels, SIZES, strict=True)
    return [torch.randn(count, c, *size, dtype=torch.float64) for c, size in pairs]


def conv_norm_relu(x, block, padding):
    """A ConvNormAct in evaluation, in plain torch."""
    norm = block.norm
    y = F.conv2d(x, block.conv.weight, padding=padding)
    return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()


def by_hand(head, maps, size, image=None):
    """The hypercolumn of arXiv 1411.5752: maps resized to one size, concatenated, and a head on the columns."""
    columns = []
    for position, x in enumerate(maps):
        y = conv_norm_relu(x, head.reduce[position], 0) if len(list(head.reduce[position].children())) else x
        if y.shape[-2:] != maps[-1].shape[-2:]:
            y = F.interpolate(y, maps[-1].shape[-2:], mode="bilinear", align_corners=False)
        columns.append(y)
    if image is not None:
        column = torch.empty(len(image), 1, *maps[-1].shape[-2:], dtype=maps[-1].dtype)
        for n, i, j in itertools.product(*(range(s) for s in (len(image), *maps[-1].shape[-2:]))):
            column[n, 0, i, j] = image[n, 0]
        columns.append(column)
    read = head.classify.conv
    logits = F.conv2d(conv_norm_relu(torch.cat(columns, 1), head.mix, 1), read.weight, read.bias)
    return shuffled(logits, head.classify.scale)[..., : size[0], : size[1]]


def shuffled(x, scale):
    """N K*r*r h w -> N K hr wr, a pixel at a time: arXiv 1609.05158, equation 4, in torch's order of channels."""
    y = torch.empty(len(x), x.shape[1] // scale**2, x.shape[2] * scale, x.shape[3] * scale, dtype=x.dtype)
    for k, i, j in itertools.product(*(range(s) for s in y.shape[1:])):
        y[:, k, i, j] = x[:, k * scale**2 + (i % scale) * scale + j % scale, i // scale, j // scale]
    return y


@pytest.mark.parametrize("reduced", [None, 4])
@pytest.mark.parametrize("reads_image", [False, True])
@pytest.mark.parametrize(("scale", "size"), [(1, (13, 17)), (2, (25, 34))])
def test_hypercolumn_is_every_map_at_one_size(reduced, reads_image, scale, size):
    head = randomised(HypercolumnHead(CHANNELS, 3, reduced=reduced, hidden=7, reads_image=reads_image, scale=scale))
    maps, image = decoder_maps(), torch.randn(2, 1, dtype=torch.float64)
    before = [x.clone() for x in maps]
    got = head(maps, size, image)
    assert got.shape == (2, 3, *size)
    torch.testing.assert_close(got, by_hand(head, maps, size, image if reads_image else None), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))
    assert got.std() > 0.01


def test_a_map_may_be_narrowed_before_it_grows():
    """A 1x1 convolution and a bilinear average commute, and ReLU and norm do where all is positive and plain."""
    head = HypercolumnHead(CHANNELS, 1, reduced=4).double().eval()
    with torch.no_grad():
        for block in head.reduce:
            block.conv.weight.abs_()
            block.norm.eps = 0.0
    maps = [x.abs() for x in decoder_maps()]
    large = [F.interpolate(x, SIZES[-1], mode="bilinear", align_corners=False) for x in maps]
    torch.testing.assert_close(head(maps, SIZES[-1]), head(large, SIZES[-1]), rtol=1e-10, atol=1e-10)
    late = torch.cat([F.conv2d(x, block.conv.weight) for x, block in zip(large, head.reduce, strict=True)], 1)
    torch.testing.assert_close(head(maps, SIZES[-1]), head.classify([head.mix(late)], SIZES[-1]), rtol=1e-9, atol=1e-9)


def test_every_map_and_the_image_affect_every_pixel():
    head = randomised(HypercolumnHead(CHANNELS, 1, reduced=4, reads_image=True))
    with torch.no_grad():
        head.mix.norm.bias.fill_(50.0)  # inputs of the ReLUs are positive
    maps = [x.requires_grad_() for x in decoder_maps(count=1)]
    image = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    head(maps, SIZES[-1], image).sum().backward()
    for x in (*maps, image):
        assert x.grad.any()
    with torch.no_grad():
        logits = head(maps, SIZES[-1], image)
        other = head(maps, SIZES[-1], image + 1)
        # Far from the border a constant channel adds the same everywhere.
        change = (other - logits)[..., 1:-1, 1:-1]
        assert (change.abs() > 1e-6).all()
        torch.testing.assert_close(change, change[..., :1, :1].expand_as(change))
        # Images of a batch do not see the logits of others.
        maps2 = [x.repeat(2, 1, 1, 1) for x in maps]
        pair = head(maps2, SIZES[-1], torch.tensor([[0.0], [1.0]], dtype=torch.float64))
        torch.testing.assert_close(pair, torch.cat([logits, other]))


def test_hypercolumn_refuses_what_does_not_fit():
    head = HypercolumnHead(CHANNELS, 1, reads_image=True).double()
    with pytest.raises(ValueError, match=re.escape("built with reads_image=True: give it the image's logit, N 1")):
        head(decoder_maps(), SIZES[-1])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        HypercolumnHead(CHANNELS, 1).double()(decoder_maps()[:2], SIZES[-1])


def test_which_heads_read_the_image():
    assert [SegmentationHead(4, 1).reads_image, HypercolumnHead((4,), 1).reads_image] == [False, False]
    assert HypercolumnHead((4,), 1, reads_image=True).reads_image is True


@pytest.mark.parametrize("reduced", [None, 5])
@pytest.mark.parametrize("reads_image", [False, True])
def test_hypercolumn_counts_its_parameters(reduced, reads_image):
    head = HypercolumnHead(CHANNELS, 3, reduced=reduced, hidden=7, reads_image=reads_image, scale=2)
    want = sum(c * reduced + 2 * reduced for c in CHANNELS) if reduced else 0  # 1x1 and a norm each
    column = (3 * reduced if reduced else sum(CHANNELS)) + reads_image
    want += 9 * column * 7 + 2 * 7 + (7 + 1) * 3 * 4
    assert sum(p.numel() for p in head.parameters()) == want


@pytest.mark.parametrize("reduced", [None, 4])
def test_the_column_stays_in_channels_last(reduced):
    head = HypercolumnHead(CHANNELS, 1, reduced=reduced, reads_image=True).to(memory_format=torch.channels_last).eval()
    maps = [x.float().to(memory_format=torch.channels_last) for x in decoder_maps()]
    inside = []
    head.mix.register_forward_pre_hook(lambda _module, args: inside.append(args[0]))
    image = torch.randn(2, 1)
    y = head(maps, SIZES[-1], image)
    assert inside[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, head([x.contiguous() for x in maps], SIZES[-1], image))


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_segmentation_head_sets_pixels_beside_each_other(h, w, scale, classes, off_bottom, off_right):
    head = SegmentationHead(5, classes, scale=scale).double()
    size = (h * scale - min(off_bottom, scale - 1), w * scale - min(off_right, scale - 1))
    x = torch.randn(2, 5, h, w, dtype=torch.float64)
    want = shuffled(F.conv2d(x, head.conv.weight, head.conv.bias, padding=1), scale)[..., : size[0], : size[1]]
    got = head([torch.full((2, 9, 1, 1), torch.nan), x], size)  # only the last map is read
    assert got.shape == (2, classes, *size)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_every_logit_sends_its_gradient_back():
    head = SegmentationHead(3, 1, kernel_size=1, scale=2).double()
    x = torch.randn(1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: head([x], (5, 5)), x)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_segmentation_head_keeps_the_size(kernel_size):
    assert SegmentationHead(4, 2, kernel_size=kernel_size)([torch.randn(1, 4, 9, 11)], (9, 11)).shape == (1, 2, 9, 11)
    with pytest.raises(ValueError, match=f"kernel_size must be odd, so that H and W are kept, got {kernel_size + 1}"):
        SegmentationHead(4, 2, kernel_size=kernel_size + 1)


def test_dropout_is_of_whole_channels_and_of_training():
    head = SegmentationHead(64, 1, kernel_size=1, drop_rate=0.5)
    x = torch.ones(4, 64, 3, 3)
    dropped = head.dropout(x)
    assert {float(v) for v in dropped.unique()} == {0.0, 2.0}
    assert torch.equal(dropped, dropped[..., :1, :1].expand_as(dropped))
    assert not torch.equal(head([x], (3, 3)), head([x], (3, 3)))
    assert torch.equal(head.eval()([x], (3, 3)), head([x], (3, 3)))
    assert not [m for m in SegmentationHead(4, 1).modules() if isinstance(m, nn.Dropout2d)]


def test_deep_supervision_reads_each_map_by_a_1x1():
    head = DeepSupervisionHead(CHANNELS, 3).double()
    maps = decoder_maps()
    got = head(maps)
    assert isinstance(got, tuple)
    for y, x, conv in zip(got, maps, head.heads, strict=True):
        want = torch.einsum("kc,nchw->nkhw", conv.weight[:, :, 0, 0], x) + conv.bias[None, :, None, None]
        torch.testing.assert_close(y, want, rtol=1e-10, atol=1e-10)
    assert sum(p.numel() for p in head.parameters()) == sum(3 * (c + 1) for c in CHANNELS)


def test_deep_supervision_with_a_hidden_layer():
    head = randomised(DeepSupervisionHead(CHANNELS, 2, hidden=5))
    maps = decoder_maps()
    for y, x, (first, _, norm, conv) in zip(head(maps), maps, head.heads, strict=True):
        y1 = F.conv2d(x, first.weight, first.bias, padding=1).clamp(min=0)
        y2 = F.batch_norm(y1, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        want = F.conv2d(y2, conv.weight, conv.bias, padding=1)
        torch.testing.assert_close(y, want, rtol=1e-10, atol=1e-10)
        assert y.shape == (2, 2, *x.shape[-2:])
    assert sum(p.numel() for p in head.parameters()) == sum(9 * c * 5 + 5 + 10 + 9 * 5 * 2 + 2 for c in CHANNELS)


def test_deep_supervision_refuses_another_number_of_maps():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        DeepSupervisionHead(CHANNELS, 1).double()(decoder_maps()[:2])


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_auxiliary_reads_one_stage(stage):
    head = randomised(AuxiliaryHead(CHANNELS[stage], 2, stage=stage, hidden=5))
    maps = decoder_maps()
    want = F.conv2d(conv_norm_relu(maps[stage], head.mix, 1), head.classify.weight, head.classify.bias)
    torch.testing.assert_close(head(maps), want, rtol=1e-10, atol=1e-10)
    assert head.train().dropout.p == 0.1
    assert not torch.equal(head(maps), head(maps))  # its dropout
    without = AuxiliaryHead(8, 2, stage=0, drop_rate=0.0)
    assert torch.equal(without([x := torch.randn(2, 8, 4, 4)]), without([x]))


def test_classification_is_a_line_through_the_average():
    head = ClassificationHead(6).double()
    x = torch.randn(3, 6, 4, 5, dtype=torch.float64)
    want = x.sum((2, 3)) / 20 @ head.linear.weight.T + head.linear.bias
    got = head(x)
    assert got.shape == (3, 1)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(head(x.flip(2, 3)), want, rtol=1e-12, atol=1e-12)  # it sees no place


def test_classification_drops_in_training_only():
    head = ClassificationHead(64, drop_rate=0.5)
    x = torch.randn(1, 64, 3, 3)
    assert len({head(x).item() for _ in range(8)}) > 1
    head.eval()
    assert len({head(x).item() for _ in range(8)}) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_all_parameters_learn_from_a_small_batch(count):
    maps, size = [x.float() for x in decoder_maps(count=count)], SIZES[-1]
    image = ClassificationHead(CHANNELS[0])
    heads = nn.ModuleList(
        [
            image,
            HypercolumnHead(CHANNELS, 2, reduced=4, reads_image=True),
            SegmentationHead(CHANNELS[-1], 2),
            DeepSupervisionHead(CHANNELS, 2, hidden=3),
            AuxiliaryHead(CHANNELS[1], 2, stage=1),
        ]
    )
    logit = heads[0](maps[0])
    outputs = [heads[1](maps, size, logit), heads[2](maps, size), *heads[3](maps), heads[4](maps)]
    sum(y.square().mean() for y in outputs).backward()
    assert [name for name, p in heads.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.slow
def test_compiles_with_free_sizes():
    class All(nn.Module):
        def __init__(self):
            super().__init__()
            self.image = ClassificationHead(CHANNELS[0])
            self.mask = HypercolumnHead(CHANNELS, 1, reduced=4, reads_image=True, scale=2)
            self.maps = DeepSupervisionHead(CHANNELS, 1)

        def forward(self, *maps):
            size = (2 * maps[-1].shape[-2] - 1, 2 * maps[-1].shape[-1])
            return self.mask(maps, size, self.image(maps[0])), self.maps(maps)

    torch._dynamo.reset()
    model = randomised(All())
    fast = torch.compile(model, fullgraph=True, dynamic=True, backend="eager")
    for count, grow in ((2, 0), (3, 4)):
        maps = [
            torch.randn(count, c, h + grow, w, dtype=torch.float64) for c, (h, w) in zip(CHANNELS, SIZES, strict=True)
        ]
        torch.testing.assert_close(fast(*maps), model(*maps))
