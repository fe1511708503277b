"""Whole models inside `torch.func`: ensembles by vmap, gradients of each image and forward mode, against loops."""

import copy

import pytest
import torch
from _proofs import flat, randomise_batch_norms
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from saltzoo import create_model
from saltzoo.contracts import SegOutput

UNET = {"encoder": "test_resnet", "in_chans": 1}
MODELS = {
    "unet with scSE": lambda: create_model("unet", attention="scse", **UNET),
    "unet with BAM and all heads": lambda: create_model(
        "unet", attention="bam", hypercolumn=True, deep_supervision=True, classifier="fused", **UNET
    ),
    "unet_plain": lambda: create_model("unet_plain", channels=(4, 8), attention="scse"),
    "saltnet_s": lambda: create_model("saltnet_s"),
}
SLOW = {
    "saltnet_m": lambda: create_model("saltnet_m"),
    "pspunet_small_scse_gum": lambda: create_model("pspunet_small_scse_gum"),
    "unet_xception_res": lambda: create_model("unet_xception_res"),
}
MODELS |= SLOW
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]


def make(name, count):
    torch.manual_seed(0)
    return [randomise_batch_norms(MODELS[name]()).double().eval() for _ in range(count)]


def joined(output):
    return torch.cat([one.flatten(1) for one in flat(output)], dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_an_ensemble_by_vmap_agrees_with_a_loop(name):
    members = make(name, 3)
    base = copy.deepcopy(members[0]).to("meta")
    x = torch.randn(2, 1, 37, 45, dtype=torch.float64)
    with torch.no_grad():
        state = stack_module_state(members)
        got = vmap(lambda *state: joined(functional_call(base, state, (x,))))(*state)
        want = torch.stack([joined(member(x)) for member in members])
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)


def test_an_ensemble_with_outputs_that_are_none_needs_out_dims():
    members = [create_model("unet", deep_supervision=True, **UNET).eval() for _ in range(2)]
    x = torch.randn(1, 1, 37, 45)
    with torch.no_grad():
        state = stack_module_state(members)
        run = vmap(lambda *state: functional_call(members[0], state, (x,)), out_dims=SegOutput(0, maps=0, image=None))
        got, want = run(*state), [member(x) for member in members]
    assert isinstance(got, SegOutput)
    assert got.image is None
    torch.testing.assert_close(got.logits, torch.stack([one.logits for one in want]), rtol=1e-4, atol=1e-5)
    for level, maps in enumerate(got.maps):
        torch.testing.assert_close(maps, torch.stack([one.maps[level] for one in want]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_each_image_agree_with_a_loop(name):
    [model] = make(name, 1)
    x = torch.randn(2, 1, 37, 45, dtype=torch.float64)
    parameters = {key: value.detach() for key, value in model.named_parameters()}

    def loss(parameters, image):
        return joined(functional_call(model, parameters, (image[None],))).square().mean()

    got = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for index in range(2):
        want = torch.autograd.grad(
            joined(model(x[index : index + 1])).square().mean(), list(model.parameters()), materialize_grads=True
        )
        for key, one in zip(parameters, want, strict=True):
            torch.testing.assert_close(got[key][index], one, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_forward_mode_agrees_with_reverse_mode(name):
    """For J in direction u, v . (J u) = (J^T v) . u, and the right side is the ordinary backward pass."""
    [model] = make(name, 1)
    x, u = torch.randn(2, 2, 1, 37, 45, dtype=torch.float64)
    _, change = jvp(lambda x: joined(model(x)), (x,), (u,))
    x.requires_grad_()
    output = joined(model(x))
    v = torch.randn_like(output)
    right = (torch.autograd.grad(output, x, v)[0] * u).sum()
    torch.testing.assert_close((v * change).sum(), right, rtol=1e-6, atol=1e-8)
