"""timm encoders: what they promise a decoder, attention in their path, and ImageNet weights without a network."""

import copy
import io
import os
import subprocess
import sys

import pytest
import timm
import torch
from torch import nn

from saltzoo.encoders import TimmEncoder
from saltzoo.features import FeatureSpec

FAMILIES = [
    ("resnet18", (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
    ("efficientnet_b0", (16, 24, 40, 112, 320), (2, 4, 8, 16, 32)),
    ("convnext_atto", (40, 80, 160, 320), (4, 8, 16, 32)),
    ("mobilenetv4_conv_small", (32, 32, 64, 96, 960), (2, 4, 8, 16, 32)),
    pytest.param("vgg11_bn", (64, 128, 256, 512, 512, 512), (1, 2, 4, 8, 16, 32), marks=pytest.mark.slow),
    ("darknet17", (32, 64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32)),
    ("densenet121", (64, 256, 512, 1024, 1024), (2, 4, 8, 16, 32)),
    ("regnety_002", (32, 24, 56, 152, 368), (2, 4, 8, 16, 32)),
    ("ghostnet_050", (8, 12, 20, 40, 80), (2, 4, 8, 16, 32)),
    ("pvt_v2_b0", (32, 64, 160, 256), (4, 8, 16, 32)),
]
CACHED = "models--timm--resnet18.a1_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@torch.no_grad()
def woken(encoder, only=None):
    """Attentions that scale each map by other than one; all of them, or one."""
    for position, attention in enumerate(encoder.attentions):
        if only in (None, position):
            attention.spatial.bias.fill_(2.0)
    return encoder


@pytest.mark.parametrize(("name", "channels", "reductions"), FAMILIES)
def test_pyramid_and_attention_in_its_path(name, channels, reductions):
    torch.manual_seed(0)
    encoder = TimmEncoder(name, attention="scse").eval()
    assert encoder.spec == FeatureSpec(channels, reductions)
    put_out = []
    for attention in encoder.attentions:
        attention.register_forward_hook(lambda _module, _args, output: put_out.append(output))
    x = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        features = encoder(x)
        assert [tuple(f.shape) for f in features] == [
            (1, c, 64 // r, 96 // r) for c, r in zip(channels, reductions, strict=True)
        ]
        # Each attention ran once, and the very tensor that it put out is the feature.
        assert len(put_out) == len(features)
        assert all(a is b for a, b in zip(put_out, features, strict=True))
        for position, attention in enumerate(encoder.attentions):
            woken(encoder, only=position)
            changed = [not torch.equal(a, b) for a, b in zip(features, encoder(x), strict=True)]
            assert changed == [later >= position for later in range(len(features))]
            attention.spatial.bias.zero_()


@pytest.mark.slow
def test_valid_padding_gives_maps_of_their_own_size():
    encoder = TimmEncoder("inception_v4", attention="scse").eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, 101, 101))
    assert tuple(f.shape[1] for f in features) == encoder.spec.channels == (64, 160, 384, 1024, 1536)
    # By hand: 3x3 /2 without padding 101 -> 50, 3x3 without padding -> 48, 3x3 padded -> 48, then 3x3 /2 each time.
    assert [f.shape[2] for f in features] == [48, 23, 10, 4, 1]


@pytest.mark.parametrize("name", ["resnet18", "darknet17", "mobilenetv4_conv_small", "convnext_atto"])
def test_backbone_keys_and_features_are_those_of_timm(name):
    theirs = timm.create_model(name, features_only=True, in_chans=1).eval()
    ours = TimmEncoder(name, attention="scse").eval()
    backbone = {key.removeprefix("backbone."): v for key, v in ours.state_dict().items() if key.startswith("backbone.")}
    assert backbone.keys() == theirs.state_dict().keys()
    assert not [key for key in ours.state_dict() if not key.startswith(("backbone.", "attentions."))]
    theirs.load_state_dict(backbone, strict=True)
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for a, b in zip(ours(x), theirs(x), strict=True):  # fresh attention is the identity
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


def test_every_parameter_gets_a_gradient():
    encoder = TimmEncoder("test_resnet", attention="scse", in_chans=2)
    sum(f.sum() for f in encoder(torch.randn(2, 2, 64, 64))).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet43", ["no network 'resnet43'", "did you mean", "'resnet34'", timm.__version__]),
        ("!", ["no network '!'", "timm.list_models()"]),
        ("vit_tiny_patch16_224", ["vit_tiny_patch16_224", "no pyramid", "powers of two", "(16, 16, 16)"]),
        ("mambaout_femto", ["mambaout_femto", "NHWC", "resnet34"]),
        ("legacy_xception", ["legacy_xception", 'attention_sites=("decoder",)']),
        ("resnet18.no_such_tag", ["resnet18.no_such_tag"]),
    ],
)
def test_refuses_at_the_door(name, words):
    with pytest.raises(ValueError, match=r"encoder|timm") as error:
        TimmEncoder(name, attention="scse")
    assert [word for word in words if word not in str(error.value)] == []


def test_what_refuses_attention_works_without():
    encoder = TimmEncoder("legacy_xception").eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, 64, 64))
    assert tuple(f.shape[1] for f in features) == encoder.spec.channels


def test_a_stage_that_puts_out_a_list_says_so():
    encoder = TimmEncoder("selecsls42", attention="scse")
    with pytest.raises(TypeError, match="puts out a list: use attention_sites"):
        encoder(torch.randn(2, 1, 64, 64))


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
