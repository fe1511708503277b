"""scSE against its formula and segmentation_models_pytorch, with second derivatives, dtypes and memory formats."""

import copy
import re

import pytest
import torch
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from saltzoo.layers import SCSE

CLOSE = {torch.float64: 1e-10, torch.float32: 1e-5}


def randomised(module, seed=0, scale=0.3):
    """The module with random weights, so that its gates are not 0.5."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module


def smp_twin(ours, channels, reduction):
    theirs = SCSEModule(channels, reduction=reduction).to(ours.squeeze.weight.dtype)
    pairs = ((theirs.cSE[1], ours.squeeze), (theirs.cSE[3], ours.excite), (theirs.sSE[0], ours.spatial))
    with torch.no_grad():
        for conv, layer in pairs:
            conv.weight.copy_(layer.weight.reshape(conv.weight.shape))
            conv.bias.copy_(layer.bias)
    return theirs, pairs


def grads_of(module, x, weight):
    x = x.detach().clone().requires_grad_()
    module.zero_grad()
    (module(x) * weight).sum().backward()
    return x.grad


@pytest.mark.parametrize("shape", [(2, 64, 7, 9), (1, 3, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_is_the_identity_at_the_start_and_after_reset(shape, dtype):
    x = torch.randn(shape)
    x = (x + x.sign() / 100).to(dtype)  # halving the smallest float16 numbers would round them
    module = SCSE(shape[1]).to(dtype)
    assert torch.equal(module(x), x)
    randomised(module)
    assert not torch.equal(module(x), x)
    module.reset_parameters()
    assert torch.equal(module(x), x)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(("channels", "reduction"), [(64, 16), (5, 3)])
def test_agrees_with_segmentation_models_pytorch(channels, reduction, dtype):
    ours = randomised(SCSE(channels, reduction=reduction)).to(dtype)
    theirs, pairs = smp_twin(ours, channels, reduction)
    x, weight = torch.randn(2, 2, channels, 9, 11, dtype=dtype)
    close = {"rtol": CLOSE[dtype], "atol": 10 * CLOSE[dtype]}
    torch.testing.assert_close(ours(x), theirs(x), **close)
    torch.testing.assert_close(grads_of(ours, x, weight), grads_of(theirs, x, weight), **close)
    for conv, layer in pairs:
        torch.testing.assert_close(layer.weight.grad.reshape(conv.weight.shape), conv.weight.grad, **close)
        torch.testing.assert_close(layer.bias.grad, conv.bias.grad, **close)


def functional(channels, seed=0):
    module = randomised(SCSE(channels, reduction=2), seed, scale=1).double()
    names = [name for name, _ in module.named_parameters()]

    def call(x, *weights):
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))

    x = torch.randn(2, channels, 3, 2, dtype=torch.float64, requires_grad=True)
    return call, (x, *module.parameters())


@pytest.mark.parametrize("channels", [1, 4])
def test_first_derivatives(channels):
    torch.manual_seed(channels)
    assert torch.autograd.gradcheck(*functional(channels))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_second_derivatives(channels):
    torch.manual_seed(channels)
    assert torch.autograd.gradgradcheck(*functional(channels))


def test_gradients_of_a_constant_map_and_of_a_frozen_module():
    module, x = randomised(SCSE(6)), torch.randn(2, 6, 5, 5)
    free = grads_of(module, x, 1.0)
    module(x).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    module.requires_grad_(False)
    torch.testing.assert_close(grads_of(module, x, 1.0), free)


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(64, 16, 4), (3, 16, 1)])
def test_the_hidden_width_is_at_least_one(channels, reduction, hidden):
    module = SCSE(channels, reduction=reduction)
    assert module.squeeze.out_features == hidden
    assert f"hidden={hidden}" in repr(module)


@pytest.mark.parametrize(
    ("channels", "options", "words"),
    [
        (0, {}, "channels must be at least 1, got 0"),
        (4, {"reduction": 0}, "reduction must be at least 1, got 0"),
        (4, {"merge": "mul"}, "unknown merge 'mul': choose one of 'add', 'max'"),
    ],
)
def test_invalid_options_raise(channels, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        SCSE(channels, **options)


def test_keeps_channels_last_forward_and_backward():
    module = randomised(SCSE(8))
    x = torch.randn(2, 8, 6, 5)
    want = grads_of(module, x, 1.0)
    last = x.to(memory_format=torch.channels_last).requires_grad_()
    y = module(last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, module(x))
    y.backward(torch.ones_like(y))
    assert last.grad.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last.grad, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_keep_their_dtype_under_autocast(dtype):
    module = randomised(SCSE(32))
    x, weight = torch.randn(2, 2, 32, 17, 19)
    half = x.to(dtype).requires_grad_()
    exact = half.detach().float()
    want, want_grad = module(exact), grads_of(module, exact, weight)
    wanted = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    with torch.autocast("cpu", dtype):
        y = module(half)
    assert y.dtype == dtype
    (y.float() * weight).sum().backward()
    assert half.grad.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y.float(), want, rtol=8 * eps, atol=8 * eps)
    torch.testing.assert_close(half.grad.float(), want_grad, rtol=16 * eps, atol=16 * eps)
    for parameter, value in zip(module.parameters(), wanted, strict=True):
        assert parameter.grad.dtype == torch.float32
        assert (parameter.grad - value).abs().max() < 16 * eps * value.abs().max() + eps


def test_pooling_does_not_overflow_in_float16():
    module = randomised(SCSE(4), scale=1e-4).half()
    x = torch.full((1, 4, 64, 64), 100.0, dtype=torch.float16)  # the sum over pixels exceeds 65504
    assert torch.isfinite(module(x)).all()


def test_float32_maps_stay_float32_under_autocast():
    module, x = randomised(SCSE(8)), torch.randn(1, 8, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, module(x))


def test_the_backward_pass_keeps_only_the_input():
    kept = []
    module = randomised(SCSE(16))
    x = torch.randn(2, 16, 33, 31, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        module(x)
    large = [t for t in kept if t.numel() >= x.numel() // 2]
    assert [t.data_ptr() for t in large] == [x.data_ptr()]


def kept_by(module, x):
    """Bytes of all tensors saved for the backward pass, each storage counted once."""
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        module(x)
    return sum(storages.values())


class Alive(TorchDispatchMode):
    """Records `peak`, the largest number of bytes that tensors occupied after any operation."""

    def __init__(self):
        super().__init__()
        self.storages, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.storages = {key: value for key, value in self.storages.items() if not value[0].expired()}
        self.peak = max(self.peak, sum(nbytes for _, nbytes in self.storages.values()))
        return result


def peaks_of(module, x):
    """Peaks of the forward pass, and of the backward pass without the output, in multiples of the size of x."""
    x = x.detach().requires_grad_()
    with Alive() as alive:
        y = module(x)
        forward, alive.peak = alive.peak, 0
        torch.autograd.grad(y, [x, *module.parameters()], torch.ones_like(y))
    return forward / x.nbytes, alive.peak / x.nbytes - 1


@pytest.mark.parametrize("merge", ["add", "max"])
@pytest.mark.parametrize(("autocast", "most"), [(False, 1.001), (True, 0.68)])
def test_keeps_no_more_than_segmentation_models_pytorch(merge, autocast, most):
    """In float32 both keep little but the input; under autocast theirs also keeps a rounded copy of it."""
    x = torch.randn(16, 64, 64, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        theirs = kept_by(SCSEModule(64, reduction=16), x)
        ours = kept_by(SCSE(64, reduction=16, merge=merge), x)
        normed = kept_by(SCSE(64, reduction=16, merge=merge, norm=True), x)
    assert x.nbytes < ours <= most * theirs
    assert normed - ours < 1.1 * x.nbytes / 64  # the input of the norm of the pixel gate


def test_needs_at_most_two_thirds_of_the_memory_of_segmentation_models_pytorch():
    """At the peak of either pass, including the input and the incoming gradient, but not the output."""
    x = torch.randn(16, 64, 64, 64)
    ours, theirs = (peaks_of(module, x) for module in (SCSE(64, reduction=16), SCSEModule(64, reduction=16)))
    assert ours[0] < 2.1
    assert ours[1] < 3.1
    assert ours[0] <= 2 / 3 * theirs[0]
    assert ours[1] <= 2 / 3 * theirs[1]


class Reference(nn.Module):
    """All variants as torch layers, with the gradients of autograd."""

    def __init__(self, ours, merge):
        super().__init__()
        channels, hidden = ours.squeeze.in_features, ours.squeeze.out_features
        bias = ours.squeeze.bias is not None

        def norm(count):
            return nn.Identity() if bias else nn.BatchNorm2d(count)

        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1, bias=bias),
            norm(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1, bias=bias),
            norm(channels),
            nn.Sigmoid(),
        )
        self.pixel = nn.Sequential(nn.Conv2d(channels, 1, 1, bias=bias), norm(1), nn.Sigmoid())
        self.merge = merge
        self.names = {"squeeze": "channel.1", "squeeze_norm": "channel.2", "excite": "channel.4"}
        self.names |= {"excite_norm": "channel.5", "spatial": "pixel.0", "spatial_norm": "pixel.1"}
        own = self.state_dict()
        for key, value in ours.state_dict().items():
            own[self.name_of(key)].copy_(value.reshape(own[self.name_of(key)].shape))

    def name_of(self, key):
        module, _, tensor = key.partition(".")
        return f"{self.names[module]}.{tensor}"

    def forward(self, x):
        channel, pixel = self.channel(x), self.pixel(x)
        return x * (channel + pixel) if self.merge == "add" else torch.maximum(x * channel, x * pixel)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("merge", ["add", "max"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
def test_variants_agree_with_torch_layers(norm, merge, training, fresh):
    torch.manual_seed(0)
    ours = SCSE(12, reduction=3, norm=norm, merge=merge)
    ours = (ours if fresh else randomised(ours)).double().train(training)
    theirs = Reference(ours, merge).double().train(training)
    x, weight = torch.randn(2, 3, 12, 5, 6, dtype=torch.float64)
    want = grads_of(theirs, x, weight)
    torch.testing.assert_close(grads_of(ours, x, weight), want)
    for name, parameter in ours.named_parameters():
        wanted = theirs.get_parameter(theirs.name_of(name)).grad
        torch.testing.assert_close(parameter.grad, wanted.reshape(parameter.shape))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[theirs.name_of(name)].reshape(value.shape))
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(2, 8, 7, 9), (1, 3, 1, 1)])
@pytest.mark.parametrize(("merge", "scale"), [("add", 1), ("max", 0.5)])
def test_norms_do_not_change_the_output_at_the_start_and_after_reset(merge, scale, shape, training):
    x = torch.randn(shape)
    module = SCSE(shape[1], merge=merge, norm=True).train(training)
    assert torch.equal(module(x), scale * x)
    randomised(module)
    assert not torch.equal(module(x), scale * x)
    module.reset_parameters()
    assert torch.equal(module(x), scale * x)


def test_layers_before_a_norm_have_no_biases():
    channels, hidden = 64, 32
    count = sum(p.numel() for p in SCSE(channels, norm=True).parameters())
    assert count == 2 * channels * hidden + channels + 2 * (hidden + channels + 1)
    plain = sum(p.numel() for p in SCSE(channels).parameters())
    assert plain == 2 * channels * hidden + channels + hidden + channels + 1


def compiled_agrees(backend, dtype=torch.float32):
    torch._dynamo.reset()
    module = randomised(SCSE(16)).to(dtype)
    x, weight = torch.randn(2, 2, 16, 13, 11, dtype=dtype)
    fast = torch.compile(module, fullgraph=True, backend=backend)
    want = grads_of(module, x, weight)
    wanted = [parameter.grad.clone() for parameter in module.parameters()]
    torch.testing.assert_close(fast(x), module(x))
    module.zero_grad()
    leaf = x.clone().requires_grad_()
    (fast(leaf) * weight).sum().backward()
    torch.testing.assert_close(leaf.grad, want, rtol=1e-4, atol=1e-5)
    for parameter, value in zip(module.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, value, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_to_one_graph(backend):
    compiled_agrees(backend)


@pytest.mark.slow
def test_exports_with_free_sizes():
    module = randomised(SCSE(4)).eval()
    dim = torch.export.Dim
    sizes = {0: dim("n"), 2: dim("h", min=2), 3: dim("w", min=2)}
    program = torch.export.export(module, (torch.randn(2, 4, 8, 9),), dynamic_shapes=(sizes,))
    x = torch.randn(3, 4, 5, 21)
    torch.testing.assert_close(program.module()(x), module(x))


def test_a_deep_copy_has_separate_weights():
    model = nn.Sequential(randomised(SCSE(4)))
    twin = copy.deepcopy(model)
    x = torch.randn(1, 4, 3, 3)
    before = model(x)
    randomised(twin, seed=1)
    assert torch.equal(model(x), before)
    assert not torch.equal(twin(x), before)


def test_backward_under_autocast_does_not_round():
    torch.manual_seed(0)
    module = randomised(SCSE(16))
    x = torch.randn(2, 16, 9, 7)
    gradients = []
    for enabled in (False, True):
        module.zero_grad()
        y = module(x)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            y.square().sum().backward()
        gradients.append([p.grad.clone() for p in module.parameters()])
    for without, under in zip(*gradients, strict=True):
        torch.testing.assert_close(under, without, rtol=1e-6, atol=1e-6)
