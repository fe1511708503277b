"""export and load: files whose results are those of the model, and that are models themselves."""

import copy
import csv
from pathlib import Path

import pytest
import torch
from _proofs import randomise_batch_norms
from torch import nn

import saltzoo
from saltzoo.deploy import export, export_rows, load
from saltzoo.deploy.runtimes import FORMATS

SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
EXPORTS = Path(__file__).parents[2] / "benchmarks" / "results" / "exports.csv"
GRAPHS = (
    *("frrn_a", "pspunet_small_scse_gum", "resunet_101", "saltnet_s", "unet_plain", "unet_convnext_tiny_scse"),
    *("unet_efficientnet_lite0_scse_hc", "unet_mobilenetv4_conv_small_scse", "unet_resnet18_scse"),
    *("unet_resnet34_bam_hc", "unet_resnet34_scse_hc"),
)
"""Names of every family, attention, head and padding; benchmarks/exports.py exports all names."""
LIBRARIES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "pt2": ()}


TINY = {"channels": (4, 8), "decoder_channels": (4,), "blocks": 1, "hypercolumn": False}
"""Options of a saltnet_s that is exported in a second."""


def made(name, **options):
    torch.manual_seed(0)
    options = TINY | options if name == "saltnet_s" else options
    return randomise_batch_norms(saltzoo.create_model(name, **options)).eval()


@pytest.fixture(
    scope="module", params=["pt2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("onnx", "openvino"))]
)
def pair(request, tmp_path_factory):
    """A small network, and the same loaded from a file."""
    for library in LIBRARIES[request.param]:
        pytest.importorskip(library)
    model = made("saltnet_s")
    path = tmp_path_factory.mktemp("export") / f"net{SUFFIX[request.param]}"
    assert export(model, path, license="apache-2.0", threshold=0.4) == path
    return model, load(path, threads=1)


@pytest.mark.parametrize("shape", [(1, 1, 101, 101), (2, 1, 33, 150), (5, 1, 64, 64)])
@torch.no_grad()
def test_logits_at_shapes_that_export_did_not_see(pair, shape):
    model, loaded = pair
    x = torch.randn(shape)
    got = loaded(x)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, model(x), rtol=1e-3, atol=1e-4)
    assert loaded(x[:0]).shape == (0, 1, *shape[2:])


def test_metadata(pair):
    model, loaded = pair
    assert loaded.preprocess == model.preprocess
    assert (loaded.in_chans, loaded.labels, loaded.license, loaded.threshold) == (1, ("salt",), "apache-2.0", 0.4)
    assert (loaded.about.architecture, loaded.about.saltzoo_version) == ("saltnet_s", saltzoo.__version__)
    assert "saltnet_s" in repr(loaded)


def test_predict_tiling_and_ensembles_take_it(pair):
    model, loaded = pair
    tiles = (torch.rand(3, 101, 101) * 255).byte().numpy()
    got, want = (saltzoo.predict(m, tiles, tta="d4") for m in (loaded, model))
    assert abs(got - want).max() < 1e-4
    got, want = (saltzoo.predict_tiled(m, tiles[0].repeat(2, axis=1), tile=101) for m in (loaded, model))
    assert abs(got - want).max() < 1e-4
    got, want = (saltzoo.predict(saltzoo.Ensemble([m, model]), tiles) for m in (loaded, model))
    assert abs(got - want).max() < 1e-4


def test_wrong_batches_are_refused(pair):
    _, loaded = pair
    with pytest.raises(ValueError, match=r"expected a batch N 1 H W, got \(2, 64, 64\)"):
        loaded(torch.zeros(2, 64, 64))
    with pytest.raises(ValueError, match=r"at least 33 x 33, got 64 x 32: pad"):
        loaded(torch.zeros(2, 1, 64, 32))
    with pytest.raises(ValueError, match="computed on the CPU, got a batch on meta"):
        loaded(torch.zeros(1, 1, 64, 64, device="meta"))


@pytest.mark.slow
@torch.no_grad()
def test_the_file_normalises_images_itself(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = made("saltnet_s", in_chans=2, num_classes=3)
    images = torch.rand(2, 2, 101, 101)
    path = export(model, tmp_path / "net.onnx", prepare=True, labels=["a", "b", "c"])
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(model.preprocess(images)), rtol=1e-3, atol=1e-4)
    loaded = load(path)
    torch.testing.assert_close(loaded(images), model(model.preprocess(images)), rtol=1e-3, atol=1e-4)
    assert loaded.labels == ("a", "b", "c")
    assert loaded.preprocess.mean == (0.0, 0.0)
    got, want = (saltzoo.predict(m, images) for m in (loaded, model))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_heads_and_scalars(tmp_path):
    deep = made("pspunet_small")
    loaded = load(export(deep, tmp_path / "deep.pt2"))
    tiles = torch.rand(1, 101, 101)
    torch.testing.assert_close(saltzoo.predict(loaded, tiles), saltzoo.predict(deep, tiles), rtol=1e-3, atol=1e-4)
    scalar = made("resunet_101", in_chans=2, scalar_channel="bottleneck", base_channels=4)
    loaded = load(export(scalar, tmp_path / "scalar.pt2"))
    assert loaded.preprocess.scalar
    got, want = (saltzoo.predict(m, tiles, scalars=[300.0]) for m in (loaded, scalar))
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_an_ensemble_in_one_file(tmp_path):
    ensemble = saltzoo.Ensemble([made("saltnet_s"), made("saltnet_s", attention="none")], weights=[1, 2])
    loaded = load(export(ensemble, tmp_path / "both.pt2"))
    tiles = torch.rand(5, 101, 101)
    torch.testing.assert_close(saltzoo.predict(loaded, tiles), saltzoo.predict(ensemble, tiles), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_one_size(tmp_path):
    loaded = load(export(made("saltnet_s"), tmp_path / "net.pt2", size=(64, 96)))
    assert loaded(torch.zeros(3, 1, 64, 96)).shape == (3, 1, 64, 96)
    with pytest.raises(ValueError, match=r"net\.pt2 was exported for images of \(64, 96\), got 64 x 64"):
        loaded(torch.zeros(1, 1, 64, 64))


def test_a_file_that_differs_is_not_written_and_the_model_is_untouched(tmp_path, monkeypatch):
    kept = tmp_path / "net.pt2"
    kept.write_bytes(b"old")
    honest = FORMATS["pt2"]
    model = made("saltnet_s").train()
    before = copy.deepcopy(model.state_dict())

    def off(path, threads):
        call, description = honest.open(path, threads)
        return lambda x: call(x) + 0.01, description

    monkeypatch.setitem(FORMATS, "pt2", honest._replace(open=off))
    with pytest.raises(ValueError, match=r"the pt2 file differs from the model by .*nothing was written"):
        export(model, kept)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt2"]
    assert kept.read_bytes() == b"old"


def test_wrong_options_are_refused(tmp_path):
    model = saltzoo.create_model("saltnet_s", **TINY)
    with pytest.raises(ValueError, match=r"unknown format '\.txt': choose one of 'onnx', 'openvino', 'pt2'"):
        export(model, tmp_path / "net.txt")
    with pytest.raises(ValueError, match=r"path must end in \.onnx for format='onnx', got '.*net\.pt2'"):
        export(model, tmp_path / "net.pt2", format="onnx")
    with pytest.raises(FileNotFoundError, match="folder that exists"):
        export(model, tmp_path / "none" / "net.pt2")
    with pytest.raises(ValueError, match=r"labels must name each of the model's 1 class\(es\)"):
        export(model, tmp_path / "net.pt2", labels=["a", "b"])
    with pytest.raises(TypeError, match="no preprocess"):
        export(nn.Conv2d(1, 1, 1), tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"net\.pt2', which does not exist"):
        load(tmp_path / "net.pt2")
    with pytest.raises(ValueError, match=r"path must end in one of \.onnx, \.xml, \.pt2"):
        load(tmp_path / "net.pth")
    (tmp_path / "bad.pt2").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"bad\.pt2 cannot be read as \.pt2"):
        load(tmp_path / "bad.pt2")
    program = torch.export.export(nn.ReLU(), (torch.zeros(1),))
    torch.export.save(program, tmp_path / "other.pt2")
    with pytest.raises(ValueError, match=r"not written by saltzoo\.deploy\.export"):
        load(tmp_path / "other.pt2")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(ImportError, match=r'openvino is not installed: pip install "saltzoo\[openvino\]"'):
        export(saltzoo.create_model("saltnet_s", **TINY), tmp_path / "net.xml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_every_kind_of_graph_exports_as_the_table_says(name):
    pytest.importorskip("onnxruntime")
    with EXPORTS.open(newline="", encoding="utf-8") as file:
        table = {row["model"]: row["onnx_sizes"] for row in csv.DictReader(file)}
    assert table.keys() == {*saltzoo.list_models()}
    ((_, answer),) = export_rows([name], formats=["onnx"])
    assert answer == table[name]
    assert answer.startswith("any size")


@pytest.mark.slow
def test_a_reason_stands_in_the_table(monkeypatch):
    def cannot(program, description, path):
        raise ValueError("no rule for this operation")

    monkeypatch.setitem(FORMATS, "pt2", FORMATS["pt2"]._replace(write=cannot))
    assert list(export_rows(["saltnet_s"], formats=["pt2"])) == [["saltnet_s", "no rule for this operation"]]
