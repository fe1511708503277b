"""Values that no change of the code's structure may move: logits, losses, metrics and a tiny training run.

`python tests/test_digits.py` writes digits.json anew; do that only when a change of values is meant, and say so in
CHANGELOG.md. On the processor and with the torch that wrote the file every value must be equal to the last digit; on
others, kernels add in another order, and values must agree within `TOLERANCE`.
"""

import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo import data, losses, metrics, training

FILE = Path(__file__).with_name("digits.json")
TOLERANCE = 2e-3

WEIGHTS = ("saltnet_s.tgs", "unet_resnet34_scse.tgs")
MODELS = (
    "frrn_a",
    "pspunet_small_scse_gum",
    "resunet_101",
    "saltnet_m",
    "saltnet_s",
    "unet_convnext_tiny",
    "unet_efficientnet_b0_scse",
    "unet_mobilenetv4_conv_small",
    "unet_plain",
    "unet_resnet18_scse",
    "unet_resnet34_bam_hc_ds_cls",
    "unet_xception_res",
)
LOSSES = {
    "bce_loss": [{}, {"pos_weight": 2.0, "ignore_index": 255}],
    "bce_dice_loss": [{}],
    "bootstrapped_bce": [{"k": 100}],
    "dice_loss": [{}, {"empty": "skip", "log": True}],
    "focal_loss": [{}, {"gamma": 0.5}],
    "jaccard_loss": [{}, {"per_image": False}],
    "lovasz_hinge": [{}, {"margin": "elu", "symmetric": True}],
    "tversky_loss": [{}, {"alpha": 0.6, "beta": 0.4}],
    "ce_loss": [{}],
    "bootstrapped_ce": [{"k": 100}],
    "lovasz_softmax": [{}],
}
OF_LABELS = ("ce_loss", "bootstrapped_ce", "lovasz_softmax")
RECIPE = {
    "model": {"name": "saltnet_s", "training_options": {"deep_supervision": True}},
    "epochs": 2,
    "amp": "off",
    "split": "coverage",
    "batch_size": 8,
    "folds": 2,
    "augment": {"shear": 0.1},
}


def machine():
    """What last digits depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    told = sorted({line for line in lines if line.startswith(("model\t", "model name", "cpu family", "flags"))})
    flags = hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {platform.machine()} {flags}"


def summary(tensor):
    """Up to 12 values spread over the tensor, and a hash of all of them."""
    flat = tensor.detach().float().contiguous().flatten()
    picked = flat[torch.linspace(0, len(flat) - 1, min(12, len(flat))).long()]
    return {"values": picked.tolist(), "sha256": hashlib.sha256(flat.numpy().tobytes()).hexdigest()}


def outputs(output):
    if isinstance(output, torch.Tensor):
        return [output]
    return [output.logits, *output.maps, *(one for one in output[2:] if one is not None)]


def tile():
    return data.synthetic_tiles(3, seed=5).images[2:3]


def of_weights(name):
    model = saltzoo.create_model(name, pretrained=True)
    return [summary(torch.from_numpy(saltzoo.predict(model, tile(), tta=tta))) for tta in (None, "hflip")]


@torch.no_grad()
def of_model(name):
    torch.manual_seed(7)
    model = saltzoo.create_model(name).eval()
    batch = model.preprocess(torch.from_numpy(tile())[:, None].float() / 255)
    return [summary(one) for one in outputs(model(batch))]


def of_loss(name):
    generator = torch.Generator().manual_seed(3)
    classes = 3 if name in OF_LABELS else 1
    logits = torch.randn(4, classes, 24, 20, generator=generator).requires_grad_()
    target = torch.randint(0, max(2, classes), (4, 24, 20), generator=generator)
    target[1] = 0
    results = []
    for options in LOSSES[name]:
        logits.grad = None
        loss = losses.create_loss(name, **options)(logits, target)
        loss.backward()
        results += [summary(loss), summary(logits.grad)]
    return results


def of_metrics(_name):
    generator = np.random.default_rng(4)
    probabilities = generator.random((16, 40, 40), dtype=np.float32)
    masks = generator.random((16, 40, 40)) > 0.4
    masks[:5] = False
    probabilities[2:4] /= 4
    guesses = probabilities > 0.5
    found = metrics.search_threshold(probabilities, masks)
    values = [metrics.salt_map(guesses, masks), found.threshold, found.score]
    kinds = (metrics.IoUScore, metrics.DiceScore, metrics.PixelAccuracy, metrics.SaltMAP)
    values += [kind().update(guesses, masks).compute() for kind in kinds]
    return [summary(torch.tensor(values, dtype=torch.float64))]


def of_training(_name):
    tiles = data.synthetic_tiles(24, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        scores = training.fit(training.Recipe.from_dict(RECIPE), tiles, out, tell=lambda line: None)
        rows = (out / "log.csv").read_text(encoding="utf-8").splitlines()[1:]
        tensors = saltzoo.create_model(f"local-dir:{out / 'model'}").state_dict()
    logged = [float(value) for row in rows for value in row.split(",")[1:3]]
    weights = torch.cat([one.flatten().float() for _, one in sorted(tensors.items())])
    return [summary(torch.tensor([*scores.values(), *logged])), summary(weights)]


CASES = [
    *((of_weights, name) for name in WEIGHTS),
    *((of_model, name) for name in MODELS),
    *((of_loss, name) for name in LOSSES),
    (of_metrics, "all"),
    (of_training, "saltnet_s"),
]


def key(function, name):
    return f"{function.__name__} {name}"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("function", "name"), CASES, ids=[key(*case) for case in CASES])
def test_values_are_what_they_were(function, name):
    written = json.loads(FILE.read_text(encoding="utf-8"))
    expected, found = written["values"][key(function, name)], function(name)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if written["machine"] == machine():
            assert one == other
        else:
            scale = max(map(abs, other["values"]), default=1.0)
            np.testing.assert_allclose(one["values"], other["values"], rtol=0, atol=TOLERANCE * scale)


def main():
    torch.set_num_threads(1)
    values = {key(function, name): function(name) for function, name in CASES}
    FILE.write_text(json.dumps({"machine": machine(), "values": values}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
