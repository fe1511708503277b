"""Folders that hold a damaged checkpoint, or none."""

import json

import pytest
import torch
from _tiny import tiny
from safetensors.torch import load_file, save_file

import saltzoo
from saltzoo import create_model, save_pretrained
from saltzoo.checkpoints import folder as folder_module


@pytest.fixture
def folder(tmp_path):
    return save_pretrained(tiny(), tmp_path / "checkpoint")


def refused(folder, kind, *words):
    with pytest.raises(kind) as error:
        create_model(f"local-dir:{folder}")
    assert [word for word in words if word not in str(error.value)] == []


def test_a_folder_or_a_file_is_missing(folder, tmp_path):
    refused(tmp_path / "nothing", FileNotFoundError, "nothing: not a folder", "config.json and model.safetensors")
    refused(folder / "config.json", FileNotFoundError, "not a folder")
    (folder / "config.json").unlink()
    refused(folder, FileNotFoundError, "no config.json in", "It holds ['README.md', 'model.safetensors']")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", FileNotFoundError, "It holds nothing: give one that save_pretrained")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "best.pt", "best.pth", "last.ckpt"])
def test_a_pickle_is_named_and_not_read(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    refused(
        folder,
        FileNotFoundError,
        f"{name} may hold pickled code, which saltzoo never runs",
        f'load_foreign(model, "{name}")',
    )


@pytest.mark.parametrize("keep", [0, 4, 200, 0.5, -1])
def test_a_truncated_file(folder, keep):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    refused(folder, ValueError, "model.safetensors is damaged or cut short", "again")


@pytest.mark.parametrize("content", [b"\x80\x04not a tensor", b"version https://git-lfs.github.com/spec/v1\n" * 3])
def test_a_weights_file_of_another_format(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, ValueError, "is damaged or cut short")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is not a saltzoo config: it needs architecture, model_args, preprocess"),
        (b'{"model_type": "bert"}', "is not a saltzoo config"),
        (b'{"architecture": 1, "model_args": {}, "preprocess": {}}', "is not a saltzoo config"),
        (b'{"architecture": "unet", "model_args": [], "preprocess": {}}', "is not a saltzoo config"),
    ],
)
def test_a_config_of_another_format(folder, content, words):
    (folder / "config.json").write_bytes(content)
    refused(folder, ValueError, "config.json", words)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"architecture": "unet9"}, ValueError, "unknown model 'unet9'"),
        ({"preprocess": {"mean": [0.5]}}, ValueError, "not a preprocess description"),
        ({"preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3}}, ValueError, "is for 3 channels, but its model has 1"),
        ({"model_args": {"encoder": "test_resnet", "wings": 2}}, TypeError, "no option 'wings'"),
        ({"model_args": {"encoder": "test_resnet", "pretrained_encoder": True}}, TypeError, "pretrained_encoder"),
        ({"model_args": {"encoder": "test_resnet"}}, ValueError, "is (8, 288, 3, 3), the model's (256, 288, 3, 3)"),
    ],
)
def test_a_config_that_does_not_fit(folder, change, kind, words):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    refused(folder, kind, words)


def test_weights_that_do_not_fit(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({key: value for key, value in tensors.items() if key != "head.conv.bias"}, path)
    refused(folder, ValueError, "and 'unet' do not fit: head.conv.bias is missing", "saved by saltzoo")
    save_file({**tensors, "head.extra": torch.zeros(1)}, path)
    refused(folder, ValueError, "head.extra is unknown")
    save_file({**tensors, "head.conv.bias": torch.zeros(1, 1)}, path)
    refused(folder, ValueError, "head.conv.bias is (1, 1), the model's (1,)")
    save_file({f"module.{key}": value for key, value in tensors.items()}, path)
    refused(folder, ValueError, "is missing", f"and {2 * len(tensors) - 5} more")


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        (saltzoo.__version__, False),
        ("0.0.9", False),
        ("0.1.0.dev3", False),
        ("0.1.1", True),
        ("0.10.0rc1", True),
        ("1.0", True),
        ("yesterday", False),
        (None, False),
        (2, True),
    ],
)
def test_which_versions_are_newer(monkeypatch, version, newer):
    monkeypatch.setattr(folder_module, "__version__", "0.1.0")
    assert folder_module.is_newer({"saltzoo_version": version}) is newer
    assert not folder_module.is_newer({})
    assert not folder_module.is_newer([])


def test_a_newer_checkpoint_says_that_it_is_newer(folder, caplog):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "saltzoo_version": "99.0"}))
    create_model(f"local-dir:{folder}")
    assert "was saved by saltzoo 99.0, which is newer than this" in caplog.messages[0]
    path = folder / "model.safetensors"
    save_file({**load_file(path), "head.wings": torch.zeros(1)}, path)
    refused(
        folder, ValueError, "saltzoo 99.0, which is newer than this", "head.wings is unknown", "pip install --upgrade"
    )
    assert len(caplog.messages) == 1
