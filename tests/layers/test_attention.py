"""Attention layers by name, and the properties that all of them share."""

import copy
import re

import pytest
import torch
from torch import nn

from saltzoo.layers import ATTENTIONS, BAM, CBAM, SCSE, ChannelSE, SpatialSE, build_attention
from saltzoo.layers.attention import build_attention_at

VARIANTS = {
    "se": ChannelSE,
    "spatial": SpatialSE,
    "scse": SCSE,
    "scse_max": lambda channels: SCSE(channels, merge="max"),
    "scse_norm": lambda channels: SCSE(channels, norm=True),
    "scse_norm_max": lambda channels: SCSE(channels, norm=True, merge="max"),
    "bam": BAM,
    "bam_mul": lambda channels: BAM(channels, gate="mul"),
    "cbam": CBAM,
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(params=VARIANTS)
def build(request):
    """A function that builds an attention layer with random gates and mostly active ReLUs."""

    def randomised(channels, seed=0):
        module = VARIANTS[request.param](channels)
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
                if name.endswith("bias"):
                    tensor.abs_()
        return module

    randomised.name = request.param
    return randomised


@pytest.mark.parametrize(("name", "kind"), [("se", ChannelSE), ("scse", SCSE), ("bam", BAM), ("cbam", CBAM)])
def test_build_attention_returns_the_layer_with_its_default_reduction(name, kind):
    assert type(build_attention(name, 64)) is kind
    assert build_attention(name, 64, reduction=8).squeeze.out_features == 8
    assert build_attention(name, 3, reduction=8).squeeze.out_features == 1
    default = {"scse": 32}.get(name, 4)
    assert build_attention(name, 64).squeeze.out_features == kind(64).squeeze.out_features == default


def test_none_is_the_identity():
    assert type(build_attention("none", 64)) is nn.Identity
    assert list(ATTENTIONS) == ["se", "scse", "bam", "cbam"]


def test_unknown_name_raises():
    words = "unknown attention 'SCSE': choose one of 'none', 'se', 'scse', 'bam', 'cbam'"
    with pytest.raises(ValueError, match=re.escape(words)):
        build_attention("SCSE", 64)


@pytest.mark.parametrize("name", ["none", "se"])
def test_reduction_below_one_raises(name):
    with pytest.raises(ValueError, match="reduction must be at least 1, got 0"):
        build_attention(name, 64, reduction=0)


@pytest.mark.parametrize(
    ("site", "channels", "kind"),
    [("concat", 8, CBAM), ("decoder", 8, CBAM), ("skip", 8, nn.Identity), ("concat", 0, nn.Identity)],
)
def test_build_attention_at_needs_the_site_and_a_map(site, channels, kind):
    module = build_attention_at(site, channels, name="cbam", sites=("concat", "decoder"), reduction=2)
    assert type(module) is kind
    assert kind is nn.Identity or module.squeeze.out_features == 4


def test_input_of_another_shape_raises(build):
    module = build(16)
    for shape in ((16, 5, 5), (2, 8, 5, 5), (1, 2, 16, 5, 5)):
        with pytest.raises(ValueError, match=re.escape(f"expected a map N 16 H W, got {shape}")):
            module(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 17, 8, 1)])
@torch.no_grad()
def test_keeps_shape_and_dtype(build, shape):
    module = build(shape[1]).eval()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        y = module.to(dtype)(torch.randn(shape, dtype=dtype))
        assert y.shape == shape
        assert y.dtype == dtype
        assert y.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_keeps_channels_last_forward_and_backward(build, training):
    x, weight = torch.randn(2, 2, 16, 6, 5, dtype=torch.float64)
    gradients = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        module = build(16).double().train(training).to(memory_format=layout)
        leaf = x.detach().to(memory_format=layout).requires_grad_()
        inner = leaf * 1  # the gradient of a leaf is always stored in the format of the leaf
        inner.register_hook(lambda gradient, layout=layout: gradients.setdefault(layout, gradient))
        y = module(inner)
        assert y.is_contiguous(memory_format=layout)
        y.backward(weight.to(memory_format=layout))
        assert gradients[layout].is_contiguous(memory_format=layout)
        assert all(p.grad is not None for p in module.parameters())
        gradients[layout, "y"] = y
    last, first = torch.channels_last, torch.contiguous_format
    torch.testing.assert_close(gradients[last], gradients[first])
    torch.testing.assert_close(gradients[last, "y"], gradients[first, "y"])


def as_function(build, training):
    """A layer in float64 as a function of its input and parameters, and values for them."""
    module = build(3, seed=1).double().train(training)
    names = [name for name, _ in module.named_parameters()]

    def call(x, *weights):
        return torch.func.functional_call(copy.deepcopy(module), dict(zip(names, weights, strict=True)), (x,))

    x = torch.randn(3, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    return call, (x, *module.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_first_derivatives(build, training):
    call, inputs = as_function(build, training)
    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives(build, training):
    call, inputs = as_function(build, training)
    assert torch.autograd.gradgradcheck(call, inputs, atol=1e-4, fast_mode=True)


def test_every_parameter_gets_a_gradient_from_one_image(build):
    module = build(64).train()
    x = torch.randn(1, 64, 5, 7, requires_grad=True)
    module(x).square().mean().backward()
    for name, tensor in (("x", x), *module.named_parameters()):
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.any(), name


def test_bfloat16_autocast_keeps_the_dtype_and_is_close(build):
    module = build(16).eval()
    x = torch.randn(2, 16, 17, 9)
    want = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        full, half = module(x), module(x.bfloat16())
    assert (full.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(full, want, rtol=0.05, atol=0.05)
    torch.testing.assert_close(half.float(), want, rtol=0.05, atol=0.05)
    half.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_the_backward_pass_keeps_only_the_input(build):
    kept = []
    module = build(64)
    x = torch.randn(2, 64, 13, 11, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        module(x)
    large = {t.untyped_storage().data_ptr() for t in kept if t.numel() >= x.numel() // 2}
    assert x.untyped_storage().data_ptr() in large
    # The pixel gate of CBAM reads the output of its channel gate.
    assert len(large) == (2 if build.name == "cbam" else 1)


def compiled_agrees(module, shapes, **options):
    """Assert that a compiled module returns the same map and gradient."""
    torch._dynamo.reset()
    fast = torch.compile(copy.deepcopy(module), fullgraph=True, **options)
    for shape in shapes:
        x, weight = torch.randn(2, *shape)
        outputs, gradients = [], []
        for net in (module, fast):
            leaf = x.clone().requires_grad_()
            outputs.append(net(leaf))
            (outputs[-1] * weight).sum().backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(*reversed(outputs), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(*reversed(gradients), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_compiles_to_one_graph_with_free_sizes(build, training):
    compiled_agrees(build(16).train(training), [(2, 16, 13, 11), (3, 16, 5, 8)], backend="eager", dynamic=True)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_to_one_graph_forward_and_backward(build, backend):
    compiled_agrees(build(16).train(), [(2, 16, 13, 11), (1, 16, 13, 11)], backend=backend)


@pytest.mark.slow
def test_exports_with_free_sizes(build):
    module = build(4).eval()
    dim = torch.export.Dim
    sizes = {0: dim("n"), 2: dim("h", min=2), 3: dim("w", min=2)}
    program = torch.export.export(module, (torch.randn(2, 4, 8, 9),), dynamic_shapes=(sizes,))
    for runs in (program.module(), program.run_decompositions().module()):
        x = torch.randn(3, 4, 5, 21)
        torch.testing.assert_close(runs(x), module(x))
