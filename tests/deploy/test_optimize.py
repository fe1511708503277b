"""optimize: the same results, for every name of the catalog, from a model that stays as it was."""

import copy

import pytest
import torch
import torch.nn.functional as F
from _proofs import randomise_batch_norms
from torch import nn

import saltzoo
from saltzoo.contracts import SegOutput
from saltzoo.deploy import optimize
from saltzoo.deploy.doubling import DoublingConv
from saltzoo.deploy.fold import fold
from saltzoo.deploy.gates import CachedSCSE
from saltzoo.deploy.observe import foldable_pairs
from saltzoo.layers import SCSE

LIGHT = ("saltnet_s", "unet_resnet18_scse", "resunet_101")
"""Small networks that together have folded and lone norms, doubling and scSE."""


def logits_of(output):
    return output.logits if isinstance(output, SegOutput) else output


def made(name, **options):
    torch.manual_seed(0)
    return randomise_batch_norms(saltzoo.create_model(name, **options))


@torch.no_grad()
def agrees(model, optimized, shape):
    """Assert that the error against float64 is at most four times that of the model itself, or 1e-5.

    The model's own error is the largest at the image and at both of its neighbours in float32: of a network that
    amplifies rounding, as those with BAM do, one run can be right by chance.
    """
    plain = copy.deepcopy(model).eval()
    x = torch.randn(shape)
    exact = logits_of(copy.deepcopy(plain).double()(x.double()))
    near = (x, x.nextafter(torch.full((), torch.inf)), x.nextafter(torch.full((), -torch.inf)))
    own = max((logits_of(plain(image)) - exact).abs().max() for image in near)
    error = (optimized(x) - exact).abs().max()
    assert error <= 4 * own + 1e-5 * exact.abs().max().clamp(min=1), (error, own)


def check_name(name):
    model = made(name)
    optimized = optimize(model)
    agrees(model, optimized, (2, 1, 101, 101))
    agrees(model, optimized, (1, 1, 104, 97))
    agrees(model, optimized, (1, 1, 128, 128))
    convolutions = [m for m in optimized.modules() if isinstance(m, nn.Conv2d)]
    assert all(c.bias is None or not c.bias.requires_grad for c in convolutions)


@pytest.mark.parametrize("name", LIGHT)
def test_light_models_agree_with_float64(name):
    check_name(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in saltzoo.list_models() if name not in LIGHT])
def test_every_model_agrees_with_float64(name):
    check_name(name)


def test_the_given_model_is_untouched():
    model = made("saltnet_s").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    kinds = [type(m) for m in model.modules()]
    optimize(model)
    assert [m.training for m in model.modules()] == modes
    assert [type(m) for m in model.modules()] == kinds
    assert all(p.requires_grad for p in model.parameters())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_result_is_a_model_and_tells_what_was_done():
    model = made("unet_resnet18_scse", in_chans=3)
    optimized = optimize(model)
    assert optimized.preprocess == model.preprocess
    assert optimized.in_chans == 3
    assert optimized.config == model.config
    assert not optimized.training
    text = str(optimized)
    assert text.startswith("unet_resnet18_scse, optimised for inference:\n  30 batch norms folded")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in optimized.modules())


def test_heads_for_training_are_dropped():
    model = made("unet_resnet18", deep_supervision=True)
    assert isinstance(model(torch.zeros(2, 1, 64, 64)), SegOutput)
    optimized = optimize(model)
    assert isinstance(optimized(torch.zeros(1, 1, 64, 64)), torch.Tensor)
    assert "heads" in optimized.report[0]
    count = sum(p.numel() for p in optimize(made("unet_resnet18")).parameters())
    assert sum(p.numel() for p in optimized.parameters()) == count


def test_predict_and_tiles_take_it():
    model = made("saltnet_s")
    optimized = optimize(model)
    tiles = torch.rand(3, 101, 101)
    for tta in (None, "d4"):
        want = saltzoo.predict(model, tiles, tta=tta)
        torch.testing.assert_close(saltzoo.predict(optimized, tiles, tta=tta), want, rtol=1e-4, atol=1e-5)
    picture = torch.rand(150, 170).numpy()
    got, want = (saltzoo.predict_tiled(m, picture, tile=101) for m in (optimized, model))
    assert abs(got - want).max() < 1e-4


def test_an_ensemble_of_optimised_models_and_an_optimised_ensemble_agree():
    members = [made("saltnet_s"), made("unet_resnet18_scse")]
    tiles = torch.rand(2, 101, 101)
    want = saltzoo.predict(saltzoo.Ensemble(members), tiles)
    inside = saltzoo.Ensemble([optimize(member) for member in members])
    outside = optimize(saltzoo.Ensemble(members))
    for ensemble in (inside, outside):
        torch.testing.assert_close(saltzoo.predict(ensemble, tiles), want, rtol=1e-4, atol=1e-5)
    assert "61 batch norms folded" in str(outside)


@pytest.mark.slow
@torch.no_grad()
def test_compiles_and_exports_with_free_sizes():
    optimized = optimize(made("saltnet_s"))
    dim = torch.export.Dim
    sizes = ({0: dim("n"), 2: dim("h", min=33), 3: dim("w", min=33)},)
    free = copy.deepcopy(optimized).to(memory_format=torch.contiguous_format)
    program = torch.export.export(free, (torch.randn(2, 1, 101, 101),), dynamic_shapes=sizes).module()
    fixed = torch.export.export(optimized, (torch.randn(2, 1, 64, 64),)).module()
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(fixed(x), optimized(x), rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()
    compiled = torch.compile(optimized, dynamic=True, fullgraph=True, backend="eager")
    for shape in ((1, 1, 101, 101), (3, 1, 64, 97)):
        x = torch.randn(shape)
        want = optimized(x)
        torch.testing.assert_close(program(x), want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(compiled(x), want, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_bfloat16_takes_and_returns_float32():
    model = made("saltnet_s").eval()
    optimized = optimize(model, dtype=torch.bfloat16)
    x = torch.randn(1, 1, 101, 101)
    got, want = optimized(x), model(x)
    assert got.dtype == torch.float32
    assert {p.dtype for p in optimized.parameters()} == {torch.bfloat16}
    assert (got - want).abs().mean() < 0.05 * want.abs().mean()
    assert "bfloat16, channels_last" in optimized.report


def test_inference_mode_leaves_no_trace():
    with torch.inference_mode():
        inside = optimize(made("saltnet_s"))
        x = torch.randn(2, 1, 101, 101)
        inside(x)
    assert not any(tensor.is_inference() for tensor in inside.state_dict().values())
    outside = optimize(made("saltnet_s"))
    assert torch.equal(inside(torch.ones(1, 1, 64, 64)), outside(torch.ones(1, 1, 64, 64)))


def test_wrong_input_is_refused():
    with pytest.raises(TypeError, match="not a saltzoo model: it has no preprocess"):
        optimize(nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match=r"dtype must be one of torch\.float32.*got torch\.int8"):
        optimize(saltzoo.create_model("saltnet_s"), dtype=torch.int8)
    with pytest.raises(ValueError, match="expected a batch N 1 H W"):
        optimize(saltzoo.create_model("saltnet_s"), example=torch.zeros(1, 3, 64, 64))


def test_a_norm_that_does_more_is_noticed():
    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    model = made("unet_resnet18")
    model.decoder.blocks[0].conv1.norm.__class__ = Doubled
    with pytest.raises(ValueError, match="differs from the given one by"):
        optimize(model)


class Branches(nn.Module):
    """Convolutions and norms in every arrangement that must and must not fold."""

    def __init__(self):
        super().__init__()
        self.alone, self.alone_norm = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        self.read_twice, self.read_twice_norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.called_twice, self.called_norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.act_between, self.act_norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.up, self.up_norm = nn.ConvTranspose2d(2, 4, 2, stride=2, groups=2), nn.BatchNorm2d(4)
        self.batch_statistics = nn.BatchNorm2d(2, track_running_stats=False)
        self.before_batch_statistics = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        x = self.alone_norm(self.alone(x))
        y = self.read_twice(x)
        x = self.read_twice_norm(y) + y
        x = self.called_norm(self.called_twice(self.called_twice(x)))
        x = self.act_norm(self.act_between(x).relu())
        x = self.batch_statistics(self.before_batch_statistics(x))
        return self.up_norm(self.up(x))


def test_only_norms_that_alone_read_a_convolution_fold():
    pairs = foldable_pairs(Branches().eval(), torch.randn(1, 2, 9, 9))
    assert pairs == [("alone", "alone_norm"), ("up", "up_norm")]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
def test_folding_a_transposed_convolution(groups, affine):
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups)
    norm = nn.BatchNorm2d(6, affine=affine).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 5, 6)
    want = norm(conv(x))
    fold(conv, norm)
    torch.testing.assert_close(conv(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(18, 18), (17, 18), (18, 21), (17, 21), (15, 15), (4, 3), (19, 18)])
def test_doubling_convolution_is_the_convolution_of_the_doubled_map(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, (size[0] + 1) // 2, (size[1] + 1) // 2, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, 3, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    for small in (x, x[:, :, :, :-1]):  # the second is no doubling
        want = F.conv2d(F.interpolate(small, size=size, mode="nearest"), weight, bias, padding=1)
        torch.testing.assert_close(DoublingConv(weight, bias)(small, size), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("side", [16, 64, 65])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@torch.no_grad()
def test_cached_scse_is_scse(side, layout):
    torch.manual_seed(0)
    attention = SCSE(16, reduction=4)
    for parameter in attention.parameters():
        parameter.normal_(std=0.3)
    x = torch.randn(3, 16, side, side).to(memory_format=layout)
    want = attention(x)
    CachedSCSE.take_over(attention)
    got = attention(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert got.stride() == x.stride()
