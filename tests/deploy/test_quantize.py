"""int8 files: the masks of the model, smaller weights, the same interface; and what is refused."""

import sys

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo.data import synthetic_tiles
from saltzoo.deploy import export, load
from saltzoo.deploy.quantize import calibration_batches

TILES = synthetic_tiles(16, seed=3).images
TINY = {"channels": (4, 8), "decoder_channels": (4,), "blocks": 1, "hypercolumn": False}


def test_tiles_become_prepared_batches():
    model = saltzoo.create_model("saltnet_s", in_chans=2)
    batches = calibration_batches(TILES, model.preprocess)
    want = model.preprocess(torch.from_numpy(TILES)[:, None].expand(-1, 2, -1, -1) / 255)
    torch.testing.assert_close(torch.cat(batches), want)
    torch.testing.assert_close(torch.cat(calibration_batches(TILES / np.float32(255), model.preprocess)), want)


def test_wrong_tiles_and_formats_are_refused(tmp_path):
    model = saltzoo.create_model("saltnet_s", **TINY)
    with pytest.raises(ValueError, match=r'int8 must be None for format=\'pt2\'.*use format="onnx"'):
        export(model, tmp_path / "net.pt2", int8=TILES)
    with pytest.raises(ValueError, match=r"tiles that are prepared as \(64, 64\), got \(101, 101\)"):
        export(model, tmp_path / "net.onnx", int8=TILES, size=(64, 64))
    preprocess = model.preprocess
    with pytest.raises(ValueError, match=r"8 or more tiles .* got \(7, 101, 101\)"):
        calibration_batches(TILES[:7], preprocess)
    with pytest.raises(ValueError, match=r"in uint8 or in 0\.\.1, got 0 to 2"):
        calibration_batches(torch.linspace(0, 2, 8 * 64 * 64).view(8, 64, 64), preprocess)
    with pytest.raises(TypeError, match="int8 must be tiles as a numpy array or a torch tensor, got list"):
        calibration_batches([TILES[0]], preprocess)


@pytest.mark.slow
def test_int8_keeps_the_score_of_a_trained_model(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = saltzoo.create_model("saltnet_s.tgs", pretrained=True)
    path = export(model, tmp_path / "int8.onnx", int8=TILES, license="apache-2.0")
    loaded = load(path)
    assert (loaded.license, loaded.threshold, loaded.preprocess) == ("apache-2.0", model.threshold, model.preprocess)
    tiles = synthetic_tiles(40, seed=9)  # others than those of the calibration
    masks = torch.from_numpy(tiles.require_masks())
    scores = [
        saltzoo.metrics.salt_map(torch.from_numpy(saltzoo.predict(m, tiles.images)) > 0.5, masks)
        for m in (model, loaded)
    ]
    assert abs(scores[0] - scores[1]) < 0.02
    graph = onnx.load(path).graph
    kinds = {one.data_type for one in graph.initializer if len(one.dims) == 4}
    assert onnx.TensorProto.INT8 in kinds
    assert [one.name for one in (*graph.input, *graph.output)] == ["images", "logits"]
    export(model, tmp_path / "float.onnx")
    assert path.stat().st_size < 0.5 * (tmp_path / "float.onnx").stat().st_size


@pytest.mark.slow
def test_int8_that_differs_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(sys.modules["saltzoo.deploy.export"], "_OTHER", -1.0)
    with pytest.raises(ValueError, match=r"int8 file's masks differ .*nothing was written"):
        export(saltzoo.create_model("saltnet_s", **TINY), tmp_path / "net.onnx", int8=TILES)
    assert list(tmp_path.iterdir()) == []
