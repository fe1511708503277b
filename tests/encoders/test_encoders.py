"""timm encoders: what they promise a decoder, attention in their path, and ImageNet weights without a network."""

import copy
import io
import os
import subprocess
import sys
from functools import lru_cache

import pytest
import timm
import torch
from _proofs import nothing_goes_past_attention
from torch import nn

from saltzoo.contracts import FeatureSpec
from saltzoo.encoders import TimmEncoder

FAMILIES = [
    # A list by hooks; by modules called in turn; stride 4 from the start; a map at full size.
    ("resnet18", (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
    ("efficientnet_b0", (16, 24, 40, 112, 320), (2, 4, 8, 16, 32)),
    ("convnext_atto", (40, 80, 160, 320), (4, 8, 16, 32)),
    ("hgnetv2_b0", (64, 256, 512, 1024), (4, 8, 16, 32)),
    ("mobilenetv4_conv_small", (32, 32, 64, 96, 960), (2, 4, 8, 16, 32)),
    # timm builds 100 million weights for it first, of a head that it then cuts off.
    pytest.param("vgg11_bn", (64, 128, 256, 512, 512, 512), (1, 2, 4, 8, 16, 32), marks=pytest.mark.slow),
    ("darknet17", (32, 64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32)),
    ("densenet121", (64, 256, 512, 1024, 1024), (2, 4, 8, 16, 32)),
    ("regnety_002", (32, 24, 56, 152, 368), (2, 4, 8, 16, 32)),
    # Half of GhostNet's (16, 24, 40, 80, 160), as in its paper. The block after a map begins with an identity.
    ("ghostnet_050", (8, 12, 20, 40, 80), (2, 4, 8, 16, 32)),
    ("pvt_v2_b0", (32, 64, 160, 256), (4, 8, 16, 32)),
    # N H W C, the second with windows of a fixed size.
    ("mambaout_femto", (48, 96, 192, 288), (4, 8, 16, 32)),
    ("swin_tiny_patch4_window7_224", (96, 192, 384, 768), (4, 8, 16, 32)),
    # Maps in two parts, stages that hand on lists, and maps that branch off from the path.
    ("dpn48b", (10, 144, 320, 512, 832), (2, 4, 8, 16, 32)),
    ("selecsls42", (32, 128, 288, 480, 1024), (2, 4, 8, 16, 32)),
    ("legacy_xception", (64, 128, 256, 728, 2048), (2, 4, 8, 16, 32)),
]
NAMES = [pytest.param(f.values[0], marks=f.marks) if hasattr(f, "marks") else f[0] for f in FAMILIES]
# Positions of maps that are an activation of the attended one, inside the next block.
ACTIVATED = {"legacy_xception": (1, 2, 3)}
# By hand, of 64 x 96: two convolutions without padding, 64 -> 31 -> 29, and then 3x3 /2 with padding.
SIZES = {"legacy_xception": [(29, 45), (15, 23), (8, 12), (4, 6), (2, 3)]}
CACHED = "models--timm--resnet18.a1_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@lru_cache
def fresh(name):
    """One for all tests that leave it as it was."""
    torch.manual_seed(0)
    return TimmEncoder(name, attention="scse").eval()


@torch.no_grad()
def woken(encoder, only=None):
    """Attentions that scale each map by other than one; all of them, or one."""
    for position, attention in enumerate(encoder.attentions):
        if only in (None, position):
            attention.spatial.bias.fill_(2.0)
    return encoder


def theirs_like(ours, name):
    """timm's own network, with the weights of an encoder."""
    options = {key: value for key, value in ours._plan.options.items() if key == "strict_img_size"}
    network = timm.create_model(name, features_only=True, in_chans=1, **options).eval()
    backbone = {key.removeprefix("backbone."): v for key, v in ours.state_dict().items() if key.startswith("backbone.")}
    assert backbone.keys() == network.state_dict().keys()
    network.load_state_dict(backbone, strict=True)
    return network


def as_nchw(network, maps):
    return [m.permute(0, 3, 1, 2) for m in maps] if getattr(network, "output_fmt", "NCHW") == "NHWC" else maps


@pytest.mark.parametrize(("name", "channels", "reductions"), FAMILIES)
def test_pyramid_and_attention_in_its_path(name, channels, reductions):
    encoder = fresh(name)
    assert encoder.spec == FeatureSpec(channels, reductions)
    put_out = []
    hooks = [a.register_forward_hook(lambda _module, _args, output: put_out.append(output)) for a in encoder.attentions]
    x = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        features = encoder(x)
        for hook in hooks:
            hook.remove()
        sizes = SIZES.get(name, [(64 // r, 96 // r) for r in reductions])
        assert [tuple(f.shape) for f in features] == [(1, c, *size) for c, size in zip(channels, sizes, strict=True)]
        # Each attention ran once, and what it put out is the feature.
        assert len(put_out) == len(features)
        for position, (attended, feature) in enumerate(zip(put_out, features, strict=True)):
            expected = attended.relu() if position in ACTIVATED.get(name, ()) else attended
            assert torch.equal(expected, feature)
        for position, attention in enumerate(encoder.attentions):
            woken(encoder, only=position)
            changed = [not torch.equal(a, b) for a, b in zip(features, encoder(x), strict=True)]
            assert changed == [later >= position for later in range(len(features))]
            attention.spatial.bias.zero_()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_goes_past_an_attention(name):
    nothing_goes_past_attention(fresh(name), (64, 96))


@pytest.mark.slow
def test_valid_padding_gives_maps_of_their_own_size():
    encoder = TimmEncoder("inception_v4", attention="scse").eval()
    x = torch.randn(1, 1, 101, 101)
    with torch.no_grad():
        features = encoder(x)
        assert all(torch.equal(a, b) for a, b in zip(features, theirs_like(encoder, "inception_v4")(x), strict=True))
    assert tuple(f.shape[1] for f in features) == encoder.spec.channels == (64, 160, 384, 1024, 1536)
    # By hand: 3x3 /2 without padding 101 -> 50, 3x3 without padding -> 48, 3x3 padded -> 48, then 3x3 /2 each time.
    assert [f.shape[2] for f in features] == [48, 23, 10, 4, 1]
    nothing_goes_past_attention(encoder, (101, 101))


@pytest.mark.parametrize("name", NAMES)
def test_backbone_keys_and_features_are_those_of_timm(name):
    ours = fresh(name)
    assert not [key for key in ours.state_dict() if not key.startswith(("backbone.", "attentions."))]
    network = theirs_like(ours, name)
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        # Exactly: a fresh attention takes one half of each value twice.
        for a, b in zip(ours(x), as_nchw(network, network(x)), strict=True):
            assert torch.equal(a, b)


def test_a_copy_and_a_pickle_have_attention_of_their_own():
    original = woken(TimmEncoder("test_resnet", attention="scse")).eval()
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
    "name", ["test_resnet", "mambaout_femto", "dpn48b", "selecsls42", "legacy_xception", "ghostnet_050"]
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
        ("resnet43", ["no network 'resnet43'", "did you mean", "'resnet34'", timm.__version__]),
        ("!", ["no network '!'", "timm.list_models()"]),
        (
            "vit_tiny_patch16_224",
            [
                "encoder 'vit_tiny_patch16_224' gives no pyramid that a decoder can climb, "
                "its maps have the reductions (16, 16, 16)",
                NO_PYRAMID,
            ],
        ),
        ("resnet18.no_such_tag", ["encoder 'resnet18.no_such_tag' gives no pyramid", "no_such_tag", NO_PYRAMID]),
        # Tokens in a row, which the stages hand on as such.
        (
            "coat_lite_tiny",
            [
                "attention can't stand between the stages of encoder 'coat_lite_tiny'",
                "1/4 and 1/8 and 1/16 and 1/32 of the image",
                'attention_sites=("skip", "decoder")',
            ],
        ),
        # Its maps come from branches that run side by side.
        ("hrnet_w18_small", ["encoder 'hrnet_w18_small'", "1/4 and 1/8 and 1/16 of the image", '"resnet34"']),
    ],
)
def test_refuses_at_the_door(name, words):
    with pytest.raises(ValueError, match=r"encoder|timm") as error:
        TimmEncoder(name, attention="scse")
    assert [word for word in words if word not in str(error.value)] == []


def test_what_refuses_attention_works_without():
    encoder = TimmEncoder("hrnet_w18_small").eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, 61, 70))
    assert tuple(f.shape[1] for f in features) == encoder.spec.channels == (64, 128, 256, 512, 1024)
    assert [tuple(f.shape[2:]) for f in features] == [(31, 35), (16, 18), (8, 9), (4, 5), (2, 3)]


def fake_cache(folder):
    """A cache of the Hugging Face client that holds random weights of timm's resnet18, of the whole network."""
    from safetensors.torch import save_file

    torch.manual_seed(7)
    whole = timm.create_model("resnet18", num_classes=1000, in_chans=3)
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


LOADING = """
import sys, torch, saltzoo
def load(cache, **options):
    model = saltzoo.create_model("unet_resnet18", pretrained_encoder=True, cache_dir=cache, **options)
    return {"state": model.state_dict(), "preprocess": model.preprocess.to_dict()}
full, empty, out = sys.argv[1:]
got = {n: load(full, attention="scse", in_chans=n) for n in (1, 3)}
try:
    load(empty)
except Exception as error:
    got["error"] = [type(error).__name__, str(error)]
torch.save(got, out)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What a process without a network loads from a full cache and from an empty one."""
    folder = tmp_path_factory.mktemp("imagenet")
    weights = fake_cache(folder / "full")
    places = [str(folder / name) for name in ("full", "empty", "out.pt")]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOADING, *places], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return weights, torch.load(folder / "out.pt", weights_only=True)


@pytest.mark.parametrize("in_chans", [1, 3])
def test_imagenet_weights_come_from_the_cache_without_a_network(loaded, in_chans):
    weights, got = loaded
    state, preprocess = got[in_chans]["state"], got[in_chans]["preprocess"]
    backbone = {key.removeprefix("encoder.backbone."): value for key, value in state.items() if "backbone" in key}
    assert set(weights) - set(backbone) == {"fc.weight", "fc.bias"}
    first, wanted = backbone.pop("conv1.weight"), weights["conv1.weight"]
    torch.testing.assert_close(first, wanted if in_chans == 3 else wanted.sum(1, keepdim=True))
    assert [key for key, value in backbone.items() if not torch.equal(value, weights[key])] == []
    last = [value for key, value in state.items() if "attention" in key and ("excite" in key or "spatial" in key)]
    assert len(last) == 40  # five stages and five blocks, four tensors each, zero: still the identity
    assert not any(value.any() for value in last)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if in_chans == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    assert preprocess["mean"] == pytest.approx(mean)
    assert preprocess["std"] == pytest.approx(std)


def test_says_what_to_do_when_imagenet_weights_can_not_be_had(loaded):
    kind, text = loaded[1]["error"]
    assert kind == "OSError"
    for words in ("ImageNet weights of encoder 'resnet18'", "HF_HUB_OFFLINE", "cache_dir", "pretrained_encoder=False"):
        assert words in text
