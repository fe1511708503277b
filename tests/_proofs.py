"""Checks of networks and layers that many tests share."""

import copy

import pytest
import torch
import torch.nn.functional as F

from saltzoo.metrics import salt_map

refused_batches = pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 64, 64), "expected a batch N 1 H W, got (2, 3, 64, 64)"),
        ((2, 64, 64), "got (2, 64, 64); gray tiles (N, H, W) become one with x[:, None]"),
        ((1, 1, 31, 64), "at least 32 x 32, got 31 x 64: pad"),
        ((1, 1, 64, 31), "got 64 x 31"),
    ],
)
"""Invalid batches for a network of one channel, and their error messages."""


@torch.no_grad()
def randomise_batch_norms(module, spread=0.1):
    """Randomise batch norms, biases and means with a standard deviation of `spread`, and return the module."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=spread)
            norm.running_mean.normal_(std=spread)
            norm.running_var.uniform_(0.5, 2)
    return module


@torch.no_grad()
def randomise_vectors(module, seed=0):
    """Randomise all vectors (norms and biases) with a given seed, and return the module."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.ndim == 1:
            value.uniform_(0.5 if "running_var" in name else -1.0, 2, generator=generator)
    return module


def flat(output):
    """Return all tensors of an output, the logits of the mask first."""
    if isinstance(output, torch.Tensor):
        return [output]
    beside = [tensor for tensor in (output.image, output.auxiliary) if tensor is not None]
    return [output.logits, *output.maps, *beside]


def agree(got, want, *, rtol=1e-4, atol=1e-5, scaled=False):
    """Assert that two outputs have one type and agree; with `scaled`, `atol` grows with values above 1."""
    assert type(got) is type(want), (type(got), type(want))
    for mine, theirs in zip(flat(got), flat(want), strict=True):
        scale = max(1, theirs.abs().max().item()) if scaled else 1
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=atol * scale)


def gradients_are_finite(model):
    """Assert that every parameter has a finite gradient."""
    bad = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert bad == [], bad


@torch.no_grad()
def images_are_independent(net, x, *, rtol=1e-4, atol=1e-5):
    """Assert that each image gives the same result alone as in the batch."""
    whole = flat(net(x))
    for n in range(len(x)):
        for one, of_batch in zip(flat(net(x[n : n + 1])), whole, strict=True):
            torch.testing.assert_close(one[0], of_batch[n], rtol=rtol, atol=atol)


@torch.no_grad()
def is_near_in_bf16(net, x, within=0.05):
    """Assert that outputs under bf16 autocast are finite and differ by less than a fraction `within` of their mean."""
    want = flat(net(x))
    with torch.autocast("cpu", torch.bfloat16):
        got = flat(net(x))
    for mine, theirs in zip(got, want, strict=True):
        assert mine.isfinite().all()
        error, size = (mine.float() - theirs).abs().mean(), theirs.abs().mean()
        assert error < within * size, (error, size)


def trains_in_bf16(model, x):
    """Assert that every parameter gets a finite gradient under bf16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    y.float().square().mean().backward()
    gradients_are_finite(model)


@torch.no_grad()
def stays_channels_last(net, x, **tolerances):
    """Assert that all maps keep the memory format channels_last, and that outputs are the same."""
    want = net(x)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    features = last.encoder(x)
    maps = last.decoder(features, x.shape[-2:])
    broken = [tuple(m.shape) for m in (*features, *maps) if not m.is_contiguous(memory_format=torch.channels_last)]
    assert broken == [], broken
    agree(last(x), want, **tolerances)


@torch.no_grad()
def compiles(net, shapes, *, backend="eager", graphs=None, **tolerances):
    """Assert that the network, compiled whole with free sizes, agrees at every shape, and the number of graphs."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    fast = torch.compile(net, dynamic=True, fullgraph=True, backend=backend)
    for shape in shapes:
        x = torch.randn(shape)
        agree(fast(x), net(x), **tolerances)
        made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert graphs in (None, made), made


@torch.no_grad()
def exported(net, least=33, side=101):
    """Return the exported program for any batch and sides from `least`; torch treats a size of 1 as constant."""
    dim = torch.export.Dim
    sizes = ({0: dim("n"), 2: dim("h", min=least), 3: dim("w", min=least)},)
    return torch.export.export(net, (torch.randn(2, net.in_chans, side, side),), dynamic_shapes=sizes)


@torch.no_grad()
def program_agrees(program, net, shapes, **tolerances):
    """Assert that an exported program agrees with the network at every shape."""
    module = program.module()
    for shape in shapes:
        x = torch.randn(shape)
        agree(module(x), net(x), **tolerances)


@torch.no_grad()
def onnx_agrees(program, net, shapes, folder, *, rtol=1e-3, atol=1e-4, scaled=False):
    """Assert that an exported program, written as ONNX, agrees with the network in onnxruntime at every shape."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(program, dynamo=True).save(folder / "net.onnx")
    session = onnxruntime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    for shape in shapes:
        x = torch.randn(shape)
        (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        agree(torch.from_numpy(got), net(x), rtol=rtol, atol=atol, scaled=scaled)


def batch_of(tiles, model, crop=slice(None)):
    """Return the prepared images and the masks of tiles, cropped along both sides."""
    images = torch.from_numpy(tiles.images)[:, None, crop, crop]
    return model.preprocess(images.float() / 255), torch.from_numpy(tiles.masks)[:, crop, crop]


def mask_loss(output, masks):
    """Return the cross-entropy of the mask's logits alone."""
    return F.binary_cross_entropy_with_logits(flat(output)[0][:, 0], masks.float())


def overfits_one_batch(model, batch, *, steps, lr, loss=mask_loss, salt=(0.1, 0.9)):
    """Assert that at most this many steps on one batch, whose fraction of salt is within `salt`, end at its masks."""
    x, y = batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(x)
        loss(output, y).backward()
        optimizer.step()
        if salt_map(flat(output)[0][:, 0] > 0, y) > 0.99:
            break
    share = y.float().mean()
    assert salt[0] < share < salt[1], share
    score = salt_map(flat(model(x))[0][:, 0] > 0, y).item()
    assert score > 0.95, score


@torch.no_grad()
def nothing_goes_past_attention(encoder, size):
    """Assert that this map and all coarser ones do not depend on the image if the attention returns a constant."""
    images = torch.randn(2, 1, 1, *size)
    for position, attention in enumerate(encoder.attentions):
        hook = attention.register_forward_hook(lambda _module, _args, output: torch.full_like(output, 0.1))
        first, second = encoder(images[0]), encoder(images[1])
        hook.remove()
        same = [torch.equal(a, b) for a, b in zip(first, second, strict=True)]
        assert same == [later >= position for later in range(len(first))], (position, same)
