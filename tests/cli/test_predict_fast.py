"""`saltzoo predict` with optimised and exported models: the masks of the model itself."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import saltzoo
from saltzoo.cli import loading, main
from saltzoo.data import synthetic_tiles
from saltzoo.deploy import Exported, Optimized, export
from saltzoo.deploy.runtimes import FORMATS

TILE = synthetic_tiles(1, seed=5, size=120).images[0]
TINY = {"channels": (4, 8), "decoder_channels": (4,), "blocks": 1, "hypercolumn": False}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    model = saltzoo.create_model("saltnet_s", **TINY).eval()
    model.threshold, model.min_size = 0.45, 7
    saltzoo.save_pretrained(model, tmp_path / "checkpoint")
    Image.fromarray(TILE).save(tmp_path / "tile.png")
    return model, tmp_path


def run(capsys, folder, *words):
    status = main(["predict", str(folder / "tile.png"), *map(str, words)])
    return status, capsys.readouterr().err


def probabilities(folder):
    return np.load(folder / "tile_probability.npy")


def test_fast_gives_the_probabilities_of_the_model(checkpoint, capsys):
    _, folder = checkpoint
    name = f"local-dir:{folder / 'checkpoint'}"
    for out, words in (("plain", ()), ("fast", ("--fast",))):
        status, errors = run(
            capsys, folder, "--model", name, "--probabilities", "npy", "--device", "cpu", "--out", folder / out, *words
        )
        assert (status, errors) == (0, "")
    np.testing.assert_allclose(probabilities(folder / "fast"), probabilities(folder / "plain"), atol=1e-5)
    fast = loading.load_model(name, fast=True)
    assert isinstance(fast, Optimized)
    assert (fast.threshold, fast.min_size) == (0.45, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "format", ["pt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("onnx", "openvino"))]
)
def test_an_exported_file_is_a_model(checkpoint, capsys, format):
    for library in {"onnx": ("onnxscript", "onnxruntime"), "openvino": ("openvino",), "pt2": ()}[format]:
        pytest.importorskip(library)
    model, folder = checkpoint
    (folder / "exported").mkdir()
    file = export(model, folder / "exported" / f"net{FORMATS[format].suffix}")
    name = file.parent if format == "openvino" else file
    status, errors = run(capsys, folder, "--model", name, "--probabilities", "npy", "--out", folder / "out")
    assert (status, errors) == (0, "")
    want = saltzoo.predict_tiled(model, TILE, batch_size=16)
    np.testing.assert_allclose(probabilities(folder / "out"), want, atol=1e-4)
    loaded = loading.load_model(str(name))
    assert isinstance(loaded, Exported)
    assert (loaded.threshold, loaded.min_size) == (0.45, 7)


def test_what_cannot_be_is_told(checkpoint, capsys, monkeypatch):
    _, folder = checkpoint
    file = folder / "net.xml"
    out = ("--out", folder / "out")
    status, errors = run(capsys, folder, "--model", file, *out)
    assert status == 1
    assert "net.xml', which does not exist: export a model first" in errors
    status, errors = run(capsys, folder, "--model", file, "--fast", *out)
    assert status == 1
    assert "was optimised when it was exported: leave it out" in errors
    file.write_text("<net/>")
    monkeypatch.setitem(sys.modules, "openvino", None)
    status, errors = run(capsys, folder, "--model", file, *out)
    assert status == 1
    assert 'openvino is not installed: pip install "saltzoo[openvino]"' in errors
    with pytest.raises(ValueError, match=r"net\.xml is computed on the CPU, got the device mps: use --device cpu"):
        loading.load_model(str(file), torch.device("mps"))
    assert not (folder / "out").exists()
