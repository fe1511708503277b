"""Checkpoints that are damaged, and the Hugging Face Hub's cache without a network."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from saltzoo import create_model, save_pretrained

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny():
    torch.manual_seed(0)
    return create_model("unet", encoder="test_resnet", decoder_channels=(32, 16, 8, 8, 8))


@pytest.fixture
def folder(tmp_path):
    return save_pretrained(tiny(), tmp_path / "checkpoint")


def refused(folder, kind, *words):
    with pytest.raises(kind) as error:
        create_model(f"local-dir:{folder}")
    assert [word for word in words if word not in str(error.value)] == []


def test_folder_or_file_is_not_there(folder, tmp_path):
    refused(tmp_path / "nothing", FileNotFoundError, "nothing: not a folder", "config.json and model.safetensors")
    refused(folder / "config.json", FileNotFoundError, "not a folder")
    (folder / "config.json").unlink()
    refused(folder, FileNotFoundError, "no config.json in", "It holds ['README.md', 'model.safetensors']")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", FileNotFoundError, "It holds nothing: give a folder that save_pretrained")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "best.pt", "best.pth", "last.ckpt"])
def test_a_pickle_is_named_and_not_read(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    refused(folder, FileNotFoundError, f"{name} may hold pickled code, which saltzoo never reads", "weights_only=True")


@pytest.mark.parametrize("keep", [0, 4, 200, 0.5, -1])
def test_a_truncated_file(folder, keep):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    refused(folder, ValueError, "model.safetensors is damaged or cut short", "again")


@pytest.mark.parametrize("content", [b"\x80\x04not a tensor", b"version https://git-lfs.github.com/spec/v1\n" * 3])
def test_a_file_of_something_else(folder, content):
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
def test_a_config_of_something_else(folder, content, words):
    (folder / "config.json").write_bytes(content)
    refused(folder, ValueError, "config.json", words)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"architecture": "unet9"}, ValueError, "unknown model 'unet9'"),
        ({"preprocess": {"mean": [0.5]}}, ValueError, "not a preprocess description"),
        ({"preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3}}, ValueError, "is for 3 channels and its model has 1"),
        ({"model_args": {"encoder": "test_resnet", "wings": 2}}, TypeError, "no option 'wings'"),
        ({"model_args": {"encoder": "test_resnet", "pretrained_encoder": True}}, TypeError, "pretrained_encoder"),
        ({"model_args": {"encoder": "test_resnet"}}, ValueError, "is (32, 288, 3, 3), the model's (256, 288, 3, 3)"),
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
    refused(folder, ValueError, "do not fit 'unet': head.conv.bias is missing", "saved by saltzoo")
    save_file({**tensors, "head.extra": torch.zeros(1)}, path)
    refused(folder, ValueError, "head.extra is unknown")
    save_file({**tensors, "head.conv.bias": torch.zeros(1, 1)}, path)
    refused(folder, ValueError, "head.conv.bias is (1, 1), the model's (1,)")
    save_file({f"module.{key}": value for key, value in tensors.items()}, path)
    refused(folder, ValueError, "is missing", f"and {2 * len(tensors) - 5} more")


def in_cache(folder, cache, repo):
    """Lays a checkpoint into a cache as the Hugging Face client does."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    for place in (snapshot, root / "blobs", root / "refs"):
        place.mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for path in folder.iterdir():
        (root / "blobs" / path.name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(os.path.relpath(root / "blobs" / path.name, snapshot))


SCRIPT = f"""
import json, sys, torch, saltzoo
cache, out = sys.argv[1:]
saltzoo.register_weights(saltzoo.WeightsSpec("unet", "tgs", "org/net", "{COMMIT}"))
def attempt(name, **options):
    try:
        model = saltzoo.create_model(name, cache_dir=cache, **options)
        return {{key: float(value.double().sum()) for key, value in model.state_dict().items()}}
    except Exception as error:
        return [type(error).__name__, str(error)]
sources = ["hf-hub:org/net", "hf-hub:org/net@main", "hf-hub:org/net@{COMMIT}", "hf-hub:org/net@v9", "hf-hub:org/gone",
           "hf-hub:org/half", "hf-hub:a/b/c", "hf-hub:", "hf-hub:org/net@"]
results = {{source: attempt(source) for source in sources}}
results |= {{name: attempt(name, pretrained=True) for name in ("unet.tgs", "unet", "unet.other")}}
json.dump(results, open(out, "w"))
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """What the real client finds offline in a cache laid by hand: source -> sums of tensors, or the error."""
    place = tmp_path_factory.mktemp("hub")
    model = tiny()
    folder = save_pretrained(model, place / "checkpoint")
    in_cache(folder, place / "cache", "org/net")
    (folder / "model.safetensors").unlink()
    in_cache(folder, place / "cache", "org/half")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    code = [sys.executable, "-c", SCRIPT, str(place / "cache"), str(place / "out.json")]
    done = subprocess.run(code, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    sums = {key: float(value.double().sum()) for key, value in model.state_dict().items()}
    return sums, json.loads((place / "out.json").read_text())


@pytest.mark.parametrize(
    "source", ["hf-hub:org/net", "hf-hub:org/net@main", f"hf-hub:org/net@{COMMIT}", "unet.tgs", "unet"]
)
def test_loads_from_the_hubs_cache_without_a_network(offline, source):
    wanted, results = offline
    assert results[source] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("hf-hub:org/net@v9", "OSError", r"config.json of org/net@v9 is not in the cache.*HF_HUB_OFFLINE.*cache_dir"),
        ("hf-hub:org/gone", "OSError", r"config.json of org/gone@main is not in the cache.*network"),
        ("hf-hub:org/half", "OSError", r"model.safetensors of org/half@main is not in the cache"),
        ("hf-hub:a/b/c", "ValueError", r"not a repository of the Hub: 'a/b/c' \(expected org/name\)"),
        ("hf-hub:", "ValueError", r"not a repository of the Hub: ''"),
        ("unet.other", "ValueError", r"no weights 'unet.other' are published; of 'unet' there are \['tgs'\]"),
    ],
)
def test_says_which_it_was(offline, source, kind, words):
    got, text = offline[1][source]
    assert got == kind
    assert re.search(words, text, re.S)
