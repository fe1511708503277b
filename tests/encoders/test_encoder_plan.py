"""Plans for timm networks: strides of the stem, padding, unused parameters, and errors."""

import re

import pytest
import timm
import torch
from _proofs import nothing_goes_past_attention
from torch import nn

from saltzoo.encoders import TimmEncoder
from saltzoo.encoders.timm.encoder import plan_network

# Name, channels of timm's maps, stem_stride, modules with their stride set by hand (None removes one), reductions.
TEST_RESNET, MAMBAOUT = ("test_resnet", (32, 32, 48, 192, 96)), ("test_mambaout", (16, 32, 48, 64))
STEMS = [
    (*TEST_RESNET, 4, {}, (2, 4, 8, 16, 32)),
    (*TEST_RESNET, 2, {"maxpool": None}, (2, 2, 4, 8, 16)),
    (*TEST_RESNET, 1, {"maxpool": None, "conv1.0": 1}, (1, 1, 2, 4, 8)),
    ("test_convnext", (24, 32, 48, 64), 2, {"stem_0": 2}, (2, 4, 8, 16)),
    (*MAMBAOUT, 1, {"stem.conv2": 1, "stem.conv1": 1}, (1, 2, 4, 8)),
    # Two parallel branches with strides.
    (
        *("test_byobnet", (24, 32, 64, 128, 256), 2),
        {"stages_0.0.conv1_kxk.conv": 1, "stages_0.0.shortcut.pool": None},
        (2, 2, 4, 8, 16),
    ),
]
SLOW_STEMS = [
    ("resnet18", (64, 64, 128, 256, 512), 1, {"maxpool": None, "conv1": 1}, (1, 1, 2, 4, 8)),
    ("efficientnet_b0", (16, 24, 40, 112, 320), 2, {"blocks.1.0.conv_dw": 1}, (2, 2, 4, 8, 16)),
    ("darknet17", (32, 64, 128, 256, 512, 1024), 2, {"stages_1.conv_down.conv": 1}, (1, 2, 2, 4, 8, 16)),
    ("regnety_002", (32, 24, 56, 152, 368), 2, {"s1.b1.conv2.conv": 1, "s1.b1.downsample.conv": 1}, (2, 2, 4, 8, 16)),
]
STEMS += [pytest.param(*stem, marks=pytest.mark.slow) for stem in SLOW_STEMS]


@pytest.mark.parametrize(("name", "channels", "stride", "by_hand", "reductions"), STEMS)
def test_stem_stride_changes_strides_and_keeps_weights(name, channels, stride, by_hand, reductions):
    torch.manual_seed(0)
    plain = TimmEncoder(name).eval()
    encoder = TimmEncoder(name, stem_stride=stride, attention="scse").eval()
    state = {key: value for key, value in encoder.state_dict().items() if key.startswith("backbone.")}
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in plain.state_dict().items()}
    encoder.load_state_dict(plain.state_dict(), strict=False)
    theirs = timm.create_model(name, features_only=True, in_chans=1).eval()
    theirs.load_state_dict({k.removeprefix("backbone."): v for k, v in plain.state_dict().items()}, strict=True)
    for module, new_stride in by_hand.items():
        if new_stride is None:
            theirs.set_submodule(module, nn.Identity())
        else:
            theirs.get_submodule(module).stride = (new_stride, new_stride)
    # Of two maps with the same reduction the deeper.
    kept = [i for i, r in enumerate(reductions) if i + 1 == len(reductions) or r != reductions[i + 1]]
    assert encoder.spec.reductions == tuple(reductions[i] for i in kept)
    assert encoder.spec.channels == tuple(channels[i] for i in kept)
    x = torch.randn(1, 1, 45, 58)
    with torch.no_grad():
        features, maps = encoder(x), theirs(x)
    if name == "test_mambaout":
        maps = [m.permute(0, 3, 1, 2) for m in maps]
    assert all(torch.equal(feature, maps[i]) for feature, i in zip(features, kept, strict=True))
    assert all(
        abs(side / r - got) <= 1 + (name == "test_convnext")  # its 4x4 filters have no padding
        for feature, r in zip(features, encoder.spec.reductions, strict=True)
        for side, got in zip((45, 58), feature.shape[2:], strict=True)
    )


def test_stem_stride_leaves_no_parameter_without_gradient():
    encoder = TimmEncoder("test_resnet", attention="scse", stem_stride=1)
    sum(f.sum() for f in encoder(torch.randn(2, 1, 33, 40))).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(
    ("name", "stride", "words"),
    [
        ("test_resnet", 3, ["unknown stem_stride 3: choose one of None, 1, 2, 4"]),
        ("test_resnet", "2", ["unknown stem_stride '2': choose one of None, 1, 2, 4"]),
        # Its attention holds a table for one size of images.
        ("test_coatnet", 2, ["'test_coatnet' can't have stem_stride=2 (the network then fails with: ", "=None"]),
        # Its 4x4 filters have no padding: the map at full resolution is three pixels smaller than the image.
        ("test_convnext", 1, ["its finest map is then 318 x 378 for an image of 321 x 381", '"resnet34"']),
        # It embeds patches with stride 8 in one step.
        pytest.param(
            *("pit_ti_224", 1),
            ["stem_stride=1 (its maps then have the reductions (8, 16, 32), not (2, 4, 8))", "resnet34"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_impossible_stem_stride_raises(name, stride, words):
    with pytest.raises(ValueError, match="stem_stride") as error:
        TimmEncoder(name, stem_stride=stride)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("name", "multiple", "size"),
    [("dla46_c", 32, (75, 101)), ("swin_tiny_patch4_window7_224", 4, (41, 50))],
)
def test_images_are_padded_with_zeros_and_maps_cropped(name, multiple, size):
    torch.manual_seed(0)
    encoder = TimmEncoder(name, attention="scse").eval()
    assert encoder.multiple == multiple
    strict = {"strict_img_size": False} if name.startswith("swin") else {}
    theirs = timm.create_model(name, features_only=True, in_chans=1, **strict).eval()
    theirs.load_state_dict(encoder.backbone.state_dict(), strict=True)
    height, width = size
    x = torch.randn(1, 1, height, width)
    padded = torch.zeros(1, 1, -(-height // multiple) * multiple, -(-width // multiple) * multiple)
    padded[..., :height, :width] = x
    with torch.no_grad():
        features, maps = encoder(x), theirs(padded)
    if name.startswith("swin"):
        maps = [m.permute(0, 3, 1, 2) for m in maps]
    for feature, whole, r in zip(features, maps, encoder.spec.reductions, strict=True):
        assert tuple(feature.shape[2:]) == (-(-height // r), -(-width // r))
        assert torch.equal(feature, whole[..., : -(-height // r), : -(-width // r)])


def test_images_are_not_padded_for_a_network_that_takes_any_size():
    encoder = TimmEncoder("test_resnet").eval()
    seen = []
    encoder.backbone.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    x = torch.randn(1, 1, 37, 41)
    encoder(x)
    assert encoder.multiple == 1
    assert seen[0] is x


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("test_vit", {}, "no feature pyramid for a decoder"),
        ("test_resnet", {"stem_stride": 3}, "unknown stem_stride 3"),
        ("coat_lite_tiny", {"attention": "scse"}, "attention can't be inserted"),
        ("test_resnet", {"attention": "scsee"}, "unknown attention 'scsee'"),
    ],
)
def test_errors_are_raised_before_weights_are_downloaded(monkeypatch, name, options, words):
    class FetchedError(Exception):
        pass

    def fetch(*_args, **_options):
        raise FetchedError

    monkeypatch.setattr(timm.models._builder, "load_pretrained", fetch)
    with pytest.raises(OSError, match="FetchedError"):  # the patched function is the one that downloads
        TimmEncoder("test_resnet", pretrained=True)
    with pytest.raises(ValueError, match=words):
        TimmEncoder(name, pretrained=True, **options)


@pytest.mark.parametrize("name", ["efficientvim_m1", pytest.param("pit_ti_224", marks=pytest.mark.slow)])
def test_removes_the_unused_parameters_only(name):
    torch.manual_seed(0)
    encoder = TimmEncoder(name).eval()
    strict = {"strict_img_size": False} if encoder._plan.options.get("strict_img_size") is False else {}
    theirs = timm.create_model(name, features_only=True, in_chans=1, **strict).eval()
    x = torch.randn(1, 1, *theirs.pretrained_cfg["input_size"][1:])
    sum(m.square().sum() for m in theirs(x)).backward()
    unused = {key for key, parameter in theirs.named_parameters() if parameter.grad is None}
    assert unused == {"efficientvim_m1": {"model.weights"}, "pit_ti_224": {"body.norm.weight", "body.norm.bias"}}[name]
    assert theirs.state_dict().keys() - encoder.backbone.state_dict().keys() == unused
    assert not encoder.backbone.state_dict().keys() - theirs.state_dict().keys()
    encoder.backbone.load_state_dict(theirs.state_dict(), strict=False)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(encoder(x), theirs(x), strict=True))


@pytest.mark.parametrize(
    ("name", "size", "telling", "possible"),
    [
        # Made for one size, 160 x 160.
        ("test_coatnet", (101, 101), "(RuntimeError: The size of tensor a (36) must match", 160),
        # Without padding the last maps become smaller than the filters.
        pytest.param(
            *("inception_v4", (64, 96), "Kernel size can't be greater than actual input size", 96),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_image_of_a_wrong_size_raises(name, size, telling, possible):
    encoder = TimmEncoder(name).eval()
    with (
        pytest.raises(ValueError, match=f"{name!r} can't take images of {size[0]} x {size[1]}") as error,
        torch.no_grad(),
    ):
        encoder(torch.zeros(1, 1, *size))
    assert telling in str(error.value)
    assert f"pad or resize them, for example to {possible} x {possible}" in str(error.value)
    assert error.value.__cause__ is not None
    with torch.no_grad():
        assert len(encoder(torch.zeros(1, 1, possible, possible))) == len(encoder.spec.channels)


def test_an_error_with_another_cause_is_not_replaced():
    encoder = TimmEncoder("test_resnet").eval()
    with pytest.raises(RuntimeError, match=r"expected input.* to have 1 channels, but got 3 channels instead"):
        encoder(torch.zeros(1, 3, 64, 64))
    error = MemoryError("out of memory")

    def fail(_module, _args):
        raise error

    encoder.backbone.layer2.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError) as caught:
        encoder(torch.zeros(1, 1, 64, 64))
    assert caught.value is error


@pytest.mark.parametrize("name", ["test_resnet", "test_mambaout"])
def test_planning_draws_no_random_numbers(name):
    """The same seed gives the same weights, whether the plan is cached or not."""
    plan_network.cache_clear()
    before = torch.random.get_rng_state()
    plan_network(name, 1, None)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_planning_works_with_gradients_disabled(mode):
    expected = plan_network("test_resnet", 1, 2)
    plan_network.cache_clear()
    with mode():
        found = plan_network("test_resnet", 1, 2)
    assert (found.sites, found.spec, found.strides) == (expected.sites, expected.spec, expected.strides)


# One small member of each family.
SWEEP = [
    *["mobileone_s0", "cspnext_tiny", "dla46_c", "dpn68", "edgenext_xx_small", "efficientvit_b0", "efficientvit_m0"],
    *["fasternet_t0", "fastvit_t8", "ghostnetv2_100", "hardcorenas_a", "inception_next_atto", "lowformer_b0"],
    *["mobilevit_xxs", "mobilevitv2_050", "poolformer_s12", "repghostnet_050", "repvit_m0_9", "rexnet_100"],
    *["sam2_hiera_tiny", "skresnet18", "starnet_s050", "swiftformer_xs", "swinv2_cr_tiny_ns_224", "tresnet_m"],
    *["ese_vovnet19b_slim_dw", "xception41", "legacy_seresnet18", "resnest14d", "nf_regnet_b0", "lcnet_050"],
]
# None of their modules returns a map that all paths pass through.
NO_SITE = ["coat_lite_tiny", "hrnet_w18_small", "mvitv2_tiny", "pit_ti_224", "twins_svt_small"]
# All maps have the same size.
NO_PYRAMID = ["cait_xxs24_224", "convmixer_768_32", "mixer_s16_224", "test_vit", "volo_d1_224", "xcit_nano_12_p16_224"]
# They resize every image to one size, or their maps are 1/7 and 1/14 of the image.
NO_PYRAMID += ["crossvit_9_240", "sequencer2d_s"]
# Made for one size of images: their attention holds a table for it.
ONE_SIZE = ["botnet26t_256", "coatnet_nano_rw_224", "efficientformerv2_s0", "gcvit_xxtiny", "nest_tiny"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEP)
def test_every_family(name):
    torch.manual_seed(0)
    encoder = TimmEncoder(name, attention="scse").eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, 97, 131))
    assert tuple(f.shape[1] for f in features) == encoder.spec.channels
    assert [reduction_of(f) for f in features] == list(encoder.spec.reductions)
    nothing_goes_past_attention(encoder, (97, 131))


def reduction_of(feature):
    """The power of two closest to the ratio of the diagonals."""
    ratio = (97**2 + 131**2) ** 0.5 / (feature.shape[2] ** 2 + feature.shape[3] ** 2) ** 0.5
    return min((1, 2, 4, 8, 16, 32, 64), key=lambda r: abs(ratio / r - 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_SITE)
def test_every_family_without_a_site_for_attention(name):
    assert TimmEncoder(name).spec.channels
    with pytest.raises(ValueError, match="attention can't be inserted between the stages"):
        TimmEncoder(name, attention="scse")


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_PYRAMID)
def test_every_family_without_a_feature_pyramid(name):
    with pytest.raises(ValueError, match="returns no feature pyramid for a decoder"):
        TimmEncoder(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_SIZE)
def test_every_family_made_for_one_size(name):
    encoder = TimmEncoder(name, attention="scse").eval()
    assert encoder.multiple is None
    with torch.no_grad():
        own = encoder.backbone.pretrained_cfg["input_size"][1:]
        assert tuple(f.shape[1] for f in encoder(torch.zeros(1, 1, *own))) == encoder.spec.channels
        with pytest.raises(
            ValueError, match=r"can't take images of 97 x 131 .*: pad or resize them, for example to "
        ) as error:
            encoder(torch.zeros(1, 1, 97, 131))
        # Its default size, or a smaller one that it also takes.
        side = int(re.search(r"to (\d+) x \1$", str(error.value))[1])
        assert 131 <= side <= own[0]
        assert tuple(f.shape[1] for f in encoder(torch.zeros(1, 1, side, side))) == encoder.spec.channels
