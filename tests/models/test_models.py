"""Networks of every kind: any size, a training step, saving, exporting, compiling, half precision.

What does not depend on a network's width is tested on a narrow one; the slow tests run all networks of the catalog.
"""

import _proofs
import pytest
import torch

import saltzoo
from saltzoo import create_model
from saltzoo.data import synthetic_tiles
from saltzoo.losses import DeepSupervisionLoss, bce_loss
from saltzoo.zoo.registry import find_model

NAMES = saltzoo.list_models()
SIZES = [(101, 101), (64, 97)]

EVERYTHING = "unet_resnet34_bam_hc_ds_cls"
SMALL = {
    "frrn_a": {"base_channels": 4, "lane_channels": 4},
    "pspunet_small_scse_gum": {"guide_channels": 16},
    "resunet_101": {"base_channels": 4},
    "saltnet_s": {"channels": (8, 12, 16, 24), "decoder_channels": (12, 8, 8)},
    "unet_plain": {"channels": (8, 12, 16, 24, 32)},
    "unet_resnet34_scse": {"encoder": "test_resnet"},
    "unet_convnext_tiny_scse": {"encoder": "test_convnext"},
    "unet_efficientnet_b0_scse": {"encoder": "test_efficientnet"},
    "unet_senet154_scse": {"encoder": "test_byobnet"},
    EVERYTHING: {"encoder": "test_resnet"},
}
"""A name of every kind, with all attention and heads there are -> options that make the network narrow."""
ODD = {"unet_inception_v4_scse": 107, "unet_xception_res": 39, "unet_dpn92_scse": 33}
"""Encoders with sizes or channels like those of no small one (valid padding, dual paths) -> see SMALLEST."""
SMALLEST = {"unet_convnext_tiny_scse": 64, **ODD}
"""Name -> the smallest side whose coarsest map is more than a pixel; 33 for others."""


@torch.no_grad()
def randomised(model):
    """Move gates, offsets and last norms away from their initial values, which would hide what they do."""
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
    return randomised(create_model(name, **{**SMALL.get(name, {}), **options}))


def full(name):
    torch.manual_seed(0)
    return randomised(create_model(name))


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
    """Export with free batch and sizes. To torch the size of a map of one pixel is a constant: see SMALLEST."""
    sides = ((1, smallest, 97), (3, 103, 80))
    shapes = [(batch, model.in_chans, *(max(side, smallest) for side in size)) for batch, *size in sides]
    _proofs.program_agrees(_proofs.exported(model.eval(), smallest, side=128), model, shapes, **CLOSE)


def compiles(model, backend="eager"):
    shapes = ((2, model.in_chans, 80, 96), (3, model.in_chans, 101, 77))
    _proofs.compiles(model.eval(), shapes, backend=backend, **CLOSE)


# Small networks of every kind.


def test_small_networks_are_of_every_kind():
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, *ODD])
def test_is_exported_with_free_sizes(name):
    is_exported(small(name), smallest=SMALLEST.get(name, 33))


@pytest.mark.slow
def test_a_resnet_with_poolings_that_round_up_is_exported_with_free_sizes():
    is_exported(small("unet_resnet34_scse", encoder="resnet10t"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, "unet_inception_v4_scse"])
def test_compiles_with_free_sizes(name):
    compiles(small(name))


# The networks of the catalog.


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_works_as_it_is(name, tmp_path):
    model = full(name)
    smallest = 75 if "inception" in name else 32
    runs_at(model, [tuple(max(side, smallest) for side in size) for size in SIZES])
    is_finite_in_bf16(model)
    is_saved_and_loaded(model, tmp_path)
    # inception_v4 reduces a tile of 101 x 101 to one pixel, and one pixel of one image cannot be normalised.
    trains(model, 1, (128, 128) if "inception" in name else (101, 101))
    if "inception" in name:
        trains(model, 2, (101, 101))
        with pytest.raises(ValueError, match="'inception_v4' can't be trained on a single image of 101 x 101: one of"):
            model(torch.randn(1, 1, 101, 101))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("saltnet_s", {"deep_supervision": True, "classifier": "fused"}), ("resunet_101", {})]
)
def test_compiles_with_inductor(name, options):
    compiles(small(name, **options), backend="inductor")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("saltnet_s", {}),
        ("unet_resnet34_scse", {"encoder": "test_resnet", "hypercolumn": True}),
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
        ("pspunet_small_scse", {}),
        ("frrn_b", {"base_channels": 12, "lane_channels": 16}),
        ("saltnet_m", {}),
    ],
)
def test_overfits_one_batch(name, options):
    torch.manual_seed(0)
    model = create_model(name, mask_only=True, **options)
    _proofs.overfits_one_batch(model, _proofs.batch_of(synthetic_tiles(4, seed=3), model), steps=80, lr=2e-3)
