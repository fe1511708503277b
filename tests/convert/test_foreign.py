"""load_foreign and read_state_dict: only tensors are read, and loading is strict."""

import os
import re

import pytest
import torch
from safetensors.torch import save_file

import saltzoo
from saltzoo.convert import load_foreign, read_state_dict


def tiny(seed=0):
    torch.manual_seed(seed)
    return saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())


def wrapped(table, *prefixes):
    return {"".join(prefixes) + key: value for key, value in table.items()}


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.bin", "a.ckpt", "a.safetensors", "noending"])
def test_every_suffix(tmp_path, name):
    weights = tiny().state_dict()
    (save_file if name.endswith("safetensors") else torch.save)(weights, tmp_path / name)
    assert same(read_state_dict(tmp_path / name), weights)
    assert same(read_state_dict(str(tmp_path / name)), weights)
    model = tiny(1)
    assert load_foreign(model, tmp_path / name) is model
    assert same(model.state_dict(), weights)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda table: {"state_dict": table, "epoch": 3, "args": {"lr": 0.1}},
        lambda table: {"model": table, "optimizer": {"state": {}}},
        lambda table: {"model": {"state_dict": table}},
        lambda table: wrapped(table, "module."),
        lambda table: wrapped(table, "_orig_mod."),
        lambda table: wrapped(table, "_orig_mod.", "module."),
        lambda table: {"state_dict": wrapped(table, "module.", "_orig_mod.")},
    ],
)
def test_tables_and_prefixes_are_removed(tmp_path, wrap):
    weights = tiny().state_dict()
    torch.save(wrap(weights), tmp_path / "last.pt")
    assert same(load_foreign(tiny(1), tmp_path / "last.pt").state_dict(), weights)


def test_a_prefix_that_only_some_keys_have_stays(tmp_path):
    table = {"module.weight": torch.ones(1), "weight": torch.zeros(1)}
    torch.save(table, tmp_path / "a.pt")
    assert same(read_state_dict(tmp_path / "a.pt"), table)
    torch.save({"model": torch.ones(1), "state_dict": torch.ones(2)}, tmp_path / "a.pt")  # tensors, not tables
    assert list(read_state_dict(tmp_path / "a.pt")) == ["model", "state_dict"]


def test_prefixes_of_torch_itself(tmp_path):
    model = tiny()
    torch.save(torch.nn.DataParallel(torch.compile(model)).state_dict(), tmp_path / "a.pt")
    assert same(read_state_dict(tmp_path / "a.pt"), model.state_dict())


class Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


@pytest.mark.parametrize("where", ["weight", "epoch"])
def test_no_pickled_code_is_run(tmp_path, where):
    torch.save({"weight": torch.ones(1), where: Trap(str(tmp_path / "sprung"))}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt cannot be read as tensors.*pickled objects.*save model.state_dict\(\)"):
        read_state_dict(tmp_path / "a.pt")
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds pickled objects, which may run code"):
        load_foreign(torch.nn.Linear(1, 1), tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a file of weights"])
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_refuses_a_damaged_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} .*damaged"):
        read_state_dict(tmp_path / name)


def test_refuses_a_truncated_file(tmp_path):
    torch.save(tiny().state_dict(), tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a.pt cannot be read"):
        read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(1)], "holds a list and no state dict"),
        (torch.ones(1), "holds a Tensor and no state dict"),
        ({}, "holds a dict and no state dict"),
        (
            {"epoch": 3, "net": {"weight": torch.ones(1)}},
            r"\['epoch', 'net'\] are not tensors.*'state_dict' or 'model'",
        ),
        ({"state_dict": {"weight": torch.ones(1), "lr": 0.1}}, r"\['lr'\] are not tensors"),
    ],
)
def test_refuses_a_file_without_a_state_dict(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=words):
        read_state_dict(tmp_path / "a.pt")


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"no file {tmp_path}/a.pt: give")):
        load_foreign(tiny(), tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head.conv.bias": None}, "head.conv.bias is missing"),
        ({"head.extra": torch.ones(1)}, "head.extra is unknown"),
        ({"head.conv.bias": torch.ones(2)}, r"head.conv.bias is \(2,\), the model's \(1,\)"),
    ],
)
def test_loading_is_strict(tmp_path, change, words):
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    table = {key: value for key, value in {**tiny(1).state_dict(), **change}.items() if value is not None}
    torch.save(table, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a.pt and this Segmenter do not fit: {words}.*rename keys"):
        load_foreign(model, tmp_path / "a.pt")
    assert same(model.state_dict(), before)


def test_converts_a_pickled_file_to_a_checkpoint(tmp_path):
    """The steps that the error about a folder of pickles names."""
    torch.save({"model": tiny().state_dict()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"no config.json"):
        saltzoo.create_model(f"local-dir:{tmp_path}")
    model = saltzoo.convert.load_foreign(tiny(1), tmp_path / "pytorch_model.bin")
    again = saltzoo.create_model(f"local-dir:{saltzoo.save_pretrained(model, tmp_path)}")
    assert same(again.state_dict(), tiny().state_dict())
