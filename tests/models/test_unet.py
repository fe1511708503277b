"""The U-Net: any size, training with every option, compiling and exporting."""

import itertools
import re

import _proofs
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo import create_model
from saltzoo.contracts import FeatureSpec
from saltzoo.data import synthetic_tiles
from saltzoo.decoders import UnetDecoder
from saltzoo.encoders import InputSkip, TimmEncoder
from saltzoo.layers import ATTENTIONS, HalfUnetBlock, PyramidPooling, ResidualUnetBlock, UnetBlock
from saltzoo.losses import DeepSupervisionLoss, bce_loss

SITES = ("encoder", "skip", "concat", "decoder")
SOME_SITES = [("encoder",), ("skip",), ("concat",), ("decoder",), ("encoder", "skip", "decoder"), SITES]
BLOCKS = {"concat": UnetBlock, "half": HalfUnetBlock, "residual": ResidualUnetBlock}
HEADS = [
    {"hypercolumn": hypercolumn, "deep_supervision": deep, "classifier": classifier}
    for hypercolumn, deep, classifier in itertools.product((False, True), (False, True), ("none", "beside", "fused"))
    if hypercolumn or classifier != "fused"
]


def tiny(**options):
    torch.manual_seed(0)
    return create_model("unet", **{"encoder": "test_resnet", **options})


@torch.no_grad()
def randomised(model):
    """Move gates away from one half, and norms away from their initial values."""
    for name, parameter in model.named_parameters():
        if "attention" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return _proofs.randomise_batch_norms(model)


def trains(model, x):
    target = torch.rand(len(x), *x.shape[-2:], generator=torch.Generator().manual_seed(0)) < 0.4
    DeepSupervisionLoss(bce_loss)(model(x), target).backward()
    _proofs.gradients_are_finite(model)
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def scse():
    return randomised(tiny(attention="scse", attention_sites=SITES)).eval()


@pytest.mark.parametrize(
    ("encoder", "size"),
    [("resnet18", (101, 101)), *(("test_resnet", size) for size in [(32, 32), (101, 101), (97, 131), (33, 64)])],
)
@torch.no_grad()
def test_logits_have_the_size_of_the_image(encoder, size):
    model = tiny(encoder=encoder, num_classes=2, in_chans=3, attention="scse").eval()
    y = model(torch.randn(2, 3, *size))
    assert y.shape == (2, 2, *size)
    assert y.isfinite().all()


@given(st.integers(32, 140), st.integers(32, 140))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_any_size_from_32(scse, height, width):
    y = scse(torch.randn(1, 1, height, width))
    assert y.shape == (1, 1, height, width)


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [
        ("convnext_atto", (64, 48, 32, 16, 8)),  # finest map at a quarter
        ("darknet17", (64, 48, 32, 16, 8)),  # six taps, the first at full size
        pytest.param("vgg11_bn", (64, 48, 32, 16, 8), marks=pytest.mark.slow),
        ("efficientvit_m0", (64, 48, 32, 16, 8, 4)),  # the finest at a sixteenth, the last at a 64th
        ("test_resnet", None),
    ],
)
def test_other_pyramids_train_at_101(encoder, channels):
    model = tiny(encoder=encoder, attention="scse", attention_sites=SITES, decoder_channels=channels)
    x = torch.randn(2, 1, 101, 101)
    trains(model, x)
    maps = model.decoder(model.encoder(x), x.shape[-2:])  # without a skip, sizes are halved and rounded up
    half = 50 if encoder == "vgg11_bn" else 51
    assert [tuple(m.shape[-2:]) for m in maps[-2:]] == [(half, half), (101, 101)]


def test_the_full_size_tap_is_a_skip():
    model = tiny(encoder="darknet17").eval()
    seen = []
    model.decoder.blocks[-1].register_forward_pre_hook(lambda _module, args: seen.append(args))
    model(torch.randn(1, 1, 64, 64))
    assert [tuple(seen[0][1].shape), seen[0][2]] == [(1, 32, 64, 64), (64, 64)]


PLACES = {
    "encoder": r"encoder\.attentions\.\d",
    "skip": r"decoder\.blocks\.\d\.skip_attention",
    "concat": r"decoder\.blocks\.\d\.concat_attention",
    "decoder": r"decoder\.blocks\.\d\.attention",
}
FULL = {"encoder": 5, "skip": 4, "concat": 4, "decoder": 5}  # the last block has no skip


def attentions_at(model, kind):
    found = [name for name, module in model.named_modules() if type(module) is kind]
    counted = {site: sum(bool(re.fullmatch(place, name)) for name in found) for site, place in PLACES.items()}
    assert sum(counted.values()) == len(found)
    return counted


@pytest.mark.parametrize("sites", SOME_SITES, ids="-".join)
@pytest.mark.parametrize("block", BLOCKS)
def test_attention_stands_at_every_site_that_was_asked_for(sites, block):
    with torch.device("meta"):
        model = tiny(attention="scse", attention_sites=sites, decoder_block=block)
    want = {site: FULL[site] * (site in sites) for site in SITES}
    assert attentions_at(model, ATTENTIONS["scse"]) == want


@pytest.mark.parametrize(
    ("attention", "block"),
    [("none", "concat"), *((name, "concat") for name in ATTENTIONS), ("scse", "half"), ("scse", "residual")],
)
def test_every_parameter_learns_with_every_attention_and_block(attention, block):
    sites = {} if attention == "none" else {"attention_sites": SITES}
    model = tiny(attention=attention, decoder_block=block, **sites)
    if attention != "none":
        assert attentions_at(model, ATTENTIONS[attention]) == FULL
    trains(model, torch.randn(2, 1, 64, 64))


@pytest.mark.parametrize("heads", HEADS, ids=lambda value: "-".join(str(v) for v in value.values()))
def test_every_parameter_learns_with_every_head(heads):
    trains(tiny(**heads), torch.randn(2, 1, 47, 64))


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_the_residual_decoder_drops_as_often_as_was_asked(rate):
    model = tiny(decoder_block="residual", drop_rate=rate)
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout | torch.nn.Dropout2d)]
    assert rates == ([rate] * (5 + 1) if rate else [])  # every block, and before the logits


def test_its_own_attention_is_after_every_stage_and_block():
    assert attentions_at(tiny(attention="se"), ATTENTIONS["se"]) == {"encoder": 5, "skip": 0, "concat": 0, "decoder": 5}


@pytest.mark.parametrize(("block", "upsample"), [("concat", "nearest"), ("half", "deconv"), ("residual", "deconv")])
def test_each_block_grows_in_its_own_way_or_in_another(block, upsample):
    for asked in (None, "nearest", "bilinear", "deconv"):
        with torch.device("meta"):
            blocks = tiny(decoder_block=block, upsample=asked).decoder.blocks
        assert {type(b) for b in blocks} == {BLOCKS[block]}
        assert {b.upsample.mode for b in blocks} == {asked or upsample}


@pytest.mark.parametrize("center", ["none", "conv", "pyramid"])
def test_what_stands_between_encoder_and_decoder(center):
    model = tiny(center=center)
    count = {"none": (0, 0), "conv": (2, 0), "pyramid": (5, 1)}[center]  # four bins, and a convolution to mix them
    inside = list(model.decoder.center.modules())
    assert sum(isinstance(m, torch.nn.Conv2d) and m.weight.requires_grad for m in inside) == count[0]
    assert sum(isinstance(m, PyramidPooling) for m in inside) == count[1]
    seen = []
    model.decoder.center.register_forward_hook(lambda _m, args, out: seen.append((args[0], out)))
    trains(model, torch.randn(2, 1, 64, 96))
    (deepest, centred), *_ = seen
    assert deepest.shape == centred.shape == (2, model.encoder.spec.channels[-1], 2, 3)
    assert (centred is deepest) == (center == "none")


def test_a_batch_of_one_trains_with_a_pyramid_of_a_single_pixel():
    trains(tiny(center="pyramid"), torch.randn(1, 1, 64, 64))


@torch.no_grad()
def test_a_decoder_returns_the_coarsest_map_as_its_first_block_gets_it():
    fine, coarse = torch.randn(1, 3, 8, 6), torch.randn(1, 4, 4, 3)
    center = torch.nn.Conv2d(4, 4, kernel_size=3, padding=1)
    decoder = UnetDecoder(FeatureSpec((3, 4), (1, 2)), (5,), center=center, with_center=True).eval()
    first, last = decoder([fine, coarse], (8, 6))
    assert torch.equal(first, center(coarse))
    assert torch.equal(last, decoder.blocks[0](first, fine, (8, 6)))
    assert decoder.channels == (4, 5)


@torch.no_grad()
def test_input_skip_joins_the_image_to_the_last_block():
    model = tiny(in_chans=2, input_skip=True).eval()
    plain = tiny(in_chans=2)
    assert isinstance(model.encoder, InputSkip)
    assert isinstance(plain.encoder, TimmEncoder)
    assert model.encoder.spec.channels == (2, *plain.encoder.spec.channels)
    assert model.encoder.spec.reductions == (1, 2, 4, 8, 16, 32)
    assert model.decoder.channels == plain.decoder.channels
    seen = []
    model.decoder.blocks[-1].register_forward_pre_hook(lambda _m, args: seen.append(args[1]))
    x = torch.randn(1, 2, 47, 64)
    model(x)
    assert torch.equal(seen[0], x)
    last = model.decoder.blocks[-1].conv1.conv.in_channels, plain.decoder.blocks[-1].conv1.conv.in_channels
    assert last[0] == last[1] + 2
    with pytest.raises(ValueError, match="the encoder already returns a map at full resolution"):
        tiny(encoder="darknet17", input_skip=True)


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [
        ("test_resnet", (256, 128, 64, 32, 16)),
        ("convnext_atto", (256, 128, 64, 32, 16)),
        ("efficientvit_m0", (256, 256, 128, 64, 32, 16)),
    ],
)
def test_the_decoder_narrows_by_half_at_each_step_up(encoder, channels):
    with torch.device("meta"):
        model = tiny(encoder=encoder)
    assert model.decoder.channels == channels
    assert model.decoder.reduction == 1
    assert model.config.model_args["decoder_channels"] is None


def test_every_parameter_gets_a_gradient_that_is_not_zero():
    model = randomised(tiny(attention="scse", attention_sites=SITES))
    for name, parameter in model.named_parameters():
        if "backbone" in name and parameter.ndim == 1 and not parameter.any():
            torch.nn.init.normal_(parameter)  # timm starts the last norm of a residual at zero
    gradients = trains(model, torch.randn(4, 1, 64, 64))
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


def test_a_batch_of_one_trains_at_101():
    trains(tiny(attention="scse", attention_sites=("concat", "decoder")), torch.randn(1, 1, 101, 101))


def test_tiles_of_a_batch_are_independent(scse):
    _proofs.images_are_independent(scse, torch.randn(3, 1, 65, 71))


def test_bf16_autocast_is_finite_and_near(scse):
    _proofs.is_near_in_bf16(scse, torch.randn(2, 1, 101, 101))


def test_channels_last_gives_the_same(scse):
    _proofs.stays_channels_last(scse, torch.randn(2, 1, 97, 101))


@pytest.mark.slow
def test_compiles_with_free_sizes():
    model = randomised(tiny(attention="scse", attention_sites=("decoder",))).eval()
    _proofs.compiles(model, ((2, 1, 64, 96), (3, 1, 101, 101)))


@pytest.fixture(scope="module")
def program():
    """An export with free batch and sizes. At 32 the coarsest map is one pixel, which is a constant to torch."""
    model = randomised(tiny(encoder="resnet18", attention="scse")).eval()
    return _proofs.exported(model), model


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 33, 33), (3, 1, 64, 97), (2, 1, 101, 101), (1, 1, 128, 34)])
def test_is_exported_with_free_sizes(program, shape):
    _proofs.program_agrees(*program, [shape])


@pytest.mark.slow
def test_onnx_agrees(program, tmp_path):
    _proofs.onnx_agrees(*program, ((1, 1, 64, 97), (3, 1, 101, 101), (2, 1, 128, 64)), tmp_path)


def test_has_as_many_parameters_as_published():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    with torch.device("meta"):
        assert count(create_model("unet_resnet34", in_chans=3)) == 24_436_369
        theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=1)
        assert count(create_model("unet_resnet34")) == count(theirs)


@pytest.mark.slow
def test_overfits_one_batch():
    torch.manual_seed(0)
    model = create_model("unet_resnet18", attention="scse")
    batch = _proofs.batch_of(synthetic_tiles(4, seed=3), model)
    _proofs.overfits_one_batch(model, batch, steps=60, lr=2e-3)


@pytest.mark.parametrize(
    ("encoder", "stride", "channels"),
    [
        ("resnet10t", 1, (64, 32, 16)),
        ("resnet10t", 2, (128, 64, 32, 16)),
        ("resnet10t", 4, (256, 128, 64, 32, 16)),
        ("convnext_atto", 2, (128, 64, 32, 16)),
    ],
)
def test_a_finer_stem_takes_fewer_steps_up(encoder, stride, channels):
    with torch.device("meta"):
        model = tiny(encoder=encoder, stem_stride=stride)
        assert model.decoder.channels == channels
        assert model.decoder.reduction == 1
        assert model.encoder.spec.coarsest == 8 * stride
        assert model(torch.empty(2, 1, 101, 97)).shape == (2, 1, 101, 97)
    if stride == 1:
        with pytest.raises(ValueError, match="input_skip must be False"):
            tiny(encoder=encoder, stem_stride=1, input_skip=True)


def test_a_finer_stem_trains_with_all_there_is():
    options = {"attention": "scse", "input_skip": True, "center": "pyramid", **HEADS[-1]}
    trains(tiny(encoder="resnet10t", stem_stride=2, **options), torch.randn(2, 1, 47, 64))


@_proofs.refused_batches
def test_refuses_a_batch_of_another_shape(scse, shape, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        scse(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"decoder_channels": (64, 32)},
            "decoder_channels must be 5 positive numbers, coarsest first, as the encoder halves the image 5 times; "
            "got (64, 32)",
        ),
        ({"decoder_channels": ()}, "5 times; got ()"),
        ({"decoder_channels": (256, 128, 64, 32, 0)}, "got (256, 128, 64, 32, 0)"),
        ({"attention": "sces"}, "unknown attention 'sces': choose one of 'none', 'se', 'scse', 'bam', 'cbam'"),
        ({"attention": "sces", "attention_sites": ("concat",)}, "unknown attention 'sces'"),
        ({"attention": "scse", "attention_sites": ("skips",)}, "got ('skips',)"),
        (
            {"attention": "none", "attention_sites": ("skip",)},
            "attention_sites=('skip',) is an option of the attention, which is off: leave it at ('encoder', ",
        ),
        ({"attention": "scse", "attention_sites": ()}, 'pass attention="none"'),
        ({"attention": "scse", "attention_sites": ("encoder", "stem")}, "attention_sites must be one or more of"),
        ({"attention": "scse", "attention_reduction": 0}, "attention_reduction must be at least 1, or None, got 0"),
        ({"center": "aspp"}, "'center' of model 'unet' must be one of 'none', 'conv', 'pyramid', got 'aspp'"),
        ({"decoder_block": "dense"}, "must be one of 'concat', 'half', 'residual', got 'dense'"),
        (
            {"upsample": "bicubic"},
            "upsample' of model 'unet' must be one of 'nearest', 'bilinear', 'deconv', None, got 'bicubic'",
        ),
        ({"decoder_block": "half", "decoder_channels": (8, 8, 8, 8, 1)}, "out_channels must be at least 2"),
    ],
)
def test_refuses_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        tiny(**options)
