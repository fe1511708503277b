"""load_foreign and read_state_dict: only tensors are read, and loading is strict."""

import argparse
import os
import pathlib
import re

import pytest
import timm
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
            {"epoch": 3, "optimizer": {"weight": torch.ones(1)}},
            r"\['epoch', 'optimizer'\] are not tensors.*'state_dict' or 'model'",
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


def lightning(table, *others):
    """A checkpoint as Lightning writes it."""
    for other in others:
        table = {**table, **other}
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": table,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.8), "best_k": {}}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "weights": {"encoder": torch.ones(1)}},
    }


LAYOUTS = {
    "lightning": lambda w: lightning(wrapped(w, "model.")),
    "lightning with a loss": lambda w: lightning(wrapped(w, "net."), {"criterion.weight": torch.ones(2)}),
    "lightning with a teacher": lambda w: lightning(wrapped(w, "student."), {"teacher.conv.weight": torch.ones(2)}),
    "lightning and compile": lambda w: lightning(wrapped(w, "model._orig_mod."), {"loss.w": torch.ones(1)}),
    "lightning and parallel": lambda w: lightning(wrapped(w, "module.model.")),
    "average": lambda w: {"n_averaged": torch.tensor(3), **wrapped(w, "module.")},
    "average in a table": lambda w: {"ema": {"n_averaged": torch.tensor(3), **wrapped(w, "module.")}, "epoch": 3},
    "average with a prefix": lambda w: wrapped(w, "ema_model.module."),
    "other tables": lambda w: {"checkpoint": {"model_state_dict": w}, "stats": {"mean": torch.ones(1)}},
    "net": lambda w: {"net": w, "optimizer": {"state": {"a": torch.ones(1)}}},
    "namespace": lambda w: {"state_dict": w, "args": argparse.Namespace(lr=0.1, out=pathlib.Path("x"))},
    "optimizer of the same keys": lambda w: {"model": w, "optimizer_state": {k: v + 1 for k, v in w.items()}},
    "compiled part": lambda w: {k.replace("encoder.", "encoder._orig_mod."): v for k, v in w.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_weights_are_found_by_the_keys_of_the_model(tmp_path, layout):
    weights = tiny().state_dict()
    torch.save(layout(weights), tmp_path / "last.ckpt")
    assert same(load_foreign(tiny(1), tmp_path / "last.ckpt").state_dict(), weights)


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_wrapped_model_takes_them_too(tmp_path, wrap):
    weights = tiny().state_dict()
    torch.save(lightning(wrapped(weights, "model.")), tmp_path / "last.ckpt")
    model = wrap(tiny(1))
    assert load_foreign(model, tmp_path / "last.ckpt") is model
    assert same({key.partition(".")[2]: value for key, value in model.state_dict().items() if "." in key}, weights)
    part = tiny(1)
    part.encoder = torch.compile(part.encoder)
    torch.save(weights, tmp_path / "plain.pt")
    load_foreign(part, tmp_path / "plain.pt")
    assert torch.equal(next(part.encoder.parameters()), weights[next(iter(weights))])


TWO = {
    "tables": (lambda w, e: {"state_dict": w, "state_dict_ema": e}, "state_dict", "state_dict_ema"),
    "tables with prefixes": (
        lambda w, e: {"state_dict": wrapped(w, "module."), "state_dict_ema": wrapped(e, "module.")},
        "state_dict",
        "state_dict_ema",
    ),
    "prefixes": (lambda w, e: lightning(wrapped(w, "model."), wrapped(e, "ema_model.")), "model", "ema_model"),
    "prefixes in full": (
        lambda w, e: lightning(wrapped(w, "model."), wrapped(e, "ema_model.module.")),
        "state_dict.model",
        "state_dict.ema_model.module",
    ),
    "inside": (lambda w, e: {"state_dict": {**w, **wrapped(e, "ema_model.")}}, "state_dict", "ema_model"),
    "top": (lambda w, e: {**w, **wrapped(e, "ema.")}, ".", "ema"),
    "nested": (lambda w, e: {"model": {"last": w, "average": e}}, "last", "average"),
}


@pytest.mark.parametrize(("layout", "plain", "average"), TWO.values(), ids=TWO)
def test_one_of_several_state_dicts_is_chosen_and_never_guessed(tmp_path, layout, plain, average):
    first, second = tiny(2).state_dict(), tiny(3).state_dict()
    torch.save(layout(first, second), tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last.ckpt holds several state dicts, '.*', '.*': choose one with which="):
        load_foreign(tiny(1), tmp_path / "last.ckpt")
    assert same(load_foreign(tiny(1), tmp_path / "last.ckpt", which=plain).state_dict(), first)
    assert same(load_foreign(tiny(1), tmp_path / "last.ckpt", which=average).state_dict(), second)
    assert same(read_state_dict(tmp_path / "last.ckpt", which=average), second)
    for wrong in ("no_such", "encoder.backbone", ""):
        with pytest.raises(ValueError, match=rf"which='{wrong}' must name one state dict of .*choose one of '"):
            load_foreign(tiny(1), tmp_path / "last.ckpt", which=wrong)


def test_reading_does_not_guess_either(tmp_path):
    table, other = {"a.weight": torch.zeros(1)}, {"a.weight": torch.ones(1)}
    torch.save({"state_dict": table, "state_dict_ema": other}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds several state dicts, 'state_dict', 'state_dict_ema': choose"):
        read_state_dict(tmp_path / "a.pt")
    assert same(read_state_dict(tmp_path / "a.pt", which="state_dict_ema"), other)
    with pytest.raises(ValueError, match=r"which='ema' must name one state dict.*'state_dict', 'state_dict_ema'"):
        read_state_dict(tmp_path / "a.pt", which="ema")


def test_places_that_fit_by_shape_come_first(tmp_path):
    weights = tiny().state_dict()
    other = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(16,) * 5).state_dict()
    torch.save({"teacher": other, "student": weights}, tmp_path / "a.pt")
    assert same(load_foreign(tiny(1), tmp_path / "a.pt").state_dict(), weights)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("wrap", [dict, lambda table: {"state_dict": wrapped(table, "module."), "epoch": 3}])
def test_an_encoder_takes_a_file_of_timm_with_its_classifier(tmp_path, name, wrap):
    torch.manual_seed(1)
    network = timm.create_model(name, in_chans=1)
    torch.save(wrap(network.state_dict()), tmp_path / "timm.pth")
    encoder = saltzoo.create_model("unet", encoder=name, decoder_channels=(8,) * 5).encoder
    load_foreign(encoder, tmp_path / "timm.pth")
    theirs = {key.replace(".", "_"): value for key, value in network.state_dict().items()}
    ours = {key.removeprefix("backbone.").replace(".", "_"): value for key, value in encoder.state_dict().items()}
    assert len(ours) > 10
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_an_encoder_refuses_a_deeper_network_of_timm(tmp_path):
    torch.save(timm.create_model("resnet34", in_chans=1).state_dict(), tmp_path / "timm.pth")
    encoder = saltzoo.create_model("unet", encoder="resnet18").encoder
    with pytest.raises(ValueError, match=r"do not fit: layer1.2.conv1.weight is unknown"):
        load_foreign(encoder, tmp_path / "timm.pth")
