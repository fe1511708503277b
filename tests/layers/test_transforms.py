"""Layers, encoders, decoders and heads inside `torch.func` and forward-mode differentiation, against loops."""

import copy

import pytest
import torch
from _proofs import randomise_vectors
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

from saltzoo import layers
from saltzoo._torch import is_channels_last_only, memory_layout
from saltzoo.contracts import FeatureSpec
from saltzoo.decoders import UnetDecoder
from saltzoo.encoders import PlainEncoder, TimmEncoder
from saltzoo.heads import (
    AuxiliaryHead,
    ClassificationHead,
    DeepSupervisionHead,
    HypercolumnHead,
    SegmentationHead,
)
from saltzoo.layers.upsampled_conv import conv_of_upsampled


class Call(torch.nn.Module):
    """A part that is called with maps of fixed shapes and answers with one flat tensor for each image."""

    def __init__(self, part, call=None):
        super().__init__()
        self.part, self.call = part, call or (lambda part, *maps: part(*maps))

    def forward(self, *maps):
        output = self.call(self.part, *maps)
        output = output if isinstance(output, list | tuple) else [output]
        return torch.cat([one.flatten(1) for one in output], dim=1)


class ConvOfUpsampled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 4, 3, 3))

    def forward(self, x):
        return conv_of_upsampled(x, self.weight, (9, 11), dilation=2)


def to_size(part, x):
    return part(x, (9, 11))


def block(part, x, skip):
    return part(x, skip, skip.shape[-2:])


def of_maps(part, *maps):
    return part(maps)


X, FINE = (4, 5, 6), (3, 9, 11)
ATTENTION = {
    "se": lambda: layers.ChannelSE(4),
    "spatial": lambda: layers.SpatialSE(4),
    "scse": lambda: layers.SCSE(4),
    "scse_max": lambda: layers.SCSE(4, merge="max"),
    "scse_norm": lambda: layers.SCSE(4, norm=True),
    "scse_norm_max": lambda: layers.SCSE(4, norm=True, merge="max"),
    "bam": lambda: layers.BAM(4),
    "bam_mul": lambda: layers.BAM(4, gate="mul"),
    "cbam": lambda: layers.CBAM(4),
}
SPEC = FeatureSpec((3, 4), (2, 4))
PARTS = {
    **{name: (build, None, [X]) for name, build in ATTENTION.items()},
    "coordinates": (lambda: layers.CoordChannels(radius=True), None, [X]),
    "scalar": (layers.ScalarChannel, None, [X, ()]),
    "pyramid_pooling": (lambda: layers.PyramidPooling(4, bins=(1, 3)), None, [X]),
    "pyramid_pooling_of_a_pixel": (lambda: layers.PyramidPooling(4), None, [(4, 1, 1)]),
    "guided_upsample": (lambda: layers.GuidedUpsample(4, 3, out_channels=2), None, [X, FINE]),
    "conv_of_upsampled": (ConvOfUpsampled, None, [X]),
    "upsample_nearest": (lambda: layers.Upsample(4, 3), to_size, [X]),
    "upsample_bilinear": (lambda: layers.Upsample(4, 3, mode="bilinear"), to_size, [X]),
    "upsample_deconv": (lambda: layers.Upsample(4, 3, mode="deconv"), to_size, [X]),
    "bottleneck": (lambda: layers.DilatedBottleneck(4, 3, 5, stride=2, dilation=2), None, [X]),
    "basic_block": (lambda: layers.BasicBlock(4, 5, stride=2), None, [X]),
    "preact_stage": (lambda: layers.PreActStage(4, 5, slope=0.1), None, [X]),
    "frru": (lambda: layers.FRRU(4, 5, 3, scale=2), None, [(3, 11, 12), X]),
    "unet_block": (
        lambda: layers.UnetBlock(4, 3, 5, attention="scse", attention_sites=("skip", "concat", "decoder")),
        block,
        [X, FINE],
    ),
    "half_unet_block": (lambda: layers.HalfUnetBlock(4, 3, 6, attention="bam"), block, [X, FINE]),
    "residual_unet_block": (lambda: layers.ResidualUnetBlock(4, 3, 5, attention="cbam"), block, [X, FINE]),
    "plain_encoder": (lambda: PlainEncoder((3, 4), attention="scse"), None, [(1, 8, 9)]),
    "timm_encoder": (lambda: TimmEncoder("test_resnet", attention="scse"), None, [(1, 33, 40)]),
    "timm_encoder_channels_last": (lambda: TimmEncoder("test_mambaout", attention="bam"), None, [(1, 33, 40)]),
    "unet_decoder": (
        lambda: UnetDecoder(SPEC, (5, 4)),
        lambda part, *maps: part(maps, (9, 11)),
        [(3, 5, 6), (4, 3, 3)],
    ),
    "segmentation_head": (
        lambda: SegmentationHead(4, 2, scale=2),
        lambda part, x: part([x], (9, 11)),
        [X],
    ),
    "hypercolumn_head": (
        lambda: HypercolumnHead((4, 3), 2, reduced=3, hidden=4, reads_image=True),
        lambda part, x, fine, image: part([x, fine], fine.shape[-2:], image),
        [X, FINE, (1,)],
    ),
    "deep_supervision_head": (lambda: DeepSupervisionHead((4, 3), 2, hidden=3), of_maps, [X, FINE]),
    "auxiliary_head": (lambda: AuxiliaryHead(4, 2, stage=0, hidden=3), of_maps, [X]),
    "classification_head": (lambda: ClassificationHead(4), None, [X]),
}
WEIGHTLESS = ["coordinates", "scalar", "upsample_nearest", "upsample_bilinear"]


def make(name, *, members=1):
    """Members of one part with random weights, in evaluation mode and float64, and their maps of two images."""
    torch.manual_seed(0)
    build, call, shapes = PARTS[name]
    made = [randomise_vectors(Call(build(), call).double().eval(), seed) for seed in range(members)]
    for member in made:
        for parameter in member.parameters():
            torch.nn.init.normal_(parameter, std=0.4) if parameter.ndim > 1 else None
    return made, [torch.randn(2, *shape, dtype=torch.float64) for shape in shapes]


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", PARTS)
def test_vmap_over_images_agrees_with_the_batch(name):
    [part], maps = make(name)
    close(vmap(lambda *image: part(*(one[None] for one in image))[0])(*maps), part(*maps))


@pytest.mark.parametrize("name", [name for name in PARTS if name not in WEIGHTLESS])
@pytest.mark.parametrize("shared", [True, False])
def test_vmap_over_stacked_weights_agrees_with_a_loop(name, shared):
    members, maps = make(name, members=3)
    state = stack_module_state(members)
    base = copy.deepcopy(members[0]).to("meta")
    if not shared:
        maps = [torch.randn(3, *one.shape, dtype=one.dtype) for one in maps]

    def run(parameters, buffers, *maps):
        return functional_call(base, (parameters, buffers), maps)

    got = vmap(run, in_dims=(0, 0, *[None if shared else 0] * len(maps)))(*state, *maps)
    want = [member(*(maps if shared else [one[i] for one in maps])) for i, member in enumerate(members)]
    close(got, torch.stack(want))


@pytest.mark.parametrize("name", PARTS)
def test_gradients_of_each_image_agree_with_a_loop(name):
    [part], maps = make(name)
    parameters, buffers = dict(part.named_parameters()), dict(part.named_buffers())

    def loss(parameters, *image):
        return functional_call(part, (parameters, buffers), tuple(one[None] for one in image)).square().sum()

    inputs = (parameters, *maps)
    got = vmap(grad(loss, argnums=tuple(range(len(inputs)))), in_dims=(None, *[0] * len(maps)))(*inputs)
    for index in range(2):
        image = [one[index : index + 1].clone().requires_grad_() for one in maps]
        wanted = [*parameters.values(), *image]
        # An encoder may have weights on which only maps that it does not return depend.
        want = torch.autograd.grad(part(*image).square().sum(), wanted, materialize_grads=True)
        found = [*(got[0][key][index] for key in parameters), *(one[index][None] for one in got[1:])]
        for one, other in zip(found, want, strict=True):
            close(one, other)


def directions(part, maps):
    """Inputs of a part, its weights first, a function of all of them, and a direction for each."""
    parameters = {key: value.detach() for key, value in part.named_parameters()}
    keys, inputs = list(parameters), [*parameters.values(), *maps]

    def call(*inputs):
        weights = dict(zip(keys, inputs, strict=False))
        return functional_call(part, (weights, dict(part.named_buffers())), inputs[len(keys) :])

    return call, tuple(inputs), tuple(torch.randn_like(one) for one in inputs)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("way", ["jvp", "dual numbers"])
def test_forward_mode_agrees_with_reverse_mode(name, way):
    """For J in direction u, v . (J u) = (J^T v) . u, and the right side is the ordinary backward pass."""
    [part], maps = make(name)
    call, inputs, u = directions(part, maps)
    if way == "jvp":
        output, change = jvp(call, inputs, u)
    else:
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(one, direction) for one, direction in zip(inputs, u, strict=True)]
            output, change = forward_ad.unpack_dual(call(*duals))
    leaves = [one.clone().requires_grad_() for one in inputs]
    plain = call(*leaves)
    close(output, plain)
    v = torch.randn_like(plain)
    backward = torch.autograd.grad(plain, leaves, v, materialize_grads=True)
    right = sum((one * direction).sum() for one, direction in zip(backward, u, strict=True))
    torch.testing.assert_close((v * change).sum(), right, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ATTENTION)
def test_second_derivatives_agree_with_autograd(name):
    [part], _ = make(name)
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64)

    def loss(x):
        return part(x).pow(3).sum()

    want = torch.autograd.functional.hessian(loss, x)
    for got in (hessian(loss)(x), jacrev(jacrev(loss))(x), jacrev(jacfwd(loss))(x), jacfwd(jacfwd(loss))(x)):
        close(got, want)


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorised_jacobian_agrees_with_a_loop(name, strategy):
    """In reverse mode the forward pass runs as usual, and only the backward pass inside vmap."""
    [part], _ = make(name)
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64)
    want = torch.autograd.functional.jacobian(part, x)
    close(torch.autograd.functional.jacobian(part, x, vectorize=True, strategy=strategy), want)


@pytest.mark.parametrize("name", ATTENTION)
def test_vjp_of_half_precision_stays_in_half_precision(name):
    module = ATTENTION[name]().eval()
    x = torch.randn(2, 4, 5, 6).bfloat16()
    output, pull = vjp(module.bfloat16(), x)
    assert output.dtype == pull(torch.ones_like(output))[0].dtype == torch.bfloat16


@pytest.mark.parametrize("merge", ["add", "max"])
def test_vmap_over_some_weights_only(merge):
    [part], [x] = make("scse" if merge == "add" else "scse_max")
    biases = torch.randn(3, 1, dtype=torch.float64)

    def run(bias):
        return functional_call(part, {"part.spatial.bias": bias}, (x,))

    close(vmap(run)(biases), torch.stack([run(bias) for bias in biases]))


def test_an_ensemble_trains_as_its_members_do():
    """In training mode batch norm updates the stacked statistics in place."""
    members = [member.train() for member in make("unet_block", members=3)[0]]
    maps = [torch.randn(3, 2, *shape, dtype=torch.float64) for shape in (X, FINE)]
    parameters, buffers = stack_module_state(members)
    base = copy.deepcopy(members[0])

    def loss(parameters, buffers, *maps):
        return functional_call(base, (parameters, buffers), maps).square().mean()

    got = vmap(grad(loss))(parameters, buffers, *maps)
    for index, member in enumerate(members):
        member(*(one[index] for one in maps)).square().mean().backward()
        for key, parameter in member.named_parameters():
            close(got[key][index], parameter.grad)
        for key, buffer in member.named_buffers():
            torch.testing.assert_close(buffers[key][index], buffer)


def test_layers_use_no_transform_for_others():
    """The answer of a helper ends with the transform."""
    x = torch.zeros(1, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    seen = []
    grad(lambda x: seen.append((memory_layout(x), is_channels_last_only(x))) or x.sum())(x)
    vmap(lambda x: seen.append((memory_layout(x), is_channels_last_only(x))) or x)(x[None])
    assert seen == [(torch.contiguous_format, False)] * 2
    assert (memory_layout(x), is_channels_last_only(x)) == (torch.channels_last, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ATTENTION, "pyramid_pooling", "guided_upsample", "coordinates"])
def test_gradients_of_each_image_compile_to_one_graph(name):
    [part], maps = make(name)
    torch._dynamo.reset()

    def loss(*image):
        return part(*(one[None] for one in image)).square().sum()

    each = vmap(grad(loss))
    close(torch.compile(each, fullgraph=True, backend="aot_eager")(*maps), each(*maps))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["se", "spatial", "scse", "scse_max", "coordinates"])  # torch: not with batch norm
def test_forward_mode_compiles_to_one_graph(name):
    [part], maps = make(name)
    torch._dynamo.reset()
    change = torch.compile(lambda *maps: jvp(part, maps, maps), fullgraph=True, backend="inductor")(*maps)
    close(change, jvp(part, tuple(maps), tuple(maps)))
