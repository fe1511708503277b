"""set_grad_checkpointing: gradients and statistics of a plain step, with fewer tensors kept."""

import copy

import _proofs
import pytest
import torch
from torch import nn

from saltzoo import create_model, save_pretrained
from saltzoo._torch.recompute import recomputed
from saltzoo.training import keep_batch_norm_frozen

SMALL = {
    "saltnet_s": {"channels": (8, 12, 16), "decoder_channels": (10, 8), "blocks": 1},
    "unet_plain": {"channels": (6, 8, 10), "drop_rate": 0.5},
    "unet": {"encoder": "test_resnet", "attention": "scse", "hypercolumn": True, "deep_supervision": True},
}


def step(model, x):
    """Gradients, buffers and the number of values kept for the backward pass, of a training step."""
    kept = []
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        output = model(x)
    logits = output if torch.is_tensor(output) else output.logits + sum(one.mean() for one in output.maps)
    logits.square().mean().backward()
    gradients = {name: one.grad for name, one in model.named_parameters()}
    return gradients, dict(model.named_buffers()), sum(kept)


@pytest.mark.parametrize("name", SMALL)
def test_a_step_is_that_of_the_plain_model(name):
    torch.manual_seed(0)
    plain = create_model(name, **SMALL[name]).double()
    model = copy.deepcopy(plain)
    model.set_grad_checkpointing()
    x = torch.randn(2, 1, 40, 37, dtype=torch.float64)
    expected, buffers, all_kept = step(plain, x)
    found, own, kept = step(model, x)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert own.keys() == buffers.keys()
    assert all(torch.equal(own[key], buffers[key]) for key in buffers)
    assert any(key.endswith("num_batches_tracked") and value == 1 for key, value in own.items())
    assert kept < all_kept / 2
    assert all(part.momentum == 0.1 for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d))


def test_frozen_norms_and_an_error_on_the_way():
    model = create_model("saltnet_s", **SMALL["saltnet_s"])
    model.set_grad_checkpointing()
    keep_batch_norm_frozen(model.encoder)
    before = copy.deepcopy(model.encoder.state_dict())
    step(model.train(), torch.randn(2, 1, 33, 33))
    after = model.encoder.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before if "running" in key)
    with pytest.raises(ValueError, match="at least 32 x 32"):
        model(torch.zeros(1, 1, 8, 8))


def test_it_is_switched_off_survives_mask_only_and_is_not_saved(tmp_path):
    model = _proofs.randomise_batch_norms(create_model("unet_plain", channels=(6, 8), deep_supervision=True))
    x = torch.randn(1, 1, 33, 33)
    few = model.set_grad_checkpointing() or step(model, x)[2]
    assert model.mask_only().grad_checkpointing
    save_pretrained(model, tmp_path)
    again = create_model(f"local-dir:{tmp_path}")
    assert not again.grad_checkpointing
    with torch.no_grad():
        assert torch.equal(again(x).logits, model.eval()(x).logits)
    model.train().set_grad_checkpointing(False)
    assert step(model, x)[2] > few


def test_synchronised_norms_are_counted_once():
    norm = nn.SyncBatchNorm(2)
    recomputed(norm, torch.randn(4, 2, 3)).sum().backward()
    assert norm.num_batches_tracked == 1
