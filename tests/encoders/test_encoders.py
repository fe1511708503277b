"""timm encoders: their maps, attention in their path, and ImageNet weights from a cache."""

import copy
import io
import os
from functools import lru_cache

import huggingface_hub
import pytest
import timm
import torch
from _proofs import nothing_goes_past_attention
from safetensors.torch import save_file
from torch import nn

import saltzoo
from saltzoo.contracts import FeatureSpec
from saltzoo.encoders import TimmEncoder
from saltzoo.encoders.timm.encoder import input_statistics

FAMILIES = [
    # timm collects the maps with hooks; by calling modules in turn; stride 4 from the start; N H W C.
    ("test_resnet", (32, 32, 48, 192, 96), (2, 4, 8, 16, 32)),
    ("test_efficientnet", (16, 24, 32, 48, 64), (2, 4, 8, 16, 32)),
    ("test_convnext", (24, 32, 48, 64), (4, 8, 16, 32)),
    ("test_mambaout", (16, 32, 48, 64), (4, 8, 16, 32)),
    # Maps in two parts.
    ("dpn48b", (10, 144, 320, 512, 832), (2, 4, 8, 16, 32)),
]
SLOW_FAMILIES = [
    ("resnet18", (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
    ("efficientnet_b0", (16, 24, 40, 112, 320), (2, 4, 8, 16, 32)),
    ("convnext_atto", (40, 80, 160, 320), (4, 8, 16, 32)),
    ("hgnetv2_b0", (64, 256, 512, 1024), (4, 8, 16, 32)),
    ("mobilenetv4_conv_small", (32, 32, 64, 96, 960), (2, 4, 8, 16, 32)),
    # A map at full resolution. timm first builds the 100 million weights of a head, which it then removes.
    ("vgg11_bn", (64, 128, 256, 512, 512, 512), (1, 2, 4, 8, 16, 32)),
    ("darknet17", (32, 64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32)),
    ("densenet121", (64, 256, 512, 1024, 1024), (2, 4, 8, 16, 32)),
    ("regnety_002", (32, 24, 56, 152, 368), (2, 4, 8, 16, 32)),
    # Half of the channels of GhostNet in its paper: (16, 24, 40, 80, 160). The block after a map starts with an
    # identity.
    ("ghostnet_050", (8, 12, 20, 40, 80), (2, 4, 8, 16, 32)),
    ("pvt_v2_b0", (32, 64, 160, 256), (4, 8, 16, 32)),
    # N H W C, the second with windows of a fixed size.
    ("mambaout_femto", (48, 96, 192, 288), (4, 8, 16, 32)),
    ("swin_tiny_patch4_window7_224", (96, 192, 384, 768), (4, 8, 16, 32)),
    # Stages that pass on lists, and maps that branch off from the path.
    ("selecsls42", (32, 128, 288, 480, 1024), (2, 4, 8, 16, 32)),
    ("legacy_xception", (64, 128, 256, 728, 2048), (2, 4, 8, 16, 32)),
]
FAMILIES += [pytest.param(*family, marks=pytest.mark.slow) for family in SLOW_FAMILIES]
NAMES = [pytest.param(f.values[0], marks=f.marks) if hasattr(f, "marks") else f[0] for f in FAMILIES]
# Positions of maps that are an activation, inside the next block, of the output of the attention.
ACTIVATED = {"legacy_xception": (1, 2, 3)}
# For 64 x 96: two convolutions without padding, 64 -> 31 -> 29, then 3x3 convolutions of stride 2 with padding.
SIZES = {"legacy_xception": [(29, 45), (15, 23), (8, 12), (4, 6), (2, 3)]}
CACHED = "models--timm--test_resnet.r160_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@lru_cache
def fresh(name):
    """An encoder that tests share and do not change."""
    torch.manual_seed(0)
    return TimmEncoder(name, attention="scse").eval()


@torch.no_grad()
def activated(encoder, only=None):
    """The encoder with attention that changes each map, or with `only` one of them."""
    for position, attention in enumerate(encoder.attentions):
        if only in (None, position):
            attention.spatial.bias.fill_(2.0)
    return encoder


def theirs_like(ours, name):
    """The timm network with the weights of an encoder."""
    options = {key: value for key, value in ours._plan.options.items() if key == "strict_img_size"}
    network = timm.create_model(name, features_only=True, in_chans=1, **options).eval()
    backbone = {key.removeprefix("backbone."): v for key, v in ours.state_dict().items() if key.startswith("backbone.")}
    assert backbone.keys() == network.state_dict().keys()
    network.load_state_dict(backbone, strict=True)
    return network


def as_nchw(network, maps):
    return [m.permute(0, 3, 1, 2) for m in maps] if getattr(network, "output_fmt", "NCHW") == "NHWC" else maps


@pytest.mark.parametrize(("name", "channels", "reductions"), FAMILIES)
def test_maps_and_attention_in_the_path(name, channels, reductions):
    encoder = fresh(name)
    assert encoder.spec == FeatureSpec(channels, reductions)
    attended_maps = []
    hooks = [
        a.register_forward_hook(lambda _module, _args, output: attended_maps.append(output)) for a in encoder.attentions
    ]
    x = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        features = encoder(x)
        for hook in hooks:
            hook.remove()
        sizes = SIZES.get(name, [(64 // r, 96 // r) for r in reductions])
        assert [tuple(f.shape) for f in features] == [(1, c, *size) for c, size in zip(channels, sizes, strict=True)]
        # Each attention runs once, and its output is the map.
        assert len(attended_maps) == len(features)
        for position, (attended, feature) in enumerate(zip(attended_maps, features, strict=True)):
            expected = attended.relu() if position in ACTIVATED.get(name, ()) else attended
            assert torch.equal(expected, feature)
        for position, attention in enumerate(encoder.attentions):
            activated(encoder, only=position)
            changed = [not torch.equal(a, b) for a, b in zip(features, encoder(x), strict=True)]
            assert changed == [later >= position for later in range(len(features))]
            attention.spatial.bias.zero_()


@pytest.mark.parametrize("name", NAMES)
def test_no_path_bypasses_the_attention(name):
    nothing_goes_past_attention(fresh(name), (64, 96))


@pytest.mark.slow
def test_convolutions_without_padding():
    encoder = TimmEncoder("inception_v4", attention="scse").eval()
    x = torch.randn(1, 1, 101, 101)
    with torch.no_grad():
        features = encoder(x)
        assert all(torch.equal(a, b) for a, b in zip(features, theirs_like(encoder, "inception_v4")(x), strict=True))
    assert tuple(f.shape[1] for f in features) == encoder.spec.channels == (64, 160, 384, 1024, 1536)
    # 3x3 /2 without padding 101 -> 50, 3x3 without padding -> 48, 3x3 with padding -> 48, then 3x3 /2 each time.
    assert [f.shape[2] for f in features] == [48, 23, 10, 4, 1]
    nothing_goes_past_attention(encoder, (101, 101))


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_maps_are_those_of_timm(name):
    ours = fresh(name)
    assert not [key for key in ours.state_dict() if not key.startswith(("backbone.", "attentions."))]
    network = theirs_like(ours, name)
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        # Exactly equal: new attention adds one half of each value twice.
        for a, b in zip(ours(x), as_nchw(network, network(x)), strict=True):
            assert torch.equal(a, b)


def test_a_copy_and_a_pickle_have_separate_attention():
    original = activated(TimmEncoder("test_resnet", attention="scse")).eval()
    buffer = io.BytesIO()
    torch.save(original, buffer)
    buffer.seek(0)
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        before = original(x)
        for twin in (copy.deepcopy(original), torch.load(buffer, weights_only=False)):
            assert all(torch.equal(a, b) for a, b in zip(twin(x), before, strict=True))
            for attention in twin.attentions:
                attention.spatial.bias.fill_(-5.0)
            assert not torch.allclose(twin(x)[0], before[0])
            assert all(torch.equal(a, b) for a, b in zip(original(x), before, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        *["test_resnet", "test_mambaout"],
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("dpn48b", "selecsls42", "legacy_xception", "ghostnet_050")),
    ],
)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    encoder = TimmEncoder(name, attention="scse", in_chans=2)
    sum(f.sum() for f in encoder(torch.randn(2, 2, 64, 64))).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


NO_PYRAMID = 'use a convolutional or hierarchical network, such as "resnet34" or "convnext_tiny"'


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet43", ["no network 'resnet43'", "Did you mean", "'resnet34'", timm.__version__]),
        ("!", ["no network '!'", "timm.list_models()"]),
        (
            "test_vit",
            [
                "encoder 'test_vit' returns no feature pyramid for a decoder, "
                "its maps have the reductions (16, 16, 16)",
                NO_PYRAMID,
            ],
        ),
        ("test_resnet.no_tag", ["encoder 'test_resnet.no_tag' returns no feature pyramid (", "no_tag", NO_PYRAMID]),
        # Its stages pass on sequences of tokens.
        (
            "coat_lite_tiny",
            [
                "attention can't be inserted between the stages of encoder 'coat_lite_tiny'",
                "1/4 and 1/8 and 1/16 and 1/32 of the image",
                'attention_sites=("skip", "decoder")',
            ],
        ),
        # Its maps come from parallel branches.
        pytest.param(
            "hrnet_w18_small",
            ["encoder 'hrnet_w18_small'", "1/4 and 1/8 and 1/16 of the image", '"resnet34"'],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_unsuitable_network_raises(name, words):
    with pytest.raises(ValueError, match=r"encoder|timm") as error:
        TimmEncoder(name, attention="scse")
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.slow
def test_parallel_branches_work_without_attention():
    encoder = TimmEncoder("hrnet_w18_small").eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, 61, 70))
    assert tuple(f.shape[1] for f in features) == encoder.spec.channels == (64, 128, 256, 512, 1024)
    assert [tuple(f.shape[2:]) for f in features] == [(31, 35), (16, 18), (8, 9), (4, 5), (2, 3)]


def fake_cache(folder):
    """Fill a cache of the Hugging Face client with random weights for timm's test_resnet; returns the weights."""
    torch.manual_seed(7)
    whole = timm.create_model("test_resnet", num_classes=1000, in_chans=3)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.weight)
    snapshot = folder / CACHED / "snapshots" / COMMIT
    blobs, refs = folder / CACHED / "blobs", folder / CACHED / "refs"
    for place in (snapshot, blobs, refs):
        place.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    save_file(whole.state_dict(), blobs / "abc")
    (snapshot / "model.safetensors").symlink_to(os.path.relpath(blobs / "abc", snapshot))
    return whole.state_dict()


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("in_chans", [1, 3])
def test_imagenet_weights_are_read_from_the_cache(offline, tmp_path, in_chans):
    weights = fake_cache(tmp_path)
    model = saltzoo.create_model(
        "unet",
        encoder="test_resnet",
        attention="scse",
        in_chans=in_chans,
        pretrained_encoder=True,
        cache_dir=str(tmp_path),
    )
    state = model.state_dict()
    backbone = {key.removeprefix("encoder.backbone."): value for key, value in state.items() if "backbone" in key}
    assert set(weights) - set(backbone) == {"fc.weight", "fc.bias"}
    first, expected = backbone.pop("conv1.0.weight"), weights["conv1.0.weight"]
    torch.testing.assert_close(first, expected if in_chans == 3 else expected.sum(1, keepdim=True))
    assert [key for key, value in backbone.items() if not torch.equal(value, weights[key])] == []
    last = [value for key, value in state.items() if "attention" in key and ("excite" in key or "spatial" in key)]
    assert len(last) == 40  # five stages and five blocks, four tensors each; all zero, so attention is the identity
    assert not any(value.any() for value in last)
    assert tuple(model.preprocess.mean) == tuple(model.preprocess.std) == (0.5,) * in_chans


def test_input_statistics_are_averaged_for_other_channels():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with torch.device("meta"):
        backbone = timm.create_model("resnet18", features_only=True)
    assert input_statistics(backbone, in_chans=3) == (mean, std)
    for in_chans in (1, 2):
        averages = input_statistics(backbone, in_chans=in_chans)
        assert averages[0] == pytest.approx((sum(mean) / 3,) * in_chans)
        assert averages[1] == pytest.approx((sum(std) / 3,) * in_chans)


def test_missing_imagenet_weights_raise(offline, tmp_path):
    with pytest.raises(OSError, match="ImageNet weights of encoder 'test_resnet'") as error:
        saltzoo.create_model("unet", encoder="test_resnet", pretrained_encoder=True, cache_dir=str(tmp_path))
    for words in ("HF_HUB_OFFLINE", "cache_dir", "pretrained_encoder=False"):
        assert words in str(error.value)


def state_dict_of(name):
    torch.manual_seed(7)
    return timm.create_model(name, num_classes=10, in_chans=3).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_encoder_weights_are_read_from_a_file(tmp_path, suffix):
    weights, path = state_dict_of("test_resnet"), tmp_path / f"weights{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save({"state_dict": weights}, path)
    model = saltzoo.create_model("unet", encoder="test_resnet", in_chans=1, pretrained_encoder=path)
    state = model.encoder.backbone.state_dict()
    first = state.pop("conv1.0.weight")
    torch.testing.assert_close(first, weights["conv1.0.weight"].sum(1, keepdim=True))
    assert all(torch.equal(value, weights[key]) for key, value in state.items())
    assert model.preprocess.mean == (0.5,)
    assert model.config.model_args.keys() == saltzoo.create_model("unet").config.model_args.keys()


def without(weights, start):
    return {key: value for key, value in weights.items() if not key.startswith(start)}


def test_the_classifier_and_counts_of_batches_may_be_missing():
    weights = state_dict_of("test_resnet")
    given = {key: value for key, value in without(weights, "fc.").items() if "num_batches" not in key}
    encoder = TimmEncoder("test_resnet", in_chans=3, pretrained=given)
    assert all(torch.equal(value, weights[key]) for key, value in encoder.backbone.state_dict().items())


def test_weights_of_another_network_raise(tmp_path):
    weights = state_dict_of("test_resnet")
    for wrong, words in (
        (without(weights, "layer2."), r"encoder 'test_resnet': \d+ of its \d+ tensors are missing, such as layer2\."),
        ({**weights, "conv1.0.weight": torch.zeros(3)}, r"conv1\.0\.weight has shape \(3,\), and the network's has"),
        ({**weights, "layer9.weight": torch.zeros(3)}, r"it has no layer9\.weight\. Give"),
    ):
        save_file(wrong, tmp_path / "wrong.safetensors")
        with pytest.raises(ValueError, match=words):
            saltzoo.create_model("unet", encoder="test_resnet", pretrained_encoder=str(tmp_path / "wrong.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pth"):
        saltzoo.create_model("unet", encoder="test_resnet", pretrained_encoder=tmp_path / "none.pth")
    with pytest.raises(ValueError, match="'saltnet_s' has no pretrained encoder"):
        saltzoo.create_model("saltnet_s", pretrained_encoder=str(tmp_path / "wrong.safetensors"))


def test_an_error_names_the_repository_that_was_asked_for(offline, tmp_path):
    with pytest.raises(OSError, match="weights of encoder 'test_resnet' from 'hf-hub:nobody/nothing' can't be loaded"):
        saltzoo.create_model(
            "unet", encoder="test_resnet", pretrained_encoder="hf-hub:nobody/nothing", cache_dir=str(tmp_path)
        )
