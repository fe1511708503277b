"""save_pretrained: the files that it writes, and the model that create_model makes of them."""

import json
import re
import subprocess
import sys

import pytest
import torch
from _tiny import same_weights, tiny
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import saltzoo
from saltzoo import Preprocess, create_model, save_pretrained
from saltzoo import _files as files
from saltzoo.zoo import sources

METRIC = {"name": "salt_map", "value": 0.8514, "data": "TGS fold 0", "seed": 3}


def make(seed=0, **options):
    model = tiny(seed, attention="scse", **options)
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_(std=0.1)
    model.preprocess = Preprocess(mean=(0.4,), std=(0.2,), multiple=32, pad_mode="replicate")
    return model


@torch.no_grad()
def logits(model):
    return model.eval()(torch.linspace(-2, 2, 2 * 64 * 45).reshape(2, 1, 64, 45).sin())


@pytest.fixture
def saved(tmp_path):
    model = make(num_classes=2)
    return model, save_pretrained(model, tmp_path / "a" / "b", labels=("salt", "rock"), metrics=[METRIC], license="mit")


def loads_as(model, folder):
    again = create_model(f"local-dir:{folder}")
    assert not again.training
    assert again.config == model.config
    assert again.preprocess == model.preprocess
    return same_weights(again, model)


def test_it_comes_back_the_same(saved):
    model, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert torch.equal(logits(create_model(f"local-dir:{folder}")), logits(model))
    assert loads_as(model, folder)


@pytest.mark.slow
def test_it_comes_back_the_same_in_a_fresh_process(saved, tmp_path):
    model, folder = saved
    code = (
        "import sys, torch, saltzoo; x = torch.linspace(-2, 2, 2 * 64 * 45).reshape(2, 1, 64, 45).sin();"
        "torch.save(saltzoo.create_model('local-dir:' + sys.argv[1]).eval()(x).detach(), sys.argv[2])"
    )
    out = tmp_path / "out.pt"
    subprocess.run([sys.executable, "-c", code, str(folder), str(out)], check=True, timeout=120)
    torch.testing.assert_close(torch.load(out, weights_only=True), logits(model), rtol=1e-5, atol=1e-5)


def test_channels_last_comes_back_the_same(tmp_path):
    model = make()
    before = logits(model)
    last = model.to(memory_format=torch.channels_last)
    again = create_model(f"local-dir:{save_pretrained(last, tmp_path)}")
    assert torch.equal(logits(again), before)
    assert last.decoder.blocks[0].conv1.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_is_read_into_float32(tmp_path):
    model = make()
    whole = save_pretrained(model, tmp_path / "whole") / "model.safetensors"
    half = save_pretrained(model, tmp_path / "half", dtype="float16") / "model.safetensors"
    assert 0.5 < half.stat().st_size / whole.stat().st_size < 0.55
    again = create_model(f"local-dir:{half.parent}")
    tensors = load_file(half)
    for key, parameter in again.named_parameters():
        assert (tensors[key].dtype, parameter.dtype) == (torch.float16, torch.float32)
        assert torch.equal(parameter, model.get_parameter(key).half().float())
    for key, buffer in again.named_buffers():
        assert tensors[key].dtype == model.get_buffer(key).dtype
        assert torch.equal(buffer, model.get_buffer(key))
    torch.testing.assert_close(logits(again), logits(model), rtol=0.01, atol=0.01)


@torch.no_grad()
def test_half_precision_keeps_in_float32_what_it_cannot_hold(tmp_path):
    model = make()
    norm, conv = model.decoder.blocks[0].conv1.norm, model.decoder.blocks[0].conv1.conv
    conv.weight[0, 0, 0, 0] = 1e5  # more than half precision can hold
    norm.weight.fill_(1e-6)  # the start of a layer scale: float16 has an error of one per cent
    norm.bias[:] = torch.linspace(-1, 1, len(norm.bias))
    norm.bias[0] = 1e-9  # lost, but negligible beside the others
    norm.running_var[:2] = torch.tensor([1e-9, 1e9])
    folder = save_pretrained(model, tmp_path, dtype="float16")
    again = create_model(f"local-dir:{folder}").decoder.blocks[0].conv1
    assert torch.equal(again.conv.weight, conv.weight)
    assert torch.equal(again.norm.weight, norm.weight)
    assert torch.equal(again.norm.running_var, norm.running_var)
    assert again.norm.bias[0] == 0
    assert torch.equal(again.norm.bias, norm.bias.half().float())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_of_another_dtype_is_saved_in_float32(tmp_path, dtype):
    model = make().to(dtype)
    folder = save_pretrained(model, tmp_path)
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float32, torch.int64}
    again = create_model(f"local-dir:{folder}").state_dict()
    assert all(torch.equal(again[key], value.to(again[key].dtype)) for key, value in model.state_dict().items())


def test_refuses_an_unknown_dtype(tmp_path):
    with pytest.raises(ValueError, match=r"unknown dtype 'int4': choose one of 'float32', 'float16', 'int8'"):
        save_pretrained(tiny(), tmp_path / "x", dtype="int4")
    assert not (tmp_path / "x").exists()


def test_the_config(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    args = config.pop("model_args")
    assert args["encoder"] == "test_resnet"
    assert args["num_classes"] == 2
    assert config == {
        "architecture": "unet",
        "preprocess": {"mean": [0.4], "std": [0.2], "multiple": 32, "pad_mode": "replicate"},
        "tile_size": [101, 101],
        "labels": ["salt", "rock"],
        "saltzoo_version": saltzoo.__version__,
        "license": "mit",
        "metrics": [METRIC],
        "recipe": {},
    }


@pytest.mark.parametrize(
    ("value", "data"),
    [(0.8514, "TGS fold 0"), (1e-5, 'a: "b" #c'), (1, "sel 盐 🧂"), (0.1 + 0.2, "yes"), (1e22, "1.0"), (-2.5e-7, "~")],
)
def test_the_hubs_reader_understands_the_card(tmp_path, value, data):
    metrics = [{"name": "salt_map", "value": value, "data": data}]
    folder = save_pretrained(tiny(), tmp_path, license="cc-by-nc-4.0", metrics=metrics, recipe={"epochs": 3})
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "saltzoo"
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data.license == "cc-by-nc-4.0"
    assert {"saltzoo", "seismic"} <= set(card.data.tags)
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("salt_map", value, data)
    assert card.data.model_name == "unet"
    assert "saltzoo.create_model" in card.text
    assert '"epochs": 3' in card.text


def test_the_usage_on_the_card_runs(saved):
    _, folder = saved
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    names = {}
    exec(code.replace("local-dir:PATH", f"local-dir:{folder}"), names)
    assert names["probabilities"].shape[-2:] == (101, 101)


def test_saving_again_replaces_the_checkpoint_and_keeps_other_files(saved):
    _, folder = saved
    (folder / "notes.txt").write_text("mine")
    other = make(seed=1)
    save_pretrained(other, str(folder))
    assert loads_as(other, folder)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_full_disk_leaves_the_old_checkpoint(saved, monkeypatch, call):
    model, folder = saved
    calls = []

    def fsync(_):
        calls.append(1)
        if len(calls) == call:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(make(seed=1, decoder_channels=(16, 8, 8, 8, 8)), folder)
    assert len(calls) == call
    assert loads_as(model, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": {"lr": torch.tensor(1.0)}},
        {"recipe": {"lr": float("nan")}},
        {"recipe": {"milestones": (1, 2)}},
        {"recipe": {1: "one"}},
        {"metrics": [{**METRIC, "value": float("inf")}]},
        {"metrics": [{**METRIC, "value": "high"}]},
        {"metrics": [{"value": 1.0}]},
        {"metrics": [{"name": "salt_map"}]},
        {"labels": (b"salt",)},
    ],
)
def test_refuses_what_json_cannot_hold_and_writes_nothing(saved, options):
    model, folder = saved
    with pytest.raises(ValueError, match=r"config.json|a metric needs"):
        save_pretrained(make(seed=1), folder, **options)
    assert loads_as(model, folder)


def test_other_options_than_saved_are_refused(saved):
    model, folder = saved
    source = f"local-dir:{folder}"
    with pytest.raises(TypeError, match=r"the weights of local-dir:.* without option 'wings': it has .*encoder"):
        create_model(source, wings=2)
    with pytest.raises(ValueError, match=r"attention='scse', not 'none': drop attention"):
        create_model(source, attention="none")
    assert create_model(source, wings=None, attention=None).config == model.config  # None is the default


def test_weights_are_loaded_by_name_or_source(saved, own_registry, monkeypatch):
    model, folder = saved
    monkeypatch.setattr(sources, "BUNDLED", folder.parent)
    saltzoo.register_weights(saltzoo.WeightsSpec("unet", "b"))
    folder.rename(folder.with_name("unet.b"))
    for name in ("unet.b", "unet", f"local-dir:{folder.with_name('unet.b')}"):
        found = sources.load_weights(name)
        assert (found.architecture, found.config["labels"]) == ("unet", ["salt", "rock"])
        assert all(torch.equal(value, found.tensors[key]) for key, value in model.state_dict().items())
    for name, words in (("unet.c", "no weights 'unet.c'"), ("s3:bucket", "unknown model 's3:bucket'")):
        with pytest.raises(ValueError, match=words):
            sources.load_weights(name)


def test_only_models_that_can_be_built_again_are_saved(tmp_path):
    by_hand = make()
    by_hand.config = None
    for model in (by_hand, torch.nn.Conv2d(1, 1, 1)):
        with pytest.raises(
            ValueError, match=r"Segmenter|Conv2d cannot be saved: it needs a config, which create_model sets"
        ):
            save_pretrained(model, tmp_path / "x")
    odd = torch.nn.Conv2d(1, 1, 1)
    odd.config = tiny().config
    with pytest.raises(ValueError, match=r"set model.preprocess = saltzoo.Preprocess"):
        save_pretrained(odd, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_another_model_than_saved_is_refused(saved):
    model, folder = saved
    source = f"local-dir:{folder}"
    assert create_model(source, num_classes=2, attention_sites=("encoder", "decoder")).config == model.config
    for options, words in (
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"in_chans": 0}, "in_chans must be at least 1, got 0"),
        ({"encoder": "resnet18"}, "encoder='test_resnet', not 'resnet18'"),
        ({"pretrained_encoder": True}, "drop pretrained_encoder"),
    ):
        with pytest.raises(ValueError, match=words):
            create_model(source, **options)


@pytest.mark.parametrize(("num_classes", "want"), [(1, ["salt"]), (3, ["class_0", "class_1", "class_2"])])
def test_labels_name_each_class(tmp_path, num_classes, want):
    model = make(num_classes=num_classes)
    save_pretrained(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["labels"] == want
    with pytest.raises(ValueError, match=rf"each of the model's {num_classes} class"):
        save_pretrained(model, tmp_path, labels=["salt", "rock"])


@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_files_that_belong_to_no_checkpoint_are_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    with pytest.raises(FileExistsError, match=f"{name} belongs to no checkpoint: move it, or choose another"):
        saltzoo.save_pretrained(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
