"""Storage in 8 bits: values, sizes, and files that do not fit together."""

import numpy as np
import pytest
import torch
from _tiny import tiny
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from saltzoo import create_model, save_pretrained
from saltzoo.checkpoints.quantized import dequantized, quantized


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(64, 100), st.floats(1e-6, 1e6))
def test_a_value_moves_by_half_a_step_of_its_filter_at_most(seed, filters, size, scale):
    value = torch.from_numpy(np.random.default_rng(seed).normal(size=(filters, size)).astype(np.float32)) * scale
    value[0] = 0
    restored = dequantized(quantized("w", value))["w"]
    step = value.abs().amax(1, keepdim=True) / 127
    assert restored.dtype == torch.float32
    assert ((restored - value).abs() <= step * 0.5001).all()
    assert torch.equal(restored[0], value[0])


def test_a_value_of_few_or_infinite_numbers_is_not_stored_in_8_bits():
    assert quantized("w", torch.ones(1000)) is None
    assert quantized("w", torch.ones(64, 1, 7, 7)) is None
    assert quantized("w", torch.full((2, 64), torch.inf)) is None
    assert quantized("w", torch.ones(0, 64)) is None


@pytest.fixture(scope="module")
def model():
    return tiny(0, attention="scse").eval()


def test_a_checkpoint_has_a_quarter_of_the_size_and_nearly_the_same_logits(model, tmp_path):
    whole = save_pretrained(model, tmp_path / "whole") / "model.safetensors"
    small = save_pretrained(model, tmp_path / "small", dtype="int8") / "model.safetensors"
    assert small.stat().st_size < 0.35 * whole.stat().st_size  # names and small tensors take more than in a real model
    tensors = load_file(small)
    again = create_model(f"local-dir:{small.parent}")
    kinds = {tensors[key].dtype for key, _ in again.named_parameters()}
    assert kinds == {torch.int8, torch.float16}
    for key, parameter in again.named_parameters():
        given = model.get_parameter(key)
        assert parameter.dtype == torch.float32
        if tensors[key].dtype == torch.float16:
            assert torch.equal(parameter, given.half().float())
        else:
            step = given.detach().flatten(1).abs().amax(1) / 127
            assert ((parameter - given).detach().flatten(1).abs() <= 0.5001 * step[:, None]).all()
    for key, buffer in again.named_buffers():
        assert torch.equal(buffer, model.get_buffer(key))
    x = torch.linspace(-2, 2, 64 * 45).reshape(1, 1, 64, 45).sin()
    with torch.no_grad():
        assert (again(x) - model(x)).norm() < 0.05 * model(x).norm()


def test_saving_again_in_8_bits_changes_nothing(model, tmp_path):
    first = create_model(f"local-dir:{save_pretrained(model, tmp_path / 'a', dtype='int8')}")
    second = create_model(f"local-dir:{save_pretrained(first, tmp_path / 'b', dtype='int8')}")
    for key, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("change", ["no integers", "other integers", "too few scales"])
def test_integers_and_scales_that_do_not_fit_are_told(model, tmp_path, change):
    file = save_pretrained(model, tmp_path, dtype="int8") / "model.safetensors"
    tensors = load_file(file)
    key = next(key for key in tensors if key.endswith("@scale"))
    name = key.removesuffix("@scale")
    if change == "no integers":
        del tensors[name]
    elif change == "other integers":
        tensors[name] = tensors[name].float()
    else:
        tensors[key] = tensors[key][1:].clone()
    save_file(tensors, file)
    with pytest.raises(ValueError, match=rf"model.safetensors is damaged.*{key} holds \(\d+,\) scales"):
        create_model(f"local-dir:{tmp_path}")
