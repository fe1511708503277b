"""Every name of the catalog: any size, a training step, saving, exporting, compiling, half precision.

What a network's width has no part in is tested on a small one of the same kind; the slow tests run the networks
themselves.
"""

import inspect

import _proofs
import pytest
import torch

import saltzoo
from saltzoo import SegOutput, create_model
from saltzoo.data import synthetic_tiles
from saltzoo.losses import DeepSupervisionLoss, bce_loss
from saltzoo.zoo.registry import find_model

NAMES = saltzoo.list_models()
SIZES = [(101, 101), (128, 128), (97, 131)]

SMALL_ENCODERS = {
    "resnet": "test_resnet",
    "seresnext": "test_byobnet",
    "legacy_senet": "test_byobnet",
    "efficientnet": "test_efficientnet",
    "mobilenetv4": "test_efficientnet",
    "convnext": "test_convnext",
}
"""Beginning of an encoder's name -> a small encoder of its kind."""
SMALLEST = {"inception": 107, "xception": 39, "convnext": 64, "frrn_b": 64}
"""Part of a name -> the smallest side whose coarsest map is more than a pixel: sizes are rounded down on the way."""
ODD_ENCODERS = ("inception_v4", "legacy_xception", "dpn92")
"""Encoders whose sizes or channels are like no small one's: valid padding, dual paths."""
SMALL_OPTIONS = {
    "unet_plain": {"channels": (8, 12, 16, 24, 32)},
    "pspunet": {"guide_channels": 16},
    "resunet": {"base_channels": 4},
    "frrn": {"base_channels": 4, "lane_channels": 4},
    "saltnet_s": {"channels": (8, 12, 16, 24), "decoder_channels": (12, 8, 8)},
    "saltnet_m": {"channels": (12, 16, 24, 32), "decoder_channels": (16, 12, 8)},
}
"""Beginning of a name -> options that make the network narrow."""


def encoder_of(name):
    """The timm network of a name; None where it has none."""
    spec = find_model(name)
    return spec.options.get("encoder", getattr(spec.load_builder(), "encoder", None))


def small_options(name):
    encoder = encoder_of(name)
    if encoder is None:
        options = next(options for start, options in SMALL_OPTIONS.items() if name.startswith(start))
        return {} if name in ("pspunet_small", "pspunet_small_scse") else options
    return {"encoder": next((small for start, small in SMALL_ENCODERS.items() if encoder.startswith(start)), encoder)}


def first_of_each(names, *but):
    """The names whose small networks differ, in something else than the options `but`."""
    first = {}
    for name in names:
        spec = find_model(name)
        defaults = {p.name: p.default for p in inspect.signature(spec.load_builder()).parameters.values()}
        options = {**defaults, **spec.options, **small_options(name)}
        key = str([value for option, value in options.items() if option not in but])
        first.setdefault((spec.builder, key), name)
    return list(first.values())


SMALL = first_of_each(name for name in NAMES if encoder_of(name) not in ODD_ENCODERS)
ODD = [name for name in NAMES if encoder_of(name) in ODD_ENCODERS]
# Those with attention first: one without it has no code that the other has not.
TRACED = first_of_each(sorted([*SMALL, *ODD], key=lambda name: "scse" not in name and "bam" not in name), "attention")
EVERYTHING = "unet_resnet34_bam_hc_ds_cls"
TRACED_BY_TIME = [name if name == EVERYTHING else pytest.param(name, marks=pytest.mark.slow) for name in TRACED]


@torch.no_grad()
def woken(model):
    """Gates, offsets and last norms away from where they start, where they would hide what they do."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.8, 1.25)
        elif name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif tensor.is_floating_point() and (tensor.ndim == 1 or not tensor.any()):
            tensor.add_(0.05 * torch.randn_like(tensor))
    return model


def small(name, **options):
    torch.manual_seed(0)
    return woken(create_model(name, **{**small_options(name), **options}))


def full(name):
    torch.manual_seed(0)
    return woken(create_model(name))


CLOSE = {"rtol": 1e-3, "atol": 1e-4, "scaled": True}


def runs_at(model, sizes):
    model.eval()
    with torch.no_grad():
        for size in sizes:
            output = model(torch.randn(1, model.in_chans, *size))
            assert isinstance(output, torch.Tensor) == model.returns_mask
            assert _proofs.flat(output)[0].shape == (1, 1, *size)
            assert all(tensor.isfinite().all() for tensor in _proofs.flat(output))
            assert _proofs.flat(output)[0].std() > 0


def trains(model, batch, size):
    model.train()
    target = torch.arange(size[1]).expand(batch, *size) < size[1] // 3
    loss = DeepSupervisionLoss(bce_loss)(model(torch.randn(batch, model.in_chans, *size)), target)
    loss.backward()
    _proofs.gradients_are_finite(model)
    still = [name for name, p in model.named_parameters() if not p.grad.any()]
    assert len(still) < 0.1 * len(list(model.parameters())), still


def is_finite_in_bf16(model):
    _proofs.is_near_in_bf16(model.eval(), torch.randn(1, model.in_chans, 101, 101), within=0.2)


def is_saved_and_loaded(model, folder):
    saltzoo.save_pretrained(model, folder)
    again = create_model(f"local-dir:{folder}")
    assert again.config == model.config
    x = torch.randn(2, model.in_chans, 77, 80)
    with torch.no_grad():
        _proofs.agree(again.eval()(x), model.eval()(x), rtol=0, atol=0)


def is_exported(model, smallest=33):
    """With free batch and sizes. A map of one pixel torch takes for a constant: see SMALLEST."""
    sides = ((1, smallest, 97), (3, 103, 80))
    shapes = [(batch, model.in_chans, *(max(side, smallest) for side in size)) for batch, *size in sides]
    _proofs.program_agrees(_proofs.exported(model.eval(), smallest, side=128), model, shapes, **CLOSE)


def compiles(model, backend="eager"):
    shapes = ((2, model.in_chans, 80, 96), (3, model.in_chans, 101, 77))
    _proofs.compiles(model.eval(), shapes, backend=backend, **CLOSE)


# Every network as it is, without memory.


@pytest.mark.parametrize("name", NAMES)
def test_counts_its_parameters_and_operations(name):
    with torch.device("meta"):
        model = create_model(name)
    cost = saltzoo.cost(model)
    assert cost.parameters > 1e6
    assert 1e8 < cost.flops < 1e11
    assert model.config.architecture == name


# Small networks of every kind.


def test_small_networks_are_of_every_kind():
    assert len(SMALL) > 20
    assert EVERYTHING in TRACED
    assert set(SMALL) | set(ODD) <= set(NAMES)
    builders = {find_model(name).builder for name in NAMES}
    assert {find_model(name).builder for name in SMALL} == builders
    for name in SMALL:
        assert sum(p.numel() for p in small(name).parameters()) < 4e6


@pytest.mark.parametrize("name", SMALL)
def test_takes_any_size(name):
    runs_at(small(name), SIZES)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("batch", "size"), [(2, (64, 71)), (1, (101, 101))])
def test_every_parameter_learns(name, batch, size):
    trains(small(name), batch, size)


@pytest.mark.parametrize("name", SMALL)
def test_comes_back_from_a_folder(name, tmp_path):
    is_saved_and_loaded(small(name), tmp_path)


@pytest.mark.parametrize("name", SMALL)
def test_bf16_autocast_is_finite_and_near(name):
    is_finite_in_bf16(small(name))


@pytest.mark.parametrize("name", TRACED_BY_TIME)
def test_is_exported_with_free_sizes(name):
    is_exported(small(name), smallest=next((side for kind, side in SMALLEST.items() if kind in name), 33))


def test_a_resnet_with_poolings_that_round_up_is_exported_with_free_sizes():
    is_exported(small("unet_resnet34_scse", encoder="resnet10t"))


@pytest.mark.parametrize("name", TRACED_BY_TIME)
def test_compiles_with_free_sizes(name):
    compiles(small(name))


def test_what_a_model_returns_is_what_its_name_says():
    for name in SMALL:
        model = small(name)
        output = model(torch.randn(1, 1, 64, 64))
        says_more = any(word in name.split("_") for word in ("ds", "cls")) or name.startswith("pspunet")
        assert isinstance(output, SegOutput) == says_more
        mask = create_model(name, mask_only=True, **small_options(name))
        assert mask(torch.randn(2, 1, 64, 64)).shape == (2, 1, 64, 64)


# The networks themselves.


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_works_as_it_is(name, tmp_path):
    model = full(name)
    runs_at(model, SIZES)
    is_finite_in_bf16(model)
    is_saved_and_loaded(model, tmp_path)
    # Of inception_v4 a tile of 101 x 101 leaves one pixel, and of one image that can't be normalised.
    trains(model, 1, (128, 128) if "inception" in name else (101, 101))
    if "inception" in name:
        trains(model, 2, (101, 101))
        with pytest.raises(ValueError, match="'inception_v4' can't be trained on a single image of 101 x 101: a map"):
            model(torch.randn(1, 1, 101, 101))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saltnet_s", "unet_resnet34_bam_hc_ds_cls", "resunet_101"])
def test_compiles_with_inductor(name):
    compiles(small(name), backend="inductor")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("saltnet_s", {}),
        ("unet_resnet34_scse", {"encoder": "test_resnet", "hypercolumn": True}),
        ("pspunet_small_scse_gum", {}),
    ],
)
def test_onnx_agrees_at_other_sizes(name, options, tmp_path):
    model = small(name, **options).mask_only().eval()
    shapes = ((1, 1, 64, 97), (3, 1, 101, 101), (2, 1, 128, 65))
    _proofs.onnx_agrees(_proofs.exported(model, side=128), model, shapes, tmp_path, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet_plain", {"channels": (16, 24, 32, 48, 64)}),
        ("unet", {"encoder": "resnet18", "decoder_block": "half"}),
        ("unet_xception_res", {}),
        ("unet_resnet34_bam_hc_ds_cls", {"encoder": "resnet18"}),
        ("pspunet_small", {}),
        ("pspunet_small_scse", {}),
        ("frrn_b", {"base_channels": 12, "lane_channels": 16}),
        ("saltnet_m", {}),
    ],
)
def test_learns_one_batch_by_heart(name, options):
    torch.manual_seed(0)
    model = create_model(name, mask_only=True, **options)
    _proofs.learns_by_heart(model, _proofs.batch_of(synthetic_tiles(4, seed=3), model), steps=80, lr=2e-3)
