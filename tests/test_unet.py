"""The U-Net: every size, every option trains, and it compiles, exports and learns."""

import itertools
import re

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo import create_model
from saltzoo.data import synthetic_tiles
from saltzoo.metrics import salt_map

SITES = ("encoder", "concat", "decoder")
SOME_SITES = [sites for count in (1, 2, 3) for sites in itertools.combinations(SITES, count)]


def tiny(**options):
    torch.manual_seed(0)
    return create_model("unet", **{"encoder": "test_resnet", **options})


@torch.no_grad()
def woken(model):
    """Gates away from one half, and norms away from their start."""
    for name, parameter in model.named_parameters():
        if "attention" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 2)
    return model


def trains(model, x):
    loss = model(x).square().mean()
    loss.backward()
    bad = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert bad == []
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def scse():
    return woken(tiny(attention="scse", attention_sites=SITES)).eval()


@pytest.mark.parametrize("size", [(32, 32), (101, 101), (128, 128), (97, 131), (33, 200), (255, 64)])
@pytest.mark.parametrize("encoder", ["resnet18", "test_resnet"])
@torch.no_grad()
def test_logits_have_the_size_of_the_image(encoder, size):
    model = tiny(encoder=encoder, num_classes=2, in_chans=3, attention="scse").eval()
    y = model(torch.randn(2, 3, *size))
    assert y.shape == (2, 2, *size)
    assert y.isfinite().all()


@given(st.integers(32, 140), st.integers(32, 140))
@settings(max_examples=25, deadline=None)
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


@pytest.mark.parametrize("sites", [None, *SOME_SITES])
def test_every_parameter_learns_at_every_site(sites):
    options = {"attention": "scse", "attention_sites": sites} if sites else {}
    model = tiny(**options)
    counted = dict.fromkeys(SITES, 0)
    for name, _ in model.named_modules():
        counted["encoder"] += bool(re.fullmatch(r"encoder\.attentions\.\d+", name))
        counted["concat"] += bool(re.fullmatch(r"decoder\.blocks\.\d\.concat_attention\.squeeze", name))
        counted["decoder"] += bool(re.fullmatch(r"decoder\.blocks\.\d\.attention\.squeeze", name))
    full = {"encoder": 5, "concat": 4, "decoder": 5}
    assert counted == {site: full[site] if sites and site in sites else 0 for site in SITES}
    trains(model, torch.randn(2, 1, 64, 64))


def test_every_parameter_gets_a_gradient_that_is_not_zero():
    model = woken(tiny(attention="scse", attention_sites=SITES))
    for name, parameter in model.named_parameters():
        if "backbone" in name and parameter.ndim == 1 and not parameter.any():
            torch.nn.init.normal_(parameter)  # timm starts the last norm of a residual at zero
    gradients = trains(model, torch.randn(4, 1, 64, 64))
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


def test_a_batch_of_one_trains_at_101():
    trains(
        tiny(encoder="resnet18", attention="scse", attention_sites=("concat", "decoder")), torch.randn(1, 1, 101, 101)
    )


@torch.no_grad()
def test_tiles_of_a_batch_do_not_see_each_other(scse):
    x = torch.randn(3, 1, 65, 71)
    for one, of_batch in zip(x, scse(x), strict=True):
        torch.testing.assert_close(scse(one[None])[0], of_batch, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_bf16_autocast_is_finite_and_near(scse):
    x = torch.randn(2, 1, 101, 101)
    want = scse(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = scse(x).float()
    assert got.isfinite().all()
    assert (got - want).abs().mean() < 0.05 * want.abs().mean()


@torch.no_grad()
def test_channels_last_gives_the_same(scse):
    x = torch.randn(2, 1, 97, 101)
    want = scse(x)
    last = woken(tiny(attention="scse", attention_sites=SITES)).eval()
    last.load_state_dict(scse.state_dict())
    last.to(memory_format=torch.channels_last)
    got = last(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_with_free_sizes(backend):
    torch._dynamo.reset()
    model = woken(tiny(attention="scse", attention_sites=("decoder",))).eval()
    fast = torch.compile(model, dynamic=True, fullgraph=True, backend=backend)
    for shape in ((2, 1, 64, 96), (3, 1, 101, 101)):
        x = torch.randn(shape)
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def program():
    """An export of free batch and sizes. At 32 the coarsest map is one pixel, which torch takes for a constant."""
    model = woken(tiny(encoder="resnet18", attention="scse")).eval()
    dim = torch.export.Dim
    sizes = ({0: dim("n"), 2: dim("h", min=33), 3: dim("w", min=33)},)
    return model, torch.export.export(model, (torch.randn(2, 1, 101, 101),), dynamic_shapes=sizes)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 1, 33, 33), (3, 1, 64, 97), (2, 1, 101, 101), (1, 1, 128, 34)])
def test_is_exported_with_free_sizes(program, shape):
    model, exported = program
    x = torch.randn(shape)
    torch.testing.assert_close(exported.module()(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_onnx_agrees(program, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, exported = program
    torch.onnx.export(exported, dynamo=True).save(tmp_path / "unet.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "unet.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 64, 97), (3, 1, 101, 101), (2, 1, 128, 64)):
        x = torch.randn(shape)
        (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), model(x), rtol=1e-3, atol=1e-4)


def test_has_as_many_parameters_as_published():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert count(create_model("unet_resnet34", in_chans=3)) == 24_436_369
    theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=1)
    assert count(create_model("unet_resnet34")) == count(theirs)


@pytest.mark.slow
def test_learns_one_batch_by_heart():
    torch.manual_seed(0)
    tiles = synthetic_tiles(4, seed=3)
    model = create_model("unet_resnet18", attention="scse")
    x = model.preprocess(torch.from_numpy(tiles.images)[:, None].float() / 255)
    y = torch.from_numpy(tiles.masks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert 0.1 < y.float().mean() < 0.9
    assert salt_map(model(x)[:, 0] > 0, y).item() > 0.95


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 64, 64), "expected a batch N 1 H W, got (2, 3, 64, 64)"),
        ((2, 64, 64), "got (2, 64, 64); gray tiles (N, H, W) become one with x[:, None]"),
        ((1, 1, 31, 64), "at least 32 x 32, got 31 x 64: pad"),
        ((1, 1, 64, 31), "got 64 x 31"),
    ],
)
def test_refuses_a_batch_of_another_shape(scse, shape, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        scse(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decoder_channels": (64, 32)}, "must be 5 positive numbers, coarsest first; got (64, 32)"),
        ({"decoder_channels": (256, 128, 64, 32, 0)}, "got (256, 128, 64, 32, 0)"),
        ({"attention": "cbam"}, "unknown attention 'cbam': choose one of ['none', 'scse']"),
        ({"attention": "cbam", "attention_sites": ("concat",)}, "unknown attention 'cbam'"),
        ({"attention": "none", "attention_sites": ("skip",)}, "got ('skip',)"),
        ({"attention": "scse", "attention_sites": ()}, 'say attention="none"'),
        ({"attention": "scse", "attention_sites": "encoder"}, "attention_sites must be one or more of"),
        ({"attention": "scse", "attention_reduction": 0}, "reduction must be at least 1"),
    ],
)
def test_refuses_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        tiny(**options)
