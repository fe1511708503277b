"""A checkpoint as version 0.1.0 wrote it: config and keys are written down here, not taken from the code."""

import json

import pytest
import torch
from safetensors.torch import save_file

import saltzoo

CONFIG = {
    "architecture": "unet_plain",
    "model_args": {
        "in_chans": 1,
        "num_classes": 1,
        "hypercolumn": False,
        "hypercolumn_channels": 16,
        "deep_supervision": True,
        "deep_supervision_channels": None,
        "classifier": "none",
        "drop_rate": 0.0,
        "attention": "none",
        "attention_reduction": None,
        "channels": [2, 4],
        "upsample": "deconv",
        "mask_only": True,
    },
    "preprocess": {"mean": [0.47], "std": [0.16], "multiple": 1, "pad_mode": "reflect"},
    "labels": ["salt"],
    "saltzoo_version": "0.1.0",
    "license": "other",
    "metrics": [],
    "recipe": {},
}

CONVOLUTIONS = {
    "encoder.stages.0.0": (2, 1, 3, 3),
    "encoder.stages.0.1": (2, 2, 3, 3),
    "encoder.stages.1.0": (4, 2, 3, 3),
    "encoder.stages.1.1": (4, 4, 3, 3),
    "decoder.blocks.0.conv1": (2, 4, 3, 3),
    "decoder.blocks.0.conv2": (2, 2, 3, 3),
}
OTHERS = {
    "decoder.blocks.0.upsample.deconv.weight": (4, 2, 2, 2),
    "decoder.blocks.0.upsample.deconv.bias": (2,),
    "head.conv.weight": (1, 2, 3, 3),
    "head.conv.bias": (1,),
}
NORM = ("weight", "bias", "running_mean", "running_var")

LOGITS = torch.tensor(
    [
        [-0.022412084, 0.140575752, 0.140571848, 0.140570775, -0.230026215],
        [-0.152079165, 0.183609486, 0.183608800, 0.183609530, -0.215022340],
        [-0.152283415, 0.183602765, 0.183613256, 0.183612585, -0.214877874],
        [-0.152601048, 0.183571622, 0.183587030, 0.183584765, -0.214818597],
    ]
)
"""Every eighth logit of version 0.1.0, down and across."""


def tensors():
    shapes = {f"{key}.conv.weight": shape for key, shape in CONVOLUTIONS.items()}
    shapes |= {f"{key}.norm.{name}": shape[:1] for key, shape in CONVOLUTIONS.items() for name in NORM}
    shapes |= {f"{key}.norm.num_batches_tracked": () for key in CONVOLUTIONS} | OTHERS
    table = {}
    for position, (key, shape) in enumerate(sorted(shapes.items()), start=1):
        values = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).mul(position).sin() / 2
        values = values.abs() + 0.5 if key.endswith("running_var") else values
        table[key] = torch.tensor(0) if shape == () else values.reshape(shape).float()
    return table


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file(tensors(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


@torch.no_grad()
def test_it_still_gives_the_same_logits(folder):
    model = saltzoo.create_model(f"local-dir:{folder}").eval()
    logits = model(torch.linspace(-3, 3, 32 * 33).sin().reshape(1, 1, 32, 33))
    torch.testing.assert_close(logits[0, 0, ::8, ::8], LOGITS, rtol=1e-5, atol=1e-6)


def test_mask_only_is_read_from_the_options_and_saved_beside_them(folder, tmp_path):
    model = saltzoo.create_model(f"local-dir:{folder}")
    assert model.config.mask_only
    assert model.config.model_args == {key: value for key, value in CONFIG["model_args"].items() if key != "mask_only"}
    again = json.loads((saltzoo.save_pretrained(model, tmp_path / "new") / "config.json").read_text())
    assert again["mask_only"] is True
    assert "mask_only" not in again["model_args"]
